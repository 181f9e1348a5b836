"""The hub: directory and URL, reports, memory, expiry, silence of the source."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import Report
from drivers.cap.config import CapHubOptions, CapOptions
from drivers.cap.hub import CapHub
from drivers.cap.simulator import Office, WarningServer, drop
from drivers.cap.source import SourceFailed, UrlSource
from drivers_cap.made import device, hub
from gateway.clock import ClockState
from gateway.config.explain import parse as parse_model
from gateway.errors import ConfigError, LineLost
from gateway.model import Value
from support.clock import LoopClock, ManualClock
from support.virtual_time import run


def told(reports: Sequence[Report], name: str = "weather") -> dict[str, Value | None]:
    return {
        each.point.removeprefix(f"{name}."): each.value
        for report in reports
        for each in report.readings
        if report.device == name
    }


def kinds(reports: Sequence[Report]) -> list[str]:
    return [happening.kind for report in reports for happening in report.happenings]


async def heard(made: CapHub, want: str) -> list[Report]:
    """All reports up to the one with a happening of kind *want*."""
    found: list[Report] = []
    async with asyncio.timeout(2 * 24 * 3600):  # of virtual time: nothing lasts longer here
        while want not in kinds(found):
            found += await made.receive()
    return found


class Feeder:
    """An office whose messages fall into a directory."""

    def __init__(self, directory: Path, clock: ManualClock, national: bool = True) -> None:
        self.office = Office(clock.now_ms, national)
        self.directory = directory

    def put(self, identifier: str) -> str:
        name, message = self.office.published[-1]
        assert name == identifier
        drop(self.directory, name, message)
        return identifier


@pytest.mark.parametrize("national", [True, False])
def test_a_warning_from_its_issue_to_its_cancel(tmp_path: Path, national: bool) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock, national)
        async with hub(clock, directory=str(tmp_path)) as made:
            first = await made.receive()
            assert told(first)["rainstorm"] == "none"
            assert told(first)["source_ok"] is True
            assert "age_s" not in told(first)  # it has never said anything
            issued = feeder.put(feeder.office.issue("11B03", "暴雨", "Orange"))
            reports = await heard(made, "warning.issued")
            assert told(reports)["rainstorm"] == "orange"
            until_s = told(reports)["rainstorm_until"]
            assert until_s == pytest.approx(clock.now_ms() / 1000 + (24 if national else 6) * 3600, abs=120)
            assert told(reports)["active"] == 1
            (happening,) = [each for report in reports for each in report.happenings]
            assert happening.attributes["headline"] == "模拟气象台发布暴雨橙色预警"
            assert happening.attributes["severity"] == "orange"
            assert happening.attributes["event_code"] == "11B03"
            assert happening.attributes["expires_assumed"] is national
            assert not happening.personal
            updated = feeder.put(feeder.office.update(issued, "11B03", "暴雨", "Red"))
            reports = await heard(made, "warning.updated")
            assert told(reports)["rainstorm"] == "red"
            feeder.put(feeder.office.cancel(updated, "11B03", "暴雨", "Red"))
            reports = await heard(made, "warning.cancelled")
            assert told(reports)["rainstorm"] == "none"
            assert told(reports)["rainstorm_until"] == 0
            assert told(reports)["headline"] == ""

    run(scenario())


def test_the_end_is_told_before_the_colour(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        feeder.put(feeder.office.issue("11B01", "台风", "Red"))
        async with hub(clock, directory=str(tmp_path)) as made:
            reports = await made.receive()
            points = [reading.point for reading in reports[0].readings]
            assert points.index("weather.typhoon_until") < points.index("weather.typhoon")

    run(scenario())


def test_what_is_in_force_is_repeated_and_over_when_its_time_has_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        async with hub(clock, directory=str(tmp_path), poll_s=300.0) as made:
            await made.receive()
            feeder.put(feeder.office.issue("11B09", "高温", "Blue"))  # which heat has not: yellow is next
            issued_s = asyncio.get_running_loop().time()
            reports = await heard(made, "warning.expired")
            repeated = [r for report in reports for r in report.readings if r.point == "weather.heat"]
            assert 24 * 6 - 2 <= len(repeated) <= 24 * 6 + 4  # every 10 min
            assert {reading.value for reading in repeated[:-1]} == {"yellow"}
            assert repeated[-1].value == "none"
            assert asyncio.get_running_loop().time() - issued_s == pytest.approx(24 * 3600, abs=1)
            assert len(reports) <= 24 * 12 + 2  # signs of life between

    run(scenario())


def test_a_restart_forgets_nothing_even_without_the_source(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        async with hub(clock, directory=str(tmp_path)) as made:
            feeder.put(feeder.office.issue("11B03", "暴雨", "Red"))
            (memory,) = [each.memory for each in await heard(made, "warning.issued") if each.memory is not None]
        options = {"directory": str(tmp_path), "stale_after_s": 60.0}
        for file in tmp_path.iterdir():
            os.utime(file, (0, 0))
        async with hub(clock, memory={"weather": memory}, **options) as again:
            reports = list(await again.receive())
            assert told(reports)["rainstorm"] == "red"
            assert "typhoon" not in told(reports)  # nobody knows
            reports += await again.receive()
            assert told(reports)["source_ok"] is False
            assert "typhoon" not in told(reports)
            drop(tmp_path, "heartbeat", feeder.office.published[0][1])
            os.utime(tmp_path / "heartbeat.xml", (clock.now_ms() / 1000 + 60,) * 2)
            reports = list(await again.receive())
            assert told(reports)["typhoon"] == "none"
            assert told(reports)["source_ok"] is True
            assert kinds(reports) == []  # it was told before the restart

    run(scenario())


def test_without_its_memory_the_files_tell_it_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        issued = feeder.put(feeder.office.issue("11B03", "暴雨", "Red"))
        feeder.put(feeder.office.update(issued, "11B03", "暴雨", "Yellow"))
        async with hub(clock, directory=str(tmp_path)) as made:
            assert told(await heard(made, "warning.updated"))["rainstorm"] == "yellow"

    run(scenario())


def test_an_exercise_changes_no_point(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        feeder.put(feeder.office.issue("11B03", "暴雨", "Red", status="Exercise"))
        async with hub(clock, directory=str(tmp_path)) as made:
            reports = await heard(made, "warning.issued")
            reports += await made.receive() if len(reports) == 1 else []
            assert told(reports).get("rainstorm") in (None, "none")
            assert reports[0].happenings[0].attributes["exercise"] is True

    run(scenario())


def test_two_places_have_one_source_and_what_is_for_neither_is_a_stranger(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        places = [device("a", areas=["410105"]), device("b", areas=["420102"])]
        async with hub(clock, *places, directory=str(tmp_path)) as made:
            feeder.put(feeder.office.issue("11B03", "暴雨", "Red", geocode="420102000000"))
            feeder.put(feeder.office.issue("11B03", "暴雨", "Red", geocode="310000000000"))
            drop(tmp_path, "wrong", b"<html/>")
            reports = await heard(made, "warning.issued")
            reports += await made.receive()
            assert told(reports, "b")["rainstorm"] == "red"
            assert told(reports, "a").get("rainstorm") in (None, "none")
            assert set(made.strangers) == {"310000000000", "wrong.xml"}

    run(scenario())


def test_a_file_that_was_half_written_is_read_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        feeder.office.issue("11B03", "暴雨", "Red")
        message = feeder.office.published[0][1]
        (tmp_path / "w.xml").write_bytes(message[:200])
        async with hub(clock, directory=str(tmp_path)) as made:
            await made.receive()
            (tmp_path / "w.xml").write_bytes(message)
            assert told(await heard(made, "warning.issued"))["rainstorm"] == "red"

    run(scenario())


def test_while_the_time_is_not_known_a_warning_counts(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        office = Office(clock.now_ms)
        office.issue("11B03", "暴雨", "Red")
        drop(tmp_path, "w", office.published[0][1])
        clock.trust, clock.wall_ms = ClockState.UNKNOWN, clock.wall_ms + 50 * 24 * 3600_000  # and wrong
        async with hub(clock, directory=str(tmp_path)) as made:
            os.utime(tmp_path / "w.xml", (clock.now_ms() / 1000,) * 2)
            assert told(await heard(made, "warning.issued"))["rainstorm"] == "red"

    run(scenario())


def test_a_receive_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = LoopClock()
        feeder = Feeder(tmp_path, clock)
        async with hub(clock, directory=str(tmp_path)) as made:
            await made.receive()
            waiting = asyncio.create_task(made.receive())
            await asyncio.sleep(30)
            feeder.put(feeder.office.issue("11B03", "暴雨", "Red"))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert told(await heard(made, "warning.issued"))["rainstorm"] == "red"

    run(scenario())


def test_a_directory_that_is_not_there_is_a_lost_line(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(LineLost, match="no directory"):
            async with hub(LoopClock(), directory=str(tmp_path / "none")):
                pass

    run(scenario())


# ---------------------------------------------------------------------- a URL, on a real socket


def test_a_url_is_asked_with_validators_and_its_faults_are_failures() -> None:
    async def scenario() -> None:
        clock = ManualClock(1_790_000_000_000)
        office = Office(clock.now_ms)
        office.issue("11B03", "暴雨", "Red")
        async with WarningServer(office.feed, token="secret") as server:
            token = Path(os.devnull)
            source = UrlSource(CapHubOptions(url=server.url, timeout_s=5.0))
            async with source:
                with pytest.raises(SourceFailed, match="401"):
                    await source.fetch(0)
                server.token = ""
                (document,) = await source.fetch(0)
                assert document.data == office.feed
                assert await source.fetch(0) == []
                assert server.unchanged == 1
                source.again()
                assert len(await source.fetch(0)) == 1
                for status in (302, 500):
                    server.status = status
                    with pytest.raises(SourceFailed, match=str(status)):
                        await source.fetch(0)
                server.status, server.body = 200, b"x" * (2 << 20) + b"x"
                with pytest.raises(SourceFailed, match="more than"):
                    await source.fetch(0)
            assert token.exists()
        async with source:
            with pytest.raises(SourceFailed):
                await source.fetch(0)

    asyncio.run(scenario())


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with WarningServer(b"<alerts/>", token="secret") as server:
            file = tmp_path / "token"
            source = UrlSource(CapHubOptions(url=server.url, token_file=file, timeout_s=5.0))
            async with source:
                with pytest.raises(SourceFailed, match="token_file"):
                    await source.fetch(0)
                file.write_text("secret\n")
                assert len(await source.fetch(0)) == 1

    asyncio.run(scenario())


def test_the_hub_on_a_url() -> None:
    async def scenario() -> None:
        clock = ManualClock(1_790_000_000_000)
        office = Office(clock.now_ms, national=False)
        office.issue("11B01", "台风", "Red")
        async with WarningServer(office.feed) as server, hub(clock, url=server.url, timeout_s=5.0) as made:
            assert told(await heard(made, "warning.issued"))["typhoon"] == "red"
        async with WarningServer(b"<html/>") as server, hub(clock, url=server.url, timeout_s=5.0) as made:
            assert told(await made.receive()) == {"source_ok": False}
            assert "no alert" in made.failure

    asyncio.run(scenario())


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"directory": "/a", "url": "https://b"},
        {"directory": "a"},
        {"url": "ftp://b"},
        {"url": "https://user:password@b"},
        {"url": "http://b.example", "token_file": "/t"},
        {"url": "https://b", "poll_s": 1},
        {"url": "https://b", "stale_after_s": 600},
        {"directory": "/a", "token_file": "/t"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r" / "):
        parse_model(CapHubOptions, options)


def test_a_place_must_be_said() -> None:
    for options in ({"areas": []}, {"areas": [], "latitude": 34.7}, {"areas": ["郑州"]}, {"areas": ["4"]}):
        with pytest.raises(ValueError, match=" / "):
            parse_model(CapOptions, options)
    assert CapOptions(areas=[], latitude=34.7, longitude=113.6).site.position == (34.7, 113.6)


def test_a_point_of_the_wrong_kind_is_refused() -> None:
    spec = device()
    point = spec.points["weather.rainstorm"]
    wrong = {**spec.points, "weather.rainstorm": type(point)(spec.points["weather.headline"].point, point.options)}
    with pytest.raises(ConfigError, match="kind: state"):
        hub(ManualClock(), replace(spec, points=wrong), directory="/")
