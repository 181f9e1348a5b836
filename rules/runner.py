"""One alarm at work."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model import Device
from rules import journal
from rules.alarm import Alarm
from rules.inputs import Cell, Origin, Slot
from rules.program import Condition
from rules.rule import Rule, Watch
from rules.timers import NEVER


class Runner:
    """One alarm at work: its condition, the cells that it reads, and its state."""

    __slots__ = (
        "alarm",
        "device",
        "due_s",
        "inputs",
        "key",
        "last",
        "messaged",
        "probe",
        "queued_s",
        "rule",
        "saved",
        "starving",
        "watch",
    )

    def __init__(self, watch: Watch, device: Device | None) -> None:
        self.watch = watch
        self.rule: Rule = watch.rule
        self.device = device
        """Whose place and label the alarm bears."""
        self.key = journal.key(watch.rule.id, watch.device)
        self.inputs: tuple[Slot, ...] = ()
        self.starving: tuple[tuple[Cell, float], ...] = ()
        """Inputs and how long each may be without a usable value; empty where the rule just holds."""
        self.messaged: Mapping[str, Origin] = {}
        self.alarm = Alarm(basis=watch.rule.basis)
        self.probe: Condition = watch.program.when
        self.last: object = None
        self.saved = False
        self.due_s = NEVER
        self.queued_s = NEVER


LOOK_AGAIN = object()
"""As the last answer of a condition: whatever it says next, it must be looked at."""
