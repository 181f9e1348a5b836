"""Every timeline of cases.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rules.case_runner import Player, load_cases

CASES = load_cases(Path(__file__).parent / "cases.yaml")


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    player = Player(case)
    player.play()
    assert player.checked == sum("expect" in step for step in case["steps"])
    assert player.checked > 0


def test_all_cases_ran() -> None:
    acceptance = {"C01", "C03", "C05", "C06", "C07", "C08", "C10", "C11", "C15", "C17", "C23", "C24", "X3", "X5"}
    ids = [case["id"] for case in CASES]
    assert len(ids) == len(set(ids)) == 37
    assert acceptance <= set(ids)
