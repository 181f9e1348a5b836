"""From the bytes behind an identifier to a point's value.  Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from drivers.base import PointSpec
from drivers.dlt645 import formats, items
from drivers.dlt645.config import COMBINED_CLOCK, Dlt645PointOptions
from drivers.dlt645.frame import Frame
from gateway.errors import ConfigError
from gateway.model import Point, PointId, Reading, Reason, Value, ValueKind, bad_reading

CLOCK_TOLERANCE = datetime.timedelta(seconds=60)
"""By how much a meter's clock may be wrong and still be called right."""

Convert = Callable[[Value], Value | None]
"""From what the format reads to what the point's kind wants; None where the point has no word for it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one point is found, worked out once."""

    di: str
    block: formats.Block | None
    """Through which it can be read together with others."""
    item: formats.Item
    """The whole answer to *di*, the point's own value among it."""
    offset: int
    layout: formats.Layout
    convert: Convert

    @property
    def least_size(self) -> int:
        """Bytes that the answer has at least, for the point to be among them."""
        return max(self.item.size, self.offset + self.layout.size)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a meter said under one identifier, put together from as many frames as it took."""

    data: bytes
    """Behind the identifier; empty where the meter has no value or refused."""
    last: Frame
    time_ms: int
    reason: Reason | None
    """Why there is no usable data."""


def source(spec: PointSpec, local: Callable[[], datetime.datetime | None]) -> Source:
    """*local*: the time at the meter, None when nobody knows it.

    Raises ConfigError where the point's kind does not suit what its identifier answers.
    """
    options: Dlt645PointOptions = spec.options
    offset, part = options.place
    block = items.block_of(options.di) if options.format is None else None
    return Source(options.di, block, options.item, offset, part.layout, _conversion(spec.point, options, local))


def _conversion(point: Point, options: Dlt645PointOptions, local: Callable[[], datetime.datetime | None]) -> Convert:
    flag, states = options.flag, point.states
    match point.kind:
        case ValueKind.BOOLEAN if options.di == COMBINED_CLOCK and options.write == "clock":
            return lambda value: _is_right(str(value), local())
        case ValueKind.NUMBER if options.is_number and options.scale != 1.0:
            scale = Decimal(repr(options.scale))
            return lambda value: float(Decimal(repr(value)) * scale)  # 0.1 * 3 must not become 0.30000000000000004
        case ValueKind.NUMBER if options.is_number:
            return lambda value: value
        case ValueKind.TEXT if not options.is_number and flag is None:
            return lambda value: value
        case ValueKind.BOOLEAN if flag is not None and flag.width == 1:
            return lambda value: bool(flag.number(value))
        case ValueKind.STATE if flag is not None and 2 <= len(states) <= 1 << flag.width:
            return lambda value: states[flag.number(value)] if flag.number(value) < len(states) else None
    raise ConfigError(
        f"{point.id}: 类型与数据标识 {options.di} 不符 / kind {point.kind} does not suit identifier {options.di}",
        hint="number: 数值 numeric items; text: 其他格式 all others; boolean: bit; state: bit + 两个状态 two states",
    )


def _is_right(meter: str, local: datetime.datetime | None) -> bool | None:
    """Whether the meter's clock shows the time; None when nobody knows the time."""
    if local is None:
        return None
    return abs(datetime.datetime.fromisoformat(meter) - local.replace(tzinfo=None)) <= CLOCK_TOLERANCE


def of_members(block: formats.Block, answer: Answer) -> Mapping[str, Answer]:
    """The answer to a block as answers to its members; empty when the block cannot serve."""
    members = formats.split_block(block, answer.data) if answer.reason is None else None
    if not members:
        return {}
    pairs = zip(block.members, members, strict=False)  # a meter has fewer tariffs than there are identifiers
    return {di: Answer(data, answer.last, answer.time_ms, None) for di, data in pairs}


def reading(point: PointId, where: Source, answer: Answer) -> Reading:
    reason = answer.reason
    if reason is None and answer.data and not where.item.fits(len(answer.data)):
        reason = Reason.BAD_FRAME
    raw = answer.data[where.offset : where.offset + where.layout.size] if reason is None else b""
    found = where.layout.read(raw) if raw else None  # none: the meter has fewer tariffs
    value = None if found is None else where.convert(found)
    if value is None:
        reason = reason or (Reason.NO_VALUE if found is None else Reason.OUT_OF_RANGE)
        return bad_reading(point, reason, answer.time_ms, answer.last.to_bytes())
    return Reading(point, value, answer.time_ms, answer.time_ms)
