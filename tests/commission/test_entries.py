"""What a scan writes must be what ``gateway check`` accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from commission.toy import TOY_645, TOY_RTU
from drivers.base import Found, ProtocolType, SerialFormat
from drivers.mbus.driver import MBUS
from gateway.commission.entries import Finding, Place, known_device, new_line_id, written
from gateway.commission.fingerprint import Match, Verdict, candidates
from gateway.commission.scan import Met
from gateway.config.faults import Report
from gateway.config.load import check, load
from gateway.config.profiles import Profiles
from gateway.model import Text, Value

FAST, SLOW = SerialFormat(9600), SerialFormat(2400, "E")
SITE = """format: site/1
site: {id: s, name: {zh: 站, en: Site}}
gateway: {id: gw}
"""
LINE = "lines: [{id: bus, serial: /dev/ttyS1, baud: 9600, parity: none}]\n"
BUS = Place("bus", "/dev/ttyS1", None, FAST, configured=True)


def verdict(profile: str, score: float = 20.0, *others: tuple[str, float]) -> Verdict:
    matches = [(profile, score), *others]
    return Verdict(tuple(Match(name, Text(name, name), 31, 31, 30, 20, 0, points, 0.9) for name, points in matches), 9)


def finding(
    entry: dict[str, Value], serial: SerialFormat | None = FAST, about: Verdict | None = None, **words: str
) -> Finding:
    return Finding(Met(Found(entry, **words), serial), about)


def text_of(*findings: Finding, place: Place = BUS, type_: ProtocolType = TOY_RTU, taken: tuple[str, ...] = ()) -> str:
    profiles = {each.model.id: each for each in candidates(Profiles(Path("/nowhere"), Report()), type_)}
    return written(findings, place, type_, profiles, taken, "gateway scan")


def checked(directory: Path, *parts: str) -> list[str]:
    """The codes of what is wrong with the configuration made of *parts*."""
    (directory / "site.yaml").write_text("".join(parts), encoding="utf-8")
    return [fault.code for fault in check(directory) if not fault.warning]


def entries(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(text)["devices"]
    return found


def test_entries_are_accepted_as_they_are(tmp_path: Path) -> None:
    text = text_of(
        finding({"unit_id": 3}, about=verdict("eastron_sdm630"), identity="Eastron\nSDM630: #1"),
        finding({"unit_id": 5}, about=verdict("eastron_sdm120", 9.0, ("eastron_sdm230", 8.9))),
    )
    assert checked(tmp_path, SITE, LINE, text) == []
    assert entries(text) == [
        {"id": "bus-3", "profile": "eastron_sdm630", "line": "bus", "unit_id": 3},
        {"id": "bus-5", "profile": "eastron_sdm120", "line": "bus", "unit_id": 5},
    ]
    assert "likely model: eastron_sdm630 (20.0; 30/31)" in text
    assert "model unsure, check the plate: eastron_sdm120 (9.0; 30/31), eastron_sdm230 (8.9; 30/31)" in text
    assert "says of itself: Eastron SDM630: #1" in text


def test_a_new_line_is_written_too_with_the_format_that_most_devices_speak(tmp_path: Path) -> None:
    meters = [{"address": f"00000000000{n}"} for n in (1, 2, 3)]
    place = Place(new_line_id("/dev/serial/by-id/usb-FTDI_A1-if00-port0", None), "/dev/ttyUSB0", None, None, False)
    assert place.line == "usb-FTDI_A1-if00-port0"
    about = verdict("dlt645_single_phase")
    findings = [finding(dict(meter), serial, about) for meter, serial in zip(meters, (FAST, SLOW, SLOW), strict=True)]
    text = text_of(*findings, place=place, type_=TOY_645)
    assert checked(tmp_path, SITE, text) == []
    config = load(tmp_path)
    (line,) = config.lines
    assert (line.serial, line.format) == ("/dev/ttyUSB0", SLOW)
    odd, *alike = entries(text)
    assert [each["address"] for each in alike] == ["000000000002", "000000000003"], "leading zeros are kept"
    assert (odd["address"], odd["baud"], odd["parity"]) == ("000000000001", 9600, "none")
    assert not any("baud" in each for each in alike)
    assert [device.format for device in line.devices] == [FAST, None, None]
    assert "speaks 9600 8N1, the line 2400 8E1" in text


def test_a_device_without_a_profile_is_a_comment(tmp_path: Path) -> None:
    text = text_of(finding({"unit_id": 9}, about=Verdict((), 3)), finding({"unit_id": 8}))
    assert checked(tmp_path, SITE, LINE, text) == []
    assert entries(text) == []
    assert text.count("model unknown") == 2
    assert "# - id: bus-9" in text


def test_the_protocol_is_named_where_the_line_leaves_it_open(tmp_path: Path) -> None:
    place = Place(new_line_id(None, "10.0.0.9:4001"), None, "10.0.0.9:4001", None, configured=False)
    text = text_of(finding({"unit_id": 3}, None, verdict("eastron_sdm630")), place=place)
    assert checked(tmp_path, SITE, text) == []
    (entry,) = entries(text)
    assert (entry["protocol"], entry["line"]) == ("modbus-rtu", "10-0-0-9-4001")
    assert load(tmp_path).lines[0].tcp == ("10.0.0.9", 4001)


def test_ids_are_new_and_short_enough(tmp_path: Path) -> None:
    text = text_of(finding({"unit_id": 3}, about=verdict("eastron_sdm630")), taken=("bus-3", "bus-3-2"))
    assert entries(text)[0]["id"] == "bus-3-3"
    long = Place("b" * 48, "/dev/ttyS1", None, SLOW, configured=False)
    text = text_of(finding({"secondary": "12345678A5110407"}, SLOW, verdict("mbus_heat")), place=long, type_=MBUS)
    assert checked(tmp_path, SITE, text) == []


def test_what_a_device_says_of_itself_cannot_leave_its_comment(tmp_path: Path) -> None:
    evil = "x\ndevices: []\r\u2028\u0085uplinks: 1\x00\x1b[2J"
    text = text_of(finding({"unit_id": 3}, about=verdict("eastron_sdm630"), identity=evil, trouble=evil))
    assert checked(tmp_path, SITE, LINE, text) == []
    assert len(entries(text)) == 1
    assert "\x1b" not in text


def test_known_devices_are_recognised_and_not_repeated(tmp_path: Path) -> None:
    configured = (
        "lines:\n- {id: bus, serial: /dev/ttyS1, baud: 2400, parity: even}\n"
        "devices:\n"
        '- {id: m1, profile: dlt645_single_phase, line: bus, address: "12"}\n'
        "- {id: m2, profile: dlt645_single_phase, line: bus, address: AAAAAAAA0077}\n"
        '- {id: h1, profile: mbus_heat, line: bus, secondary: "12345678"}\n'
        "- {id: h2, profile: mbus_heat, line: bus, primary: 5}\n"
    )
    assert checked(tmp_path, SITE, configured) == []
    (line,) = load(tmp_path).lines

    def known(type_: ProtocolType, entry: dict[str, Value]) -> str | None:
        return known_device(Met(Found(entry), SLOW), type_, line)

    assert known(TOY_645, {"address": "000000000012"}) == "m1"
    assert known(TOY_645, {"address": "202300000077"}) == "m2"
    assert known(TOY_645, {"address": "202300000078"}) is None
    assert known(MBUS, {"secondary": "12345678A5110407"}) == "h1"
    assert known(MBUS, {"secondary": "12345679A5110407"}) is None
    assert known(MBUS, {"primary": 5}) == "h2"
    assert known(TOY_RTU, {"unit_id": 5}) is None
    assert known_device(Met(Found({"unit_id": 5}), SLOW), TOY_RTU, None) is None
    text = text_of(Finding(Met(Found({"address": "000000000012"}), SLOW), None, "m1"), type_=TOY_645)
    assert entries(text) == []
    assert "already configured: m1" in text
