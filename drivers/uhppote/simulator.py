"""UHPPOTE controllers on one UDP port, as their bytes look from outside; its encoder shares no code with the driver.

    async with UhppoteSimulator([405419896]) as network:
        door = network.controllers[405419896]
        door.swipe(1, 10058400)          # an event, and a push to whoever is set as its listener
        door.reset()                     # begins anew, as after a factory reset

``lose_push`` decides for each push whether the network swallows it; ``lose`` for each answer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address

from drivers.hub import HostPort, UdpServer

_SIZE = 64


@dataclass(slots=True)
class SimEvent:
    type: int
    granted: bool
    door: int
    direction: int
    card: int
    time: datetime
    reason: int


@dataclass(eq=False)
class SimController:
    """One controller.  *now*: its own clock, local time."""

    serial: int
    now: Callable[[], datetime]
    address: str = "127.0.0.1"
    ring: int = 100_000
    """So many events are kept; older ones are overwritten."""
    latest: int = 0
    """Index of the last event."""
    events: dict[int, SimEvent] = field(default_factory=dict)
    open: list[bool] = field(default_factory=lambda: [False] * 4)
    buttons: list[bool] = field(default_factory=lambda: [False] * 4)
    relays: list[bool] = field(default_factory=lambda: [False] * 4)
    system_error: int = 0
    listener: tuple[str, int, int] = ("0.0.0.0", 0, 0)
    clock_off: timedelta = timedelta()
    refuses_to_open: bool = False
    ignores: frozenset[int] = frozenset()
    """Functions that its firmware does not know."""
    opened: list[int] = field(default_factory=list)
    """Doors that were opened from afar, in order."""
    asked: list[int] = field(default_factory=list)
    """Functions that were asked for, in order."""
    push: Callable[[SimController], None] = lambda controller: None
    first_sign: int = 0x17
    """19h: firmware 6.62."""
    sequence: int = 0

    # ------------------------------------------------------------------ what happens at the doors

    def happens(
        self,
        type_: int,
        granted: bool,
        door: int,
        direction: int,
        card: int,
        reason: int,
        *,
        silent: bool = False,
    ) -> int:
        """The new event's index.  *silent*: no push."""
        self.latest += 1
        self.events[self.latest] = SimEvent(type_, granted, door, direction, card, self.clock(), reason)
        self.events.pop(self.latest - self.ring, None)
        if not silent:
            self.push(self)
        return self.latest

    def swipe(self, door: int, card: int, reason: int = 1, direction: int = 1, *, silent: bool = False) -> int:
        return self.happens(1, reason == 1, door, direction, card, reason, silent=silent)

    def press(self, door: int) -> int:
        return self.happens(2, True, door, 1, 0, 20)

    def opens(self, door: int, reason: int = 23) -> int:
        """The contact opens; reason 38: by force."""
        self.open[door - 1] = True
        return self.happens(3 if reason == 38 else 2, False, door, 1, 0, reason)

    def stays_open(self, door: int) -> int:
        return self.happens(3, False, door, 1, 0, 37)

    def closes(self, door: int) -> int:
        self.open[door - 1] = False
        return self.happens(2, False, door, 1, 0, 24)

    def reset(self) -> None:
        """All events are gone; the next one has the index 1."""
        self.events.clear()
        self.latest = 0

    def clock(self) -> datetime:
        return self.now() + self.clock_off

    # ------------------------------------------------------------------ bytes

    def answer(self, data: bytes) -> bytes | None:
        """None for what it does not answer."""
        function = data[1]
        self.asked.append(function)
        body = None if function in self.ignores else self._body(function, data)
        return None if body is None else self._packet(function, body)

    def status(self) -> bytes:
        """As it is pushed."""
        self.sequence += 1
        return self._packet(0x20, self._status(), self.first_sign)

    def _packet(self, function: int, body: bytes, start: int = 0x17) -> bytes:
        return (struct.pack("<BBHI", start, function, 0, self.serial) + body).ljust(_SIZE, b"\0")

    def _body(self, function: int, data: bytes) -> bytes | None:
        match function:
            case 0x20:
                return self._status()
            case 0x30:
                self.clock_off = datetime.strptime(data[8:15].hex(), "%Y%m%d%H%M%S") - self.now()  # noqa: DTZ007
                return data[8:15]
            case 0x32:
                return _bcd(self.clock())
            case 0x40:
                return self._opened(data[8])
            case 0x90:
                address, port, every_s = struct.unpack_from("<4sHB", data, 8)
                self.listener = str(IPv4Address(address)), port, every_s
                return b"\x01"
            case 0x92:
                address, port, every_s = self.listener
                return IPv4Address(address).packed + struct.pack("<HB", port, every_s)
            case 0x94:
                mac = bytes.fromhex("001223344556")
                net = IPv4Address("255.255.255.0").packed + bytes(4)
                return IPv4Address(self.address).packed + net + mac + bytes.fromhex("089220181105")
            case 0xB0:
                return self._event(struct.unpack_from("<I", data, 8)[0])
        return None

    def _opened(self, door: int) -> bytes:
        if self.refuses_to_open or not 1 <= door <= int(str(self.serial)[0]):
            return b"\x00"
        self.opened.append(door)
        self.happens(2, True, door, 1, 0, 44)
        return b"\x01"

    def _event(self, index: int) -> bytes:
        event = self.events.get(index)
        if event is None:
            return struct.pack("<IB", index, 0xFF) if 0 < index <= self.latest else bytes(5)
        return struct.pack("<I", index) + _packed(event)

    def _status(self) -> bytes:
        last = self.events.get(self.latest)
        now = self.clock()
        body = struct.pack("<I", self.latest) + (bytes(16) if last is None else _packed(last))
        body += bytes(self.open) + bytes(self.buttons) + bytes((self.system_error,)) + _bcd(now)[4:]
        body += struct.pack("<I", self.sequence) + bytes(4) + bytes((0, _bits(self.relays), 0)) + _bcd(now)[1:4]
        return body


def _packed(event: SimEvent) -> bytes:
    head = struct.pack("<BBBBI", event.type, event.granted, event.door, event.direction, event.card)
    return head + _bcd(event.time) + bytes((event.reason,))


def _bcd(moment: datetime) -> bytes:
    return bytes.fromhex(f"{moment:%Y%m%d%H%M%S}")


def _bits(flags: Iterable[bool]) -> int:
    return sum(flag << bit for bit, flag in enumerate(flags))


class UhppoteSimulator(UdpServer):
    """A network with these controllers; they all are reached through one port."""

    def __init__(
        self, serials: Iterable[int], now: Callable[[], datetime], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__((host, port), self._answer)
        self.controllers = {each: SimController(each, now, host, push=self._push) for each in serials}
        self.lose_push: Callable[[], bool] = lambda: False
        self.lose: Callable[[], bool] = lambda: False

    def feed(self, data: bytes) -> list[bytes]:
        """A packet -> what is answered, by each controller that it is for."""
        if len(data) != _SIZE or data[0] != 0x17:
            return []
        serial = struct.unpack_from("<I", data, 4)[0]
        everybody = serial == 0 and data[1] == 0x94
        heard = list(self.controllers.values()) if everybody else [self.controllers.get(serial)]
        return [answer for each in heard if each is not None and (answer := each.answer(data)) is not None]

    def _push(self, controller: SimController) -> None:
        address, port, _ = controller.listener
        if port and not self.lose_push():
            self.send(controller.status(), (address, port))

    def _answer(self, data: bytes, peer: HostPort) -> None:
        for answer in self.feed(data):
            if not self.lose():
                self.send(answer, peer)
