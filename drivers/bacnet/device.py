"""One BACnet device: its points divided into questions, its answers into readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from drivers.bacnet.apdu import Ack, Failure, Primitive, Refused, Wanted
from drivers.bacnet.config import DeviceOptions, PointOptions
from drivers.bacnet.values import value_of
from drivers.base import DeviceSpec, PointSpec
from gateway.clock import Clock
from gateway.errors import ProtocolError
from gateway.model import PointId, Reading, Reason, bad_reading

_UNRECOGNIZED_SERVICE: Final = 9
"""Reject reason (clause 18.9)."""
_SERVICES, _NOT_SUPPORTED = 5, 29
"""Error class and code: optional functionality is not there."""
_TOO_LONG: Final = (1, 4)
"""Abort reasons: buffer overflow, segmentation not supported."""


class Asks(Protocol):
    """What a device needs of its hub."""

    async def ask(self, device: str, wanted: Sequence[Wanted], *, single: bool, timeout_s: float) -> Ack | Failure: ...


class BacnetDevice:
    def __init__(self, spec: DeviceSpec, hub: Asks, clock: Clock) -> None:
        self._spec = spec
        self._hub = hub
        self._clock = clock
        self._options: DeviceOptions = spec.options
        self._single = False
        """It has refused ReadPropertyMultiple."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        most = self._options.max_objects
        return [points[at : at + most] for at in range(0, len(points), most)]

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        wanted = list(dict.fromkeys(self._of(point).wanted() for point in points))
        found = await self._read(wanted)
        now = self._clock.now_ms()
        return [reading(self._spec.points[point], found[self._of(point).wanted()], now) for point in points]

    def _of(self, point: PointId) -> PointOptions:
        options: PointOptions = self._spec.points[point].options
        return options

    async def _read(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Primitive | Refused]:
        if self._single:
            return await self._one_by_one(wanted)
        answer = await self._hub.ask(self._spec.id, wanted, single=False, timeout_s=self._spec.timeout_s)
        if isinstance(answer, Ack):
            return _matched(wanted, answer)
        if _is_unknown(answer):
            self._single = True
            return await self._one_by_one(wanted)
        if answer.kind == "abort" and answer.code in _TOO_LONG and len(wanted) > 1:
            half = len(wanted) // 2
            return {**await self._read(wanted[:half]), **await self._read(wanted[half:])}
        raise _failed(answer)

    async def _one_by_one(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Primitive | Refused]:
        found: dict[Wanted, Primitive | Refused] = {}
        for each in wanted:
            answer = await self._hub.ask(self._spec.id, [each], single=True, timeout_s=self._spec.timeout_s)
            if isinstance(answer, Failure) and answer.kind != "error":
                raise _failed(answer)
            if isinstance(answer, Failure):
                found[each] = Refused(answer.error_class, answer.code)
            else:
                found |= _matched([each], answer)
        return found


def reading(spec: PointSpec, raw: Primitive | Refused, now_ms: int) -> Reading:
    value = value_of(raw, spec.options, spec.point.kind)
    if isinstance(value, Reason):
        return bad_reading(spec.point.id, value, now_ms)
    return Reading(spec.point.id, value, now_ms, now_ms)


def _matched(wanted: Sequence[Wanted], answer: Ack) -> dict[Wanted, Primitive | Refused]:
    """An answer repeats what was asked for; one that does not is somebody else's."""
    answered = dict(answer.values)
    for each in wanted:
        if each not in answered:
            raise ProtocolError(f"the answer does not hold property {each.property} of object {each.object}")
    return {each: answered[each] for each in wanted}


def _is_unknown(answer: Failure) -> bool:
    rejected = answer.kind == "reject" and answer.code == _UNRECOGNIZED_SERVICE
    return rejected or (answer.kind == "error" and (answer.error_class, answer.code) == (_SERVICES, _NOT_SUPPORTED))


def _failed(answer: Failure) -> ProtocolError:
    return ProtocolError(
        f"{answer.kind} {answer.code}",
        hint="对象编号、max_objects 对吗？/ do the objects exist, is max_objects small enough?",
    )
