"""A platform that dies between COMMIT and receipt: ``python dying_platform.py PORT NAME DSN COMMITS``."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence

from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import Arrival, topic_filters
from gateway.sim.platform.ingester import Ingester
from gateway.sim.platform.link import Options
from gateway.sim.platform.postgres import PostgresStorage
from gateway.sim.platform.storage import Storage, Stored


class Dying:
    def __init__(self, storage: Storage, commits: int) -> None:
        self._storage = storage
        self._commits = commits

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        stored = await self._storage.store(batch)
        self._commits -= 1
        if self._commits == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return stored

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        return await self._storage.accounts(streams)

    async def close(self) -> None:
        await self._storage.close()


async def main(port: int, name: str, dsn: str, commits: int) -> None:
    options = Options("127.0.0.1", port, name, tuple(topic_filters()), window=50)
    storage = Dying(await PostgresStorage.open(dsn), commits)
    await Ingester(options, storage, jitter=random.random).run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
