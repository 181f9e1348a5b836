"""Devices that speak by themselves: who has gone silent, and which values still count.  Pure; times are monotonic.

report ──▶ heard, said ──▶ due(now) ─┬─▶ silent: nothing came for silent_after_s; every value turns bad, once
                                     └─▶ repeat: what a device said last and still means (a door is open), told
                                         again every interval while the device is heard
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.model import PointId, Reading


@dataclass(frozen=True, slots=True)
class Sent:
    """What one device sends by itself."""

    points: tuple[PointId, ...]
    silent_after_s: float
    """A device of which nothing has come for so long is taken to be out of reach."""
    held: Mapping[PointId, float] = field(default_factory=dict)
    """Points whose last value counts until the device says another, and how often (s) it is told again."""


@dataclass(slots=True)
class _Held:
    reading: Reading
    again_s: float
    """When it is told again."""


@dataclass(slots=True)
class Due:
    silent: list[str] = field(default_factory=list)
    repeat: list[Reading] = field(default_factory=list)
    """As they were said; whoever tells them again stamps them with now."""


class Hearing:
    def __init__(self, devices: Mapping[str, Sent]) -> None:
        self.devices = devices
        self._heard_s: dict[str, float] = {}
        self._silent: set[str] = set()
        self._held: dict[PointId, _Held] = {}

    def begin(self, now_s: float) -> None:
        """The hub has been opened: everybody gets the time to say something."""
        self._heard_s = dict.fromkeys(self.devices, now_s)

    def heard(self, device: str, now_s: float) -> bool:
        """A sign of life.  True when it ends a silence."""
        if device not in self.devices:
            return False
        self._heard_s[device] = now_s
        if device not in self._silent:
            return False
        self._silent.discard(device)
        return True

    def said(self, readings: Iterable[Reading], now_s: float) -> None:
        for reading in readings:
            sent = self.devices.get(reading.point.partition(".")[0])
            interval_s = None if sent is None else sent.held.get(reading.point)
            if interval_s is None:
                continue
            if reading.value is None:
                self._held.pop(reading.point, None)
            else:
                self._held[reading.point] = _Held(reading, now_s + interval_s)

    def lost(self) -> list[str]:
        """The hub is gone, and with it everybody who was still heard; nothing that was said counts any longer."""
        gone = [device for device in self.devices if device not in self._silent]
        self._silent.update(gone)
        self._held.clear()
        self._heard_s.clear()
        return gone

    def due(self, now_s: float) -> Due:
        due = Due()
        for device, heard_s in self._heard_s.items():
            if device not in self._silent and now_s >= heard_s + self.devices[device].silent_after_s:
                due.silent.append(device)
        for device in due.silent:
            self._silent.add(device)
            for point in self.devices[device].held:
                self._held.pop(point, None)
        for point, held in self._held.items():
            if now_s >= held.again_s:
                held.again_s = now_s + self.devices[point.partition(".")[0]].held[point]
                due.repeat.append(held.reading)
        return due

    def next_s(self) -> float:
        """When ``due`` has something to say at the earliest; infinity when never."""
        ends = [
            heard_s + self.devices[device].silent_after_s
            for device, heard_s in self._heard_s.items()
            if device not in self._silent
        ]
        return min([*ends, *(held.again_s for held in self._held.values())], default=math.inf)

    def silent(self) -> frozenset[str]:
        return frozenset(self._silent)


def told_again(readings: Sequence[Reading], now_ms: int) -> list[Reading]:
    """The device is heard and has said nothing else: it holds now."""
    return [replace(reading, source_time_ms=now_ms, gateway_time_ms=now_ms) for reading in readings]
