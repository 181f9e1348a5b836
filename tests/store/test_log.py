from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.envelope import Envelope
from gateway.errors import StoreCorrupt, StoreError, StoreLocked
from gateway.model import Lane
from store.rig import BOOT, announced, draft, drafts, everything, store


def test_commit_numbers_each_lane_from_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            first = await log.commit([draft(Lane.ALARM, 1), draft(Lane.TELEMETRY, 2), draft(Lane.ALARM, 3)])
            assert [(e.lane, e.seq) for e in first] == [(Lane.ALARM, 1), (Lane.TELEMETRY, 1), (Lane.ALARM, 2)]
            again = await log.commit([draft(Lane.ALARM, 4, records=5)])
            content = draft(Lane.ALARM, 4)
            assert list(again) == [Envelope(log.epoch, Lane.ALARM, 3, BOOT, content.items, 5, 4, 14)]
            assert await log.after(Lane.ALARM, 2, 10) == again
            assert await log.after(Lane.ALARM, 3, 10) == ()
            assert [log.last_seq(lane) for lane in (Lane.ALARM, Lane.TELEMETRY, Lane.BULK)] == [3, 1, 0]

    asyncio.run(scenario())


def test_a_restart_keeps_epoch_numbers_and_content(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            epoch = log.epoch
            before = await log.commit(drafts(Lane.BILLING, range(7)))
        async with store(tmp_path, boot_id="another boot") as log:
            assert log.epoch == epoch
            assert log.recovery is None
            assert await everything(log, Lane.BILLING, limit=3) == list(before)
            (after,) = await log.commit([draft(Lane.BILLING, 8)])
            assert (after.seq, after.boot_id) == (8, "another boot")

    asyncio.run(scenario())


def test_state_is_saved_changed_and_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit([], {"a": b"1", "b": b"2"})
            await log.commit([draft(Lane.ALARM, 1)], {"a": None, "b": b"3", "never there": None})
        async with store(tmp_path) as log:
            assert await log.state() == {"b": b"3"}

    asyncio.run(scenario())


def test_acknowledgements_never_go_back_and_never_beyond_what_exists(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, uplinks=["a", "b"]) as log:
            await log.commit(drafts(Lane.EVENT, range(5)))
            await log.acknowledge("a", {Lane.EVENT: 3})
            await log.acknowledge("a", {Lane.EVENT: 2})
            assert log.cursor("a", Lane.EVENT) == 3
            await log.acknowledge("b", {Lane.EVENT: 4000})
            assert log.cursor("b", Lane.EVENT) == 5
            stats = (await log.stats()).lanes[Lane.EVENT]
            assert stats.unacknowledged == {"a": 2, "b": 0}
            assert stats.waiting_since_ms == {"a": 3}
        async with store(tmp_path, uplinks=["a", "b"]) as log:
            assert [log.cursor(uplink, Lane.EVENT) for uplink in "ab"] == [3, 5]

    asyncio.run(scenario())


def test_an_uplink_that_was_removed_and_comes_back_starts_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, uplinks=["a", "b"]) as log:
            await log.commit(drafts(Lane.EVENT, range(5)))
            await log.acknowledge("a", {Lane.EVENT: 5})
        async with store(tmp_path, uplinks=["b"]) as log:
            assert log.cursor("b", Lane.EVENT) == 0
            with pytest.raises(KeyError):
                log.cursor("a", Lane.EVENT)
        async with store(tmp_path, uplinks=["a", "b"]) as log:
            assert log.cursor("a", Lane.EVENT) == 0

    asyncio.run(scenario())


def test_many_waiters_miss_no_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            seen: list[list[int]] = [[], [], []]

            async def follow(numbers: list[int]) -> None:
                commits, seq = 0, 0
                while seq < 30:
                    commits = await log.wait_for_commit(commits)
                    for envelope in await log.after(Lane.BULK, seq, 100):
                        seq = envelope.seq
                        numbers.append(seq)

            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                for numbers in seen:
                    group.create_task(follow(numbers))
                for mark in range(30):
                    await log.commit([draft(Lane.BULK, mark)])
            assert seen == [list(range(1, 31))] * 3
            assert await log.wait_for_commit(29) == 30

    asyncio.run(scenario())


