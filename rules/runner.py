"""One alarm at work, and what its condition may ask of other alarms and of the clock on the wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from gateway.model import Device, Place
from rules import journal
from rules.alarm import Alarm
from rules.calendar import Schedule
from rules.effects import Effects
from rules.inputs import Cell, Derived, Origin
from rules.inputs import Slot as Heard
from rules.output import Line
from rules.program import Condition
from rules.rule import Mode, Rule, Watch
from rules.timers import NEVER


class Standing:
    """Whether an alarm of one rule is on at a place that covers the reader's: the slot behind ``alarm(rule)``."""

    __slots__ = ("members", "readers", "value")

    def __init__(self) -> None:
        self.value = False
        self.members: list[Runner] = []
        self.readers: list[Runner] = []

    def look(self) -> bool:
        """Whether the answer has changed."""
        before = self.value
        self.value = any(member.alarm.active for member in self.members)
        return self.value is not before


class Window:
    """Whether a schedule is open: a slot that the clock on the wall turns."""

    __slots__ = ("due_s", "queued_s", "readers", "schedule", "value")

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.value = False
        self.readers: list[Runner] = []
        self.due_s = NEVER
        self.queued_s = NEVER


class Clockwork:
    """When the next job of the day runs."""

    __slots__ = ("due_s", "index", "queued_s")

    def __init__(self, index: int) -> None:
        self.index = index
        self.due_s = NEVER
        self.queued_s = NEVER


class Trial:
    """A proof test of what a rule moves: its actions without the alarm, for a while."""

    __slots__ = ("due_s", "effects", "key", "lines", "name", "proof", "queued_s", "saved")

    def __init__(self, name: str, effects: Effects, proof: journal.Proof, due_s: float) -> None:
        self.name = name
        self.proof = proof
        self.lines: list[Line] = []
        """What has happened in it so far."""
        self.saved = False
        """Whether the journal has it."""
        self.key = f"{journal.TRIAL_PREFIX}{name}"
        self.effects = effects
        self.due_s = due_s
        self.queued_s = NEVER

    def note(self, lines: Sequence[Line]) -> None:
        self.lines += [line for line in lines if line.name == self.name and line not in self.lines]


Source: TypeAlias = "Heard | Standing"


class Runner:
    """One alarm at work: its condition, the slots that it reads, and its state."""

    __slots__ = (
        "alarm",
        "device",
        "due_s",
        "effects",
        "inputs",
        "key",
        "last",
        "messaged",
        "name",
        "past",
        "probe",
        "queued_s",
        "rank",
        "rule",
        "saved",
        "standings",
        "starving",
        "wait_s",
        "watch",
        "window",
    )

    def __init__(self, watch: Watch, device: Device | None) -> None:
        self.watch = watch
        self.rule: Rule = watch.rule
        self.device = device
        """Whose place and label the alarm bears."""
        self.key = journal.key(watch.rule.id, watch.device)
        self.name = name_of(watch.rule.id, watch.device)
        self.inputs: tuple[Source, ...] = ()
        self.window: Window | None = None
        self.starving: tuple[tuple[int, Cell | Derived, float], ...] = ()
        """Inputs by their numbers and how long each may be without a usable value; empty where the rule just holds."""
        self.messaged: Mapping[str, Origin] = {}
        self.effects: Effects | None = None
        self.standings: tuple[Standing, ...] = ()
        """Where others ask for this alarm."""
        self.alarm = Alarm(basis=watch.rule.basis)
        self.probe: Condition = watch.program.when
        self.last: object = None
        self.past: bool | None = None
        """What the condition was for the latest reading of the past."""
        self.rank = 0
        """0 unless it asks for other alarms; greater than theirs."""
        self.wait_s = NEVER
        """Until when a parent alarm may still explain this one."""
        self.saved = False
        self.due_s = NEVER
        self.queued_s = NEVER

    @property
    def place(self) -> Place:
        return self.device.place if self.device is not None else Place()

    @property
    def shadow(self) -> bool:
        return self.rule.mode is Mode.SHADOW


def name_of(rule: str, device: str | None) -> str:
    return rule if device is None else f"{rule}@{device}"


def covers(mine: Place, theirs: Place) -> bool:
    """Whether an alarm at *theirs* is about *mine*: same grid, building and unit, where both places name one."""
    levels = ((mine.grid, theirs.grid), (mine.building, theirs.building), (mine.unit, theirs.unit))
    return all(one == two or not one or not two for one, two in levels)


LOOK_AGAIN = object()
"""As the last answer of a condition: whatever it says next, it must be looked at."""
