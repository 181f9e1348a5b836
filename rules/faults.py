"""What is wrong with a rule file, said to the person who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead from the top of the parsed file to a value."""


@dataclass(frozen=True, slots=True)
class RuleFault:
    """One fault (code E-...) or warning (W-...) of a rule file.

    *offset* and *length* count characters inside the scalar at *path*; offset None means the whole scalar.
    *on_key* means that the key itself is wrong, not its value.
    """

    code: str
    path: Path
    offset: int | None
    length: int
    on_key: bool
    zh: str
    en: str
    hint_zh: str = ""
    hint_en: str = ""

    @property
    def is_error(self) -> bool:
        return self.code.startswith("E")

    def at(self, *path: str | int) -> RuleFault:
        return replace(self, path=path)


def in_text(code: str, start: int, end: int, zh: str, en: str, hint_zh: str = "", hint_en: str = "") -> RuleFault:
    """A fault inside a text; the caller adds where that text stands with ``at``."""
    return RuleFault(code, (), start, max(1, end - start), False, zh, en, hint_zh, hint_en)


def did_you_mean(word: str, known: Iterable[str]) -> tuple[str, str]:
    """(zh, en) hints, both empty when nothing known is near."""
    cutoff = 0.6 if word.isascii() else 0.5  # of two Chinese characters one is enough
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return (f'是否想写 "{match[0]}"？', f'did you mean "{match[0]}"?') if match else ("", "")


def unbuilt(what: str) -> tuple[str, str]:
    return f'"{what}" 在此版本中尚不支持', f'"{what}" is not supported by this version'
