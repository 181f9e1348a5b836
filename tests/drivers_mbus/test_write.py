"""Setting a meter's clock, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import Explaining, Writable
from drivers.mbus.driver import MbusMeter
from drivers.mbus.records import read_minute
from drivers_contract.wire import Chunk, MemoryLine
from drivers_mbus.rig import POINTS, RECORDS, SECONDARY, meter, sim_meter, spec
from drivers_mbus.test_driver import ACK, NKE, REQ_1, SELECT, answer, on_line, replying, sent
from gateway.clock import ClockState
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Value, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

CLOCK: Mapping[str, Any] = {"quantity": "time", "kind": ValueKind.TEXT, "writable": True}
SHANGHAI = ZoneInfo("Asia/Shanghai")


def set_clock(line: MemoryLine, value: Value, **device: Any) -> MemoryLine:
    async def main() -> MemoryLine:
        async with line:
            written = replace(spec({**POINTS, "clock": CLOCK}, **device), zone=SHANGHAI)
            await MbusMeter(written, line, ManualClock()).write("m.clock", value)
            return line

    return run(main())


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-31T08:30:00", "2026-01-31T08:30:00"),
        ("2026-01-31 08:30:29", "2026-01-31T08:30:00"),
        ("2026-12-31T23:59:30", "2027-01-01T00:00:00"),
        ("2026-01-31T00:30:00Z", "2026-01-31T08:30:00"),
        ("2079-12-01T00:00:00", "2079-12-01T00:00:00"),
        ("now", "2026-01-01T08:00:00"),
    ],
)
def test_a_clock_is_set_to_the_nearest_minute_of_the_sites_time(value: str, moment: str) -> None:
    told: list[tuple[int, bytes]] = []
    sim = sim_meter(RECORDS)
    sim.told = lambda ci, data: told.append((ci, data))
    set_clock(on_line(sim), value)
    ((ci, data),) = told
    assert (ci, data[:2]) == (0x51, b"\x04\x6d")
    assert read_minute(data[2:]) == moment


def test_it_is_sent_as_the_standard_writes_it() -> None:
    """Type F of EN 13757-3, annex A: minute, hour, day and low bits of the year, month and high bits of the year."""
    line = set_clock(replying(ACK, ACK), "2026-01-31T08:30:00")
    assert sent(line) == [NKE, "680909687305 51 046d 1e08 5f31 f016".replace(" ", "")]


def test_a_meter_may_be_selected_for_it() -> None:
    line = set_clock(replying(ACK, ACK), "2026-01-31T08:30:00", secondary=SECONDARY)
    assert sent(line)[0] == SELECT
    assert sent(line)[1].startswith("6809096873fd51046d")


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([[]], DeviceUnreachable),
        ([ACK, []], DeviceUnreachable),
        ([ACK, [Chunk(0.05, b"\x00")]], (DeviceUnreachable, ProtocolError)),
    ],
)
def test_it_is_never_sent_a_second_time(answers: list[list[Chunk]], error: type[Exception]) -> None:
    line = replying(*answers, ACK)
    with pytest.raises(error):
        set_clock(line, "2026-01-31T08:30:00")
    assert len(line.requests) == len(answers)


def test_the_next_readout_begins_anew() -> None:
    async def main() -> None:
        good = [Chunk(0.05, answer(RECORDS))]
        async with replying(ACK, good, ACK, ACK, ACK, good) as line:
            driver = meter(line, {**POINTS, "clock": CLOCK})
            assert isinstance(driver, Writable)
            assert isinstance(driver, Explaining)
            assert driver.settle_s("m.clock") == 0.0
            await driver.poll(["m.energy"])
            await driver.write("m.clock", "now")
            assert (await driver.poll(["m.energy"]))[0].value == 1234
            assert [each for each in sent(line) if not each.startswith("68")] == [NKE, REQ_1, NKE, NKE, REQ_1]

    run(main())


@pytest.mark.parametrize("value", ["noon", "", "2080-01-01T00:00:00", "1999-01-01T00:00:00", 5, True])
def test_what_is_no_time_is_not_sent(value: Value) -> None:
    line = replying()
    with pytest.raises(DeviceRejected, match="2026-01-31T08:30:00"):
        set_clock(line, value)
    assert not line.requests


def test_a_gateway_that_does_not_know_the_time_does_not_spread_it() -> None:
    clock = ManualClock()
    clock.trust = ClockState.UNKNOWN

    async def main() -> None:
        async with replying() as line:
            with pytest.raises(DeviceRejected, match="never set"):
                await MbusMeter(spec({"clock": CLOCK}), line, clock).write("m.clock", "now")
            with pytest.raises(DeviceRejected, match="not writable"):
                await meter(line).write("m.energy", 1)
            assert not line.requests

    run(main())


@pytest.mark.parametrize(
    ("point", "device"),
    [
        ({"quantity": "energy", "writable": True}, {}),
        ({**CLOCK, "storage": 1}, {}),
        ({**CLOCK, "nth": 1}, {}),
        ({**CLOCK, "quantity": "date"}, {}),
        ({"quantity": "bus_address", "writable": True}, {}),
        (CLOCK, {"primary": 5, "reset": False}),
        (CLOCK, {"secondary": "1149037F"}),
    ],
)
def test_what_cannot_be_written_is_a_fault_of_the_configuration(point: Any, device: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\.it"):
        MbusMeter(spec({"it": point}, **device), replying(), ManualClock())
