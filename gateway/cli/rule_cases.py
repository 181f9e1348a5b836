"""gateway rules test: what the cases of test files say, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli.common import FINE, FOUND_WRONG, Shell
from gateway.config.case_files import CaseFile, as_fault, read_case_file, read_text, rules_of
from gateway.config.case_update import replace_file, updated
from gateway.config.faults import headline, render_all
from rules.casefile import Case, Written
from rules.caseplay import Difference, Result, play
from rules.mutants import Mutant, mutants


@dataclass(frozen=True, slots=True)
class Tried:
    file: CaseFile
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Survivor:
    """A rule with a mistake in it that no case noticed."""

    mutant: Mutant
    place: tuple[str, int, int]


def run(files: Sequence[Path], shell: Shell, *, update: bool, mutate: bool) -> int:
    """Plays every case; the exit code."""
    tried = [_tried(read_case_file(path)) for path in files]
    if update:
        tried = [_updated(each, shell) for each in tried]
    for each in tried:
        _tell(each, shell)
    failed = [entry for each in tried for entry in _failed(each, shell)]
    cases = sum(len(each.results) + len(each.file.refused) for each in tried)
    document: dict[str, Any] = {"cases": cases, "passed": cases - len(failed), "failed": failed}
    shell.say(f"{cases} 个用例，{len(failed)} 个未通过", f"{cases} cases, {len(failed)} failed")
    wrong = bool(failed) or not cases
    if mutate and not wrong:
        number, survivors = _mutated(tried)
        document |= {"mutants": number, "survived": [_survivor(each, shell) for each in survivors]}
        _tell_survivors(number, survivors, shell)
        wrong = bool(survivors)
    elif mutate:
        shell.complain("用例未通过，没有检验用例本身", "cases failed: the cases themselves were not put to the test")
    if shell.json:
        shell.document(document)
    return FOUND_WRONG if wrong else FINE


def _tried(file: CaseFile) -> Tried:
    return Tried(file, tuple(play(case, read_text) for case in file.cases))


def _updated(tried: Tried, shell: Shell) -> Tried:
    """The expectations that differ are rewritten, and everything is played again."""
    differences = [each for result in tried.results for each in result.differences]
    text = tried.file.path.read_bytes().decode()
    new, count = updated(text, tried.file.document, differences)
    if not count:
        return tried
    replace_file(tried.file.path, new)
    shell.say(f"{tried.file.path}：改写了 {count} 处预期", f"{tried.file.path}: {count} expectations rewritten")
    return _tried(read_case_file(tried.file.path))


# ---------------------------------------------------------------------- mutants


def _mutated(tried: Sequence[Tried]) -> tuple[int, list[Survivor]]:
    number, survivors = 0, []
    for written, cases in _by_rules(tried):
        for mutant in mutants(written.data):
            noticed = _noticed(mutant, written, cases)
            number += noticed is not None
            if noticed is False:
                survivors.append(Survivor(mutant, written.place(mutant.path, False, mutant.offset)))
    return number, survivors


def _by_rules(tried: Sequence[Tried]) -> list[tuple[Written, list[Case]]]:
    """Cases that are played with the same rules, together."""
    groups: dict[int, tuple[Written, list[Case]]] = {}
    for file, case in ((each.file, case) for each in tried for case in each.file.cases):
        written = rules_of(file, case)
        groups.setdefault(id(written), (written, []))[1].append(case)
    return list(groups.values())


def _noticed(mutant: Mutant, written: Written, cases: Sequence[Case]) -> bool | None:
    """None when the mistake does not even load: the check finds it."""
    loads = False
    for case in cases:
        result = play(case, read_text, rules=Written(mutant.data, written.place), to_first=True)
        if result.differences and not result.refused:
            return True
        loads |= not result.refused
    return False if loads else None


def _survivor(survivor: Survivor, shell: Shell) -> dict[str, Any]:
    file, line, column = survivor.place
    change = shell.t(survivor.mutant.change.zh, survivor.mutant.change.en)
    return {"rule": survivor.mutant.rule, "file": file, "line": line, "column": column, "change": change}


def _tell_survivors(number: int, survivors: Sequence[Survivor], shell: Shell) -> None:
    for survivor in survivors:
        file, line, column = survivor.place
        zh, en = survivor.mutant.change.zh, survivor.mutant.change.en
        place = f"{file}:{line}:{column}: {survivor.mutant.rule}"
        shell.say(f"{place}：没有用例发现：{zh}", f"{place}: no case noticed: {en}")
    count = len(survivors)
    shell.say(f"{number} 个变异，{count} 个未被发现", f"{number} mutants, {count} not noticed")


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
