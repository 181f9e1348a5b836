"""A meter, and a line of meters, as their bytes look from outside.  Pure: bytes in, bytes out, no time of its own."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.dlt645 import formats, frame, items
from drivers.dlt645.encoding import SimValue, Values, encode
from drivers.dlt645.exchange import DIALECTS, Dialect
from drivers.dlt645.frame import Frame, find_frame

__all__ = ["Dlt645SimLine", "Dlt645SimMeter", "SimValue", "Values"]

_OTHER, _NO_SUCH_DATA, _NOT_AUTHORISED = 0x01, 0x02, 0x04
_MOST_DATA = 200
_NOW = b"\x99" * 4
"""When a freeze happens: every month, every day, every hour, every minute, which means at once."""
_WRITES_2007 = range(frame.WRITE, frame.RELAY + 1)
_WRITES = {"2007": _WRITES_2007, "mixed": _WRITES_2007, "1997": (frame.WRITE_1997, frame.WRITE_ADDRESS_1997)}
_RELAY, _RELAY_COMMAND, _ALARM, _KEEP_SUPPLY = 1 << 4, 1 << 6, 1 << 7, 1 << 12
_SWITCHES = {0x2A: (_ALARM, True), 0x2B: (_ALARM, False), 0x3A: (_KEEP_SUPPLY, True), 0x3B: (_KEEP_SUPPLY, False)}


@dataclass(slots=True)
class Dlt645SimMeter:
    """One meter: answers what it has, refuses what it has not, obeys who knows its password."""

    address: str
    values: Values
    preamble: int = 4
    blocks: bool = True
    """Whether it knows block identifiers (FF)."""
    most_data: int = _MOST_DATA
    """Data bytes of one answer; longer ones are continued with 12h (02h)."""
    edition: str = "2007"
    """A key of exchange.DIALECTS."""
    password: tuple[int, str] | None = (2, "000000")
    """Level and six digits; None: a fee-control meter, which obeys nobody without a security module."""
    clock: Callable[[], datetime.datetime] | None = None
    """Local time; a meter without has no clock, and believes every time limit."""
    refusals: dict[str | int, int] = field(default_factory=dict)
    """Identifier or function code -> the error byte with which it is refused, whatever else would happen."""
    echoes_wildcards: bool = False
    """Answers with the address it was asked under, as some meters of 1997 do."""
    separators: bool = False
    """Puts AAh between the members of a block (1997)."""
    operators: list[str] = field(default_factory=list, init=False)
    """Who has commanded it so far."""
    _word: int = field(default=0, init=False)
    """What commands have set in status word 3."""
    _wrong_by: datetime.timedelta = field(default=datetime.timedelta(), init=False)
    """What has been written to the clock, against *clock*."""
    _kept: dict[str, list[Mapping[str, SimValue]]] = field(default_factory=dict, init=False)
    """Frozen registers, the latest first: kind of freeze, or ``day`` for settlement days -> register -> value."""
    _last: tuple[bytes, bytes, int] = field(default=(b"", b"", 0), init=False)
    """Identifier and data of the last read, and where its last answer began: for the continuation that may follow."""

    # ------------------------------------------------------------------ what happens to it

    @property
    def relay_open(self) -> bool:
        return bool(self._word & _RELAY)

    def press_button(self) -> None:
        """The household closes the relay, if it has been permitted."""
        if not self._word & _RELAY_COMMAND:
            self._word &= ~_RELAY

    def freeze(self, kind: str = "01") -> None:
        """Keep the present registers.  *kind*: 00 timed, 01 instant, 04 hourly, 06 daily."""
        self._kept.setdefault(kind, []).insert(0, dict(self._frozen()))

    def settle(self) -> None:
        """A settlement day: the present energies and demands become those of the last month."""
        registers = {
            f"{group}{quantity:02X}{tariff:02X}{label}": f"{group}{quantity:02X}{tariff:02X}00{label}"
            for group, label in (("00", ""), ("01", ""), ("01", ".time"))
            for quantity in range(9)
            for tariff in range(5)
        }
        self._kept.setdefault("day", []).insert(0, dict(self._present(registers)))

    # ------------------------------------------------------------------ what it says

    def answer(self, request: Frame) -> Frame | None:
        """None where a meter stays silent: not meant, an answer of another, a broadcast, another standard's code."""
        everybody = request.address == frame.BROADCAST
        if request.is_answer or not (everybody or frame.address_matches(request.address, self.address)):
            return None
        if request.function == frame.BROADCAST_TIME:
            self._set_clock("0400010C", request.data[:3] + b"\x00" + request.data[3:])
            return None
        reply = self._reply(request)
        return None if everybody else reply

    def _reply(self, request: Frame) -> Frame | None:
        code = self.refusals.get(request.function, self.refusals.get(_di(request.data[: self._dialect.width])))
        if code is not None:
            return self._refusal(request, code)
        handler = self._handlers().get(request.function)
        if handler is not None:
            return handler(request)
        return self._refusal(request, _NOT_AUTHORISED) if request.function in _WRITES[self.edition] else None

    def _handlers(self) -> Mapping[int, Callable[[Frame], Frame]]:
        if self.edition == "1997":
            return {
                frame.READ_1997: self._first,
                frame.READ_FOLLOWING_1997: lambda request: self._portion(request, self._last[2] + self._room),
                frame.READ_AGAIN_1997: lambda request: self._portion(request, self._last[2]),
            }
        return {
            frame.READ: self._first,
            frame.READ_FOLLOWING: self._following,
            frame.READ_ADDRESS: lambda request: self._good(request, bytes.fromhex(self.address)[::-1]),
            frame.FREEZE: self._obey_freeze,
            frame.WRITE: self._obey_write,
            frame.RELAY: self._obey_relay,
        }

    # ------------------------------------------------------------------ reading

    @property
    def _dialect(self) -> Dialect:
        return DIALECTS[self.edition]

    @property
    def _room(self) -> int:
        """Data behind the identifier in one answer of 1997."""
        return self.most_data - self._dialect.width

    def _first(self, request: Frame) -> Frame:
        identifier = request.data[: self._dialect.width]
        try:
            data = self._encoded(_di(identifier))
        except LookupError:
            return self._refusal(request, _NO_SUCH_DATA)
        self._last = identifier, data, 0
        return self._good(request, identifier + data[: self._room], more=len(data) > self._room)

    def _following(self, request: Frame) -> Frame:
        width = self._dialect.width
        identifier, sequence = request.data[:width], request.data[width : width + 1]
        asked, data, _ = self._last
        room = self.most_data - len(request.data)
        start = self._room + (int.from_bytes(sequence, "big") - 1) * room
        if identifier != asked or start < room or start >= len(data):
            return self._refusal(request, _NO_SUCH_DATA)
        portion = data[start : start + room]
        return self._good(request, identifier + portion + sequence, more=start + room < len(data))

    def _portion(self, request: Frame, start: int) -> Frame:
        """1997: the next portion, or the last one again."""
        identifier, data, _ = self._last
        if start >= len(data) or request.data[:2] not in (b"", identifier):
            return self._refusal(request, _NO_SUCH_DATA)
        self._last = identifier, data, start
        end = start + self._room
        return self._good(request, identifier + data[start:end], more=end < len(data))

    def _encoded(self, di: str) -> bytes:
        """Raises LookupError."""
        if len(di) != 2 * self._dialect.width:
            raise LookupError(di)
        block = items.block(di) if self.blocks else None
        if block is None:
            return self._encoded_item(di)
        members = [self._encoded_member(member, block.item) for member in block.members]
        while members and members[-1] is None:  # a meter sends the tariffs it has
            members.pop()
        if not members:
            raise LookupError(di)
        between = block.separator if self.separators else b""
        return between.join(member or b"\xff" * block.item.size for member in members)

    def _encoded_member(self, di: str, item: formats.Item) -> bytes | None:
        try:
            return encode(di, item, self._value)
        except LookupError:
            return None

    def _encoded_item(self, di: str) -> bytes:
        item = items.lookup(di)
        if item is None:
            raise LookupError(di)
        return encode(di, item, self._value)

    def _value(self, name: str) -> SimValue:
        """What the meter itself knows, else what the world says.  Raises LookupError."""
        if self.clock is not None and name in _CLOCK_FORMATS:
            now = self._now()
            return f"{now:{_CLOCK_FORMATS[name]}}".replace("W", f"0{now.isoweekday() % 7}")
        if name == "04000503":
            return f"{int(str(self.values(name)), 16) | self._word:04X}"
        di, _, label = name.partition(".")
        if di[:2] in ("00", "01", "05") and len(di) == 8 and di[6:] != "00":
            kept = self._kept.get(di[2:4] if di[:2] == "05" else "day", [])
            key = (di[4:6] if di[:2] == "05" else di[:6]) + (f".{label}" if label else "")
            if int(di[6:], 16) <= len(kept) and key in kept[int(di[6:], 16) - 1]:
                return kept[int(di[6:], 16) - 1][key]
        return self.values(name)

    # ------------------------------------------------------------------ obeying

    def _obey_freeze(self, request: Frame) -> Frame:
        if request.data == _NOW:
            self.freeze()
        return self._good(request, b"")

    def _obey_write(self, request: Frame) -> Frame:
        if not self._is_permitted(request.data[4:12]):
            return self._refusal(request, _NOT_AUTHORISED)
        done = self._set_clock(_di(request.data[:4]), request.data[12:])
        return self._good(request, b"") if done else self._refusal(request, _NO_SUCH_DATA)

    def _obey_relay(self, request: Frame) -> Frame:
        if not self._is_permitted(request.data[:8]):
            return self._refusal(request, _NOT_AUTHORISED)
        return self._good(request, b"") if self._switch(request.data[8:]) else self._refusal(request, _OTHER)

    def _is_permitted(self, authority: bytes) -> bool:
        """*authority*: level, three bytes of password, four of operator."""
        if self.password is None or len(authority) != 8:
            return False
        level, password = self.password
        self.operators.append(_di(authority[4:]))
        return authority[0] == level and _di(authority[1:4]) == password

    def _switch(self, command: bytes) -> bool:
        """*command*: N1, N2, valid until.  False when the command is unknown or its time is over."""
        try:
            until = datetime.datetime.strptime(_di(command[2:]), "%y%m%d%H%M%S")  # noqa: DTZ007 -- meters have no zone
        except ValueError:
            return False
        if len(command) != 8 or (self.clock is not None and until < self._now().replace(tzinfo=None)):
            return False
        match command[0]:
            case 0x1A:
                self._word |= _RELAY | _RELAY_COMMAND
            case 0x1B:
                self._word &= ~_RELAY_COMMAND
            case 0x1C:
                self._word &= ~(_RELAY | _RELAY_COMMAND)
            case switch if switch in _SWITCHES:
                bit, on = _SWITCHES[switch]
                self._word = self._word | bit if on else self._word & ~bit
            case _:
                return False
        return True

    def _set_clock(self, di: str, data: bytes) -> bool:
        """False when there is no such clock, or no such time."""
        if self.clock is None or di not in _CLOCK_FORMATS:
            return False
        now = self._now()
        digits = {
            "0400010C": _di(data),
            "04000101": f"{_di(data)}{now:%H%M%S}",
            "04000102": f"{now:%y%m%d}00{_di(data)}",
        }
        try:
            moment = datetime.datetime.strptime(digits[di][:6] + digits[di][8:], "%y%m%d%H%M%S")  # noqa: DTZ007
        except ValueError:
            return False
        self._wrong_by += moment - now.replace(tzinfo=None)
        return True

    def _now(self) -> datetime.datetime:
        assert self.clock is not None
        return self.clock() + self._wrong_by

    def _present(self, registers: Mapping[str, str]) -> Iterator[tuple[str, SimValue]]:
        """Those of *registers* (name under which it is kept -> present name) that the meter has."""
        for kept, name in registers.items():
            try:
                yield kept, self._value(name)
            except LookupError:
                continue

    def _frozen(self) -> Iterator[tuple[str, SimValue]]:
        """Quantities of a freeze (DI1, label) and their present values."""
        yield "00", f"{self._now():%y%m%d%H%M}" if self.clock is not None else None
        tariffs = [("", "00"), *((f".t{n}", f"{n:02X}") for n in range(1, 5))]
        energies = {f"{q:02X}{label}": f"00{q:02X}{t}00" for q in range(1, 9) for label, t in tariffs}
        demands = {
            f"{q + 8:02X}{label}{part}": f"01{q:02X}{t}00{part}"
            for q in (1, 2)
            for label, t in tariffs
            for part in ("", ".time")
        }
        powers = {
            f"10{'.' if name or n else ''}{name}{'_' if name and n else ''}{f'l{n}' if n else ''}": f"02{kind}{n:02X}00"
            for name, kind in (("", "03"), ("reactive", "04"))
            for n in range(4)
        }
        yield from self._present(energies | demands | powers)

    # ------------------------------------------------------------------ frames

    def _good(self, request: Frame, data: bytes, more: bool = False) -> Frame:
        return Frame(self._name(request), 0x80 | (0x20 if more else 0) | request.control, data)

    def _refusal(self, request: Frame, code: int) -> Frame:
        return Frame(self._name(request), 0xC0 | request.control, bytes((code,)))

    def _name(self, request: Frame) -> str:
        return request.address if self.echoes_wildcards else self.address


