"""Both ways of the audit: the file, and the platforms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.errors import StoreError
from gateway.ids import uuid7
from gateway.model import Event, Place
from gateway.remote.audit_log import AuditLog
from gateway.remote.chain import Anchor
from gateway.remote.desk import Desk
from gateway.remote.trail import ANCHOR_KEY, ANCHOR_S, FIRST_ANCHOR_S, Trail
from remote.rig import Rig
from support.virtual_time import run


def event(text: str) -> Event:
    return Event(uuid7(1_767_225_600_000), "command.done", 1, None, Place(), {"who": "li", "text": text})


class Paper:
    """A journal that remembers in which order it was told what."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.saved: dict[str, bytes | None] = {}

    def note(self, *records: Event) -> None:
        self.told += [str(each.attributes["text"]) for each in records]

    async def record(self, event: Event) -> None:
        self.note(event)

    def remember(self, key: str, value: bytes | None) -> None:
        self.saved[key] = value
        anchor = Anchor.from_bytes(value or b"")
        assert anchor is not None
        self.told.append(f"anchor {anchor.seq}")


def play(directory: Path, script: Callable[[Trail, Paper], Awaitable[None]]) -> Paper:
    paper = Paper()

    async def main() -> None:
        async with Trail(AuditLog(directory, SystemClock()), paper, SystemClock(), None) as trail:
            await script(trail, paper)

    asyncio.run(main())
    return paper


def test_the_file_comes_first_and_the_anchor_goes_with_the_event(tmp_path: Path) -> None:
    async def script(trail: Trail, paper: Paper) -> None:
        await trail.record(event("a"))
        assert paper.told == ["anchor 0", "anchor 1", "a"]
        trail.note(event("b"))
        assert paper.told[-1] == "b", "who only notes waits for nothing"
        await trail.settled()
        assert paper.told[-1] == "anchor 2"

    play(tmp_path, script)
    assert (tmp_path / "audit.log").read_bytes().count(b"\n") == 2


def test_what_the_file_does_not_take_is_refused_and_told_to_the_platforms_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()

    async def script(trail: Trail, paper: Paper) -> None:
        with pytest.raises(StoreError, match="audit cannot be written"):
            await trail.record(event("a"))
        trail.note(event("b"))
        await trail.settled()
        assert paper.told == ["a", "b"]

    play(tmp_path, script)


def test_an_act_that_is_cancelled_is_in_the_file_nevertheless(tmp_path: Path) -> None:
    async def script(trail: Trail, paper: Paper) -> None:
        recording = asyncio.ensure_future(trail.record(event("a")))
        await asyncio.sleep(0)
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)

    paper = play(tmp_path, script)
    assert (tmp_path / "audit.log").read_bytes().count(b"\n") == 1
    assert paper.told[-1] == "anchor 1"


def test_the_platforms_are_told_once_a_day_how_far_it_goes(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    async def main() -> None:
        async with rig.daemon() as desk:
            assert isinstance(desk, Desk)
            await desk.handle(rig.request("time"))
            await asyncio.sleep(FIRST_ANCHOR_S + ANCHOR_S)
            told = [each["attributes"] for each in rig.disk.events if each["kind"] == "audit.anchor"]
            anchor = Anchor.from_bytes(rig.disk.state[ANCHOR_KEY])
            assert anchor is not None
            assert told == [anchor._asdict()] * len(told)
            assert 1 <= len(told) <= 2
            assert anchor.seq == 2

    run(main(), grace_s=0.0)
