"""The installer's page of access control: its example is a site that is accepted, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.osdp.config import OsdpOptions
from drivers.registry import protocol
from drivers.uhppote.config import HubOptions
from drivers.uhppote.events import REASONS
from gateway.config.faults import Report
from gateway.config.load import check
from gateway.config.profiles import Profiles

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices" / "access.md").read_text(encoding="utf-8")
(SITE,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
HEAD = "format: site/1\nsite: {id: jiayuan, name: {zh: 佳园, en: Jiayuan}}\ngateway: {id: gw1}\n"
PROFILES = (
    "uhppote_door",
    "uhppote_controller",
    "osdp_reader",
    "osdp_reader_relay",
    "waveshare_modbus_io_8ch_door",
)


def test_the_example_is_a_site_without_fault(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(HEAD + SITE, encoding="utf-8")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "reader-1").write_text("8f3a0c5511d27e90a4b6c8e1f2034586\n", encoding="ascii")
    assert check(tmp_path) == []


def test_a_door_twice_is_a_fault_of_the_line(tmp_path: Path) -> None:
    twice = SITE.replace(
        "- id: reader-1",
        "- {id: door-2, profile: uhppote_door, line: doors, controller: 405419896, door: 1}\n- id: reader-1",
    )
    (tmp_path / "site.yaml").write_text(HEAD + twice, encoding="utf-8")
    found = [fault for fault in check(tmp_path) if "door-1" in fault.message.en]
    assert len(found) == 1


def test_every_profile_every_point_and_every_event_is_on_the_page() -> None:
    report = Report()
    profiles = Profiles(Path("nowhere"), report)
    for name in PROFILES:
        assert f"`{name}`" in PAGE
        found = profiles.get(name)
        assert found is not None, report.faults
        for point in found.model.points:
            if name in ("uhppote_door", "uhppote_controller") or point in (
                "online",
                "secure",
                "tamper",
                "power",
                "led",
            ):
                assert f"`{point}`" in PAGE, point
    code = "".join(
        (ROOT / "drivers" / name).read_text("utf-8")
        for name in ("uhppote/hub.py", "uhppote/events.py", "osdp/driver.py")
    )
    kinds = set(re.findall(r'"(access\.[a-z_]+)"', code))
    assert len(kinds) == 22
    assert {kind for kind, _ in REASONS.values()} < kinds
    for kind in kinds:
        assert f"`{kind}`" in PAGE, kind


def test_what_the_page_says_of_keys_is_so() -> None:
    assert set(re.findall(r"`(set_listener|printing|commissioning|plaintext|reverse_bytes)", PAGE)) <= {
        *HubOptions.model_fields,
        *OsdpOptions.model_fields,
    }
    assert protocol("uhppote").seek is not None
