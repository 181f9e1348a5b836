"""What waits for room on the line, beside the log, and what is on its way.  Pure."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.envelope import Envelope
from gateway.uplink.contract import Verdict, puback_verdict
from gateway.uplink.dialect import Outgoing

MAX_REPLIES = 64
"""Answers that may wait for the line; what comes then is dropped."""


class Kind(enum.Enum):
    BIRTH = "birth"  # before any envelope
    REPLY = "reply"  # kept over a broken connection, until the broker has it
    LATEST = "latest"  # of which only the newest counts: health
    CATALOG = "catalog"
    PART = "part"  # of an envelope
    FAREWELL = "farewell"


@dataclass(slots=True)
class Parcel:
    """An envelope on its way, in one or several messages; the worst of their answers is its own."""

    envelope: Envelope
    waiting: int
    worst: int = 0

    def answered(self, code: int) -> bool:
        """One message's reason code has come; whether it was the last."""
        self.waiting -= 1
        if puback_verdict(code) is not Verdict.DONE or puback_verdict(self.worst) is Verdict.DONE:
            self.worst = code
        return not self.waiting


class Flight(NamedTuple):
    """One message that has been handed to the connection."""

    kind: Kind
    message: Outgoing
    parcel: Parcel | None
    sent_s: float


@dataclass(slots=True)
class Outbox:
    births: deque[Outgoing] = field(default_factory=deque)
    replies: deque[Outgoing] = field(default_factory=deque)
    latest: dict[str, Outgoing] = field(default_factory=dict)
    parts: deque[tuple[Outgoing, Parcel]] = field(default_factory=deque)
    catalog: deque[Outgoing] = field(default_factory=deque)
    catalog_due: bool = False

    def begin(self) -> None:
        """A connection begins: of the last one only the answers are still wanted."""
        self.births.clear()
        self.latest.clear()
        self.parts.clear()
        self.catalog.clear()
        self.catalog_due = False

    def introduce(self, births: Iterable[Outgoing]) -> None:
        self.births = deque(births)
        self.catalog.clear()
        self.catalog_due = True

    def reply(self, messages: Iterable[Outgoing]) -> None:
        self.replies.extend(list(messages)[: MAX_REPLIES - len(self.replies)])

    def put_back(self, flights: Iterable[Flight]) -> None:
        """These were on their way when the connection broke."""
        self.replies.extendleft(reversed([flight.message for flight in flights if flight.kind is Kind.REPLY]))

    def next_control(self) -> tuple[Kind, Outgoing] | None:
        if self.births:
            return Kind.BIRTH, self.births.popleft()
        if self.replies:
            return Kind.REPLY, self.replies.popleft()
        return (Kind.LATEST, self.latest.pop(next(iter(self.latest)))) if self.latest else None

    def empty(self) -> bool:
        return not (self.births or self.replies or self.latest or self.parts)
