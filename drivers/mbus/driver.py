"""Reads one M-Bus meter, and sets its clock.

    points ──batches──▶ all of them: an answer holds everything the meter has
           ──poll────▶ SND_UD select or SND_NKE … E5, REQ_UD2 … RSP_UD, again while DIF 1Fh says more follows
                       ──records──▶ by quantity, modifier, storage, tariff, subunit, function ──▶ readings
    value  ──write───▶ SND_UD select or SND_NKE … E5, SND_UD 51h … E5, once

FCB: toggled with each new request, kept after a failure, so that a meter repeats what was lost.  A readout of several
telegrams, and one that failed, leave unknown where the meter stands: the next one begins with SND_NKE.  A selection
begins anew by itself (SND_NKE to 253 would undo it), and precedes every readout: another meter may be the selected one.
A meter without SND_NKE may answer the first request with what it said long ago, or from the middle of several
telegrams: that is thrown away, up to the last telegram, and what is read is what comes after a toggled bit.

No embargo after a time-out: a late answer is this meter's own (it says its address, after a selection its
identification), a moment old; in a readout of several, one that repeats the telegram before it ends the readout,
and what was not found by then is bad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from drivers.base import DeviceSpec, Field, Link, PointSpec, ProtocolType, SerialFormat
from drivers.mbus import frame, records
from drivers.mbus.commands import check_writable, clock_record
from drivers.mbus.config import MbusOptions, MbusPointOptions
from drivers.mbus.discover import SCAN_FORMATS, discover
from drivers.mbus.frame import Frame, find_frame, is_acknowledgement
from drivers.mbus.interpret import interpret
from drivers.mbus.records import Header, Key, Record, Telegram
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected
from gateway.model import Point, PointId, Reading, Reason, Value, ValueKind, bad_reading

_MOST_TELEGRAMS = 16
"""A meter that always says "more" must not hold the line."""
_SELECTION_BYTES, _RESET_BYTES = 17, 9
_GAP = 3.0
"""33 bit times of rest: what EN 13757-2 asks of a master before it sends again."""
_ACCESS_NUMBER = {records.VARIABLE: 8, records.VARIABLE_HIGH_FIRST: 8, records.FIXED: 4, records.SHORT: 0}
"""Where it stands in the data, by CI."""
Convert = Callable[[Value], Value | None]


class MbusMeter:
    """One meter on a line that others share (drivers/base.py: Driver, Writable, Explaining)."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point's kind does not suit its quantity, or it cannot be written."""
        options: MbusOptions = spec.options
        self._secondary = options.secondary
        self._address = frame.SELECTED if options.primary is None else options.primary
        self._peer = ("mbus", options.secondary or options.primary)
        self._reset = options.reset
        self._application_reset = options.application_reset
        self._timeout_s = spec.timeout_s
        self._link = link
        self._clock = clock
        self._zone = spec.zone
        self._sources = {point: _source(each) for point, each in spec.points.items()}
        self._clocks = {point: each.point for point, each in spec.points.items() if each.point.writable}
        for point in self._clocks:
            check_writable(spec.points[point], options)
        self._fcb = True
        """The frame count bit of the next new request."""
        self._in_step = False
        """Whether the next request is known to get the first telegram."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [list(points)] if points else []

    def characters(self, points: Sequence[PointId]) -> float:
        """As if the one telegram were full: a meter sends all it has, whatever is asked of it."""
        selection = _SELECTION_BYTES + len(frame.ACK) + _GAP if self._secondary is not None else 0
        reset = _RESET_BYTES + len(frame.ACK) + _GAP if self._application_reset else 0
        return selection + reset + frame.SHORT + _GAP + frame.LONGEST

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readout = await self._read_out()
        return [_reading(point, self._sources[point], readout) for point in points]

    async def write(self, point: PointId, value: Value) -> None:
        """E5 says that the meter has heard; whether it obeyed, its clock says."""
        if point not in self._clocks:
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0, hint="writable: true, quantity: time")
        record = clock_record(self._clocks[point], value, self._zone, self._clock)
        self._in_step = False
        await self._begin()
        await self._send(frame.SEND_DATA, record)

    def settle_s(self, point: PointId) -> float:
        return 0.0

    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        source = self._sources[point]
        return interpret(answer, self._is_answer, source.key, source.nth, source.in_header)

    # ------------------------------------------------------------------ inside

    async def _read_out(self) -> _Readout:
        """Everything the meter says.  Raises DeviceUnreachable, ProtocolError, LineLost."""
        in_step, self._in_step = self._in_step, False  # stays so when an exchange fails or is cancelled
        if not in_step:
            await self._begin()
        answers = await self._telegrams()
        telegrams = [records.parse(answer.ci or 0, answer.data) for answer in answers]
        self._in_step = len(telegrams) == 1 and telegrams[0].fault is None and self._stays_in_step
        return _readout(telegrams, answers, self._clock.now_ms())

    @property
    def _stays_in_step(self) -> bool:
        """Whether a toggled bit is enough before the next readout."""
        return self._secondary is None and not self._application_reset

    async def _begin(self) -> None:
        """Bring the meter to where the next request gets the first telegram, as it is now."""
        if self._secondary is not None:
            selection = Frame(frame.SND_UD, frame.SELECTED, frame.SELECT, records.selection(self._secondary))
            await self._acknowledged(selection)
            self._fcb = True
        elif self._reset:
            await self._acknowledged(Frame(frame.SND_NKE, self._address))
            self._fcb = True
        else:
            await self._telegrams()
        if self._application_reset:
            await self._send(frame.APPLICATION_RESET, b"")

    async def _telegrams(self) -> list[Frame]:
        """All answers up to the one that says no more, or says the same as the one before."""
        answers: list[Frame] = []
        while len(answers) < _MOST_TELEGRAMS:
            answer = await self._request()
            if answers and _same(answer, answers[-1]):  # it does not heed the bit: there is no way to the rest
                break
            answers.append(answer)
            if not records.parse(answer.ci or 0, answer.data).more_follows:
                break
        return answers

    async def _send(self, ci: int, data: bytes) -> None:
        """SND_UD: an acknowledgement says that it was received."""
        await self._acknowledged(Frame(frame.SND_UD | (frame.FCB if self._fcb else 0), self._address, ci, data))
        self._fcb = not self._fcb

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
            return True if is_acknowledgement(answer) and not wire.startswith(answer) else None

        await self._link.exchange(wire, parse, peer=self._peer, timeout_s=self._timeout_s, gap_characters=_GAP)

    def _is_answer(self, answer: Frame) -> bool:
        return _answers(answer, self._address, self._secondary)


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


def _same(answer: Frame, before: Frame) -> bool:
    """Whether a telegram is said again: all but the access number, which some meters count up all the same."""
    at = _ACCESS_NUMBER.get(answer.ci or 0, len(answer.data))
    one, two = ((each.control, each.ci, each.data[:at], each.data[at + 1 :]) for each in (answer, before))
    return one == two


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
    value: Value | None = getattr(readout.header, source.key[0])
    if source.key[0] == "medium" and isinstance(value, int):
        return records.medium_text(value), Reason.NO_VALUE
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
    discover=discover,
    scan_formats=SCAN_FORMATS,
    default_timeout_s=2.0,  # 330 bit times and 50 ms of thinking, then up to 1.2 s for a full frame at 2400 baud
)
