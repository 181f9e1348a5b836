"""A test file of rules becomes cases that can be played: plants, messages, operator acts and expectations, checked.

plain data ──▶ Case(devices, rules as written, steps by time) ──▶ caseplay.py

At one instant inputs come first, in the order of the file; operator acts and expectations follow.  Nothing raises on
bad input: every fault says where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from gateway.model import Device, Place, Point, PointId, Reason, Text, Value, ValueKind
from rules import calendar
from rules.aliases import english
from rules.faults import Path, RuleFault, did_you_mean
from rules.plain import Reader
from rules.units import WRITTEN, code_of

TOP_KEYS = ("version", "title", "rule_files", "devices", "points", "site", "schedules", "timezone", "start", "cases")
CASE_KEYS = (
    *("id", "title", "why", "points", "devices", "generate", "rules", "rules_text", "site", "schedules"),
    *("timezone", "start", "signed_off", "steps"),
)
PLANT_KEYS = ("points", "devices", "generate")
POINT_KEYS = ("unit", "type", "values", "period", "min", "max", "counter", "max_per_hour")
DEVICE_KEYS = ("type", "area", "grid", "building", "unit", "floor", "room", "roles")
GENERATE_KEYS = ("count", "prefix", "type", "buildings", "points")
VALUE_KEYS = ("v", "q", "src_t", "unit", "reason")
ACTS = ("ack", "shelve", "unshelve", "reset", "out_of_service", "in_service")
STATES = (
    *("normal", "pending", "unack", "acked", "rtn_unack", "latched_unack", "latched_acked"),
    "absent",
)
FLAGS = ("held", "data", "reason", "count", "shelved", "suppressed", "out_of_service", "acked_by", "chattering")
EXPECT_KEYS = (
    *("states", "flags", "events", "totals", "commands", "value", "all_states", "sys", "errors", "warnings"),
    *("run_at", "changes"),
)
FAULT_KEYS = ("code", "key", "hint", "line", "col", "rule")
_STEPS: Mapping[str, tuple[str, ...]] = {
    "set": (),
    "series": ("from", "every", "values"),
    "generate_set": (),
    "wall_step": (),
    **dict.fromkeys(ACTS, ("by", "for", "reason")),
    "restart": (),
    "reload_text": (),
    "expect": (),
}
_TYPES = ("number", "bool", "boolean", "state", "text", "counter")
_START_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC, where a case does not say when it begins."""
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
_MOST_DEVICES = 20_000
_MOST_SAMPLES = 200_000
_RUN = re.compile(r"(.+?)(?:([+-][0-9]+(?:\.[0-9]+)?))?x([0-9]{1,6})")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


# ---------------------------------------------------------------------- what a case consists of


@dataclass(frozen=True, slots=True)
class Placed:
    """A fault of a rule file with its place in the text that was read."""

    code: str
    file: str
    line: int
    column: int
    key: str
    """The wrong key itself; empty when the fault is in a value."""
    rule: str
    texts: Text
    hint: Text


@dataclass(frozen=True, slots=True)
class Written:
    """Rules as somebody wrote them: plain data, and the way back to lines and columns."""

    data: object
    """A list of rules, or a whole rule file."""
    place: Callable[[Path, bool, int], tuple[str, int, int]]
    """(path in a whole rule file, on the key, offset into the scalar) -> (file, line, column), from 1."""
    broken: tuple[Placed, ...] = ()
    """What is wrong with the text itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    point: PointId
    value: Value | None
    """None: a bad one."""
    reason: str = "no_value"
    source_s: float | None = None
    """The device's time, after the start of the case; None: now."""
    unit: str | None = None
    """On the wire, as people write it."""


@dataclass(frozen=True, slots=True)
class Message:
    """Its samples change together."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator does with one alarm."""

    kind: str
    alarm: str
    who: str
    for_s: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class WallStep:
    by_s: float


@dataclass(frozen=True, slots=True)
class Restart:
    down_s: float


@dataclass(frozen=True, slots=True)
class Reload:
    text: str


@dataclass(frozen=True, slots=True)
class Expect:
    wanted: Mapping[str, Any]
    """As written, checked."""
    path: Path


