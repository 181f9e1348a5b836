"""The keys of a rule file become drafts: rules whose names have not met the devices yet.

Nothing raises on bad input and nothing is ignored: what is unknown is E-KEY, what does not fit says where and why.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.model import Priority, Text, Value
from rules import calendar
from rules.alarm import Chatter, NoData, Timing
from rules.aliases import named_twice
from rules.calendar import Schedule
from rules.effects import action_of, faults_of
from rules.faults import Path, did_you_mean
from rules.named import Case, NamedValue
from rules.plain import Reader
from rules.rule import (
    SHELF_S,
    Action,
    Confirm,
    Escalation,
    Flood,
    Group,
    Hook,
    Job,
    Mode,
    Reset,
    Rule,
    Site,
    While,
)
from rules.syntax import Node
from rules.text import Template, parse_template
from rules.units import Unit

FORMAT = "rules/1"
TOP_KEYS = ("format", "site", "schedules", "limits", "rules")
LIMIT_KEYS = ("max_raises_per_day",)
SITE_KEYS = ("id", "name", "timezone", "languages", "group_by", "group_wait", "flood", "repeat")
SCHEDULE_KEYS = ("daily", "weekdays", "except")
RULE_KEYS = (
    "id",
    "name",
    "note",
    "mode",
    "for_each",
    "values",
    "when",
    "clear_when",
    "deadband",
    "for",
    "clear_after",
    "only_during",
    "priority",
    "latch",
    "reset",
    "ack",
    "shelve",
    "bad_counts_as",
    "if_no_data",
    "no_data_after",
    "act_on_no_data",
    "suppress_when",
    "wait_for_parent",
    "chatter",
    "backlog",
    "escalate",
    "notify",
    "on_alarm",
    "on_clear",
    "on_ack",
    "on_reset",
    "message",
    "response",
)
JOB_KEYS = ("id", "name", "note", "mode", "at", "on_alarm")
ACTION_KEYS = ("send", "hold", "while", "confirm", "tries", "else", "at_most", "at_most_for", "keep", "optional")
PLACES = ("grid", "building", "unit", "floor", "room")
FOR_EACH_KEYS = ("type", "area", "with", *PLACES)
_MAX_RULES = 2000
_LONGEST_ID = 64
_MOST_TRIES = 10
_ID = re.compile(r"[^\W\d]\w*")
_SEND = re.compile(r"[^\s.]+\.[^\s.]+")


@dataclass(frozen=True, slots=True)
class Draft:
    """One rule whose keys are right; its names have not met the devices yet."""

    path: Path
    rule: Rule
    when: Node | None
    clear_when: Node | None
    suppress_when: Node | None
    deadband: tuple[float, Unit] | None
    for_each: Mapping[str, tuple[str, ...]] | None
    bad_votes: bool
    values: tuple[NamedValue, ...]
    actions: tuple[tuple[Path, Action], ...]
    """With where each stands."""
    message_at: Mapping[str, Path] = field(default_factory=dict)
    """Language -> where its text stands; a language that only copies the other has no place."""


@dataclass(frozen=True, slots=True)
class DraftFile:
    site: Site
    rules: tuple[Draft, ...]
    jobs: tuple[tuple[Path, Job], ...]


def read_file(reader: Reader, data: object) -> DraftFile:
    top = reader.keys(data, (), TOP_KEYS)
    if isinstance(data, Mapping) and top.get("format") != FORMAT:
        path: Path = ("format",) if "format" in top else ()
        texts = (f"需要 format: {FORMAT}", f"format: {FORMAT} is needed")
        reader.fault("E-VALUE" if path else "E-MISSING", path, texts)
    site = _SiteReader(reader, top["site"]).site() if "site" in top else Site()
    schedules = _read_schedules(reader, top["schedules"]) if "schedules" in top else {}
    if "limits" in top:
        read_limits(reader, top["limits"])
    if "rules" not in top:
        if isinstance(data, Mapping):
            reader.fault("E-MISSING", (), ("缺少 rules", "rules is missing"))
        return DraftFile(site, (), ())
    entries = top["rules"]
    if not isinstance(entries, list) or len(entries) > _MAX_RULES:
        texts = (f"rules 应是规则列表，最多 {_MAX_RULES} 条", f"rules must be a list of at most {_MAX_RULES} rules")
        reader.fault("E-TYPE", ("rules",), texts)
        return DraftFile(site, (), ())
    read = [_read_rule(reader, entry, ("rules", index), schedules) for index, entry in enumerate(entries)]
    found = list(_unique(reader, [each for each in read if each is not None]))
    drafts = tuple(each for each in found if isinstance(each, Draft))
    return DraftFile(site, drafts, tuple(each for each in found if not isinstance(each, Draft)))


def read_limits(reader: Reader, found: object) -> int | None:
    """How often a rule of this file may raise its alarms on one day of a replay, all devices together."""
    keys = reader.keys(found, ("limits",), LIMIT_KEYS)
    if "max_raises_per_day" not in keys:
        return None
    return reader.count(keys["max_raises_per_day"], ("limits", "max_raises_per_day"), 0, 1_000_000)


_Found = Draft | tuple[Path, Job]


def _read_rule(reader: Reader, entry: object, path: Path, schedules: Mapping[str, Schedule]) -> _Found | None:
    is_job = isinstance(entry, Mapping) and ("at" in entry or "时刻" in entry)
    return _JobReader(reader, entry, path).job() if is_job else RuleReader(reader, entry, path, schedules).draft()


def _unique(reader: Reader, found: Sequence[_Found]) -> Iterator[_Found]:
    seen: set[str] = set()
    for each in found:
        path, id_ = (each.path, each.rule.id) if isinstance(each, Draft) else (each[0], each[1].id)
        if id_ in seen:
            reader.fault("E-DUP", (*path, "id"), (f'规则编号 "{id_}" 重复', f'rule id "{id_}" is used twice'))
            continue
        seen.add(id_)
        yield each


# ---------------------------------------------------------------------- site and schedules


class _Section:
    """The keys of one mapping, each read by its own method of Reader."""

    def __init__(self, reader: Reader, found: object, path: Path, known: Sequence[str]) -> None:
        self._reader = reader
        self._path = path
        self._keys = reader.keys(found, path, known)

    def _get(self, key: str, read: Callable[[object, Path], Any]) -> Any:
        return read(self._keys[key], (*self._path, key)) if key in self._keys else None

    def _choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        if key not in self._keys:
            return default
        return self._reader.choice(self._keys[key], (*self._path, key), allowed, default)

    def _seconds(self, key: str, default: float = 0.0) -> float:
        found: float | None = self._get(key, self._reader.duration)
        return default if found is None else found

    def _missing(self, key: str) -> None:
        self._reader.fault("E-MISSING", self._path, (f"缺少 {named_twice(key)}", f"{key} is missing"))


class _SiteReader(_Section):
    def __init__(self, reader: Reader, found: object) -> None:
        super().__init__(reader, found, ("site",), SITE_KEYS)

    def site(self) -> Site:
        self._get("id", self._reader.words)
        self._get("name", self._reader.text)
        self._get("languages", self._reader.names)
        return Site(
            timezone=self._timezone(),
            group_by=Group(self._choice("group_by", tuple(Group), Group.NONE)),
            group_wait_s=self._seconds("group_wait", Site().group_wait_s),
            flood=self._flood(),
            repeat_s=self._repeat(),
        )

    def _timezone(self) -> str:
        name: str | None = self._get("timezone", self._reader.words)
        if name is None:
            return Site().timezone
        if calendar.zone(name) is None:
            texts = (f'没有时区 "{name}"', f'there is no time zone "{name}"')
            self._reader.fault("E-VALUE", ("site", "timezone"), texts, ("如 Asia/Shanghai", "such as Asia/Shanghai"))
            return Site().timezone
        return name

    def _flood(self) -> Flood | None:
        """Who groups notices wants no flood of them either."""
        if "flood" not in self._keys:
            return Flood() if "group_by" in self._keys else None
        reader, path, usual = self._reader, ("site", "flood"), Flood()
        keys = reader.keys(self._keys["flood"], path, ("start", "end", "within", "summary_every"))

        def get(key: str, read: Callable[[object, Path], Any], default: Any) -> Any:
            found = read(keys[key], (*path, key)) if key in keys else None
            return default if found is None else found

        start = get("start", lambda found, at: reader.count(found, at, 2, 100_000), usual.start)
        end = get("end", lambda found, at: reader.count(found, at, 1, 100_000), min(usual.end, start))
        if end > start:
            reader.fault("E-VALUE", (*path, "end"), ("end 不能大于 start", "end must not be more than start"))
        within_s = get("within", reader.some_time, usual.within_s)
        return Flood(start, end, within_s, get("summary_every", reader.some_time, usual.summary_every_s))

    def _repeat(self) -> Mapping[Priority, float]:
        if "repeat" not in self._keys:
            return {}
        path: Path = ("site", "repeat")
        found: Mapping[str, Any] = self._keys["repeat"] if isinstance(self._keys["repeat"], Mapping) else {}
        if not found:
            self._reader.fault("E-TYPE", path, ("写法：{critical: 5 min}", "write {critical: 5 min}"))
        repeat: dict[Priority, float] = {}
        for key, value in found.items():
            priority = self._reader.choice(key, (*path, key), tuple(Priority), "")
            every_s = self._reader.some_time(value, (*path, key))
            if priority and every_s:
                repeat[Priority(priority)] = every_s
        return repeat


def _read_schedules(reader: Reader, found: object) -> Mapping[str, Schedule]:
    if not isinstance(found, Mapping):
        reader.fault("E-TYPE", ("schedules",), ("这里应是若干时段", "named schedules belong here"))
        return {}
    read = {str(name): _read_schedule(reader, value, ("schedules", name)) for name, value in found.items()}
    return {name: schedule for name, schedule in read.items() if schedule is not None}


def _read_schedule(reader: Reader, found: object, path: Path) -> Schedule | None:
    keys = reader.keys(found, path, SCHEDULE_KEYS)
    if not keys:
        return None
    before = len(reader.faults)

    def get(key: str, read: Callable[[str], Any], default: Any, example: str) -> Any:
        if key not in keys:
            return default
        written = keys[key]
        text = written if isinstance(written, str) else f"{written}"
        value = read(text)
        if value is None:
            texts = (f'"{text}" 写得不对', f'"{text}" is not what belongs here')
            reader.fault("E-VALUE", (*path, key), texts, (f"如 {example}", f"such as {example}"))
        return value

    start_s, end_s = get("daily", calendar.read_window, (0.0, 86400.0), "22:00-06:00") or (0.0, 0.0)
    days = get("weekdays", calendar.read_weekdays, frozenset(range(7)), "mon-fri")
    dates = get("except", calendar.read_dates, frozenset(), "2026-10-01, 2026-10-02")
    return None if len(reader.faults) > before else Schedule(start_s, end_s, days, dates)


# ---------------------------------------------------------------------- rules


class _Entry(_Section):
    """What a rule and a job have in common."""

    def _id(self) -> str | None:
        if "id" not in self._keys:
            self._missing("id")
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

    def _name(self, rule_id: str) -> Text:
        return self._get("name", self._reader.text) or Text(rule_id, rule_id)

    def _actions(self, hook: Hook) -> Iterator[tuple[Path, Action]]:
        if hook not in self._keys:
            return
        path = (*self._path, hook.value)
        for index, entry in enumerate(self._reader.list_of(self._keys[hook], path)):
            action = _ActionReader(self._reader, entry, (*path, index), hook).action()
            if action is not None:
                yield (*path, index), action


class _JobReader(_Entry):
    def __init__(self, reader: Reader, entry: object, path: Path) -> None:
        super().__init__(reader, entry, path, JOB_KEYS)

    def job(self) -> tuple[Path, Job] | None:
        rule_id = self._id()
        written = self._keys["at"]
        at_s = calendar.read_clock(written) if isinstance(written, str) else None
        if at_s is None or at_s >= 86400.0:
            texts = (f'"{written}" 不是时刻', f'"{written}" is not a time of day')
            self._reader.fault("E-VALUE", (*self._path, "at"), texts, ('如 "02:30"', 'such as "02:30"'))
            return None
        actions = tuple(action for _, action in self._actions(Hook.ALARM))
        return None if rule_id is None else (self._path, Job(rule_id, self._name(rule_id), at_s, actions))


class RuleReader(_Entry):
    def __init__(self, reader: Reader, entry: object, path: Path, schedules: Mapping[str, Schedule]) -> None:
        super().__init__(reader, entry, path, RULE_KEYS)
        self._schedules = schedules
        self._is_mapping = isinstance(entry, Mapping)

    def draft(self) -> Draft | None:
        if not self._is_mapping:
            return None
        rule_id = self._id()
        when = self._expression("when", required=True)
        clear_when = self._expression("clear_when")
        deadband = self._get("deadband", self._reader.band)
        if "deadband" in self._keys and "clear_when" in self._keys:
            texts = ("deadband 与 clear_when 只能写一个", "write either deadband or clear_when")
            self._reader.fault("E-VALUE", (*self._path, "deadband"), texts, on_key=True)
        suppress_when = self._expression("suppress_when")
        for_each = self._for_each()
        values = tuple(self._named_values())
        actions = tuple(each for hook in Hook for each in self._actions(hook))
        rule = self._rule(rule_id or "?")
        self._check_choices(rule, has_actions=bool(actions))
        if rule_id is None:
            return None
        return Draft(
            self._path,
            rule,
            when,
            clear_when,
            suppress_when,
            deadband,
            for_each,
            self._choice("bad_counts_as", ("vote", "none"), "none") == "vote",
            values,
            actions,
            self._message_at(),
        )

    def _expression(self, key: str, *, required: bool = False) -> Node | None:
        if required and key not in self._keys:
            self._missing(key)
        node: Node | None = self._get(key, self._reader.condition)
        return node

    def _for_each(self) -> Mapping[str, tuple[str, ...]] | None:
        if "for_each" not in self._keys:
            return None
        path = (*self._path, "for_each")
        if not isinstance(self._keys["for_each"], Mapping):
            texts = ("这里应是若干“键: 值”", 'keys with values belong here: "key: value"')
            self._reader.fault("E-TYPE", path, texts, ("如 {类型: pump}", "such as {type: pump}"))
            return None
        found = self._reader.keys(self._keys["for_each"], path, FOR_EACH_KEYS)
        if "type" not in found:
            hints = ("所有设备请写 类型: any", "for all devices write type: any")
            self._reader.fault("E-MISSING", path, ("缺少 type（类型）", "type is missing"), hints)
        return {key: self._reader.names(value, (*path, key)) for key, value in found.items()}

    def _rule(self, rule_id: str) -> Rule:
        reader = self._reader
        name = self._name(rule_id)
        response, within_s = self._response()
        timing = Timing(
            on_s=self._seconds("for"),
            off_s=self._seconds("clear_after"),
            no_data=NoData(self._choice("if_no_data", tuple(NoData), NoData.HOLD)),
            auto_ack=self._choice("ack", ("required", "auto"), "required") == "auto",
            latched=bool(self._get("latch", reader.truth)),
            chatter=self._chatter(),
        )
        return Rule(
            id=rule_id,
            name=name,
            note=self._get("note", reader.text) or Text("", ""),
            mode=Mode(self._choice("mode", tuple(Mode), Mode.LIVE)),
            priority=Priority(self._choice("priority", tuple(Priority), Priority.MEDIUM)),
            timing=timing,
            no_data_after_s=self._get("no_data_after", reader.some_time),
            basis=self._basis(),
            message=self._templates(self._get("message", reader.text), name),
            response=response,
            response_within_s=within_s,
            written=self._written(),
            reset=self._reset(),
            longest_shelf_s=self._longest_shelf(),
            act_on_no_data=bool(self._get("act_on_no_data", reader.truth)),
            only_during=self._only_during(),
            record_backlog=self._choice("backlog", ("ignore", "record"), "ignore") == "record",
            wait_for_parent_s=self._seconds("wait_for_parent"),
            escalate=tuple(self._escalations()),
            notify=self._get("notify", reader.names) or (),
        )

    def _check_choices(self, rule: Rule, *, has_actions: bool) -> None:
        if has_actions and rule.timing.no_data is NoData.ALARM and "act_on_no_data" not in self._keys:
            zh = "有动作且 if_no_data: alarm 的规则必须写明缺数时是否动作"
            en = "a rule with actions and if_no_data: alarm must say whether missing data act as well"
            hints = ("请加 act_on_no_data: false 或 true", "add act_on_no_data: false or true")
            self._reader.fault("E-INTERLOCK", (*self._path, self._first_hook()), (zh, en), hints, on_key=True)
        if rule.timing.latched and rule.timing.auto_ack:
            texts = ("latch 与 ack: auto 不能同时使用", "latch and ack: auto do not go together")
            self._reader.fault("E-VALUE", (*self._path, "latch"), texts, on_key=True)

    def _first_hook(self) -> str:
        return next(hook.value for hook in Hook if hook in self._keys)

    def _basis(self) -> str:
        parts = [" ".join(str(self._keys.get(key, "")).split()) for key in ("when", "clear_when", "deadband")]
        later = [key for key in ("values", "only_during", "bad_counts_as") if key in self._keys]
        parts += [f"{key} {self._keys[key]!r}" for key in later]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def _written(self) -> Mapping[str, str]:
        texts = {key: self._keys.get(key) for key in ("when", "clear_when", "deadband", "suppress_when")}
        return {key: " ".join(text.split()) for key, text in texts.items() if isinstance(text, str)}

    def _reset(self) -> Reset:
        if "reset" not in self._keys:
            return Reset()
        path = (*self._path, "reset")
        keys = self._reader.keys(self._keys["reset"], path, ("who", "reason"))
        who = self._reader.names(keys["who"], (*path, "who")) if "who" in keys else ()
        reason = "optional"
        if "reason" in keys:
            reason = self._reader.choice(keys["reason"], (*path, "reason"), ("required", "optional"), "optional")
        return Reset(who, reason == "required")

    def _longest_shelf(self) -> float:
        if "shelve" not in self._keys:
            return SHELF_S
        if self._keys["shelve"] in ("never", "从不"):
            return 0.0
        return self._seconds("shelve", SHELF_S)

    def _only_during(self) -> Schedule | None:
        if "only_during" not in self._keys:
            return None
        found, path = self._keys["only_during"], (*self._path, "only_during")
        if not isinstance(found, str):
            return _read_schedule(self._reader, found, path)
        if found not in self._schedules:
            texts = (f'没有时段 "{found}"', f'there is no schedule "{found}"')
            self._reader.fault("E-VALUE", path, texts, did_you_mean(found, self._schedules))
        return self._schedules.get(found)

    def _chatter(self) -> Chatter | None:
        if "chatter" not in self._keys:
            return None
        path = (*self._path, "chatter")
        keys = self._reader.keys(self._keys["chatter"], path, ("raises", "within", "calm"))
        for key in ("raises", "within", "calm"):
            if key not in keys:
                self._reader.fault("E-MISSING", path, (f"缺少 {key}", f"{key} is missing"))
                return None
        raises = self._reader.count(keys["raises"], (*path, "raises"), 2, 1000)
        within_s = self._reader.some_time(keys["within"], (*path, "within"))
        calm_s = self._reader.some_time(keys["calm"], (*path, "calm"))
        return None if raises is None or within_s is None or calm_s is None else Chatter(raises, within_s, calm_s)

    def _escalations(self) -> Iterator[Escalation]:
        if "escalate" not in self._keys:
            return
        path = (*self._path, "escalate")
        for index, entry in enumerate(self._reader.list_of(self._keys["escalate"], path)):
            keys = self._reader.keys(entry, (*path, index), ("after", "to"))
            if keys and not {"after", "to"} <= set(keys):
                self._reader.fault("E-MISSING", (*path, index), ("需要 after 和 to", "after and to are needed"))
                continue
            after_s = self._reader.some_time(keys.get("after"), (*path, index, "after"))
            to = self._reader.words(keys.get("to"), (*path, index, "to"))
            if after_s is not None and to is not None:
                yield Escalation(after_s, to)

    def _named_values(self) -> Iterator[NamedValue]:
        if "values" not in self._keys:
            return
        path = (*self._path, "values")
        found = self._keys["values"]
        if not isinstance(found, Mapping) or not found:
            self._reader.fault("E-TYPE", path, ("这里应是命名值", "named values belong here"))
            return
        for name, given in found.items():
            value = self._named_value(str(name), given, (*path, name))
            if value is not None:
                yield value

    def _named_value(self, name: str, given: object, path: Path) -> NamedValue | None:
        reader = self._reader
        if not _ID.fullmatch(name):
            reader.fault("E-VALUE", path, ("名称应以字母开头", "a name begins with a letter"), on_key=True)
            return None
        keys = reader.keys(given, path, ("default", "cases", "expires_after"))
        if "default" not in keys:
            if isinstance(given, Mapping):
                reader.fault("E-MISSING", path, ("缺少 default", "default is missing"))
            return None
        default = reader.quantity(keys["default"], (*path, "default"))
        cases = self._cases(keys["cases"], (*path, "cases")) if "cases" in keys else ()
        expires_s = (
            reader.some_time(keys["expires_after"], (*path, "expires_after")) if "expires_after" in keys else None
        )
        return None if default is None else NamedValue(name, default, tuple(cases), expires_s)

    def _cases(self, found: object, path: Path) -> Iterator[Case]:
        for index, entry in enumerate(self._reader.list_of(found, path)):
            keys = self._reader.keys(entry, (*path, index), ("when", "use"))
            if keys and not {"when", "use"} <= set(keys):
                self._reader.fault("E-MISSING", (*path, index), ("需要 when 和 use", "when and use are needed"))
                continue
            when = self._reader.condition(keys.get("when"), (*path, index, "when"))
            use = self._reader.quantity(keys.get("use"), (*path, index, "use"))
            if when is not None and use is not None:
                yield Case(when, use, index)

    def _response(self) -> tuple[Text, float | None]:
        if "response" not in self._keys:
            return Text("", ""), None
        found, path = self._keys["response"], (*self._path, "response")
        if isinstance(found, str):
            self._reader.fault("E-TYPE", path, ("请写 {zh: …, en: …}", "write {zh: ..., en: ...}"))
            return Text("", ""), None
        within_s = None
        if isinstance(found, Mapping):
            within_s = next(
                (self._reader.duration(found[key], (*path, "within")) for key in ("within", "以内") if key in found),
                None,
            )
        return self._reader.text(found, path, keys=("zh", "en", "within")) or Text("", ""), within_s

    def _templates(self, message: Text | None, name: Text) -> tuple[Template, Template]:
        if message is None:
            return parse_template(f"{{where}} {name.zh}")[0], parse_template(f"{{where}} {name.en}")[0]
        return self._template(message.zh, "zh"), self._template(message.en, "en")

    def _template(self, text: str, language: str) -> Template:
        template, faults = parse_template(text)
        path = self._message_at().get(language)
        if path is not None:
            self._reader.faults += [fault.at(*path) for fault in faults]
        return template

    def _message_at(self) -> Mapping[str, Path]:
        written, path = self._keys.get("message"), (*self._path, "message")
        if isinstance(written, Mapping):
            both = (("zh", "中文"), ("en", "英文"))
            return {key: (*path, key) for key, alias in both if key in written or alias in written}
        return {"zh": path}


class _ActionReader(_Section):
    def __init__(self, reader: Reader, entry: object, path: Path, hook: Hook) -> None:
        super().__init__(reader, entry, path, ACTION_KEYS)
        self._hook = hook

    def action(self) -> Action | None:
        if "send" not in self._keys:
            if self._keys:
                self._missing("send")
            return None
        reader = self._reader
        send = self._send(self._keys["send"], (*self._path, "send"))
        hold, at_most = bool(self._get("hold", reader.truth)), self._get("at_most", reader.rate)
        during = self._choice("while", tuple(While), "") if "while" in self._keys else ""
        confirm = self._confirm()
        tries = self._get("tries", lambda found, at: reader.count(found, at, 1, _MOST_TRIES)) or 1
        otherwise = self._otherwise()
        if hold and at_most is not None:
            self._refuse("at_most", "at_most 不能用于 hold 动作", "at_most does not go with hold")
        if confirm is None and (tries > 1 or otherwise):
            key = "tries" if "tries" in self._keys else "else"
            self._refuse(key, f"{key} 需要 confirm", f"{key} needs confirm")
        if (hold or during) and self._hook is not Hook.ALARM:
            key = "hold" if hold else "while"
            self._refuse(key, f"{key} 只能用于 on_alarm", f"{key} is for on_alarm only")
        if send is None:
            return None
        lasting = next((key for key in ("while", "at_most_for") if key in self._keys), None)
        if lasting is not None and (why := faults_of(action_of(send))) is not None:
            self._refuse(lasting, *why)
        return Action(
            hook=self._hook,
            send=send,
            hold=hold,
            during=While(during) if during else None,
            confirm=confirm,
            tries=tries,
            otherwise=otherwise,
            at_most=at_most,
            at_most_for_s=self._get("at_most_for", reader.some_time),
            keep_s=self._get("keep", reader.some_time),
            optional=bool(self._get("optional", reader.truth)),
        )

    def _refuse(self, key: str, zh: str, en: str) -> None:
        self._reader.fault("E-INTERLOCK", (*self._path, key), (zh, en), on_key=True)

    def _send(self, found: object, path: Path) -> str | None:
        if isinstance(found, str) and _SEND.fullmatch(found):
            return found
        self._reader.fault(
            "E-VALUE", path, ("写法：设备.动作", "write device.action"), ("如 valve.close", "such as valve.close")
        )
        return None

    def _otherwise(self) -> tuple[str, ...]:
        if "else" not in self._keys:
            return ()
        path = (*self._path, "else")
        sends = [
            self._send(each, (*path, index))
            for index, each in enumerate(self._reader.list_of(self._keys["else"], path))
        ]
        return tuple(send for send in sends if send is not None)

    def _confirm(self) -> Confirm | None:
        if "confirm" not in self._keys:
            return None
        path = (*self._path, "confirm")
        keys = self._reader.keys(self._keys["confirm"], path, ("point", "is", "within"))
        for key in ("point", "is", "within"):
            if key not in keys:
                if keys:
                    self._reader.fault("E-MISSING", path, (f"缺少 {key}", f"{key} is missing"))
                return None
        point = self._reader.words(keys["point"], (*path, "point"))
        within_s = self._reader.some_time(keys["within"], (*path, "within"))
        value: Value | None = keys["is"] if isinstance(keys["is"], str | bool | int | float) else None
        if value is None:
            self._reader.fault("E-TYPE", (*path, "is"), ("这里应是一个值", "a value belongs here"))
        return None if point is None or within_s is None or value is None else Confirm(point, value, within_s)
