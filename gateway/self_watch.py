"""The gateway as one of its own devices: what is wrong with it is a reading, so that rules raise alarms about it.

store, uplinks, clock ──once a minute, and at once when told──▶ readings ──▶ pipeline ──▶ rules/built_in.yaml
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from gateway.clock import Clock, ClockState
from gateway.model import Device, Place, Point, Reading, Text, ValueKind

KIND = "gateway"
EVERY_S = 60.0
HELD_S = 3600.0
"""What happens once (an envelope given up, a store replaced) is shown for so long."""

_POINTS = {
    "delivery_refused": Text("有数据被平台拒收", "the platform has refused data"),
    "uplink_fault": Text("上行需要处理", "an uplink needs somebody"),
    "store_fault": Text("存储异常", "trouble with the store"),
    "clock_unknown": Text("时钟未校准", "the clock is not synchronised"),
    "output_fault": Text("命令未落实", "a command has not come about"),
    "config_refused": Text("磁盘上的配置有误", "the configuration on disk has faults"),
}


def own_device(gateway_id: str) -> Device:
    points = tuple(Point(f"{gateway_id}.{name}", ValueKind.BOOLEAN, label, EVERY_S) for name, label in _POINTS.items())
    return Device(gateway_id, KIND, Text("网关", "gateway"), Place(), "", points)


class Uplink(Protocol):
    """What is asked of an uplink's status."""

    @property
    def faults(self) -> Sequence[str]: ...

    @property
    def needs_person(self) -> bool: ...

    @property
    def quarantined(self) -> int: ...


@dataclass(slots=True)
class Findings:
    """What is wrong now.  Pure: feed it counters, ask what to show."""

    _seen: dict[str, int] = field(default_factory=dict)
    _until_s: dict[str, float] = field(default_factory=dict)

    def values(
        self,
        uplinks: Mapping[str, Uplink],
        store_losses: int,
        clock: ClockState,
        now_s: float,
        *,
        failing: bool,
        lost_commands: int = 0,
        config_refused: bool = False,
    ) -> dict[str, bool]:
        """store_losses: counts up with everything the store had to drop, or has lost.  *failing*: it takes nothing
        now.  now_s: monotonic.  lost_commands: counts up with every command that was not confirmed."""
        refused = sum(each.quarantined for each in uplinks.values())
        return {
            "delivery_refused": self._rose("delivery_refused", refused, now_s),
            "uplink_fault": any(each.faults or each.needs_person for each in uplinks.values()),
            "store_fault": self._rose("store_fault", store_losses, now_s) or failing,
            "clock_unknown": clock is ClockState.UNKNOWN,
            "output_fault": self._rose("output_fault", lost_commands, now_s),
            "config_refused": config_refused,
        }

    def _rose(self, name: str, count: int, now_s: float) -> bool:
        if count > self._seen.get(name, 0):
            self._until_s[name] = now_s + HELD_S
        self._seen[name] = count
        return now_s < self._until_s.get(name, now_s)


@dataclass(slots=True)
class SelfWatch:
    device: Device
    look: Callable[[Findings], Awaitable[Mapping[str, bool]]]
    """Collects from the parts of the daemon, and asks the findings."""
    submit: Callable[[Sequence[Reading]], Awaitable[None]]
    clock: Clock
    findings: Findings = field(default_factory=Findings)
    _now: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def hurry(self) -> None:
        """Something has just happened that somebody should know."""
        self._now.set()

    async def run(self) -> None:
        while True:
            self._now.clear()
            values = await self.look(self.findings)
            now_ms = self.clock.now_ms()
            await self.submit([Reading(point.id, values[point.name], now_ms, now_ms) for point in self.device.points])
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._now.wait()
