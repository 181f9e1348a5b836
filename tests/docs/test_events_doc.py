"""docs/events.md names every kind of event that the product and its profiles make, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "events.md"
KIND = re.compile(r"[a-z]+\.[a-z_]+")
NOT_EVENTS = frozenset(
    {"alarm.acknowledge", "alarm.reset", "alarm.shelve", "config.apply", "door.release"}  # commands from afar
    | {"alarm.acknowledged", "alarm.shelved", "alarm.unshelved", "alarm.in_service", "alarm.out_of_service"}  # audit
    | {"alarm.chatter_on", "alarm.flood_off", "alarm.flood_on"}  # alarm.… of the page
    | {"audit.log", "clock.floor", "gateway.drivers", "gateway.sock", "gateway.store"}  # files, names
)


def families() -> set[str]:
    return {kind.partition(".")[0] for kind in documented()}


def documented() -> set[str]:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {kind for row in rows for kind in re.findall(r"`([a-z]+\.[a-z_]+)`", row.split("|")[1])}


def in_the_source() -> Iterator[str]:
    for package in ("drivers", "gateway"):
        for file in (ROOT / package).rglob("*.py"):
            if "sim" in file.parts or file.name == "simulator.py":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and KIND.fullmatch(node.value):
                    yield node.value


def in_profiles() -> Iterator[str]:
    for file in (ROOT / "config" / "devices").glob("*.yaml"):
        yield from re.findall(r"kind: ([a-z]+\.[a-z_]+)", file.read_text(encoding="utf-8"))


def test_every_kind_of_event_is_documented() -> None:
    made = {kind for kind in {*in_the_source(), *in_profiles()} if kind.partition(".")[0] in families()} - NOT_EVENTS
    assert len(made) > 70
    assert made <= documented(), made - documented()


def test_nothing_is_documented_that_is_not_made() -> None:
    built = {"warning.issued", "warning.updated", "warning.cancelled", "warning.expired"}  # put together from two words
    known = {*in_the_source(), *in_profiles(), *built}
    assert documented() <= known, documented() - known


def test_pages_that_are_named_exist() -> None:
    named = re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert not [name for name in named if not (PAGE.parent / name).exists()]
