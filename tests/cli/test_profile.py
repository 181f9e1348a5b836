"""``gateway profile``: with frames that others have published (tests/vectors), in five protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.modbus.framing import ascii_line
from gateway.cli.profile import command
from gateway.config.profiles import shipped_profiles

VECTORS = Path(__file__).parents[1] / "vectors"
SDM = "01 04 04 43 66 33 34 1B 38"  # mb-sdm-volt
SDM_READ = "01 04 00 00 00 02 71 CB"  # mb-fc4-req
SOIL = "01 03 06 01 EF 01 44 00 04 B5 59"  # mb-soil-rsp3
OWN = """format: profile/1
id: pump_own
version: 3
protocols: [modbus-rtu, modbus-ascii, modbus-tcp]
kind: pump
name: {zh: 自有水泵, en: Our own pump}
source: made for this test
confidence: low
points:
  level: {name: {zh: 水位, en: Level}, unit: m, maximum: 4, table: holding, address: 141, type: u16, scale: 0.01}
  lift: {name: {zh: 扬程, en: Lift}, unit: m, table: holding, address: 142, type: u16, scale: 0.1}
  running: {name: {zh: 运行, en: Running}, kind: boolean, table: coil, address: 3}
"""


def profile(*arguments: str, config: Path = Path("nowhere")) -> Result:
    return CliRunner().invoke(command, [*arguments, "--config", str(config)])


def vector(protocol: str, id_: str) -> str:
    known = json.loads((VECTORS / f"{protocol}.json").read_text(encoding="utf-8"))["vectors"]
    (found,) = (entry for entry in known if entry["id"] == id_)
    return str(found["hex"])


def outcome(*arguments: str, config: Path = Path("nowhere")) -> dict[str, Any]:
    result = profile("test", *arguments, "--json", config=config)
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if document["ok"] else 1)
    return document


def values(document: dict[str, Any]) -> dict[str, Any]:
    return {item["p"]: item["v"] for item in document["points"]}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "pump_own.yaml").write_text(OWN, encoding="utf-8")
    return tmp_path


# ---------------------------------------------------------------------- test

FRAMES: list[tuple[list[str], str, str, dict[str, Any]]] = [
    (["eastron_sdm120", "--hex", SDM, "--request", SDM_READ], "modbus-rtu", "1", {"voltage": 230.200012}),
    (["eastron_sdm120", "--hex", f"{SDM_READ} {SDM}"], "modbus-rtu", "1", {"voltage": 230.200012}),
    (
        ["jxct_soil", "--hex", SOIL, "--register", "0"],
        "modbus-rtu",
        "1",
        {"moisture": 49.5, "temperature": 32.4, "conductivity": 4},
    ),
    (
        ["dlt645_three_phase", "--hex", vector("dlt645", "645-07-block-214")],
        "dlt645",
        "000000000224",
        {
            "energy": 214.94,
            "energy_sharp": 53.04,
            "energy_peak": 53.74,
            "energy_flat": 54.03,
            "energy_valley": 54.11,
        },
    ),
    (
        ["dlt645_single_phase", "--hex", vector("dlt645", "645-07-stm-energy")],
        "dlt645",
        "181226034194",
        {"energy": 0.26},
    ),
]


@pytest.mark.parametrize(("arguments", "protocol", "address", "expected"), FRAMES, ids=lambda value: str(value)[:40])
def test_a_published_answer_becomes_the_points_it_holds(
    arguments: list[str], protocol: str, address: str, expected: dict[str, Any]
) -> None:
    document = outcome(*arguments)
    assert (document["protocol"], document["address"], document["ok"]) == (protocol, address, True)
    assert values(document) == expected
    assert {item["q"] for item in document["points"]} == {"good"}
    shown = json.loads(profile("show", arguments[0], "--json").stdout)["profile"]["points"]
    assert sorted([*expected, *document["missing"]]) == sorted(shown)


def test_a_water_meters_answer_holds_everything_at_once() -> None:
    document = outcome("cjt188_water_cold", "--hex", vector("cjt188", "188-fe-1"))
    assert (document["protocol"], document["address"]) == ("cjt188", "00000805000001")
    assert values(document)["volume"] == 123
    assert values(document)["settlement_volume"] == 0
    assert "volume" not in document["missing"]


def test_an_mbus_telegram_is_read_by_its_records() -> None:
    document = outcome("mbus_water", "--hex", vector("mbus", "mbus-test-frames-itron_bm_+m"))
    assert (document["protocol"], document["address"]) == ("mbus", "8")
    seen = values(document)
    assert (seen["volume"], seen["number"], seen["clock"]) == (54.321, "11490378", "2012-01-24T13:29:00")
    (flow,) = (item for item in document["points"] if item["p"] == "flow")
    assert (flow["v"], flow["q"], flow["r"], flow["u"]) == (None, "bad", "no_value", "m3/h")
    assert document["ok"] is False


def test_modbus_ascii_and_tcp_too(site: Path) -> None:
    answer = ":000304008D008EDE"  # mb-ascii-1, of mb-ascii-0: two registers from 124
    document = outcome("pump_own", "--hex", answer, "--request", ":0003007C00027F", config=site)
    assert (document["protocol"], document["version"], document["points"]) == ("modbus-ascii", 3, [])
    document = outcome("pump_own", "--hex", answer, "--register", "141", config=site)
    assert values(document) == {"level": 1.41, "lift": 14.2}
    assert document["missing"] == ["running"]
    tcp = ["--request", "BE EF 00 00 00 06 11 03 00 8D 00 02", "--hex", "BE EF 00 00 00 07 11 03 04 00 8D 00 8E"]
    document = outcome("pump_own", *tcp, config=site)
    assert (document["protocol"], document["address"]) == ("modbus-tcp", "17")
    assert values(document) == {"level": 1.41, "lift": 14.2}


def test_a_value_outside_the_points_range_is_said_as_the_daemon_would(site: Path) -> None:
    frame = ascii_line(bytes.fromhex("00 03 02 01 F4")).decode()
    document = outcome("pump_own", "--hex", frame, "--register", "141", config=site)
    assert document["points"] == [{"p": "level", "v": 5.0, "q": "uncertain", "r": "out_of_range", "u": "m"}]


def test_a_coil_is_not_a_register(site: Path) -> None:
    document = outcome("pump_own", "--hex", "01 01 01 08 50 4E", "--register", "0", config=site)
    assert values(document) == {"running": True}


def test_people_are_told_what_is_in_the_frame_and_what_is_not() -> None:
    result = profile("test", "jxct_soil", "--hex", SOIL, "--register", "0", "--lang", "zh")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "含 3 个测点，不含 1 个" in lines[0]
    assert lines[1].split() == ["moisture", "49.5", "%", "土壤含水率"]
    assert lines[-1] == "  不在报文中：ph"


def test_a_frame_without_any_of_the_points_says_so() -> None:
    result = profile("test", "jxct_soil", "--hex", SOIL, "--register", "100", "--lang", "en")
    assert result.exit_code == 1
    assert "none of the profile's points" in result.stdout
    result = profile("test", "dlt645_single_phase", "--hex", vector("dlt645", "645-07-volt-c"), "--lang", "en")
    assert result.exit_code == 1
    assert "none of the profile's points" in result.stdout


WRONG_FRAMES = [
    ("eastron_sdm120", f"{SDM[:-1]}9", "not a valid frame"),
    ("eastron_sdm120", SDM_READ, "request and not an answer"),
    ("eastron_sdm120", "01 84 02 C2 C1", "illegal data address"),
    ("eastron_sdm120", "01 06 00 01 00 02 59 CB 01 06 00 01 00 02 59 CB", "not an answer to a read"),
    ("dlt645_single_phase", "68 43 10 00 11 34 00 68 D1 01 31 6B 16", "no such data"),
    ("mbus_water", "00 01", "not a valid frame"),
]


def test_what_is_wrong_with_a_frame_is_said() -> None:
    for name, frame, words in WRONG_FRAMES:
        result = profile("test", name, "--hex", frame, "--lang", "en")
        assert (result.exit_code, words in result.stdout) == (1, True), (frame, result.output)
        document = json.loads(profile("test", name, "--hex", frame, "--lang", "en", "--json").stdout)
        assert document["ok"] is False
        assert words in document["fault"]
    assert len(WRONG_FRAMES) == 6


WRONG_CALLS = [
    (["eastron_sdm120", "--hex", SDM], "--request"),
    (["eastron_sdm120", "--hex", "01 0g"], "hex digits"),
    (["eastron_sdm120", "--hex", SDM, "--register", "0", "--protocol", "dlt645"], "does not speak"),
    (["eastron_sdm12", "--hex", SDM], 'did you mean "eastron_sdm120"?'),
    (["nowhere/some.yaml", "--hex", SDM], "there is no file"),
]


def test_wrong_usage_says_what_to_do() -> None:
    for arguments, words in WRONG_CALLS:
        result = profile("test", *arguments, "--lang", "en", "--json")
        assert (result.exit_code, result.stdout, words in result.stderr) == (2, "", True), result.output
    assert len(WRONG_CALLS) == 5


# ---------------------------------------------------------------------- list, show, check


def test_the_sites_own_profiles_stand_beside_the_shipped_ones(site: Path) -> None:
    rows = {row["id"]: row for row in json.loads(profile("list", "--json", config=site).stdout)["profiles"]}
    assert len(rows) == len(list(shipped_profiles().glob("*.yaml"))) + 1
    assert (rows["pump_own"]["own"], rows["eastron_sdm120"]["own"]) == (True, False)
    assert rows["pump_own"] == {
        "id": "pump_own",
        "own": True,
        "ok": True,
        "version": 3,
        "kind": "pump",
        "protocols": ["modbus-rtu", "modbus-ascii", "modbus-tcp"],
        "confidence": "low",
        "points": 3,
        "name": {"zh": "自有水泵", "en": "Our own pump"},
    }
    text = profile("list", "--lang", "en", config=site).stdout
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("pump_own")] == [["pump_own", "v3"]]


def test_a_profile_is_shown_by_name_or_file(site: Path) -> None:
    by_name = profile("show", "pump_own", "--lang", "en", config=site)
    by_file = profile("show", str(site / "devices" / "pump_own.yaml"), "--lang", "en")
    assert by_name.exit_code == by_file.exit_code == 0
    assert by_name.stdout == by_file.stdout
    assert "pump_own v3  Our own pump" in by_name.stdout
    assert "scale=0.01" in by_name.stdout
    assert "made for this test" in by_name.stdout


def test_check_finds_every_fault_with_its_place(site: Path) -> None:
    assert profile("check", config=site).exit_code == 0
    assert profile("check", "eastron_sdm120", str(site / "devices" / "pump_own.yaml")).exit_code == 0
    broken = OWN.replace("table: coil", "table: coils").replace("version: 3", "version: three")
    (site / "devices" / "pump_own.yaml").write_text(broken, encoding="utf-8")
    result = profile("check", "--json", config=site)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [(fault["code"], fault["line"]) for fault in document["faults"]] == [("E-TYPE", 3)]
    text = profile("check", "--lang", "en", config=site)
    assert (text.exit_code, "1 profiles, 0 valid" in text.stdout) == (1, True)
    listed = profile("list", "--json", config=site)
    assert listed.exit_code == 1
    assert {row["id"] for row in json.loads(listed.stdout)["profiles"] if not row["ok"]} == {"pump_own"}
    assert profile("show", "pump_own", config=site).exit_code == 78
    assert profile("test", "pump_own", "--hex", SDM, "--register", "0", config=site).exit_code == 78


def test_every_shipped_profile_can_be_shown() -> None:
    for path in shipped_profiles().glob("*.yaml"):
        for language in ("zh", "en"):
            assert profile("show", path.stem, "--lang", language).exit_code == 0
