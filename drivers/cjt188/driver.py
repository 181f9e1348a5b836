"""Reads one CJ/T 188 meter, and commands its valve.

    points ──batches──▶ one group per identifier: a whole answer is one exchange
           ──poll────▶ 01h … 81h ──content──▶ layout by length ──▶ unit before or behind ──▶ readings
                              C1h: every point of the group is refused
    value  ──write───▶ 901F first where the order of identifiers is not known ──▶ 04h … 84h, once; C4h: DeviceRejected

Why no embargo after a time-out: the sequence number changes with every question, so a late answer or refusal fits
none.  A meter that answers with a number of its own gets one, since its refusals name nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias

from drivers.base import DeviceSpec, Field, Link, PointSpec, ProtocolType, SerialFormat
from drivers.cjt188 import frame, items
from drivers.cjt188.commands import command
from drivers.cjt188.config import Cjt188Options, Cjt188PointOptions
from drivers.cjt188.discover import SCAN_FORMATS, discover
from drivers.cjt188.frame import Frame, find_frame
from drivers.cjt188.interpret import interpret
from drivers.cjt188.items import Layout, Part, Sort
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost
from gateway.model import Point, PointId, Reading, Reason, Value, ValueKind, bad_reading

_HEAD_BYTES = 3
"""Identifier and sequence number."""

Read: TypeAlias = Callable[[bytes, bool], Value | None]
"""A field's bytes, and whether units stand first -> the point's value; None where there is none."""


class Cjt188Meter:
    """One meter on a line that others share (drivers/base.py: Driver, Writable, Explaining)."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point's field, kind or unit does not suit the meter."""
        options: Cjt188Options = spec.options
        self._options = options
        self._type = int(options.type, 16)
        self._answer_type = int(options.answer_type or options.type, 16)
        self._timeout_s = spec.timeout_s
        self._link = link
        self._clock = clock
        self._sources = {point: _source(each, self._type) for point, each in spec.points.items()}
        self._commands = {
            point: command(each, options, spec.zone, clock)
            for point, each in spec.points.items()
            if each.point.writable
        }
        self._sequence = 0
        self._low_first = options.di_order == "low_first"
        self._order_known = options.di_order != "auto"
        self._next_low_first: dict[str, bool] = {}
        """By identifier, while the order is not known: what is tried next."""

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        groups: dict[str, list[PointId]] = {}
        for point in points:
            groups.setdefault(self._sources[point].di, []).append(point)
        return list(groups.values())

    def characters(self, points: Sequence[PointId]) -> float:
        """The longest answer the meter's type may give; it wakes the line as it is woken."""
        layouts = items.expected(self._sources[points[0]].di, self._type)
        head = self._options.preamble + frame.OVERHEAD + _HEAD_BYTES
        return 2 * head + max(layout.size for layout in layouts)

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: dict[PointId, Reading] = {}
        for group in self.batches(points):
            answer = await self._read(self._sources[group[0]].di)
            readings |= self._readings(group, answer)
        return [readings[point] for point in points]

    async def write(self, point: PointId, value: Value) -> None:
        """Raises as drivers/base.py says; nothing has been commanded when the order of identifiers is not found."""
        if point not in self._commands:
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0, hint="writable: true, field: valve | clock")
        order = self._commands[point]
        content = order.content(value)
        answer = await self._ask(order.di, await self._order(), frame.WRITE, content)
        if answer.refused:
            raise _refusal(f"{point}: 表计拒绝 / the meter refused", answer)

    def settle_s(self, point: PointId) -> float:
        order = self._commands.get(point)
        return order.settle_s if order else 0.0

    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        source = self._sources[point]
        return interpret(answer, self._options.address, source.di, source.part)

    # ------------------------------------------------------------------ inside

    def _readings(self, group: Sequence[PointId], answer: Frame) -> Mapping[PointId, Reading]:
        now_ms, content = self._clock.now_ms(), answer.content
        layout = None if answer.refused else items.layout_of(answer.di, content)
        if layout is None:
            reason = Reason.REFUSED if answer.refused else Reason.BAD_FRAME
            return {point: bad_reading(point, reason, now_ms, answer.to_bytes()) for point in group}
        unit_first = layout.unit_first(content)
        readings: dict[PointId, Reading] = {}
        for point in group:
            value = _value(self._sources[point], layout, content, unit_first)
            readings[point] = (
                bad_reading(point, value, now_ms, answer.to_bytes())
                if isinstance(value, Reason)
                else Reading(point, value, now_ms, now_ms)
            )
        return readings

    async def _read(self, di: str) -> Frame:
        """The meter's answer, be it a refusal.  Silence and refusals let the next question try the other order."""
        if self._order_known:
            return await self._ask(di, self._low_first)
        low_first = self._next_low_first.get(di, False)
        self._next_low_first[di] = not low_first
        answer = await self._ask(di, low_first)
        if not answer.refused:
            self._low_first, self._order_known = low_first, True
        return answer

    async def _order(self) -> bool:
        """Whether the meter wants the low byte of an identifier first, found out by reading: a command is sent once.

        Raises DeviceRejected when reading is refused, and what an exchange raises.
        """
        for low_first in (False, True):
            if self._order_known:
                break
            try:
                answer = await self._ask(frame.DATA_DI, low_first)
            except LineLost:
                raise
            except DeviceUnreachable:
                if low_first:
                    raise
                continue
            if not answer.refused:
                self._low_first, self._order_known = low_first, True
            elif low_first:
                raise _refusal("表计拒绝读数，未发命令 / reading is refused, nothing was commanded", answer)
        return self._low_first

    async def _ask(self, di: str, low_first: bool, control: int = frame.READ, content: bytes = b"") -> Frame:
        options = self._options
        self._sequence = (self._sequence + 1) & 0xFF
        return await exchange(
            self._link,
            frame.request(self._type, options.address, control, di, self._sequence, low_first, content),
            self._timeout_s,
            preamble=options.preamble,
            answer_type=self._answer_type,
            any_sequence=not options.echoes_sequence,
        )


