"""What a rule says, after its keys are read and its names are found: plain values, no behaviour."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.model import PointId, Priority, Text, Value
from rules.alarm import Timing
from rules.calendar import Schedule
from rules.program import Program
from rules.text import Template


class Mode(enum.StrEnum):
    LIVE = "live"
    SHADOW = "shadow"  # decides and is journaled; tells nobody and sends nothing
    OFF = "off"


class Hook(enum.StrEnum):
    """What an action waits for."""

    ALARM = "on_alarm"
    CLEAR = "on_clear"
    ACK = "on_ack"
    RESET = "on_reset"


class While(enum.StrEnum):
    """How long an action lasts; a command with an end is answered by its opposite, see ``Action.undo``."""

    ACTIVE = "active"
    UNACK = "unack"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most *count* times in *within_s*."""

    count: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Confirm:
    """The command has come about when *point* shows *value*."""

    point: str
    """As the rule names it; in a ``Watch`` the point's id."""
    value: Value
    within_s: float


@dataclass(frozen=True, slots=True)
class Action:
    """One ``send`` line.  *send* is ``device.action``: as the rule names it, in a ``Watch`` with the device's id."""

    hook: Hook
    send: str
    hold: bool = False
    """Sent again whenever the confirmation shows that somebody has undone it, as long as the alarm is not normal."""
    during: While | None = None
    confirm: Confirm | None = None
    tries: int = 1
    otherwise: tuple[str, ...] = ()
    """Sent when all tries have failed."""
    at_most: Rate | None = None
    at_most_for_s: float | None = None
    keep_s: float | None = None
    optional: bool = False
    """Left out for a device that has nobody to send it to: no such role, and no device of that name."""


@dataclass(frozen=True, slots=True)
class Escalation:
    after_s: float
    to: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Who may reset a latched alarm; nobody named means everybody."""

    who: tuple[str, ...] = ()
    reason_required: bool = False


SHELF_S = 8 * 3600.0
"""The longest shelf where the rule says nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    name: Text
    note: Text
    mode: Mode
    priority: Priority
    timing: Timing
    no_data_after_s: float | None
    """None: three intervals of the point concerned."""
    basis: str
    """Fingerprint of the condition; delays and texts are not part of it."""
    message: tuple[Template, Template]
    """Chinese and English."""
    response: Text
    response_within_s: float | None
    written: Mapping[str, str] = field(default_factory=dict)
    """The texts of its conditions, by key."""
    reset: Reset = Reset()
    longest_shelf_s: float = SHELF_S
    """0: never."""
    act_on_no_data: bool = False
    only_during: Schedule | None = None
    record_backlog: bool = False
    wait_for_parent_s: float = 0.0
    escalate: tuple[Escalation, ...] = ()
    notify: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A rule without a condition: at some time of the day something is done."""

    id: str
    name: Text
    at_s: float
    """Seconds after local midnight."""
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule bound to one device, or to the points it names in full."""

    rule: Rule
    device: str | None
    program: Program
    targets: tuple[str, ...]
    """For each input of the program the point it reads; the device itself for silent(), the rule for alarm()."""
    shown: Mapping[str, PointId]
    """The points that the message names."""
    actions: tuple[Action, ...] = ()


class Group(enum.StrEnum):
    BUILDING = "building"
    UNIT = "unit"
    FLOOR = "floor"
    TYPE = "type"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Flood:
    """More than people can read: on at *start* raises within *within_s*, off below *end*."""

    start: int = 10
    end: int = 5
    within_s: float = 600.0
    summary_every_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """What holds for all rules of a site."""

    timezone: str = ""
    """Of schedules and jobs; empty: as the site says, else UTC."""
    group_by: Group = Group.NONE
    group_wait_s: float = 5.0
    flood: Flood | None = None
    """None: however many, each is told as ever."""
    repeat_s: Mapping[Priority, float] = field(default_factory=dict)
    """How often an alarm that nobody has acknowledged is announced again."""


Actions: TypeAlias = Mapping[str, frozenset[str]]
"""Device -> what can be sent to it."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    rules: tuple[Rule, ...] = ()
    watches: tuple[Watch, ...] = ()
    site: Site = Site()
    jobs: tuple[Job, ...] = ()
