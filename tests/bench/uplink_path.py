"""The product's way from a reading to the broker (pipeline, store, uplink) in a process of its own; one JSON line each.

python -m tests.bench.uplink_path feed READINGS DIRECTORY PORT     as fast as it goes
python -m tests.bench.uplink_path fill ENVELOPES READINGS DIRECTORY   a store in which so much waits for the uplink
python -m tests.bench.uplink_path drain DIRECTORY PORT             deliver what waits, while new records come
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import SystemClock
from gateway.config.models import UplinkModel
from gateway.envelope import Draft, Encoder
from gateway.ids import uuid7
from gateway.model import Lane, Point, Reading, Text, ValueKind
from gateway.pipeline import Pipeline
from gateway.store.disk import used_bytes
from gateway.store.log import Store
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Subject
from gateway.uplink.dialects.native import Native
from gateway.uplink.mqtt import MqttUplink
from rules.engine import Engine, Instant
from rules.rule import RuleSet

UPLINK = "up"
BUDGET_BYTES = 4 * 2**30
DEVICES, VALUES = 100, 20
POINTS = {
    f"d{device}.v{n}": Point(f"d{device}.v{n}", ValueKind.NUMBER, Text("值", "value"), 1.0, unit="V")
    for device in range(DEVICES)
    for n in range(VALUES)
}
_MEASURED = 4096
FILL_COMMIT = 500
"""Envelopes of one transaction."""
NEW_EVERY_S = 0.1
LATE_S = 5.0
"""For what was recorded last to arrive."""


def uplink(port: int, store: Store, clock: SystemClock) -> MqttUplink:
    """The one place where these benches make an uplink."""
    model = UplinkModel(id=UPLINK, host="127.0.0.1", port=port, window=100, replay_rate=100_000)
    subject = Subject(
        uplink=UPLINK,
        identity=Identity("bench", "gw1", "0", "sha256:" + "0" * 64, "boot"),
        devices=(),
        commandable=frozenset(),
        destinations=[UPLINK],
        epoch=lambda: store.epoch,
        clock=clock,
        started_ms=clock.now_ms,
    )
    return MqttUplink(model, store, Native(subject), clock, on_quarantine=lambda envelope, reason: None)


def opened(directory: Path, clock: SystemClock) -> Store:
    return Store(directory, budget_bytes=BUDGET_BYTES, boot_id="boot", uplinks=[UPLINK], clock=clock)


@asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def measured() -> Sequence[float]:
    """As a meter says it, one decimal; enough of them that compression finds no pattern in their order."""
    chance = random.Random(1)
    return [round(chance.uniform(0, 500), 1) for _ in range(_MEASURED)]


def readings(table: Sequence[float], now_ms: int, number: int) -> Iterator[Sequence[Reading]]:
    """One read of each device."""
    start = number * len(POINTS)
    for device in range(DEVICES):
        first = start + device * VALUES
        yield [Reading(f"d{device}.v{n}", table[(first + n) % _MEASURED], now_ms, now_ms) for n in range(VALUES)]


async def feed(count: int, directory: Path, port: int) -> dict[str, float]:
    clock, table = SystemClock(), measured()
    async with opened(directory, clock) as store:
        engine = Engine(RuleSet(), POINTS, (), new_id=uuid7, started=Instant(clock.monotonic_s(), clock.now_ms()))
        pipeline = Pipeline(store, engine, POINTS, clock)
        sender = uplink(port, store, clock)
        async with running(pipeline.run(), sender.run()):
            while not sender.status.connected:
                await asyncio.sleep(0.01)
            begun, cpu_s = time.monotonic(), time.process_time()
            for number in range(count // len(POINTS)):
                for batch in readings(table, clock.now_ms(), number):
                    await pipeline.submit(batch)
                await asyncio.sleep(0)
            stored_s = time.monotonic() - begun
            while pipeline.waiting() or _waiting(store):
                await asyncio.sleep(0.01)
            return {
                "readings": pipeline.stats.accepted,
                "seconds": time.monotonic() - begun,
                "stored_s": stored_s,
                "cpu_s": time.process_time() - cpu_s,
                "commits": pipeline.stats.commits,
                "envelopes": store.last_seq(Lane.TELEMETRY),
                "disk_bytes": used_bytes(directory),
            }


async def fill(envelopes: int, count: int, directory: Path) -> dict[str, float]:
    clock = SystemClock()
    encoder = Encoder(POINTS)
    points = list(itertools.islice(POINTS, count))
    async with opened(directory, clock) as store:
        for start in range(0, envelopes, FILL_COMMIT):
            now_ms = clock.now_ms()
            batch = [Reading(point, start % 65536, now_ms, now_ms) for point in points]
            draft = next(encoder.drafts(Lane.TELEMETRY, batch, clock.state()))
            await store.commit([draft] * min(FILL_COMMIT, envelopes - start))
    return {"envelopes": envelopes, "disk_bytes": used_bytes(directory)}


async def drain(directory: Path, port: int) -> dict[str, float]:
    """Each new record carries the time.monotonic() at which it was given to the store."""
    clock = SystemClock()
    async with opened(directory, clock) as store:
        backlog, new = store.last_seq(Lane.TELEMETRY), asyncio.create_task(_record_for_ever(store))
        sender = uplink(port, store, clock)
        async with running(sender.run()):
            while not sender.status.connected:
                await asyncio.sleep(0.001)
            begun, cpu_s = time.monotonic(), time.process_time()
            while sender.status.acknowledged < backlog:
                await asyncio.sleep(0.01)
            seconds, cpu_s = time.monotonic() - begun, time.process_time() - cpu_s
            new.cancel()
            with suppress(asyncio.CancelledError):
                await new
            with suppress(TimeoutError):
                async with asyncio.timeout(LATE_S):
                    while _waiting(store):
                        await asyncio.sleep(0.01)
    return {"envelopes": backlog, "seconds": seconds, "cpu_s": cpu_s}


async def _record_for_ever(store: Store) -> None:
    while True:
        now = time.monotonic()
        body = f'[{{"made_s":{now}}}]'.encode()
        await store.commit([Draft(lane, body, 1, 0, 0) for lane in (Lane.ALARM, Lane.TELEMETRY)])
        await asyncio.sleep(NEW_EVERY_S)


def _waiting(store: Store) -> int:
    return sum(store.last_seq(lane) - store.cursor(UPLINK, lane) for lane in Lane)


async def main(what: str, *arguments: str) -> dict[str, float]:
    match what, arguments:
        case "feed", (count, directory, port):
            return await feed(int(count), Path(directory), int(port))
        case "fill", (envelopes, count, directory):
            return await fill(int(envelopes), int(count), Path(directory))
        case "drain", (directory, port):
            return await drain(Path(directory), int(port))
    sys.exit(__doc__)


if __name__ == "__main__":
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))), flush=True)
