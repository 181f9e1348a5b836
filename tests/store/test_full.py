"""No room: in the budget, on the disk, or because the disk fails."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.errors import StoreError, StoreFull
from gateway.model import Lane
from gateway.store.log import Store
from gateway.store.retention import EVICTION_ORDER
from store.rig import MIB, announced, draft, drafts, everything, store


async def lost(log: Store) -> dict[Lane, set[int]]:
    """What has been announced as dropped."""
    seqs: dict[Lane, set[int]] = {lane: set() for lane in Lane}
    for gap in await announced(log):
        if gap.get("reason") == "store_full":
            run = range(int(str(gap["from_seq"])), int(str(gap["to_seq"])) + 1)
            assert gap["lane"] == "gap" or gap["count"] == len(run)
            assert not seqs[Lane(str(gap["lane"]))] & set(run)
            seqs[Lane(str(gap["lane"]))] |= set(run)
    return seqs


async def held(log: Store, lane: Lane) -> set[int]:
    return {envelope.seq for envelope in await everything(log, lane)}


def test_the_urgent_are_dropped_last_and_every_loss_is_announced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=2 * MIB) as log:
            flooded = [lane for lane in EVICTION_ORDER if lane is not Lane.GAP]
            for lane in flooded:
                for mark in range(300 if lane is Lane.ALARM else 120):
                    await log.commit([draft(lane, mark, 6000), draft(lane, mark, 300)])
                    stats = await log.stats()
                    assert stats.bytes <= 2 * MIB
                    suffering = [other for other in EVICTION_ORDER if stats.lanes[other].evicted]
                    for spared in EVICTION_ORDER[: EVICTION_ORDER.index(suffering[-1])] if suffering else ():
                        assert spared is Lane.GAP or not stats.lanes[spared].envelopes
                assert set(range(1, log.last_seq(lane) + 1)) == await held(log, lane) | (await lost(log))[lane]
            losses = await lost(log)
            for lane in flooded:
                assert losses[lane] == set(range(1, log.last_seq(lane) + 1)) - await held(log, lane)
            evicted = {lane: stats.lanes[lane].evicted for lane in flooded}
            assert evicted[Lane.BULK] == 240
            assert evicted[Lane.EVENT] == 240
            assert 0 < evicted[Lane.ALARM] < 600

    asyncio.run(scenario())


def test_gap_records_stay_few(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=8 * MIB) as log:
            for mark in range(800):
                await log.commit(drafts(Lane.TELEMETRY, range(mark * 5, mark * 5 + 5), 5000))
            assert (await log.stats()).evicted > 2000
            assert log.last_seq(Lane.GAP) < 200
            assert set(range(1, 4001)) == await held(log, Lane.TELEMETRY) | (await lost(log))[Lane.TELEMETRY]
            assert not await held(log, Lane.TELEMETRY) & (await lost(log))[Lane.TELEMETRY]

    asyncio.run(scenario())


def test_what_every_uplink_has_goes_first_and_silently(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, uplinks=["a", "b"], budget_bytes=2 * MIB) as log:
            await log.commit(drafts(Lane.BULK, range(40), 5000))
            await log.commit(drafts(Lane.ALARM, range(100), 5000))
            await log.acknowledge("a", {Lane.ALARM: 100, Lane.BULK: 40})
            await log.acknowledge("b", {Lane.ALARM: 90})
            assert (await log.stats()).lanes[Lane.ALARM].envelopes == 100
            while log.last_seq(Lane.BILLING) < 1000 and len(await held(log, Lane.ALARM)) > 10:
                await log.commit([draft(Lane.BILLING, 1, 9000)])
                if len(await held(log, Lane.ALARM)) > 10:
                    assert len(await held(log, Lane.BULK)) == 40
                    assert not await announced(log)
            assert await held(log, Lane.ALARM) == set(range(91, 101))
            for _ in range(30):
                await log.commit([draft(Lane.BILLING, 1, 9000)])
            assert await held(log, Lane.ALARM) == set(range(91, 101))
            assert (await lost(log))[Lane.BULK] >= {1}

    asyncio.run(scenario())


def test_without_uplinks_nothing_is_lost_by_being_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, uplinks=[], budget_bytes=MIB) as log:
            for mark in range(300):
                await log.commit([draft(Lane.EVENT, mark, 9000)])
            assert await announced(log) == []
            assert (await log.stats()).evicted == 0
            assert 0 < len(await held(log, Lane.EVENT)) < 300
        async with store(tmp_path, uplinks=["new"], budget_bytes=MIB) as log:
            first = min(await held(log, Lane.EVENT))
            assert (await log.stats()).lanes[Lane.EVENT].unacknowledged == {"new": 301 - first}

    asyncio.run(scenario())


def test_an_emptied_lane_knows_its_next_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=MIB) as log:
            await log.commit(drafts(Lane.BULK, range(10), 3000))
            for mark in range(100):
                await log.commit([draft(Lane.ALARM, mark, 20_000)])
            assert await held(log, Lane.BULK) == set()
        async with store(tmp_path, budget_bytes=MIB) as log:
            (next_one,) = await log.commit([draft(Lane.BULK, 1)])
            assert next_one.seq == 11

    asyncio.run(scenario())


def test_more_than_the_budget_is_refused_and_nothing_is_dropped_for_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=MIB) as log:
            await log.commit(drafts(Lane.BULK, range(10), 3000), {"key": b"before"})
            with pytest.raises(StoreFull) as caught:
                await log.commit(drafts(Lane.ALARM, range(30), 60_000), {"key": b"after"})
            assert caught.value.hint
            assert len(await held(log, Lane.BULK)) == 10
            assert log.last_seq(Lane.ALARM) == 0
            assert await log.state() == {"key": b"before"}
            (accepted,) = await log.commit([draft(Lane.ALARM, 1)])
            assert accepted.seq == 1

    asyncio.run(scenario())


# ---------------------------------------------------------------------- the disk


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        reason = "mounting a tmpfs needs root and the right to mount"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_small_disk_is_used_and_never_filled(tmp_path: Path) -> None:
    """4 MB of disk, a budget of 64 MiB, three times the disk offered: alarms all stay, losses are counted exactly."""

    async def scenario(directory: Path) -> None:
        async with store(directory, budget_bytes=64 * MIB) as log:
            for mark in range(1200):
                urgent = [draft(Lane.ALARM, mark)] if mark % 20 == 0 else []
                await log.commit([draft(Lane.TELEMETRY, mark, 10_000), *urgent])
            assert await held(log, Lane.ALARM) == set(range(1, 61))
            kept, dropped = await held(log, Lane.TELEMETRY), (await lost(log))[Lane.TELEMETRY]
            assert kept | dropped == set(range(1, 1201))
            assert not kept & dropped
            assert len(kept) > 150
            free = os.statvfs(directory)
            assert free.f_bavail * free.f_frsize > 100_000

    with small_disk(tmp_path / "disk", "4m") as directory:
        asyncio.run(scenario(directory))


def test_a_disk_filled_by_somebody_else(tmp_path: Path) -> None:
    """The reserve is given up, evictions make room inside the file; when the disk is free again so is the store."""

    async def scenario(directory: Path) -> None:
        log = store(directory, budget_bytes=64 * MIB)
        async with log:
            for mark in range(60):
                await log.commit([draft(Lane.BULK, mark, 10_000), draft(Lane.EVENT, mark)])
            assert (directory / "store.ballast").exists()
            fill(directory / "filler")
            accepted, refused = 60, 0
            for mark in range(300):
                try:
                    await log.commit([draft(Lane.BULK, mark, 10_000), draft(Lane.EVENT, mark)])
                    accepted += 1
                except StoreFull:
                    refused += 1
            assert refused == 0
            assert not (directory / "store.ballast").exists()
            assert await held(log, Lane.EVENT) == set(range(1, accepted + 1))
            assert await held(log, Lane.BULK) | (await lost(log))[Lane.BULK] == set(range(1, accepted + 1))
            (directory / "filler").unlink()
            log._clock.advance(61)  # type: ignore[attr-defined]  # the reserve is taken again, but not at once
            await log.commit([draft(Lane.EVENT, 1)])
            assert (directory / "store.ballast").exists()
        async with store(directory, budget_bytes=64 * MIB) as log:
            assert log.recovery is None
            assert log.last_seq(Lane.EVENT) == accepted + 1

    with small_disk(tmp_path / "disk", "8m") as directory:
        asyncio.run(scenario(directory))


def test_a_full_disk_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    async def scenario(directory: Path) -> None:
        async with store(directory, budget_bytes=64 * MIB) as log:
            await log.commit(drafts(Lane.BULK, range(100), 10_000))
        fill(directory / "filler")
        async with store(directory, budget_bytes=64 * MIB) as log:
            assert log.recovery is None
            await log.commit([draft(Lane.ALARM, 1)])
            assert await held(log, Lane.ALARM) == {1}

    with small_disk(tmp_path / "disk", "8m") as directory:
        asyncio.run(scenario(directory))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Writes behind this offset fail with EFBIG, which SQLite takes for a failing disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_after_an_error_of_the_disk_the_store_goes_on_and_nothing_is_half_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            epoch = log.epoch
            await log.commit(drafts(Lane.EVENT, range(3)), {"key": b"before"})
            with no_file_beyond((tmp_path / "store.db-wal").stat().st_size + 5000):
                for _ in range(3):
                    with pytest.raises(StoreError) as caught:
                        await log.commit(drafts(Lane.BULK, range(3), 30_000), {"key": b"after"})
                    assert caught.value.hint
            assert await log.state() == {"key": b"before"}
            assert [log.last_seq(lane) for lane in (Lane.EVENT, Lane.BULK)] == [3, 0]
            accepted = await log.commit(drafts(Lane.BULK, range(3), 30_000))
            assert [e.seq for e in accepted] == [1, 2, 3]
        async with store(tmp_path) as log:
            assert log.recovery is None
            assert log.epoch == epoch
            assert await everything(log, Lane.BULK) == list(accepted)

    asyncio.run(scenario())
