"""What a driver is.  A driver knows its protocol; it knows nothing of schedules, retries, rules or MQTT.

Several devices share one wire, so the connection and the devices on it are two things.  A ``Connection`` is
opened, lost and reopened as a whole by the core; a ``Driver`` is one device that is read through it.  There are two
kinds of connection: a ``Link`` is asked, one exchange at a time (a bus); a ``Hub`` is listened to (a server that fire
panels connect to, a broker's subscription), and its devices may be asked beside that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel

from gateway.clock import Clock
from gateway.model import Point, PointId, Reading, Value

T = TypeVar("T")


class Connection(Protocol):
    """A way to the field that is open or lost as a whole: a serial port, a TCP connection."""

    async def __aenter__(self) -> Self:
        """Open.  Raises LineLost, and then leaves nothing open."""

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Release.  Never raises; safe when cancelled."""


@dataclass(frozen=True, slots=True)
class SerialFormat:
    """How characters stand on a serial line.  *parity* is N, E or O."""

    baud: int
    parity: str = "N"
    data_bits: int = 8
    stop_bits: int = 1

    @property
    def character_s(self) -> float:
        """Seconds one character occupies the line, start and stop bits included."""
        return (1 + self.data_bits + (self.parity != "N") + self.stop_bits) / self.baud


class Link(Connection, Protocol):
    """A half-duplex byte line.  One exchange at a time; the core sees to that."""

    @property
    def last_answer(self) -> bytes:
        """The bytes in which the last successful exchange found its answer."""

    async def exchange(
        self,
        request: bytes,
        parse: Callable[[bytes], T | None],
        *,
        peer: Hashable,
        timeout_s: float,
        embargo_s: float = 0.0,
        gap_characters: float = 0.0,
        serial: SerialFormat | None = None,
        once: bool = False,
    ) -> T:
        """Send *request*, return the first answer that *parse* accepts.

        parse: given all bytes received since the request, returns the frame that answers it or None while
        there is none; it skips noise, an echo of the request and frames of others by itself.
        timeout_s: from the request's last bit to the answer's last byte.
        embargo_s: protocols whose answers do not say what they answer (Modbus RTU) give how long *peer* must
        be left alone after a time-out, so that its late answer cannot be taken for the next one.
        gap_characters: silence that must precede a request on a serial line, in character times.  Protocols whose
        requests begin with a preamble need none.
        serial: the format this device speaks, where a line carries several.
        once: a command; it is never sent a second time, whatever happens.  A question may be.

        Raises DeviceUnreachable (silence), ProtocolError (bytes came, no valid answer among them), LineLost.
        """

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        """Send *request*, return everything that comes until the line has been silent for *silence_s*.

        For those who look at bytes themselves (scans through a running daemon, collisions).  Empty when nothing came
        within *timeout_s*.  The line is drained before and counts as unclean afterwards.  Raises LineLost.
        """


class Unasked:
    """The driver of a device that is only listened to."""

    __slots__ = ()

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return []

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        return []


class OpenedElsewhere:
    """The opening and closing of a ``Link`` that has nothing to open: another owns the line, or there is none."""

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        return


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a device says has happened; the core makes an event of it (id, device, place)."""

    kind: str
    """A word of docs/events.md: ``access.granted``, ``fire.operation``."""
    time_ms: int
    """When the device says it was; where it has no clock worth believing, when it was heard."""
    attributes: Mapping[str, Value | None] = field(default_factory=dict)
    personal: Mapping[str, str] = field(default_factory=dict)
    """Attributes that name a person (gateway.model.PERSONAL_ATTRIBUTES), as the device says them.  The core puts them
    under the site's pseudonym before anything is written down; nothing else of a happening may tell who it was."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a device has said by itself, in one piece: all of it goes to disk together, or nothing.

    Without readings and happenings it is a sign of life.
    """

    device: str
    readings: Sequence[Reading] = ()
    happenings: Sequence[Happening] = ()
    memory: bytes | None = None
    """How far the driver has come (the number of the last event it took): goes to disk in the same transaction, and is
    given to the hub at its next start (``HubSpec.memory``).  None where nothing changes."""
    receipt: object = None
    """The hub's own: whom to confirm it to when it is on disk."""


@runtime_checkable
class Hub(Connection, Protocol):
    """A line on which devices speak without being asked: a server they connect to, a socket, a subscription."""

    async def receive(self) -> Sequence[Report]:
        """Wait until something has been said; all of it that waits, in order, a bounded number.

        Raises LineLost.  Safe when cancelled: what was not returned is returned by the next call.
        """

    async def stored(self, reports: Sequence[Report]) -> None:
        """*reports* are on disk: confirm them to the devices that wait for that.

        Called once for each report, in order.  Never raises for a device that has gone meanwhile.
        """

    @property
    def strangers(self) -> Mapping[str, str]:
        """Who speaks and is not configured: address -> what is known of it, for people.  Bounded."""


