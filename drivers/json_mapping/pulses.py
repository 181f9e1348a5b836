"""Points that are only ever said to be true (a button): false again after a while, over restarts too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from drivers.base import DeviceSpec
from gateway.model import PointId, Reading

FULL_PAUSE_S = 1.0


class Pulses:
    """Timers of one hub.  *over*: reports that a point is false again; False when there is no room for it now."""

    def __init__(self, devices: Mapping[str, DeviceSpec], over: Callable[[str, PointId], bool]) -> None:
        self._devices = devices
        self._over = over
        self._running: dict[PointId, asyncio.TimerHandle] = {}

    def after(
        self, device: str, readings: Sequence[Reading], before: Mapping[PointId, int], now_ms: int
    ) -> Mapping[PointId, int]:
        """When each point that was pressed is released (UTC milliseconds); a point that says so itself is over."""
        after = dict(before)
        for reading in readings:
            pulse_s = self._devices[device].points[reading.point].options.pulse_s
            if not pulse_s or reading.value is None:
                continue
            after.pop(reading.point, None)
            if reading.value is True:
                after[reading.point] = now_ms + round(pulse_s * 1000)
            self._set(device, reading.point, pulse_s if reading.value is True else None)
        return after

    def resume(self, device: str, until: Mapping[PointId, int], now_ms: int) -> None:
        """What was pressed when the hub was closed."""
        for point, until_ms in until.items():
            options = self._devices[device].points.get(point)
            if options is not None and point not in self._running:
                left_s = min(options.options.pulse_s, max(0.0, (until_ms - now_ms) / 1000))
                self._set(device, point, left_s)

    def close(self) -> None:
        for timer in self._running.values():
            timer.cancel()
        self._running.clear()

    def _set(self, device: str, point: PointId, left_s: float | None) -> None:
        running = self._running.pop(point, None)
        if running is not None:
            running.cancel()
        if left_s is not None:
            self._running[point] = asyncio.get_running_loop().call_later(left_s, self._ended, device, point)

    def _ended(self, device: str, point: PointId) -> None:
        del self._running[point]
        if not self._over(device, point):
            self._set(device, point, FULL_PAUSE_S)
