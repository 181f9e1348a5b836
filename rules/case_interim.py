"""What the engine does not say by itself yet: journal lines read out of alarm changes, and acts still to come.

To be deleted when ``Changes.lines`` is complete and ``Engine`` has ``shelve``, ``reset``, ``value`` and their like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gateway.model import AlarmChange, AlarmState
from rules import journal
from rules.engine import Changes, Engine, Instant
from rules.output import Line


class Coming:
    """The engine with what is still to come: nothing is done, nothing is known."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def shelve(self, rule: str, device: str | None, who: str, for_s: float, now: Instant) -> Changes:
        return Changes()

    def unshelve(self, rule: str, device: str | None, who: str, now: Instant) -> Changes:
        return Changes()

    def reset(self, rule: str, device: str | None, who: str, reason: str, now: Instant) -> Changes:
        return Changes()

    def out_of_service(
        self, rule: str, device: str | None, who: str, reason: str, for_s: float | None, now: Instant
    ) -> Changes:
        return Changes()

    def into_service(self, rule: str, device: str | None, who: str, reason: str, now: Instant) -> Changes:
        return Changes()

    def value(self, text: str) -> float | bool | None:
        return None


class Guess:
    """The lines that ``Changes.lines`` will hold."""

    def __init__(self) -> None:
        self._pending: set[str] = set()
        self._counts: Counter[str] = Counter()

    def lines(self, changes: Changes) -> list[Line]:
        return list(changes.lines) or [*self._alarms(changes), *self._pendings(changes)]

    def _alarms(self, changes: Changes) -> Iterator[Line]:
        for change in changes.alarms:
            name = change.rule if change.device is None else f"{change.rule}@{change.device}"
            yield Line(self._event(change, name), name, change.time_ms)

    def _event(self, change: AlarmChange, name: str) -> str:
        raised = change.count > self._counts[name]
        self._counts[name] = change.count
        match change.state:
            case AlarmState.UNACK:
                return "raise" if raised else "reason"
            case AlarmState.ACKED:
                return "ack"
        return "ack" if change.reason == "ack" else "clear"

    def _pendings(self, changes: Changes) -> Iterator[Line]:
        for key, record in changes.saved.items():
            if journal.parse_key(key) is None:
                continue
            name = key.removeprefix("alarm/")
            alarm = None if record is None else journal.read_alarm(record)[0]
            is_pending = alarm is not None and alarm.shown is AlarmState.PENDING
            if is_pending and name not in self._pending:
                self._pending.add(name)
                yield Line("pending", name, 0)
            elif not is_pending and name in self._pending:
                self._pending.discard(name)
                if alarm is None or not alarm.active:
                    yield Line("pending_cancel", name, 0)
