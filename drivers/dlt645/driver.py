"""Reads one DL/T 645-2007 meter.

    points ──batches──▶ one identifier each, or the block that holds several of them
           ──poll────▶ 11h … 91h (B1h: 12h … 92h until nothing follows) ──▶ bytes ──items──▶ readings
                          D1h on a block: remembered, and its members are read one by one

Why no embargo after a time-out: an answer names the meter and the identifier it answers, so a late one is either
recognised as foreign and skipped, or is the same quantity, a moment old.  Only a refusal (D1h) names no identifier;
one that comes when the question before it stayed unanswered is therefore asked for again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from drivers.base import DeviceSpec, Link, PointSpec, ProtocolType, SerialFormat
from drivers.dlt645 import frame, items
from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions
from drivers.dlt645.frame import Frame, find_frame
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Point, PointId, Reading, Reason, Value, ValueKind, bad_reading

_IDENTIFIER_BYTES = 4
_MOST_CONTINUATIONS = 16
"""64 registers of 8 bytes fit into three frames of 200; a meter that always says "more" must not hold the line."""


class _BlockState(enum.Enum):
    """What is known of a block.  Meters refuse one they do not have, and some say nothing at all: whether the meter
    is dead or only the block unknown shows when it answers to single identifiers.
    """

    SERVED = enum.auto()
    REFUSED = enum.auto()
    DOUBTED = enum.auto()  # met silence; single identifiers are asked next
    SECOND_CHANCE = enum.auto()  # the meter was alive after all: ask for the block once more


_SINGLE_READS = (_BlockState.REFUSED, _BlockState.DOUBTED)
_AFTER_SILENCE = {
    None: _BlockState.DOUBTED,
    _BlockState.SERVED: _BlockState.SERVED,
    _BlockState.SECOND_CHANCE: _BlockState.REFUSED,
}


class Dlt645Meter:
    """One meter on a line that others share (drivers/base.py: Driver)."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point's kind does not suit what its identifier answers."""
        options: Dlt645Options = spec.options
        self._address = options.address
        self._preamble = options.preamble
        self._timeout_s = spec.timeout_s
        self._link = link
        self._clock = clock
        self._sources = {point: _source(each) for point, each in spec.points.items()}
        self._states: dict[str, _BlockState] = {}
        """Of the blocks that have been asked for."""
        self._unanswered = False

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        sources = [self._sources[point] for point in points]
        identifiers: dict[str, set[str]] = {}
        for source in sources:
            if source.block is not None and self._states.get(source.block.di) not in _SINGLE_READS:
                identifiers.setdefault(source.block.di, set()).add(source.di)
        worth_it = {block for block, members in identifiers.items() if len(members) > 1}
        groups: dict[str, list[PointId]] = {}
        for point, source in zip(points, sources, strict=True):
            block = source.block
            question = block.di if block is not None and block.di in worth_it else source.di
            groups.setdefault(question, []).append(point)
        return list(groups.values())

    def characters(self, points: Sequence[PointId]) -> float:
        """A meter wakes the line with as many FE as it is woken with; no tariff or phase is left out of a block."""
        sources = [self._sources[point] for point in points]
        block = sources[0].block if len({source.di for source in sources}) > 1 else None
        size = len(block.members) * block.item.size if block else sources[0].size
        return 2 * (self._preamble + frame.OVERHEAD + _IDENTIFIER_BYTES) + size

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: dict[PointId, Reading] = {}
        for group in self.batches(points) if len(points) > 1 else (points,):
            answers = await self._read_group({self._sources[point].di: self._sources[point].block for point in group})
            for point in group:
                readings[point] = _reading(point, self._sources[point], answers[self._sources[point].di])
        return [readings[point] for point in points]

    # ------------------------------------------------------------------ inside

    async def _read_group(self, blocks: Mapping[str, items.Block | None]) -> Mapping[str, _Answer]:
        """Read identifiers, all of one block: through it when there are several, one by one when it cannot serve."""
        block = next(iter(blocks.values()))
        if block is not None and len(blocks) > 1:
            answers = await self._read_block(block)
            if answers.keys() >= blocks.keys():
                self._states[block.di] = _BlockState.SERVED
                return answers
            self._states[block.di] = _BlockState.REFUSED
        singles = {di: await self._read(di) for di in blocks}
        if block is not None and self._states.get(block.di) is _BlockState.DOUBTED:
            self._states[block.di] = _BlockState.SECOND_CHANCE
        return singles

    async def _read_block(self, block: items.Block) -> Mapping[str, _Answer]:
        """The members that the meter sends; none when it refuses the block."""
        try:
            return _of_members(block, await self._read(block.di))
        except LineLost:
            raise
        except DeviceUnreachable:
            self._states[block.di] = _AFTER_SILENCE[self._states.get(block.di)]
            raise

    async def _read(self, di: str) -> _Answer:
        """What the meter has under *di*, put together from as many frames as it takes."""
        identifier = bytes.fromhex(di)[::-1]
        answer = await self._ask(Frame(self._address, frame.READ, identifier))
        data = answer.data[_IDENTIFIER_BYTES:]
        sequence = 0
        while answer.more_follows:
            sequence += 1
            answer = await self._ask(Frame(self._address, frame.READ_FOLLOWING, identifier + bytes((sequence,))))
            if answer.refused:
                break
            if sequence > _MOST_CONTINUATIONS or answer.data[_IDENTIFIER_BYTES:][-1:] != bytes((sequence,)):
                return self._answer(answer, b"", Reason.BAD_FRAME)
            data += answer.data[_IDENTIFIER_BYTES:-1]
        return self._answer(answer, data, Reason.REFUSED if answer.refused else None)

    async def _ask(self, request: Frame) -> Frame:
        """One question, and again where a refusal may have been meant for the question before it."""
        doubtful = self._unanswered
        self._unanswered = True  # stays so when the exchange times out or is cancelled
        answer = await exchange(self._link, request, self._timeout_s, self._preamble)
        if answer.refused and doubtful:
            answer = await exchange(self._link, request, self._timeout_s, self._preamble)
        self._unanswered = False
        return answer

    def _answer(self, last: Frame, data: bytes, reason: Reason | None) -> _Answer:
        return _Answer(data, last, self._clock.now_ms(), reason)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where one point is found, worked out once."""

    di: str
    block: items.Block | None
    size: int
    """Bytes of the whole answer to *di*, the point's own among them."""
    offset: int
    layout: items.Layout
    convert: Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class _Answer:
    data: bytes
    """Behind the identifier; empty where the meter has no value or refused."""
    last: Frame
    time_ms: int
    reason: Reason | None
    """Why there is no usable data."""


