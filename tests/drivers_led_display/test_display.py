"""Published frames against the codec and the decoder; the driver against a card that decodes what it shows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.led_display import frame
from drivers.led_display.config import DisplayOptions, DisplayPointOptions
from drivers.led_display.decode import decode
from drivers.led_display.driver import Display
from drivers.led_display.frame import Area, Frame, FrameError, find_frame
from drivers.led_display.simulator import SimCard, SimDisplayLine
from drivers_contract.wire import Chunk, MemoryLine
from drivers_led_display.rig import display, spec
from gateway.config.explain import parse
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reason, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "onbon.json").read_text(encoding="utf-8"))["vectors"]


def test_there_are_as_many_vectors_as_promised() -> None:
    assert len(VECTORS) == 11
    assert sum(vector["checksum_ok"] for vector in VECTORS) == 10


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_published_frame_is_read_and_written_as_it_is(vector: dict[str, Any]) -> None:
    written = bytes.fromhex(vector["hex"])
    if not vector["checksum_ok"]:
        with pytest.raises(FrameError, match="checksum"):
            Frame.from_bytes(written)
        assert decode(written).fault is not None
        return
    found = Frame.from_bytes(written)
    assert found.to == vector["to"]
    assert bytes(found.command).hex().upper() == vector["command"]
    assert found.to_bytes() == written
    assert decode(written).ok
    if "text" in vector:
        (area,), removed = frame.shown(found.content)
        assert area.text.decode("gb2312") == vector["text"]
        assert (area.width, area.height, removed) == (vector["width"], vector["height"], ())
        assert replace(area, expire_s=0).to_bytes()[1:10] == found.content[4:14][1:10]


def test_more_a5_in_front_do_no_harm() -> None:
    """As the maker's reseller prints the card's answer."""
    written = b"\xa5" + bytes.fromhex(next(vector["hex"] for vector in VECTORS if vector["id"] == "bx-ack"))
    assert decode(written).ok
    found = find_frame(written)
    assert found is not None
    assert (found[0].command, found[1]) == (frame.ACK, 1)


def on_card(check: Callable[[Display, SimCard, MemoryLine], Awaitable[None]], **options: Any) -> None:
    async def scenario() -> None:
        card = SimCard()
        line = SimDisplayLine(card)
        link = MemoryLine(lambda request: [Chunk(0.01, reply) for _, reply in line.feed(request)])
        async with link:
            await check(display(link, **options), card, link)

    run(scenario())


def test_a_text_is_shown_and_one_takes_the_other_away() -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        readings = {each.point: each for each in await driver.poll(["d.text", "d.notice", "d.online"])}
        assert readings["d.text"].reason is Reason.NO_VALUE
        assert readings["d.notice"].value == "idle"
        assert readings["d.online"].value is True
        await driver.write("d.text", "水位 1.2m Z[囧")
        assert card.text() == "水位 1.2m Z[囧"
        area = card.areas[0]
        assert (area.x, area.width, area.height, area.mode, area.stay) == (0, 128, 32, 3, 5)
        assert area.text.startswith(b"\\C1")
        await driver.write("d.notice", "fire")
        assert card.text() == "火警"
        values = {each.point: each.value for each in await driver.poll(["d.text", "d.notice"])}
        assert values == {"d.text": None, "d.notice": "fire"}
        await driver.write("d.notice", "clear")
        assert card.text() is None

    on_card(check, charset="gbk")


def test_every_byte_that_frames_are_made_of_is_escaped() -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        await driver.write("d.text", "Z[")  # 5Ah, 5Bh
        assert card.text() == "Z["
        request = link.requests[-1]
        assert request.count(0x5A) == 1
        assert b"\x5b\x02\x5b\x01" in request

    on_card(check)


def test_options_reach_the_card() -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        await driver.write("d.text", "a")
        area = card.areas[3]
        assert area == Area(3, 64, 16, 96, 24, 1, 0, 20, b"\\FO001a", single_line=False, expire_s=600)

    on_card(
        check,
        area=3,
        x=64,
        y=16,
        width=96,
        height=24,
        mode="still",
        speed=0,
        stay_s=10.0,
        colour="none",
        font="FO001",
        lines="wrapped",
        expire_s=600,
    )


@pytest.mark.parametrize("text", ["a\\C2b", "😀", "한", "灯" * 301])
def test_what_the_card_cannot_show_is_refused_before_anything_leaves(text: str) -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        with pytest.raises(DeviceRejected, match=" / "):
            await driver.write("d.text", text)
        for point, value in (("d.notice", "idle"), ("d.online", True), ("d.other", "x")):
            with pytest.raises(DeviceRejected):
                await driver.write(point, value)
        assert link.requests == []

    on_card(check)


def test_a_refusal_says_why_and_changes_nothing() -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        card.refuses = 12
        with pytest.raises(DeviceRejected, match="no such font") as caught:
            await driver.write("d.text", "a")
        assert caught.value.code == 12
        (reading,) = await driver.poll(["d.text"])
        assert reading.quality is Quality.BAD

    on_card(check)


def test_a_write_without_an_answer_is_sent_once() -> None:
    async def scenario() -> None:
        async with MemoryLine(lambda request: []) as link:
            with pytest.raises(DeviceUnreachable):
                await display(link).write("d.text", "a")
            assert len(link.requests) == 1

    run(scenario())


def test_the_answer_of_another_card_is_not_ours() -> None:
    async def scenario() -> None:
        answer = Frame(frame.PC, 2, bytes([0xA0, 0, 0, 0, 0])).to_bytes()
        async with MemoryLine(lambda request: [Chunk(0.01, answer)]) as link:
            with pytest.raises((DeviceUnreachable, ProtocolError)):
                await display(link).poll(["d.online"])
        any_card = Frame(frame.PC, 0xFFFE, bytes([0xA0, 0, 0, 0, 0])).to_bytes()
        async with MemoryLine(lambda request: [Chunk(0.01, any_card)]) as link:
            (reading,) = await display(link).poll(["d.online"])
            assert reading.value is True

    run(scenario())


def test_the_state_is_shown_in_hex() -> None:
    async def check(driver: Display, card: SimCard, link: MemoryLine) -> None:
        (reading,) = await driver.poll(["d.state"])
        assert reading.value == "01 00 00 00"
        assert driver.batches(["d.state", "d.online", "d.text"]) == [["d.online", "d.text"], ["d.state"]]

    on_card(check)


def test_points_that_do_not_fit_are_found_before_the_start() -> None:
    made = spec()
    for point, change, why in (
        ("d.text", {"kind": ValueKind.STATE}, "kind"),
        ("d.notice", {"commands": ("clear", "flood")}, "flood"),
        ("d.online", {"writable": True}, "written"),
    ):
        changed = replace(made.points[point], point=replace(made.points[point].point, **change))
        with pytest.raises(ConfigError, match=why):
            Display(replace(made, points={point: changed}), MemoryLine(lambda request: []), ManualClock())
    options = DisplayPointOptions(field="notice", texts={"fire": "😀", "move_your_car": "a"})
    notice = replace(made.points["d.notice"], options=options)
    with pytest.raises(ConfigError, match="lack"):
        Display(replace(made, points={"d.notice": notice}), MemoryLine(lambda request: []), ManualClock())


@pytest.mark.parametrize("wrong", [{"x": 4}, {"width": 100}, {"address": 0}, {"font": "1"}, {"speed": 25}])
def test_settings_that_the_card_does_not_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        parse(DisplayOptions, wrong)


# ---------------------------------------------------------------------- any bytes


FRAMES = st.builds(Frame, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(min_size=5, max_size=80))


@given(FRAMES, st.binary(max_size=12))
def test_a_frame_comes_back_behind_any_noise(made: Frame, noise: bytes) -> None:
    found = find_frame(noise + made.to_bytes())
    assert found is not None
    assert found[0] == made or noise.endswith(b"\xa5") or 0x5A in noise


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    decode(data)
    decode(frame.START + data + b"\x5a")
    find_frame(frame.START * 3 + data)
    SimDisplayLine(SimCard()).feed(data)


@given(st.binary(max_size=120))
def test_any_content_is_areas_or_an_error(data: bytes) -> None:
    decode(frame.request(1, frame.SHOW, data).to_bytes())
    SimDisplayLine(SimCard()).feed(frame.request(1, frame.SHOW, data).to_bytes())


def test_a_flood_of_starts_is_over_soon() -> None:
    assert find_frame(frame.START * 1000 + b"\x5a" * 100) is None
    assert find_frame((frame.START + b"\x00" * 20) * 300) is None
