"""A rule file becomes rules that can run: every key checked, every condition compiled, every device found.

plain data ──▶ _RuleReader (keys, texts, durations) ──▶ Draft ──▶ _Binder (names, units; one program per kind of device)
                                                                     └──▶ Rule + one Watch per device

Nothing raises on bad input and nothing is ignored: what is not built yet is E-UNBUILT, what is unknown E-KEY.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.model import Device, Point, PointId, Priority, Text
from rules.alarm import NoData, Timing
from rules.check import Checked, Checker, Input, Junction, Negation, Source, function_faults, relax
from rules.faults import Path, RuleFault, did_you_mean, in_text, unbuilt
from rules.program import Program, compiled
from rules.syntax import Node, names, parse
from rules.text import Template, holes, parse_template
from rules.units import PURE, WRITTEN, Unit

FORMAT = "rules/1"
TOP_KEYS = ("format", "site", "rules")
TOP_UNBUILT = ("schedules",)
SITE_KEYS = ("id", "name", "timezone")
SITE_UNBUILT = ("languages", "group_by", "group_wait", "flood", "repeat")
RULE_KEYS = (
    "id",
    "name",
    "note",
    "mode",
    "for_each",
    "when",
    "clear_when",
    "deadband",
    "for",
    "clear_after",
    "priority",
    "ack",
    "if_no_data",
    "no_data_after",
    "backlog",
    "message",
    "response",
)
RULE_UNBUILT = (
    "values",
    "latch",
    "reset",
    "shelve",
    "bad_counts_as",
    "act_on_no_data",
    "suppress_when",
    "wait_for_parent",
    "only_during",
    "chatter",
    "escalate",
    "on_alarm",
    "on_clear",
    "on_ack",
    "on_reset",
    "notify",
)
PLACES = ("grid", "building", "unit", "floor", "room")
_FOR_EACH_UNBUILT = ("area",)
MAX_DURATION_S = 366 * 86400.0
_MAX_RULES = 2000
_LONGEST_ID = 64
_LONGEST_TEXT = 2000

_ID = re.compile(r"[^\W\d]\w*")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)")
_DURATION = re.compile(rf"\s*(?:{_DURATION_PART.pattern}\s*)+")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(\S*)\s*")


class Mode(enum.StrEnum):
    LIVE = "live"
    SHADOW = "shadow"  # decides and is journaled, with priority journal and reason shadow
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    name: Text
    note: Text
    mode: Mode
    priority: Priority
    timing: Timing
    no_data_after_s: float | None
    """None: three intervals of the point concerned."""
    basis: str
    """Fingerprint of the condition; delays and texts are not part of it."""
    message: tuple[Template, Template]
    """Chinese and English."""
    response: Text
    response_within_s: float | None


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule bound to one device, or to the points it names in full."""

    rule: Rule
    device: str | None
    program: Program
    targets: tuple[str, ...]
    """For each input of the program the point it reads; the device itself for silent()."""
    shown: Mapping[str, PointId]
    """The points that the message names."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    rules: tuple[Rule, ...] = ()
    watches: tuple[Watch, ...] = ()


def read_rules(data: object, devices: Sequence[Device] | None) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    """All rules of *data* (one file, or several whose ``rules`` lists were joined), and all faults and warnings.

    devices: None when they are not known; then only what needs no devices is checked and nothing is watched.
    The rule set holds the rules without faults; whether to use it when there are faults is the caller's decision.
    """
    faults: list[RuleFault] = []
    drafts = _read_file(_Reader(faults), data)
    registry = None if devices is None else _Registry(devices)
    bound = [(draft, _Binder(draft, registry, faults).bind()) for draft in drafts]
    wrong = {fault.path[:2] for fault in faults if fault.is_error}
    sound = [(draft.rule, watches) for draft, watches in bound if draft.path not in wrong]
    rules = tuple(rule for rule, _ in sound)
    return RuleSet(rules, tuple(watch for _, watches in sound for watch in watches)), tuple(faults)


@dataclass(frozen=True, slots=True)
class Draft:
    """One rule whose keys are right; its names have not met the devices yet."""

    path: Path
    rule: Rule
    when: Node | None
    clear_when: Node | None
    deadband: tuple[float, Unit] | None
    for_each: Mapping[str, tuple[str, ...]] | None
    message_at: Mapping[str, Path]
    """Language -> where its text stands; a language that only copies the other has no place."""


# ---------------------------------------------------------------------- keys and plain values


class _Reader:
    """Takes values out of plain data and complains about everything else."""

    def __init__(self, faults: list[RuleFault]) -> None:
        self.faults = faults

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

    def keys(self, found: object, path: Path, known: Sequence[str], later: Sequence[str]) -> Mapping[str, Any]:
        """The mapping at *path*, reduced to the known keys."""
        if not isinstance(found, Mapping):
            self.fault("E-TYPE", path, ("这里应是若干“键: 值”行", 'a group of "key: value" lines belongs here'))
            return {}
        for key in found:
            if key in known:
                continue
            if key in later:
                self.fault("E-UNBUILT", (*path, key), unbuilt(str(key)), on_key=True)
                continue
            hints = did_you_mean(str(key), (*known, *later))
            self.fault("E-KEY", (*path, key), (f'未知的键 "{key}"', f'unknown key "{key}"'), hints, on_key=True)
        return {key: value for key, value in found.items() if key in known}

    def words(self, found: object, path: Path) -> str | None:
        if isinstance(found, str) and found.strip() and len(found) <= _LONGEST_TEXT:
            return found
        self.fault("E-TYPE", path, ("这里应是文字", "text belongs here"), ("请加引号", "put it in quotes"))
        return None

    def choice(self, found: object, path: Path, allowed: Sequence[str], default: str) -> str:
        if found in allowed:
            return str(found)
        listed = ", ".join(allowed)
        texts = (f'"{found}" 不可用；可用的值：{listed}', f'"{found}" is not one of: {listed}')
        self.fault("E-VALUE", path, texts, did_you_mean(str(found), allowed))
        return default

    def text(self, found: object, path: Path, *, keys: Sequence[str] = ("zh", "en")) -> Text | None:
        """A text in one language counts for both."""
        if isinstance(found, str):
            words = self.words(found, path)
            return None if words is None else Text(words, words)
        mapping = self.keys(found, path, keys, ())
        read = {key: self.words(mapping[key], (*path, key)) for key in ("zh", "en") if key in mapping}
        spoken = [words for words in read.values() if words]
        if not spoken:
            if isinstance(found, Mapping) and not found:
                self.fault("E-MISSING", path, ("缺少 zh 或 en", "zh or en is missing"))
            return None
        return Text(read.get("zh") or spoken[0], read.get("en") or spoken[0])

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
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(found))
        if seconds > MAX_DURATION_S:
            self.fault("E-VALUE", path, ("时长超过 366 d", "longer than 366 d"))
            return None
        return seconds

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

    def condition(self, found: object, path: Path) -> Node | None:
        text = self.words(found, path)
        if text is None:
            return None
        tree, faults = parse(text)
        self.faults += [fault.at(*path) for fault in faults]
        return tree


def _read_file(reader: _Reader, data: object) -> list[Draft]:
    top = reader.keys(data, (), TOP_KEYS, TOP_UNBUILT)
    if isinstance(data, Mapping) and top.get("format") != FORMAT:
        path: Path = ("format",) if "format" in top else ()
        reader.fault(
            "E-VALUE" if path else "E-MISSING", path, (f"需要 format: {FORMAT}", f"format: {FORMAT} is needed")
        )
    if "site" in top:
        _read_site(reader, top["site"])
    if "rules" not in top:
        if isinstance(data, Mapping):
            reader.fault("E-MISSING", (), ("缺少 rules", "rules is missing"))
        return []
    entries = top["rules"]
    if not isinstance(entries, list) or len(entries) > _MAX_RULES:
        texts = (f"rules 应是规则列表，最多 {_MAX_RULES} 条", f"rules must be a list of at most {_MAX_RULES} rules")
        reader.fault("E-TYPE", ("rules",), texts)
        return []
    drafts = [_RuleReader(reader, entry, ("rules", index)).draft() for index, entry in enumerate(entries)]
    return list(_unique(reader, [draft for draft in drafts if draft is not None]))


def _read_site(reader: _Reader, found: object) -> None:
    site = reader.keys(found, ("site",), SITE_KEYS, SITE_UNBUILT)
    for key in ("id", "timezone"):
        if key in site:
            reader.words(site[key], ("site", key))
    if "name" in site:
        reader.text(site["name"], ("site", "name"))


def _unique(reader: _Reader, drafts: Sequence[Draft]) -> Iterator[Draft]:
    seen: set[str] = set()
    for draft in drafts:
        if draft.rule.id in seen:
            texts = (f'规则编号 "{draft.rule.id}" 重复', f'rule id "{draft.rule.id}" is used twice')
            reader.fault("E-DUP", (*draft.path, "id"), texts)
            continue
        seen.add(draft.rule.id)
        yield draft


class _RuleReader:
    def __init__(self, reader: _Reader, entry: object, path: Path) -> None:
        self._reader = reader
        self._path = path
        self._keys = reader.keys(entry, path, RULE_KEYS, RULE_UNBUILT)
        self._is_mapping = isinstance(entry, Mapping)

    def draft(self) -> Draft | None:
        if not self._is_mapping:
            return None
        rule_id = self._id()
        when = self._expression("when", required=True)
        clear_when = self._expression("clear_when")
        deadband = self._get("deadband", self._reader.quantity)
        if "deadband" in self._keys and "clear_when" in self._keys:
            texts = ("deadband 与 clear_when 只能写一个", "write either deadband or clear_when")
            self._reader.fault("E-VALUE", (*self._path, "deadband"), texts, on_key=True)
        for_each = self._for_each()
        rule = self._rule(rule_id or "?")
        if rule_id is None:
            return None
        return Draft(self._path, rule, when, clear_when, deadband, for_each, self._message_at())

    def _get(self, key: str, read: Callable[[object, Path], Any]) -> Any:
        return read(self._keys[key], (*self._path, key)) if key in self._keys else None

    def _choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        if key not in self._keys:
            return default
        return self._reader.choice(self._keys[key], (*self._path, key), allowed, default)

    def _expression(self, key: str, *, required: bool = False) -> Node | None:
        if required and key not in self._keys:
            self._reader.fault("E-MISSING", self._path, (f"缺少 {key}", f"{key} is missing"))
        node: Node | None = self._get(key, self._reader.condition)
        return node

    def _id(self) -> str | None:
        if "id" not in self._keys:
            self._reader.fault("E-MISSING", self._path, ("缺少 id", "id is missing"))
            return None
        found = self._keys["id"]
        if isinstance(found, str) and len(found) <= _LONGEST_ID and _ID.fullmatch(found):
            return found
        texts = (
            f"id 应以字母开头，由字母、数字和 _ 组成，最多 {_LONGEST_ID} 个",
            f"an id begins with a letter and has letters, digits and _, at most {_LONGEST_ID}",
        )
        self._reader.fault("E-VALUE", (*self._path, "id"), texts)
        return None

    def _for_each(self) -> Mapping[str, tuple[str, ...]] | None:
        if "for_each" not in self._keys:
            return None
        path = (*self._path, "for_each")
        found = self._reader.keys(self._keys["for_each"], path, ("type", *PLACES), _FOR_EACH_UNBUILT)
        if isinstance(self._keys["for_each"], Mapping) and "type" not in self._keys["for_each"]:
            hints = ("所有设备请写 type: any", "for all devices write type: any")
            self._reader.fault("E-MISSING", path, ("缺少 type", "type is missing"), hints)
        return {key: self._names((*path, key), value) for key, value in found.items()}

    def _names(self, path: Path, found: object) -> tuple[str, ...]:
        """One word or a list of them; a number counts as its digits (floor: 3)."""
        items = found if isinstance(found, list) else [found]
        good = [item for item in items if isinstance(item, str | int) and not isinstance(item, bool)]
        if len(good) != len(items) or not items:
            self._reader.fault("E-TYPE", path, ("这里应是一个词或词的列表", "a word or a list of words belongs here"))
        return tuple(str(item) for item in good)

    def _rule(self, rule_id: str) -> Rule:
        reader = self._reader
        name = self._get("name", reader.text) or Text(rule_id, rule_id)
        message = self._get("message", reader.text)
        response, within_s = self._response()
        if self._choice("backlog", ("ignore", "record"), "ignore") == "record":
            reader.fault("E-UNBUILT", (*self._path, "backlog"), unbuilt("backlog: record"))
        timing = Timing(
            on_s=self._get("for", reader.duration) or 0.0,
            off_s=self._get("clear_after", reader.duration) or 0.0,
            no_data=NoData(self._choice("if_no_data", tuple(NoData), NoData.HOLD)),
            auto_ack=self._choice("ack", ("required", "auto"), "required") == "auto",
        )
        return Rule(
            id=rule_id,
            name=name,
            note=self._get("note", reader.text) or Text("", ""),
            mode=Mode(self._choice("mode", tuple(Mode), Mode.LIVE)),
            priority=Priority(self._choice("priority", tuple(Priority), Priority.MEDIUM)),
            timing=timing,
            no_data_after_s=self._limit("no_data_after"),
            basis=self._basis(),
            message=self._templates(message, name),
            response=response,
            response_within_s=within_s,
        )

    def _limit(self, key: str) -> float | None:
        seconds: float | None = self._get(key, self._reader.duration)
        if seconds == 0.0:
            self._reader.fault("E-VALUE", (*self._path, key), ("应大于 0", "must be more than 0"))
        return seconds or None

    def _basis(self) -> str:
        parts = [" ".join(str(self._keys.get(key, "")).split()) for key in ("when", "clear_when", "deadband")]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _response(self) -> tuple[Text, float | None]:
        if "response" not in self._keys:
            return Text("", ""), None
        found, path = self._keys["response"], (*self._path, "response")
        if isinstance(found, str):
            self._reader.fault("E-TYPE", path, ("请写 {zh: …, en: …}", "write {zh: ..., en: ...}"))
            return Text("", ""), None
        within_s = None
        if isinstance(found, Mapping) and "within" in found:
            within_s = self._reader.duration(found["within"], (*path, "within"))
        return self._reader.text(found, path, keys=("zh", "en", "within")) or Text("", ""), within_s

    def _templates(self, message: Text | None, name: Text) -> tuple[Template, Template]:
        if message is None:
            return parse_template(f"{{where}} {name.zh}")[0], parse_template(f"{{where}} {name.en}")[0]
        zh, en = self._template(message.zh, "zh"), self._template(message.en, "en")
        return zh, en

    def _template(self, text: str, language: str) -> Template:
        template, faults = parse_template(text)
        path = self._message_at().get(language)
        if path is not None:
            self._reader.faults += [fault.at(*path) for fault in faults]
        return template

    def _message_at(self) -> Mapping[str, Path]:
        written, path = self._keys.get("message"), (*self._path, "message")
        if isinstance(written, Mapping):
            return {language: (*path, language) for language in ("zh", "en") if language in written}
        return {"zh": path}


# ---------------------------------------------------------------------- devices


class _Registry:
    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = devices
        self.points: dict[PointId, Point] = {point.id: point for device in devices for point in device.points}
        self.ids = {device.id: device for device in devices}
        self.kinds: dict[str, list[Device]] = {}
        for device in devices:
            self.kinds.setdefault(device.kind, []).append(device)

    def chosen(self, for_each: Mapping[str, tuple[str, ...]]) -> list[Device]:
        kinds = for_each.get("type", ())
        if "any" in kinds:
            candidates = list(self.devices)
        else:
            candidates = [device for kind in dict.fromkeys(kinds) for device in self.kinds.get(kind, ())]
        places = [(level, for_each[level]) for level in PLACES if level in for_each]
        return [d for d in candidates if all(getattr(d.place, level) in wanted for level, wanted in places)]

    def resolve(self, name: str, device: Device | None) -> Point | None:
        """``lel`` of the own device; ``valve.position`` of a role, else of the device with that id."""
        first, dot, second = name.partition(".")
        if not dot:
            return None if device is None else self.points.get(f"{device.id}.{name}")
        other = device.roles.get(first, first) if device is not None else first
        return self.points.get(f"{other}.{second}")

    def suggest(self, name: str, device: Device | None) -> tuple[str, str]:
        """Looks near the name only: among thousands of points a search through all of them would take seconds."""
        first, dot, _ = name.partition(".")
        own = [point.name for point in device.points] if device is not None else []
        if not dot:
            hints = did_you_mean(name, own)
            return hints if hints[0] or device is not None else ("请写 设备.测点", "write device.point")
        roles = device.roles if device is not None else {}
        other = self.ids.get(roles.get(first, first))
        if other is not None:
            return did_you_mean(name, [f"{first}.{point.name}" for point in other.points])
        if "-" in first:
            return ("减号两边请加空格", "put spaces around a minus sign")
        near = [each for each in self.ids if each[:1] == first[:1] and abs(len(each) - len(first)) <= 2]
        return did_you_mean(first, [*roles, *near[:2000]])


_Signature: TypeAlias = tuple[tuple[object, ...] | None, ...]


@dataclass(slots=True)
class _Kind:
    """Devices for which every name of a rule means a point of the same kind, unit and states."""

    first: Device | None
    devices: list[Device | None] = field(default_factory=list)


class _Binder:
    def __init__(self, draft: Draft, registry: _Registry | None, faults: list[RuleFault]) -> None:
        self._draft = draft
        self._registry = registry
        self._faults = faults
        self._names = [name for tree in (draft.when, draft.clear_when) if tree is not None for name in names(tree)]
        self._shown = dict.fromkeys(hole.name for template in draft.rule.message for hole in holes(template))

    def bind(self) -> list[Watch]:
        devices = self._devices()
        if devices is None or self._draft.when is None:
            for key, tree in (("when", self._draft.when), ("clear_when", self._draft.clear_when)):
                found = function_faults(tree) if tree is not None else ()
                self._faults.extend(fault.at(*self._draft.path, key) for fault in found)
            return []
        watches: list[Watch] = []
        refused: list[tuple[_Kind, list[RuleFault]]] = []
        for kind in self._kinds(devices):
            program, faults = self._program(kind.first)
            self._faults.extend(fault for fault in faults if not fault.is_error)
            if program is None:
                refused.append((kind, faults))
            elif self._draft.rule.mode is not Mode.OFF:
                watches += [self._watch(device, program) for device in kind.devices]
        self._judge(refused, good=len(devices) - sum(len(kind.devices) for kind, _ in refused))
        self._check_message(devices)
        return watches

    def _devices(self) -> list[Device | None] | None:
        """Whom the rule is for: [None] for a rule that names its points in full, None when nobody can be found."""
        for_each, registry = self._draft.for_each, self._registry
        if registry is None:
            return None
        if for_each is None:
            return [None]
        found = registry.chosen(for_each)
        if found or "type" not in for_each:
            return list(found) or None
        zh, en = "没有设备符合 for_each，此规则不会起作用", "no device matches for_each: this rule watches nothing"
        hints = next((hint for kind in for_each["type"] if (hint := did_you_mean(kind, registry.kinds))[0]), ("", ""))
        self._warn(("for_each",), (zh, en), hints)
        return None

    def _warn(self, path: Path, texts: tuple[str, str], hints: tuple[str, str] = ("", "")) -> None:
        self._faults.append(RuleFault("W-NOMATCH", (*self._draft.path, *path), None, 1, True, *texts, *hints))

    def _kinds(self, devices: Sequence[Device | None]) -> list[_Kind]:
        """Largest first."""
        kinds: dict[_Signature, _Kind] = {}
        for device in devices:
            kinds.setdefault(self._signature(device), _Kind(device)).devices.append(device)
        return sorted(kinds.values(), key=lambda kind: -len(kind.devices))

    def _signature(self, device: Device | None) -> _Signature:
        points = [self._resolve(name, device) for name in self._names]
        return tuple(None if point is None else (point.kind, point.unit, point.states) for point in points)

    def _resolve(self, name: str, device: Device | None) -> Point | None:
        assert self._registry is not None
        return self._registry.resolve(name, device)

    def _program(self, device: Device | None) -> tuple[Program | None, list[RuleFault]]:
        registry, draft = self._registry, self._draft
        assert registry is not None
        assert draft.when is not None
        checker = Checker(
            lambda name: registry.resolve(name, device), lambda name: registry.suggest(name, device), device is not None
        )
        faults: list[RuleFault] = []
        when = self._checked(checker, draft.when, "when", faults)
        over = None if draft.clear_when is None else self._checked(checker, draft.clear_when, "clear_when", faults)
        if when is not None and not checker.inputs:
            faults.append(self._at(("when",), "E-VALUE", ("条件没有用到任何测点", "the condition names no point")))
        still = when
        if when is not None and over is not None:
            still = Junction("or", (when, Negation(over)))
        elif when is not None and draft.deadband is not None:
            still = self._banded(when, *draft.deadband, faults)
        if when is None or still is None or faults:
            return None, faults
        first = compiled(when)
        return Program(tuple(checker.inputs), first, first if still is when else compiled(still)), faults

    def _at(self, path: Path, code: str, texts: tuple[str, str], hints: tuple[str, str] = ("", "")) -> RuleFault:
        return RuleFault(code, (*self._draft.path, *path), None, 1, False, *texts, *hints)

    def _checked(self, checker: Checker, tree: Node, key: str, faults: list[RuleFault]) -> Checked | None:
        before = len(checker.faults)
        checked = checker.condition(tree)
        faults += [fault.at(*self._draft.path, key) for fault in checker.faults[before:]]
        return checked

    def _banded(self, when: Checked, deadband: float, unit: Unit, faults: list[RuleFault]) -> Checked:
        still, moved = relax(when, deadband, unit)
        if moved:
            return still
        code = "E-UNIT" if unit.dimension else "E-NOUNIT"
        zh = "没有左边是测点、单位与 deadband 相符的比较"
        en = "no comparison has a point of this unit on its left side"
        faults.append(self._at(("deadband",), code, (zh, en)))
        return when

    def _judge(self, refused: list[tuple[_Kind, list[RuleFault]]], *, good: int) -> None:
        """A rule that fits none of its devices is wrong; one that misses points on some only watches the others."""
        for kind, faults in refused:
            if not good or any(fault.code != "E-POINT" for fault in faults):
                self._faults.extend(faults)
                return
            named = ", ".join(device.id for device in kind.devices[:3] if device is not None)
            missing = faults[0]
            zh = f"{len(kind.devices)} 台设备（{named} 等）不受监视：{missing.zh}"
            en = f"{len(kind.devices)} devices ({named} ...) are not watched: {missing.en}"
            self._warn(("for_each",), (zh, en))

    def _watch(self, device: Device | None, program: Program) -> Watch:
        targets = tuple(self._target(each, device) for each in program.inputs)
        points = {name: self._resolve(name, device) for name in self._shown}
        shown = {name: point.id for name, point in points.items() if point is not None}
        return Watch(self._draft.rule, device.id if device is not None else None, program, targets, shown)

    def _target(self, wanted: Input, device: Device | None) -> str:
        if wanted.source is Source.SILENT:
            assert device is not None
            return device.id
        point = self._resolve(wanted.name, device)
        assert point is not None
        return point.id

    def _check_message(self, devices: Sequence[Device | None]) -> None:
        lost = {name for name in self._shown if not any(self._resolve(name, device) for device in devices)}
        assert self._registry is not None
        for language, template in zip(("zh", "en"), self._draft.rule.message, strict=True):
            path = self._draft.message_at.get(language)
            for hole in holes(template):
                if hole.name not in lost or path is None:
                    continue
                texts = (f'未知测点 "{hole.name}"', f'unknown point "{hole.name}"')
                hints = self._registry.suggest(hole.name, devices[0])
                self._faults.append(in_text("E-POINT", hole.start, hole.end, *texts, *hints).at(*path))
