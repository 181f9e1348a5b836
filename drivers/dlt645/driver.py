"""Reads and commands one DL/T 645 meter.

    points ──batches──▶ one identifier each, or the block that holds several of them
           ──poll────▶ 11h … 91h (B1h: 12h … 92h until nothing follows) ──▶ bytes ──reading.py──▶ readings
                          D1h on a block: remembered, and its members are read one by one
    value  ──write───▶ writing.py ──▶ 1Ch, 14h or 16h, once ──▶ confirmed, or DeviceRejected

Why no embargo after a read that timed out: an answer names the meter and the identifier it answers, so a late one is
either recognised as foreign and skipped, or is the same quantity, a moment old.  Only a refusal (D1h) names no
identifier; one that comes when the question before it stayed unanswered is therefore asked for again.  Two answers say
less and get an embargo: those to writes, and the continuations of 1997, which carry no number.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from drivers.base import DeviceSpec, Field, Link, ProtocolType, SerialFormat
from drivers.dlt645 import formats, frame, reading, writing
from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions
from drivers.dlt645.discovery import FORMATS, discover
from drivers.dlt645.exchange import DIALECTS, exchange
from drivers.dlt645.frame import Frame
from drivers.dlt645.interpreting import interpretations
from drivers.dlt645.reading import Answer
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceUnreachable, LineLost
from gateway.model import PointId, Reading, Reason, Value

_MOST_CONTINUATIONS = 16
"""64 registers of 8 bytes fit into three frames of 200; a meter that always says "more" must not hold the line."""

_CONTINUATION_EMBARGO_S = 1.0
"""How long a late continuation of 1997 may still be on its way."""


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
    """One meter on a line that others share (drivers/base.py: Driver, Writable, Explaining, Budgeted)."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point does not suit its identifier, or the identifier the meter's edition."""
        options: Dlt645Options = spec.options
        self._address = options.address
        self._preamble = options.preamble
        self._dialect = DIALECTS[options.edition]
        self._timeout_s = spec.timeout_s
        self._link = link
        self._clock = clock
        self._points = spec.points
        self._writer = writing.Writer(options, spec.zone, clock)
        self._sources = {point: reading.source(each, self._writer.time) for point, each in spec.points.items()}
        for point, source in self._sources.items():
            if len(source.di) != 2 * self._dialect.width:
                raise ConfigError(
                    f"{point}: 数据标识 {source.di} 不是 edition {options.edition} 的"
                    f" / identifier {source.di} is not one of edition {options.edition}",
                    hint='edition: "2007" 用 8 位 has eight digits; "1997", "mixed" 用 4 位 have four',
                )
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
        size = len(block.members) * block.item.size if block else max(each.least_size for each in sources)
        return 2 * (self._preamble + frame.OVERHEAD + self._dialect.width) + size

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: dict[PointId, Reading] = {}
        for group in self.batches(points) if len(points) > 1 else (points,):
            answers = await self._read_group({self._sources[point].di: self._sources[point].block for point in group})
            for point in group:
                readings[point] = reading.reading(point, self._sources[point], answers[self._sources[point].di])
        return [readings[point] for point in points]

    async def write(self, point: PointId, value: Value) -> None:
        request = self._writer.request(self._points[point], value)
        answer = await exchange(
            self._link,
            request,
            self._timeout_s,
            self._preamble,
            repeated=0,
            once=True,
            embargo_s=writing.EMBARGO_S,
        )
        if answer.refused:
            raise writing.rejection(answer)

    def settle_s(self, point: PointId) -> float:
        options: Dlt645PointOptions = self._points[point].options
        return writing.settle_s(options)

    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        options: Dlt645PointOptions = self._points[point].options
        return interpretations(options, self._address, self._dialect, answer)

    # ------------------------------------------------------------------ inside

    async def _read_group(self, blocks: Mapping[str, formats.Block | None]) -> Mapping[str, Answer]:
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

    async def _read_block(self, block: formats.Block) -> Mapping[str, Answer]:
        """The members that the meter sends; none when it refuses the block."""
        try:
            return reading.of_members(block, await self._read(block.di))
        except LineLost:
            raise
        except DeviceUnreachable:
            self._states[block.di] = _AFTER_SILENCE[self._states.get(block.di)]
            raise

    async def _read(self, di: str) -> Answer:
        """What the meter has under *di*, put together from as many frames as it takes."""
        dialect = self._dialect
        answer = await self._ask(dialect.first(self._address, di))
        data = answer.data[dialect.width :]
        sequence = 0
        while answer.more_follows:
            sequence += 1
            answer = await self._ask(dialect.next(self._address, di, sequence), once=not dialect.numbered)
            if answer.refused:
                break
            following, tail = answer.data[dialect.width :], dialect.tail(sequence)
            if sequence > _MOST_CONTINUATIONS or not following.endswith(tail):
                return self._answer(answer, b"", Reason.BAD_FRAME)
            data += following[: len(following) - len(tail)]
        return self._answer(answer, data, Reason.REFUSED if answer.refused else None)

    async def _ask(self, request: Frame, once: bool = False) -> Frame:
        """One question, and again where a refusal may have been meant for the question before it."""
        doubtful = self._unanswered
        self._unanswered = True  # stays so when the exchange times out or is cancelled
        answer = await self._exchange(request, once)
        if answer.refused and doubtful:
            answer = await self._exchange(request, once)
        self._unanswered = False
        return answer

    async def _exchange(self, request: Frame, once: bool) -> Frame:
        return await exchange(
            self._link,
            request,
            self._timeout_s,
            self._preamble,
            repeated=self._dialect.width,
            once=once,
            embargo_s=_CONTINUATION_EMBARGO_S if once else 0.0,
        )

    def _answer(self, last: Frame, data: bytes, reason: Reason | None) -> Answer:
        return Answer(data, last, self._clock.now_ms(), reason)


DLT645 = ProtocolType(
    name="dlt645",
    device_options=Dlt645Options,
    point_options=Dlt645PointOptions,
    make=Dlt645Meter,
    serial=SerialFormat(baud=2400, parity="E"),
    tcp=True,
    usual_latency_s=0.05,  # the standard allows 20 to 500 ms
    default_timeout_s=1.5,  # the meter may think for 500 ms, and a full frame takes 970 ms at 2400 baud
    discover=discover,
    scan_formats=FORMATS,
)
