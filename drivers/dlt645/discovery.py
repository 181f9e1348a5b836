"""Finds the meters of a line whose numbers nobody knows.

    AA AA AA AA AA AA ── all meters answer at once: what comes is one meter, a collision, or nothing
      └▶ AA AA AA AA AA 00 … AA AA AA AA AA 99        (the last two digits; always walked)
           └▶ AA AA AA AA 00 07 … AA AA AA AA 99 07   (where several answered 07)
                └▶ …

First as DL/T 645-2007 (11h 00010000, 13h), then as 1997 (01h 9010, C032).  A meter's answer shows its full address.

What an answer proves.  Several frames, or bytes that are no frame, are several meters: their branch is descended into.
Silence after both questions is nobody; after all wildcards only where a collision has been heard before, because some
adapters hand over nothing of one.  A lone clean answer could hide others: the nearest transmitter can win over the
rest of the line.  To all wildcards it therefore ends nothing, the last two digits are walked all the same (a scan that
misses a meter costs another visit); further down, a second question must bring the same meter alone, and that is
believed.  Two meters with the same last two digits of which one always wins stay one: ``Search.first`` and ``last``
ask for each number by itself and find both.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.dlt645 import frame, items
from drivers.dlt645.exchange import DIALECTS, PREAMBLE, Dialect, exchange
from drivers.dlt645.frame import Frame, find_frame
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Value

FORMATS = (
    SerialFormat(2400, "E"),
    SerialFormat(1200, "E"),
    SerialFormat(4800, "E"),
    SerialFormat(9600, "E"),
    SerialFormat(2400, "N"),
)

_PAIRS = [f"{n:02d}" for n in range(100)]
_SILENCE_S = 0.5
"""An answer is over, and a second one will not begin, when the line is quiet for so long: what the standard grants a
meter before it answers."""
_ANSWER_S = 0.5
"""What an answer takes that has begun: 50 characters at 1200 baud."""
_MOST_COLLISIONS = 32
"""Branches of one level in which several meters can really be: a segment carries 32 loads, rarely 128.  More is a line
full of noise, in which a walk would never end."""
_MOST_NUMBERS = 10_000
_METER_NUMBERS = ("04000402", "C032")
_SHARED = "同一表号有多块表应答，或线路有干扰 / several meters answer to this number, or the line is disturbed"
_NAMELESS = "应答中没有表号，请抄写铭牌 / it does not say its number: copy it from the meter's face"
_NOISE = "线路只有噪声，停止 / nothing but noise on the line, stopped"
_GLITCH = (b"", b"\x00", b"\xff")
"""What a line that changes its direction can bring in by itself."""


class _Heard(enum.Enum):
    NOBODY = enum.auto()
    ONE = enum.auto()
    SEVERAL = enum.auto()


@dataclass(frozen=True, slots=True)
class _Question:
    control: int
    di: str = ""

    def to(self, address: str) -> Frame:
        return Frame(address, self.control, bytes.fromhex(self.di)[::-1])


@dataclass(frozen=True, slots=True)
class _Edition:
    name: str
    questions: tuple[_Question, _Question]
    dialect: Dialect
    identity: tuple[str, ...]
    """Identifiers that tell what the meter is, the surest first."""


_EDITIONS = (
    _Edition(
        "2007",
        (_Question(frame.READ, "00010000"), _Question(frame.READ_ADDRESS)),
        DIALECTS["2007"],
        ("04000402", "04000404", "04000405", "0400040B"),
    ),
    _Edition(
        "1997",
        (_Question(frame.READ_1997, "9010"), _Question(frame.READ_1997, "C032")),
        DIALECTS["1997"],
        ("C032",),
    ),
)


async def discover(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """See drivers/base.py: Discover.  *first* and *last*: meter numbers, each asked for by itself if they are few."""
    scan = _Scan(link, search)
    if search.first is not None and search.last is not None and search.last - search.first < _MOST_NUMBERS:
        ways = [scan.numbers(range(search.first, search.last + 1))]
    else:
        ways = [scan.walk(edition) for edition in _EDITIONS]
    for way in ways:
        async with aclosing(way):
            async for each in way:
                yield each


@dataclass(slots=True)
class _Scan:
    link: Link
    search: Search
    known: set[str] = field(default_factory=set)
    """Addresses met so far."""
    asked: int = 0
    expected: int = len(_EDITIONS) * (1 + len(_PAIRS))
    collisions_are_heard: bool = False
    """Some adapters hand over nothing when several speak at once.  After one collision we know that this one does."""

    async def walk(self, edition: _Edition) -> AsyncGenerator[Found | Progress, None]:
        """Level by level: all wildcards, the last two digits, the last four where several answered ..."""
        level = [frame.WILDCARD]
        while level:
            crowded: list[str] = []
            for address in level:
                heard, met = await self._ask(edition.questions, address)
                self.asked += 1
                nobody_at_all = address == frame.WILDCARD and heard is _Heard.NOBODY and self.collisions_are_heard
                if nobody_at_all:  # two would have been noise
                    self.expected -= len(_PAIRS)
                yield Progress(self.asked, self.expected, address)
                if nobody_at_all:
                    return
                for found in await self._met(edition, address, heard, met):
                    yield found
                if "A" in address and (heard is _Heard.SEVERAL or address == frame.WILDCARD):
                    crowded.append(address)
            if len(crowded) > _MOST_COLLISIONS:
                yield Progress(self.asked, self.expected, _NOISE)
                return
            level = [narrower for address in crowded for narrower in _narrower(address)]
            if crowded != [frame.WILDCARD]:  # that level was expected from the beginning
                self.expected += len(level)

    async def numbers(self, numbers: Sequence[int]) -> AsyncGenerator[Found | Progress, None]:
        """Ask for each number by itself, in every edition."""
        self.expected = len(numbers)
        for number in numbers:
            address = f"{number:012d}"
            for edition in _EDITIONS:
                heard, met = await self._ask(edition.questions[:1], address)
                for found in await self._met(edition, address, heard, met):
                    yield found
                if heard is not _Heard.NOBODY:
                    break
            self.asked += 1
            yield Progress(self.asked, self.expected, address)

    # ------------------------------------------------------------------ one branch

    async def _ask(self, questions: Sequence[_Question], address: str) -> tuple[_Heard, Sequence[Frame]]:
        """Who answers to *address*: every question is put, until one shows that there are several."""
        met: dict[str, Frame] = {}
        for question in questions:
            frames, noise = await self._hear(question.to(address))
            met = {each.address: each for each in frames} | met  # the first answer tells more: a refusal, too
            if noise or len(frames) > 1 or len(met) > 1:
                self.collisions_are_heard = True
                return _Heard.SEVERAL, list(met.values())
        return (_Heard.ONE if met else _Heard.NOBODY), list(met.values())

    async def _hear(self, request: Frame) -> tuple[Sequence[Frame], bool]:
        """The answers to *request*, and whether bytes came that are none."""
        wire = request.to_bytes(PREAMBLE)
        silence_s = min(_SILENCE_S, self.search.timeout_s)
        received = await self.link.collect(wire, timeout_s=self.search.timeout_s, silence_s=silence_s)
        received = received.removeprefix(wire)  # an adapter may hear itself
        frames: list[Frame] = []
        rest, at = b"", 0
        while (found := find_frame(received, at)) is not None:
            each, start, end = found
            rest += received[at:start].rstrip(b"\xfe")  # its preamble
            at = end
            if frame.answers(each, request):
                frames.append(each)
        return frames, rest + received[at:] not in _GLITCH

    async def _met(self, edition: _Edition, asked: str, heard: _Heard, met: Sequence[Frame]) -> list[Found]:
        trouble = _SHARED if heard is _Heard.SEVERAL and "A" not in asked else ""
        found: list[Found | None] = []
        for each in met:
            if "A" not in each.address:
                found.append(await self._found(edition, each.address, each.refused, trouble))
            elif heard is _Heard.ONE:  # some meters of 1997 repeat the wildcards; a crowd is sorted out further down
                found.append(await self._nameless(edition, asked))
        if trouble and asked not in self.known:
            self.known.add(asked)
            found.append(Found({"address": asked} | _key(edition.name), trouble=trouble))
        return [each for each in found if each is not None]

    # ------------------------------------------------------------------ one meter

    async def _found(self, edition: _Edition, address: str, refused: bool = False, trouble: str = "") -> Found | None:
        """The meter at *address*, unless it is known or outside the numbers that are wanted."""
        if address in self.known or not self._is_wanted(address):
            return None
        self.known.add(address)
        if refused and edition.name == "2007" and await self._read(DIALECTS["mixed"], address, "9010"):
            return Found({"address": address} | _key("mixed"), "DL/T 645-1997 / 2007", trouble)
        return Found({"address": address} | _key(edition.name), await self._identity(edition, address), trouble)

    async def _nameless(self, edition: _Edition, asked: str) -> Found | None:
        """The meter that says no address of its own: found under its meter number, if it listens to that."""
        number = await self._read(edition.dialect, asked, "C032") if edition.name == "1997" else ""
        if number and (number in self.known or await self._read(edition.dialect, number, "9010")):
            return await self._found(edition, number)
        return Found({"address": asked} | _key(edition.name), trouble=_NAMELESS)

    async def _identity(self, edition: _Edition, address: str) -> str:
        """Meter number, rated voltage and current, model: as far as the meter tells."""
        told = [f"DL/T 645-{edition.name}"]
        for di in edition.identity:
            value = await self._read(edition.dialect, address, di)
            if value is None:  # it does not like to be asked: it is found, that is enough
                break
            if value:
                told.append(f"No. {value}" if di in _METER_NUMBERS else value)
        return ", ".join(told)

    async def _read(self, dialect: Dialect, address: str, di: str) -> str | None:
        """What one meter has under *di*; empty when it refuses or has no value, None when it gives no valid answer."""
        request, item = dialect.first(address, di), items.lookup(di)
        try:
            answer = await exchange(self.link, request, self.search.timeout_s + _ANSWER_S, repeated=dialect.width)
        except LineLost:
            raise
        except (DeviceUnreachable, ProtocolError):
            return None
        data = answer.data[dialect.width :]
        if answer.refused or item is None or not item.fits(len(data)):
            return ""
        value = item.main[1].layout.read(data[item.main[0] :][: item.main[1].layout.size])
        return "" if value is None else str(value)

    def _is_wanted(self, address: str) -> bool:
        first, last = self.search.first, self.search.last
        return (first is None or first <= int(address)) and (last is None or int(address) <= last)


def _narrower(address: str) -> list[str]:
    """The hundred addresses with two more digits given: ``AAAAAAAAAA07`` -> ``AAAAAAAA0007`` ..."""
    wildcards, given = address[: address.count("A")], address[address.count("A") :]
    return [f"{wildcards[2:]}{pair}{given}" for pair in _PAIRS]


def _key(edition: str) -> dict[str, Value]:
    """What a device entry says besides the address."""
    return {} if edition == "2007" else {"edition": edition}
