"""rules/*.yaml read as one rule set: a rule may speak of an alarm in another file, and ids are unique across files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import rules as rules_package
from gateway.config.faults import Fault, Report
from gateway.config.yaml12 import Document, Steps, load_yaml, read_yaml
from gateway.identity import CHECK_POINT
from gateway.model import Device, Text
from gateway.self_watch import KIND as SELF
from rules.aliases import english
from rules.casefile import Written
from rules.definition import read_rules
from rules.faults import RuleFault
from rules.lints import Lint, lints
from rules.plain import Reader as RuleReader
from rules.reader import read_limits
from rules.rule import Actions, RuleSet

_FORMAT = "rules/1"
_BUILT_IN, _SELF = "rules/built_in.yaml", "rules/self.yaml"


def read_rule_files(
    directory: Path, devices: Sequence[Device], actions: Actions, report: Report, *, complete: bool
) -> tuple[RuleSet, Mapping[str, bytes]]:
    """The rules without faults, and what was read, by name.

    complete: *devices* are all there are.  If not, a point that a rule misses may belong to a device with a fault of
    its own, so nothing is said about points.
    """
    paths = {f"rules/{path.name}": path for path in sorted((directory / "rules").glob("*.yaml"))}
    return read_rule_paths(
        paths, devices if complete else None, report, actions=actions if complete else None, with_our_own=True
    )


def read_rule_paths(
    paths: Mapping[str, Path],
    devices: Sequence[Device] | None,
    report: Report,
    *,
    actions: Actions | None = None,
    with_our_own: bool = False,
    with_lints: bool = False,
) -> tuple[RuleSet, Mapping[str, bytes]]:
    """The same for files anywhere; *devices* None when they are not known.

    actions: what can be sent to each device; None when that is not known.
    with_our_own: together with the rules that every gateway has.
    with_lints: with warnings about what is allowed and seldom wise.
    """
    documents, files = _documents(paths, report)
    merged = _Merged([*documents, *(_built_in(devices or ()) if with_our_own else ())])
    report.extend(merged.faults)
    rules, faults = read_rules(merged.data, devices, actions)
    if with_lints:
        places = {entry.get("id", entry.get("编号")): index for index, entry in enumerate(merged.entries())}
        found = (_as_fault(lint, places) for lint in lints(rules, devices or ()))
        faults += tuple(fault for fault in found if fault is not None)
    for fault in faults:
        placed = merged.placed(fault)
        if (
            placed.file not in (_BUILT_IN, _SELF) or not placed.warning
        ):  # the gateway's own rules suit what devices there are
            report.add(placed)
    return rules, files


def _as_fault(lint: Lint, places: Mapping[object, int]) -> RuleFault | None:
    texts = (lint.zh, lint.en, lint.hint_zh, lint.hint_en)
    if not lint.rule:
        return RuleFault(lint.code, ("rules",), None, 1, True, *texts)
    index = places.get(lint.rule)
    return None if index is None else RuleFault(lint.code, ("rules", index, "id"), None, 1, False, *texts)


def written_together(paths: Mapping[str, Path], report: Report) -> Written:
    """The files as they are written, for whoever reads the rules later and perhaps several times."""
    merged = _Merged(_documents(paths, report)[0])
    report.extend(merged.faults)
    return Written(merged.data, merged.locate)


def limits_of(paths: Mapping[str, Path]) -> Mapping[str, int]:
    """Rule id -> how often it may raise on one day, by the ``limits`` of its own file."""
    found: dict[str, int] = {}
    for document in _documents(paths, Report())[0]:
        data = sections(document)
        limit = read_limits(RuleReader([]), data["limits"]) if "limits" in data else None
        if limit is not None:
            ids = (entry.get("id", entry.get("编号")) for entry in data["rules"] if isinstance(entry, dict))
            found |= {f"{rule}": limit for rule in ids}
    return found


def _documents(paths: Mapping[str, Path], report: Report) -> tuple[list[Document], dict[str, bytes]]:
    files: dict[str, bytes] = {}
    documents: list[Document] = []
    for name, path in paths.items():
        document, files[name] = read_yaml(path, str(path))
        report.extend(document.faults)
        if not document.broken and _is_rule_file(document, report):
            documents.append(document)
    return documents, files


def _built_in(devices: Sequence[Device]) -> Iterator[Document]:
    """The gateway's own rules: it watches itself, and whoever has a serial number for a change of it."""
    folder = Path(rules_package.__file__).parent
    if any(device.kind == SELF for device in devices):
        yield load_yaml((folder / "self.yaml").read_text(encoding="utf-8"), _SELF)
    kinds = sorted({device.kind for device in devices for point in device.points if point.name == CHECK_POINT})
    if kinds:
        text = Template((folder / "built_in.yaml").read_text(encoding="utf-8")).substitute(kinds=", ".join(kinds))
        yield load_yaml(text, _BUILT_IN)


