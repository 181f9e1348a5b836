"""What differs from platform to platform, and nothing else.  Pure: a dialect does no I/O and waits for nothing.

    hello() ─▶ CONNECT, SUBSCRIBE ─▶ introduce() ─▶ encode(envelope) … catalog() … health() … ─▶ farewell()
                                          ▲                 │
                                          └── hear(message) ┴─▶ Receipt, Asked, Introduce, Attend

What it never decides: what goes next, what is repeated, how far an uplink is (window.py, mqtt.py).  One object per
uplink; it may keep what belongs to the present connection (a sequence number), which ``hello`` begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from gateway.clock import Clock
from gateway.envelope import Envelope
from gateway.model import Device, Lane, PointId
from gateway.places import NO_PLACES, Places
from gateway.uplink.contract import Identity


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to the broker.  *qos* 0 only where a standard demands it: such a message counts as delivered when it
    has left."""

    topic: str
    payload: bytes
    retain: bool = False
    qos: Literal[0, 1] = 1
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message from the broker."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """What has to be known before the CONNECT.  *username*, *password*: only where the platform derives them afresh
    for each connection; else those of the configuration are used."""

    client_id: str
    subscriptions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    """Subscriptions whose retained message is wanted: it says how things stand, and is no act."""
    will: Outgoing | None = None
    attended: bool = True
    """False: envelopes wait until ``Attend(True)`` is heard."""
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asks for an act, from afar: not believed yet."""

    uplink: str
    id: str
    """Names the command and its reply; ``[A-Za-z0-9_-]{1,48}``."""
    body: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """*status*: ok, rejected, failed, expired or unknown.  *result*: what was asked for, where there is any."""

    status: str
    code: str = ""
    detail: str = ""
    result: Any = None


# ---------------------------------------------------------------------- what an incoming message means


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform has everything of the lane through *upto* but *missing* (pairs, both ends included)."""

    epoch: str
    lane: Lane
    upto: int
    missing: tuple[tuple[int, int], ...] = ()
    rate: float | None = None
    """Envelopes a second of repeated and late data that it wants at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command.  *context*: what the dialect needs to address the answer."""

    request: Request
    context: Any = None


@dataclass(frozen=True, slots=True)
class Introduce:
    """Send ``introduce()`` and ``catalog()`` again, before any further envelope."""


@dataclass(frozen=True, slots=True)
class Attend:
    """Whether the receiver is there.  While it is not, envelopes stay in the log."""

    present: bool


@dataclass(frozen=True, slots=True)
class Desired:
    """A configuration the platform wants; not believed yet."""

    body: bytes


Heard: TypeAlias = Receipt | Asked | Introduce | Attend | Desired


@dataclass(frozen=True, slots=True)
class Subject:
    """Of whom a dialect speaks.  *devices*: as this platform may see them (filtered, pseudonymous)."""

    uplink: str
    identity: Identity
    devices: Sequence[Device]
    commandable: Set[PointId]
    """Points that the site lets commands write."""
    destinations: Sequence[str]
    """Ids of all uplinks."""
    epoch: Callable[[], str]
    clock: Clock
    started_ms: Callable[[], int]
    """When the daemon started, as far as is known now."""
    reported: Callable[[], bytes | None] = lambda: None
    """What has become of the configuration the platform wanted; None where there was none."""
    places: Places = NO_PLACES
    """As this platform may see them."""


class Dialect(Protocol):
    receipts: bool
    """Whether the platform can say what it has stored."""

    def hello(self) -> Hello:
        """A connection is about to be made."""

    def introduce(self) -> Sequence[Outgoing]:
        """After the subscriptions, before any envelope; and after Introduce."""

    def catalog(self) -> Sequence[Outgoing]:
        """What may be large: sent after ``introduce``, when no urgent lane has anything to say."""

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        """The messages of one envelope; it is delivered when all of them are.

        Empty: this platform has no use for it, and it counts as delivered.  replay: it was committed before this
        connection was made.
        """

    def hear(self, message: Incoming) -> Sequence[Heard]:
        """What a message asks of the uplink; nothing for one that makes no sense."""

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]: ...

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        """*snapshot*: as the contract's ``health`` message."""

    def farewell(self) -> Sequence[Outgoing]:
        """Before a DISCONNECT on purpose."""
