"""Reads one M-Bus meter.

    points ──batches──▶ all of them: an answer holds everything the meter has
           ──poll────▶ SND_UD select or SND_NKE … E5, REQ_UD2 … RSP_UD, again while DIF 1Fh says more follows
                       ──records──▶ by quantity, modifier, storage, tariff, subunit, function ──▶ readings

FCB: toggled with each new request, kept after a failure, so that a meter repeats what was lost.  A readout of several
telegrams, and one that failed, leave unknown where the meter stands: the next one begins with SND_NKE.  A selection
begins anew by itself (SND_NKE to 253 would undo it), and precedes every readout: another meter may be the selected one.

No embargo after a time-out: a late answer is this meter's own (it says its address, after a selection its
identification), a moment old; in a readout of several, one that repeats the telegram before it ends the readout,
and what was not found by then is bad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from drivers.base import DeviceSpec, Link, PointSpec, ProtocolType, SerialFormat
from drivers.mbus import frame, records
from drivers.mbus.config import MbusOptions, MbusPointOptions
from drivers.mbus.frame import Frame, find_frame
from drivers.mbus.records import Header, Key, Record, Telegram
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.model import Point, PointId, Reading, Reason, Value, ValueKind, bad_reading

_MOST_TELEGRAMS = 16
"""A meter that always says "more" must not hold the line."""
_SELECT = 0x52
_SELECTION_BYTES = 17
_GAP = 3.0
"""33 bit times of rest: what EN 13757-2 asks of a master before it sends again."""
Convert = Callable[[Value], Value | None]


class MbusMeter:
    """One meter on a line that others share (drivers/base.py: Driver)."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point's kind does not suit its quantity."""
        options: MbusOptions = spec.options
        self._secondary = options.secondary
        self._address = frame.SELECTED if options.primary is None else options.primary
        self._peer = ("mbus", options.secondary or options.primary)
        self._reset = options.reset
        self._timeout_s = spec.timeout_s
        self._link = link
        self._clock = clock
        self._sources = {point: _source(each) for point, each in spec.points.items()}
        self._fcb = True
        """The frame count bit of the next new request."""
        self._in_step = False
        """Whether the next request is known to get the first telegram."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [list(points)] if points else []

    def characters(self, points: Sequence[PointId]) -> float:
        """As if the one telegram were full: a meter sends all it has, whatever is asked of it."""
        selection = _SELECTION_BYTES + len(frame.ACK) + _GAP if self._secondary is not None else 0
        return selection + frame.SHORT + _GAP + frame.LONGEST

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readout = await self._read_out()
        return [_reading(point, self._sources[point], readout) for point in points]

    # ------------------------------------------------------------------ inside

    async def _read_out(self) -> _Readout:
        """Everything the meter says.  Raises DeviceUnreachable, ProtocolError, LineLost."""
        in_step, self._in_step = self._in_step, False  # stays so when an exchange fails or is cancelled
        if self._secondary is not None:
            await self._acknowledged(Frame(frame.SND_UD, frame.SELECTED, _SELECT, _selection(self._secondary)))
            self._fcb = True
        elif self._reset and not in_step:
            await self._acknowledged(Frame(frame.SND_NKE, self._address))
            self._fcb = True
        answers = [await self._request()]
        telegrams = [records.parse(answers[0].ci or 0, answers[0].data)]
        while telegrams[-1].more_follows and len(telegrams) < _MOST_TELEGRAMS:
            answer = await self._request()
            if answer == answers[-1]:  # it does not heed the frame count bit: there is no way to the rest
                break
            answers.append(answer)
            telegrams.append(records.parse(answer.ci or 0, answer.data))
        self._in_step = len(telegrams) == 1 and telegrams[0].fault is None
        return _readout(telegrams, answers, self._clock.now_ms())

    async def _request(self) -> Frame:
        """The next telegram."""
        request = Frame(frame.REQ_UD2 | (frame.FCB if self._fcb else 0), self._address)
        answer = await exchange(self._link, request, self._timeout_s, self._peer, self._secondary)
        self._fcb = not self._fcb
        return answer

    async def _acknowledged(self, request: Frame) -> None:
        wire = request.to_bytes()

        def parse(received: bytes) -> bool | None:
            answer = received.removeprefix(wire)  # an adapter's echo may hold E5, whole or in part
            return True if answer.endswith(frame.ACK) and not wire.startswith(answer) else None

        await self._link.exchange(wire, parse, peer=self._peer, timeout_s=self._timeout_s, gap_characters=_GAP)


async def exchange(
    link: Link, request: Frame, timeout_s: float, peer: tuple[str, object], secondary: str | None = None
) -> Frame:
    """Send REQ_UD2, return the RSP_UD of the meter asked: by address, or by identification after a selection.

    Raises DeviceUnreachable, ProtocolError, LineLost.
    """

    def parse(received: bytes) -> Frame | None:
        found = find_frame(received)
        while found is not None and not _answers(found[0], request.address, secondary):
            found = find_frame(received, found[2])
        return found[0] if found else None

    return await link.exchange(request.to_bytes(), parse, peer=peer, timeout_s=timeout_s, gap_characters=_GAP)


def _answers(answer: Frame, address: int, secondary: str | None) -> bool:
    if not answer.is_response:
        return False
    if secondary is None:
        return answer.address == address
    return answer.ci == records.ERROR or _is_selected(secondary, answer)


def _is_selected(secondary: str, answer: Frame) -> bool:
    """Whether the meter that answers is meant by 16 places, F standing for any; the fixed structure names 8 of them."""
    own = records.identification(answer.ci or 0, answer.data)
    return len(own) >= 8 and all(asked in ("F", is_) for asked, is_ in zip(secondary, own, strict=False))


def _selection(secondary: str) -> bytes:
    raw = bytes.fromhex(secondary)
    return raw[:4][::-1] + raw[4:6][::-1] + raw[6:]


# ---------------------------------------------------------------------------------------------- what an answer is worth


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one point is found, worked out once."""

    key: Key
    nth: int | None
    in_header: bool
    convert: Convert


