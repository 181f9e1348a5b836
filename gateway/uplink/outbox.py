"""What waits for room on the line, beside the log, and what is on its way.  Pure.

One queue: what a dialect has made may carry a running number of its own, so it leaves in the order in which it was
made, or not at all.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.envelope import Envelope
from gateway.uplink.contract import Verdict, puback_verdict
from gateway.uplink.dialect import Asked, Outgoing, Reply

MAX_ANSWERS = 64
"""Answers that may wait for a connection; what comes then is dropped."""


class Kind(enum.Enum):
    BIRTH = "birth"
    ANSWER = "answer"
    HEALTH = "health"
    CATALOG = "catalog"
    PART = "part"  # of an envelope
    FAREWELL = "farewell"


class Answer(NamedTuple):
    """What a command has come to: kept until the broker has it, over broken connections."""

    asked: Asked
    reply: Reply


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


class Item(NamedTuple):
    kind: Kind
    message: Outgoing
    of: Parcel | Answer | None = None


class Flight(NamedTuple):
    """One message that has been handed to the connection."""

    item: Item
    sent_s: float


@dataclass(slots=True)
class Outbox:
    queue: deque[Item] = field(default_factory=deque)
    catalog: deque[Outgoing] = field(default_factory=deque)
    catalog_due: bool = False
    unsaid: deque[Answer] = field(default_factory=deque)
    """Not made into messages yet, or made for a connection that has ended."""

    def begin(self, flights: Iterable[Flight]) -> None:
        """A connection has ended, with these on their way: only the answers are wanted on the next one."""
        unsaid = [flight.item.of for flight in flights if isinstance(flight.item.of, Answer)]
        unsaid += [item.of for item in self.queue if isinstance(item.of, Answer)]
        self.unsaid.extendleft(reversed({id(answer): answer for answer in unsaid}.values()))
        self.queue.clear()
        self.catalog.clear()
        self.catalog_due = False

    def add(self, kind: Kind, messages: Iterable[Outgoing], of: Parcel | Answer | None = None) -> None:
        self.queue.extend(Item(kind, message, of) for message in messages)

    def introduce(self, births: Iterable[Outgoing]) -> None:
        self.add(Kind.BIRTH, births)
        self.catalog.clear()
        self.catalog_due = True

    def answer(self, answer: Answer) -> None:
        if len(self.unsaid) < MAX_ANSWERS:
            self.unsaid.append(answer)

    def holds(self, kind: Kind) -> bool:
        return any(item.kind is kind for item in self.queue)
