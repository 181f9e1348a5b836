"""Text on a terminal: how wide it is, and tables whose columns stand below each other in Chinese too.  Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def columns(text: str) -> int:
    """Columns *text* takes: Chinese characters take two, combining marks none.

    Characters that are wide on some terminals only count as narrow; tables do without them.
    """
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def fit(line: str, width: int) -> str:
    """*line*, cut to *width* columns."""
    taken = 0
    for index, character in enumerate(line):
        taken += columns(character)
        if taken > width:
            return line[:index]
    return line


def padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """One line a row; every row has the same number of cells."""
    widths = [max(map(columns, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(padded, row, widths)).rstrip() for row in table]


def size(number: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def age(seconds: float, lang: str) -> str:
    """A duration, in the largest unit of which there is one."""
    whole = max(int(seconds), 0)
    for length, zh, en in ((86400, "天", "d"), (3600, "小时", "h"), (60, "分钟", "min")):
        if whole >= length:
            return f"{whole // length} {zh if lang == 'zh' else en}"
    return f"{whole} {'秒' if lang == 'zh' else 's'}"
