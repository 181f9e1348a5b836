"""Golden folders: a configuration with one kind of fault each, and what the check says, in both languages.

``GOLDEN=write pytest tests/config/test_cases.py`` writes expected.txt anew; read the difference before keeping it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway.config.faults import ConfigFaults, headline, render
from gateway.config.load import check, load

HERE = Path(__file__).parent
CASES = sorted(path for path in (HERE / "cases").iterdir() if path.is_dir())


def test_every_case_says_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = 0
    for case in CASES:
        place = tmp_path / case.name
        shutil.copytree(case, place)
        for profile in (HERE / "profiles").glob("*.yaml"):
            (place / "devices").mkdir(exist_ok=True)
            shutil.copy(profile, place / "devices")
        monkeypatch.chdir(place)
        faults = check(Path())
        assert faults, f"{case.name}: nothing found"
        said = "\n".join([*(render(f, "en") for f in faults), "", *(headline(f, "zh") for f in faults), ""])
        if os.environ.get("GOLDEN") == "write":
            (case / "expected.txt").write_text(said, encoding="utf-8")
        assert said == (case / "expected.txt").read_text(encoding="utf-8"), case.name
        if any(not fault.warning for fault in faults):
            with pytest.raises(ConfigFaults):
                load(Path())
        else:
            assert load(Path()).devices
        ran += 1
    assert ran == len(CASES) >= 50
