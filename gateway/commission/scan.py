"""A line searched for devices, one serial format after the other.

formats ──▶ open the line ──▶ ProtocolType.discover ──▶ Found ──▶ Met, each device once
                                      │                            └▶ identify (fingerprint.py) ──▶ Named
                                      └──▶ Progress ──▶ Step (of the whole scan)
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from drivers.base import Discover, Found, Link, Progress, ProtocolType, Search, SerialFormat
from drivers.transport import ByteLine
from gateway.commission.daemon import DaemonLink
from gateway.commission.fingerprint import Verdict
from gateway.errors import LineLost
from gateway.model import Value

OpenLine: TypeAlias = Callable[[SerialFormat | None], Link]
"""The line at a format, not yet open; None over TCP, where the converter has the format."""
Identify: TypeAlias = Callable[[Link, Found], Awaitable[Verdict | None]]
"""None: there is no need to."""

ANSWER_CHARACTERS = 32
"""What discovery questions are answered with fits into so many."""
LATENCIES = 10
"""How many times the usual latency a device may take before a scan goes on without it."""


@dataclass(frozen=True, slots=True)
class Met:
    """One device, and the format at which it answered (None: not over a serial port)."""

    found: Found
    serial: SerialFormat | None

    @property
    def key(self) -> tuple[tuple[str, Value], ...]:
        return tuple(sorted(self.found.entry.items()))


@dataclass(frozen=True, slots=True)
class Named:
    """What a device met before seems to be."""

    met: Met
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Step:
    """How far the whole scan has come.  *expected* is an estimate: formats to come are taken to cost what the
    dearest one so far does."""

    asked: int
    expected: int
    where: str
    serial: SerialFormat | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A format that the port cannot do, where it could do the one before."""

    serial: SerialFormat | None
    why: LineLost


News: TypeAlias = Met | Named | Step | Skipped


@dataclass(slots=True)
class Scan:
    """One run over one line.  What it has met so far stays readable when it is cut short."""

    open_line: OpenLine
    discover: Discover
    formats: Sequence[SerialFormat | None]
    search: Search
    identify: Identify | None = None
    devices: list[Met] = field(default_factory=list)
    heard_bytes: int = 0
    """Everything that came in while questions were asked, whether it made sense or not."""
    _asked: int = 0
    _dearest: int = 0

    async def run(self) -> AsyncGenerator[News, None]:
        """Raises LineLost when the line cannot be opened, or is lost on the way."""
        for number, serial in enumerate(self.formats):
            link = self.open_line(serial)
            if isinstance(link, ByteLine):
                link.tap = self._hear
            try:
                await link.__aenter__()
            except LineLost as exc:
                if number == 0:
                    raise
                yield Skipped(serial, exc)
                continue
            try:
                async with aclosing(self._at(link, serial, len(self.formats) - number - 1)) as news:
                    async for each in news:
                        yield each
            finally:
                await link.__aexit__(None, None, None)
                if isinstance(link, DaemonLink):
                    self.heard_bytes += link.heard_bytes

    async def _at(self, link: Link, serial: SerialFormat | None, to_come: int) -> AsyncGenerator[News, None]:
        before, new = self._asked, list[Met]()
        async with aclosing(_closable(self.discover(link, self.search))) as stream:
            async for each in stream:
                if isinstance(each, Progress):
                    yield self._step(each, before, serial, to_come)
                elif (met := Met(each, serial)).key not in {other.key for other in self.devices}:
                    self.devices.append(met)
                    new.append(met)
                    yield met
        if self.identify is None:
            return
        for met in new:
            # Only now: a search may leave the line in a state of its own (a selected meter) between two questions.
            yield Step(self._asked, self._asked + to_come * self._dearest, _name(met.found), serial)
            verdict = await self.identify(link, met.found)
            if verdict is not None:
                yield Named(met, verdict)

    def _step(self, progress: Progress, before: int, serial: SerialFormat | None, to_come: int) -> Step:
        self._asked = before + progress.asked
        self._dearest = max(self._dearest, progress.expected)
        expected = max(before + progress.expected, self._asked) + to_come * self._dearest
        return Step(self._asked, expected, progress.where, serial)

    def _hear(self, direction: str, data: bytes) -> None:
        if direction == "rx":
            self.heard_bytes += len(data)


async def _closable(stream: AsyncIterator[Found | Progress]) -> AsyncGenerator[Found | Progress, None]:
    """A discover may be any iterator; closing this generator closes it where it is one that can be."""
    try:
        async for each in stream:
            yield each
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _name(found: Found) -> str:
    return " ".join(str(value) for value in found.entry.values())


def formats_of(
    type_: ProtocolType,
    base: SerialFormat | None,
    bauds: Sequence[int],
    parities: Sequence[str],
    data_bits: int | None,
    stop_bits: int | None,
) -> list[SerialFormat]:
    """Every combination of what was said; what was not is taken from *base*, else from the protocol's usual format."""
    usual = base or type_.serial or SerialFormat(9600)
    bits = {"data_bits": data_bits or usual.data_bits, "stop_bits": stop_bits or usual.stop_bits}
    pairs = itertools.product(bauds or [usual.baud], parities or [usual.parity])
    return _once(replace(usual, baud=baud, parity=parity, **bits) for baud, parity in pairs)


def all_formats(type_: ProtocolType, base: SerialFormat | None = None) -> list[SerialFormat]:
    """The formats worth trying, *base* (what the line is configured to) first."""
    usual = type_.scan_formats or (type_.serial or SerialFormat(9600),)
    return _once((*([base] if base else []), *usual))


def timeout_s(type_: ProtocolType, formats: Iterable[SerialFormat | None]) -> float:
    """How long to wait for an answer where nobody says: short, for most questions meet silence."""
    slowest = max((0.0 if each is None else each.character_s for each in formats), default=0.0)
    return round(LATENCIES * type_.usual_latency_s + ANSWER_CHARACTERS * slowest, 3)


def eta_s(step: Step, elapsed_s: float) -> float | None:
    """Seconds still to go; None before there is anything to judge by."""
    return elapsed_s / step.asked * max(0, step.expected - step.asked) if step.asked else None


def _once(formats: Iterable[SerialFormat]) -> list[SerialFormat]:
    return list(dict.fromkeys(formats))