Action: TypeAlias = Message | Act | WallStep | Restart | Reload | Expect
Step: TypeAlias = tuple[float, Action]
"""Seconds after the start, and what happens then."""


@dataclass(frozen=True, slots=True)
class Plant:
    """What is said about devices, before points and devices are put together."""

    described: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    points: Mapping[PointId, Point] = field(default_factory=dict)

    def joined(self, other: Plant) -> Plant:
        return Plant({**self.described, **other.described}, {**self.points, **other.points})

    def devices(self) -> tuple[Device, ...]:
        """``gas1.lel`` makes the device gas1; ``devices`` says more about it."""
        points: dict[str, list[Point]] = {name: [] for name in self.described}
        for point in self.points.values():
            points.setdefault(point.device, []).append(point)
        return tuple(_device(name, self.described.get(name, {}), tuple(own)) for name, own in points.items())


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    title: Text
    path: Path
    """In the test file."""
    devices: tuple[Device, ...]
    rules: Written | str
    """A text is read when the case begins, so that its faults can be expected."""
    frame: Mapping[str, Any]
    """What stands beside ``rules`` in a rule file: format, site, schedules."""
    steps: tuple[Step, ...]
    start_ms: int
    zone: ZoneInfo
    signed_off: bool = False
    """Rules in shadow are played as if they were live."""


# ---------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Shared:
    """What holds for all cases of a file."""

    plant: Plant = Plant()
    rules: Written | None = None
    """Of the rule files; None: every case brings its own."""
    frame: Mapping[str, Any] = field(default_factory=dict)
    """Site and schedules of the rule files."""


def read_plant(reader: Reader, data: object, path: Path = ()) -> Plant:
    """``points``, ``devices`` and ``generate`` of a mapping, whose other keys are not looked at."""
    found = data if isinstance(data, Mapping) else {}
    points = {
        point_id: point
        for point_id, given in _mapping(reader, found, "points", path)
        if (point := _point(reader, point_id, given, (*path, "points", point_id))) is not None
    }
    described = {
        name: _described(reader, given, (*path, "devices", name))
        for name, given in _mapping(reader, found, "devices", path)
    }
    plant = Plant(described, points)
    return plant.joined(_generated(reader, found["generate"], (*path, "generate"))) if "generate" in found else plant


def read_cases(
    reader: Reader, data: Mapping[str, Any], shared: Shared, inline: Callable[[Path], Written]
) -> Sequence[Case]:
    """The cases of a test file that have no fault.

    inline: the rules that stand in the file itself at a path.
    """
    top = reader.keys(data, (), TOP_KEYS)
    entries = top.get("cases")
    if not isinstance(entries, list) or not entries:
        reader.fault(
            "E-TYPE", ("cases",) if "cases" in top else (), ("cases 应是用例列表", "cases must be a list of cases")
        )
        return ()
    cases: list[Case] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        before = len(reader.faults)
        case = _CaseReader(reader, entry, ("cases", index), top, shared, inline).case()
        if case is not None and case.id in seen:
            reader.fault(
                "E-DUP", ("cases", index, "id"), (f'用例编号 "{case.id}" 重复', f'case id "{case.id}" is used twice')
            )
        if case is not None and not any(fault.is_error for fault in reader.faults[before:]):
            cases.append(case)
            seen.add(case.id)
    return cases


