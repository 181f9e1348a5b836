"""The driver against simulated readers, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Happening
from drivers.osdp import frame, secure
from drivers.osdp.config import OsdpOptions
from drivers.osdp.driver import OsdpReader
from drivers.osdp.frame import Frame
from drivers.osdp.simulator import OsdpLine, SimReader
from drivers_contract.wire import Chunk, MemoryLine
from drivers_osdp.rig import KEY, POINTS, spec
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reason
from support.clock import LoopClock
from support.virtual_time import run

POLLED = ["r.online", "r.card_count"]
Check = Callable[[OsdpReader, SimReader, MemoryLine], Awaitable[None]]


def on(reader: SimReader, check: Check, **options: Any) -> None:
    async def main() -> None:
        line = OsdpLine([reader])
        async with MemoryLine(lambda request: [Chunk(0.02, answer) for _, answer in line.feed(request)]) as wire:
            await check(OsdpReader(spec(**options), wire, LoopClock()), reader, wire)

    run(main())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(KEY.hex(" ") + "\n", encoding="ascii")
    return file


def happenings(driver: OsdpReader) -> list[Happening]:
    return [each for report in driver.take() for each in report.happenings]


# ---------------------------------------------------------------------- what is read


def test_all_points_of_one_poll_are_one_batch() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        batches = driver.batches([f"r.{name}" for name in POINTS])
        assert [len(batch) for batch in batches] == [6, 2, 2, 1, 1]
        assert driver.characters(batches[0]) > 20

    on(SimReader(3), check)


@pytest.mark.parametrize("secured", [True, False], ids=["secure", "plain"])
def test_a_reader_is_read(secured: bool, key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        reader.inputs = [False, True]
        reader.power_failed = True
        readings = await driver.poll([f"r.{name}" for name in POINTS])
        assert {each.point[2:]: each.value for each in readings} == {
            "online": True,
            "secure": secured,
            "tamper": False,
            "power": "fault",
            "card_count": 0,
            "keypad_count": 0,
            "serial_number": "12345678",
            "firmware": "1.2.3",
            "led": "off",
            "buzzer": False,
            "relay": False,
            "input": False,
        }
        assert reader.asked[:2] == [frame.ID, frame.CAPABILITIES]
        assert (frame.CHALLENGE in reader.asked) is secured

    on(SimReader(3, KEY if secured else None), check, **({"key_file": key_file} if secured else {}))


def test_a_card_is_told_once_with_its_number_in_personal_alone(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.hold(90, 324)
        reader.reads("1" * 26)
        reader.events.append((frame.TEXT_CARD, bytes((0, 0, 4)) + b"A123"))
        counts = [(await driver.poll(POLLED))[1].value for _ in range(4)]
        assert counts == [1, 2, 3, 3]
        card, broken, text = happenings(driver)
        assert card.kind == broken.kind == text.kind == "access.card"
        assert card.attributes == {"reader": 0, "bits": 26, "format": "26", "valid": True}
        assert card.personal == {"card": "9000324"}
        assert (broken.attributes["valid"], broken.personal) == (False, {})
        assert text.personal == {"card": "A123"}
        assert driver.take() == []

    on(SimReader(3, KEY), check, key_file=key_file)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"printing": "facility_card"}, "090,00324"),
        ({"printing": "decimal10"}, "0005898564"),
        ({"printing": "hex"}, "5A0144"),
        ({"card_format": "34"}, None),
        ({"reverse_bytes": True, "printing": "hex"}, "44015A"),
        ({"card_format": "plain", "printing": "hex"}, "B40288"),
    ],
)
def test_the_number_is_as_people_know_it(options: Any, number: str | None) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        reader.hold(90, 324)
        await driver.poll(POLLED)
        assert [each.personal.get("card") for each in happenings(driver)] == [number]

    on(SimReader(3), check, plaintext=True, **options)


def test_digits_are_counted_and_kept_nowhere() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        reader.type("4711")
        (reading,) = await driver.poll(["r.keypad_count"])
        assert reading.value == 4
        (typed,) = happenings(driver)
        assert (typed.kind, typed.attributes, typed.personal) == ("access.keypad", {"reader": 0, "keys": 4}, {})
        assert "4711" not in repr(vars(driver)) + repr(vars(driver._session))

    on(SimReader(3), check)


def test_a_reader_that_was_opened_says_so_with_the_next_poll_or_is_asked() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        assert [each.value for each in await driver.poll(["r.tamper", "r.power"])] == [False, "normal"]
        reader.opened()
        assert (await driver.poll(["r.tamper"]))[0].value is True
        reader.tampered = False
        assert (await driver.poll(["r.tamper"]))[0].value is True
        await asyncio.sleep(6)
        assert (await driver.poll(["r.tamper"]))[0].value is False

    on(SimReader(3), check)


def test_what_a_reader_does_not_have_is_refused_and_the_rest_goes_on() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        reader.tells_status = False
        readings = {each.point: each for each in await driver.poll(["r.tamper", "r.input", "r.online"])}
        assert readings["r.online"].value is True
        for point in ("r.tamper", "r.input"):
            assert (readings[point].quality, readings[point].reason) == (Quality.BAD, Reason.REFUSED)

    on(SimReader(3), check)


# ---------------------------------------------------------------------- when something goes wrong


@pytest.mark.parametrize("secured", [True, False], ids=["secure", "plain"])
def test_a_card_in_an_answer_that_was_lost_is_not_lost(secured: bool, key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.hold(90, 324)
        reader.lose_answers = 1
        with pytest.raises(DeviceUnreachable):
            await driver.poll(POLLED)
        assert (await driver.poll(POLLED))[1].value == 1
        assert [each.personal for each in happenings(driver)] == [{"card": "9000324"}]
        assert reader.asked.count(frame.ID) == 1

    on(SimReader(3, KEY if secured else None), check, **({"key_file": key_file} if secured else {}))


def test_a_poll_that_was_cancelled_is_asked_again_first(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.hold(90, 324)
        poll = asyncio.ensure_future(driver.poll(POLLED))
        await asyncio.sleep(0.01)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert (await driver.poll(["r.relay"]))[0].value is False
        assert len(happenings(driver)) == 1

    on(SimReader(3, KEY), check, key_file=key_file)


def test_with_a_reader_that_repeats_nothing_the_conversation_begins_anew(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.lose_answers = 1
        with pytest.raises(DeviceUnreachable):
            await driver.poll(POLLED)
        with pytest.raises(ProtocolError, match="wrong_sequence"):
            await driver.poll(POLLED)
        assert (await driver.poll(POLLED))[0].value is True
        assert reader.asked.count(frame.CHALLENGE) == 2

    on(SimReader(3, KEY, repeats=False), check, key_file=key_file)


def test_a_reader_that_has_restarted_is_spoken_to_anew(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.restarts()
        with pytest.raises(ProtocolError):
            await driver.poll(POLLED)
        assert [each.value for each in await driver.poll(["r.online", "r.secure"])] == [True, True]

    on(SimReader(3, KEY), check, key_file=key_file)


def test_a_busy_reader_is_asked_again() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        reader.busy = 2
        assert (await driver.poll(POLLED))[0].value is True
        reader.busy = 9
        with pytest.raises(DeviceUnreachable, match="busy"):
            await driver.poll(POLLED)

    on(SimReader(3), check)


def test_a_question_that_was_damaged_on_its_way_is_sent_again() -> None:
    sent: list[bytes] = []

    async def main() -> None:
        line = OsdpLine([SimReader(3)])

        def far_end(request: bytes) -> list[Chunk]:
            sent.append(request)
            if len(sent) == 2:
                nak = frame.reply(3, frame.NAK, b"\x01", Frame.from_bytes(request[1:]).sequence)
                return [Chunk(0.01, nak.to_bytes())]
            return [Chunk(0.01, answer) for _, answer in line.feed(request)]

        async with MemoryLine(far_end) as wire:
            driver = OsdpReader(spec(), wire, LoopClock())
            assert (await driver.poll(POLLED))[0].value is True
        assert sent[1] == sent[2]

    run(main())


def test_after_eight_seconds_the_reader_is_offline_and_then_online_again() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.deaf = True
        for _ in range(12):
            with pytest.raises(DeviceUnreachable):
                await driver.poll(POLLED)
            await asyncio.sleep(1)
        reader.deaf = False
        assert (await driver.poll(POLLED))[0].value is True
        gone, back = happenings(driver)
        assert (gone.kind, back.kind) == ("access.offline", "access.online")
        silence_s = gone.attributes["silent_s"]
        assert isinstance(silence_s, float)
        assert 8 < silence_s < 10
        assert reader.asked.count(frame.ID) == 2

    on(SimReader(3), check)


@pytest.mark.parametrize(
    "answer",
    [
        frame.reply(3, frame.PDID, bytes(12), 1),
        frame.reply(4, frame.PDID, bytes(12), 0),
        frame.command(3, frame.ID, b"\0", 0),
        frame.Frame(3, frame.PDID, bytes(12), 0x0C, True, bytes((2, 0x16)), bytes(4)),
    ],
    ids=["another-sequence", "another-reader", "the-question-itself", "of-a-channel-there-is-not"],
)
def test_what_does_not_answer_the_question_is_no_answer(answer: Frame) -> None:
    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.01, answer.to_bytes())]) as wire:
            with pytest.raises((ProtocolError, DeviceUnreachable)):
                await OsdpReader(spec(), wire, LoopClock()).poll(POLLED)
            assert len(wire.requests) == 1

    run(main())


def test_bytes_that_name_a_card_stand_in_no_error() -> None:
    async def main() -> None:
        answer = bytearray(frame.reply(3, frame.RAW_CARD, bytes.fromhex("00011A002D012200"), 0).to_bytes())
        answer[-1] ^= 1
        async with MemoryLine(lambda request: [Chunk(0.01, bytes(answer))]) as wire:
            driver = OsdpReader(spec(), wire, LoopClock())
            with pytest.raises(ProtocolError) as caught:
                await driver.poll(POLLED)
        assert caught.value.frame == b""
        assert "2d" not in str(caught.value).lower()
        assert caught.value.__suppress_context__

    run(main())


# ---------------------------------------------------------------------- keys


def test_another_key_is_no_conversation(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        with pytest.raises(ProtocolError, match="another key") as caught:
            await driver.poll(POLLED)
        assert "key_file" in caught.value.hint
        assert frame.POLL not in reader.asked

    on(SimReader(3, bytes(16)), check, key_file=key_file)


def test_a_reader_that_wants_a_secure_channel_says_so() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        with pytest.raises(ProtocolError, match="secure_channel_needed") as caught:
            await driver.poll(POLLED)
        assert caught.value.hint == "key_file"

    on(SimReader(3, KEY), check)


def test_a_reader_without_a_secure_channel_is_not_spoken_to_where_a_key_is_given(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        with pytest.raises(ProtocolError, match="no_secure_channel"):
            await driver.poll(POLLED)

    on(SimReader(3), check, key_file=key_file)


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (secure.INSTALLATION_KEY.hex(), "installation key"),
        ("00" * 15, "32 hexadecimal"),
        ("xyz", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_key_that_is_none_is_refused(written: str | None, word: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    if written is not None:
        file.write_text(written, encoding="ascii")

    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        with pytest.raises(DeviceUnreachable, match=word):
            await driver.poll(POLLED)
        assert reader.asked == []

    on(SimReader(3, secure.INSTALLATION_KEY, installing=True), check, key_file=file)


def test_commissioning_puts_the_key_into_a_new_reader(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        assert (await driver.poll(["r.secure"]))[0].value is True
        assert (reader.key, reader.installing) == (KEY, False)
        assert reader.asked.count(frame.KEYSET) == 1
        assert KEY not in b"".join(wire.requests)
        reader.restarts()
        with pytest.raises(ProtocolError):
            await driver.poll(["r.secure"])
        assert (await driver.poll(["r.secure"]))[0].value is True
        assert reader.asked.count(frame.KEYSET) == 1

    on(SimReader(3, None, installing=True), check, key_file=key_file, commissioning=True)


def test_an_entry_says_how_the_line_is_protected() -> None:
    for options in ({}, {"plaintext": True, "commissioning": True}, {"plaintext": True, "key_file": "key"}):
        with pytest.raises(ValueError, match="plaintext"):
            OsdpOptions.model_validate({"address": 3} | options)


def test_a_packet_that_is_played_again_or_changed_is_no_answer(key_file: Path) -> None:
    """What the reader said once, under a sequence number that fits again, and a bit turned with the CRC put right."""

    async def main() -> None:
        reader = SimReader(3, KEY)
        line = OsdpLine([reader])
        answers: list[bytes] = []
        forge: list[Callable[[bytes], bytes]] = [lambda answer: answer]

        def far_end(request: bytes) -> list[Chunk]:
            said = [answer for _, answer in line.feed(request)]
            answers.extend(said)
            return [Chunk(0.01, forge[0](answer)) for answer in said]

        async with MemoryLine(far_end) as wire:
            driver = OsdpReader(spec(key_file=key_file), wire, LoopClock())
            reader.hold(1, 1)
            await driver.poll(["r.online"])
            played = answers[-1]
            assert Frame.from_bytes(played[1:]).code == frame.RAW_CARD
            for _ in range(2):
                await driver.poll(["r.online"])
            forge[0] = lambda answer: played
            with pytest.raises(ProtocolError):
                await driver.poll(["r.online"])
            forge[0] = _turned
            with pytest.raises(ProtocolError):
                await driver.poll(["r.online"])
            assert len(happenings(driver)) == 1

    run(main())


def _turned(answer: bytes) -> bytes:
    packet = Frame.from_bytes(answer[1:])
    changed = Frame(packet.address, packet.code ^ 0x10, packet.data, packet.control, True, packet.block, packet.mac)
    return answer[:1] + changed.to_bytes()


# ---------------------------------------------------------------------- commands


def test_commands(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.write("r.led", "green")
        await driver.write("r.buzzer", True)
        await driver.write("r.relay", True)
        assert [(code, data.hex(" ")) for code, data in reader.commanded] == [
            (frame.LED, "00 00 01 00 00 00 00 00 00 01 0a 00 02 02"),
            (frame.BUZZER, "00 02 02 02 03"),
            (frame.OUTPUT, "00 05 1e 00"),
        ]
        readings = await driver.poll(["r.led", "r.buzzer", "r.relay"])
        assert [each.value for each in readings] == ["green", True, True]
        await driver.write("r.relay", False)
        assert reader.commanded[-1] == (frame.OUTPUT, bytes((0, 1, 0, 0)))
        assert (await driver.poll(["r.relay"]))[0].value is False
        with pytest.raises(DeviceRejected):
            await driver.write("r.tamper", True)

    on(SimReader(3, KEY), check, key_file=key_file)


def test_a_command_is_never_sent_twice(key_file: Path) -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        await driver.poll(POLLED)
        reader.lose_answers = 1
        with pytest.raises(DeviceUnreachable):
            await driver.write("r.relay", True)
        sent = wire.requests[-1]
        await driver.poll(POLLED)
        assert wire.requests.count(sent) == 1
        assert len(reader.commanded) == 1
        assert reader.asked.count(frame.ID) == 2

    on(SimReader(3, KEY), check, key_file=key_file)


def test_an_output_that_there_is_not_is_rejected() -> None:
    async def check(driver: OsdpReader, reader: SimReader, wire: MemoryLine) -> None:
        with pytest.raises(DeviceRejected) as caught:
            await driver.write("r.relay", True)
        assert caught.value.code == 3

    on(SimReader(3, outputs=[]), check)


def test_a_point_must_suit_what_it_shows() -> None:
    good = spec()
    wrong = type(good)("r", good.options, {"r.led": good.points["r.online"], "r.x": good.points["r.led"]}, 1.0)
    twisted = {"r.led": type(good.points["r.led"])(good.points["r.online"].point, good.points["r.led"].options)}
    OsdpReader(wrong, MemoryLine(lambda _: []), LoopClock())
    with pytest.raises(ConfigError, match="does not suit led"):
        OsdpReader(type(good)("r", good.options, twisted, 1.0), MemoryLine(lambda _: []), LoopClock())
