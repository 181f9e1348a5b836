"""The words every part of the gateway shares.  Standard library only; imports nothing of ours."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

PointId: TypeAlias = str
"""A device id, a dot, the point's name on that device: ``m-1-1-101.energy``."""

Value: TypeAlias = float | int | bool | str


class Quality(enum.StrEnum):
    """How far a reading may be believed (OPC UA classes)."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Reason(enum.StrEnum):
    """Why a reading is not good.  The wording is part of the MQTT contract: add, never rename."""

    NO_ANSWER = "no_answer"  # the device was asked and stayed silent
    LINE_LOST = "line_lost"  # the port or connection it is reached through is gone
    BAD_FRAME = "bad_frame"  # it answered, in bytes that do not check
    REFUSED = "refused"  # it answered with an error for this point
    NO_VALUE = "no_value"  # it answered that it has no value (FF fill, invalid BCD, NaN)
    OUT_OF_RANGE = "out_of_range"  # decoded, but outside the point's declared range
    BACKWARDS = "backwards"  # a register that only counts up went down
    JUMP = "jump"  # it rose faster than the meter's rating allows
    WRONG_DEVICE = "wrong_device"  # another device than the configured one answers (its serial number differs)


class Lane(enum.StrEnum):
    """Priority class in the store and on the uplink, most urgent first.  A lane never waits behind a later one."""

    ALARM = "alarm"
    EVENT = "event"
    GAP = "gap"
    BILLING = "billing"
    TELEMETRY = "telemetry"
    BULK = "bulk"


class Priority(enum.StrEnum):
    """How urgent an alarm is, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    JOURNAL = "journal"


class AlarmState(enum.StrEnum):
    """ISA-18.2 states of one alarm; the letters are the standard's."""

    NORMAL = "normal"  # A
    PENDING = "pending"  # condition true, on-delay running: not yet an alarm
    UNACK = "unack"  # B: active, nobody has acknowledged
    ACKED = "acked"  # C: active, acknowledged
    RTN_UNACK = "rtn_unack"  # D: returned to normal before anybody acknowledged
    LATCHED_UNACK = "latched_unack"  # E: over, held until it is acknowledged and reset
    LATCHED_ACKED = "latched_acked"  # F: over and acknowledged, held until it is reset


ANNOUNCED = (
    AlarmState.UNACK,
    AlarmState.ACKED,
    AlarmState.RTN_UNACK,
    AlarmState.LATCHED_UNACK,
    AlarmState.LATCHED_ACKED,
)
"""What is an alarm, most urgent first; a condition whose delay still runs is not one yet."""


class ValueKind(enum.StrEnum):
    NUMBER = "number"
    BOOLEAN = "boolean"
    STATE = "state"  # one word of Point.states
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Text:
    """A text that people see."""

    zh: str
    en: str


PRIORITY_WORDS: Mapping[Priority, Text] = {
    Priority.CRITICAL: Text("紧急", "critical"),
    Priority.HIGH: Text("高", "high"),
    Priority.MEDIUM: Text("中", "medium"),
    Priority.LOW: Text("低", "low"),
    Priority.JOURNAL: Text("仅记录", "journal"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device hangs, from the large to the small; any level may be unknown."""

    grid: str | None = None
    building: str | None = None
    unit: str | None = None
    floor: str | None = None
    room: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One measurable or controllable quantity of a device, as the configuration declares it."""

    id: PointId
    kind: ValueKind
    label: Text
    interval_s: float
    """Expected time between readings; a value older than three of them is unknown to the rules."""
    unit: str | None = None
    """UCUM code, e.g. ``kW.h``, ``Cel``, ``%[LEL]``; None for a pure number or a state."""
    lane: Lane = Lane.TELEMETRY
    states: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    counter: bool = False
    """A register that only counts up (until it rolls over or the meter is replaced)."""
    max_per_hour: float | None = None
    """How much a counter can rise in an hour by the meter's rating, in its unit."""
    writable: bool = False
    commands: tuple[str, ...] = ()
    """Of a writable state, the words that a command may set; all of them when empty."""
    personal: bool = False
    """Personal data by law: a household's own consumption is, a pump's current is not."""
    identity: bool = False
    """The device's own serial number, by which it is told from another in its place."""

    @property
    def device(self) -> str:
        return self.id.partition(".")[0]

    @property
    def name(self) -> str:
        return self.id.partition(".")[2]


@dataclass(frozen=True, slots=True)
class Device:
    """One field device, as the configuration declares it."""

    id: str
    kind: str
    """What the rules select on: ``power_meter``, ``gas_detector``, ``pump`` ..."""
    label: Text
    place: Place
    protocol: str
    points: tuple[Point, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    """Names under which a rule for this device may speak of other devices: role -> device id."""
    actions: Mapping[str, tuple[PointId, Value]] = field(default_factory=dict)
    """What can be sent to it by name, as far as the configuration says it: action -> the point and what is written."""
    area: str | None = None
    """To what it belongs, in the site's own word (``common``, ``shops``); rules select by it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one point at one instant.

    *value* is None exactly when *quality* is BAD; *reason* is None exactly when it is GOOD.
    Times are UTC milliseconds: when the device says it measured, and when the gateway received it.  Of a device
    without a clock the two are the same number; only then does the time depend on the gateway's clock.
    """

    point: PointId
    value: Value | None
    source_time_ms: int
    gateway_time_ms: int
    quality: Quality = Quality.GOOD
    reason: Reason | None = None
    raw: bytes = b""
    """The frame it was decoded from, kept when the reading is doubtful."""

    def __post_init__(self) -> None:
        if (self.value is None) != (self.quality is Quality.BAD) or (self.reason is None) != (
            self.quality is Quality.GOOD
        ):
            raise ValueError(f"{self.point}: value, quality and reason disagree: {self!r}")


def bad_reading(point: PointId, reason: Reason, now_ms: int, raw: bytes = b"") -> Reading:
    return Reading(point, None, now_ms, now_ms, Quality.BAD, reason, raw)


PERSONAL_ATTRIBUTES = frozenset({"holder", "plate", "card", "user", "who", "to"})
"""Attributes of events that name a person: a card's holder, a car, a card, whoever used or commanded something, whom to
tell.  No other attribute may."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a card swiped, a plate seen, a daemon started."""

    id: str
    """UUIDv7."""
    kind: str
    time_ms: int
    device: str | None
    place: Place
    attributes: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """One step of one alarm, as it is journaled and published."""

    id: str
    """UUIDv7 of the occurrence: given when the alarm is raised, the same until the next raise."""
    rule: str
    device: str | None
    """The device the rule was expanded for; None for a rule that names its points in full."""
    place: Place
    state: AlarmState
    priority: Priority
    count: int
    """How often this alarm has been raised since the rule was first loaded."""
    time_ms: int
    reason: str
    """``condition``, ``no_data``, ``ack``, ``rule_changed`` ..."""
    message: Text
    values: Mapping[str, Value | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that will never arrive, announced: envelopes dropped from a lane, or a point not read for a while.

    Either *lane*, *from_seq* and *to_seq* are given, or *point* is.
    """

    reason: str
    from_ms: int
    to_ms: int
    lane: Lane | None = None
    from_seq: int | None = None
    to_seq: int | None = None
    count: int | None = None
    point: PointId | None = None


Record: TypeAlias = Reading | Event | AlarmChange | Gap
"""What the store keeps and the uplink delivers."""

Records: TypeAlias = Sequence[Record]