class _CaseReader:
    def __init__(
        self,
        reader: Reader,
        entry: object,
        path: Path,
        top: Mapping[str, Any],
        shared: Shared,
        inline: Callable[[Path], Written],
    ) -> None:
        self._reader = reader
        self._path = path
        self._keys = reader.keys(entry, path, CASE_KEYS)
        self._top = top
        self._shared = shared
        self._inline = inline

    def case(self) -> Case | None:
        keys = self._keys
        if not keys:
            return None
        case_id = self._id()
        plant = self._shared.plant.joined(read_plant(self._reader, keys, self._path))
        zone = self._zone()
        start_ms = self._start_ms(zone)
        rules = self._rules()
        points = plant.points
        steps = _StepReader(self._reader, (*self._path, "steps"), points, keys.get("generate")).steps(keys.get("steps"))
        if case_id is None or rules is None:
            return None
        title = self._reader.text(keys["title"], (*self._path, "title")) if "title" in keys else None
        return Case(
            case_id,
            title or Text("", ""),
            self._path,
            plant.devices(),
            rules,
            self._frame(),
            tuple(steps),
            start_ms,
            zone,
            bool(self._reader.truth(keys.get("signed_off", False), (*self._path, "signed_off"))),
        )

    def _id(self) -> str | None:
        if "id" not in self._keys:
            self._missing("id")
            return None
        found = self._keys["id"]
        return f"{found}" if isinstance(found, int) else self._reader.words(found, (*self._path, "id"))

    def _missing(self, key: str) -> None:
        self._reader.fault("E-MISSING", self._path, (f"缺少 {key}", f"{key} is missing"))

    def _own(self, key: str) -> tuple[Any, Path]:
        """What the case says, or else the file; None where nobody says anything."""
        if key in self._keys:
            return self._keys[key], (*self._path, key)
        return self._top.get(key), (key,)

    def _frame(self) -> Mapping[str, Any]:
        site, _ = self._own("site")
        schedules, _ = self._own("schedules")
        frame = {"format": "rules/1", **self._shared.frame}
        if site is not None:
            frame["site"] = site
        zone, _ = self._own("timezone")
        if zone is not None:
            given = frame.get("site")
            others = given if isinstance(given, Mapping) else {}
            kept = {key: value for key, value in others.items() if english(key) != "timezone"}
            frame["site"] = {**kept, "timezone": zone}
        if schedules is not None:
            frame["schedules"] = schedules
        return frame

    def _zone(self) -> ZoneInfo:
        name, path = self._own("timezone")
        if name is None:
            site = self._own("site")[0] or self._shared.frame.get("site")
            found = site if isinstance(site, Mapping) else {}
            name = next((value for key, value in found.items() if english(key) == "timezone"), None)
        zone = calendar.zone(name) if isinstance(name, str) else None
        if zone is None and name is not None:
            texts = (f'没有时区 "{name}"', f'there is no time zone "{name}"')
            self._reader.fault("E-VALUE", path, texts, ("如 Asia/Shanghai", "such as Asia/Shanghai"))
        return zone or ZoneInfo("UTC")

    def _start_ms(self, zone: ZoneInfo) -> int:
        found, path = self._own("start")
        if found is None:
            return _START_MS
        moment = _moment(found, zone)
        if moment is None:
            texts = (f'"{found}" 不是时间', f'"{found}" is not a time')
            self._reader.fault(
                "E-VALUE", path, texts, ("如 2026-03-29T00:30:00+01:00", "such as 2026-03-29T00:30:00+01:00")
            )
            return _START_MS
        return round(moment.timestamp() * 1000)

    def _rules(self) -> Written | str | None:
        if "rules_text" in self._keys:
            return self._reader.words(self._keys["rules_text"], (*self._path, "rules_text"))
        if "rules" in self._keys:
            return self._inline((*self._path, "rules"))
        if self._shared.rules is None:
            texts = (
                "需要 rules、rules_text 或文件开头的 rule_files",
                "rules, rules_text or the file's rule_files is needed",
            )
            self._reader.fault("E-MISSING", self._path, texts)
        return self._shared.rules


