"""A Modbus device behind a byte line: RTU, ASCII or TCP, which differ in nothing but their ``Framing``.

points ──plan──▶ ranges (one request each) ──exchange──▶ registers ──values.py──▶ readings
           ▲                                   │
           └────── cuts: where not to merge ◀──┘ exception 2 or 3: split, ask for the parts, remember
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from drivers.base import DeviceSpec, Field, Link, PointSpec, ProtocolType, SerialFormat
from drivers.modbus import codec, discover, explain, framing, values
from drivers.modbus.config import (
    MAX_READ_BITS,
    READ_FUNCTION,
    DeviceOptions,
    PointOptions,
    RtuOptions,
    Table,
    TcpOptions,
)
from drivers.modbus.framing import Framing
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import PointId, Reading, Reason, Value, ValueKind, bad_reading

SPLIT_ON: Final = (codec.ILLEGAL_ADDRESS, codec.ILLEGAL_VALUE)
"""What a device answers to a range that holds an address it does not have, or that is too long for it."""
READ_REQUEST, READ_ANSWER = 5, 2
"""Bytes of the PDUs; the answer without its data."""
MAX_PLANS = 256

Span: TypeAlias = tuple[Table, int, int]
"""Table, first address, how many."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One point and where it stands: its own settings, prepared once."""

    point: PointId
    span: Span
    alone: bool
    decode: values.Decode


@dataclass(frozen=True, slots=True)
class _Range:
    """One request and the items its answer holds, each with its place in the poll's result."""

    span: Span
    items: tuple[tuple[int, _Item], ...]
    points: tuple[PointId, ...]
    request: codec.Request


_Plan: TypeAlias = tuple[_Range, ...]


@dataclass(slots=True)
class _Learned:
    """What the device has taught us since the start."""

    cuts: dict[Table, set[int]] = field(default_factory=lambda: {table: set() for table in Table})
    """Addresses that no merged request may reach across: not both a cut and the address before it."""
    refused: set[Span] = field(default_factory=set)
    """Spans the device does not have; asked for again with every poll, but only among themselves."""
    echoes: bool | None = None
    """Whether the adapter sends back what it transmits; None before the first answer."""


