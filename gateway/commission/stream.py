"""A stream of bytes cut into frames: by silence, by direction, and by whether a protocol's decoder accepts them.

    chunks ──▶ bursts (what comes without a pause, in one direction) ──▶ decoder ──▶ Cut: frames, or bytes with a fault
                        a burst that does not check waits a moment for its other half ┘

An adapter hands bytes over in pieces of up to 16 ms, so a question and its answer may be one burst; a slow meter may
pause in the midst of a frame, so one frame may be two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TypeAlias

from drivers.base import Decoded, DecodedFrame, Fault
from gateway.commission.record import Chunk

Decode: TypeAlias = Callable[[bytes], Decoded]

PAUSE_MS = 30
"""Silence that ends a burst: longer than an adapter's latency timer (16 ms)."""
HALF_MS = 500
"""So long a burst that does not check waits for more.  DL/T 645-2007 allows 500 ms between two bytes of a frame."""
MOST_HELD = 8
"""Pieces that one frame may come in."""
MOST_BYTES = 4096
"""A burst that never pauses is cut here: noise, or a speed that is wrong."""
SHORTEST_PROOF = 4
"""Bytes of a burst that say anything of the protocol; a single E5 does not."""
SETTLED_AFTER = 3
"""Bursts that one protocol alone accepts, before others are no longer asked first."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One frame with its bytes, or bytes that are none."""

    at_ms: int
    """UTC, of the burst's first byte."""
    direction: str
    data: bytes
    protocol: str | None
    """Whose frame it is; None for what nobody accepts while the protocol is not known."""
    frames: tuple[DecodedFrame, ...] = ()
    """One, where the bytes check; more or none with a fault."""
    fault: Fault | None = None

    @property
    def ok(self) -> bool:
        return self.fault is None


@dataclass(frozen=True, slots=True)
class _Burst:
    at_ms: int
    until_ms: int
    direction: str
    data: bytes

    def with_more(self, other: _Burst) -> _Burst:
        return _Burst(self.at_ms, other.until_ms, self.direction, self.data + other.data)


@dataclass(slots=True)
class Cutter:
    """Give it chunks in the order of time, and the time now and then; what comes back is complete."""

    reader: Reader
    _open: _Burst | None = None
    """Still growing."""
    _held: list[_Burst] = field(default_factory=list)
    """Ended by a pause each, none of which checks: perhaps the first parts of a frame."""

    def feed(self, chunk: Chunk) -> list[Cut]:
        cuts = self.tick(chunk.at_ms)
        piece = _Burst(chunk.at_ms, chunk.at_ms, chunk.direction, chunk.data)
        if self._open is not None and self._open.direction == chunk.direction and len(self._open.data) < MOST_BYTES:
            self._open = self._open.with_more(piece)
        else:
            cuts += self._end_of_burst()
            self._open = piece
        return cuts

    def tick(self, now_ms: int) -> list[Cut]:
        """So late is it, and nothing has come since the last chunk."""
        cuts: list[Cut] = []
        if self._open is not None and now_ms - self._open.until_ms > PAUSE_MS:
            cuts += self._end_of_burst()
        if self._held and now_ms - self._held[-1].until_ms > HALF_MS:
            cuts += self._give_up()
        return cuts

    def flush(self) -> list[Cut]:
        """The stream has ended."""
        return [*self._end_of_burst(), *self._give_up()]

    def _end_of_burst(self) -> list[Cut]:
        burst, self._open = self._open, None
        if burst is None:
            return []
        cuts = self._give_up() if self._held and self._held[-1].direction != burst.direction else []
        for number, _ in enumerate(self._held):
            whole = reduce(_Burst.with_more, (*self._held[number:], burst))
            if self.reader.accepts(whole.data):
                del self._held[number:]
                return [*cuts, *self._give_up(), *self.reader.read(whole)]
        if self.reader.accepts(burst.data):
            return [*cuts, *self._give_up(), *self.reader.read(burst)]
        if len(self._held) == MOST_HELD:
            cuts += self.reader.read(self._held.pop(0))
        self._held.append(burst)
        return cuts

    def _give_up(self) -> list[Cut]:
        held, self._held = self._held, []
        return [cut for burst in held for cut in self.reader.read(burst)]


