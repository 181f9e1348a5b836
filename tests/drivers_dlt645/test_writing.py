"""Commands: the frames are those that others have captured, the refusals are said, nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Writable
from drivers.dlt645.config import Dlt645PointOptions
from drivers.dlt645.driver import Dlt645Meter
from drivers.dlt645.frame import Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.dlt645.writing import VALID_FOR, broadcast_time, read_password
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.rig import ADDRESS, VALUES, meter
from gateway.clock import ClockState
from gateway.errors import DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Value, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "dlt645.json").read_text(encoding="utf-8"))[
        "vectors"
    ]
}
BEIJING = timezone(timedelta(hours=8))
STATE = {"kind": ValueKind.STATE, "states": ("closed", "open"), "di": "04000503", "bit": 4}
POINTS: dict[str, Any] = {
    "relay": {**STATE, "write": "relay"},
    "permit": {**STATE, "write": "relay_permit"},
    "alarm": {"kind": ValueKind.BOOLEAN, "di": "04000503", "field": "trip_alarm", "write": "alarm"},
    "keep": {"kind": ValueKind.BOOLEAN, "di": "04000503", "bit": 12, "write": "keep_supply"},
    "clock": {"kind": ValueKind.TEXT, "di": "0400010C", "write": "clock"},
    "date": {"kind": ValueKind.TEXT, "di": "04000101", "write": "clock"},
    "time": {"kind": ValueKind.TEXT, "di": "04000102", "write": "clock"},
    "freeze": {"kind": ValueKind.TEXT, "di": "05010001", "write": "freeze"},
    "right": {"kind": ValueKind.BOOLEAN, "di": "0400010C", "write": "clock"},
    "energy": "00010000",
}


def wire(vector: str) -> bytes:
    return bytes.fromhex(VECTORS[vector]["hex"])


def clock_at(local: datetime) -> ManualClock:
    return ManualClock(round(local.timestamp() * 1000))


def password_file(folder: Path, content: str = "02 000000\n") -> Path:
    file = folder / "meter.txt"
    file.write_text(content, encoding="utf-8")
    return file


def confirming(request: bytes) -> list[Chunk]:
    """A meter that obeys whatever it is told."""
    found = find_frame(request)
    assert found is not None
    return [Chunk(0.1, Frame(found[0].address, 0x80 | found[0].control).to_bytes(4))]


def sent(point: str, value: Value, **options: Any) -> bytes:
    """What one confirmed write puts on the wire."""

    async def main() -> list[bytes]:
        async with MemoryLine(confirming) as line:
            await meter(line, POINTS, preamble=0, zone=BEIJING, **options).write(f"m.{point}", value)
            return line.requests

    (request,) = run(main())
    return request


def refused(point: str, value: Value, line: MemoryLine | None = None, **options: Any) -> DeviceRejected:
    """The error of a write that must not get through."""
    line = line or MemoryLine(lambda request: pytest.fail("nothing may be sent"))

    async def main() -> DeviceRejected:
        async with line:
            with pytest.raises(DeviceRejected) as caught:
                await meter(line, POINTS, zone=BEIJING, **options).write(f"m.{point}", value)
            return caught.value

    return run(main())


# ---------------------------------------------------------------------- the frames that others captured


@pytest.mark.parametrize(
    ("vector", "point", "value"),
    [("645-07-log-relay-trip-req", "relay", "open"), ("645-07-log-relay-close-req", "permit", "closed")],
)
def test_relay_commands_are_sent_as_captured(tmp_path: Path, vector: str, point: str, value: str) -> None:
    until = datetime(2099, 12, 30, tzinfo=BEIJING)
    request = sent(
        point,
        value,
        address=Frame.from_bytes(wire(vector)).address,
        password_file=password_file(tmp_path, "02 020637"),
        operator="00000001",
        clock=clock_at(until - VALID_FOR),
    )
    assert request == wire(vector)


@pytest.mark.parametrize("value", ["2018-05-10", " 2018-05-10 "])
def test_the_date_is_set_as_captured(tmp_path: Path, value: str) -> None:
    request = sent(
        "date",
        value,
        address="001803140001",
        password_file=password_file(tmp_path, "02 101010"),
        operator="11111111",
    )
    assert request == wire("645-07-write-date")


def test_the_captured_acknowledgement_confirms(tmp_path: Path) -> None:
    vector = wire("645-07-log-relay-ack")

    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.1, vector)]) as line:
            driver = meter(
                line, POINTS, address=Frame.from_bytes(vector).address, password_file=password_file(tmp_path)
            )
            await driver.write("m.relay", "open")
            assert len(line.requests) == 1

    run(main())


def test_the_time_is_broadcast_as_captured() -> None:
    async def main() -> None:
        async with MemoryLine(lambda request: []) as line:
            await broadcast_time(line, datetime(2017, 6, 5, 10, 22, 51, tzinfo=BEIJING), preamble=0)
            assert line.requests == [wire("645-07-bcast-time")]

    run(main())


# ---------------------------------------------------------------------- what the standard's text says


@pytest.mark.parametrize(
    ("point", "value", "n1"),
    [
        ("relay", "open", 0x1A),
        ("relay", "closed", 0x1C),
        ("permit", "open", 0x1A),
        ("permit", "closed", 0x1B),
        ("alarm", True, 0x2A),
        ("alarm", False, 0x2B),
        ("keep", True, 0x3A),
        ("keep", False, 0x3B),
    ],
)
def test_each_command_has_its_code_and_ends_in_the_meters_local_time(
    tmp_path: Path, point: str, value: Value, n1: int
) -> None:
    now = datetime(2026, 6, 5, 15, 55, 30, tzinfo=UTC)  # 23:55:30 in Beijing: ten minutes on, it is the next day
    request = sent(point, value, password_file=password_file(tmp_path, "04 123456"), clock=clock_at(now))
    frame = Frame.from_bytes(request)
    assert (frame.address, frame.control) == (ADDRESS, 0x1C)
    assert frame.data == bytes.fromhex("04 563412 00000000") + bytes((n1, 0)) + bytes.fromhex("30 05 00 06 06 26")


@pytest.mark.parametrize(
    ("point", "value", "data"),
    [
        ("clock", "2026-06-05T10:22:51", "0C010004 02000000 00000000 51 22 10 05 05 06 26"),
        ("clock", "2026-06-05 02:22:51+00:00", "0C010004 02000000 00000000 51 22 10 05 05 06 26"),
        ("clock", "now", "0C010004 02000000 00000000 00 00 08 00 07 06 26"),  # a Sunday
        ("date", "now", "01010004 02000000 00000000 00 07 06 26"),
        ("time", "now", "02010004 02000000 00000000 00 00 08"),
        ("time", "23:59:58", "02010004 02000000 00000000 58 59 23"),
    ],
)
def test_clocks_are_set_in_local_time(tmp_path: Path, point: str, value: str, data: str) -> None:
    clock = clock_at(datetime(2026, 6, 7, tzinfo=UTC))
    frame = Frame.from_bytes(sent(point, value, password_file=password_file(tmp_path), clock=clock))
    assert (frame.control, frame.data) == (0x14, bytes.fromhex(data))


@pytest.mark.parametrize(("value", "data"), [("now", "99999999"), ("99990000", "00009999"), ("06052359", "59230506")])
def test_a_freeze_needs_no_password(value: str, data: str) -> None:
    frame = Frame.from_bytes(sent("freeze", value))
    assert (frame.control, frame.data.hex()) == (0x16, data)


# ---------------------------------------------------------------------- what is not sent at all


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ("relay", "opened"),
        ("relay", True),
        ("relay", 1),
        ("alarm", "open"),
        ("alarm", 1),
        ("clock", "2026-06-05"),
        ("clock", True),
        ("right", False),
        ("right", "now"),
        ("clock", "2026-06-05T10:22"),
        ("clock", "2126-06-05T10:22:51"),
        ("clock", "2026-02-30T10:22:51"),
        ("date", "2026-6-5"),
        ("date", ""),
        ("time", "10:22"),
        ("time", "24:00:00"),
        ("freeze", "13010000"),
        ("freeze", "later"),
        ("energy", 5.0),
    ],
)
def test_a_value_that_makes_no_sense_is_not_sent(tmp_path: Path, point: str, value: Value) -> None:
    error = refused(point, value, password_file=password_file(tmp_path))
    assert error.hint
    assert f"m.{point}" in str(error)


@pytest.mark.parametrize(
    "content", ["", "02", "2 000000", "02 00000", "02 0000000", "98 000000", "02 00000A", "02 000000 x", "02 98765\xe9"]
)
def test_a_password_file_that_holds_no_password_is_said_and_not_shown(tmp_path: Path, content: str) -> None:
    error = refused("relay", "open", password_file=password_file(tmp_path, content))
    assert "meter.txt" in str(error)
    assert "02 123456" in error.hint
    assert "98765" not in error.advice()


@pytest.mark.parametrize("file", [None, "absent.txt", "."])
def test_without_a_password_nothing_is_sent(tmp_path: Path, file: str | None) -> None:
    error = refused("relay", "open", password_file=tmp_path / file if file else None)
    assert "password_file" in error.hint


def test_the_password_is_read_at_each_write(tmp_path: Path) -> None:
    file = password_file(tmp_path)
    assert read_password(file) == (2, "000000")
    password_file(tmp_path, "  00\t654321\n\n")
    assert read_password(file) == (0, "654321")


@pytest.mark.parametrize(
    ("trust", "point", "value", "is_sent"),
    [
        (ClockState.UNKNOWN, "relay", "open", True),
        (ClockState.HOLDOVER, "clock", "now", False),
        (ClockState.UNKNOWN, "time", "now", False),
        (ClockState.UNKNOWN, "clock", "2026-06-05T10:22:51", True),
        (ClockState.UNKNOWN, "freeze", "now", True),
    ],
)
def test_no_meter_is_set_by_a_clock_that_nobody_vouches_for(
    tmp_path: Path, trust: ClockState, point: str, value: str, is_sent: bool
) -> None:
    clock = ManualClock()
    clock.trust = trust
    options: dict[str, Any] = {"clock": clock, "password_file": password_file(tmp_path)}
    if is_sent:
        assert sent(point, value, **options)
    else:
        assert "not synchronised" in str(refused(point, value, **options))


@pytest.mark.parametrize("address", ["AA" * 6, "AAAAAAAA0101"])
def test_wildcards_command_nobody(tmp_path: Path, address: str) -> None:
    for point, value in (("relay", "open"), ("freeze", "now"), ("clock", "now")):
        error = refused(point, value, address=address, password_file=password_file(tmp_path))
        assert "wildcards" in str(error)


# ---------------------------------------------------------------------- what the meter answers


@pytest.mark.parametrize(
    ("code", "said"), [(0x04, "not authorised"), (0x06, "no such data"), (0x44, "too many tariffs")]
)
def test_a_meter_that_forbids_is_said_with_its_bits_and_asked_once(tmp_path: Path, code: int, said: str) -> None:
    line = MemoryLine(lambda request: [Chunk(0.1, Frame(ADDRESS, 0xDC, bytes((code,))).to_bytes())])
    error = refused("relay", "open", line, password_file=password_file(tmp_path))
    assert "not permitted" in str(error)
    assert said in str(error)
    assert "ESAM" in error.hint
    assert error.code == code
    assert len(line.requests) == 1


def test_another_refusal_is_not_blamed_on_the_password(tmp_path: Path) -> None:
    line = MemoryLine(lambda request: [Chunk(0.1, Frame(ADDRESS, 0xD4, b"\x02").to_bytes())])
    error = refused("clock", "now", line, password_file=password_file(tmp_path))
    assert (error.code, error.hint) == (0x02, "")
    assert "no such data" in str(error)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([], DeviceUnreachable),
        ([Chunk(0.1, b"\x68\x01\x02")], ProtocolError),
        ([Chunk(0.1, Frame("000000190102", 0x9C).to_bytes())], ProtocolError),  # another meter's confirmation
        ([Chunk(0.1, Frame(ADDRESS, 0x94).to_bytes())], ProtocolError),  # of another command
        ([Chunk(0.1, Frame(ADDRESS, 0x1C).to_bytes())], ProtocolError),  # an echo of something
    ],
)
def test_an_unconfirmed_write_is_an_error_and_never_repeated(
    tmp_path: Path, answers: Sequence[Chunk], error: type[Exception]
) -> None:
    async def main() -> None:
        async with MemoryLine(lambda request: answers) as line:
            with pytest.raises(error):
                await meter(line, POINTS, password_file=password_file(tmp_path)).write("m.relay", "open")
            await asyncio.sleep(60)
            assert len(line.requests) == 1

    run(main())


def test_a_late_confirmation_does_not_confirm_the_next_command(tmp_path: Path) -> None:
    """9Ch says that a command was obeyed, not which: the meter is left alone until no late answer can come."""
    late = [[Chunk(0.2 + 1.5, Frame(ADDRESS, 0x9C).to_bytes())], []]

    async def main() -> None:
        async with MemoryLine(lambda request: late.pop(0)) as line:
            driver = meter(line, POINTS, password_file=password_file(tmp_path))
            for value in ("open", "closed"):
                with pytest.raises(DeviceUnreachable):
                    await driver.write("m.relay", value)
            assert line.stale_bytes > 0

    run(main())


# ---------------------------------------------------------------------- with a meter that really switches


def simulated(**options: Any) -> tuple[Dlt645SimMeter, MemoryLine]:
    now = datetime(2026, 6, 5, 10, 0, tzinfo=BEIJING)
    values = {**VALUES, "04000503": "0000"}
    sim = Dlt645SimMeter(ADDRESS, values.__getitem__, clock=lambda: now, **options)
    on = Dlt645SimLine([sim])
    return sim, MemoryLine(lambda request: [Chunk(0.05, answer) for _, answer in on.feed(request)])


async def read(driver: Dlt645Meter, point: str) -> Value | None:
    (reading,) = await driver.poll([f"m.{point}"])
    return reading.value


def driver_for(line: MemoryLine, folder: Path) -> Dlt645Meter:
    clock = clock_at(datetime(2026, 6, 5, 10, 3, tzinfo=BEIJING))  # the meter is three minutes slow
    return meter(line, POINTS, clock, zone=BEIJING, password_file=password_file(folder), operator="0000002A")


def test_a_write_is_seen_by_the_next_poll(tmp_path: Path) -> None:
    sim, line = simulated()

    async def main() -> None:
        async with line:
            driver = driver_for(line, tmp_path)
            assert isinstance(driver, Writable)
            for point, value in (
                ("relay", "open"),
                ("relay", "closed"),
                ("alarm", True),
                ("keep", True),
                ("alarm", False),
            ):
                await driver.write(f"m.{point}", value)
                assert await read(driver, point) == value
            await driver.write("m.relay", "open")
            await driver.write("m.permit", "closed")
            assert await read(driver, "permit") == "open"  # until the household presses the button
            sim.press_button()
            assert await read(driver, "permit") == "closed"
            assert set(sim.operators) == {"0000002A"}

    run(main())


def test_the_clock_is_set_and_read_back(tmp_path: Path) -> None:
    _, line = simulated()

    async def main() -> None:
        async with line:
            driver = driver_for(line, tmp_path)
            assert await read(driver, "clock") == "2026-06-05T10:00:00"
            await driver.write("m.clock", "now")
            assert await read(driver, "clock") == "2026-06-05T10:03:00"
            await driver.write("m.time", "23:59:58")
            await driver.write("m.date", "2026-12-31")
            assert await read(driver, "clock") == "2026-12-31T23:59:58"

    run(main())


def test_a_clock_can_be_watched_and_made_right(tmp_path: Path) -> None:
    """A text with seconds in it never reads back as it was written; whether it is right does."""
    _, line = simulated()

    async def main() -> None:
        async with line:
            driver = driver_for(line, tmp_path)
            assert await read(driver, "right") is False  # three minutes slow
            await driver.write("m.right", True)
            assert await read(driver, "right") is True

    run(main())


@pytest.mark.parametrize(("seconds", "right"), [(0, True), (60, True), (-60, True), (61, False), (-61, False)])
def test_a_minute_is_right_enough(seconds: int, right: bool) -> None:
    _, line = simulated()
    clock = clock_at(datetime(2026, 6, 5, 10, 0, tzinfo=BEIJING) + timedelta(seconds=seconds))

    async def main() -> None:
        async with line:
            driver = meter(line, POINTS, clock, zone=BEIJING)
            assert await read(driver, "right") is right
            clock.trust = ClockState.UNKNOWN  # who does not know the time cannot judge
            assert await read(driver, "right") is None

    run(main())


def test_a_freeze_is_seen_with_its_time(tmp_path: Path) -> None:
    _, line = simulated()

    async def main() -> None:
        async with line:
            driver = driver_for(line, tmp_path)
            assert await read(driver, "freeze") is None
            await driver.write("m.freeze", "now")
            assert await read(driver, "freeze") == "2026-06-05T10:00:00"

    run(main())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"password": (2, "111111")}, 4),
        ({"password": (4, "000000")}, 4),
        ({"password": None}, 4),
        ({"refusals": {0x1C: 0x44}}, 0x44),
    ],
)
def test_a_meter_with_another_password_moves_nothing(tmp_path: Path, options: dict[str, Any], code: int) -> None:
    sim, line = simulated(**options)
    error = refused("relay", "open", line, password_file=password_file(tmp_path))
    assert error.code == code
    assert not sim.relay_open


def test_a_command_whose_time_is_over_is_refused_by_the_meter(tmp_path: Path) -> None:
    sim, line = simulated()
    clock = clock_at(datetime(2026, 6, 5, 9, 49, tzinfo=BEIJING))
    assert refused("relay", "open", line, clock=clock, password_file=password_file(tmp_path)).code == 0x01
    assert not sim.relay_open


def test_settling_takes_as_long_as_a_breaker_needs_and_reading_nothing() -> None:
    driver = meter(MemoryLine(lambda request: []), POINTS)
    assert driver.settle_s("m.relay") >= 10
    assert driver.settle_s("m.energy") == 0


# ---------------------------------------------------------------------- what a profile may say


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"di": "04000503", "bit": 5, "write": "relay"}, "bit 4 of 04000503"),
        ({"di": "04000503", "write": "relay"}, "bit 4 of 04000503"),
        ({"di": "04000501", "bit": 4, "write": "relay"}, "bit 4 of 04000503"),
        ({"di": "04000503", "field": "supply", "write": "alarm"}, "bit 7"),
        ({"di": "00010000", "write": "clock"}, "0400010C"),
        ({"di": "00010000", "write": "freeze"}, "05010001"),
        ({"di": "00010000", "write": "energy"}, "relay_permit"),
    ],
)
def test_a_write_that_cannot_be_read_back_is_refused(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Dlt645PointOptions(**written)
