"""Who is on the bus: by primary address, then by identification.

    primary    SND_NKE to each address ──E5──▶ REQ_UD2 ──▶ RSP_UD: one meter; anything else: several share the address
    secondary  select FFFFFFFF … ──silence──▶ asked again, then nobody
                                 ──one E5───▶ REQ_UD2 to 253 ──▶ one RSP_UD: found
                                 ──else─────▶ several: 0FFFFFFF, 1FFFFFFF … 9FFFFFFF, each as above

Meters that speak at once destroy each other, down to silence.  So silence is asked again, and the silent parts of a
branch are walked again while fewer were met in it than its answers promise (two for a collision, more where more E5
were counted), and twice on a line on which somebody was heard only the second time.  Below eight digits maker, medium
and version are tried: the standard gives them no wildcard per digit, so makers are those known here or met in this
scan, and media those with a name.  What stays together is a trouble.

Primary first: an address that only one meter has is the simpler entry.  A meter found so is not reported again; one at
address 0 (nobody gave it one) or at a shared one is, by its identification.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.mbus import frame, records
from drivers.mbus.frame import ACK, Frame, find_frame
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Value

SCAN_FORMATS = (SerialFormat(2400, "E"), SerialFormat(300, "E"), SerialFormat(9600, "E"))

_DIGITS = 8
_COUNTS = 3
"""How often several who answer are counted: not all of them are heard each time."""
_TRIES = {False: 2, True: 3}
"""How often a selection is sent that nobody answers; more on a line on which somebody who answers may go unheard."""
_LEAST_ROUNDS, _MOST_ROUNDS = {False: 1, True: 2}, 4
"""How often the silent parts of a branch are walked in any case, likewise, and while meters are missing in it."""
_GLITCHES = b"\x00\xff"
"""What a line shows by itself when its driver is switched on and off; two who answer at once may look like that, too:
then the search by identification finds them."""
_FRAME_S = 10.0
"""A full frame at 300 baud."""
_MOST_QUESTIONS = 500
"""Per meter found, and once more: a bus that is never quiet must not be walked for ever."""
_ANYBODY = "F" * 16
"""Number (8 places), maker (4), version (2), medium (2), as in a device entry."""


async def discover(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """Raises LineLost."""
    scan = _Scan(link, search.timeout_s)
    first = max(0, search.first or 0)
    last = frame.MOST_PRIMARY if search.last is None else min(search.last, frame.MOST_PRIMARY)
    addresses = range(first, last + 1)
    scan.expected = len(addresses) + 1
    async for each in scan.primary(addresses):
        yield each
    await scan.heard(Frame(frame.SND_NKE, frame.SELECTED))
    async for each in scan.walk(_ANYBODY, 0):
        yield each
    await scan.heard(Frame(frame.SND_NKE, frame.SELECTED))  # leave nobody selected
    for own, found in scan.unnamed:
        if own not in scan.met:
            yield found
    yield Progress(scan.asked, scan.asked)


@dataclass(slots=True)
class _Scan:
    link: Link
    timeout_s: float
    asked: int = 0
    expected: int = 0
    named: set[str] = field(default_factory=set)
    """Whom a primary address of their own means, by identification (16 places)."""
    unnamed: list[tuple[str, Found]] = field(default_factory=list)
    """Who is alone at address 0."""
    met: list[str] = field(default_factory=list)
    """Whom the search by identification has met; a trouble stands for as many as were heard."""
    read_out: int = 0
    silences: bool = False
    """Whether somebody who answers was unheard another time."""
    branches: int = 0
    given_up: bool = False

    def progress(self, where: str) -> Progress:
        self.asked += 1
        self.expected = max(self.expected, self.asked)
        return Progress(self.asked - 1, self.expected, where)

    # ------------------------------------------------------------------ questions

    async def heard(self, request: Frame) -> bytes:
        """Everything that was said, without an adapter's echo."""
        wire = request.to_bytes()
        # behind an echo the answer may take as long as without one
        heard = await self.link.collect(wire, timeout_s=self.timeout_s, silence_s=self.timeout_s)
        return heard.removeprefix(wire)

    async def read(self, address: int) -> Frame | None:
        """The one answer to REQ_UD2; None where nobody answers, or several do."""

        def parse(received: bytes) -> Frame | None:
            found = find_frame(received)
            while found is not None and not found[0].is_response:
                found = find_frame(received, found[2])
            return found[0] if found else None

        request = Frame(frame.REQ_UD2 | frame.FCB, address).to_bytes()
        timeout_s = self.timeout_s + _FRAME_S
        try:
            return await self.link.exchange(request, parse, peer=("mbus", "scan"), timeout_s=timeout_s)
        except LineLost:
            raise
        except (DeviceUnreachable, ProtocolError):
            return None

    async def select(self, mask: str) -> bytes:
        """What is heard to a selection.  Silence may be several who destroyed each other, so it is asked again."""
        for tries in range(_TRIES[self.silences]):
            if heard := await self.heard(_selection(mask)):
                self.silences = self.silences or tries > 0
                return heard
        return b""

    async def count(self, mask: str, heard: bytes) -> int:
        """How many must have answered to a selection at least, *heard* included."""
        each = [heard, *[await self.heard(_selection(mask)) for _ in range(_COUNTS - 1)]]
        self.silences = self.silences or (any(each) and not all(each))
        return max(map(_count, each))

    # ------------------------------------------------------------------ primary addresses

    async def primary(self, addresses: range) -> AsyncIterator[Found | Progress]:
        for address in addresses:
            yield self.progress(f"{address}")
            heard = (await self.heard(Frame(frame.SND_NKE, address))).strip(_GLITCHES)
            if not heard:
                continue
            answer = await self.read(address) if ACK in heard else None
            if answer is None:
                yield Found({"primary": address}, "", _SHARED)
            elif address == 0:
                self.unnamed.append((_own(answer), _found({"primary": 0}, answer, _UNADDRESSED)))
            else:
                self.named.add(_own(answer))
                yield _found({"primary": address}, answer)

    # ------------------------------------------------------------------ identifications

    async def walk(self, mask: str, level: int) -> AsyncIterator[Found | Progress]:
        """Everybody whom *mask* means.  level: what is tried below it, an index of _LEVELS."""
        yield self.progress(mask)
        heard = await self.select(mask)
        answer = await self.read(frame.SELECTED) if heard == ACK else None
        if answer is not None and _means(mask, _own(answer)):
            self.met.append(_own(answer))
            self.read_out += 1
            if _own(answer) not in self.named:
                yield _found({"secondary": _entry(answer)}, answer)
        elif heard or level == 0:  # all at once may well be silent
            least = await self.count(mask, heard)
            async for each in self.branch(mask, level, least):
                yield each

    async def branch(self, mask: str, level: int, least: int) -> AsyncIterator[Found | Progress]:
        """Those whom *mask* means, by what is said next; again while fewer than *least* were met."""
        self.branches += 1
        branches = self.branches
        by_digit = level < _DIGITS
        rounds = _MOST_ROUNDS if by_digit else int(least > 1 and level < len(_LEVELS))
        for done in range(1, rounds + 1):
            async for each in self.parts(mask, level):
                yield each
            if self.given_up or (self._below(mask) >= least and done >= min(rounds, _LEAST_ROUNDS[self.silences])):
                return
        if rounds and not by_digit:  # what differs is not this: the next
            async for each in self.branch(mask, level + 1, least):
                yield each
        elif self.branches == branches:  # no branch of this one has said it
            self.met += [mask] * (least - self._below(mask))
            yield Found({"secondary": mask}, "", _MUTE if least < 2 else _MISSED if by_digit else _INSEPARABLE)

    async def parts(self, mask: str, level: int) -> AsyncIterator[Found | Progress]:
        """Every part of *mask* in which nobody was met yet."""
        parts = [part for part in _LEVELS[level](mask, self.met) if not self._below(part)]
        self.expected += len(parts)
        for part in parts:
            if self.given_up:
                return
            if self.asked > _MOST_QUESTIONS * (1 + self.read_out):
                self.given_up = True
                yield Found({}, "", _NOISE)
                return
            async for each in self.walk(part, level + 1):
                yield each

    def _below(self, mask: str) -> int:
        """How many of those who were met a mask means."""
        return sum(_means(mask, own) for own in self.met)


