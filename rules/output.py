"""What the engine says: to the journal, to the platforms, to the devices, to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.model import AlarmChange, Place, Priority, Text, Value


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal that people and tests read: ``raise gas@g1``, ``command gas@g1``, ``flood_on``."""

    event: str
    name: str
    """The alarm (``rule`` or ``rule@device``); a point for ``backlog``; empty for what concerns the whole site."""
    time_ms: int
    about: Mapping[str, Value | None] = field(default_factory=dict)
    """For instance who and why."""

    def __str__(self) -> str:
        return f"{self.event} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Order:
    """Something is to be sent to a device, at once and before anybody is told."""

    send: str
    """``device.action``"""
    name: str
    """Of the alarm, as in ``Line``; of the job."""
    attempt: int
    """1 for the first of several tries."""
    time_ms: int
    keep_s: float | None = None
    """How long what comes of it (a picture) is kept."""


@dataclass(frozen=True, slots=True)
class Told:
    """One alarm in a notice."""

    name: str
    id: str
    priority: Priority
    place: Place
    message: Text


@dataclass(frozen=True, slots=True)
class Notice:
    """Somebody is to be told."""

    kind: str
    """``alarm``, ``group``, ``repeat``, ``escalation``, ``summary``"""
    to: tuple[str, ...]
    """As the rule names them; empty: whoever is on duty."""
    alarms: tuple[Told, ...]
    """In the order in which they were raised: the first one is the first-out.  At most some; see *count*."""
    count: int
    group: str
    time_ms: int
    priority: Priority
    """Of the most urgent one, whether or not it stands in *alarms*."""
    active: int
    """How many still want somebody when they are told: on, and neither acknowledged nor muted."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What one call did.  *saved* is committed in the same transaction as *alarms* and *lines*, before *orders* and
    *notices* leave; orders first."""

    alarms: tuple[AlarmChange, ...] = ()
    saved: Mapping[str, bytes | None] = field(default_factory=dict)
    """Journal key -> record; None deletes it."""
    lines: tuple[Line, ...] = ()
    orders: tuple[Order, ...] = ()
    notices: tuple[Notice, ...] = ()


NOTHING = Changes()


class Output:
    """Collects the changes of one call."""

    __slots__ = ("alarms", "lines", "notices", "orders", "saved")

    def __init__(self) -> None:
        self.alarms: list[AlarmChange] = []
        self.saved: dict[str, bytes | None] = {}
        self.lines: list[Line] = []
        self.orders: list[Order] = []
        self.notices: list[Notice] = []

    def line(self, event: str, name: str, time_ms: int, **about: Value | None) -> None:
        self.lines.append(Line(event, name, time_ms, about))

    def add(self, later: Output) -> None:
        self.alarms += later.alarms
        self.saved |= later.saved
        self.lines += later.lines
        self.orders += later.orders
        self.notices += later.notices

    def changes(self) -> Changes:
        if not (self.alarms or self.saved or self.lines or self.orders or self.notices):
            return NOTHING
        return Changes(tuple(self.alarms), self.saved, tuple(self.lines), tuple(self.orders), tuple(self.notices))
