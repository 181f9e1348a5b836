"""A damaged store never keeps the gateway from starting, and never yields what is not true."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.envelope import Draft, Envelope
from gateway.errors import StoreCorrupt
from gateway.model import Lane
from gateway.store.wal import lost_commits
from store.rig import announced, draft, drafts, everything, store

ROWS = {Lane.ALARM: 20, Lane.BILLING: 60, Lane.TELEMETRY: 60}
Damage = Callable[[bytearray, random.Random], None]


def flip_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_bit_in_header(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(100)] ^= 1 << chance.randrange(8)


def zero_page(content: bytearray, chance: random.Random) -> None:
    page = chance.randrange(len(content) // 4096)
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)


def random_page(content: bytearray, chance: random.Random) -> None:
    page = chance.randrange(len(content) // 4096)
    content[page * 4096 : (page + 1) * 4096] = chance.randbytes(4096)


def truncate(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def garbage(content: bytearray, chance: random.Random) -> None:
    content[:] = chance.randbytes(chance.randrange(1, 20_000))


DAMAGES: list[Damage] = [flip_bit, flip_bit_in_header, zero_page, random_page, truncate, garbage]


def unlike_any_other(lane: Lane, mark: int, size: int) -> Draft:
    """No piece of it is like a piece of another."""
    text = "".join(hashlib.sha256(f"{lane} {mark} {part}".encode()).hexdigest() for part in range(size // 64))
    return Draft(lane, f'[{{"p": "{text}"}}]'.encode(), 1, mark, mark + 10)


async def fill(directory: Path) -> dict[bytes, Envelope]:
    async with store(directory) as log:
        accepted: list[Envelope] = []
        for lane, rows in ROWS.items():
            small, large = (
                [unlike_any_other(lane, mark, size) for mark in marks]
                for marks, size in ((range(rows // 2), 900), (range(rows // 2, rows), 9000))
            )
            accepted += await log.commit(small, {"journal": b"before"})
            accepted += await log.commit(large, {"journal": b"kept"})
        return {bytes([list(Lane).index(e.lane)]) + e.items: e for e in accepted}


@pytest.mark.parametrize("mutations", [60, pytest.param(200, marks=pytest.mark.long)])
def test_whatever_is_damaged_it_starts_and_salvages_what_is_whole(tmp_path: Path, mutations: int) -> None:
    """A13."""
    before = asyncio.run(fill(tmp_path / "whole"))
    original = (tmp_path / "whole" / "store.db").read_bytes()
    places = {key: pieces(envelope.items, original) for key, envelope in before.items()}
    outcomes: Counter[str] = Counter()
    slowest, whole, saved = 0.0, 0, 0
    for number in range(mutations):
        directory = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", directory)
        content = bytearray((directory / "store.db").read_bytes())
        DAMAGES[number % len(DAMAGES)](content, random.Random(number))
        (directory / "store.db").write_bytes(content)
        started = time.monotonic()
        outcome, found = asyncio.run(survive(directory, before))
        slowest = max(slowest, time.monotonic() - started)
        outcomes[outcome] += 1
        unharmed = {
            key for key, parts in places.items() if all(content[at : at + len(part)] == part for at, part in parts)
        }
        whole, saved = whole + len(unharmed), saved + len(unharmed & found)
        shutil.rmtree(directory)
    print(f"{mutations} mutations: {dict(outcomes)}, {saved} of {whole} whole rows saved, slowest {slowest:.2f} s")
    assert outcomes.total() == mutations
    assert outcomes["replaced"] > mutations // 3
    assert slowest < 5.0
    assert whole > 50 * mutations
    assert saved >= 0.95 * whole


def pieces(items: bytes, content: bytes) -> list[tuple[int, bytes]]:
    """Where parts of the items are in the file; a row is whole, by its bytes alone, when all of them are."""
    parts = [items[at : at + 64] for at in range(0, len(items) - 64, 512)]
    return [(content.find(part), part) for part in parts if part in content]


async def survive(directory: Path, before: dict[bytes, Envelope]) -> tuple[str, set[bytes]]:
    """Start, read everything, accept something new; twice, for damage that only reading reveals."""
    for _ in range(2):
        try:
            async with store(directory) as log:
                found = [envelope for lane in ROWS for envelope in await everything(log, lane)]
                known = [before.get(bytes([list(Lane).index(e.lane)]) + e.items) for e in found]
                assert None not in known, "something was returned that had never been accepted"
                if log.recovery is None:
                    assert found == known
                else:
                    assert log.recovery.moved_to is not None
                    assert log.recovery.moved_to.exists()
                    assert sum(log.recovery.salvage.envelopes.values()) == len(found)
                    assert len({id(envelope) for envelope in known}) == len(found), "something came twice"
                await log.commit([draft(Lane.ALARM, 1)])
                assert (await log.state()).get("journal", b"kept") in (b"kept", b"before")
                keys = {bytes([list(Lane).index(e.lane)]) + e.items for e in found}
                return "used" if log.recovery is None else "replaced", keys
        except StoreCorrupt:
            continue
    raise AssertionError("damage was found twice")


@pytest.mark.parametrize("lost", ["page 1", "page 1 and the epoch", "every page of the tree above"])
def test_rows_are_carved_out_of_the_pages(tmp_path: Path, lost: str) -> None:
    """Also, with the epoch gone from a store in mid-life, those that are in the log only."""

    async def scenario() -> None:
        living, damaged = tmp_path / "living", tmp_path / "damaged"
        async with store(living) as log:
            accepted = [*await log.commit(drafts(Lane.EVENT, range(300), 900), {"journal": b"kept"})]
            accepted += await log.commit(drafts(Lane.EVENT, range(300, 320), 9000))
            await log.acknowledge("main", {Lane.EVENT: 30})
            accepted += await log.commit(drafts(Lane.EVENT, range(320, 340)))
            if "epoch" in lost:
                shutil.copytree(living, damaged)
        if "epoch" not in lost:
            shutil.copytree(living, damaged)
        content = bytearray((damaged / "store.db").read_bytes())
        tree = [0] if "page 1" in lost else [at for at in range(0, len(content), 4096) if content[at] in (0x05, 0x53)]
        for at in tree:
            content[at : at + 4096] = bytes(4096)
        if "epoch" in lost:
            hidden = log.epoch.encode()
            wal = (damaged / "store.db-wal").read_bytes().replace(hidden, b"?" * len(hidden))
            (damaged / "store.db-wal").write_bytes(wal)
            content = bytearray(content.replace(hidden, b"?" * len(hidden)))
        (damaged / "store.db").write_bytes(content)
        (damaged / "store.damaged").write_text("for the test")
        async with store(damaged) as log:
            assert log.recovery is not None
            assert [e.items for e in await everything(log, Lane.EVENT)] == [e.items for e in accepted[30:]]
            assert await log.state() == {"journal": b"kept"}

    asyncio.run(scenario())


@pytest.mark.parametrize("offset", [18, 19])
def test_a_header_that_makes_the_file_read_only_is_damage(tmp_path: Path, offset: int) -> None:
    """SQLite reads such a file and refuses to write: the daemon would run and accept nothing for ever."""
    before = asyncio.run(fill(tmp_path))
    content = bytearray((tmp_path / "store.db").read_bytes())
    content[offset] ^= 0x10
    (tmp_path / "store.db").write_bytes(content)
    assert asyncio.run(survive(tmp_path, before)) == ("replaced", set(before))


def test_what_checks_is_salvaged_under_new_numbers_and_a_new_epoch(tmp_path: Path) -> None:
    before = asyncio.run(fill(tmp_path))
    with sqlite3.connect(tmp_path / "store.db") as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'bulk'").fetchone()[0]
    connection.close()
    with (tmp_path / "store.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)

    async def scenario() -> None:
        async with store(tmp_path) as log:
            assert log.epoch != next(iter(before.values())).epoch
            assert log.recovery is not None
            assert log.recovery.moved_to is not None
            assert log.recovery.moved_to.read_bytes()[:6] == b"SQLite"
            found = [envelope for lane in ROWS for envelope in await everything(log, lane)]
            assert [e.items for e in found] == [e.items for e in before.values()]
            assert {e.epoch for e in found} == {log.epoch}
            assert [e.seq for e in await everything(log, Lane.ALARM)] == list(range(1, ROWS[Lane.ALARM] + 1))
            assert await log.state() == {"journal": b"kept"}

    asyncio.run(scenario())


def test_salvage_leaves_out_what_was_acknowledged_and_gaps_of_the_old_numbers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit(drafts(Lane.EVENT, range(10)))
            await log.commit([draft(Lane.GAP, 1)])
            await log.acknowledge("main", {Lane.EVENT: 4})
        with sqlite3.connect(tmp_path / "store.db") as connection:
            connection.execute("UPDATE event SET items = x'00' WHERE seq = 7")
        connection.close()
        async with store(tmp_path) as log:
            assert len(await everything(log, Lane.EVENT)) == 9
            assert len(await announced(log)) == 2
        (tmp_path / "store.damaged").write_text("for the test")
        async with store(tmp_path) as log:
            assert [e.from_ms for e in await everything(log, Lane.EVENT)] == [4, 5, 7, 8, 9]
            assert [e.seq for e in await everything(log, Lane.EVENT)] == [1, 2, 3, 4, 5]
            assert [item.get("p") for item in await announced(log)] == ["d-1.x"]
            assert not (tmp_path / "store.damaged").exists()

    asyncio.run(scenario())


def test_damage_found_while_running_is_mended_by_the_next_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit(drafts(Lane.EVENT, range(100)))
        with sqlite3.connect(tmp_path / "store.db") as connection:
            connection.execute("UPDATE event SET records = records + 1")
            connection.execute("UPDATE event SET records = records - 1 WHERE seq = 100")
        connection.close()
        async with store(tmp_path) as log:
            with pytest.raises(StoreCorrupt):
                await log.after(Lane.EVENT, 0, 20)
        async with store(tmp_path) as log:
            assert log.recovery is not None
            assert len(await everything(log, Lane.EVENT)) == 1

    asyncio.run(scenario())


def test_at_most_two_damaged_stores_are_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        for number in range(4):
            (tmp_path / "store.db").write_bytes(b"not a database" * 100)
            opened = store(tmp_path)
            opened._clock.advance(number)  # type: ignore[attr-defined]  # a name per moment
            async with opened as log:
                assert log.recovery is not None
        assert len(list(tmp_path.glob("store.db.corrupt-*"))) == 2

    asyncio.run(scenario())


def test_a_newer_schema_is_set_aside_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit(drafts(Lane.EVENT, range(5)))
        with sqlite3.connect(tmp_path / "store.db") as connection:
            connection.execute("PRAGMA user_version = 99")
            connection.execute("UPDATE meta SET value = '99' WHERE key = 'readable_from'")
        connection.close()
        async with store(tmp_path) as log:
            assert log.recovery is not None
            assert log.recovery.moved_to is not None
            assert ".newer-" in log.recovery.moved_to.name
            assert log.last_seq(Lane.EVENT) == 0
            kept = sqlite3.connect(log.recovery.moved_to)
            assert kept.execute("SELECT count(*) FROM event").fetchone() == (5,)
            kept.close()

    asyncio.run(scenario())


def test_an_interrupted_replacement_is_finished(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    (tmp_path / "store.db").rename(tmp_path / "store.db.new")

    async def scenario() -> None:
        async with store(tmp_path) as log:
            assert log.recovery is None
            assert log.last_seq(Lane.ALARM) == ROWS[Lane.ALARM]

    asyncio.run(scenario())


# ---------------------------------------------------------------------- the write-ahead log


def crashed(tmp_path: Path, commits: int) -> Path:
    """A copy of a store as it is on disk in mid-life, its log full of commits."""

    async def scenario() -> None:
        async with store(tmp_path / "living") as log:
            for mark in range(commits):
                await log.commit([draft(Lane.EVENT, mark)])
            (tmp_path / "crashed").mkdir()
            for name in ("store.db", "store.db-wal"):
                shutil.copy(tmp_path / "living" / name, tmp_path / "crashed" / name)

    asyncio.run(scenario())
    return tmp_path / "crashed"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95])
def test_a_flipped_bit_in_the_log_never_gives_a_number_away_twice(tmp_path: Path, share: float) -> None:
    """A14.  In the last commit of the log it cannot be told from a torn write, so the catalogue's 99 % is 95 here."""
    directory = crashed(tmp_path, commits=60)
    wal = bytearray((directory / "store.db-wal").read_bytes())
    wal[int(len(wal) * share) + 8] ^= 0x10
    (directory / "store.db-wal").write_bytes(wal)

    async def scenario() -> None:
        async with store(tmp_path / "living") as log:
            epoch = log.epoch
        async with store(directory) as log:
            assert log.recovery is not None
            assert log.epoch != epoch
            assert "log" in log.recovery.fault
            marks = [e.from_ms for e in await everything(log, Lane.EVENT)]
            assert marks == list(range(len(marks)))

    asyncio.run(scenario())


def test_a_torn_last_transaction_is_no_damage(tmp_path: Path) -> None:
    """What a power cut leaves: the last commit, never reported as accepted, is incomplete."""
    directory = crashed(tmp_path, commits=40)
    wal = bytearray((directory / "store.db-wal").read_bytes())
    wal[-2000:-1000] = bytes(1000)
    (directory / "store.db-wal").write_bytes(wal)

    async def scenario() -> None:
        async with store(directory) as log:
            assert log.recovery is None
            assert log.last_seq(Lane.EVENT) == 39

    asyncio.run(scenario())


def test_no_log_no_loss() -> None:
    assert lost_commits(b"", 0) == 0
    assert lost_commits(bytes(31), 0) == 0
    assert lost_commits(bytes(5000), 0) == 0