# ---------------------------------------------------------------------------------------------- identifications


def _selection(mask: str) -> Frame:
    return Frame(frame.SND_UD, frame.SELECTED, frame.SELECT, records.selection(mask))


def _count(heard: bytes) -> int:
    """How many have answered: as many as acknowledgements, two where there is anything else."""
    return max(heard.count(ACK), 2 if heard.strip(ACK) else 0)


def _own(answer: Frame) -> str:
    """Who answers, 16 places; the fixed structure names 8 of them, a short header none."""
    own = records.identification(answer.ci or 0, answer.data)
    return own.ljust(len(_ANYBODY), "F") if own else ""


def _means(mask: str, own: str) -> bool:
    return bool(own) and all(asked in ("F", is_) for asked, is_ in zip(mask, own, strict=True))


def _entry(answer: Frame) -> str:
    return records.identification(answer.ci or 0, answer.data)


def _found(entry: dict[str, Value], answer: Frame, trouble: str = "") -> Found:
    header = records.parse(answer.ci or 0, answer.data).header
    if header is None:
        return Found(entry, "", trouble)
    medium = None if header.medium is None else records.medium_text(header.medium)
    version = None if header.version is None else f"V{header.version}"
    primary = f"primary {answer.address}" if "secondary" in entry and answer.address <= frame.MOST_PRIMARY else None
    return Found(entry, ", ".join(filter(None, (header.manufacturer, medium, version, header.id, primary))), trouble)


