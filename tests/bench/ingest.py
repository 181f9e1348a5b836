"""The reference platform: rows a second into PostgreSQL, alone and from a publisher through mosquitto."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from gateway.sim.platform.arrival import read, topic_filters
from gateway.sim.platform.ingester import Ingester
from gateway.sim.platform.link import Options
from gateway.sim.platform.postgres import PostgresStorage
from ingester.samples import ROOT, message, reading
from support.broker import broker
from support.postgres import postgres
from support.scripted_gateway import scripted_gateway

BATCH, READINGS, SENT = 500, 50, 3000


async def run(rounds: int) -> None:
    print(f"\n== Reference platform, envelopes of {READINGS} readings, fsync on ==")
    with postgres(fsync="on", shared_buffers="128MB", autovacuum="on") as server:
        async with server.database("alone") as dsn:
            seconds = await _alone(dsn, 2 * rounds)
        rate = BATCH * READINGS / seconds
        print(f"   {'storage alone, 500 envelopes per commit':<48} {rate:>9,.0f} rows/s")
        async with server.database("through") as dsn:
            seconds = await _through(dsn)
        print(f"   {'publisher, mosquitto, storage':<48} {SENT * READINGS / seconds:>9,.0f} rows/s")


def _message(seq: int) -> tuple[str, bytes]:
    return message(seq, [reading(seq + index / 7, f"m-{index}.energy") for index in range(READINGS)])


async def _alone(dsn: str, rounds: int) -> float:
    storage = await PostgresStorage.open(dsn)
    times = []
    try:
        for number in range(rounds):
            batch = [read(*_message(number * BATCH + index)) for index in range(1, BATCH + 1)]
            begin = time.perf_counter()
            await storage.store(batch)
            times.append(time.perf_counter() - begin)
    finally:
        await storage.close()
    return statistics.median(times)


async def _through(dsn: str) -> float:
    log = {seq: _message(seq) for seq in range(1, SENT + 1)}
    storage = await PostgresStorage.open(dsn)
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with broker(Path(folder), "max_queued_messages 0", "max_inflight_messages 0") as running:
                options = Options("127.0.0.1", running.port, "bench", tuple(topic_filters()))
                ingester = Ingester(options, storage, jitter=lambda: 0.1)
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(ingester.run())
                    await ingester.ready.wait()
                    async with scripted_gateway(running.port, ROOT, log) as gateway:
                        begin = time.perf_counter()
                        gateway.send(log)
                        while ingester.counts.envelopes < SENT:
                            await asyncio.sleep(0.01)
                        seconds = time.perf_counter() - begin
                    task.cancel()
    finally:
        await storage.close()
    return seconds
