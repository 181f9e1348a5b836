"""A household's consent: what the calendar makes of it, what is put on record, and that nothing of it acts any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.load import Configuration, load
from gateway.consent import Consent, Step, lapsed, steps
from gateway.consent_watch import EVERY_S, STATE_KEY, ConsentWatch, consented, today_of
from gateway.errors import StoreError
from gateway.ids import uuid7
from gateway.meters.closing import midnight_ms
from gateway.model import Event, Reading
from gateway.remote.chain import Entry
from rules.engine import Engine, Instant
from support.clock import LoopClock, ManualClock
from support.virtual_time import run

FIRST, LAST = date(2026, 10, 1), date(2027, 9, 30)
SITE = """format: site/1
site: {id: jiayuan, name: {zh: 佳园小区, en: Jiayuan Garden}}
gateway: {id: gw1}
lines: [{id: bus, serial: /dev/ttyS1}]
devices:
- {id: h1, profile: home, line: bus, unit_id: 1, place: {building: "3"},
   consent: {by: resident, date: 2026-10-01, until: 2027-09-30, record: "17"}}
- {id: h2, profile: home, line: bus, unit_id: 2, place: {building: "3"},
   consent: {by: guardian, date: 2026-10-01, record: paper/18.pdf}}
- {id: hub, profile: home, line: bus, unit_id: 3, kind: terminal, private_home: true, place: {building: "3"},
   consent: {by: resident, date: 2026-11-01, record: "19"}}
- {id: m, profile: home, line: bus, unit_id: 4, kind: other, place: {building: "3"},
   consent: {by: resident, date: 2020-01-01, until: 2020-01-02, record: "needs none"}}
"""
HOME = """format: profile/1
id: home
protocols: [modbus-rtu]
kind: care_home
name: {zh: 求助, en: SOS}
source: test
confidence: low
every: 2s
points:
  sos: {name: {zh: 求助, en: Call}, kind: boolean, personal: true, table: discrete, address: 0}
