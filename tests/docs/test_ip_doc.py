"""The installer's pages of network devices and chargers: their examples are sites that are accepted, lists complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config.faults import Report
from gateway.config.load import check
from gateway.config.profiles import Profiles

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / "docs" / "devices" / f"{name}.md").read_text(encoding="utf-8") for name in ("ip", "charging", "bms")
}
HEAD = "format: site/1\nsite: {id: jiayuan, name: {zh: 佳园, en: Jiayuan}}\ngateway: {id: gw1}\n"
KINDS = {
    "ip": ("snmp/hub.py", "onvif/hub.py"),
    "charging": ("ocpp/hub.py",),
    "bms": ("bacnet/hub.py", "knx/hub.py"),
}
every_page = pytest.mark.parametrize("name", PAGES)


def example(name: str) -> str:
    return str(blocks(name)[0])


def blocks(name: str) -> list[str]:
    """site.yaml, and a profile where the page shows one."""
    return re.findall(r"```yaml\n(.*?)```", PAGES[name], re.DOTALL)


@every_page
def test_the_example_is_a_site(name: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(HEAD + example(name), encoding="utf-8")
    for profile in blocks(name)[1:]:
        (tmp_path / "devices").mkdir()
        (tmp_path / "devices" / "knx_hall.yaml").write_text(profile, encoding="utf-8")
    assert [fault for fault in check(tmp_path) if fault.code != "W-FILE"] == []  # secrets are not on the page


@every_page
def test_every_point_and_event_is_on_the_page(name: str) -> None:
    profiles = sorted(set(re.findall(r"profile: (\w+)", example(name))) - {"knx_hall"})
    assert len(profiles) == {"ip": 4, "charging": 1, "bms": 1}[name]
    for profile in profiles:
        found = Profiles(Path("nowhere"), Report()).get(profile)
        assert found is not None
        for point in found.model.points:
            numbered = re.match(r"port[2-8](?:_|$)", point)
            assert numbered or f"`{point}`" in PAGES[name], point


@every_page
def test_every_event_is_on_the_page(name: str) -> None:
    code = "".join((ROOT / "drivers" / file).read_text("utf-8") for file in KINDS[name])
    kinds = set(re.findall(r'"((?:snmp|camera|charging|charger)\.[a-z_]+)"', code))
    assert len(kinds) == {"ip": 3, "charging": 6, "bms": 0}[name]
    assert [kind for kind in kinds if f"| `{kind}` |" not in PAGES[name]] == []