Parts = Callable[[str, Sequence[str]], Iterator[str]]
"""A mask, and whom the scan has met -> the mask with one more place or field said."""


def _by_digit(place: int) -> Parts:
    return lambda mask, _: (f"{mask[:place]}{digit}{mask[place + 1 :]}" for digit in "0123456789")


def _by_medium(mask: str, met: Sequence[str]) -> Iterator[str]:
    return (f"{mask[:14]}{medium:02X}" for medium in records.MEDIA)


def _by_maker(mask: str, met: Sequence[str]) -> Iterator[str]:
    """Makers met on this line first."""
    known = dict.fromkeys([*(own[8:12] for own in met), *map(records.manufacturer_code, _MAKERS.split())])
    return (f"{mask[:8]}{maker}{mask[12:]}" for maker in known if maker != "FFFF")


def _by_version(mask: str, met: Sequence[str]) -> Iterator[str]:
    return (f"{mask[:12]}{version:02X}{mask[14:]}" for version in range(0xFF))


_LEVELS: Sequence[Parts] = (*map(_by_digit, range(_DIGITS)), _by_maker, _by_medium, _by_version)

_MAKERS = (
    "ABB ACW AMT BMT DME EDC EFE EIE ELS ELV EMH EMU FIN GAV GWF HYD INE ISK ITW KAM "
    "LGB LSE LSZ LUG NZR PAD QDS RAM REL SBC SEN SLB SON SPX TCH ZRI ZRM"
)
"""Makers of meters in tests/vectors/mbus.json, and a few more that are common."""

_SHARED = "有应答但读不出数据：可能多块表共用此地址 / answers, but not with data: several meters may share this address"
_UNADDRESSED = "未设置主地址（0）：再接一块新表就会冲突 / address 0, none was given: the next new meter will share it"
_INSEPARABLE = (
    "多块表应答，无法区分：逐块接入 / several meters answer and cannot be told apart: connect them one by one"
)
_MISSED = "听到的应答多于找到的表：请再搜一次 / more answers were heard than meters found: search again"
_MUTE = "应答选择但不给数据 / answers to a selection, but sends no data"
_NOISE = "线路上不断有干扰，搜索已停止 / the bus is never quiet, the search was given up: check cable and serial format"