class _StepReader:
    """The steps of one case, in the order in which they happen."""

    def __init__(self, reader: Reader, path: Path, points: Mapping[PointId, Point], generate: object) -> None:
        self._reader = reader
        self._path = path
        self._points = points
        self._generate = generate if isinstance(generate, Mapping) else {}
        self._samples = 0

    def steps(self, found: object) -> list[Step]:
        if not isinstance(found, list) or not found:
            self._reader.fault("E-TYPE", self._path, ("steps 应是步骤列表", "steps must be a list of steps"))
            return []
        serial = count()
        entries = (
            (each, (*self._path, index))
            for index, entry in enumerate(found)
            for each in self._step(entry, (*self._path, index))
        )
        ordered = sorted((t, not isinstance(action, Message), next(serial), action, at) for (t, action), at in entries)
        self._check_awake([(t, action, at) for t, _, _, action, at in ordered])
        return [(t, action) for t, _, _, action, _ in ordered]

    def _check_awake(self, steps: Sequence[tuple[float, Action, Path]]) -> None:
        """While the box is down it hears nothing, which is fine, and nobody can ask it anything."""
        awake_s = 0.0
        for t, action, path in steps:
            if t < awake_s and not isinstance(action, Message):
                texts = (f"网关到 {awake_s:g}s 才重新启动", f"the box is down until {awake_s:g}s")
                self._reader.fault("E-VALUE", (*path, "t"), texts)
            if isinstance(action, Restart):
                awake_s = t + action.down_s

    def _step(self, entry: object, path: Path) -> Iterator[Step]:
        verbs = [verb for verb in _STEPS if isinstance(entry, Mapping) and verb in entry]
        known = ("t", *_STEPS) if not verbs else ("t", *verbs, *(key for verb in verbs for key in _STEPS[verb]))
        keys = self._reader.keys(entry, path, known)
        if not verbs:
            if isinstance(entry, Mapping) and set(entry) <= {"t"}:
                names = ", ".join(_STEPS)
                self._reader.fault("E-MISSING", path, (f"步骤需要其中之一：{names}", f"a step has one of: {names}"))
            return
        if "series" in verbs:
            yield from self._series(keys, path)
            return
        if "t" not in keys:
            self._reader.fault("E-MISSING", path, ("缺少 t", "t is missing"))
            return
        t = self._reader.duration(keys["t"], (*path, "t"))
        if t is None:
            return
        if "generate_set" in verbs:
            yield from self._generated(t, keys["generate_set"], (*path, "generate_set"))
        for verb in verbs:
            action = self._action(verb, keys, path)
            if action is not None:
                yield t, action

    def _action(self, verb: str, keys: Mapping[str, Any], path: Path) -> Action | None:
        reader, at, found = self._reader, (*path, verb), keys[verb]
        match verb:
            case "set":
                return self._message(found, at)
            case "wall_step":
                by_s = self._signed(found, at)
                return None if by_s is None else WallStep(by_s)
            case "restart":
                given = reader.keys(found, at, ("down",))
                down_s = reader.duration(given.get("down", 0), (*at, "down"))
                return None if down_s is None else Restart(down_s)
            case "reload_text":
                text = reader.words(found, at)
                return None if text is None else Reload(text)
            case "expect":
                return _ExpectReader(reader, at).expect(found)
            case "generate_set":
                return None
        return self._act(verb, keys, path)

    def _signed(self, found: object, path: Path) -> float | None:
        negative = isinstance(found, str) and found.strip().startswith("-")
        seconds = self._reader.duration(found.strip()[1:] if isinstance(found, str) and negative else found, path)
        return -seconds if negative and seconds is not None else seconds

    def _act(self, verb: str, keys: Mapping[str, Any], path: Path) -> Act | None:
        reader = self._reader
        alarm = reader.words(keys[verb], (*path, verb))
        who = reader.words(keys["by"], (*path, "by")) if "by" in keys else ""
        reason = reader.words(keys["reason"], (*path, "reason")) if "reason" in keys else ""
        for_s = reader.duration(keys["for"], (*path, "for")) if "for" in keys else None
        if verb == "shelve" and "for" not in keys:
            reader.fault("E-MISSING", path, ("搁置需要 for", "a shelf needs for"))
        return None if alarm is None else Act(verb, alarm, who or "", for_s, reason or "")

    # ------------------------------------------------------------------ inputs

    def _message(self, found: object, path: Path) -> Message | None:
        if not isinstance(found, Mapping) or not found:
            self._reader.fault("E-TYPE", path, ("写法：{测点: 值}", "write {point: value}"))
            return None
        samples = [self._sample(point, value, (*path, point)) for point, value in found.items()]
        return Message(tuple(sample for sample in samples if sample is not None))

    def _sample(self, point: PointId, value: object, path: Path) -> Sample | None:
        if not self._is_known(point, path, on_key=True):
            return None
        if not isinstance(value, Mapping):
            return self._plain(point, value, path)
        keys = self._reader.keys(value, path, VALUE_KEYS)
        is_bad = "q" in keys and self._reader.choice(keys["q"], (*path, "q"), ("good", "bad"), "good") == "bad"
        source_s = self._reader.duration(keys["src_t"], (*path, "src_t")) if "src_t" in keys else None
        unit = self._reader.words(keys["unit"], (*path, "unit")) if "unit" in keys else None
        reason = self._reader.choice(keys["reason"], (*path, "reason"), tuple(Reason), "") if "reason" in keys else None
        if is_bad:
            return Sample(point, None, reason or "no_value", source_s)
        if "v" not in keys:
            self._reader.fault("E-MISSING", path, ("缺少 v", "v is missing"))
            return None
        plain = self._plain(point, keys["v"], (*path, "v"))
        return None if plain is None else Sample(point, plain.value, reason or "no_value", source_s, unit)

    def _plain(self, point: PointId, value: object, path: Path) -> Sample | None:
        states = self._points[point].states
        if value is None or (value == "bad" and "bad" not in states):
            return Sample(point, None)
        if value == "nan":
            return Sample(point, float("nan"))
        if not isinstance(value, str | int | float | bool):
            self._reader.fault("E-TYPE", path, ("这里应是一个值", "a value belongs here"))
            return None
        if isinstance(value, str) and states and value not in states:
            texts = (f'"{point}" 没有值 "{value}"', f'"{point}" has no value "{value}"')
            self._reader.fault("E-VALUE", path, texts, did_you_mean(value, states))
            return None
        return Sample(point, value)

    def _is_known(self, point: object, path: Path, *, on_key: bool) -> bool:
        if isinstance(point, str) and point in self._points:
            return True
        texts = (f'未知测点 "{point}"', f'unknown point "{point}"')
        near = list(self._points)[:2000]
        self._reader.fault("E-POINT", path, texts, did_you_mean(f"{point}", near), on_key=on_key)
        return False

    def _series(self, keys: Mapping[str, Any], path: Path) -> Iterator[Step]:
        point = keys["series"]
        for key in ("from", "every", "values"):
            if key not in keys:
                self._reader.fault("E-MISSING", path, (f"缺少 {key}", f"{key} is missing"))
                return
        t = self._reader.duration(keys["from"], (*path, "from"))
        every_s = self._reader.some_time(keys["every"], (*path, "every"))
        is_known = self._is_known(point, (*path, "series"), on_key=False)
        if t is None or every_s is None or not is_known:
            return
        yield from self._words(point, t, every_s, f"{_as_text(keys['values'])}", (*path, "values"))

    def _words(self, point: PointId, t: float, every_s: float, text: str, path: Path) -> Iterator[Step]:
        index = 0
        for word in text.split():
            match = _RUN.fullmatch(word)
            first, slope, times = (match[1], float(match[2] or 0), int(match[3])) if match else (word, 0.0, 1)
            self._samples += times
            if self._samples > _MOST_SAMPLES:
                texts = (f"样本超过 {_MOST_SAMPLES} 个", f"more than {_MOST_SAMPLES} samples")
                self._reader.fault("E-VALUE", path, texts)
                return
            for turn in range(times):
                sample = None if first == "_" else self._plain(point, _word(first, slope * turn), path)
                if sample is not None:
                    yield t + every_s * index, Message((sample,))
                index += 1

    def _generated(self, t: float, found: object, path: Path) -> Iterator[Step]:
        keys = self._reader.keys(found, path, ("point", "value", "spread"))
        if not {"point", "value"} <= set(keys) or not isinstance(self._generate.get("count"), int):
            texts = ("需要 point 和 value，以及用例的 generate", "point and value, and the case's generate, are needed")
            self._reader.fault("E-MISSING", path, texts)
            return
        spread_s = self._reader.duration(keys.get("spread", 0), (*path, "spread")) or 0.0
        number = self._generate["count"]
        for index in range(number):
            point = f"{self._generate.get('prefix', 'd')}{index}.{keys['point']}"
            if not self._is_known(point, (*path, "point"), on_key=False):
                return
            sample = self._plain(point, keys["value"], (*path, "value"))
            if sample is not None:
                yield t + spread_s * index / number, Message((sample,))