def _is_rule_file(document: Document, report: Report) -> bool:
    """The outermost shape, which has to be right before files can be put together."""
    if not isinstance(document.data, dict):
        report.add(document.fault((), "E-TYPE", Text("这里应有 format 和 rules", "format and rules belong here")))
        return False
    data = sections(document)
    if data.get("format") != _FORMAT:
        message = Text(f"需要 format: {_FORMAT}", f"format: {_FORMAT} is needed")
        code = "E-VALUE" if "format" in data else "E-MISSING"
        report.add(document.fault((written_as(document, "format"),), code, message))
        return False
    if not isinstance(data.get("rules"), list):
        message = Text("rules（规则）应是规则列表", "rules must be a list of rules")
        if "rules" not in data:
            message = Text("缺少 rules（规则）", "rules is missing")
        report.add(
            document.fault((written_as(document, "rules"),), "E-TYPE" if "rules" in data else "E-MISSING", message)
        )
        return False
    return True


def sections(document: Document) -> dict[str, Any]:
    """The outermost keys in the format's own words: 规则 is rules."""
    found: dict[str, Any] = {}
    for key, value in document.data.items():
        found.setdefault(f"{english(key)}", value)
    return found


def written_as(document: Document, section: str) -> str:
    """The outermost key as it stands in the file."""
    return next((f"{key}" for key in document.data if english(key) == section), section)


class _Merged:
    """Several files as the data of one, and the way back from its paths to theirs.

    Rules and schedules of all files count; the site is described once.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self.faults: list[Fault] = []
        self._sections: dict[str, Document] = {}
        self._schedules: dict[str, Document] = {}
        self._rules: list[tuple[Document, int]] = []
        self._entries: list[Any] = []
        self.data: dict[str, Any] = {}
        for document in documents:
            found = sections(document)
            if isinstance(found.get("schedules"), dict):
                self._add_schedules(document, found.pop("schedules"))
            if "site" in found and found["site"] != self.data.get("site", found["site"]):
                self._twice(document, (written_as(document, "site"),), self._sections["site"])
            for key, value in found.items():
                self.data.setdefault(key, value)
                self._sections.setdefault(key, document)
            self._rules += [(document, index) for index in range(len(found["rules"]))]
            self._entries += found["rules"]
        self.data |= {"format": _FORMAT, "rules": self._entries}

    def _add_schedules(self, document: Document, schedules: Mapping[str, Any]) -> None:
        known = self.data.setdefault("schedules", {})
        self._sections.setdefault("schedules", document)
        for name, value in schedules.items():
            if not isinstance(known, dict) or known.get(name, value) != value:
                self._twice(document, (written_as(document, "schedules"), name), self._schedules.get(name, document))
                continue
            self.data["schedules"] = known = {**known, name: value}
            self._schedules.setdefault(name, document)

    def _twice(self, document: Document, path: Steps, first: Document) -> None:
        zh, en = f'"{path[-1]}" 已写在 {first.file} 中', f'"{path[-1]}" stands in {first.file} already'
        hint = Text("只在一个文件里写", "write it in one file only")
        self.faults.append(document.fault(path, "E-DUP", Text(zh, en), hint, key=True))

    def entries(self) -> Iterator[Mapping[str, Any]]:
        rules: Sequence[object] = self.data["rules"]
        return (entry for entry in rules if isinstance(entry, Mapping))

    def placed(self, fault: RuleFault) -> Fault:
        document, path = self._place(fault.path)
        return document.fault(
            document.known(path),
            fault.code,
            Text(fault.zh, fault.en),
            Text(fault.hint_zh, fault.hint_en) if fault.hint_en else None,
            key=fault.on_key,
            offset=fault.offset or 0,
            length=None if fault.offset is None else fault.length,
            warning=not fault.is_error,
        )

    def locate(self, path: Steps, on_key: bool, offset: int) -> tuple[str, int, int]:
        document, local = self._place(path)
        return (document.file, *document.locate(document.known(local), key=on_key, offset=offset))

    def _place(self, path: Steps) -> tuple[Document, Steps]:
        match path:
            case ("rules", int(index), *rest):
                document, local = self._rules[index]
                return document, (written_as(document, "rules"), local, *rest)
            case ("schedules", str(name), *_) if name in self._schedules:
                document = self._schedules[name]
                return document, (written_as(document, "schedules"), *path[1:])
            case (str(section), *rest):
                document = self._sections[f"{english(section)}"]
                return document, (written_as(document, f"{english(section)}"), *rest)
            case _:
                return next(iter(self._sections.values())), path
