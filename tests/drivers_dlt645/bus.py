"""DL/T 645 meters on a simulated line with its collisions, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from drivers.base import SerialFormat
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from gateway.sim.faults import FaultBoard
from support import virtual_time
from support.copper import Copper

T = TypeVar("T")

FORM = SerialFormat(2400, "E")
NOISE = bytes.fromhex("FE 7A 40")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """In virtual time; no real moment is waited for: here nothing happens outside the loop."""
    return virtual_time.run(coroutine, grace_s=0.0)


class Meters:
    """As the simulated wire wants them."""

    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self.feed = Dlt645SimLine(meters).feed

    def silence(self) -> None:
        """DL/T 645 frames need no silence between them."""


@asynccontextmanager
async def bus(
    meters: Sequence[Dlt645SimMeter],
    *,
    seed: int = 0,
    turnaround_s: tuple[float, float] = (0.020, 0.050),
    faults: FaultBoard | None = None,
) -> AsyncIterator[Copper]:
    """The gateway's end of a line with *meters* on it."""
    async with Copper(FORM, [Meters(meters)], seed=seed, turnaround_s=turnaround_s, faults=faults) as link:
        yield link
