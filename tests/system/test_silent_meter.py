"""One silent meter of ten on one line, at the line's real speed: the others hardly notice."""

from __future__ import annotations

import asyncio
import statistics

import pytest

from drivers.base import SerialFormat
from gateway.sim.faults import SILENT
from support.meter_line import MeterLine, meter_line

# An exchange of 44 characters takes about 80 ms at 9600 8E1 with its turnaround; ten meters need 0.8 s of each 1.2 s.
FORMAT = SerialFormat(9600, "E")
INTERVAL_S = 1.2
TIMEOUT_S = 0.5


def period_s(running: MeterLine, address: str, since: float, until: float) -> float:
    times = [t for t in running.good_at_s[address] if since <= t <= until]
    return (times[-1] - times[0]) / (len(times) - 1)


@pytest.mark.system
def test_the_others_period_grows_by_less_than_ten_percent() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        async with meter_line(10, INTERVAL_S, FORMAT, (0.02, 0.03), TIMEOUT_S) as running:
            healthy = running.addresses[1:]
            await asyncio.sleep(2 * INTERVAL_S)  # the first reads come at once, off the grid
            start = loop.time()
            await asyncio.sleep(14)
            middle = loop.time()
            running.faults.devices[running.addresses[0]] = SILENT
            await asyncio.sleep(30)
            end = loop.time()
            assert running.line.silent() == {running.addresses[0]}
            assert not running.wrong
            before = statistics.mean(period_s(running, address, start, middle) for address in healthy)
            after = statistics.mean(period_s(running, address, middle, end) for address in healthy)
            del running.faults.devices[running.addresses[0]]
            returned = len(running.good_at_s[running.addresses[0]])
            async with asyncio.timeout(60):
                while len(running.good_at_s[running.addresses[0]]) == returned:
                    await asyncio.sleep(0.2)
            return before, after

    before, after = asyncio.run(main())
    assert abs(before - INTERVAL_S) < 0.02, "without a fault the grid is kept"
    assert after / before < 1.10, f"{before:.3f} s -> {after:.3f} s"
