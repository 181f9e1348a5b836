"""Who is on the line: the wildcard address, for any type and for each type by itself.

    T = AA, then 10, 11 … 40 ──▶ 03h 810A, identifier high byte first, then low ──▶ 83h: type and address
                                 nobody: 01h 901F, both orders                  ──▶ 81h: the same
                                 bytes, but no frame: several meters at once

The standard has no wildcard for single digits, so meters of one type cannot be told apart: they are reported as a
trouble without an address; a person reads their addresses from their dials, or connects them one by one.  Some meters
do not know T = AA, some know no 03h: hence the questions by type, and the reading of 901F.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace

from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.cjt188 import frame
from drivers.cjt188.frame import Frame, find_frame
from gateway.model import Value

SCAN_FORMATS = (
    SerialFormat(2400, "E"),
    SerialFormat(2400, "N"),
    SerialFormat(1200, "E"),
    SerialFormat(4800, "E"),
    SerialFormat(9600, "E"),
)

_TYPES: Mapping[int, str] = {
    0x10: "冷水 cold water",
    0x11: "热水 hot water",
    0x12: "直饮水 drinking water",
    0x13: "中水 reclaimed water",
    0x20: "热量 heat",
    0x21: "冷量 cold",
    0x22: "冷热量 heat and cold",
    0x25: "热量 heat",
    0x30: "燃气 gas",
    0x40: "其他 other",
}
"""What is asked for by type; 25h is no type of the standard, but one that heat meters answer with."""
_PREAMBLE = 4
_GLITCHES = b"\x00\xff"
"""What a line shows by itself when its driver is switched on and off."""
_SILENCE_S = 0.5
"""As long as a pause inside an answer may be: drivers/transport.py, reply_gap_s."""


async def discover(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """Raises LineLost.  *search* has no numeric addresses to give."""
    scan = _Scan(link, search.timeout_s)
    crowds: list[int] = []
    for type_ in (frame.ANY_TYPE, *_TYPES):
        crowded = heard = False
        for control, di in ((frame.READ_ADDRESS, frame.ADDRESS_DI), (frame.READ, frame.DATA_DI)):
            for low_first in (False, True):
                if control == frame.READ and (heard or crowded):
                    scan.expected -= 1
                    continue
                yield Progress(scan.asked, scan.expected, f"T={type_:02X} {di}{' ←' if low_first else ''}")
                asked = frame.request(type_, frame.WILDCARD, control, di, scan.next_sequence(), low_first)
                answers, anything = await scan.ask(asked)
                for each in scan.new(answers):
                    yield _found(asked, each, low_first)
                heard = heard or bool(answers)
                crowded = crowded or (anything and not answers)
        crowds += [type_] if crowded else []
    for found in _troubles(crowds, nobody=not scan.seen):
        yield found
    yield Progress(scan.asked, scan.asked)


@dataclass(slots=True)
class _Scan:
    link: Link
    timeout_s: float
    asked: int = 0
    expected: int = 4 * (1 + len(_TYPES))
    seen: set[tuple[int, str]] = field(default_factory=set)

    def next_sequence(self) -> int:
        self.asked += 1
        return self.asked & 0xFF

    async def ask(self, asked: Frame) -> tuple[list[Frame], bool]:
        """Every answer, and whether anything but an echo of the question was heard."""
        wire = asked.to_bytes(_PREAMBLE)
        # behind an echo the answer may take as long as without one
        silence_s = max(self.timeout_s, _SILENCE_S)
        heard = await self.link.collect(wire, timeout_s=self.timeout_s, silence_s=silence_s)
        return list(_answers(heard, asked)), bool(heard.removeprefix(wire).strip(_GLITCHES))

    def new(self, answers: list[Frame]) -> Iterator[Frame]:
        """Those that were not met before."""
        for each in answers:
            if (each.type, each.address) not in self.seen:
                self.seen.add((each.type, each.address))
                yield each


def _answers(heard: bytes, asked: Frame) -> Iterator[Frame]:
    """Frames that answer, of whatever type: a refusal too says who refuses."""
    at, anyone = 0, replace(asked, type=frame.ANY_TYPE)
    while (found := find_frame(heard, at)) is not None:
        each, start, end = found
        fits = frame.answers(each, anyone, any_sequence=True)
        if fits:
            yield each
        at = end if fits else start + 1


def _found(asked: Frame, answer: Frame, low_first: bool) -> Found:
    entry: dict[str, Value] = {"address": answer.address, "type": _type(answer.type)}
    if asked.type not in (frame.ANY_TYPE, answer.type):
        entry |= {"type": _type(asked.type), "answer_type": _type(answer.type)}
    if answer.sequence != asked.sequence:
        entry["echoes_sequence"] = False
    if low_first:  # it was silent when the high byte went first
        entry["di_order"] = "low_first"
    sort = _TYPES.get(answer.type, f"T={answer.type:02X}")
    return Found(entry, f"{sort}, 厂商 vendor {answer.address[:4]}, 表号 number {answer.address[4:]}")


def _type(code: int) -> str:
    """As an entry may say it."""
    return f"{code:02X}" if 0x10 <= code < 0x50 else "AA"


def _troubles(crowds: list[int], nobody: bool) -> Iterator[Found]:
    """What was heard but not understood.  The question for any type counts only where those by type found nobody."""
    typed = [type_ for type_ in crowds if type_ != frame.ANY_TYPE]
    for type_ in typed or (crowds if nobody else []):
        entry: dict[str, Value] = {} if type_ == frame.ANY_TYPE else {"type": _type(type_)}
        yield Found(entry, _TYPES.get(type_, ""), _CROWD)


_CROWD = (
    "多块表同时应答，本协议无法逐一区分：按表盘抄录地址，或逐块接入；也可能是串口格式不对 / several meters answered "
    "at once, which this protocol cannot tell apart: read the addresses from their dials, or connect them one by "
    "one; or the serial format is wrong"
)