class _ExpectReader:
    """Nothing is changed here: what is expected is compared as written.  Durations and lists are checked."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self._reader = reader
        self._path = path

    def expect(self, found: object) -> Expect | None:
        wanted = self._reader.keys(found, self._path, EXPECT_KEYS)
        for key, value in wanted.items():
            at = (*self._path, key)
            if key in ("events", "commands", "sys", "run_at"):
                self._list(value, at, str, ("这里应是文字列表", "a list of words belongs here"))
            elif key in ("errors", "warnings"):
                self._list(value, at, Mapping, ("这里应是 {code: …} 的列表", "a list of {code: ...} belongs here"))
            elif key == "changes":
                self._list(
                    value,
                    at,
                    list,
                    ("这里应是 [状态, 原因, 文字] 的列表", "a list of [state, reason, text] belongs here"),
                )
            else:
                self._entries(key, value, at)
        return Expect(wanted, self._path) if wanted else None

    def _list(self, found: object, path: Path, kind: type, texts: tuple[str, str]) -> None:
        if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
            self._reader.fault("E-TYPE", path, texts)
            return
        for index, each in enumerate(found):
            if isinstance(each, Mapping):
                self._reader.keys(each, (*path, index), FAULT_KEYS)
            elif path[-1] == "run_at" and _moment(each, ZoneInfo("UTC")) is None:
                self._reader.fault("E-VALUE", (*path, index), (f'"{each}" 不是时间', f'"{each}" is not a time'))

    def _entries(self, key: str, found: object, path: Path) -> None:
        if not isinstance(found, Mapping):
            self._reader.fault("E-TYPE", path, ("写法：{名称: 值}", "write {name: value}"))
            return
        for name, value in found.items():
            at = (*path, name)
            match key:
                case "states":
                    self._reader.choice(value, at, STATES, "")
                case "flags":
                    self._flags(value, at)
                case "totals" | "all_states":
                    self._count(value, at)
            if key == "all_states" and name not in STATES:
                self._reader.fault("E-VALUE", at, (f'没有状态 "{name}"', f'there is no state "{name}"'), on_key=True)

    def _flags(self, found: object, path: Path) -> None:
        flags = self._reader.keys(found, path, FLAGS)
        if "held" in flags:
            self._reader.duration(flags["held"], (*path, "held"))
        if "data" in flags:
            self._reader.choice(flags["data"], (*path, "data"), ("good", "unknown"), "")

    def _count(self, found: object, path: Path) -> None:
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            self._reader.fault("E-VALUE", path, ("这里应是个数", "a whole number belongs here"))


# ---------------------------------------------------------------------- plants


def _mapping(reader: Reader, found: Mapping[str, Any], key: str, path: Path) -> Iterator[tuple[str, object]]:
    given = found.get(key)
    if given is None:
        return
    if not isinstance(given, Mapping):
        reader.fault("E-TYPE", (*path, key), ("写法：{名称: {…}}", "write {name: {...}}"))
        return
    yield from given.items()


def _point(reader: Reader, point_id: str, given: object, path: Path) -> Point | None:
    device, _, name = point_id.partition(".")
    if not device or not name:
        reader.fault("E-VALUE", path, ("测点写法：设备.测点", "a point is written device.point"), on_key=True)
        return None
    keys = reader.keys({} if given is None else given, path, POINT_KEYS)
    states = reader.names(keys["values"], (*path, "values")) if "values" in keys else ()
    kind = reader.choice(keys["type"], (*path, "type"), _TYPES, "number") if "type" in keys else "number"
    period_s = reader.some_time(keys["period"], (*path, "period")) if "period" in keys else None
    return Point(
        point_id,
        ValueKind.STATE if states else _KINDS[kind],
        Text(point_id, point_id),
        period_s or float("inf"),
        _unit(reader, keys["unit"], (*path, "unit")) if "unit" in keys else None,
        states=states,
        minimum=_number(reader, keys, "min", path),
        maximum=_number(reader, keys, "max", path),
        counter=kind == "counter" or keys.get("counter") is True,
        max_per_hour=_number(reader, keys, "max_per_hour", path),
    )


_KINDS = {
    "number": ValueKind.NUMBER,
    "counter": ValueKind.NUMBER,
    "bool": ValueKind.BOOLEAN,
    "boolean": ValueKind.BOOLEAN,
    "state": ValueKind.STATE,
    "text": ValueKind.TEXT,
}


def _number(reader: Reader, keys: Mapping[str, Any], key: str, path: Path) -> float | None:
    found = keys.get(key)
    if found is None or (isinstance(found, int | float) and not isinstance(found, bool)):
        return found
    reader.fault("E-TYPE", (*path, key), ("这里应是一个数", "a number belongs here"))
    return None


def _unit(reader: Reader, found: object, path: Path) -> str | None:
    """The UCUM code of a unit as people write it; a code is as good."""
    code = code_of(found) if isinstance(found, str) else None
    if code is None and found is not None:
        hints = did_you_mean(f"{found}", WRITTEN)
        reader.fault("E-UNIT", path, (f'不认识的单位 "{found}"', f'unknown unit "{found}"'), hints)
    return code


def _described(reader: Reader, given: object, path: Path) -> Mapping[str, Any]:
    keys = reader.keys({} if given is None else given, path, DEVICE_KEYS)
    roles = keys.get("roles", {})
    if not isinstance(roles, Mapping) or not all(isinstance(each, str) for each in roles.values()):
        reader.fault("E-TYPE", (*path, "roles"), ("写法：{角色: 设备}", "write {role: device}"))
        return {}
    return keys


def _generated(reader: Reader, given: object, path: Path) -> Plant:
    keys = reader.keys(given, path, GENERATE_KEYS)
    number = reader.count(keys.get("count"), (*path, "count"), 1, _MOST_DEVICES)
    buildings = reader.count(keys.get("buildings", 1), (*path, "buildings"), 1, _MOST_DEVICES)
    prefix, kind = keys.get("prefix", "d"), keys.get("type", "thing")
    described: dict[str, Mapping[str, Any]] = {}
    points: dict[PointId, Point] = {}
    patterns = [
        (name, point)
        for name, written in _mapping(reader, keys, "points", path)
        if (point := _point(reader, f"d.{name}", written, (*path, "points", name))) is not None
    ]
    for index in range(number or 0):
        device = f"{prefix}{index}"
        described[device] = {"type": kind, "building": f"B{index % (buildings or 1)}"}
        for name, point in patterns:
            point_id = f"{device}.{name}"
            points[point_id] = _renamed(point, point_id)
    return Plant(described, points)


def _renamed(point: Point, point_id: PointId) -> Point:
    return Point(
        point_id,
        point.kind,
        Text(point_id, point_id),
        point.interval_s,
        point.unit,
        states=point.states,
        minimum=point.minimum,
        maximum=point.maximum,
        counter=point.counter,
        max_per_hour=point.max_per_hour,
    )


def _device(name: str, given: Mapping[str, Any], points: tuple[Point, ...]) -> Device:
    levels = {level: f"{given[level]}" for level in ("grid", "building", "unit", "floor", "room") if level in given}
    kind = f"{given.get('type', 'thing')}"
    area = str(given["area"]) if "area" in given else None
    roles = given.get("roles", {})
    return Device(name, kind, Text(name, name), Place(**levels), "test", points, roles, area=area)


# ---------------------------------------------------------------------- small words


def _word(word: str, rise: float) -> Value:
    if word in ("true", "false"):
        return word == "true"
    return float(word) + rise if _NUMBER.fullmatch(word) else word


def _as_text(found: object) -> str:
    """``values: true`` is one word for the YAML reader, and a boolean."""
    return f"{found}".lower() if isinstance(found, bool) else f"{found}"


def _moment(found: object, zone: ZoneInfo) -> datetime | None:
    if not isinstance(found, str):
        return None
    try:
        moment = datetime.fromisoformat(found)
    except ValueError:
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


def placed(fault: RuleFault, rule: str, where: tuple[str, int, int]) -> Placed:
    key = f"{fault.path[-1]}" if fault.on_key and fault.path else ""
    return Placed(fault.code, *where, key, rule, Text(fault.zh, fault.en), Text(fault.hint_zh, fault.hint_en))
