"""gateway rules test, as people and programs see it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import main

RULES = """\
format: rules/1
rules:
- id: hot
  for_each: {type: room}
  when: temp > 30 °C
  deadband: 2 °C
  for: 60s
"""
DEVICES = "devices: {r1: {type: room, building: B1}}\npoints: {r1.temp: {unit: °C}}\n"
CASES = """\
# 房间温度 / room temperature
rule_files: [../rules/hot.yaml]
devices: ../devices.yaml
cases:
- id: rises
  title: {zh: 升温, en: It gets hot}
  steps:
  - {t: 0s, set: {r1.temp: 31}}
  - {t: 59s, expect: {states: {hot@r1: pending}, events: [pending hot@r1]}}   # 还没有
  - {t: 60s, expect: {states: {hot@r1: unack}, flags: {hot@r1: {held: 60s, count: 1}}}}
  - {t: 61s, set: {r1.temp: 28}}
  - t: 61s
    expect:
      states: {hot@r1: unack}
      events:
      - raise hot@r1
      - notify hot@r1
      totals:
        raise: 1
        clear: 0
- id: stays_cool
  steps:
  - {t: 0s, set: {r1.temp: 30}}
  - {t: 61s, expect: {states: {hot@r1: normal}, commands: []}}
"""


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration, and another working directory than the files'."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("GATEWAY_CONFIG", str(empty))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rules" / "hot.yaml").write_text(RULES, encoding="utf-8")
    (tmp_path / "devices.yaml").write_text(DEVICES, encoding="utf-8")
    (tmp_path / "tests" / "hot.yaml").write_text(CASES, encoding="utf-8")
    return tmp_path / "tests" / "hot.yaml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["rules", "test", *(str(each) for each in arguments)])


def document(*arguments: object) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return read


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_all_is_well(cases: Path) -> None:
    result = run(cases, "--lang", "zh")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["通过   rises  升温", "通过   stays_cool  ", "2 个用例，0 个未通过"],
    )
    assert document(cases) == {"cases": 2, "passed": 2, "failed": []}


def test_a_failure_for_people(cases: Path) -> None:
    edit(cases, "{t: 60s, expect: {states: {hot@r1: unack}", "{t: 60s, expect: {states: {hot@r1: acked}")
    result = run(cases, "--lang", "en")
    assert result.exit_code == 1
    assert result.stdout.replace(f"{cases.parent}/", "").splitlines()[:7] == [
        "FAILED rises  It gets hot  (hot.yaml:5:3)",
        "    t=0          r1.temp = 31",
        "    t=0          pending hot@r1",
        "    t=60         raise hot@r1",
        "    t=60         notify hot@r1",
        "    t=60         expected states hot@r1: acked",
        "                 got      states hot@r1: unack",
    ]
    assert "应为 states hot@r1: acked" in run(cases, "--lang", "zh").stdout


def test_a_failure_for_programs(cases: Path) -> None:
    edit(cases, "count: 1", "count: 2")
    failed = {
        "id": "rises",
        "t": 60.0,
        "expected": {"flags": {"hot@r1": {"count": 2}}},
        "got": {"flags": {"hot@r1": {"count": 1}}},
    }
    assert document(cases) == {"cases": 2, "passed": 1, "failed": [failed]}


def test_a_case_with_a_fault_counts_and_the_others_are_played(cases: Path) -> None:
    edit(cases, "hot@r1: pending", "hot@r1: waiting")
    result = run(cases, "--lang", "en")
    assert result.exit_code == 1
    assert "hot.yaml:9:40: E-VALUE" in result.stdout
    assert "passed stays_cool" in result.stdout
    found = document(cases, "--lang", "en")
    assert (found["cases"], found["passed"], found["failed"][0]["id"]) == (2, 1, "rises")
    assert "E-VALUE" in found["failed"][0]["got"]


def test_faults_of_the_rules_are_named_in_their_own_file(cases: Path) -> None:
    edit(cases.parent.parent / "rules" / "hot.yaml", "temp > 30", "tmep > 30")
    result = run(cases, "--lang", "en")
    assert result.exit_code == 1
    assert "rules/hot.yaml:5:9: E-POINT" in result.stdout
    assert document(cases)["passed"] == 0


@pytest.mark.parametrize("text", ["", "cases: [", "cases: []", "a: 1", "\x00"])
def test_a_file_that_is_no_test_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(text, encoding="utf-8")
    assert run(path).exit_code == 1
    assert document(path)["failed"][0]["id"] == str(path)


@pytest.mark.parametrize("arguments", [[], ["missing.yaml"], ["--nonsense"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


# ---------------------------------------------------------------------- --update


def test_update_writes_what_was_got_and_nothing_else(cases: Path) -> None:
    right = cases.read_bytes()
    edit(cases, "{hot@r1: pending}, events: [pending hot@r1]", "{hot@r1: 'normal'}, events: [ raise hot@r1,  x ]")
    edit(cases, "{held: 60s, count: 1}", "{held: 1 min 5 s, count: 7}")
    edit(cases, "      - raise hot@r1\n      - notify hot@r1\n", "      - clear hot@r1\n")
    edit(cases, "clear: 0", "clear: 3")
    edit(cases, "hot@r1: normal}, commands: []", "hot@r1: acked}, commands: [a.b, c.d]")
    os.chmod(cases, 0o640)
    result = run(cases, "--update", "--lang", "en")
    assert result.exit_code == 0
    assert "8 expectations rewritten" in result.stdout
    assert cases.read_bytes() == right
    assert cases.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in cases.parent.iterdir()) == ["hot.yaml"]


def test_update_keeps_line_ends_and_byte_order_mark_and_quotes_what_needs_it(tmp_path: Path) -> None:
    text = (
        "\ufeff# 一\r\ncases:\r\n- id: a\r\n  points: {a.b: {values: [open, 'no: ']}}\r\n"
        "  rules: [{id: r, when: a.b == open, message: 'x, y'}]\r\n  steps:\r\n  - {t: 0s, set: {a.b: open}}\r\n"
        "  - t: 0s\r\n    expect:\r\n      events:\r\n      - b\r\n      changes: [[normal]]  # 二\r\n"
        "  - t: 1s\r\n    expect:\r\n      events:\r\n      - b\r\n\r\n"
    )
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode())
    assert run(path, "--update").exit_code == 0
    wanted = text.replace(
        "- b\r\n      changes: [[normal]]", "- raise r\n      - notify r\r\n      changes: [[unack, condition, 'x, y']]"
    )
    wanted = wanted.replace("events:\r\n      - b\r\n\r\n", "events: []\r\n\r\n")
    assert path.read_bytes().decode() == wanted


def test_update_leaves_alone_what_it_cannot_say(cases: Path) -> None:
    edit(
        cases, "states: {hot@r1: normal}, commands: []", "flags: {hto: {count: 1}}, sys: [sys.x], errors: [{code: E-X}]"
    )
    before = cases.read_bytes()
    assert run(cases, "--update").exit_code == 1
    assert cases.read_bytes() == before


def test_update_of_files_that_are_right_touches_nothing(cases: Path) -> None:
    before = cases.stat()
    assert run(cases, "--update").exit_code == 0
    assert cases.stat().st_mtime_ns == before.st_mtime_ns
    assert cases.stat().st_ino == before.st_ino


# ---------------------------------------------------------------------- --mutate


def test_mutants_are_noticed(cases: Path) -> None:
    result = run(cases, "--mutate", "--lang", "en")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2:] == ["2 cases, 0 failed", "5 mutants, 0 not noticed"]
    assert document(cases, "--mutate") == {"cases": 2, "passed": 2, "failed": [], "mutants": 5, "survived": []}


def test_mutants_that_no_case_notices_are_named(cases: Path) -> None:
    edit(cases, "  - {t: 61s, set: {r1.temp: 28}}\n", "")
    result = run(cases, "--mutate", "--lang", "en")
    assert result.exit_code == 1
    assert result.stdout.replace(f"{cases.parent.parent}/", "").splitlines()[2:] == [
        "2 cases, 0 failed",
        "rules/hot.yaml:6:13: hot: no case noticed: deadband removed",
        "5 mutants, 1 not noticed",
    ]
    rules = str(cases.parent.parent / "rules" / "hot.yaml")
    assert document(cases, "--mutate", "--lang", "zh")["survived"] == [
        {"rule": "hot", "file": rules, "line": 6, "column": 13, "change": "去掉 deadband"}
    ]


def test_mutants_of_a_text_in_the_test_file_are_placed_in_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "cases:\n- id: a\n  points: {a.x: {unit: °C}}\n  rules_text: |\n    - id: r\n      when: a.x > 30 °C\n"
        "  steps: [{t: 0s, set: {a.x: 31}}, {t: 0s, expect: {states: {r: unack}}}]\n",
        encoding="utf-8",
    )
    (survivor,) = document(path, "--mutate", "--lang", "en")["survived"]
    assert survivor == {"rule": "r", "file": str(path), "line": 6, "column": 19, "change": "when: 30 → 27"}


def test_cases_that_fail_are_not_put_to_the_test(cases: Path) -> None:
    edit(cases, "count: 1", "count: 2")
    result = run(cases, "--mutate", "--lang", "en", "--json")
    assert result.exit_code == 1
    assert set(json.loads(result.stdout)) == {"cases", "passed", "failed"}
    assert "not put to the test" in result.stderr


def test_everything_may_be_chinese_and_the_clock_is_the_sites(tmp_path: Path) -> None:
    text = """\
start: "2026-11-02 21:59:59"
points: {d1.contact: {values: [open, closed]}}
cases:
- id: night
  rules_text: |
    格式: rules/1
    站点: {时区: Asia/Shanghai}
    时段: {夜间: {每天: "22:00-06:00"}}
    规则:
    - {编号: 门, 条件: d1.contact == open, 仅在: 夜间, 级别: 低}
  timezone: Asia/Shanghai
  steps:
  - {t: 0s, set: {d1.contact: open}}
  - {t: 0s, expect: {states: {门: normal}}}
  - {t: 1s, expect: {states: {门: unack}}}
- id: fault
  rules_text: |
    格式: rules/1
    规则:
    - {编号: 门, 条件: d1.contact == opem, 级别: 低}
  steps:
  - {t: 0s, expect: {errors: [{code: E-VALUE, rule: 门, line: 3}]}}
"""
    file = tmp_path / "t.yaml"
    file.write_text(text, encoding="utf-8")
    result = run(file, "--lang", "en")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "2 cases, 0 failed"), result.stdout