"""
RULES = """format: rules/1
rules:
- {id: care_sos, name: {zh: 求助, en: Call}, for_each: {type: care_home}, when: sos == true, priority: high}
"""


@pytest.fixture
def config(tmp_path: Path) -> Configuration:
    for name in ("devices", "rules"):
        (tmp_path / name).mkdir()
    (tmp_path / "devices" / "home.yaml").write_text(HOME, encoding="utf-8")
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "rules" / "care.yaml").write_text(RULES, encoding="utf-8")
    return load(tmp_path)


@given(st.dates(), st.none() | st.integers(0, 1000), st.integers(-10, 1010))
def test_from_the_first_day_to_the_last(since: date, days: int | None, day: int) -> None:
    since = min(max(since, date(2000, 1, 1)), date(2100, 1, 1))
    consent = Consent("resident", since, None if days is None else since + timedelta(days=days), "1")
    assert consent.holds(since + timedelta(days=day)) is (day >= 0 and (days is None or day <= days))


def test_only_what_stands_in_a_home_needs_one(config: Configuration) -> None:
    assert set(config.consents) == {"h1", "h2", "hub"}
    assert lapsed(config.consents, date(2026, 10, 31)) == {"hub"}
    assert lapsed(config.consents, LAST) == frozenset()
    assert lapsed(config.consents, LAST + timedelta(days=1)) == {"h1"}


def test_whoever_has_not_agreed_is_neither_asked_nor_judged(config: Configuration) -> None:
    assert consented(config, LAST) is config
    rest = consented(config, LAST + timedelta(days=1))
    assert [plan.device.id for line in rest.lines for plan in line.devices] == ["h2", "hub", "m"]
    assert {watch.device for watch in rest.rules.watches if watch.rule.id == "care_sos"} == {"h2"}
    assert "h1.sos" not in rest.readable
    assert "h1.sos" in rest.points, "a rule that names it does not become a fault overnight"


def test_an_alarm_that_was_on_is_over_with_the_consent(config: Configuration) -> None:
    def engine(of: Configuration, saved: dict[str, bytes], time_s: float) -> Engine:
        return Engine(
            of.rules, of.points, of.watched, new_id=uuid7, saved=saved, started=Instant(time_s, round(time_s * 1000))
        )

    saved: dict[str, bytes] = {}
    before = engine(config, saved, 0.0)
    changes = before.observe([Reading("h1.sos", True, 1000, 1000)], Instant(1.0, 1000))
    saved |= {key: value for key, value in changes.saved.items() if value is not None}
    assert [alarm.device for alarm in before.alarms() if alarm.rule == "care_sos"] == ["h1"]
    after = engine(consented(config, LAST + timedelta(days=1)), saved, 2.0)
    after.tick(Instant(3.0, 3000))
    assert [alarm for alarm in after.alarms() if alarm.device == "h1"] == []
    with pytest.raises(KeyError):
        after.explain("care_sos", "h1", 3.0)


# ---------------------------------------------------------------------- on record


def item(**more: Any) -> dict[str, Any]:
    return {"by": "resident", "since": "2026-10-01", "until": None, "record": "1", "holds": True} | more


@pytest.mark.parametrize(
    ("before", "now", "step"),
    [
        ({}, {"h": item()}, Step.GIVEN),
        ({}, {"h": item(holds=False)}, Step.ENDED),
        ({"h": item()}, {"h": item(until="2027-01-01")}, Step.CHANGED),
        ({"h": item()}, {"h": item(by="guardian")}, Step.CHANGED),
        ({"h": item()}, {"h": item(holds=False)}, Step.ENDED),
        ({"h": item(holds=False)}, {"h": item(until="2028-01-01")}, Step.GIVEN),
        ({"h": item()}, {}, Step.WITHDRAWN),
        ({"h": item()}, {"h": item()}, None),
        ({"h": "not ours"} and {"h": {}}, {"h": item()}, Step.GIVEN),
    ],
)
def test_what_has_become_of_a_consent(before: dict[str, Any], now: dict[str, Any], step: Step | None) -> None:
    assert list(steps(before, now)) == ([] if step is None else [("h", step)])


class Records:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.events: list[Event] = []
        self.saved: dict[str, bytes] = {}
        self.renewed = 0
        self.refuses = False

    async def write(self, *entries: Entry) -> None:
        if self.refuses:
            raise StoreError("the audit cannot be written")
        self.entries += entries

    def note(self, *records: Event) -> None:
        self.events += records

    def remember(self, key: str, value: bytes | None) -> None:
        self.saved[key] = value or b""

    def renew(self) -> None:
        self.renewed += 1

    def told(self) -> Sequence[tuple[str | None, object]]:
        return [(event.device, event.attributes["result"]) for event in self.events]


def watching(config: Configuration, records: Records, clock: ManualClock) -> ConsentWatch:
    started = today_of(config, clock)
    return ConsentWatch(config, records, records, clock, dict(records.saved), records.renew, started)


def test_at_the_local_midnight_the_gateway_starts_anew_without_the_household(config: Configuration) -> None:
    over_ms = midnight_ms(LAST + timedelta(days=1), config.site.zone)

    async def main() -> None:
        records, clock = Records(), LoopClock(over_ms - 90_000)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(watching(config, records, clock).run())
            await asyncio.sleep(89)
            assert records.renewed == 0
            assert records.told() == [("h1", "given"), ("h2", "given"), ("hub", "given")]
            await asyncio.sleep(1 + EVERY_S)
            assert (records.renewed > 0, records.told()[3:]) == (True, [("h1", "ended")])
            running.cancel()
        after = watching(config, records, clock)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(after.run())
            await asyncio.sleep(1)
            running.cancel()
        assert len(records.events) == 4, "said once, over restarts too"
        assert [entry.result for entry in records.entries] == ["given", "given", "given", "ended"]

    run(main())


def test_the_paper_is_named_in_the_audit_and_nowhere_else(config: Configuration) -> None:
    async def main() -> None:
        records = Records()
        watch = watching(config, records, ManualClock(midnight_ms(LAST, config.site.zone)))
        records.refuses = True
        await watch._tell(LAST)
        assert (records.events, records.saved) == ([], {}), "not said before it is on record, and tried again"
        records.refuses = False
        await watch._tell(LAST)
        assert dict(records.entries[1].what)["record"] == "paper/18.pdf"
        assert not any("18" in str(event.attributes) for event in records.events)
        assert records.events[0].place.building == "3"
        assert json.loads(records.saved[STATE_KEY])["h2"]["holds"] is True

    asyncio.run(main())


def test_what_is_remembered_wrongly_is_told_anew(config: Configuration) -> None:
    async def main() -> None:
        for wrong in (b"{", b"[]", b"\xff"):
            records = Records()
            records.saved[STATE_KEY] = wrong
            await watching(config, records, ManualClock(midnight_ms(LAST, config.site.zone)))._tell(LAST)
            assert len(records.events) == 3

    asyncio.run(main())
