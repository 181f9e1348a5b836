"""The gateway's own state: what ``health`` publishes once a minute and what the CLI asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from heapq import nlargest
from pathlib import Path
from typing import cast

from gateway.clock import Clock
from gateway.envelope import place_item, text_item
from gateway.line_stats import DeviceStats
from gateway.messages import AlarmHealth, DeviceHealth, HealthMessage, LineHealth, PauseItem, StoreHealth, UplinkHealth
from gateway.model import ANNOUNCED
from gateway.pipeline import Pipeline
from gateway.store.log import Store
from gateway.supervisor import Line
from gateway.timekeeper import Timekeeper
from gateway.uplink.mqtt import MqttUplink
from rules.alarm import Pause
from rules.engine import AlarmStatus


@dataclass(slots=True)
class LoopLag:
    """How late the event loop serves its timers, in seconds."""

    worst_s: float = 0.0
    """Since the last ``take``."""
    interval_s: float = 0.25

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self.interval_s
            await asyncio.sleep(self.interval_s)
            self.worst_s = max(self.worst_s, loop.time() - due)

    def take(self) -> None:
        """Begin anew."""
        self.worst_s = 0.0


@dataclass(slots=True)
class Health:
    """Collects from the parts; decides nothing."""

    clock: Clock
    timekeeper: Timekeeper
    started_s: float
    """``monotonic_s`` of the start: the wall clock may have been set since."""
    store: Store
    store_directory: Path
    pipeline: Pipeline
    lines: Sequence[Line]
    uplinks: Mapping[str, MqttUplink]
    lag: LoopLag = field(default_factory=LoopLag)

    async def snapshot(self, *, devices: bool = False) -> HealthMessage:
        """*devices*: with the figures of every device; else only of the few that cost their lines most for nothing."""
        now_ms = self.clock.now_ms()
        stats = await self.store.stats()
        uptime_s = max(self.clock.monotonic_s() - self.started_s, 0.001)
        shown = None if devices else _costliest(self.lines)
        time = self.timekeeper.figures()
        return {
            "v": 1,
            "t": now_ms,
            "uptime_s": round(uptime_s, 1),
            "clock": time["clock"],
            "clock_shift_ms": time["clock_shift_ms"],
            "held": time["held"],
            "store": cast(StoreHealth, stats.as_item()),  # like the uplinks below: held to its type by live traffic
            "accepted": self.pipeline.stats.accepted,
            "dropped": self.pipeline.stats.dropped,
            "lines": {line.id: self._line(line, uptime_s, shown) for line in self.lines},
            "uplinks": {name: cast(UplinkHealth, asdict(uplink.status)) for name, uplink in self.uplinks.items()},
            "alarms": [status_item(alarm) for alarm in self.pipeline.engine.alarms() if alarm.state in ANNOUNCED],
            "disk_free_bytes": _disk_free_bytes(self.store_directory),
            "temperatures_c": _temperatures_c(),
            "loop_lag_ms": round(self.lag.worst_s * 1000, 1),
        }

    def _line(self, line: Line, uptime_s: float, shown: Set[str] | None) -> LineHealth:
        """*shown*: the devices whose figures are wanted; None: all."""
        stats, now_s = line.stats, self.clock.monotonic_s()
        figures = {name: each for name, each in stats.devices.items() if shown is None or name in shown}
        return {
            "open": stats.open,
            "polls": stats.polls,
            "failures": stats.failures,
            "busy": round(min(stats.busy_s / uptime_s, 1.0), 3),
            "busy_1m": round(stats.busy_1m(now_s), 3),
            "skipped": line.skipped(),
            "opened": stats.opened,
            "rebuilt": stats.rebuilt,
            "members": len(line.drivers),
            "silent": sorted(line.silent()),
            "devices": {device: _device(each, now_s) for device, each in figures.items()},
        }


_SHOWN = 5
"""Of the whole gateway: a message must not grow with every device that falls silent."""


def _costliest(lines: Sequence[Line]) -> Set[str]:
    """The few devices on which most time of a line has been wasted."""
    wasted = [(each.wasted_s, name) for line in lines for name, each in line.stats.devices.items() if each.wasted_s]
    return {name for _, name in nlargest(_SHOWN, wasted)}


def _device(stats: DeviceStats, now_s: float) -> DeviceHealth:
    p50_s, p95_s = stats.percentile_s(0.5), stats.percentile_s(0.95)
    return {
        "period_s": stats.period_s,
        "p50_s": None if p50_s is None else round(p50_s, 3),
        "p95_s": None if p95_s is None else round(p95_s, 3),
        "polls": stats.polls,
        "failures": stats.failures,
        "cost_s": round(stats.cost_s, 3),
        "wasted_s": round(stats.wasted_s, 3),
        "silent_s": None if stats.silent_since_s is None else round(now_s - stats.silent_since_s, 1),
    }


def status_item(alarm: AlarmStatus) -> AlarmHealth:
    """One alarm for programs that ask."""
    return {
        "rule": alarm.rule,
        "device": alarm.device,
        "name": text_item(alarm.name),
        "place": place_item(alarm.place),
        "state": alarm.state,
        "priority": alarm.priority,
        "count": alarm.count,
        "since_ms": alarm.since_ms,
        "reason": alarm.reason,
        "known": alarm.known,
        "shadow": alarm.shadow,
        "acked_by": alarm.acked_by,
        "message": text_item(alarm.message),
        "response": text_item(alarm.response),
        "values": dict(alarm.values),
        "suppressed": alarm.suppressed,
        "chattering": alarm.chattering,
        "shelved": _pause_item(alarm.shelf),
        "out_of_service": _pause_item(alarm.outage),
    }


def _pause_item(pause: Pause | None) -> PauseItem | None:
    return None if pause is None else {"by": pause.by, "reason": pause.reason, "until_ms": pause.until_ms}


def _disk_free_bytes(directory: Path) -> int:
    free = os.statvfs(directory)
    return free.f_bavail * free.f_frsize


def _temperatures_c() -> list[float]:
    """What the kernel's thermal zones report; empty on a box (or a virtual machine) without any."""
    readings = []
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*/temp")):
        try:
            readings.append(int(zone.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return readings
