"""gateway rules test: what the cases of test files say, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli.common import FINE, FOUND_WRONG, Shell
from gateway.config.case_files import CaseFile, as_fault, read_case_file, read_text
from gateway.config.faults import headline, render_all
from rules.caseplay import Difference, Result, play


@dataclass(frozen=True, slots=True)
class Tried:
    file: CaseFile
    results: tuple[Result, ...]


def test(files: Sequence[Path], shell: Shell) -> int:
    """Plays every case; the exit code."""
    tried = [_tried(read_case_file(path)) for path in files]
    for each in tried:
        _tell(each, shell)
    failed = [entry for each in tried for entry in _failed(each, shell)]
    cases = sum(len(each.results) + len(each.file.refused) for each in tried)
    if shell.json:
        shell.document({"cases": cases, "passed": cases - len(failed), "failed": failed})
    shell.say(f"{cases} 个用例，{len(failed)} 个未通过", f"{cases} cases, {len(failed)} failed")
    return FOUND_WRONG if failed or not cases else FINE


def _tried(file: CaseFile) -> Tried:
    return Tried(file, tuple(play(case, read_text) for case in file.cases))


# ---------------------------------------------------------------------- for programs


def _failed(tried: Tried, shell: Shell) -> list[dict[str, Any]]:
    """One entry a case that did not pass: the first thing that was wrong with it."""
    said = "; ".join(headline(fault, shell.lang) for fault in tried.file.faults if not fault.warning)
    refused = [{"id": name, "t": None, "expected": None, "got": said} for name in tried.file.refused]
    return refused + [_entry(result, shell) for result in tried.results if not result.passed]


def _entry(result: Result, shell: Shell) -> dict[str, Any]:
    if not result.differences:
        said = "; ".join(headline(as_fault(each), shell.lang) for each in result.refused)
        return {"id": result.case.id, "t": 0.0, "expected": {"errors": []}, "got": said}
    first = result.differences[0]
    return {
        "id": result.case.id,
        "t": first.t_s,
        "expected": _nested(first.keys, first.expected),
        "got": _nested(first.keys, first.got),
    }


def _nested(keys: Sequence[str], value: Any) -> Any:
    """``("states", "gas"), "unack"`` as it stands in an expectation."""
    for key in reversed(keys):
        value = {key: value}
    return value


# ---------------------------------------------------------------------- for people


def _tell(tried: Tried, shell: Shell) -> None:
    if shell.json:
        return
    for text in render_all(tried.file.faults, shell.lang):
        print(text)
    for name in tried.file.refused:
        shell.say(f"未通过 {name}：用例有误", f"FAILED {name}: the case has a fault")
    for result in tried.results:
        title = shell.t(result.case.title.zh, result.case.title.en)
        if result.passed:
            shell.say(f"通过   {result.case.id}  {title}", f"passed {result.case.id}  {title}")
            continue
        line, column = tried.file.document.locate(result.case.path)
        place = f"({tried.file.path}:{line}:{column})"
        shell.say(f"未通过 {result.case.id}  {title}  {place}", f"FAILED {result.case.id}  {title}  {place}")
        _explain(result, shell)


def _explain(result: Result, shell: Shell) -> None:
    for placed in result.refused:
        print(f"    {headline(as_fault(placed), shell.lang)}")
    if result.differences:
        _timeline(result.differences[0], shell)


def _timeline(first: Difference, shell: Shell) -> None:
    for moment in first.before:
        print(f"    t={moment.t_s:<9g}  {moment.text}")
    what = " ".join(first.keys)
    print(
        shell.t(
            f"    t={first.t_s:<9g}  应为 {what}: {_flow(first.expected)}",
            f"    t={first.t_s:<9g}  expected {what}: {_flow(first.expected)}",
        )
    )
    print(shell.t(f"    {'':11}  实为 {what}: {_flow(first.got)}", f"    {'':11}  got      {what}: {_flow(first.got)}"))


def _flow(value: Any) -> str:
    """As it is written in a test file."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return f"[{', '.join(_flow(each) for each in value)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    return f"{value}"