_CLOCK_FORMATS = {
    "0400010C": "%y%m%dW%H%M%S",
    "04000101": "%y%m%d",
    "04000101.weekday": "W",
    "04000102": "%H%M%S",
    "C010": "%y%m%d",
    "C010.weekday": "W",
    "C011": "%H%M%S",
}
"""W: the weekday in two digits, 00 is Sunday."""


def _di(data: bytes) -> str:
    """Bytes as digits from the high end."""
    return data[::-1].hex().upper()


class Dlt645SimLine:
    """Meters on one pair of wires."""

    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self.meters = tuple(meters)
        self._received = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Bytes from the master, in any portions; what each meter addressed by them puts on the wire.

        A wildcard reaches every meter it fits: several answers then, which a real wire would garble.
        """
        self._received += data
        answers: list[tuple[str, bytes]] = []
        while (found := find_frame(bytes(self._received))) is not None:
            request, _, end = found
            del self._received[:end]
            answers += self._answers(request)
        del self._received[: -frame.LONGEST]
        return answers

    def _answers(self, request: Frame) -> list[tuple[str, bytes]]:
        said = ((meter, meter.answer(request)) for meter in self.meters)
        return [(meter.address, answer.to_bytes(meter.preamble)) for meter, answer in said if answer is not None]
