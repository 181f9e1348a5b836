"""Valve and clock: what is sent, once, and what each answer means.  In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import Explaining, Writable
from drivers.cjt188.driver import Cjt188Meter
from drivers.cjt188.frame import WILDCARD, Frame
from drivers.cjt188.simulator import SimValve
from drivers_cjt188.rig import WATER, meter, spec, water
from drivers_cjt188.test_driver import CONTENT, asked, on_line, replying
from drivers_contract.wire import Chunk, MemoryLine
from gateway.clock import ClockState
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Quality, Value, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

VALVE = {"kind": ValueKind.STATE, "writable": True}
POINTS: dict[str, Any] = {
    "valve": VALVE,
    "clock": {"kind": ValueKind.TEXT, "writable": True},
    "volume": {"unit": "m3"},
    "battery": {"kind": ValueKind.STATE},
}
SHANGHAI = ZoneInfo("Asia/Shanghai")


def reply(data: str, control: int, after_s: float = 0.1) -> list[Chunk]:
    return [Chunk(after_s, Frame(0x10, WATER, control, bytes.fromhex(data)).to_bytes())]


def after_commands(
    line: MemoryLine, *commands: tuple[str, Value], points: dict[str, Any] = POINTS, **options: Any
) -> MemoryLine:
    async def main() -> MemoryLine:
        async with line:
            driver = meter(line, points, timeout_s=1.5, **options)
            for name, value in commands:
                await driver.write(f"m.{name}", value)
            return line

    return run(main())


def commands_in(line: MemoryLine) -> list[str]:
    """Identifier, sequence number and content of everything that was written."""
    frames = [Frame.from_bytes(wire) for wire in line.requests]
    return [frame.data.hex().upper() for frame in frames if frame.control == 0x04]


# ---------------------------------------------------------------------- the valve


def test_a_valve_is_commanded_and_its_status_follows_when_the_motor_has_run() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with on_line(water(valve=SimValve(loop.time, motor_s=20.0))) as line:
            driver = meter(line, POINTS, timeout_s=1.5, valve_s=25.0)
            assert isinstance(driver, Writable)
            assert isinstance(driver, Explaining)
            assert [driver.settle_s(f"m.{name}") for name in ("valve", "clock", "volume")] == [25.0, 0.0, 0.0]
            states = []
            for told in (None, "closed", "open"):
                if told:
                    await driver.write("m.valve", told)
                    states.append((await driver.poll(["m.valve"]))[0].value)
                    await asyncio.sleep(driver.settle_s("m.valve"))
                (valve, battery) = await driver.poll(["m.valve", "m.battery"])
                assert battery.value == "low", "the other bits of the status are the meter's"
                states.append(valve.value)
            assert states == ["open", "open", "closed", "closed", "open"]
            assert commands_in(line) == ["A0170299", "A0170555"]

    run(main())


def test_a_jammed_valve_says_so_after_its_motors_time() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with on_line(water(valve=SimValve(loop.time, jammed=True))) as line:
            driver = meter(line, POINTS, timeout_s=1.5)
            await driver.write("m.valve", "closed")
            await asyncio.sleep(driver.settle_s("m.valve"))
            assert (await driver.poll(["m.valve"]))[0].value == "abnormal"

    run(main())


@pytest.mark.parametrize(("order", "sent"), [("high_first", "A0170299"), ("low_first", "17A00399")])
def test_the_order_of_identifiers_is_found_by_reading_never_by_commanding_twice(order: str, sent: str) -> None:
    line = on_line(water(di_order=order, valve=SimValve(lambda: 0.0)))
    assert commands_in(after_commands(line, ("valve", "closed"))) == [sent]
    assert [di for di, _ in asked(line)][:2] == (["901F", "A017"] if order == "high_first" else ["901F", "1F90"])


def test_an_order_that_is_known_is_not_asked_for_again() -> None:
    for options in ({"di_order": "low_first"}, {"di_order": "high_first"}):
        line = after_commands(on_line(water(valve=SimValve(lambda: 0.0))), ("valve", "closed"), **options)
        assert len(line.requests) == 1


def test_some_makers_have_codes_of_their_own() -> None:
    line = on_line(water(valve=SimValve(lambda: 0.0, codes=(0x66, 0x77))))
    after_commands(line, ("valve", "open"), ("valve", "closed"), valve_codes="66/77")
    assert [each[-2:] for each in commands_in(line)] == ["66", "77"]
    with pytest.raises(DeviceRejected):
        after_commands(line, ("valve", "open"))


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([], DeviceUnreachable),
        (reply("02 0001", 0xC4), DeviceRejected),
        (reply("02 FFFF", 0xC4), DeviceRejected),
        (reply("01 0001", 0xC4), ProtocolError),  # a refusal of the question before
        (reply("A01701 0000", 0x84), ProtocolError),  # a late answer to the question before
        (reply("A01502 0000", 0x84), ProtocolError),
        (reply("A01702 0000", 0x81), ProtocolError),
        ([Chunk(0.1, b"\x68\x10\x00")], ProtocolError),
    ],
)
def test_a_command_is_never_sent_a_second_time(answers: list[Chunk], error: type[Exception]) -> None:
    line = replying(reply(f"901F01 {CONTENT}", 0x81), answers, reply("A01703 0000", 0x84))
    with pytest.raises(error):
        after_commands(line, ("valve", "closed"))
    assert commands_in(line) == ["A0170299"]


def test_a_refusal_carries_the_status() -> None:
    line = replying(reply(f"901F01 {CONTENT}", 0x81), reply("02 0102", 0xC4))
    with pytest.raises(DeviceRejected, match="ST 01 02") as caught:
        after_commands(line, ("valve", "closed"))
    assert caught.value.code == 0x0102


@pytest.mark.parametrize("content", ["0000", ""])
def test_an_answer_confirms_with_and_without_a_status(content: str) -> None:
    line = replying(reply(f"901F01 {CONTENT}", 0x81), reply(f"17A002 {content}", 0x84))
    assert commands_in(after_commands(line, ("valve", "closed"))) == ["A0170299"]


@pytest.mark.parametrize("value", ["abnormal", "shut", "", True, 1])
def test_what_a_valve_cannot_be_told_is_not_sent(value: Value) -> None:
    line = on_line(water(valve=SimValve(lambda: 0.0)))
    with pytest.raises(DeviceRejected, match="open / closed"):
        after_commands(line, ("valve", value))
    assert not line.requests


def test_a_meter_without_a_valve_refuses() -> None:
    with pytest.raises(DeviceRejected):
        after_commands(on_line(water()), ("valve", "closed"))


def test_what_is_not_writable_is_refused_and_not_sent() -> None:
    line = on_line(water(valve=SimValve(lambda: 0.0)))
    for name in ("volume", "valve"):
        with pytest.raises(DeviceRejected, match="not writable"):
            after_commands(line, (name, "closed"), points={**POINTS, "valve": {"kind": ValueKind.STATE}})
    assert not line.requests


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([[], []], DeviceUnreachable),
        ([reply("01 0001", 0xC1), reply("02 0001", 0xC1)], DeviceRejected),
        ([reply("01 0001", 0xC1), []], DeviceUnreachable),
        ([[Chunk(0.1, b"\x68\x10\x00")]], ProtocolError),
    ],
)
def test_nothing_is_commanded_where_reading_fails(answers: list[Sequence[Chunk]], error: type[Exception]) -> None:
    line = replying(*answers)
    with pytest.raises(error):
        after_commands(line, ("valve", "closed"))
    assert commands_in(line) == []


def test_a_lost_line_is_not_taken_for_the_wrong_order() -> None:
    async def main() -> None:
        async with replying() as line:
            line._fail("unplugged")
            with pytest.raises(LineLost):
                await meter(line, POINTS, timeout_s=1.5).write("m.valve", "closed")
            assert not line.requests

    run(main())


@pytest.mark.parametrize(
    ("points", "options"),
    [
        ({"valve": VALVE}, {"address": WILDCARD}),
        ({"volume": {"unit": "m3", "writable": True}}, {}),
        ({"battery": {"kind": ValueKind.STATE, "writable": True}}, {}),
        ({"freeze": {"field": "clock", "di": "D300", "kind": ValueKind.TEXT, "writable": True}}, {}),
    ],
)
def test_what_cannot_be_written_is_a_fault_of_the_configuration(points: Any, options: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\."):
        Cjt188Meter(spec(points, **options), replying(), ManualClock())


# ---------------------------------------------------------------------- the clock


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        ("2015-07-16T12:50:40", "40501216071520"),  # the bytes of the published 188-gas-5
        ("2015-07-16 12:50:40", "40501216071520"),
        ("2015-07-16T04:50:40Z", "40501216071520"),
        ("2015-07-16T06:50:40+02:00", "40501216071520"),
        ("now", "00000801012620"),
    ],
)
def test_a_clock_is_set_in_the_sites_time(value: str, digits: str) -> None:
    said: list[str] = []

    async def main() -> None:
        async with on_line(water(set_clock=said.append)) as line:
            device = replace(spec(POINTS, timeout_s=1.5), zone=SHANGHAI)
            await Cjt188Meter(device, line, ManualClock()).write("m.clock", value)
            assert commands_in(line) == [f"A01502{digits}"]

    run(main())
    assert said == [bytes.fromhex(digits)[::-1].hex()]


@pytest.mark.parametrize("value", ["yesterday", "", "1999-12-31T23:59:59", "2100-01-01T00:00:00", 5])
def test_what_is_no_time_is_not_sent(value: Value) -> None:
    line = on_line(water(set_clock=lambda _: None))
    with pytest.raises(DeviceRejected, match="2026-01-31T08:30:00"):
        after_commands(line, ("clock", value))
    assert not line.requests


def test_a_gateway_that_does_not_know_the_time_does_not_spread_it() -> None:
    clock = ManualClock()
    clock.trust = ClockState.UNKNOWN

    async def main() -> None:
        async with replying() as line:
            with pytest.raises(DeviceRejected, match="never set"):
                await Cjt188Meter(spec(POINTS), line, clock).write("m.clock", "now")
            assert not line.requests

    run(main())


def test_reading_goes_on_after_a_command_as_before() -> None:
    async def main() -> None:
        async with on_line(water(valve=SimValve(lambda: 0.0))) as line:
            driver = meter(line, POINTS, timeout_s=1.5)
            await driver.write("m.valve", "open")
            readings = await driver.poll([f"m.{name}" for name in POINTS])
            assert all(reading.quality is Quality.GOOD for reading in readings)

    run(main())
