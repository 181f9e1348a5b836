"""docs/rules.*.md do what they say: every file is checked, every command run, nothing of the language left out."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import local_api
from gateway.answers import ATTENDED
from gateway.cli.alarms import in_chinese
from gateway.cli.main import main
from gateway.clock import ClockState
from gateway.config.faults import Report
from gateway.config.load import devices_of
from gateway.config.rule_files import read_rule_paths
from gateway.config.yaml12 import load_yaml
from gateway.envelope import Encoder
from gateway.errors import GatewayError
from gateway.health import status_item
from gateway.model import AlarmState, Lane, Reading
from rules.alarm import Instant
from rules.aliases import KEYS, WORDS
from rules.casefile import read_plant
from rules.check import FUNCTIONS
from rules.definition import read_rules
from rules.engine import Engine
from rules.faults import RuleFault
from rules.plain import Reader
from rules.reader import (
    ACTION_KEYS,
    FOR_EACH_KEYS,
    JOB_KEYS,
    LIMIT_KEYS,
    RULE_KEYS,
    SCHEDULE_KEYS,
    SITE_KEYS,
    TOP_KEYS,
)
from rules.syntax import CHINESE_FUNCTIONS
from rules.text import RESERVED
from rules.units import WRITTEN
from store.rig import MIB, store

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
SITE = ROOT / "config" / "examples" / "jiayuan"
DEVICES, _ = devices_of(SITE) or ((), {})
POINTS = {point.id: point for device in DEVICES for point in device.points}
PLANT = Path(__file__).parent / "plant.yaml"
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    lang: str
    file: str
    """The rule file of the first chapter."""
    blocks: tuple[int, int, int, int]
    """Files, rules of the chapters by task, consoles, commands."""

    @property
    def text(self) -> str:
        return (DOCS / f"rules.{self.lang}.md").read_text("utf-8")

    def of(self, language: str) -> list[tuple[str, str]]:
        """What stands behind the language, and the block."""
        return [(name, body) for each, name, body in FENCE.findall(self.text) if each == language]

    @property
    def snippets(self) -> list[str]:
        return [body for name, body in self.of("yaml") if not name]


ZH = Document("zh", "泵房.yaml", (5, 10, 12, 16))
EN = Document("en", "pumps.yaml", (5, 10, 12, 16))
BOTH = pytest.mark.parametrize("document", [ZH, EN], ids=["zh", "en"])


# ---------------------------------------------------------------------- rules by task


@BOTH
def test_nothing_is_skipped(document: Document) -> None:
    files = sum(bool(name) for name, _ in document.of("yaml"))
    commands = sum(len(commands_of(body)) for _, body in document.of("console"))
    assert (files, len(document.snippets), len(document.of("console")), commands) == document.blocks
    assert len(FENCE.findall(document.text)) == sum(document.blocks[:3])
    assert document.text.count("```") == 2 * sum(document.blocks[:3])


def checked(snippet: str) -> tuple[int, int, list[RuleFault]]:
    """Rules, watches and faults; the snippet stands under ``rules``, or is a file without its first line."""
    data: Any = load_yaml(snippet, "doc").data
    whole = {"format": "rules/1", **data} if isinstance(data, dict) else {"format": "rules/1", "rules": data}
    found: list[RuleFault] = []
    plant = read_plant(Reader(found), load_yaml(PLANT.read_text("utf-8"), PLANT.name).data)
    rules, faults = read_rules(whole, plant.devices())
    return len(rules.rules) + len(rules.jobs), len(rules.watches), [*found, *faults]


@BOTH
def test_every_rule_is_right_and_watches_something(document: Document) -> None:
    for snippet in document.snippets:
        rules, watches, faults = checked(snippet)
        faults = [fault for fault in faults if not _of_another_snippet(fault)]
        assert not faults, (snippet, faults[0])
        assert rules == len(re.findall(r"^- (?:id|编号): ", snippet, re.MULTILINE)), snippet
        assert watches >= rules or ("at:" in snippet or "时刻:" in snippet), snippet


def _of_another_snippet(fault: RuleFault) -> bool:
    return fault.code == "W-NOMATCH" and "alarm(" in fault.en


def test_a_snippet_that_is_wrong_is_noticed() -> None:
    _, _, faults = checked(ZH.snippets[0].replace("contact", "contakt"))
    assert [fault.code for fault in faults] == ["E-POINT"]


def test_half_of_the_chinese_examples_are_in_chinese() -> None:
    written = [re.findall(r"^[- ]*(\S+?):(?:\s|$)", body, re.MULTILINE) for body in ZH.snippets]
    chinese = [any(key in KEYS for key in keys) for keys in written]
    assert sum(chinese) * 2 >= len(chinese)


# ---------------------------------------------------------------------- commands


class Box:
    """A running daemon as far as the commands ask it: a real engine with the rules of a file, and water in the sump."""

    def __init__(self, rules: Path) -> None:
        found, _ = read_rule_paths({str(rules): rules}, DEVICES, Report())
        ids = count(1)
        self.now_s = 0.0
        self.engine = Engine(found, POINTS, DEVICES, new_id=lambda now_ms: f"id{next(ids)}", started=self.now)
        for second in range(5, 61, 5):
            self.now_s = second
            reading = Reading("pumps-1.level", 61.0, self.now.utc_ms, self.now.utc_ms)
            self.engine.observe((reading,), self.now)
            self.engine.tick(self.now)

    @property
    def now(self) -> Instant:
        return Instant(self.now_s, MORNING_MS + round(self.now_s * 1000))

    async def ask(self, store: Path, request: Mapping[str, Any]) -> Any:
        op, rule, device = request["op"], request.get("rule", ""), request.get("device")
        if op == "alarms":
            return [status_item(alarm) for alarm in self.engine.alarms()]
        if op == "explain":
            return self.engine.explain(rule, device, self.now_s)
        act, reason = ATTENDED[op], request.get("reason", "")
        changes = act(rule, device, request["who"], reason, request.get("for_s"), self.engine, self.now)
        refused = next((line for line in changes.lines if line.event.endswith("_refused")), None)
        if refused is not None:
            raise GatewayError(f"{op} refused: {refused.about['why']}")
        return status_item(self.engine.alarm(rule, device))


DAY_MS = round(datetime(2026, 11, 1, 16, tzinfo=UTC).timestamp() * 1000)
"""Midnight of 2 November in Shanghai."""
MORNING_MS = DAY_MS + 9 * 3_600_000


async def recorded(directory: Path) -> None:
    """Twelve hours, a reading every two minutes; the water is high for a moment at three and at eight."""
    encoder = Encoder(POINTS)
    async with store(directory, budget_bytes=4 * MIB) as log:
        readings = []
        for number in range(360):
            t = DAY_MS + number * 120_000
            level = 61.0 if number in (90, 91, 240) else 40.0
            readings.append(Reading("pumps-1.level", level, t, t))
        for reading in readings:
            await log.commit(list(encoder.drafts(Lane.TELEMETRY, [reading], ClockState.SYNCED)), {})


def commands_of(block: str) -> list[tuple[str, str]]:
    """(command, what it says)"""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert not parts[0], block
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@BOTH
def test_every_command_says_what_stands_there(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shanghai: None
) -> None:
    asyncio.run(recorded(tmp_path / "store"))
    site = (SITE / "site.yaml").read_text("utf-8").replace("path: /var/lib/gateway", f"path: {tmp_path / 'store'}")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "site.yaml").write_text(site, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    for name, body in document.of("yaml"):
        if name:
            (work / name).write_text(body, encoding="utf-8")
    monkeypatch.chdir(work)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("LC_ALL", {"zh": "zh_CN.UTF-8", "en": "C.UTF-8"}[document.lang])
    monkeypatch.setattr(local_api, "ask", Box(work / document.file).ask)
    text = document.text
    for how, block in document.of("console"):
        for command, said in commands_of(block):
            program, *arguments = shlex.split(command)
            assert program == "gateway"
            result = CliRunner().invoke(main, arguments)
            assert result.exit_code == (1 if how == "1" else 0), (command, result.output)
            says = result.output[: len(said)] if how == "head" else result.output
            if os.environ.get("GOLDEN") == "write":
                text = text.replace(f"$ {command}\n{said}", f"$ {command}\n{says}", 1)
                continue
            assert says == said, command
    if text != document.text:
        (DOCS / f"rules.{document.lang}.md").write_text(text, encoding="utf-8")


LATCHED = """\
format: rules/1
rules:
- {id: w, for_each: {type: pump}, when: level > 60 cm, latch: true, shelve: never, priority: low, ack: required,
   reset: {who: [safety], reason: required}}
