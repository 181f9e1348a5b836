"""The load of a serial line, by hand and by the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import SerialFormat
from gateway.config.budget import Demand, line_load
from gateway.config.load import examine

SLOW = SerialFormat(2400, "E")
SITE = """\
format: site/1
site: {{id: s, name: {{zh: 区, en: site}}}}
gateway: {{id: g}}
lines:
- {{id: bus, serial: /dev/ttyS9, baud: {baud}, parity: even}}
devices:
{devices}
"""
METER = "- {{id: m{n}, profile: energy_only, line: bus, address: '{n:012d}', every: {every}, place: {{site: true}}}}"
PROFILE = """\
format: profile/1
id: energy_only
protocols: [dlt645]
kind: power_meter
name: {zh: 表, en: meter}
source: the test
confidence: low
latency: 50 ms
points:
  energy: {name: {zh: 电量, en: energy}, di: "00010000", unit: kW.h}
"""


def site(directory: Path, meters: int, every: str, baud: int = 2400) -> Path:
    (directory / "devices").mkdir()
    (directory / "devices" / "energy_only.yaml").write_text(PROFILE, encoding="utf-8")
    devices = "\n".join(METER.format(n=n, every=every) for n in range(1, meters + 1))
    (directory / "site.yaml").write_text(SITE.format(baud=baud, devices=devices), encoding="utf-8")
    return directory


def test_the_sum_is_the_one_done_by_hand() -> None:
    """64 meters, one identifier: 4+16 bytes out, 4+20 back at 11 bits of 2400, 50 ms latency: 0.2517 s each."""
    exchange_s = 44 * 11 / 2400 + 0.05
    load = line_load([Demand(1, 44, 0.05, 60.0)] * 64, SLOW)
    assert load.share == pytest.approx(64 * exchange_s / 60)
    assert load.arithmetic.en == "64 devices x 1 exchanges x 0.252 s / 60 s = 27%"


def test_the_drivers_say_the_same_and_a_line_with_room_is_not_complained_about(tmp_path: Path) -> None:
    configuration, faults = examine(site(tmp_path, 64, "60s"))
    assert configuration is not None
    assert not faults
    (line,) = configuration.lines
    assert line.load is not None
    assert line.load.share == pytest.approx(64 * (44 * 11 / 2400 + 0.05) / 60)


def test_a_busy_line_is_a_warning_and_an_impossible_one_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    configuration, (fault,) = examine(site(tmp_path / "busy", 64, "18s"))
    assert (configuration is not None, fault.code, fault.warning) == (True, "W-LOAD", True)
    (tmp_path / "over").mkdir()
    configuration, (fault,) = examine(site(tmp_path / "over", 64, "10s"))
    assert (configuration, fault.code, fault.line) == (None, "E-LOAD", 5)
    assert "64 devices x 1 exchanges x 0.252 s / 10 s = 161%" in fault.message.en
    assert fault.hint is not None
    assert "2.0 times as long" in fault.hint.en
    (tmp_path / "fast").mkdir()
    configuration, faults = examine(site(tmp_path / "fast", 64, "10s", baud=9600))
    assert configuration is not None
    assert not faults


@given(st.lists(st.sampled_from([Demand(1, 44, 0.05, 60.0), Demand(3, 200, 0.1, 10.0), Demand(2, 90, 0.02, 5.0)])))
def test_the_whole_is_the_sum_of_its_parts(demands: list[Demand]) -> None:
    parts = sum(line_load([each], SLOW).share for each in demands)
    assert line_load(demands, SLOW).share == pytest.approx(parts)


def test_every_driver_of_ours_that_speaks_on_a_serial_line_can_say_what_it_costs(tmp_path: Path) -> None:
    """One shipped profile per protocol: the line has a load, and it is more than nothing."""
    devices = {
        "dlt645_three_phase": "address: '000000000001'",
        "eastron_sdm630": "unit_id: 1",
        "cjt188_heat": "address: '00000000000001'",
    }
    entries = "\n".join(
        f"- {{id: d{n}, profile: {profile}, line: bus, {own}}}" for n, (profile, own) in enumerate(devices.items())
    )
    (tmp_path / "site.yaml").write_text(SITE.format(baud=9600, devices=entries), encoding="utf-8")
    configuration, faults = examine(tmp_path)
    assert configuration is not None, faults
    (line,) = configuration.lines
    assert line.load is not None
    assert 0.0 < line.load.share < 0.5
    assert line.load.arithmetic.en.count("devices") == 3
