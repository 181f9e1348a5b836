"""What a GST9000 panel prints, read from the bytes that go to its printer.  Pure.

    1B 36 "08/12/02  17:24" 0A  "  004-004" 0A  1B 39 "首次火警" 0A "裙楼一层上空" 0A "感烟探测器" 0A 0A
    ESC 6 date and time         loop-device     ESC 9 what (GBK)     where             with what      end

There is no checksum, and no byte says where a record begins: it begins with a line that is a date and ends with an
empty line.  What has happened stands in the first line of text *alone*: a captured fault has the word for fire in its
place.  A record without a date (the gateway was started in the middle of it) counts if its words are known.

The date is year/month/day (a captured 24/01/12 came in a frame of 16 January 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_LINE_BYTES = 256
MOST_LINES = 8
_LINE_FEED = b"\n"
_ESCAPE = re.compile(rb"\x1b[\x20-\x7e]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DATE = re.compile(r"\s*([0-9]{2}/[0-9]{2}/[0-9]{2}\s+[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)\s*")
_ADDRESS = re.compile(r"\s*([0-9]{1,3})-([0-9]{1,3})\s*")

FIRE, FAULT, SHIELDED, SUPERVISORY, STARTED, FEEDBACK = (
    "fire",
    "fault",
    "shielded",
    "supervisory",
    "started",
    "feedback",
)
RESET, OTHER = "reset", "other"
_STATES = (  # in this order: 火警 stands in 首次火警 and 火警后续; captured are those of fire and 故障
    ("火警", FIRE),
    ("后续", FIRE),
    ("故障", FAULT),
    ("屏蔽", SHIELDED),
    ("隔离", SHIELDED),
    ("监管", SUPERVISORY),
    ("反馈", FEEDBACK),
    ("启动", STARTED),
)
_OVER = ("恢复", "解除", "撤消", "撤销", "消除", "消失", "取消", "停动", "停止")


@dataclass(frozen=True, slots=True)
class Printed:
    """One record of the printout."""

    event: str
    """fire, fault, shielded, supervisory, started, feedback, reset, other."""
    what: str
    """The line that says it."""
    over: bool = False
    """It is no longer so."""
    first: bool = False
    """The first fire since the panel was reset."""
    loop: int | None = None
    number: int | None = None
    place: str = ""
    component: str = ""
    time: str = ""
    """As printed: the minute, by the panel's clock."""

    @property
    def address(self) -> str:
        return "" if self.loop is None else f"{self.loop:03}-{self.number:03}"


def meaning(what: str) -> tuple[str, bool]:
    """Of a record's first line of text: the event, and whether it is over."""
    if "复位" in what:
        return RESET, False
    over = any(word in what for word in _OVER)
    return next(((event, over) for word, event in _STATES if word in what), (OTHER, over))


class Printout:
    """Records out of a stream.  However the stream is cut, the same records come of it.

    Holds one line and the lines of one record, both bounded: what is too long for a printer is cut.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._record: list[str] | None = None
        """Its lines so far; the first is the date, or empty."""

    @property
    def waiting(self) -> bool:
        """Something has come that is not finished."""
        return bool(self._line) or self._record is not None

    def feed(self, data: bytes) -> Sequence[Printed]:
        first, *others = data.split(_LINE_FEED)
        found: list[Printed] = []
        self._add(first)
        for part in others:
            found += self._ended()
            self._add(part)
        return found

    def flush(self) -> Sequence[Printed]:
        """The panel has stopped in the middle of a record: what there is of it."""
        return [*self._ended(), *self._finished()]

    def _add(self, part: bytes) -> None:
        self._line += part[: max(MOST_LINE_BYTES - len(self._line), 0)]

    def _ended(self) -> Iterator[Printed]:
        line = _text(bytes(self._line))
        self._line.clear()
        date = _DATE.fullmatch(line)
        if date is not None:
            yield from self._finished()
            self._record = [date[1]]
            return
        if self._record is None:
            if not line.strip():
                return
            self._record = [""]
        self._record.append(line)
        if len(self._record) > MOST_LINES or (not line.strip() and _texts(self._record)):
            yield from self._finished()

    def _finished(self) -> Iterator[Printed]:
        record, self._record = self._record, None
        texts = _texts(record or [])
        if record is None or not texts:
            return
        address = next((found for line in record[1:] if (found := _ADDRESS.fullmatch(line))), None)
        event, over = meaning(texts[0])
        yield Printed(
            event=event,
            what=texts[0],
            over=over,
            first=event == FIRE and "首" in texts[0],
            loop=None if address is None else int(address[1]),
            number=None if address is None else int(address[2]),
            place=texts[1] if len(texts) > 1 else "",
            component=" ".join(texts[2:]),
            time=record[0],
        )


def _texts(record: Sequence[str]) -> list[str]:
    """The lines that are neither the date, the address nor empty."""
    return [line.strip() for line in record[1:] if line.strip() and not _ADDRESS.fullmatch(line)]


def _text(line: bytes) -> str:
    return _CONTROL.sub("", _ESCAPE.sub(b"", line).decode("gb18030", errors="replace"))
