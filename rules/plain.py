"""Values taken out of plain data (what YAML gives), with a fault for everything that does not belong there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.model import Text
from rules.aliases import KEYS, WORDS, english, english_word, named_twice, spellings
from rules.faults import Path, RuleFault, did_you_mean
from rules.rule import Rate
from rules.syntax import Node, parse
from rules.units import PURE, WRITTEN, Unit

MAX_DURATION_S = 366 * 86400.0
_LONGEST_TEXT = 2000
_MAX_ITEMS = 50

_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)")
_DURATION = re.compile(rf"\s*(?:{_DURATION_PART.pattern}\s*)+")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(\S*)\s*")
_RATE = re.compile(r"\s*([0-9]{1,6})\s*(?:per|/|次每|每)\s*(.+)")


def seconds_of(written: str | int) -> float:
    """A duration that ``Reader.duration`` has accepted."""
    parts = _DURATION_PART.findall(written) if isinstance(written, str) else ()
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


class Reader:
    """Collects faults; what it cannot read it gives back as None or as the default."""

    def __init__(self, faults: list[RuleFault]) -> None:
        self.faults = faults
        self._written: dict[Path, Any] = {}
        """Path with the format's own keys -> the last key as it was written."""

    def fault(
        self,
        code: str,
        path: Path,
        texts: tuple[str, str],
        hints: tuple[str, str] = ("", ""),
        *,
        on_key: bool = False,
    ) -> None:
        self.faults.append(RuleFault(code, path, None, 1, on_key, *texts, *hints))

    def as_written(self, fault: RuleFault) -> RuleFault:
        """*fault* with the keys that stand in the file, where they are Chinese."""
        path = fault.path
        keys = tuple(self._written.get(path[: at + 1], key) for at, key in enumerate(path))
        return fault if keys == path else replace(fault, path=keys)

    def keys(self, found: object, path: Path, known: Sequence[str]) -> Mapping[str, Any]:
        """The mapping at *path*, reduced to the known keys."""
        if not isinstance(found, Mapping):
            self.fault("E-TYPE", path, ("这里应是若干“键: 值”行", 'a group of "key: value" lines belongs here'))
            return {}
        kept: dict[str, Any] = {}
        for written, value in found.items():
            key = str(english(written))
            if key != written:
                self._written[(*path, key)] = written
            at = (*path, key)
            if key in kept:
                texts = (f'"{written}" 与 "{key}" 是同一个键', f'"{written}" and "{key}" are the same key')
                self.fault("E-DUP", at, texts, on_key=True)
            elif key in known:
                kept[key] = value
            else:
                texts = (f'未知的键 "{written}"', f'unknown key "{written}"')
                self.fault("E-KEY", at, texts, did_you_mean(key, spellings(known, KEYS)), on_key=True)
        return kept

    def words(self, found: object, path: Path) -> str | None:
        if isinstance(found, str) and found.strip() and len(found) <= _LONGEST_TEXT:
            return found
        self.fault("E-TYPE", path, ("这里应是文字", "text belongs here"), ("请加引号", "put it in quotes"))
        return None

    def choice(self, found: object, path: Path, allowed: Sequence[str], default: str) -> str:
        word = english_word(found)
        if word in allowed:
            return str(word)
        both, listed = "、".join(map(named_twice, allowed)), ", ".join(allowed)
        texts = (f'"{found}" 不可用；可用的值：{both}', f'"{found}" is not one of: {listed}')
        self.fault("E-VALUE", path, texts, did_you_mean(str(found), spellings(allowed, WORDS)))
        return default

    def text(self, found: object, path: Path, *, keys: Sequence[str] = ("zh", "en")) -> Text | None:
        """A text in one language counts for both."""
        if isinstance(found, str):
            words = self.words(found, path)
            return None if words is None else Text(words, words)
        mapping = self.keys(found, path, keys)
        read = {key: self.words(mapping[key], (*path, key)) for key in ("zh", "en") if key in mapping}
        spoken = [words for words in read.values() if words]
        if not spoken:
            if isinstance(found, Mapping) and not found:
                self.fault("E-MISSING", path, ("缺少 zh 或 en", "zh or en is missing"))
            return None
        return Text(read.get("zh") or spoken[0], read.get("en") or spoken[0])

    def truth(self, found: object, path: Path) -> bool | None:
        if isinstance(found, bool):
            return found
        self.fault("E-TYPE", path, ("这里应是 true 或 false", "true or false belongs here"))
        return None

    def count(self, found: object, path: Path, low: int, high: int) -> int | None:
        if isinstance(found, int) and not isinstance(found, bool) and low <= found <= high:
            return found
        texts = (f"这里应是 {low} 到 {high} 的整数", f"a whole number from {low} to {high} belongs here")
        self.fault("E-VALUE", path, texts)
        return None

    def list_of(self, found: object, path: Path) -> Sequence[object]:
        if isinstance(found, list) and found and len(found) <= _MAX_ITEMS:
            return found
        texts = (f"这里应是 1 到 {_MAX_ITEMS} 项的列表", f"a list of 1 to {_MAX_ITEMS} entries belongs here")
        self.fault("E-TYPE", path, texts)
        return []

    def names(self, found: object, path: Path) -> tuple[str, ...]:
        """One word or a list of them; a number counts as its digits (floor: 3)."""
        items = found if isinstance(found, list) else [found]
        good = [item for item in items if isinstance(item, str | int) and not isinstance(item, bool)]
        if len(good) != len(items) or not items:
            self.fault("E-TYPE", path, ("这里应是一个词或词的列表", "a word or a list of words belongs here"))
        return tuple(str(item) for item in good)

    def duration(self, found: object, path: Path) -> float | None:
        """``90s``, ``3 min``, ``1 h 30 min`` in seconds; 0 needs no unit."""
        if found == 0 and not isinstance(found, bool):
            return 0.0
        examples = ("如 90s、3 min、1 h 30 min", "such as 90s, 3 min or 1 h 30 min")
        if isinstance(found, int | float) and not isinstance(found, bool):
            self.fault("E-NOUNIT", path, ("时长缺少单位", "the duration needs a unit"), examples)
            return None
        if not isinstance(found, str) or len(found) > 100 or not _DURATION.fullmatch(found):
            self.fault("E-VALUE", path, (f'"{found}" 不是时长', f'"{found}" is not a duration'), examples)
            return None
        seconds = seconds_of(found)
        if seconds > MAX_DURATION_S:
            self.fault("E-VALUE", path, ("时长超过 366 d", "longer than 366 d"))
            return None
        return seconds

    def some_time(self, found: object, path: Path) -> float | None:
        """A duration that is not 0."""
        seconds = self.duration(found, path)
        if seconds == 0.0:
            self.fault("E-VALUE", path, ("应大于 0", "must be more than 0"))
        return seconds or None

    def rate(self, found: object, path: Path) -> Rate | None:
        """``1 per 10 min``"""
        match = _RATE.fullmatch(found) if isinstance(found, str) and len(found) <= 100 else None
        if match is None or int(match[1]) < 1:
            texts = (f'"{found}" 不是频度', f'"{found}" is not a rate')
            self.fault("E-VALUE", path, texts, ("如 1 per 10 min", "such as 1 per 10 min"))
            return None
        within_s = self.some_time(match[2], path)
        return None if within_s is None else Rate(int(match[1]), within_s)

    def quantity(self, found: object, path: Path) -> tuple[float, Unit] | None:
        """``2 °C``, or a pure number."""
        text = f"{found}" if isinstance(found, int | float) and not isinstance(found, bool) else found
        match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            texts = (f'"{found}" 不是带单位的数值', f'"{found}" is not a number with a unit')
            self.fault("E-VALUE", path, texts, ("如 2 °C", "such as 2 °C"))
            return None
        unit = WRITTEN.get(match[2]) if match[2] else PURE
        if unit is None:
            texts = (f'不认识的单位 "{match[2]}"', f'unknown unit "{match[2]}"')
            self.fault("E-UNIT", path, texts, did_you_mean(match[2], WRITTEN))
            return None
        return float(match[1]), unit

    def band(self, found: object, path: Path) -> tuple[float, Unit] | None:
        """A quantity that is not negative."""
        read = self.quantity(found, path)
        if read is not None and read[0] < 0:
            self.fault("E-VALUE", path, ("不能为负", "must not be negative"))
            return None
        return read

    def condition(self, found: object, path: Path) -> Node | None:
        text = self.words(found, path)
        if text is None:
            return None
        tree, faults = parse(text)
        self.faults += [fault.at(*path) for fault in faults]
        return tree
