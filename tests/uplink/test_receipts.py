"""``delivery: receipt``: an envelope is forgotten when the platform has it, not when a broker says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.model import Lane
from gateway.uplink.window import OUT
from support.broker import broker
from support.memory_store import MemoryStore
from support.mqtt_subscriber import Subscriber, subscriber
from uplink.rig import QUICK, TOPICS, Rig, build, running


def receipt(
    seen: Subscriber, lane: str, upto: int, missing: list[list[int]] | None = None, epoch: str = "epoch-1"
) -> None:
    item = {"epoch": epoch, "lane": lane, "upto": upto, **({"missing": missing} if missing else {})}
    seen.publish(TOPICS.receipt, json.dumps(item).encode())


async def until(true: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@dataclass
class Platform:
    """Counts what it has ever seen, over all its connections, and says so."""

    have: dict[str, set[int]] = field(default_factory=dict)

    def account(self, seen: Subscriber) -> None:
        for one in seen.received:
            if one.topic.rsplit("/", 1)[-1] in ("alarm", "event", "telemetry"):
                self.have.setdefault(one.json["lane"], set()).add(one.json["seq"])

    def say(self, seen: Subscriber) -> None:
        self.account(seen)
        for lane, have in self.have.items():
            missing = [[seq, seq] for seq in range(1, max(have)) if seq not in have]
            receipt(seen, lane, max(have), missing)

    async def keep_saying(self, seen: Subscriber) -> None:
        while True:
            self.say(seen)
            await asyncio.sleep(0.1)


def test_the_broker_s_word_is_not_enough(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port, delivery="receipt")
            rig.store.append(Lane.TELEMETRY, 50)
            async with running(rig):
                await seen.until(lambda: len(seen.on("telemetry")) == 50, "50 envelopes")
                await until(lambda: rig.uplink.status.unconfirmed == 50, "acknowledged, and not confirmed")
                receipt(seen, "telemetry", 50, epoch="of another life")
                seen.publish(TOPICS.receipt, b'{"epoch": "epoch-1", "lane": "telemetry", "upto": "50"}')
                receipt(seen, "telemetry", 20, [[5, 6]])
                await until(lambda: rig.store.cursor("main", Lane.TELEMETRY) == 4, "the first hole")
                await seen.until(lambda: len(seen.on("telemetry")) == 52, "what was missing")
                again = seen.on("telemetry")[50:]
                assert [one.json["seq"] for one in again] == [5, 6]
                assert all(one.json["replay"] for one in again)
                assert {one.items for one in again} <= {one.items for one in seen.on("telemetry")[:50]}
                receipt(seen, "telemetry", 50)
                await rig.until_delivered()
                assert rig.uplink.status.unconfirmed == 0

    asyncio.run(main())


def test_what_a_broker_acknowledged_and_then_lost_is_found_and_sent_again(tmp_path: Path) -> None:
    """The broker keeps everything in memory, acknowledges 600 envelopes while the platform is away, and is killed."""

    async def main() -> None:
        platform = Platform()
        store = MemoryStore()
        async with broker(tmp_path) as server:
            rig = build(server.port, store, delivery="receipt", limits=replace(QUICK, receipt_s=0.5))
            store.append(Lane.TELEMETRY, 500)
            store.append(Lane.ALARM, 100)
            async with running(rig):
                await until(lambda: rig.uplink.status.unconfirmed == 600, "600 acknowledged by the broker")
                await server.kill()
                await server.start()
                async with subscriber(server.port) as seen, asyncio.TaskGroup() as group:
                    saying = group.create_task(platform.keep_saying(seen))
                    await until(lambda: rig.uplink.status.connected, "connected again")
                    store.append(Lane.TELEMETRY, 10)
                    store.append(Lane.ALARM, 1)
                    await rig.until_delivered(60.0)
                    saying.cancel()
            assert platform.have == {"telemetry": set(range(1, 511)), "alarm": set(range(1, 102))}

    asyncio.run(main())


def test_a_platform_that_says_nothing_is_reminded_with_the_oldest(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port, delivery="receipt", limits=replace(QUICK, receipt_s=0.1))
            rig.store.append(Lane.EVENT, 5)
            async with running(rig):
                await seen.until(lambda: len(seen.on("event")) >= 8, "three reminders")
                assert seen.seqs("event")[:8] == [1, 2, 3, 4, 5, 1, 1, 1]
                receipt(seen, "event", 5)
                await rig.until_delivered()

    asyncio.run(main())


def test_only_so_much_is_entrusted_to_a_broker_and_an_alarm_still_goes(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path, "max_queued_messages 0") as server, subscriber(server.port) as seen:
            rig = build(server.port, delivery="receipt", replay_rate=100_000)
            rig.store.append(Lane.TELEMETRY, OUT + 200)
            async with running(rig):
                await until(lambda: rig.uplink.status.unconfirmed == OUT, "as many as may be out")
                rig.store.append(Lane.ALARM)
                await seen.until(lambda: len(seen.on("alarm")) == 1, "the alarm")
                assert max(seen.seqs("telemetry")) == OUT
                receipt(seen, "telemetry", OUT)
                await seen.until(lambda: len(seen.on("telemetry")) == OUT + 200, "the rest")

    asyncio.run(main())


def test_after_a_restart_what_was_not_confirmed_is_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            store = MemoryStore()
            store.append(Lane.EVENT, 10)
            first = build(server.port, store, delivery="receipt")
            async with running(first):
                await seen.until(lambda: len(seen.on("event")) == 10, "all of it")
                receipt(seen, "event", 7)
                await until(lambda: store.cursor("main", Lane.EVENT) == 7, "seven confirmed")
            second: Rig = build(server.port, store, delivery="receipt")
            async with running(second):
                await seen.until(lambda: len(seen.on("event")) == 13, "the three others again")
            assert seen.seqs("event")[10:] == [8, 9, 10]

    asyncio.run(main())
