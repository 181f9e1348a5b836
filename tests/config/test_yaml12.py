from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.yaml12 import MAX_KEYS, Document, load_yaml, read_yaml


def value(text: str) -> Any:
    document = load_yaml(f"x: {text}\n", "t.yaml")
    assert not document.faults
    return document.data["x"]


# YAML 1.2.2, 10.3.2: the core schema; what YAML 1.1 reads otherwise comes first.
SCALARS = [
    ("22:30", "22:30"),
    ("190:20:30", "190:20:30"),
    ("on", "on"),
    ("off", "off"),
    ("yes", "yes"),
    ("no", "no"),
    ("n", "n"),
    ("NO", "NO"),
    ("010", 10),
    ("0o10", 8),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("2024-01-01", "2024-01-01"),
    ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ("=", "="),
    ("1.5.2", "1.5.2"),
    ("192.168.1.1", "192.168.1.1"),
    ("1e3", 1000.0),
    ("0x1F", 31),
    ("0X1F", "0X1F"),
    ("-7", -7),
    ("+7", 7),
    ("-0x1F", "-0x1F"),
    (".5", 0.5),
    ("5.", 5.0),
    ("-.inf", -math.inf),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("nULL", "nULL"),
    ("", None),
    ("true", True),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("false", False),
    ("'010'", "010"),
    ('"true"', "true"),
    ("''", ""),
    ("-", "-"),
    ("...x", "...x"),
    ("000000000001", 1),
]


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    ran = 0
    for text, expected in SCALARS:
        if text == "-":
            continue  # an empty list item, not a scalar
        found = value(text)
        assert (found, type(found)) == (expected, type(expected)), text
        ran += 1
    assert ran == len(SCALARS) - 1
    assert math.isnan(value(".nan"))


def test_keys_are_text_whatever_they_look_like() -> None:
    document = load_yaml("on: 1\n1: a\n010: b\ntrue: c\n~: d\n", "t.yaml")
    assert document.data == {"on": 1, "1": "a", "010": "b", "true": "c", "~": "d"}


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)


@given(TREES)
def test_what_is_written_is_read(tree: object) -> None:
    # PyYAML's own writer, told to quote every text, is an independent source of valid files.
    text = yaml.safe_dump({"x": tree}, allow_unicode=True, default_style=None)
    quoted = yaml.dump({"x": tree}, Dumper=_Quoting, allow_unicode=True)
    assert load_yaml(quoted, "t.yaml").data == {"x": tree}
    assert not load_yaml(text, "t.yaml").broken


class _Quoting(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


_Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(st.text(alphabet=st.sampled_from(list("ab:- \n\t[]{}'\"&*!|>#%@`?,.0佳：\ud800\x00\x85")), max_size=60))
def test_any_text_gives_a_document_or_a_fault_inside_it(text: str) -> None:
    document = load_yaml(text, "t.yaml")
    assert document.faults or not document.broken
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + 1
    for fault in document.faults:
        assert 1 <= fault.line <= lines
        assert fault.column >= 1


def test_places_are_in_characters_and_count_from_one() -> None:
    document = load_yaml("site:\n  名称: {zh: 佳园, en: J}\n  list:\n  - a\n  - b: 1\n", "t.yaml")
    assert document.locate(("site", "名称"), key=True) == (2, 3)
    assert document.locate(("site", "名称", "en")) == (2, 20)
    assert document.locate(("site", "list", 1, "b")) == (5, 8)
    assert document.locate(("site", "list", 7)) == (4, 3)  # not there: the nearest thing that is
    assert document.line(2) == "  名称: {zh: 佳园, en: J}"
    assert document.length(("site", "名称"), key=True) == 2


@pytest.mark.parametrize(
    ("text", "offset", "marked"),
    [
        ("when: gas >= 10 %LEL\n", 4, ">"),
        ("when: 'gas >= 10'\n", 4, ">"),
        ("when: 'it''s >= 10'\n", 5, ">"),
        ('when: "gas \\u4e2d >= 10"\n', 6, ">"),
        ("when: |\n  gas\n  >= 10\n", 4, ">"),
        ("when: >-\n  gas\n  >= 10\n", 4, ">"),
        ("when: gas\n  >= 10\n", 4, ">"),
        ("when: 燃气 >= 10\n", 3, ">"),
    ],
)
def test_an_offset_inside_a_text_is_found_in_the_file(text: str, offset: int, marked: str) -> None:
    document = load_yaml(text, "t.yaml")
    assert document.data["when"][offset] == marked
    line, column = document.locate(("when",), offset=offset)
    assert document.line(line)[column - 1] == marked


def refusal(text: str, **limits: int) -> tuple[Document, str]:
    document = load_yaml(text, "t.yaml", **limits)
    assert document.faults
    return document, document.faults[-1].message.en


def test_bombs_are_refused_at_the_first_limit() -> None:
    laughs = "a: &a [x, x, x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a, *a]\n" for i in range(50))
    document, message = refusal(laughs)
    assert "alias" in message
    assert len(str(document.data)) < 10_000  # nothing was expanded
    for bombs in ("[" * 20_000, "{" * 20_000, "- " * 20_000, "? " * 20_000, "x: " + "[" * 20_000, "{a: " * 20_000):
        document, message = refusal(bombs)
        assert document.broken
        assert "nested" in message or "a key must be a single word" in message
    keys = "".join(f"k{i}: 1\n" for i in range(100_000))
    assert "larger" in refusal(keys)[1]
    document, message = refusal(keys, limit_bytes=10_000_000)
    assert document.faults[-1].line == MAX_KEYS + 1
    assert "keys" in message
    document, _ = refusal("k: 1\n" * 100_000, limit_bytes=10_000_000)
    assert len(document.faults) <= MAX_KEYS
    assert "number is too long" in refusal("x: " + "9" * 5000)[1]
    assert "larger" in refusal("x: " + "y" * 300_000)[1]


def test_of_a_repeated_key_the_first_counts_and_the_second_is_reported() -> None:
    document = load_yaml("a: 1\nb: {c: 1, c: {d: 2}}\na: [2]\n", "t.yaml")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert [(f.line, f.column) for f in document.faults] == [(2, 11), (3, 1)]


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    for content, expected in (
        ("x: 佳".encode("utf-8-sig"), None),
        ("x: 佳".encode("utf-16"), "UTF-16"),
        ("x: 佳".encode("utf-16-be"), "UTF-16"),
        ("y: 1\nx: 佳".encode("gbk"), "UTF-8"),
    ):
        path.write_bytes(content)
        document, read = read_yaml(path, "t.yaml")
        assert read == content
        if expected is None:
            assert document.data == {"x": "佳"}
            assert document.locate(("x",)) == (1, 4)
        else:
            assert expected in document.faults[0].message.en


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    document, content = read_yaml(tmp_path / "none.yaml", "none.yaml")
    assert (document.faults[0].code, content) == ("E-FILE", b"")
    document, _ = read_yaml(tmp_path, "folder")
    assert document.faults[0].code == "E-FILE"
    (tmp_path / "big.yaml").write_bytes(b"#" * 2000)
    document, _ = read_yaml(tmp_path / "big.yaml", "big.yaml", limit_bytes=1000)
    assert "larger" in document.faults[0].message.en
