"""gateway rules check, as people and programs see it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import main

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "config" / "examples" / "jiayuan"
WRONG = """\
format: rules/1
rules:
- id: gas
  for_each: {type: gas_detector}
  when: concentraton ＞ 10 %LEL
  fro: 3 min
  latch: maybe
"""


def check(tmp_path: Path, text: str, *options: str) -> Result:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["rules", "check", str(file), *options])


def test_faults_for_people(tmp_path: Path) -> None:
    result = check(tmp_path, WRONG, "--config", str(SITE), "--lang", "zh")
    assert result.exit_code == 1
    lines = result.stdout.replace(f"{tmp_path}/", "").splitlines()
    assert lines[:3] == [
        'mine.yaml:5:9: E-POINT 未知测点 "concentraton"；是否想写 "concentration"？',
        "    5 |   when: concentraton ＞ 10 %LEL",
        "      |         ^^^^^^^^^^^^",
    ]
    assert lines[-1] == "规则有误"


def test_faults_for_programs(tmp_path: Path) -> None:
    result = check(tmp_path, WRONG, "--config", str(SITE), "--lang", "en", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert [(each["code"], each["line"], each["column"]) for each in document["faults"]] == [
        ("E-POINT", 5, 9),
        ("W-FULLWIDTH", 5, 22),
        ("E-KEY", 6, 3),
        ("E-TYPE", 7, 10),
    ]
    assert document["faults"][2]["hint"] == 'did you mean "for"?'
    assert document["faults"][3]["message"] == "true or false belongs here"


def test_warnings_alone_are_fine(tmp_path: Path) -> None:
    text = "format: rules/1\nrules:\n- {id: a, for_each: {type: gas_detector}, when: concentration ＞ 10 %LEL}\n"
    result = check(tmp_path, text, "--config", str(SITE), "--lang", "en")
    assert result.exit_code == 0
    assert "W-FULLWIDTH" in result.stdout
    assert "valid: 1 rules" in result.stdout


def test_without_a_configuration_it_says_what_was_not_checked(tmp_path: Path) -> None:
    text = "format: rules/1\nrules:\n- {id: a, when: nobody.knows > 10 %LEL, priority: low}\n"
    result = check(tmp_path, text, "--config", str(tmp_path), "--lang", "en", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "faults": []}
    assert "points and units were not" in result.stderr


def test_ids_are_unique_across_files(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        text = "format: rules/1\nrules:\n- {id: same, when: m-1-public.voltage_l1 > 250 V, priority: low}\n"
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [str(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    result = CliRunner().invoke(main, ["rules", "check", *files, "--config", str(SITE), "--json", "--lang", "en"])
    (fault,) = json.loads(result.stdout)["faults"]
    assert (fault["code"], Path(fault["file"]).name, fault["line"], fault["column"]) == ("E-DUP", "b.yaml", 3, 8)


def test_what_is_seldom_wise_is_said_and_what_moves_something_is_no_certified_system(tmp_path: Path) -> None:
    text = """\
format: rules/1
rules:
- {id: acts, when: m-1-public.voltage_l1 > 250 V, on_alarm: [{send: SEND}]}
"""
    wrong = check(tmp_path, text.replace("SEND", "nowhere.stop"), "--config", str(SITE), "--lang", "zh")
    assert wrong.exit_code == 1
    assert 'E-ACTION 设备 "nowhere" 不能接收动作' in wrong.stdout
    forbidden = check(tmp_path, text.replace("SEND", "pumps-1.pump1_start_on"), "--config", str(SITE), "--lang", "zh")
    assert "E-ACTION" in forbidden.stdout, "nothing of the example site may be written"
    site = tmp_path / "site"
    shutil.copytree(SITE, site)
    written = (site / "site.yaml").read_text(encoding="utf-8")
    allowed = re.sub(r"(- id: pumps-1\n)", r"\1  allow_write: [pump1_start]\n", written)
    assert allowed != written
    (site / "site.yaml").write_text(allowed, encoding="utf-8")
    result = check(tmp_path, text.replace("SEND", "pumps-1.pump1_start_on"), "--config", str(site), "--lang", "zh")
    assert result.exit_code == 0, result.stdout
    assert "W-RESPONSE 级别为 medium，但没有写值班人员该做什么" in result.stdout
    assert "acts：有联动。本产品不是经认证的安全系统（非SIL）" in result.stdout


def test_the_library_fits_the_example_site() -> None:
    files = [str(path) for path in sorted((ROOT / "rules" / "library").glob("*.yaml"))]
    result = CliRunner().invoke(main, ["rules", "check", *files, "--config", str(SITE), "--lang", "en"])
    assert result.exit_code == 0, result.stdout
    assert "gas_high: shadow, journaled only" in result.stdout


@pytest.mark.parametrize("arguments", [["check"], ["check", "missing.yaml"], ["nonsense"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["rules", *arguments]).exit_code == 2


def test_the_schema_is_one_document() -> None:
    result = CliRunner().invoke(main, ["rules", "schema"])
    assert json.loads(result.stdout)["$schema"].endswith("2020-12/schema")