class Driver(Protocol):
    """One field device, polled by the core.  Starts no task, keeps no lock."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        """Divide *points* into groups that one exchange each can read.  Pure; every point exactly once."""

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        """Read one group of ``batches``: one reading per point, in that order.

        A point that the device refuses or has no value for becomes a bad reading.  Raises DeviceUnreachable,
        ProtocolError or LineLost when the group as a whole could not be read.
        """


@runtime_checkable
class Reporting(Protocol):
    """Optional: a polled device that also keeps what has happened meanwhile (cards read at a door)."""

    def take(self) -> Sequence[Report]:
        """What the latest ``poll`` or ``write`` has brought beside readings, in order.  Each is given once."""


@runtime_checkable
class Writable(Protocol):
    """Optional: a driver that can also command its device."""

    async def write(self, point: PointId, value: Value) -> None:
        """Write one point; the device has confirmed it.  Never tries a second time by itself.

        *value* is of the point's kind: a number in its unit, a bool, one of its states, a text.
        Raises DeviceRejected (also for what cannot be sent at all), DeviceUnreachable, ProtocolError, LineLost.
        After the last three nobody knows whether the device has obeyed.
        """

    def settle_s(self, point: PointId) -> float:
        """How long after a write a read may still show the old value (a valve's motor).  Pure."""


@runtime_checkable
class Explaining(Protocol):
    """Optional: a driver that can show the bytes of an answer in every way they could be meant."""

    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        """What *answer* (``Link.last_answer`` after polling *point* alone) says of *point*.

        The raw registers or digits, then each way to read them (types, word orders, with and without sign).  Pure;
        empty when it cannot tell.
        """


@dataclass(frozen=True, slots=True)
class Search:
    """What a scan looks for: one protocol, on one open line, at one serial format."""

    timeout_s: float
    """How long each question waits for its answer."""
    first: int | None = None
    last: int | None = None
    """Numeric addresses to try, both included, for protocols that have such; None: all that are allowed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan has come.  *expected* may grow while the scan goes on (a tree is walked)."""

    asked: int
    expected: int
    where: str = ""
    """What is asked just now, for people: ``unit 17``, ``AAAAAAAA0101``."""


@dataclass(frozen=True, slots=True)
class Found:
    """One device that a scan has met."""

    entry: Mapping[str, Value]
    """What a device entry in site.yaml says to reach it: ``{"unit_id": 7}``, ``{"address": "202301000101"}``."""
    identity: str = ""
    """What it tells of itself: maker, model, version, serial number, medium."""
    trouble: str = ""
    """What is wrong with it, Chinese and English: two devices seem to share the address."""


Discover = Callable[[Link, Search], AsyncIterator["Found | Progress"]]
"""Asks a line who is there.  Politely: one question at a time through ``Link``, writes nothing to any device.

Raises LineLost.  Every other error means: nobody there, or several at once."""


Seek = Callable[[str | None, float], AsyncIterator["Found"]]
"""Asks a network who is there, where devices answer a call to everybody: the address to call (None for the usual one),
the seconds to wait for answers.  Changes nothing in any device.  Raises LineLost."""


@runtime_checkable
class Budgeted(Protocol):
    """Optional: a driver that can say beforehand what its exchanges cost a serial line."""

    def characters(self, points: Sequence[PointId]) -> float:
        """Character times that reading one group of ``batches`` takes: request, answer, demanded silence.  Pure."""


@dataclass(frozen=True, slots=True)
class PointSpec:
    """One point as its driver sees it: what the core must know, and the protocol's own settings (validated)."""

    point: Point
    options: Any
    """An instance of the protocol's ``point_options`` model."""


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device as its driver sees it."""

    id: str
    options: Any
    """An instance of the protocol's ``device_options`` model."""
    points: Mapping[PointId, PointSpec]
    timeout_s: float
    zone: tzinfo = UTC
    """The site's time zone: meters keep local time."""


@dataclass(frozen=True, slots=True)
class HubSpec:
    """One hub as its protocol sees it."""

    id: str
    options: Any
    """An instance of the protocol's ``hub_options`` model."""
    devices: Mapping[str, DeviceSpec]
    memory: Mapping[str, bytes] = field(default_factory=dict)
    """Device -> what its last report on disk said of how far the driver had come."""
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Field:
    """One item of a decoded frame, for people: what it is called, its value, its unit."""

    id: str
    value: Value | None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why bytes are not a frame.  *offset*: index of the byte where it goes wrong; None when the whole is meant."""

    code: str
    text: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A frame explained (``gateway decode``)."""

    direction: str
    """``request`` or ``response``."""
    address: str
    function: str
    """The control or function code, two hex digits."""
    items: tuple[Field, ...] = ()
    error: Fault | None = None
    """The device's own refusal, when the frame is one."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What ``gateway decode`` found in some bytes; ok exactly when there is at least one frame and no fault."""

    frames: tuple[DecodedFrame, ...] = ()
    fault: Fault | None = None

    @property
    def ok(self) -> bool:
        return bool(self.frames) and self.fault is None


@dataclass(frozen=True, slots=True)
class ProtocolType:
    """Everything the core needs to use a protocol; one constant per driver folder, named in registry.py."""

    name: str
    device_options: type[BaseModel]
    """What a device entry may say (address, unit id ...)."""
    point_options: type[BaseModel]
    """What a profile's point may say (register, identifier, scale ...)."""
    make: Callable[[DeviceSpec, Any, Clock], Driver]
    """Of a bus the second argument is the device's ``Link``, of a hub what ``hub`` has made."""
    hub: Callable[[HubSpec, Clock], Hub] | None = None
    """Makes the connection that all devices of one ``protocol:`` line share; None for a protocol of a bus."""
    hub_options: type[BaseModel] | None = None
    """What such a line may say (where to listen, which broker)."""
    seek: Seek | None = None
    """Of a hub: how devices are found that have not spoken yet; None where there is no way."""
    sends: bool = False
    """Points are sent by the device unless the profile says otherwise; they are never asked for by schedule."""
    serial: SerialFormat | None = None
    """The format assumed on a serial line that names none; None where the protocol is not spoken on one."""
    tcp: bool = False
    """May be spoken over a TCP connection."""
    default_timeout_s: float = 1.0
    usual_latency_s: float = 0.02
    """Between the request's last bit and the answer's first, where a profile says nothing better."""
    discover: Discover | None = None
    """How devices are found; None where the protocol has no way."""
    scan_formats: tuple[SerialFormat, ...] = ()
    """Serial formats worth trying in a scan, the likeliest first; empty: *serial* alone."""
