"""The files that the browser gets: nothing that the policy forbids, no gap between the words of two languages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import ClockState
from gateway.model import ANNOUNCED, Lane, Priority, Quality, Reason
from gateway.web import server

STATIC = Path(server.__file__).parent / "static"
FILES = sorted(STATIC.iterdir())
SCRIPT = (STATIC / "page.js").read_text(encoding="utf-8")
HTML = (STATIC / "index.html").read_text(encoding="utf-8")


def words() -> dict[str, dict[str, str]]:
    text = (STATIC / "words.js").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


def test_the_files_are_those_the_server_gives() -> None:
    assert [file.name for file in FILES] == ["index.html", "page.css", "page.js", "words.js"]
    assert sum(file.stat().st_size for file in FILES) < 64 * 1024, "small: an old tablet on a bad radio link"


@pytest.mark.parametrize("word", ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("])
def test_what_the_gateway_says_never_becomes_markup_or_code(word: str) -> None:
    assert word not in SCRIPT


@pytest.mark.parametrize("pattern", [r"=>", r"`", r"\blet\b", r"\bconst\b", r"\basync\b", r"\.\.\.\w", r"\bfetch\("])
def test_an_old_browser_can_read_the_script(pattern: str) -> None:
    code = re.sub(r"/\*.*?\*/", "", SCRIPT, flags=re.DOTALL)
    assert not re.search(pattern, code)


def test_the_document_obeys_its_own_policy() -> None:
    assert re.findall(r"<script(.*?)>(.*?)</script>", HTML, re.DOTALL) == [
        (' src="words.js"', ""),
        (' src="page.js"', ""),
    ]
    assert "<style" not in HTML
    assert not re.search(r"\s(style|on\w+)=", HTML)
    for file in FILES:
        assert not re.search(r"(https?:)?//\w+\.\w", file.read_text(encoding="utf-8")), "nothing from elsewhere"
    assert HTML.count("<html>") == 1, "where the server writes the language"


def test_both_languages_have_the_same_words_and_gaps() -> None:
    zh, en = words()["zh"], words()["en"]
    assert zh.keys() == en.keys()
    for key in zh:
        assert sorted(re.findall(r"\{(\w+)\}", zh[key])) == sorted(re.findall(r"\{(\w+)\}", en[key])), key
        assert zh[key], key
        assert en[key], key


def test_every_word_of_the_core_has_one_on_the_page() -> None:
    core = {f"lane_{lane}" for lane in Lane} | {f"priority_{priority}" for priority in Priority}
    core |= {f"state_{state}" for state in ANNOUNCED} | {f"clock_{state}" for state in ClockState}
    core |= {f"quality_{quality}" for quality in Quality} | {f"reason_{reason}" for reason in Reason}
    assert core <= words()["zh"].keys()


def test_every_word_that_is_used_is_there_and_every_word_is_used() -> None:
    used = set(re.findall(r'data-word="(\w+)"', HTML)) | set(re.findall(r'"([a-z]\w*)"', SCRIPT))
    known = words()["zh"].keys()
    asked = set(re.findall(r'word\("(\w+[a-z])"[,)]', SCRIPT)) | set(re.findall(r'data-word="(\w+)"', HTML))
    assert len(asked) > 40
    assert asked <= known
    families = ("lane_", "priority_", "state_", "clock_", "quality_", "reason_")
    assert {word for word in known if not word.startswith(families)} <= used


def test_every_element_the_script_asks_for_is_in_the_document() -> None:
    asked = set(re.findall(r'by\("([\w-]+)"\)', SCRIPT))
    assert len(asked) > 10
    assert asked <= set(re.findall(r'id="([\w-]+)"', HTML))
