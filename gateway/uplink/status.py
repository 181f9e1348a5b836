"""What an uplink tells of itself, and how patient it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds.  The defaults are the product's; tests shorten them."""

    drain_s: float = 3.0
    """On cancellation: for what the broker can still acknowledge."""
    goodbye_s: float = 0.5
    """After that: for the dialect's farewell, and again for the DISCONNECT."""
    ack_s: float = 15.0
    """A message without its PUBACK for so long, and nothing leaving a slow line: the connection is dead.  Doubles each
    time nothing at all was acknowledged, until something is soon: the broker may only be slow."""
    slowest_ack_s: float = 120.0
    """... or for so long, whatever leaves."""
    short_session_s: float = 60.0
    """A connection that ended sooner counts as a failure."""
    save_s: float = 0.1
    """Acknowledgements reach the log at most this often."""
    tick_s: float = 1.0
    address_s: float = 8.0
    first_pause_s: float = 1.0
    """For a lane that the broker refuses; doubles up to a minute."""
    receipt_s: float = 30.0
    """Without a receipt for so long: the oldest unconfirmed envelope is sent again, as a reminder; doubles up to ten
    minutes."""


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    connected: bool
    since_ms: int | None
    """Of the present connection, or of the end of the last one; None before the first."""
    error: str
    """Why the last attempt or connection ended; empty while connected."""
    hint: str
    needs_person: bool
    faults: tuple[str, ...]
    """What does not work although the uplink is connected: refused subscriptions, a held lane ..."""
    in_flight: int
    oldest_in_flight_s: float | None
    sent: int
    acknowledged: int
    unheard: int
    """Acknowledged by a broker that said nobody was subscribed."""
    unconfirmed: int
    """With receipts: taken by the broker, and not yet confirmed by the platform."""
    quarantined: int
    reconnects: int


@dataclass(slots=True)
class Counters:
    """Since the daemon's start."""

    sent: int = 0
    acknowledged: int = 0
    unheard: int = 0
    quarantined: int = 0
    connections: int = 0


@dataclass(slots=True)
class Faults:
    """What does not work although the uplink is connected; each said once in the log."""

    uplink: str
    _texts: dict[str, str] = field(default_factory=dict)

    def note(self, key: str, text: str) -> None:
        if key not in self._texts:
            structlog.get_logger().warning("uplink fault", uplink=self.uplink, fault=text)
        self._texts[key] = text

    def over(self, key: str) -> None:
        self._texts.pop(key, None)

    def clear(self) -> None:
        self._texts.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts.values())
