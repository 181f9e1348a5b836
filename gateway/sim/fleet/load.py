"""What a simulated gateway has to say: a compound's meters, now and then an alarm or an event.  Pure, but for its seed.

The registers are the integrals of the powers beside them, as in ../world.py, and shaped by time alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from gateway.clock import ClockState
from gateway.envelope import Draft, Encoder
from gateway.ids import uuid7
from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Event,
    Lane,
    Place,
    Point,
    Priority,
    Reading,
    Record,
    Text,
    ValueKind,
)

MOST_READINGS = 500
"""Of one envelope: they stay under its size limit."""
_SHARES = ((Lane.ALARM, 0.005), (Lane.EVENT, 0.01), (Lane.BILLING, 0.1))
"""Of all envelopes; the rest is telemetry."""
_SWING, _SWING_S = 0.4, 900.0
"""A load swings by this part of its mean, with 2 pi times this period."""


def meters(count: int) -> tuple[Device, ...]:
    """All gateways of a fleet have the same meters, so that a thousand gateways need one catalog in memory."""
    return tuple(_meter(number) for number in range(1, count + 1))


def _meter(number: int) -> Device:
    device = f"m-{number}"
    return Device(
        device,
        "power_meter",
        Text(f"{number} 号电表", f"Meter {number}"),
        Place(building=str(1 + number // 10)),
        "dlt645",
        (
            Point(
                f"{device}.energy", ValueKind.NUMBER, Text("电能", "Energy"), 900.0, "kW.h", Lane.BILLING, counter=True
            ),
            Point(f"{device}.power", ValueKind.NUMBER, Text("功率", "Power"), 60.0, "W"),
        ),
    )


def encoder(devices: Sequence[Device]) -> Encoder:
    return Encoder({point.id: point for device in devices for point in device.points})


class Load:
    """One gateway's.  The same seed gives the same sequence of lanes and the same meters."""

    def __init__(self, devices: Sequence[Device], encode: Encoder, seed: str) -> None:
        self._devices = devices
        self._encode = encode
        self._random = random.Random(seed)
        self._phase = self._random.random() * 2 * math.pi
        self._mean_w = 200.0 + 600.0 * self._random.random()
        self._alarm: AlarmChange | None = None
        self._alarms = 0

    def draft(self, now_ms: int) -> Draft:
        """The content of the next envelope: one reading of each meter, or one alarm or event."""
        lane = self._lane()
        (draft,) = self._encode.drafts(lane, self._records(lane, now_ms), ClockState.SYNCED)
        return draft

    def _lane(self) -> Lane:
        dice = self._random.random()
        for lane, share in _SHARES:
            if dice < share:
                return lane
            dice -= share
        return Lane.TELEMETRY

    def _records(self, lane: Lane, now_ms: int) -> Sequence[Record]:
        match lane:
            case Lane.ALARM:
                return [self._step(now_ms)]
            case Lane.EVENT:
                return [Event(uuid7(now_ms), "door_opened", now_ms, None, Place(building="1"), {"card": "simulated"})]
            case Lane.BILLING:
                return [self._energy(index, device, now_ms) for index, device in enumerate(self._devices)]
            case _:
                return [self._power(index, device, now_ms) for index, device in enumerate(self._devices)]

    def _step(self, now_ms: int) -> AlarmChange:
        """Raised, and over the next time."""
        if self._alarm is None:
            self._alarms += 1
            self._alarm = self._change(uuid7(now_ms), AlarmState.UNACK, "condition", now_ms)
            return self._alarm
        change, self._alarm = self._change(self._alarm.id, AlarmState.NORMAL, "ack", now_ms), None
        return change

    def _change(self, alarm: str, state: AlarmState, reason: str, now_ms: int) -> AlarmChange:
        device = self._devices[0]
        text = Text("功率过高", "Power too high")
        place, priority = device.place, Priority.HIGH
        return AlarmChange(
            alarm, "power_high", device.id, place, state, priority, self._alarms, now_ms, reason, text, {}
        )

    def _angle(self, index: int, now_ms: int) -> float:
        return now_ms / 1000 / _SWING_S + self._phase + index

    def _power(self, index: int, device: Device, now_ms: int) -> Reading:
        watts = self._mean_w * (1 + _SWING * math.sin(self._angle(index, now_ms)))
        return Reading(device.points[1].id, round(watts, 1), now_ms, now_ms)

    def _energy(self, index: int, device: Device, now_ms: int) -> Reading:
        seconds = now_ms / 1000 - _SWING * _SWING_S * math.cos(self._angle(index, now_ms))
        return Reading(device.points[0].id, round(self._mean_w * seconds / 3.6e6, 2), now_ms, now_ms)
