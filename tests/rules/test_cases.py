"""Every timeline of cases.yaml, and of the acceptance cases where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.case_files import CaseFile, read_case_file, read_text
from rules.casefile import Case, Expect
from rules.caseplay import play

ROOT = Path(__file__).parent.parent.parent
ACCEPTANCE = ROOT.parent / "shared" / "rules" / "cases.yaml"
PASSING = {
    *(
        "C01",
        "C02",
        "C03",
        "C05",
        "C06",
        "C07",
        "C08",
        "C10",
        "C11",
        "C13a",
        "C13b",
        "C15",
        "C17",
        "C20",
        "C21",
        "C23",
        "C24",
    ),
    *("X2", "X3", "X5"),
}
"""Of the acceptance cases, those that this version must pass; the others must still be readable."""


def sound(path: Path) -> CaseFile:
    file = read_case_file(path)
    assert [str(fault) for fault in file.faults] == []
    return file


OURS = sound(Path(__file__).parent / "cases.yaml").cases
THEIRS = sound(ACCEPTANCE).cases if ACCEPTANCE.is_file() else ()


def expects(case: Case) -> int:
    return sum(isinstance(action, Expect) for _, action in case.steps)


@pytest.mark.parametrize("case", OURS, ids=[case.id for case in OURS])
def test_case(case: Case) -> None:
    result = play(case, read_text)
    assert result.refused == ()
    assert result.differences == ()
    assert result.checks == expects(case) > 0


def test_all_cases_ran() -> None:
    acceptance = {"C01", "C03", "C05", "C06", "C07", "C08", "C10", "C11", "C15", "C17", "C23", "C24", "X3", "X5"}
    ids = [case.id for case in OURS]
    assert len(ids) == len(set(ids)) == 43
    assert acceptance <= set(ids)


@pytest.mark.skipif(not ACCEPTANCE.is_file(), reason="the acceptance cases are not beside this checkout")
@pytest.mark.parametrize("name", sorted(PASSING))
def test_acceptance(name: str) -> None:
    (case,) = [each for each in THEIRS if each.id == name]
    result = play(case, read_text)
    assert result.refused == ()
    assert result.differences == ()
    assert result.checks == expects(case) > 0


@pytest.mark.skipif(not ACCEPTANCE.is_file(), reason="the acceptance cases are not beside this checkout")
def test_all_acceptance_cases_are_read() -> None:
    ids = {case.id for case in THEIRS}
    assert len(ids) == len(THEIRS) == 20
    assert ids >= PASSING
