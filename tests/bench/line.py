"""DL/T 645 on a simulated RS-485 line at 2400 8E1: how much of what the wire allows is used."""

from __future__ import annotations

import asyncio
import statistics

from drivers.base import SerialFormat
from support.meter_line import meter_line

METERS = 10
SECONDS = 15.0
TURNAROUND_S = 0.02
FORMAT = SerialFormat(2400, "E")


async def run(rounds: int) -> None:
    print(
        f"\n== DL/T 645 at 2400 8E1, {METERS} meters, one identifier each, turnaround {TURNAROUND_S * 1000:.0f} ms =="
    )
    limit_s = exchange_limit_s()
    rate = statistics.median([await _exchanges_per_s() for _ in range(rounds)])
    print(f"   theoretical limit of the line  {1 / limit_s:6.2f} exchanges/s ({limit_s * 1000:.0f} ms each)")
    print(f"   achieved by the supervisor     {rate:6.2f} exchanges/s   utilisation {rate * limit_s:.1%}")


def exchange_limit_s() -> float:
    """Request and answer back to back with nothing but the meter's turnaround between them."""
    preamble, request, answer = 4, 16, 20
    return (preamble + request + preamble + answer) * FORMAT.character_s + TURNAROUND_S


async def _exchanges_per_s() -> float:
    """One round on a fresh, saturated line, with the first second left out."""
    async with meter_line(METERS, 0.001, FORMAT, (TURNAROUND_S, TURNAROUND_S), 1.5) as running:
        await asyncio.sleep(1.0)
        before = running.exchanges()
        await asyncio.sleep(SECONDS)
        return (running.exchanges() - before) / SECONDS