@dataclass(slots=True)
class Reader:
    """Explains bursts with one protocol, or finds out which one it is.

    decoders: protocol -> its decoder; with more than one the first bursts decide, and later ones that only another
    protocol accepts are still shown as that protocol's (several may share a line).
    """

    decoders: Mapping[str, Decode]
    accepted: Counter[str] = field(default_factory=Counter)
    """Protocol -> bursts that it accepted."""
    refused: int = 0
    """Bursts that nobody accepted."""
    _context: dict[str, bytes] = field(default_factory=dict)
    """Protocol -> its latest frame: who asks decides how the answer is to be read."""

    @property
    def settled(self) -> str | None:
        """The protocol of the line, once that is clear."""
        if len(self.decoders) == 1:
            return next(iter(self.decoders))
        leaders = self.accepted.most_common(2)
        if not leaders or leaders[0][1] < SETTLED_AFTER or (len(leaders) > 1 and leaders[1][1] == leaders[0][1]):
            return None
        return leaders[0][0]

    def accepts(self, data: bytes) -> bool:
        return self._protocol_of(data) is not None

    def read(self, burst: _Burst) -> list[Cut]:
        protocol = self._protocol_of(burst.data)
        if protocol is None:
            self.refused += 1
            return [self._rubbish(burst)]
        if len(burst.data) >= SHORTEST_PROOF:
            self.accepted[protocol] += 1
        return list(self._frames(protocol, burst))

    def _order(self) -> list[str]:
        return sorted(self.decoders, key=lambda name: -self.accepted[name])

    def _protocol_of(self, data: bytes) -> str | None:
        """The one that accepts *data*; the line's own where several do."""
        if len(data) < SHORTEST_PROOF and self.settled is None:
            return None
        return next((name for name in self._order() if self._decoded(name, data).ok), None)

    def _decoded(self, protocol: str, data: bytes) -> Decoded:
        return self.decoders[protocol](data)

    def _rubbish(self, burst: _Burst) -> Cut:
        protocol = self.settled
        if protocol is None:
            fault = Fault("no_frame", "没有协议认得这些字节 no protocol accepts these bytes")
            return Cut(burst.at_ms, burst.direction, burst.data, None, (), fault)
        decoded = self._decoded(protocol, burst.data)
        return Cut(burst.at_ms, burst.direction, burst.data, protocol, decoded.frames, decoded.fault)

    def _frames(self, protocol: str, burst: _Burst) -> Iterator[Cut]:
        for data in split(self.decoders[protocol], burst.data):
            before = self._context.get(protocol, b"")
            explained = self._decoded(protocol, before + data)
            already = len(self._decoded(protocol, before).frames) if before else 0
            frames = explained.frames[already:] if explained.ok else self._decoded(protocol, data).frames
            self._context[protocol] = data
            yield Cut(burst.at_ms, burst.direction, data, protocol, tuple(frames))


def split(decode: Decode, data: bytes) -> list[bytes]:
    """*data*, which *decode* accepts, as pieces of one frame each; what stands before a frame goes with it."""
    pieces: list[bytes] = []
    rest = data
    while len(decode(rest).frames) > 1:
        end = next((n for n in range(1, len(rest)) if _is_one(decode(rest[:n])) and decode(rest[n:]).ok), None)
        if end is None:
            break
        pieces.append(rest[:end])
        rest = rest[end:]
    return [*pieces, rest]


def _is_one(decoded: Decoded) -> bool:
    return decoded.ok and len(decoded.frames) == 1


def other_protocols(cuts: Sequence[Cut], decoders: Mapping[str, Decode]) -> Counter[str]:
    """Which protocols accept what the chosen one did not."""
    rubbish = [cut.data for cut in cuts if not cut.ok and len(cut.data) >= SHORTEST_PROOF]
    return Counter(name for data in rubbish for name, decode in decoders.items() if decode(data).ok)
