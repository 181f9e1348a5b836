"""A15: somebody deletes the store's files while it works."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import StoreCorrupt
from gateway.model import Lane
from gateway.store.log import TEND_S
from store.rig import draft, drafts, everything, store
from store.test_full import no_file_beyond
from support import virtual_time


def delete(*names: str) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return act


def replace(directory: Path) -> None:
    """As a person does who restores a copy under a running daemon."""
    shutil.copy(directory / "store.db", directory / "copy")
    (directory / "copy").rename(directory / "store.db")


WAYS = {
    "the file": delete("store.db"),
    "its log": delete("store.db-wal"),
    "both": delete("store.db", "store.db-wal"),
    "everything in the directory": lambda directory: [file.unlink() for file in directory.iterdir()],
    "the directory": shutil.rmtree,
    "the file, for a copy": replace,
}
every_way = pytest.mark.parametrize("remove", WAYS.values(), ids=WAYS.keys())


@every_way
def test_it_is_noticed_within_a_minute_though_nothing_is_committed(
    tmp_path: Path, remove: Callable[[Path], None]
) -> None:
    async def main() -> None:
        directory = tmp_path / "store"
        async with store(directory) as log:
            await log.commit(drafts(Lane.EVENT, range(3)))
            async with asyncio.TaskGroup() as group:
                tending = group.create_task(expect_corrupt(log.tend()))
                await asyncio.sleep(10 * TEND_S)
                assert not tending.done()
                remove(directory)
                noticed_s = asyncio.get_running_loop().time()
                await tending
            assert asyncio.get_running_loop().time() - noticed_s <= 60.0
        async with store(directory) as log:
            assert log.recovery is not None, "the next start says what happened"
            await log.commit([draft(Lane.EVENT, 9)])
        async with store(directory) as log:
            assert log.recovery is None
            assert (await everything(log, Lane.EVENT))[-1].from_ms == 9

    virtual_time.run(main())


async def expect_corrupt(tending: object) -> None:
    with pytest.raises(StoreCorrupt, match=r"removed|replaced"):
        await tending  # type: ignore[misc]


@every_way
def test_nothing_more_is_accepted(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    async def main() -> None:
        directory = tmp_path / "store"
        async with store(directory) as log:
            epoch = log.epoch
            await log.commit(drafts(Lane.EVENT, range(3)))
            remove(directory)
            for _ in range(2):
                with pytest.raises(StoreCorrupt, match=r"removed|replaced"):
                    await log.commit([draft(Lane.EVENT, 4)])
        async with store(directory) as log:
            assert log.epoch != epoch

    asyncio.run(main())


def test_without_its_log_nothing_that_was_accepted_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as log:
            accepted = await log.commit(drafts(Lane.EVENT, range(30)))
            (tmp_path / "store.db-wal").unlink()
            with pytest.raises(StoreCorrupt):
                await log.commit([draft(Lane.EVENT, 4)])
        async with store(tmp_path) as log:
            assert [e.items for e in await everything(log, Lane.EVENT)] == [e.items for e in accepted]

    asyncio.run(main())


def test_a_failing_disk_does_not_hide_it(tmp_path: Path) -> None:
    """After an error of the disk the file is opened anew: not a new one in the place of the removed one."""

    async def main() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(Lane.EVENT, 1)])
            with no_file_beyond((tmp_path / "store.db-wal").stat().st_size + 5000):
                with pytest.raises(Exception, match="failed"):
                    await log.commit(drafts(Lane.BULK, range(3), 30_000))
                os.unlink(tmp_path / "store.db")
            with pytest.raises(StoreCorrupt, match="removed"):
                await log.commit([draft(Lane.EVENT, 2)])

    asyncio.run(main())
