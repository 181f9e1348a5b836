"""Happenings become events, and nobody's card goes any further."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from drivers.base import Happening, Report
from gateway.intake import Intake, memory_of
from gateway.model import Event, Place, Reading, Record, Value
from gateway.pseudonyms import KEY_FILE, Pseudonyms, box_pseudonyms
from support.clock import ManualClock

NAMES = Pseudonyms(bytes(range(32)))
HOME = Place(building="1", unit="2")


class Pipe:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.saved: dict[str, bytes | None] = {}

    def take(self, records: Sequence[Record], saved: Mapping[str, bytes | None]) -> asyncio.Future[None]:
        self.records += records
        self.saved |= saved
        return asyncio.get_running_loop().create_future()


def taken(*reports: Report, plain: frozenset[str] = frozenset()) -> Pipe:
    pipe = Pipe()

    async def main() -> None:
        Intake(pipe.take, {"door": HOME}, NAMES, ManualClock(), plain).take(reports)

    asyncio.run(main())
    return pipe


SWIPE = Happening("access.granted", 1000, {"door": 1}, {"card": "10058400"})


def test_a_card_is_written_down_as_its_pseudonym_only() -> None:
    pipe = taken(Report("door", happenings=[SWIPE], memory=b"17"))
    (event,) = pipe.records
    assert isinstance(event, Event)
    assert (event.kind, event.time_ms, event.device, event.place) == ("access.granted", 1000, "door", HOME)
    assert event.attributes == {"door": 1, "card": NAMES.of("card", "10058400")}
    assert "10058400" not in json.dumps(dict(event.attributes))
    assert pipe.saved == {"driver/door": b"17"}
    assert memory_of({"driver/door": b"17", "alarm/x": b""}) == {"door": b"17"}


def test_a_site_may_keep_what_it_says_it_keeps() -> None:
    (event,) = taken(Report("door", happenings=[SWIPE]), plain=frozenset({"card"})).records
    assert isinstance(event, Event)
    assert event.attributes["card"] == "10058400"


def test_readings_stand_in_their_place_and_a_sign_of_life_is_nothing() -> None:
    reading = Reading("door.contact", True, 1, 1)
    pipe = taken(Report("door"), Report("door", readings=[reading]))
    assert pipe.records == [reading]
    assert pipe.saved == {}


def test_whoever_looks_at_a_kind_adds_what_he_knows() -> None:
    pipe = Pipe()
    status = Reading("door.list", "residents", 1, 1)

    def look(
        device: str, happening: Happening, names: Mapping[str, str]
    ) -> tuple[Sequence[Record], Mapping[str, Value]]:
        assert names == {"card": NAMES.of("card", "10058400")}
        return [status], {"list": "residents"}

    async def main() -> None:
        intake = Intake(pipe.take, {}, NAMES, ManualClock(), looks={"access.granted": look})
        intake.take([Report("door", happenings=[SWIPE])])

    asyncio.run(main())
    event, also = pipe.records
    assert isinstance(event, Event)
    assert event.attributes["list"] == "residents"
    assert also is status


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    first = box_pseudonyms(tmp_path)
    assert box_pseudonyms(tmp_path) == first
    path = tmp_path / KEY_FILE
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert first.of("card", "1") != first.of("plate", "1")
    assert "key=" not in repr(first)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="32"):
        box_pseudonyms(tmp_path)
