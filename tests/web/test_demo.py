"""Where the demonstration says the page is.  That it really runs, and ends with it: tests/sim/test_demo.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.common import Shell
from gateway.cli.demo import Screen
from gateway.model import Text
from gateway.sim.demo import Facts

FACTS = (Path(), Path(), Path(), Path(), "mosquitto", "5", 1883, "root", 5)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_address_is_told_in_both_languages(lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    Screen(Shell(Path(), json=False, lang=lang)).started(Facts(*FACTS, page="http://127.0.0.1:8123"))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "8123" in line)
    assert line.split() == ["本地页面", "/", "local", "page:", "http://127.0.0.1:8123"]


@pytest.mark.parametrize(("lang", "words"), [("zh", "没有本地页面：未安装"), ("en", "no local page: not installed")])
def test_without_the_page_the_demonstration_says_why(lang: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Screen(Shell(Path(), json=False, lang=lang)).started(Facts(*FACTS, no_page=Text("未安装", "not installed")))
    assert words in capsys.readouterr().out
