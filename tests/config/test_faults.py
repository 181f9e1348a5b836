from __future__ import annotations

from gateway.config.faults import (
    SHOWN_PER_FILE,
    ConfigFaults,
    Fault,
    Report,
    headline,
    nearest,
    one_of,
    quoted,
    render,
    render_all,
)
from gateway.errors import ConfigError
from gateway.model import Text

FAULT = Fault(
    "site.yaml",
    12,
    8,
    "E-KEY",
    Text('未知的键 "adress"', 'unknown key "adress"'),
    Text('是否想写 "address"？', 'did you mean "address"?'),
    6,
    "- {名称: adress}",
)


def test_a_fault_is_shown_as_compilers_do() -> None:
    assert headline(FAULT, "en") == 'site.yaml:12:8: E-KEY unknown key "adress"; did you mean "address"?'
    assert headline(FAULT, "zh") == 'site.yaml:12:8: E-KEY 未知的键 "adress"；是否想写 "address"？'
    assert FAULT.as_json("zh") == {
        "file": "site.yaml",
        "line": 12,
        "column": 8,
        "code": "E-KEY",
        "message": '未知的键 "adress"',
        "hint": '是否想写 "address"？',
    }


def test_the_underline_stands_under_the_word_behind_chinese_characters() -> None:
    _, source, marks = render(FAULT, "en").split("\n")
    assert source == "   12 | - {名称: adress}"
    assert marks == "      |          ^^^^^^"  # 名称 takes four columns


def test_a_long_line_is_cut_around_the_place() -> None:
    fault = Fault("f", 1, 5001, "E-X", Text("", ""), None, 3, "x" * 5000 + "BAD" + "y" * 5000)
    _, source, marks = render(fault, "en").split("\n")
    assert len(source) < 120
    assert source[marks.index("^") : marks.rindex("^") + 1] == "BAD"


def test_nothing_of_the_file_reaches_the_terminal_as_a_control() -> None:
    nasty = "\x1b[31m\u202eevil"
    fault = Fault("f", 1, 1, "E-X", Text(quoted(nasty), quoted(nasty)), None, 1, nasty)
    for lang in ("zh", "en"):
        assert not {"\x1b", "\u202e"} & set(render(fault, lang))
    assert len(quoted("x" * 1000)) < 70


def test_only_the_first_of_many_are_shown() -> None:
    texts = list(render_all([FAULT] * (SHOWN_PER_FILE + 5), "en"))
    assert len(texts) == SHOWN_PER_FILE + 1
    assert texts[-1] == "site.yaml: 5 more not shown"


def test_the_nearest_word() -> None:
    assert nearest("adress", ["address", "line"]) == "address"
    assert nearest("Unit-ID", ["unit_id"]) == "unit_id"
    assert nearest("xyz", ["address"]) is None
    assert nearest("x", []) is None
    assert one_of(["a", "b", "c"]) == Text("a、b 或 c", "a, b or c")
    assert one_of(["a"]) == Text("a", "a")
    assert one_of([str(i) for i in range(30)]).en.endswith("and 10 more")


def test_the_report_says_nothing_twice_where_yaml_was_wrong() -> None:
    report = Report()
    report.add(Fault("f", 1, 1, "E-YAML", Text("", "")))
    report.add(Fault("f", 1, 1, "E-TYPE", Text("", "")))
    report.add(Fault("e", 9, 1, "W-LINE", Text("", ""), warning=True))
    assert [fault.code for fault in report.in_order()] == ["W-LINE", "E-YAML"]
    assert report.failed


def test_the_exception_carries_them_all() -> None:
    error = ConfigFaults([FAULT, Fault("f", 1, 1, "W-X", Text("小心", "beware"), warning=True)])
    assert isinstance(error, ConfigError)
    assert len(error.faults) == 2
    assert str(error) == headline(FAULT, "en")
    assert "小心" in error.render("zh")
