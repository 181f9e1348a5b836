"""Who is told what and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import Place, Text
from rules.alarm import Instant
from rules.output import Output
from rules.rule import Rule, Site
from rules.timers import NEVER


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    rule: Rule
    place: Place
    kind: str
    message: Text
    id: str


class Desk:
    def __init__(self, site: Site) -> None:
        self.due_s = NEVER
        self.queued_s = NEVER

    def raised(self, now: Instant, output: Output) -> None: ...

    def announce(self, entry: Entry, now: Instant, output: Output) -> None:
        output.line("notify", entry.name, now.utc_ms)

    def over(self, name: str, now: Instant) -> None: ...

    def expire(self, now: Instant, output: Output) -> None: ...

    def record(self) -> object | None:
        return None

    def restore(self, record: object, now: Instant, entries: Mapping[str, Entry]) -> None: ...
