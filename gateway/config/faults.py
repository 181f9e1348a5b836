"""What is wrong with a configuration, where, and what to do about it; for people (compiler style) and for programs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import ConfigError
from gateway.model import Text
from gateway.terminal import columns

SHOWN_PER_FILE = 20
"""People mend the first twenty and run the check again; programs (--json) get them all."""

_MARGIN = 100  # characters of a very long source line that are worth showing
_LONGEST_WORD = 60
_MOST_WORDS = 20
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.  *line* and *column* count from 1, *column* and *length* in characters; *source* is the whole line."""

    file: str
    line: int
    column: int
    code: str
    message: Text
    hint: Text | None = None
    length: int = 1
    source: str = ""
    warning: bool = False

    def as_json(self, lang: str) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "message": _in(self.message, lang),
            "hint": _in(self.hint, lang) if self.hint else "",
        }


class ConfigFaults(ConfigError):
    """The configuration cannot be used.  *faults*: all of them, warnings too, in the order of files and lines."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(headline(fault, "en") for fault in self.faults if not fault.warning))

    def render(self, lang: str) -> str:
        return "\n".join(render_all(self.faults, lang))


class Report:
    """Collects faults, each once.  What stands where YAML itself was wrong is not complained about again."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._known: set[Fault] = set()
        self._unreadable: set[tuple[str, int, int]] = set()
        self._per_file: dict[str, int] = {}

    def add(self, fault: Fault) -> None:
        place = (fault.file, fault.line, fault.column)
        if fault.code == "E-YAML":
            self._unreadable.add(place)
        elif place in self._unreadable or fault in self._known:
            return
        self._known.add(fault)
        self._per_file[fault.file] = self._per_file.get(fault.file, 0) + 1
        self.faults.append(fault)

    def extend(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.add(fault)

    def crowded(self, file: str) -> bool:
        """Nobody will read another fault's advice, and searching thousands of names for it is slow."""
        return self._per_file.get(file, 0) >= SHOWN_PER_FILE

    @property
    def failed(self) -> bool:
        return any(not fault.warning for fault in self.faults)

    def in_order(self) -> list[Fault]:
        return sorted(self.faults, key=lambda fault: (fault.file, fault.line, fault.column))


def headline(fault: Fault, lang: str) -> str:
    """``file:line:column: CODE message; hint``"""
    text = f"{fault.file}:{fault.line}:{fault.column}: {fault.code} {_in(fault.message, lang)}"
    if fault.hint:
        text += ("；" if lang == "zh" else "; ") + _in(fault.hint, lang)
    return _UNPRINTABLE.sub(" ", text)


def render(fault: Fault, lang: str) -> str:
    """The headline, the source line and a row of ^ under the place."""
    if not fault.source.strip():
        return headline(fault, lang)
    first = max(0, fault.column - 1 - _MARGIN // 2)
    shown = _UNPRINTABLE.sub(" ", fault.source[first : first + _MARGIN])
    before = shown[: fault.column - 1 - first]
    marked = shown[len(before) : len(before) + max(1, fault.length)]
    number = f"{fault.line:5}"
    return "\n".join(
        (
            headline(fault, lang),
            f"{number} | {shown}",
            f"{' ' * len(number)} | {' ' * columns(before)}{'^' * max(1, columns(marked))}",
        )
    )


def render_all(faults: Iterable[Fault], lang: str) -> Iterator[str]:
    """One text a fault; after SHOWN_PER_FILE of a file, only how many more there are."""
    seen: dict[str, int] = {}
    for fault in faults:
        seen[fault.file] = seen.get(fault.file, 0) + 1
        if seen[fault.file] <= SHOWN_PER_FILE:
            yield render(fault, lang)
    for file, count in seen.items():
        if count > SHOWN_PER_FILE:
            more = count - SHOWN_PER_FILE
            yield f"{file}: 另有 {more} 处未列出" if lang == "zh" else f"{file}: {more} more not shown"


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant, if any; upper case and ``-`` for ``_`` count for nothing."""
    plain = {_plain(candidate): candidate for candidate in allowed}
    match = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[match[0]] if match else None


def did_you_mean(word: str, allowed: Iterable[str]) -> Text | None:
    found = nearest(word, allowed)
    return Text(f"是否想写 {quoted(found)}？", f"did you mean {quoted(found)}?") if found else None


def no_such_file(file: object) -> Text:
    """What is said of a file that a configuration names and this machine lacks."""
    return Text(f"此机器上没有文件 {quoted(file)}", f"there is no file {quoted(file)} on this machine")


def quoted(word: object) -> str:
    """A word of the user's, fit for a message: shortened, and with nothing that a terminal would obey."""
    text = _UNPRINTABLE.sub("?", str(word))
    return f'"{text}"' if len(text) <= _LONGEST_WORD else f'"{text[:_LONGEST_WORD]}…"'


def one_of(words: Sequence[str]) -> Text:
    """``a, b or c``, shortened when there are many."""
    shown, rest = list(words[:_MOST_WORDS]), len(words) - _MOST_WORDS
    if rest > 0:
        return Text(f"{'、'.join(shown)} 等 {len(words)} 个", f"{', '.join(shown)} and {rest} more")
    tail = shown.pop() if len(shown) > 1 else None
    return Text("、".join(shown) + (f" 或 {tail}" if tail else ""), ", ".join(shown) + (f" or {tail}" if tail else ""))


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def _in(text: Text, lang: str) -> str:
    return text.zh if lang == "zh" else text.en
