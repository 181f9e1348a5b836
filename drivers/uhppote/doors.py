"""One door of a controller, or the controller itself, read through the hub; a door can be released."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from drivers.base import DeviceSpec
from drivers.uhppote import points as points_
from drivers.uhppote.config import DeviceOptions
from gateway.clock import Clock
from gateway.errors import DeviceRejected
from gateway.model import PointId, Reading, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.uhppote.points import View


class Controllers(Protocol):
    """What of the hub its devices use."""

    async def look(self, serial: int) -> View: ...

    def shows(self, serial: int, values: Mapping[PointId, Value | None]) -> None: ...

    async def open_door(self, serial: int, door: int) -> None: ...


class UhppoteDevice:
    """drivers/base.py: Driver, Writable."""

    def __init__(self, spec: DeviceSpec, hub: Any, clock: Clock) -> None:
        """Raises ConfigError."""
        points_.check(spec)
        self._spec = spec
        self._options: DeviceOptions = spec.options
        self._hub: Controllers = hub
        self._clock = clock
        self._released_until: dict[PointId, float] = {}

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [list(points)] if points else []

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        values: dict[PointId, Value | None] = {
            point: self._is_released(point) for point in points if self._field(point) == "release"
        }
        if len(values) < len(points):
            view = await self._hub.look(self._options.controller)
            seen = view.values(self._spec)
            values |= {point: seen[point] for point in points if point in seen}
            self._hub.shows(self._options.controller, values)
        by_point = {reading.point: reading for reading in points_.readings(values, self._clock.now_ms())}
        return [by_point[point] for point in points]

    async def write(self, point: PointId, value: Value) -> None:
        """True opens the door for as long as the controller is set to; false is what it does by itself."""
        spec = self._spec.points.get(point)
        if spec is None or self._field(point) != "release":
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0, hint="field: release")
        if value is not True:
            self._released_until.pop(point, None)
            return
        door = spec.options.door or self._options.door
        assert door is not None  # points.check has seen to it
        await self._hub.open_door(self._options.controller, door)
        self._released_until[point] = asyncio.get_running_loop().time() + self._options.release_s

    def settle_s(self, point: PointId) -> float:
        return 0.0

    def _field(self, point: PointId) -> str:
        field: str = self._spec.points[point].options.field
        return field

    def _is_released(self, point: PointId) -> bool:
        return asyncio.get_running_loop().time() < self._released_until.get(point, 0.0)
