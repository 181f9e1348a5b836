"""Test files of rules: read with the rule files and devices that they name, and rewritten where they are to be."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config.faults import Fault, Report, did_you_mean
from gateway.config.rule_files import sections, written_as, written_together
from gateway.config.yaml12 import Document, load_yaml, read_yaml
from gateway.model import Text
from rules.casefile import PLANT_KEYS, Case, Placed, Plant, Shared, Written, read_cases, read_plant
from rules.faults import Path as Steps
from rules.faults import RuleFault
from rules.plain import Reader

_TEXT = "rules_text"
_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CaseFile:
    path: Path
    document: Document
    cases: tuple[Case, ...]
    """Those without a fault of their own."""
    faults: tuple[Fault, ...]
    """Of the test file, and of the files that it names."""
    refused: tuple[str, ...]
    """The names of the cases that have a fault; the file's own when it cannot be used at all."""


def read_case_file(path: Path) -> CaseFile:
    report = Report()
    document, _ = read_yaml(path, str(path), limit_bytes=_LIMIT_BYTES)
    report.extend(document.faults)
    data = document.data
    if not isinstance(data, dict):
        if not document.broken:
            message = Text("这里应有 cases", "cases belong here")
            report.add(document.fault((), "E-TYPE", message))
        return CaseFile(path, document, (), tuple(report.faults), (str(path),))
    shared = _shared(path, document, report)
    found: list[RuleFault] = []
    reader = Reader(found)
    cases = read_cases(reader, data, shared, lambda at: Written(_at(data, at), _Place(document, at)))
    for fault in map(reader.as_written, found):
        report.add(_fault(document, fault))
    refused = _refused(data, cases)
    if report.failed and not refused:
        return CaseFile(path, document, (), tuple(report.in_order()), (str(path),))
    return CaseFile(path, document, tuple(cases), tuple(report.in_order()), refused)


def read_text(text: str) -> Written:
    """The rules of ``rules_text`` and ``reload_text``: a list of them, or a whole rule file."""
    document = load_yaml(text, _TEXT)
    broken = tuple(
        Placed(fault.code, _TEXT, fault.line, fault.column, "", "", fault.message, fault.hint or Text("", ""))
        for fault in document.faults
    )
    whole = isinstance(document.data, dict)
    data = sections(document) if whole else document.data
    return Written(data, _Place(document, () if whole else None), broken)


def rules_of(file: CaseFile, case: Case) -> Written:
    """As ``case.rules``; what stands in ``rules_text`` is placed in the test file itself."""
    if not isinstance(case.rules, str):
        return case.rules
    written = read_text(case.rules)
    lines = case.rules.split("\n")

    def place(path: Steps, on_key: bool, offset: int) -> tuple[str, int, int]:
        _, line, column = written.place(path, on_key, offset)
        before = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
        return (file.document.file, *file.document.locate((*case.path, "rules_text"), offset=before))

    return Written(written.data, place, written.broken)


def as_fault(placed: Placed) -> Fault:
    """For people; without the source line, which may stand in a text inside a file."""
    hint = placed.hint if placed.hint.en else None
    return Fault(placed.file, placed.line, placed.column, placed.code, placed.texts, hint)


@dataclass(frozen=True, slots=True)
class _Place:
    """From a path in a rule file to lines and columns of the document that holds the rules."""

    document: Document
    at: Steps | None
    """Where the rules stand, or with () the whole file; None: they are all there is."""

    def __call__(self, path: Steps, on_key: bool, offset: int) -> tuple[str, int, int]:
        local = self._local(path)
        return (self.document.file, *self.document.locate(self.document.known(local), key=on_key, offset=offset))

    def _local(self, path: Steps) -> Steps:
        if self.at == ():
            return (written_as(self.document, f"{path[0]}"), *path[1:]) if path else path
        if path[:1] == ("rules",):
            return (*(self.at or ()), *path[1:])
        return (*(self.at or ())[:-1], *path)  # site and schedules stand beside the rules


def _shared(path: Path, document: Document, report: Report) -> Shared:
    data: Mapping[str, Any] = document.data
    plant = _plant(document, (), report)
    if isinstance(named := data.get("devices"), str):
        plant = _other_plant(_next_to(path, named), document, report).joined(plant)
    if "rule_files" not in data:
        return Shared(plant)
    names = data["rule_files"] if isinstance(data["rule_files"], list) else [data["rule_files"]]
    files = {f"{name}": _next_to(path, f"{name}") for name in names}
    for index, name in enumerate(files):
        if not files[name].is_file():
            at = ("rule_files", index) if isinstance(data["rule_files"], list) else ("rule_files",)
            message = Text(f"没有文件 {files[name]}", f"there is no file {files[name]}")
            report.add(document.fault(at, "E-FILE", message, did_you_mean(name, _beside(files[name]))))
    written = written_together({name: each for name, each in files.items() if each.is_file()}, report)
    whole = written.data if isinstance(written.data, dict) else {}
    frame = {key: whole[key] for key in ("site", "schedules") if key in whole}
    return Shared(plant, written, frame)


def _next_to(path: Path, name: str) -> Path:
    return Path(os.path.normpath(path.parent / name))


def _beside(path: Path) -> Sequence[str]:
    return [each.name for each in path.parent.glob("*.yaml")] if path.parent.is_dir() else ()


def _plant(document: Document, at: Steps, report: Report) -> Plant:
    """The points and devices that stand at the top of a file, if they stand there and are not named."""
    found: list[RuleFault] = []
    reader = Reader(found)
    kept = {key: value for key, value in document.data.items() if key in PLANT_KEYS and not isinstance(value, str)}
    plant = read_plant(reader, kept, at)
    for fault in map(reader.as_written, found):
        report.add(_fault(document, fault))
    return plant


def _other_plant(path: Path, document: Document, report: Report) -> Plant:
    if not path.is_file():
        message = Text(f"没有文件 {path}", f"there is no file {path}")
        report.add(document.fault(("devices",), "E-FILE", message))
        return Plant()
    other, _ = read_yaml(path, str(path), limit_bytes=_LIMIT_BYTES)
    report.extend(other.faults)
    if not isinstance(other.data, dict):
        if not other.broken:
            message = Text("这里应有 points 和 devices", "points and devices belong here")
            report.add(other.fault((), "E-TYPE", message))
        return Plant()
    return _plant(other, (), report)


def _fault(document: Document, fault: RuleFault) -> Fault:
    return document.fault(
        document.known(fault.path),
        fault.code,
        Text(fault.zh, fault.en),
        Text(fault.hint_zh, fault.hint_en) if fault.hint_en else None,
        key=fault.on_key,
        offset=fault.offset or 0,
        length=None if fault.offset is None else fault.length,
        warning=not fault.is_error,
    )


def _refused(data: Mapping[str, Any], cases: Sequence[Case]) -> tuple[str, ...]:
    entries = data.get("cases")
    good = {case.path[1] for case in cases}
    listed = enumerate(entries) if isinstance(entries, list) else ()
    return tuple(_name(entry, index) for index, entry in listed if index not in good)


def _name(entry: object, index: int) -> str:
    named = entry.get("id") if isinstance(entry, Mapping) else None
    return f"{named}" if named is not None else f"cases[{index}]"


def _at(data: Any, path: Steps) -> object:
    for step in path:
        data = data[step]
    return data
