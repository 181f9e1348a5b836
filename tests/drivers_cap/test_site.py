"""The installer's page: its example passes the check, with the shipped rule pack and the risk."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.cap.events import HAZARDS
from gateway.config.load import check, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices" / "warnings.md").read_text(encoding="utf-8")


def site(directory: Path) -> Path:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    (directory / "site.yaml").write_text(text, encoding="utf-8")
    pack = (ROOT / "rules" / "library" / "warnings.yaml").read_text(encoding="utf-8")
    (directory / "rules").mkdir()
    (directory / "rules" / "warnings.yaml").write_text(pack, encoding="utf-8")
    return directory


def test_the_example_passes_the_check(tmp_path: Path) -> None:
    faults = check(site(tmp_path))
    left_out = [fault for fault in faults if fault.code == "W-NOMATCH" and "broadcast." in fault.message.en]
    assert faults == left_out, "as the page says"
    assert len(left_out) == 4
    config = load(tmp_path)
    assert len([watch for watch in config.rules.watches if watch.device == "weather"]) == 16, "the whole pack"
    assert config.risk is not None


def test_a_site_without_a_place_is_told_so(tmp_path: Path) -> None:
    file = site(tmp_path) / "site.yaml"
    file.write_text(re.sub(r', areas: \["410105"\]', "", file.read_text(encoding="utf-8")), encoding="utf-8")
    assert [fault.code for fault in check(tmp_path)] == ["E-MISSING"]


def test_the_page_names_every_hazard() -> None:
    assert all(f"`{hazard}`" in PAGE for hazard in HAZARDS)