"""
REFUSED = [
    ({"op": "reset", "who": "li"}, "要等条件恢复"),
    ({"op": "shelve", "who": "li", "for_s": 60.0}, "不允许搁置"),
    ({"op": "out_of_service", "who": "li"}, "--reason"),
]
REFUSED_WHEN_OVER = [({"op": "reset", "who": "li"}, "只有 safety 可以"), ({"op": "reset", "who": "safety"}, "--reason")]


def refusal(box: Box, request: Mapping[str, Any]) -> str:
    with pytest.raises(GatewayError) as caught:
        asyncio.run(box.ask(Path(), {"rule": "w", "device": "pumps-1", **request}))
    return in_chinese(caught.value)


def test_what_the_daemon_refuses_is_said_in_chinese(tmp_path: Path) -> None:
    rules = tmp_path / "w.yaml"
    rules.write_text(LATCHED, encoding="utf-8")
    box = Box(rules)
    for request, words in REFUSED:
        assert words in refusal(box, request)
    box.engine.acknowledge("w", "pumps-1", "li", box.now)
    box.engine.observe((Reading("pumps-1.level", 10.0, box.now.utc_ms + 1, box.now.utc_ms + 1),), box.now)
    for request, words in REFUSED_WHEN_OVER:
        assert words in refusal(box, request)
    rules.write_text(LATCHED.replace("latch: true, shelve: never", "shelve: 2 h"), encoding="utf-8")
    assert "最多 2 h" in refusal(Box(rules), {"op": "shelve", "who": "li", "for_s": 9000.0})
    assert in_chinese(GatewayError("there is no alarm w@x", hint="see gateway alarms list")).startswith("没有报警 w@x")
    assert in_chinese(GatewayError("something else", hint="look")) == "something else; look"


# ---------------------------------------------------------------------- completeness

KEYS_READ = {*TOP_KEYS, *LIMIT_KEYS, *SITE_KEYS, *SCHEDULE_KEYS, *RULE_KEYS, *JOB_KEYS, *ACTION_KEYS, *FOR_EACH_KEYS}
CODES = {
    code for file in (ROOT / "rules").glob("*.py") for code in re.findall(r'"([EW]-[A-Z]+)"', file.read_text("utf-8"))
}


def missing(document: Document, words: set[str]) -> list[str]:
    quoted = set(re.findall(r"`([^`\n]+)`", document.text))
    return sorted(word for word in words if word not in quoted)


@BOTH
def test_every_key_and_word_is_explained(document: Document) -> None:
    assert len(KEYS_READ) > 60
    assert set(KEYS.values()) >= KEYS_READ
    assert missing(document, set(KEYS.values())) == []
    named = set(WORDS.values()) - {"none", "any", "ignore"}
    assert missing(document, named | set(AlarmState) | CODES) == []
    rest = re.sub(r"^```.*?^```$", "", document.text, flags=re.MULTILINE | re.DOTALL)
    assert [zh for zh in (*KEYS, *WORDS) if zh not in rest] == []


@BOTH
def test_every_function_is_explained(document: Document) -> None:
    assert len(FUNCTIONS) > 10
    for function in FUNCTIONS:
        assert f"| `{function}(" in document.text, function
    assert missing(document, set(CHINESE_FUNCTIONS)) == []


@BOTH
def test_every_unit_and_placeholder_is_named(document: Document) -> None:
    words = set(re.split(r"[\s|（）()；;,.]+", document.text))
    symbols = {unit.symbol for unit in WRITTEN.values()}
    assert len(symbols) > 60
    assert sorted(symbol for symbol in symbols if symbol not in words) == []
    assert missing(document, {f"{{{name}}}" for name in RESERVED}) == []


@BOTH
def test_every_link_leads_somewhere(document: Document) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.text)
    assert len(links) >= 3
    for link in links:
        assert (DOCS / link).exists(), link


def test_both_have_the_same_chapters() -> None:
    levels = [[len(mark) for mark in re.findall(r"^(#+) ", each.text, re.MULTILINE)] for each in (ZH, EN)]
    assert levels[0] == levels[1]
    rows = [each.text.count("\n| ") for each in (ZH, EN)]
    assert rows[0] == rows[1]