def _refusal(what: str, answer: Frame) -> DeviceRejected:
    status = answer.content
    return DeviceRejected(f"{what}; ST {status.hex(' ').upper() or '-'}", int.from_bytes(status, "big"))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one point is found, worked out once."""

    di: str
    part: str
    read: Read


def _source(spec: PointSpec, type_: int) -> _Source:
    options: Cjt188PointOptions = spec.options
    name = options.part_name
    part = next((each.offsets[name][1] for each in items.expected(options.di, type_) if name in each.offsets), None)
    if part is None:
        raise ConfigError(
            f"{spec.point.id}: 类型 {type_:02X} 的表没有字段 {options.field} / "
            f"a meter of type {type_:02X} has no field {options.field}"
        )
    return _Source(options.di, name, _reader(spec.point, options, part))


def _reader(point: Point, options: Cjt188PointOptions, part: Part) -> Read:
    """From a field's bytes to what the point's kind and unit want."""
    field, bit = options.field, options.status_bit
    if bit is not None:
        return _bit_reader(point, bit)
    if part.sort is Sort.QUANTITY and point.kind is ValueKind.NUMBER:
        return _quantity_reader(point, part)
    if part.sort is Sort.NUMBER and point.kind is ValueKind.NUMBER:
        return _number_reader(point, part)
    if part.sort is Sort.CLOCK and point.kind is ValueKind.TEXT:
        return lambda raw, _: items.read_clock(raw)
    if field == "status" and point.kind is ValueKind.TEXT:
        return lambda raw, _: items.read_status(raw)
    if field == "battery" and point.kind is ValueKind.BOOLEAN:
        return lambda raw, _: None if (low := items.read_battery(raw)) is None else bool(low)
    if point.kind is ValueKind.STATE and len(point.states) == items.STATES.get(field):
        return _state_reader(point.states, items.STATUS_BITS[field])
    raise ConfigError(
        f"{point.id}: 类型与字段 {field} 不符 / kind {point.kind} does not suit field {field}",
        hint="number: 数值 quantities; text: clock, status; state: valve 三个状态 three states, battery 两个 two; "
        "boolean: battery, status_bit",
    )


def _bit_reader(point: Point, bit: int) -> Read:
    """One of the maker's own bits."""

    def place(raw: bytes) -> int | None:
        return None if raw == b"\xff\xff" else raw[bit // 8] >> bit % 8 & 1

    if point.kind is ValueKind.STATE and len(point.states) == 2:
        return _state_reader(point.states, place)
    if point.kind is ValueKind.BOOLEAN:
        return lambda raw, _: None if (on := place(raw)) is None else bool(on)
    raise ConfigError(f"{point.id}: status_bit 为布尔或两个状态 / a status_bit is a boolean or one of two states")


def _quantity_reader(point: Point, part: Part) -> Read:
    ratios = items.ratios(part.dimension, point.unit or "")
    if not ratios:
        _wrong_unit(point, part.name)
    decimals = part.decimals

    def read(raw: bytes, unit_first: bool) -> Value | None:
        number, code = items.read_quantity(raw, unit_first)
        ratio = ratios.get(code)
        return None if number is None or ratio is None else items.scaled(number, decimals, ratio)

    return read


def _number_reader(point: Point, part: Part) -> Read:
    if point.unit != part.unit:
        _wrong_unit(point, part.name)
    decimals = part.decimals

    def read(raw: bytes, _: bool) -> Value | None:
        number = items.read_bcd(raw)
        return None if number is None else items.scaled(number, decimals)

    return read


def _state_reader(states: Sequence[str], place: Callable[[bytes], int | None]) -> Read:
    return lambda raw, _: None if (index := place(raw)) is None else states[index]


def _wrong_unit(point: Point, field: str) -> NoReturn:
    raise ConfigError(f"{point.id}: 单位 {point.unit} 与字段 {field} 不符 / {point.unit} is no unit of {field}")


def _value(source: _Source, layout: Layout, content: bytes, unit_first: bool) -> Value | Reason:
    """A point's value, or why it has none."""
    found = layout.offsets.get(source.part)
    if found is None:
        return Reason.BAD_FRAME  # a meter of another sort than the entry says
    at, part = found
    value = source.read(content[at : at + part.sort.size], unit_first)
    return Reason.NO_VALUE if value is None else value


async def exchange(
    link: Link,
    request: Frame,
    timeout_s: float,
    *,
    preamble: int = 4,
    answer_type: int | None = None,
    any_sequence: bool = False,
) -> Frame:
    """Send *request*, return the frame that answers it: a refusal too.

    answer_type: T of the answer, where it is not the request's.
    Raises DeviceUnreachable, ProtocolError, LineLost.
    """
    asked = request if answer_type is None else replace(request, type=answer_type)

    def parse(received: bytes) -> Frame | None:
        found = find_frame(received)
        while found is not None and not frame.answers(found[0], asked, any_sequence):
            found = find_frame(received, found[1] + 1)  # a checksum of 8 bits alone must not swallow what is behind it
        return found[0] if found else None

    return await link.exchange(
        request.to_bytes(preamble),
        parse,
        peer=("cjt188", request.address),
        timeout_s=timeout_s,
        embargo_s=timeout_s if any_sequence else 0.0,
    )


async def read_address(link: Link, timeout_s: float, low_first: bool = False) -> tuple[int, str]:
    """Type and 14-digit address of the only meter on the line.

    Two meters answering at once look like noise: ProtocolError.  Raises DeviceRejected, DeviceUnreachable, LineLost.
    """
    asked = frame.request(frame.ANY_TYPE, frame.WILDCARD, frame.READ_ADDRESS, frame.ADDRESS_DI, 0, low_first)
    answer = await exchange(link, asked, timeout_s)
    if answer.refused:
        raise _refusal("拒绝读地址 / reading the address is refused", answer)
    return answer.type, answer.address


CJT188 = ProtocolType(
    name="cjt188",
    device_options=Cjt188Options,
    point_options=Cjt188PointOptions,
    make=Cjt188Meter,
    serial=SerialFormat(baud=2400, parity="E"),
    tcp=True,
    discover=discover,
    scan_formats=SCAN_FORMATS,
    default_timeout_s=1.5,  # a battery meter may think for 500 ms, and a heat meter's answer takes 330 ms at 2400 baud
)