class ModbusDevice:
    """One unit id, in one framing, over whatever line."""

    def __init__(self, framing: Framing, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        options: DeviceOptions = spec.options
        self._spec = spec
        self._link = link
        self._clock = clock
        self._framing = framing
        self._unit_id = options.unit_id
        self._order = options.word_order
        self._max = {table: MAX_READ_BITS if table.of_bits else options.max_registers for table in Table}
        self._gap = {table: options.max_gap * (16 if table.of_bits else 1) for table in Table}
        self._items = {id_: _item(id_, point, options) for id_, point in spec.points.items()}
        self._forbidden = [item.span for item in self._items.values() if item.alone]
        for item in self._items.values():
            if item.span[2] > self._max[item.span[0]]:
                raise ConfigError(
                    f"{item.point}: {item.span[2]} registers, but max_registers is {options.max_registers}"
                )
        self._number = 0
        """Of the last request; over TCP its transaction id."""
        self._learned = _Learned()
        self._plans: dict[tuple[PointId, ...], _Plan] = {}

    # ------------------------------------------------------------------ the driver contract

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [range_.points for range_ in self._plan(tuple(points))]

    def characters(self, points: Sequence[PointId]) -> float:
        request, gaps = self._framing.characters(READ_REQUEST), 2 * self._framing.gap_characters
        answers = [READ_ANSWER + _data_bytes(range_.span[0], range_.span[2]) for range_ in self._plan(tuple(points))]
        return sum(request + self._framing.characters(answer) + gaps for answer in answers)

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: list[Reading | None] = [None] * len(points)
        for range_ in self._plan(tuple(points)):
            await self._read_into(readings, range_)
        return [reading for reading in readings if reading is not None]

    async def write(self, point: PointId, value: Value) -> None:
        """What cannot be sent at all is refused here, with the code the device would have used."""
        request = self._write_request(point, self._spec.points[point].options, value)
        if request.echo_confirms and self._framing.anonymous and self._learned.echoes is None:
            await self._learn_echo(self._items[point].span)
        answer = await self._ask(request, once=True)
        if answer.exception == codec.ACKNOWLEDGE:
            refusal = codec.refusal(answer.exception)  # which it is not: the device has taken the command
            raise ProtocolError(
                "设备已接受命令，尚未完成 the device has accepted the command and is not done with it (exception 5)",
                hint=refusal.hint,
            )
        if answer.exception is not None:
            raise codec.refusal(answer.exception)

    def settle_s(self, point: PointId) -> float:
        options: PointOptions = self._spec.points[point].options
        return options.settle_s

    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        item = self._items[point]
        found = self._framing.captured(self._read_request(item.span), answer)
        if found is None or found.exception is not None:
            return ()
        options: PointOptions = self._spec.points[point].options
        data = [int(bit) for bit in found.bits] if options.table.of_bits else found.registers
        return explain.interpretations(options, options.layout(self._order), data, self._spec.points[point].point.unit)

    # ------------------------------------------------------------------ planning

    def _plan(self, points: tuple[PointId, ...]) -> _Plan:
        """The plan for *points*, made once and again after something was learned."""
        plan = self._plans.get(points)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[points] = self._make_plan(points)
        return plan

    def _make_plan(self, points: Sequence[PointId]) -> _Plan:
        """Neighbours of one table share a request as long as the device allows."""
        places = sorted(enumerate(self._items[point] for point in points), key=lambda place: place[1].span)
        plan: list[_Range] = []
        group: list[tuple[int, _Item]] = []
        end = 0
        for place in places:
            if group and not self._may_join(group, end, place[1]):
                plan.append(self._range(group))
                group, end = [], 0
            group.append(place)
            end = max(end, _end(place[1].span))
        if group:
            plan.append(self._range(group))
        return tuple(plan)

    def _may_join(self, group: Sequence[tuple[int, _Item]], end: int, item: _Item) -> bool:
        """Whether *item*, which begins at or after all of *group*, may share its request.  end: past its last one."""
        table, first, _ = group[0][1].span
        if item.span == group[0][1].span == group[-1][1].span:
            return True  # bits of one register: the very same request
        if table is not item.span[0] or item.alone:
            return False
        new_end = max(end, _end(item.span))
        refused = group[0][1].span in self._learned.refused
        return (
            item.span[1] - end <= self._gap[table]
            and new_end - first <= self._max[table]
            and refused == (item.span in self._learned.refused)
            and not any(first < cut < new_end for cut in self._learned.cuts[table])
            and not _touches((table, first, new_end - first), self._forbidden)
            and (refused or not _touches((table, first, new_end - first), self._learned.refused))
        )

    def _range(self, group: Sequence[tuple[int, _Item]]) -> _Range:
        table, first, _ = group[0][1].span
        count = max(_end(item.span) for _, item in group) - first
        span = (table, first, count)
        points = tuple(item.point for _, item in group)
        return _Range(span, tuple(group), points, self._read_request(span))

    def _read_request(self, span: Span) -> codec.Request:
        return codec.read_request(self._unit_id, READ_FUNCTION[span[0]], span[1], span[2])

    # ------------------------------------------------------------------ reading

    async def _read_into(self, readings: list[Reading | None], range_: _Range) -> bool:
        """Fill in the readings of one range, in parts where the device refuses the whole.  False when it did."""
        answer = await self._ask(range_.request)
        if answer.exception is None:
            self._accept(readings, range_, answer)
            return True
        halves = self._halves(range_) if answer.exception in SPLIT_ON else None
        if halves is None:
            self._refuse(readings, range_, answer)
            return False
        whole = [await self._read_into(readings, half) for half in halves]
        if all(whole):  # neither part is at fault: the gap between them is, or the length
            self._learned.cuts[range_.span[0]].add(halves[1].span[1])
            self._plans.clear()
        return False

    def _halves(self, range_: _Range) -> tuple[_Range, _Range] | None:
        """Two parts with about as many different spans each; None when the refusal tells nothing new about any."""
        spans = sorted({item.span for _, item in range_.items})
        if len(spans) == 1 or self._learned.refused.issuperset(spans):
            return None
        middle = spans[len(spans) // 2]
        left = [place for place in range_.items if place[1].span < middle]
        right = [place for place in range_.items if place[1].span >= middle]
        return self._range(left), self._range(right)

    def _accept(self, readings: list[Reading | None], range_: _Range, answer: codec.Answer) -> None:
        table, first, _ = range_.span
        if self._learned.refused and not self._learned.refused.isdisjoint(item.span for _, item in range_.items):
            self._learned.refused.difference_update([item.span for _, item in range_.items])
            self._plans.clear()
        now_ms = self._clock.now_ms()
        data = answer.bits if table.of_bits else answer.registers
        for place, item in range_.items:
            at = item.span[1] - first
            value = item.decode(data[at : at + item.span[2]])
            if isinstance(value, Reason):
                raw = answer.frame if value is Reason.OUT_OF_RANGE else b""
                readings[place] = bad_reading(item.point, value, now_ms, raw)
            else:
                readings[place] = Reading(item.point, value, now_ms, now_ms)

    def _refuse(self, readings: list[Reading | None], range_: _Range, answer: codec.Answer) -> None:
        now_ms = self._clock.now_ms()
        for place, item in range_.items:
            readings[place] = bad_reading(item.point, Reason.REFUSED, now_ms, answer.frame)
        new = {item.span for _, item in range_.items} - self._learned.refused
        if new and answer.exception in SPLIT_ON:
            self._learned.refused |= new
            self._plans.clear()

    # ------------------------------------------------------------------ the line

    async def _ask(self, request: codec.Request, *, once: bool = False) -> codec.Answer:
        """One exchange; a command (*once*) is never repeated by the link.

        Raises DeviceUnreachable also when a converter says that the unit behind it is silent.
        """
        self._number = self._number % 0xFFFF + 1
        answer = await self._framing.exchange(
            self._link,
            request,
            self._number,
            self._spec.timeout_s,
            line_echoes=bool(self._learned.echoes),
            once=once,
        )
        self._learned.echoes = self._learned.echoes or answer.after_echo
        if answer.exception in codec.NOBODY_THERE:
            refusal = codec.refusal(answer.exception)
            raise DeviceUnreachable(str(refusal), hint=refusal.hint)
        return answer

    async def _learn_echo(self, span: Span) -> None:
        """The answer to a single write equals the request.  Where the adapter echoes, the first copy is no
        confirmation; a read, even a refused one, tells whether it does."""
        await self._ask(self._read_request(span))

    def _write_request(self, point: PointId, options: PointOptions, value: Value) -> codec.Request:
        """Raises DeviceRejected for what cannot be sent."""
        function = options.writes_with
        if function is None:
            raise DeviceRejected(
                f"{point}: 不可写 a {options.kind} of table {options.table} cannot be written",
                codec.ILLEGAL_FUNCTION,
            )
        layout = options.layout(self._order)
        try:
            registers = values.encoded(layout, value, options.count)
        except ValueError as exc:
            raise DeviceRejected(f"{point}: {exc}", codec.ILLEGAL_VALUE) from exc
        if function == 22:
            (mask,) = values.own_bits(layout)
            return codec.mask_request(self._unit_id, options.address, mask, registers[0])
        return codec.write_request(self._unit_id, function, options.address, registers)


def _item(id_: PointId, spec: PointSpec, device: DeviceOptions) -> _Item:
    options: PointOptions = spec.options
    span = (options.table, options.address, options.count)
    decode = values.decoder(options.layout(device.word_order))
    if spec.point.kind is ValueKind.TEXT and options.kind is not values.Type.ASCII:
        decode = partial(_in_digits, decode)
    return _Item(id_, span, options.no_merge, decode)


def _in_digits(decode: values.Decode, registers: Sequence[int]) -> Value | Reason:
    """A number that names something (a serial number) and counts nothing."""
    value = decode(registers)
    return value if isinstance(value, Reason) else str(value)


def _data_bytes(table: Table, count: int) -> int:
    return (count + 7) // 8 if table.of_bits else 2 * count


def _end(span: Span) -> int:
    return span[1] + span[2]


def _touches(span: Span, others: Iterable[Span]) -> bool:
    return any(other[0] is span[0] and other[1] < _end(span) and span[1] < _end(other) for other in others)


def _make(framing: Framing, spec: DeviceSpec, link: Link, clock: Clock) -> ModbusDevice:
    codec.quiet_pymodbus()
    return ModbusDevice(framing, spec, link, clock)


RTU = ProtocolType(
    name="modbus-rtu",
    device_options=RtuOptions,
    point_options=PointOptions,
    make=partial(_make, framing.RTU),
    serial=SerialFormat(9600),
    tcp=True,  # RTU frames through a transparent converter
    discover=partial(discover.discover, framing.RTU),
    scan_formats=discover.RTU_FORMATS,
)
ASCII = ProtocolType(
    name="modbus-ascii",
    device_options=RtuOptions,
    point_options=PointOptions,
    make=partial(_make, framing.ASCII),
    serial=SerialFormat(9600, "E", data_bits=7),  # Modbus over Serial Line V1.02, 2.5.2
    tcp=True,
    discover=partial(discover.discover, framing.ASCII),
    scan_formats=discover.ASCII_FORMATS,
)
TCP = ProtocolType(
    name="modbus-tcp",
    device_options=TcpOptions,
    point_options=PointOptions,
    make=partial(_make, framing.TCP),
    tcp=True,
    discover=partial(discover.discover, framing.TCP),
)
