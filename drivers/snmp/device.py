"""One agent: its points divided into requests, its answers into readings.

A version 1 agent that lacks one of the objects answers with an error and the number of the one it lacks; the rest is
asked for again without it.  An agent for which the answer would be too big is asked in halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from drivers.base import DeviceSpec, PointSpec
from drivers.snmp.config import DeviceOptions, Oid, PointOptions, show_oid
from drivers.snmp.engine import Answer
from drivers.snmp.values import Bound, Raw, holds, value_of, wanted
from gateway.clock import Clock
from gateway.errors import ProtocolError
from gateway.model import PointId, Reading, Reason, bad_reading

TOO_BIG, NO_SUCH_NAME, BAD_VALUE, GENERAL_ERROR = 1, 2, 3, 5
"""error-status, RFC 3416 section 3."""
ROWS_AT_ONCE, MOST_ROWS = 16, 64
FORGET_REFUSED_AFTER: Final = 20
"""Polls after which a version 1 agent is asked again for what it has refused."""


class Asks(Protocol):
    """What a device needs of its hub."""

    async def get(self, device: str, oids: Sequence[Oid], timeout_s: float) -> Answer: ...

    async def rows(self, device: str, after: Oid, most: int, timeout_s: float) -> Answer: ...


class SnmpDevice:
    def __init__(self, spec: DeviceSpec, hub: Asks, clock: Clock) -> None:
        self._spec = spec
        self._hub = hub
        self._clock = clock
        self._options: DeviceOptions = spec.options
        self._refused: dict[Oid, int] = {}
        """Objects the whole request fails for -> polls until they are asked for again."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        columns: dict[Oid, list[PointId]] = {}
        scalars: list[PointId] = []
        for point in points:
            options = self._of(point)
            (columns.setdefault(options.place, []) if options.contains else scalars).append(point)
        most = self._options.max_oids
        return [*(scalars[at : at + most] for at in range(0, len(scalars), most)), *columns.values()]

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        if points and self._of(points[0]).contains:
            return await self._poll_column(points)
        oids = list(dict.fromkeys(self._of(point).place for point in points))
        found = await self._get(oids)
        now = self._clock.now_ms()
        return [_reading(self._spec.points[point], found[self._of(point).place], now) for point in points]

    def _of(self, point: PointId) -> PointOptions:
        options: PointOptions = self._spec.points[point].options
        return options

    async def _poll_column(self, points: Sequence[PointId]) -> Sequence[Reading]:
        rows = await self._walk(self._of(points[0]).place)
        now = self._clock.now_ms()
        return [Reading(point, holds(rows, wanted(self._of(point))), now, now) for point in points]

    async def _walk(self, column: Oid) -> list[Bound]:
        rows: list[Bound] = []
        after = column
        while len(rows) < MOST_ROWS:
            answer = await self._hub.rows(self._spec.id, after, ROWS_AT_ONCE, self._spec.timeout_s)
            if answer.status not in (0, NO_SUCH_NAME):  # version 1 says so at the end of its tree
                raise _refusal(answer.status, column)
            for each in answer.bindings if answer.status == 0 else ():
                if each.oid[: len(column)] != column or isinstance(each.raw, Reason):
                    return rows
                if each.oid <= after:
                    raise ProtocolError(f"{show_oid(column)}: the agent's rows do not ascend at {show_oid(each.oid)}")
                rows.append(each)
                after = each.oid
            if not answer.bindings or answer.status:
                return rows
        return rows

    async def _get(self, oids: Sequence[Oid]) -> dict[Oid, Raw]:
        """Every one of *oids* with what there is.  Raises what ``Asks.get`` raises."""
        found: dict[Oid, Raw] = {}
        asked = [oid for oid in oids if not self._is_refused(oid)]
        found |= {oid: Reason.REFUSED for oid in oids if oid not in asked}
        while asked:
            answer = await self._hub.get(self._spec.id, asked, self._spec.timeout_s)
            if answer.status == 0:
                return found | _matched(asked, answer.bindings)
            if answer.status == TOO_BIG and len(asked) > 1:
                half = len(asked) // 2
                return found | await self._get(asked[:half]) | await self._get(asked[half:])
            if answer.status not in (NO_SUCH_NAME, BAD_VALUE, GENERAL_ERROR) or not 1 <= answer.index <= len(asked):
                raise _refusal(answer.status, asked[0])
            lacking = asked.pop(answer.index - 1)
            found[lacking] = Reason.REFUSED
            self._refused[lacking] = FORGET_REFUSED_AFTER
        return found

    def _is_refused(self, oid: Oid) -> bool:
        left = self._refused.pop(oid, 0) - 1
        if left > 0:
            self._refused[oid] = left
        return left > 0


def _matched(asked: Sequence[Oid], bindings: Sequence[Bound]) -> dict[Oid, Raw]:
    """An answer repeats what was asked for; one that does not is somebody else's."""
    answered = {each.oid: each.raw for each in bindings}
    for oid in asked:
        if oid not in answered:
            raise ProtocolError(f"the answer does not hold {show_oid(oid)}")
    return {oid: answered[oid] for oid in asked}


def _reading(spec: PointSpec, raw: Raw, now_ms: int) -> Reading:
    value = value_of(raw, spec.options, spec.point.kind)
    if isinstance(value, Reason):
        return bad_reading(spec.point.id, value, now_ms)
    return Reading(spec.point.id, value, now_ms, now_ms)


def _refusal(status: int, oid: Oid) -> ProtocolError:
    words = {TOO_BIG: "tooBig", NO_SUCH_NAME: "noSuchName", GENERAL_ERROR: "genErr", 16: "authorizationError"}
    return ProtocolError(
        f"error {words.get(status, status)} about {show_oid(oid)}",
        hint="max_oids 是否过大？视图是否允许读取？/ is max_oids too large? may this community or user read it?",
    )