def _source(spec: PointSpec) -> _Source:
    options: Dlt645PointOptions = spec.options
    offset, part = options.item.main
    block = items.block_of(options.di) if options.format is None else None
    return _Source(
        options.di,
        block,
        options.item.size,
        offset,
        part.layout,
        _conversion(spec.point, options),
    )


def _conversion(point: Point, options: Dlt645PointOptions) -> Callable[[Value], Value]:
    """From what items.py reads to what the point's kind wants."""
    bit, states = options.bit, point.states
    match point.kind:
        case ValueKind.NUMBER if options.is_number and options.scale != 1.0:
            scale = Decimal(repr(options.scale))
            return lambda value: float(Decimal(repr(value)) * scale)  # 0.1 * 3 must not become 0.30000000000000004
        case ValueKind.NUMBER if options.is_number:
            return lambda value: value
        case ValueKind.TEXT if not options.is_number and bit is None:
            return lambda value: value
        case ValueKind.BOOLEAN if bit is not None:
            return lambda value: bool(int(str(value), 16) >> bit & 1)
        case ValueKind.STATE if bit is not None and len(states) == 2:
            return lambda value: states[int(str(value), 16) >> bit & 1]
    raise ConfigError(
        f"{point.id}: 类型与数据标识 {options.di} 不符 / kind {point.kind} does not suit identifier {options.di}",
        hint="number: 数值 numeric items; text: 其他格式 all others; boolean: bit; state: bit + 两个状态 two states",
    )


def _of_members(block: items.Block, answer: _Answer) -> Mapping[str, _Answer]:
    """The answer to a block as answers to its members; empty when the block cannot serve."""
    members = items.split_block(block, answer.data) if answer.reason is None else None
    if not members:
        return {}
    pairs = zip(block.members, members, strict=False)  # a meter has fewer tariffs than there are identifiers
    return {di: _Answer(data, answer.last, answer.time_ms, None) for di, data in pairs}


def _reading(point: PointId, source: _Source, answer: _Answer) -> Reading:
    reason = answer.reason
    if reason is None and answer.data and len(answer.data) != source.size:
        reason = Reason.BAD_FRAME
    value = None
    if reason is None and answer.data:
        value = source.layout.read(answer.data[source.offset : source.offset + source.layout.size])
    if value is None:
        return bad_reading(point, reason or Reason.NO_VALUE, answer.time_ms, answer.last.to_bytes())
    return Reading(point, source.convert(value), answer.time_ms, answer.time_ms)


async def exchange(link: Link, request: Frame, timeout_s: float, preamble: int = 4) -> Frame:
    """Send *request*, return the frame that answers it: a refusal too.

    Raises DeviceUnreachable, ProtocolError, LineLost.
    """

    def parse(received: bytes) -> Frame | None:
        found = find_frame(received)
        while found is not None and not frame.answers(found[0], request):
            found = find_frame(received, found[2])
        return found[0] if found else None

    return await link.exchange(request.to_bytes(preamble), parse, peer=("dlt645", request.address), timeout_s=timeout_s)


async def read_address(link: Link, timeout_s: float, asked: str = frame.WILDCARD) -> str:
    """The 12-digit address of the one meter on the line, or of the one that *asked* (digits, AA pairs) leaves.

    Two meters answering at once look like noise: ProtocolError.  Raises DeviceRejected, DeviceUnreachable, LineLost.
    """
    answer = await exchange(link, Frame(asked, frame.READ_ADDRESS), timeout_s)
    if answer.refused:
        code = answer.data[0] if answer.data else 0
        raise DeviceRejected(f"read address refused: {frame.error_text(code)}", code)
    address = items.read_digits(answer.data) if len(answer.data) == 6 else None
    if address is None:
        raise ProtocolError("the answer holds no address", answer.to_bytes())
    return address


DLT645 = ProtocolType(
    name="dlt645",
    device_options=Dlt645Options,
    point_options=Dlt645PointOptions,
    make=Dlt645Meter,
    serial=SerialFormat(baud=2400, parity="E"),
    tcp=True,
    usual_latency_s=0.05,  # the standard allows 20 to 500 ms
    default_timeout_s=1.5,  # the meter may think for 500 ms, and a full frame takes 970 ms at 2400 baud
)
