"""Ten DL/T 645 meters on a simulated RS-485 line at its real speed, polled by the real supervisor."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal

from drivers.base import DeviceSpec, PointSpec, SerialFormat
from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions
from drivers.dlt645.driver import DLT645
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.transport import SerialLink
from gateway.clock import SystemClock
from gateway.model import Point, Quality, Reading, Record, Text, ValueKind
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine
from gateway.supervisor import Line

DI = "00010000"
ENERGY = Decimal("1234.56")


class Meters:
    """The meters as the simulated wire wants them."""

    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self._line = Dlt645SimLine(meters)

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return self._line.feed(data)

    def silence(self) -> None:
        """DL/T 645 frames need no silence between them."""


@dataclass(slots=True)
class MeterLine:
    """What a running line has produced so far."""

    addresses: Sequence[str]
    faults: FaultBoard
    line: Line
    good_at_s: dict[str, list[float]] = field(default_factory=dict)
    """Address -> loop times of its good readings."""
    wrong: list[Reading] = field(default_factory=list)
    """Good readings that are not what the meter shows."""

    def exchanges(self) -> int:
        return sum(map(len, self.good_at_s.values()))


@asynccontextmanager
async def meter_line(
    meters: int, interval_s: float, form: SerialFormat, turnaround_s: tuple[float, float], timeout_s: float
) -> AsyncIterator[MeterLine]:
    """Polls one identifier of each meter every *interval_s* while the context is open."""
    addresses = [f"{n:012d}" for n in range(1, meters + 1)]
    faults = FaultBoard()
    simulated = Meters([Dlt645SimMeter(address, _energy) for address in addresses])
    async with SimLine("rs485", form, [simulated], faults, turnaround_s=turnaround_s) as wire:
        link = SerialLink(wire.path, form)
        clock = SystemClock()
        drivers = {address: DLT645.make(_spec(address, timeout_s), link, clock) for address in addresses}
        jobs = [Job(address, (f"{address}.energy",), interval_s) for address in addresses]

        points = {point.id: point for address in addresses for point in [_point(address)]}

        async def publish(records: Sequence[Record]) -> None:
            for record in records:
                if isinstance(record, Reading) and record.quality is Quality.GOOD:
                    running.good_at_s.setdefault(record.point.partition(".")[0], []).append(loop.time())
                    if record.value != float(ENERGY):
                        running.wrong.append(record)

        loop = asyncio.get_running_loop()
        running = MeterLine(
            addresses,
            faults,
            Line(
                "rs485", link, drivers, jobs, publish, clock, random.Random(1), QualityGate(points), lambda change: None
            ),
        )
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(running.line.run())
            try:
                yield running
            finally:
                polling.cancel()
                with suppress(asyncio.CancelledError):
                    await polling


def _energy(di: str) -> Decimal:
    if di != DI:
        raise LookupError(di)
    return ENERGY


def _point(address: str) -> Point:
    return Point(f"{address}.energy", ValueKind.NUMBER, Text("电量", "energy"), 1.0, "kW.h", counter=True)


def _spec(address: str, timeout_s: float) -> DeviceSpec:
    point = _point(address)
    options = Dlt645PointOptions.model_validate({"di": DI})
    device = Dlt645Options.model_validate({"address": address})
    return DeviceSpec(address, device, {point.id: PointSpec(point, options)}, timeout_s)