def test_concurrent_and_cancelled_commits_leave_no_hole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            tasks = [asyncio.create_task(log.commit([draft(Lane.EVENT, mark)])) for mark in range(40)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            accepted = {e.seq: e for done in results if not isinstance(done, BaseException) for e in done}
            stored = {e.seq: e for e in await everything(log, Lane.EVENT)}
            assert len(accepted) == 26
            assert accepted.items() <= stored.items()
            assert sorted(stored) == list(range(1, len(stored) + 1))
            (following,) = await log.commit([draft(Lane.EVENT, 99)])
            assert following.seq == len(stored) + 1

    asyncio.run(scenario())


def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            with pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
                await store(tmp_path).__aenter__()
            await log.commit([draft(Lane.EVENT, 1)])
        async with store(tmp_path) as log:
            assert log.last_seq(Lane.EVENT) == 1

    asyncio.run(scenario())


def test_a_directory_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used") as caught:
        asyncio.run(store(tmp_path / "file").__aenter__())
    assert caught.value.hint


def test_a_budget_that_is_too_small_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="too small"):
            asyncio.run(store(tmp_path, budget_bytes=1000).__aenter__())


def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path / "new") as log:
            await log.commit([draft(Lane.EVENT, 1)])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
            assert set(modes) >= {"store.db", "store.db-wal", "store.db-shm", "store.lock", "store.ballast"}
            assert not [name for name, mode in modes.items() if mode & 0o077]
            assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700

    asyncio.run(scenario())


def test_a_deleted_file_is_noticed_before_anything_more_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(Lane.EVENT, 1)])
            (tmp_path / "store.db").unlink()
            with pytest.raises(StoreCorrupt, match="removed"):
                await log.commit([draft(Lane.EVENT, 2)])
        async with store(tmp_path) as log:
            assert log.last_seq(Lane.EVENT) == 0

    asyncio.run(scenario())


def damage(directory: Path, lane: Lane, *seqs: int) -> None:
    """Change a letter in the items, as bit rot would: SQLite itself does not notice."""
    with sqlite3.connect(directory / "store.db") as connection:
        for seq in seqs:
            connection.execute(
                f"UPDATE {lane} SET items = CAST(replace(CAST(items AS TEXT), 'x', 'y') AS BLOB) WHERE seq = ?", (seq,)
            )
    connection.close()


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_damaged_rows_are_never_returned_and_announced_once(tmp_path: Path, limit: int) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            epoch = log.epoch
            await log.commit([draft(Lane.BILLING, mark, records=2) for mark in range(1, 31)])
        damage(tmp_path, Lane.BILLING, 1, 7, 20)
        async with store(tmp_path) as log:
            assert log.epoch == epoch
            whole = [seq for seq in range(1, 31) if seq not in (1, 7, 20)]
            assert [e.seq for e in await everything(log, Lane.BILLING, limit)] == whole
            gaps = await announced(log)
            assert [(g["lane"], g["from_seq"], g["to_seq"], g["count"], g["reason"]) for g in gaps] == [
                ("billing", seq, seq, 2, "store_damaged") for seq in (1, 7, 20)
            ]
            assert (gaps[1]["from_ms"], gaps[1]["to_ms"]) == (8, 8)
            assert (await log.stats()).lanes[Lane.BILLING].damaged == 3
        async with store(tmp_path) as log:
            assert [e.seq for e in await everything(log, Lane.BILLING)] == whole
            assert len(await announced(log)) == 3

    asyncio.run(scenario())


def test_neighbouring_damaged_rows_are_one_gap(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit(drafts(Lane.BULK, range(1, 20)))
        damage(tmp_path, Lane.BULK, 5, 6, 7)
        async with store(tmp_path) as log:
            assert len(await everything(log, Lane.BULK)) == 16
            assert [(g["from_seq"], g["to_seq"], g["count"]) for g in await announced(log)] == [(5, 7, 3)]

    asyncio.run(scenario())