@dataclass(frozen=True, slots=True)
class _Readout:
    header: Header | None
    records: Mapping[Key, Sequence[Record]]
    missing: Reason
    """What to say of a point that is not among the records."""
    raw: bytes
    time_ms: int


def _readout(telegrams: Sequence[Telegram], answers: Sequence[Frame], now_ms: int) -> _Readout:
    found: dict[Key, list[Record]] = {}
    for telegram in telegrams:
        for record in telegram.records:
            found.setdefault(record.key, []).append(record)
    last = telegrams[-1]
    missing = Reason.NO_VALUE
    if any(telegram.error is not None for telegram in telegrams):
        missing = Reason.REFUSED
    elif last.more_follows or any(telegram.fault for telegram in telegrams):
        missing = Reason.BAD_FRAME  # the point may have been in what could not be read
    return _Readout(telegrams[0].header, found, missing, answers[-1].to_bytes(), now_ms)


def _reading(point: PointId, source: _Source, readout: _Readout) -> Reading:
    value, reason = _header_value(source, readout) if source.in_header else _record_value(source, readout)
    converted = None if value is None else source.convert(value)
    if converted is None:
        return bad_reading(point, reason, readout.time_ms, readout.raw)
    return Reading(point, converted, readout.time_ms, readout.time_ms)


def _header_value(source: _Source, readout: _Readout) -> tuple[Value | None, Reason]:
    if readout.header is None:
        return None, readout.missing
    if source.key[0] == "medium":
        return records.medium_text(readout.header.medium), Reason.NO_VALUE
    value: Value = getattr(readout.header, source.key[0])
    return value, Reason.NO_VALUE


def _record_value(source: _Source, readout: _Readout) -> tuple[Value | None, Reason]:
    """The value, or why there is none.  Of several that differ none is chosen unless the point says which."""
    found = readout.records.get(source.key, ())
    if source.nth is not None:
        found = found[source.nth - 1 : source.nth]
    if not found:
        return None, readout.missing
    first = found[0]
    if first.error is not None and first.error not in records.NO_DATA_CODES:
        return None, Reason.REFUSED
    if any(each.value != first.value for each in found):
        return None, Reason.NO_VALUE
    return first.value, Reason.NO_VALUE


def _source(spec: PointSpec) -> _Source:
    options: MbusPointOptions = spec.options
    return _Source(options.key, options.nth, options.in_header, _conversion(spec.point, options))


def _conversion(point: Point, options: MbusPointOptions) -> Convert:
    """From what records.py reads to what the point's kind wants; None for a value of another kind."""
    bit, states = options.bit, point.states
    match point.kind:
        case ValueKind.NUMBER if bit is None and not options.is_text:
            scale = None if options.scale == 1.0 else Decimal(repr(options.scale))
            return lambda value: _number(value, scale)
        case ValueKind.TEXT if bit is None and options.scale == 1.0:
            return str
        case ValueKind.BOOLEAN if bit is not None and not options.is_text:
            return lambda value: _bit(value, bit)
        case ValueKind.STATE if bit is not None and len(states) == 2 and not options.is_text:
            return lambda value: None if (on := _bit(value, bit)) is None else states[on]
    raise ConfigError(
        f"{point.id}: 类型与量 {options.quantity} 不符 / kind {point.kind} does not suit quantity {options.quantity}",
        hint="number: 数值 numeric; text: 文本与时间 texts and times; boolean: bit; state: bit + 两个状态 two states",
    )


def _number(value: Value, scale: Decimal | None) -> float | int | None:
    if isinstance(value, str):
        return None
    return value if scale is None else float(Decimal(repr(value)) * scale)  # not 0.1 * 3 = 0.30000000000000004


def _bit(value: Value, bit: int) -> bool | None:
    return bool(value >> bit & 1) if isinstance(value, int) else None


MBUS = ProtocolType(
    name="mbus",
    device_options=MbusOptions,
    point_options=MbusPointOptions,
    make=MbusMeter,
    serial=SerialFormat(baud=2400, parity="E"),
    tcp=True,
    usual_latency_s=0.05,
    default_timeout_s=2.0,  # 330 bit times and 50 ms of thinking, then up to 1.2 s for a full frame at 2400 baud
)
