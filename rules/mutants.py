"""Rules with one thing wrong in each: what tests must notice.

A limit moved by a tenth, a delay halved, a comparison turned round, a key that was forgotten.  Texts, priorities and
who is told are left alone: no case looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.model import Text
from rules.aliases import english
from rules.faults import Path
from rules.rule import Hook
from rules.syntax import Call, Compare, Node, Number, parse, walk
from rules.units import TIME

CONDITIONS = ("when", "clear_when", "suppress_when")
DELAYS = ("for", "clear_after", "no_data_after", "wait_for_parent", "shelve")
INNER_DELAYS = {"chatter": ("within", "calm")}
DROPPED = (
    *("deadband", "clear_when", "clear_after", "suppress_when", "only_during", "chatter", "latch", "if_no_data"),
    *("bad_counts_as", "backlog", "ack", "shelve", "reset", "mode"),
)
_SAME_WITHOUT = {
    "latch": False,
    "if_no_data": "hold",
    "bad_counts_as": "none",
    "backlog": "ignore",
    "ack": "required",
    "mode": "live",
}
"""Forgetting a key that says what holds anyway changes nothing."""
_INVERSE = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}
_OPERATOR = re.compile(r"[=!<>≥≤≠＝！＜＞]{1,2}")
_DIGITS = re.compile(r"[0-9０-９]+(?:[.．][0-9０-９]+)?")
_NUMBER = re.compile(r"(?<!\w)[0-9]+(?:\.[0-9]+)?")
"""Not the 3 of m3."""
_GONE = object()


@dataclass(frozen=True, slots=True)
class Mutant:
    rule: str
    path: Path
    """In a rule file, of what was changed."""
    offset: int
    """Into the scalar there."""
    change: Text
    data: Mapping[str, Any]
    """A whole rule file."""


def mutants(data: object) -> Iterator[Mutant]:
    """data: a list of rules, or a whole rule file."""
    whole: Mapping[str, Any] = data if isinstance(data, Mapping) else {"rules": data}
    entries = whole.get("rules")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            continue
        written = {f"{english(key)}": key for key in entry}
        rule = f"{entry.get(written.get('id', 'id'), '')}"
        for path, offset, change, changed in _changed(entry, written):
            others = [changed if at == index else each for at, each in enumerate(entries)]
            yield Mutant(rule, ("rules", index, *path), offset, change, {**whole, "rules": others})


_Found = tuple[Path, int, Text, Mapping[str, Any]]


def _changed(entry: Mapping[str, Any], written: Mapping[str, str]) -> Iterator[_Found]:
    for key in CONDITIONS:
        if key in written:
            yield from _conditions(entry, (written[key],))
    for key in DELAYS:
        if key in written:
            yield from _halved(entry, (written[key],))
    for key, inner in INNER_DELAYS.items():
        found = entry.get(written.get(key, ""))
        for each in found if isinstance(found, Mapping) else ():
            if english(each) in inner:
                yield from _halved(entry, (written[key], each))
    yield from _named(entry, written)
    for key in DROPPED:
        if key in written and english(entry[written[key]]) != _SAME_WITHOUT.get(key, object()):
            yield from _dropped(entry, (written[key],))
    yield from _forgotten_actions(entry, written)


def _named(entry: Mapping[str, Any], written: Mapping[str, str]) -> Iterator[_Found]:
    """The limits under ``values``."""
    named = entry.get(written.get("values", ""))
    for name, given in named.items() if isinstance(named, Mapping) else ():
        for path, value in _leaves(given, (written["values"], name)):
            match english(f"{path[-1]}"):
                case "when":
                    yield from _conditions(entry, path)
                case "default" | "use":
                    yield from _scaled(entry, path, f"{value}", (1.1, 0.9))
                case "expires_after":
                    yield from _halved(entry, path)


def _leaves(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    match data:
        case Mapping():
            for key, value in data.items():
                yield from _leaves(value, (*path, key))
        case list():
            for index, value in enumerate(data):
                yield from _leaves(value, (*path, index))
        case _:
            yield path, data


def _forgotten_actions(entry: Mapping[str, Any], written: Mapping[str, str]) -> Iterator[_Found]:
    for hook in Hook:
        actions = entry.get(written.get(hook.value, ""))
        if not isinstance(actions, list):
            continue
        for index in range(len(actions)):
            path: Path = (written[hook.value], index) if len(actions) > 1 else (written[hook.value],)
            yield from _dropped(entry, path)


# ---------------------------------------------------------------------- one change each


def _conditions(entry: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    text = _at(entry, path)
    tree = parse(text)[0] if isinstance(text, str) else None
    if tree is None:
        return
    counted = {id(argument) for node in walk(tree) if isinstance(node, Call) for argument in node.arguments}
    changes = [change for node in walk(tree) for change in _of_node(text, node, is_argument=id(node) in counted)]
    if not any(isinstance(node, Compare) for node in walk(tree)):
        changes.append((0, len(text), f"not ({text})"))
    for start, end, new in changes:
        changed = text[:start] + new + text[end:]
        yield path, start, _from_to(path, text[start:end], new), _with(entry, path, changed)


def _of_node(text: str, node: Node, *, is_argument: bool) -> Iterator[tuple[int, int, str]]:
    match node:
        case Number(value=value, unit=unit, start=start):
            digits = _DIGITS.match(text, start)
            end = digits.end() if digits else start
            for new in _others(value, is_time=unit.dimension == TIME, is_count=is_argument and not unit.dimension):
                yield start, end, f"{new:.12g}"
        case Compare(operator=operator, left=left, right=right):
            found = _OPERATOR.search(text, left.end, right.start)
            if found is not None:
                yield found.start(), found.end(), _INVERSE[operator]


def _others(value: float, *, is_time: bool, is_count: bool) -> tuple[float, ...]:
    if is_time:
        return (value / 2,)
    if is_count:
        return value - 1, value + 1
    return () if value == 0 else (value * 1.1, value * 0.9)


def _halved(entry: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    yield from _scaled(entry, path, f"{_at(entry, path)}", (0.5,))


def _scaled(entry: Mapping[str, Any], path: Path, text: str, factors: Sequence[float]) -> Iterator[_Found]:
    """Every number of a quantity such as ``1 h 30 min``."""
    for factor in factors:
        new = _multiplied(text, factor)
        if new != text:
            yield path, 0, _from_to(path, text, new), _with(entry, path, new)


def _multiplied(text: str, factor: float) -> str:
    return _NUMBER.sub(lambda match: f"{float(match[0]) * factor:.12g}", text)


def _dropped(entry: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    name = ".".join(f"{step}" for step in path)
    yield path, 0, Text(f"去掉 {name}", f"{name} removed"), _with(entry, path, _GONE)


def _from_to(path: Path, old: str, new: str) -> Text:
    text = f"{'.'.join(f'{step}' for step in path)}: {old} → {new}"
    return Text(text, text)


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _with(data: Any, path: Path, value: object) -> Any:
    """A copy in which something else stands at *path*, or nothing."""
    step, rest = path[0], path[1:]
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    if rest:
        copy[step] = _with(copy[step], rest, value)
    elif value is _GONE:
        del copy[step]
    else:
        copy[step] = value
    return copy
