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


MEANT = [
    # (what somebody writes, what the check says to him)
    ("条件: 浓度 > 10 %LEL", '未知测点 "浓度"；是否想写 concentration（'),
    ("条件: concentration 大于 10 %LEL", '此处不应出现 "大于"；请写 ">"'),
    ("条件: concentration > 10摄氏度", '单位不能写成 "摄氏度"；请写 10 °C'),
    ("条件: concentration > 10分且concentration < 2 %LEL", '单位不能写成 "分"；请写 10 min'),
    ("条件: concentration > 10 %LEL\n  级别: 高级", "可用的值：critical（紧急）、high（高）"),
    ("条件: concentration > 10 %LEL\n  级别: 高级", '是否想写 "高"？'),
    ("条件: concentration > 10 %LEL\n  持续时间: 3s", '未知的键 "持续时间"；是否想写 "持续"？'),
    ("级别: 高", "缺少 when（条件）"),
]


@pytest.mark.parametrize(("written", "said"), MEANT)
def test_who_writes_chinese_is_told_what_he_meant(tmp_path: Path, written: str, said: str) -> None:
    text = f"格式: rules/1\n规则:\n- 编号: 燃气\n  对象: {{类型: gas_detector}}\n  {written}\n"
    result = check(tmp_path, text, "--config", str(SITE), "--lang", "zh")
    assert result.exit_code == 1
    assert said in result.stdout


def test_a_file_may_begin_in_chinese(tmp_path: Path) -> None:
    """And beside a file in English: schedules and ids are of both, faults stand where they are."""
    first = """\
格式: rules/1
时段:
  夜间: {每天: '22:00-06:00'}
规则:
- {编号: a, 对象: {类型: pump}, 条件: level > 1 cm, 仅在: 夜间, 级别: 低}
"""
    second = """\
format: rules/1
rules:
- {id: b, for_each: {type: pump}, when: level > 1 cm, only_during: 夜间, priority: low}
"""
    paths = [tmp_path / "1.yaml", tmp_path / "2.yaml"]
    for path, text in zip(paths, (first, second), strict=True):
        path.write_text(text, encoding="utf-8")
    arguments = ["rules", "check", *map(str, paths), "--config", str(SITE), "--lang", "en"]
    assert "valid: 2 rules" in CliRunner().invoke(main, arguments).stdout
    paths[0].write_text(first.replace("22:00-06:00", "22-6"), encoding="utf-8")
    assert "1.yaml:3:12: E-VALUE" in CliRunner().invoke(main, arguments).stdout
    paths[0].write_text(first.replace("规则:", "规责:"), encoding="utf-8")
    assert "1.yaml:1:1: E-MISSING rules is missing" in CliRunner().invoke(main, arguments).stdout


def test_schedules_of_all_files_count_and_the_site_is_described_once(tmp_path: Path) -> None:
    text = """\
format: rules/1
site: {timezone: Asia/Shanghai}
schedules: {s1: {daily: "22:00-06:00"}}
rules:
- {id: a1, for_each: {type: pump}, when: level > 1 cm, only_during: s1, priority: low}
"""
    paths = [tmp_path / "1.yaml", tmp_path / "2.yaml"]
    arguments = ["rules", "check", *map(str, paths), "--config", str(SITE), "--lang", "en"]

    def said(second: str) -> str:
        paths[1].write_text(second, encoding="utf-8")
        return CliRunner().invoke(main, arguments).stdout

    paths[0].write_text(text, encoding="utf-8")
    other = text.replace("a1", "a2").replace("s1", "s2")
    assert "valid: 2 rules" in said(other)
    assert "valid: 2 rules" in said(text.replace("a1", "a2"))
    assert "2.yaml:3:25: E-VALUE" in said(other.replace('"22:00-06:00"', "night"))
    assert '2.yaml:2:1: E-DUP "site" stands in' in said(other.replace("Asia/Shanghai", "UTC"))
    assert '2.yaml:3:13: E-DUP "s1" stands in' in said(text.replace("a1", "a2").replace("22:", "21:"))


def test_for_each_is_a_mapping(tmp_path: Path) -> None:
    text = "format: rules/1\nrules:\n- {id: a, for_each: pump, when: pumps-1.level > 1 cm}\n"
    result = check(tmp_path, text, "--config", str(SITE), "--lang", "en")
    assert 'keys with values belong here: "key: value"; such as {type: pump}' in result.stdout
