"""The part inside the daemon, in virtual time: real files, a real pipeline, no devices and no broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import Configuration, load
from gateway.envelope import Draft, Envelope
from gateway.errors import GatewayError, StoreLocked
from gateway.ids import uuid7
from gateway.model import Lane, Reading, Reason, bad_reading
from gateway.pipeline import Pipeline
from gateway.remote.configuration import UNSIGNED_S, Begun, Remote, RemoteConfiguration, Terms, begin, in_force
from gateway.remote.record import Fate, Record
from gateway.remote.trial import LEAST_SHARE
from gateway.remote.versions import Versions
from rules.engine import Engine, Instant
from support import virtual_time
from support.clock import LoopClock
from support.remote_site import files, site_yaml, uplink, write
from support.sealed import KEYS, STRANGER, document

WINDOW_S = 100.0
SITE = site_yaml(1502, uplinks=uplink(1883))
BODY = document(3, files(site_yaml(1502, uplinks=uplink(1883), name="New")))


@dataclass
class Log:
    """The store: what would be events on disk."""

    events: list[dict[str, Any]] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        for draft in drafts:
            if draft.lane is Lane.EVENT:
                self.events += json.loads(draft.items)
        self.something.set()
        return ()


@dataclass
class Daemon:
    """One start of it."""

    begun: Begun
    pipeline: Pipeline
    log: Log
    service: RemoteConfiguration
    connected: set[str]
    restarts: list[Record]
    published: list[dict[str, Any]]
    clock: LoopClock

    def read(self, *, good: bool = True) -> None:
        """The probe has been asked."""
        now_ms = self.clock.now_ms()
        reading = Reading("probe-1.level", 1.0, now_ms, now_ms)
        self.pipeline.latest["probe-1.level"] = (
            reading if good else bad_reading("probe-1.level", Reason.NO_ANSWER, now_ms)
        )

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.log.events]

    async def until(self, holds: Callable[[], object]) -> None:
        """Looks whenever something was published, stored or asked for; sets no timer, for time would jump to it."""
        while not holds():
            self.log.something.clear()
            await self.log.something.wait()

    async def reports(self, body: bytes, over: str = "platform") -> dict[str, Any]:
        """What is published next after *body* has come."""
        seen = len(self.published)
        await self.service.desired(body, over)
        await self.until(lambda: len(self.published) > seen)
        return self.published[-1]


def pipeline_of(config: Configuration, log: Log, clock: LoopClock) -> Pipeline:
    started = Instant(clock.monotonic_s(), clock.now_ms())
    engine = Engine(config.rules, config.points, config.devices, new_id=uuid7, saved={}, started=started)
    return Pipeline(log, engine, config.points, clock)


@asynccontextmanager
async def daemon(directory: Path, known: Record | None = None) -> AsyncIterator[Daemon]:
    clock, log, connected = LoopClock(), Log(), {"platform"}
    begun = begin(load(directory / "config"), clock.now_ms(), known)
    pipeline = pipeline_of(begun.configuration, log, clock)
    restarts: list[Record] = []

    def restart(record: Record) -> None:
        restarts.append(record)
        log.something.set()

    def published(message: bytes) -> None:
        found.published.append(json.loads(message))
        log.something.set()

    remote = Remote(begun, Terms(KEYS, WINDOW_S), restart)
    service = RemoteConfiguration(remote, pipeline, lambda: connected, clock)
    found = Daemon(begun, pipeline, log, service, connected, restarts, [], clock)
    service.on_reported = published
    running = asyncio.create_task(service.run())
    try:
        yield found
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write(tmp_path / "config", files(SITE))
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path


def run(scene: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(scene, grace_s=0.001)


async def on_trial(site: Path) -> Record:
    """The state after a document has been put on trial while all was well."""
    async with daemon(site) as first:
        first.read()
        assert (await first.reports(BODY))["state"] == "on_trial"
        await first.until(lambda: first.restarts)
        return first.restarts[0]


def test_a_document_that_comes_at_the_start_waits_until_there_is_something_to_compare_with(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            await first.service.desired(BODY, "platform")
            await asyncio.sleep(WINDOW_S / 2)
            assert first.restarts == []
            first.read()
            await first.until(lambda: first.restarts)
            (record,) = first.restarts
            assert record.trial is not None
            assert (record.trial.devices, record.trial.uplinks) == (("probe-1",), ("platform",))
            assert first.kinds() == ["config.on_trial"]
            assert first.log.events[0]["attributes"]["key"] == "ops-2026"

    run(main())


def test_it_waits_for_silent_devices_no_longer_than_a_window(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            first.connected.clear()
            await first.service.desired(BODY, "platform")
            await first.until(lambda: first.restarts)
            assert WINDOW_S <= asyncio.get_running_loop().time() < WINDOW_S + 20
            trial = first.restarts[0].trial
            assert trial is not None
            assert (trial.devices, trial.uplinks) == ((), ("platform",)), "the one it came over was connected"

    run(main())


def test_of_documents_that_wait_the_newest_counts(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            for number in (3, 4, 5):
                await first.service.desired(document(number, files(SITE)), "platform")
                await asyncio.sleep(5)
            first.read()
            await first.until(lambda: first.restarts)
            assert [record.running.number for record in first.restarts] == [5]
            assert first.restarts[0].highest == 5

    run(main())


def test_confirmed_as_soon_as_all_is_well_and_not_before_a_quarter_of_the_window(site: Path) -> None:
    async def main() -> None:
        await on_trial(site)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with daemon(site) as second:
            assert second.begun.configuration.site.name.en == "New"
            assert in_force(load(site / "config")).site.name.en == "New", "for the commands beside the daemon"
            second.read()
            await second.until(lambda: second.published)
            assert LEAST_SHARE * WINDOW_S <= loop.time() - started_s < 0.5 * WINDOW_S
            assert (second.published[-1]["state"], second.kinds()) == ("running", ["config.applied"])
            assert second.restarts == []
        async with daemon(site) as third:
            third.read(good=False)
            await asyncio.sleep(5 * WINDOW_S)
            assert (third.kinds(), third.restarts) == ([], []), "told once, judged once"
            assert json.loads(third.service.reported())["running"]["version"] == 3

    run(main())


@pytest.mark.parametrize(("good", "connected", "code"), [(False, True, "devices"), (True, False, "uplink")])
def test_gone_back_at_the_end_of_the_window(site: Path, good: bool, connected: bool, code: str) -> None:
    async def main() -> None:
        await on_trial(site)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        async with daemon(site) as second:
            second.read(good=good)
            if not connected:
                second.connected.clear()
            await second.until(lambda: second.restarts)
            assert WINDOW_S <= loop.time() - started_s < 1.5 * WINDOW_S
            assert (second.published[-1]["state"], second.published[-1]["code"]) == ("rolled_back", code)
            assert second.kinds() == ["config.rolled_back"]
        async with daemon(site, second.restarts[0]) as third:
            assert third.begun.record.running.local
            third.read()
            assert (await third.reports(BODY))["state"] == "rolled_back", "retained, and therefore sent again and again"
            assert third.restarts == []

    run(main())


def test_a_full_disk_cannot_keep_a_bad_version_alive(site: Path) -> None:
    async def main() -> None:
        await on_trial(site)
        async with daemon(site) as second:
            second.read(good=False)
            (site / "store" / "config" / "record.json.new").mkdir()  # nothing can be saved any more
            await second.until(lambda: second.restarts)
        async with daemon(site, second.restarts[0]) as third:
            assert third.begun.record.running.local
            assert json.loads(third.service.reported())["state"] == "rolled_back"

    run(main())


def test_what_cannot_be_put_on_disk_is_rejected(site: Path) -> None:
    async def main() -> None:
        (site / "store" / "config").write_text("in the way")
        async with daemon(site) as first:
            first.read()
            found = await first.reports(BODY)
            assert (found["state"], found["code"]) == ("rejected", "storage")
            assert first.restarts == []

    run(main())


def test_documents_of_strangers_cost_an_event_a_minute_and_nothing_on_disk(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            first.read()
            for number in range(1, 51):
                await first.service.desired(document(number, files(SITE), private=STRANGER), "platform")
                await asyncio.sleep(0.5)
            await asyncio.sleep(1)
            await first.pipeline.drain()
            assert first.kinds() == ["config.rejected"]
            assert json.loads(first.service.reported())["code"] == "bad_signature"
            assert not (site / "store" / "config").exists()
            await asyncio.sleep(UNSIGNED_S)
            await first.reports(b"garbage")
            await first.pipeline.drain()
            assert len(first.kinds()) == 2
            assert (await first.reports(BODY))["state"] == "on_trial", "the right one is heard all the same"

    run(main())


def test_a_retained_message_that_is_cleared_is_no_document(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            await first.service.desired(b"", "platform")
            await asyncio.sleep(10)
            assert first.published == []

    run(main())


def test_a_bad_document_sent_again_is_answered_again_and_is_one_event(site: Path) -> None:
    async def main() -> None:
        bad = document(2, files(SITE.replace("profile: probe", "profile: prob")))
        async with daemon(site) as first:
            for _ in range(3):
                found = await first.reports(bad)
                assert (found["state"], found["faults"][0]["code"]) == ("rejected", "E-REF")
            assert first.kinds() == ["config.rejected"]
            first.read()
            assert (await first.reports(document(2, files(SITE))))["state"] == "on_trial", "its number is not used up"

    run(main())


def test_gone_back_by_hand(site: Path) -> None:
    async def main() -> None:
        record = await on_trial(site)
        async with daemon(site, record) as second:
            await asyncio.sleep(1)
            answer = second.service.handlers()
            with pytest.raises(GatewayError, match="who and reason"):
                await answer["config_rollback"]({"who": "li"})
            with pytest.raises(GatewayError, match="on trial"):
                await answer["config_apply"]({"document": BODY.decode()})
            found = await answer["config_rollback"]({"who": "li", "reason": "wrong tariff"})
            assert (found["state"], found["code"], "li" in found["reason"]["en"]) == ("rolled_back", "by_hand", True)
            assert len(second.restarts) == 1
            with pytest.raises(GatewayError, match="nothing to go back to"):
                await answer["config_rollback"]({"who": "li", "reason": "again"})
            second.read()
            await asyncio.sleep(2 * WINDOW_S)
            assert (second.kinds(), len(second.restarts)) == (["config.rolled_back"], 1), "nobody judges it any more"
        async with daemon(site, second.restarts[0]) as third:
            found = await third.service.handlers()["config"]({})
            assert [each["state"] for each in found["history"]] == ["on_trial", "rolled_back"]

    run(main())


def test_carried_by_hand_the_answer_comes_after_the_check(site: Path) -> None:
    async def main() -> None:
        async with daemon(site) as first:
            first.read()
            apply = first.service.handlers()["config_apply"]
            assert (await apply({"document": "nothing"}))["code"] == "malformed"
            waiting = asyncio.create_task(apply({"document": BODY.decode()}))
            await asyncio.sleep(0)
            await first.service.desired(document(9, files(SITE)), "platform")
            with pytest.raises(GatewayError, match="another document"):
                await waiting

    run(main())


# ---------------------------------------------------------------------- the start


def test_a_version_whose_files_are_damaged_is_given_up(site: Path) -> None:
    async def main() -> None:
        record = await on_trial(site)
        path = Versions(site / "store").path(record.running) / "rules" / "water.yaml"
        path.write_text(path.read_text() + "#")
        assert in_force(load(site / "config")).site.name.en == "Jiayuan"
        async with daemon(site) as second:
            assert second.begun.record.running.local
            await second.until(second.kinds)
            assert second.kinds() == ["config.rolled_back"]
            assert second.log.events[0]["attributes"]["code"] == "unusable"

    run(main())


def test_an_event_that_a_power_cut_kept_from_the_store_is_told_at_the_next_start(site: Path) -> None:
    async def main() -> None:
        record = await on_trial(site)
        Versions(site / "store").save(record.went_back("devices", record.outcome.reason, 5))  # type: ignore[union-attr]
        for kinds in (["config.rolled_back"], []):
            async with daemon(site) as found:
                await asyncio.sleep(10)
                assert found.kinds() == kinds

    run(main())


def test_a_second_daemon_counts_no_start(site: Path) -> None:
    async def main() -> None:
        await on_trial(site)
        versions = Versions(site / "store")
        before = versions.record()
        with versions.locked(), pytest.raises(StoreLocked):
            begin(load(site / "config"), 1)
        assert versions.record() == before

    run(main())


def test_without_anything_from_afar_a_start_leaves_no_trace(site: Path) -> None:
    config = load(site / "config")
    assert begin(config, 1).configuration is config
    assert in_force(config) is config
    assert list((site / "store").iterdir()) == []


def test_the_fates_are_words_of_the_contract() -> None:
    assert [str(fate) for fate in Fate] == ["running", "on_trial", "rejected", "rolled_back"]
