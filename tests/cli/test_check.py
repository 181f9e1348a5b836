from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.check import command

CONFIG_TESTS = Path(__file__).parents[1] / "config"
GOOD = """format: site/1
site: {id: jiayuan, name: {zh: 佳园小区, en: Jiayuan Garden}}
gateway: {id: gw1}
lines: [{id: bus1, serial: /dev/ttyS1}]
devices: [{id: m1, profile: meter, line: bus1, address: "1", place: {building: "3"}}]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shutil.copytree(CONFIG_TESTS / "profiles", tmp_path / "devices")
    (tmp_path / "site.yaml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def check(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(command, ["--config", str(directory), *options])


def test_a_good_configuration_is_summed_up(directory: Path) -> None:
    result = check(directory, "--lang", "en")
    assert result.exit_code == 0
    assert "valid: Jiayuan Garden" in result.output
    assert "1 devices, 2 points, 1 lines, 0 uplinks, 6 rules, 0 warnings" in result.output
    # voltage once a minute, energy once in 15: two requests that cannot be one
    assert f"bus1 (/dev/ttyS1): 1 devices, about {1 / 60 + 1 / 900:.2g} requests a second" in result.output
    assert "配置正确：佳园小区" in check(directory, "--lang", "zh").output


def test_every_fault_is_shown_with_its_line_and_a_summary(directory: Path) -> None:
    text = GOOD.replace("profile: meter", "profile: metre").replace("id: gw1", "id: gw 1")
    (directory / "site.yaml").write_text(text, encoding="utf-8")
    result = check(directory, "--lang", "en")
    assert result.exit_code == 78
    site = directory / "site.yaml"
    assert f'{site}:3:15: E-ID "gw 1" is not a valid id; 1 to 48 letters, digits, _ or -' in result.output
    assert "    3 | gateway: {id: gw 1}\n      |               ^^^^" in result.output
    assert "E-REF" in result.output
    assert "invalid: 2 faults, 0 warnings" in result.output


def test_json_is_one_document_of_the_agreed_shape(directory: Path) -> None:
    assert json.loads(check(directory, "--json").stdout) == {"ok": True, "faults": []}
    (directory / "site.yaml").write_text(GOOD.replace("profile:", "proflie:"), encoding="utf-8")
    result = check(directory, "--json", "--lang", "zh")
    assert result.exit_code == 78
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["faults"] == [
        {
            "file": str(directory / "site.yaml"),
            "line": 5,
            "column": 11,
            "code": "E-MISSING",
            "message": '缺少 "profile"',
            "hint": '是否误写成了 "proflie"？',
        }
    ]


def test_warnings_alone_are_fine(directory: Path) -> None:
    (directory / "rules").mkdir()
    (directory / "rules" / "old.yml").write_text("")
    result = check(directory, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert [fault["code"] for fault in document["faults"]] == ["W-FILE"]


def test_no_directory_at_all(tmp_path: Path) -> None:
    result = check(tmp_path / "nowhere", "--json")
    assert result.exit_code == 78
    assert [fault["code"] for fault in json.loads(result.stdout)["faults"]] == ["E-FILE"]


def test_the_command_as_installed(directory: Path) -> None:
    (directory / "site.yaml").write_text("[" * 20_000)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "check", "--config", str(directory), "--lang", "zh"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "E-YAML 嵌套超过 20 层" in done.stdout
    assert "Traceback" not in done.stderr
