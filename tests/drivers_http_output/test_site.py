"""The installer's page of outputs: its example passes the check, and the warnings' rules find their voices."""

from __future__ import annotations

from pathlib import Path

from gateway.actions import actions_of
from gateway.config.load import check, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices" / "outputs.md").read_text(encoding="utf-8")


def site(directory: Path) -> Path:
    (directory / "site.yaml").write_text(PAGE.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    (directory / "duty.key").write_text("a secret of more than sixteen bytes", encoding="utf-8")
    pack = (ROOT / "rules" / "library" / "warnings.yaml").read_text(encoding="utf-8")
    (directory / "rules").mkdir()
    (directory / "rules" / "warnings.yaml").write_text(pack, encoding="utf-8")
    return directory


def test_the_example_passes_the_check_with_the_whole_pack(tmp_path: Path) -> None:
    assert check(site(tmp_path)) == []
    devices = [plan.device for line in load(tmp_path).lines for plan in line.devices]
    table = actions_of(devices)
    voices = {"rainstorm_orange", "rainstorm_red", "typhoon_orange", "typhoon_red"}
    voices |= {"please_close_door", "no_ebike", "move_your_car"}
    assert voices <= set(table["broadcast"])
    assert voices <= set(table["gate_sign"])
    assert {"start", "stop", "beacon_on", "beacon_off"} <= set(table["beacon"])
    assert {"alert_on", "alert_off"} <= set(table["duty_room"])
