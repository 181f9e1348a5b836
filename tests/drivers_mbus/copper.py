"""M-Bus meters on a simulated line, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.base import SerialFormat
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter
from gateway.sim.faults import FaultBoard
from support import copper

METER_BUS = SerialFormat(2400, "E")


class _Bus:
    """The meters as the simulated line wants them."""

    def __init__(self, meters: Sequence[MbusSimMeter]) -> None:
        self.feed = MbusSimLine(meters).feed

    def silence(self) -> None:
        """No frame of M-Bus ends with silence."""


class Copper(copper.Copper):
    """A link to a simulated line with *meters* on it."""

    def __init__(self, meters: Sequence[MbusSimMeter], *, seed: int = 0, faults: FaultBoard | None = None) -> None:
        super().__init__(METER_BUS, [_Bus(meters)], seed=seed, faults=faults)
