"""The fault catalogue, part B: brokers that die, refuse, forget and lie (README.md in this folder has the table)."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from paho.mqtt.client import Client, MQTTMessage

from gateway.model import Lane
from gateway.uplink.contract import client_id
from gateway.uplink.session import Options, Session
from gateway.uplink.status import Limits
from store.rig import MIB
from support import virtual_time
from support.broker import Broker, broker, free_port
from support.clock import ManualClock
from support.fake_broker import CLOSE, FakeBroker, fake_broker
from support.memory_store import MemoryStore
from support.mqtt_subscriber import Subscriber, subscriber
from support.tcp_proxy import Proxy, proxy
from uplink import rig
from uplink.ledger import Bench, bench, running, until
from uplink.rig import IDENTITY, QUICK, TOPICS

SEED = 20261127


# --- B1: killed again and again, under load ---


async def load(site: Bench, enough: asyncio.Event) -> None:
    """Never more than 2000 envelopes ahead of the broker; urgent ones in between.  Not to be cancelled: a commit may
    happen all the same, and the ledger would not know."""
    while not enough.is_set():
        if site.store.last_seq(Lane.TELEMETRY) - site.store.cursor("main", Lane.TELEMETRY) > 2000:
            await asyncio.sleep(0.005)
            continue
        await site.commit(Lane.TELEMETRY, 50)
        await site.commit(Lane.ALARM)
        await site.commit(Lane.EVENT)


async def one_life(site: Bench, server: Broker, line: Proxy, envelopes: int) -> None:
    """The broker is up, the platform listens, the gateway delivers under load; then the broker is killed."""
    async with subscriber(server.port, qos=0) as seen, asyncio.TaskGroup() as group:
        line.open = True
        enough = asyncio.Event()
        group.create_task(load(site, enough))
        await seen.until(lambda: len(seen.received) >= envelopes, f"{envelopes} envelopes", 60.0)
        line.open = False
        tried = line.accepted
        await server.kill()
        assert await asyncio.to_thread(seen.lost.wait, 10)
        enough.set()
        site.ledger.arrive(seen.received)
        await until(lambda: line.accepted > tried, "it has noticed")


@pytest.mark.parametrize(("kills", "envelopes"), [(5, 800), pytest.param(50, 12_000, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_b1_a_broker_killed_under_load_costs_nothing(tmp_path: Path, kills: int, envelopes: int) -> None:
    """What a broker forgets for others is not what is tested: the platform is back before the gateway."""
    chance = random.Random(SEED)

    async def main() -> None:
        async with (
            broker(tmp_path / "b", "max_inflight_messages 0", "max_queued_messages 0") as server,
            proxy(server.port) as line,
            bench(tmp_path / "s", line.port, replay_rate=100_000) as site,
        ):
            line.open = False
            async with running(site):
                for _ in range(kills):
                    await one_life(site, server, line, envelopes + chance.randrange(200))
                    await server.start()
                async with subscriber(server.port) as seen:
                    line.open = True
                    await site.until_delivered()
                    before = dict(site.ledger.arrived)
                    await until(lambda: not left(site, seen), "the rest has arrived")
                    site.ledger.arrived = before
                    site.ledger.arrive(seen.received)
        ledger = site.ledger
        ledger.check()
        assert not site.quarantined
        share = ledger.duplicates / len(ledger.accepted)
        print(f"\n{kills} kills: {len(ledger.accepted)} accepted, {ledger.duplicates} twice ({share:.3%})")
        assert ledger.duplicates <= kills * 20, "never more than a window for each kill"
        assert kills < 50 or share < 0.001

    asyncio.run(main())


def left(site: Bench, seen: Subscriber) -> set[object]:
    arrived = {(one.topic.rsplit("/", 1)[-1], one.json["seq"]) for one in seen.received if b'"seq"' in one.payload}
    return {key for key in site.ledger.missing if key not in arrived}


# --- B2: the broker is away for a day ---


@pytest.mark.parametrize("hours", [1, pytest.param(24, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_b2_a_long_outage_costs_neither_disk_nor_memory_and_what_it_costs_is_announced(
    tmp_path: Path, hours: int
) -> None:
    """Virtual time: 400 bytes a second, an alarm every ten minutes, into a store of one mebibyte."""

    async def away() -> tuple[Bench, int]:
        clock = ManualClock()
        async with bench(tmp_path / "s", free_port(), budget_bytes=MIB, clock=clock, jitter=0.5) as site:
            async with running(site):
                for minute in range(hours * 60):
                    await site.commit(Lane.TELEMETRY, 1, 24_000)
                    if minute % 10 == 0:
                        await site.commit(Lane.ALARM)
                    if minute == hours * 20:
                        gc.collect()
                        resident = psutil.Process().memory_info().rss
                    await asyncio.sleep(60.0)
                    clock.advance(60.0)
                    assert (await site.store.stats()).bytes <= MIB
            gc.collect()
            grown = psutil.Process().memory_info().rss / resident - 1
            print(f"\n{hours} h: {len(site.ledger.accepted)} accepted, resident {grown:+.1%}")
            assert grown < 0.05
            assert not site.uplink.status.connected
            return site, (await site.store.stats()).lanes[Lane.TELEMETRY].evicted

    async def back(outage: Bench, evicted: int) -> None:
        async with (
            broker(tmp_path / "b", "max_queued_messages 0") as server,
            subscriber(server.port) as seen,
            bench(tmp_path / "s", server.port) as site,
        ):
            async with running(site):
                await site.until_delivered()
                await seen.until(lambda: len(seen.on("alarm")) == hours * 6, "the alarms")
                newest = site.store.last_seq(Lane.TELEMETRY)
                await seen.until(lambda: newest in seen.seqs("telemetry"), "the newest")
            ledger = outage.ledger
            ledger.arrive(seen.received)
            gaps = [item for one in seen.on("gap") for item in one.json["items"]]
            given_up = {(Lane(gap["lane"]), n) for gap in gaps for n in range(gap["from_seq"], gap["to_seq"] + 1)}
            assert len(given_up) == evicted > 0
            ledger.check(without=given_up)

    asyncio.run(back(*virtual_time.run(away(), grace_s=0.0002, patient=True)))


# --- B7: refused at the door ---

UNKNOWN = {0x99, 0x8B, 0x8D, 0x8E, 0x8F, 0x91, 0x92, 0x93, 0x94, 0x96, 0x98, 0x9E}
"""The standard knows no such CONNACK (table 3-1), or paho does not (0x99): it calls the packet malformed."""
PERSON = {0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x9A, 0x9B, 0x9C, 0x9D}


def test_b7_every_connack_code_is_retried_and_says_whether_a_person_must_act() -> None:
    async def main() -> None:
        refusing = FakeBroker()
        async with fake_broker(refusing) as fake:
            for code in range(0x80, 0xA0):
                refusing.connack, refusing.connects = code, 0
                refused = rig.build(fake.port)
                async with rig.running(refused):
                    await until(lambda: refusing.connects >= 2, "two attempts")
                    await until(lambda: bool(refused.uplink.status.error), "the reason")  # noqa: B023
                    status = refused.uplink.status
                assert (code, status.needs_person) == (code, code in PERSON)
                assert code in UNKNOWN or bool(status.hint) == status.needs_person
                assert not status.connected
            assert not refusing.published

    asyncio.run(main())


def test_b7_bad_credentials_are_tried_once_a_minute_at_most_after_five() -> None:
    """An hour in virtual time, against a broker that counts."""

    async def main() -> list[float]:
        async with fake_broker(FakeBroker(connack=0x86)) as fake:
            refused = rig.build(fake.port)
            async with rig.running(refused):
                await asyncio.sleep(3600.0)
            return [at_s for _, at_s in fake.clients]

    at_s = virtual_time.run(main(), grace_s=0.0002, patient=True)
    pauses = [after - before for before, after in pairwise(at_s)]
    assert max(pauses[:5]) <= 1.0
    assert min(pauses[5:]) >= 60.0
    assert 50 <= len(at_s) <= 66, "and it never gives up"


# --- B8: every PUBACK code ---


@pytest.mark.parametrize(
    ("code", "given_up"),
    [(0x80, False), (0x83, False), (0x91, False), (0x97, False), (0x87, True), (0x90, True)],
)
def test_b8_a_refused_envelope_is_never_counted_as_delivered(code: int, given_up: bool) -> None:
    """The third event is refused for as long as the test lasts; no cursor passes it unless it was reported."""

    def refuse(topic: str, payload: bytes) -> int:
        return code if topic.endswith("event") and b'"seq":3,' in payload else 0

    async def main() -> None:
        async with fake_broker(FakeBroker(on_publish=refuse)) as fake:
            site = rig.build(fake.port, limits=replace(QUICK, first_pause_s=0.02))
            site.store.append(Lane.EVENT, 5)
            site.store.append(Lane.BILLING, 50)
            async with rig.running(site) as task:
                refused = [0]

                def tried() -> bool:
                    refused[0] = sum(b'"seq":3,' in body for topic, body in fake.published if topic.endswith("event"))
                    return refused[0] >= 3

                await until(tried, "three refusals")
                await until(lambda: site.store.cursor("main", Lane.BILLING) == 50, "the other lane")
                if given_up:
                    await until(lambda: site.store.cursor("main", Lane.EVENT) == 5, "the others of its lane")
                    assert [(each.seq, f"0x{code:02x}" in why) for each, why in site.quarantined] == [(3, True)]
                else:
                    assert site.store.cursor("main", Lane.EVENT) == 2
                    assert not site.quarantined
                    assert any("lane event" in fault for fault in site.uplink.status.faults)
                site.uplink._limits = replace(QUICK, drain_s=0.1)
                task.cancel()

    asyncio.run(main())


def test_b8_a_payload_the_broker_calls_invalid_is_given_up_at_once() -> None:
    async def main() -> None:
        invalid = FakeBroker(on_publish=lambda _, body: 0x99 if b'"seq":3,' in body else 0)
        async with fake_broker(invalid) as fake:
            site = rig.build(fake.port)
            site.store.append(Lane.EVENT, 5)
            async with rig.running(site):
                await site.until_delivered()
            assert [each.seq for each, _ in site.quarantined] == [3]
            assert sum(b'"seq":3,' in body for _, body in fake.published) == 1

    asyncio.run(main())


# --- B9: rights taken away and given back ---


def test_b9_rights_taken_away_and_given_back(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    root = "topic readwrite compound/v1/site-1/gw-1/"
    rights = [root + tail for tail in ("status", "catalog", "command/#", "receipt", "config/#", "alarm", "telemetry")]

    async def grant(server: Broker, *more: str) -> None:
        acl.write_text("\n".join([*rights, *more, "topic read #"]) + "\n", "utf-8")
        await server.reload()

    async def main() -> None:
        acl.write_text("topic readwrite #\n", "utf-8")
        async with (
            broker(tmp_path / "b", f"acl_file {acl}") as server,
            subscriber(server.port) as seen,
            bench(tmp_path / "s", server.port) as site,
            running(site),
        ):
            await site.commit(Lane.EVENT, 5)
            await site.until_delivered()
            await grant(server)
            asked, slowest_s = asyncio.get_running_loop().time, 0.0
            while len(site.quarantined) < 2:
                await site.commit(Lane.EVENT)
                await site.commit(Lane.TELEMETRY, 5)
                (alarm,) = await site.commit(Lane.ALARM)
                began_s = asked()
                await seen.until(lambda n=alarm.seq: n in seen.seqs("alarm"), "the alarm, though events are held")
                slowest_s = max(slowest_s, asked() - began_s)
                await asyncio.sleep(0.02)
            assert slowest_s < 5.0
            assert {each.lane for each, _ in site.quarantined} == {Lane.EVENT}
            assert set(seen.seqs("event")) == set(range(1, 6))
            await grant(server, root + "event")
            await site.until_delivered()
            for envelope, _ in site.quarantined:  # what a platform does that has read the gap lane
                site.uplink.resend(envelope.lane, envelope.seq, envelope.seq)
            await site.arrival(lambda: seen.received)
            site.ledger.check(ordered=False)  # what was given up comes last

    asyncio.run(main())


# --- B10: too large ---


def test_b10_one_oversize_envelope_costs_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            broker(tmp_path / "b", "max_packet_size 1000") as server,
            subscriber(server.port) as seen,
            bench(tmp_path / "s", server.port) as site,
        ):
            (large,) = await site.commit(Lane.EVENT, size_bytes=2000)
            await site.commit(Lane.EVENT, 30)
            async with running(site):
                await site.until_delivered()
                await seen.until(lambda: len(seen.on("event")) == 30, "30 of 30")
                assert site.uplink.status.reconnects == 0
            site.ledger.arrive(seen.received)
            site.ledger.check(without=[(Lane.EVENT, large.seq)])
            assert [each for each, _ in site.quarantined] == [large]

    asyncio.run(main())


# --- B11: acknowledgements that are late, twice, of something else, or never come ---


@pytest.mark.parametrize(("envelopes", "ids"), [(3000, 300), pytest.param(70_000, 65_535, marks=pytest.mark.long)])
def test_b11_wrong_acknowledgements_neither_lose_nor_leak(
    monkeypatch: pytest.MonkeyPatch, envelopes: int, ids: int
) -> None:
    """Twice, too late, of numbers nobody has sent; 3 are forgotten.  The short variant has *ids* message ids only."""
    noise, late, forgotten = random.Random(SEED), [], []

    def generate(client: Client) -> int:
        client._last_mid = client._last_mid % ids + 1
        return client._last_mid

    def answers(mid: int, code: int) -> Sequence[tuple[int, int]]:
        chance = noise.random()
        if late and chance < 0.5:
            return [(mid, code), late.pop()]
        if chance < 0.9:
            return [(mid, code)]
        if chance < 0.93:
            return [(mid, code), (mid, code)]
        if chance < 0.96:
            return [(60_000 if mid < 30_000 else 1, code), (mid, code)] if ids < 30_000 else [(mid, code), (0, code)]
        if chance > 1 - 2 / envelopes and len(forgotten) < 3:
            forgotten.append(mid)
        else:
            late.append((mid, code))
        return []

    monkeypatch.setattr(Client, "_mid_generate", generate)

    async def main() -> int:
        async with fake_broker(FakeBroker(pubacks=answers)) as fake:
            store = MemoryStore()
            site = rig.build(fake.port, store, limits=replace(QUICK, ack_s=1.0), replay_rate=100_000)
            async with rig.running(site):
                for _ in range(envelopes // 100):
                    store.append(Lane.TELEMETRY, 100)
                    await until(
                        lambda: len(store.lanes[Lane.TELEMETRY]) - store.cursor("main", Lane.TELEMETRY) < 1000, ""
                    )
                await site.until_delivered(200.0)
                gc.collect()
                messages = sum(isinstance(each, MQTTMessage) for each in gc.get_objects())
                assert not site.uplink._delivery.on_its_way()
            arrived = {json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("telemetry")}
            assert arrived == set(range(1, envelopes + 1))
            assert not site.quarantined
            return messages

    assert asyncio.run(main()) <= 25


def test_b11_a_broker_that_acknowledges_after_a_minute_is_waited_for() -> None:
    """With the product's limits, in virtual time: a connection is given up after 15 s at first."""

    async def main() -> int:
        async with fake_broker(FakeBroker(ack_delay_s=60.0)) as fake:
            site = rig.build(fake.port, limits=Limits(drain_s=0.1, save_s=5.0), keepalive="10 min")
            site.store.append(Lane.EVENT, 50)
            async with rig.running(site):
                async with asyncio.timeout(3600.0):
                    while not site.delivered():
                        await asyncio.sleep(5.0)
            assert not site.quarantined
            arrived = [json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("event")]
            assert set(arrived) == set(range(1, 51))
            return len(arrived)

    assert virtual_time.run(main(), grace_s=0.0002, patient=True) < 150, "sent again, but not for ever"


# --- B13 (B12: test_mqtt.py) ---


def test_b13_a_refused_subscription_is_in_the_health_message_within_five_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(suback=0x87)) as fake, bench(tmp_path, fake.port) as site, running(site):
            async with asyncio.timeout(5.0):
                while not (snapshot := asdict(site.uplink.status))["faults"]:
                    await asyncio.sleep(0.05)
            assert snapshot["connected"]
            assert all("refuses the subscription" in fault for fault in snapshot["faults"])

    asyncio.run(main())


# --- B14: another client with our id ---


def test_b14_a_fight_for_the_client_id_calms_down_and_is_said() -> None:
    """In virtual time.  The other one comes back after a second, whenever it is thrown out."""

    async def rival(port: int) -> None:
        ours = Options("127.0.0.1", port, 600, client_id(IDENTITY, "main"))
        while True:
            woken = asyncio.Event()
            async with Session(ours, woken.set) as session:
                while session.lost is None:
                    woken.clear()
                    await woken.wait()
            await asyncio.sleep(1.0)

    async def main() -> tuple[list[float], list[bool]]:
        limits = Limits(drain_s=0.1)
        async with fake_broker(FakeBroker(one_per_client=True)) as fake:
            site = rig.build(fake.port, limits=limits, keepalive="10 min")  # paho's pings follow the real clock
            said: list[bool] = []
            async with rig.running(site), asyncio.TaskGroup() as group:
                other = group.create_task(rival(fake.port))
                for _ in range(1200):
                    await asyncio.sleep(1.0)
                    said.append(site.uplink.status.needs_person)
                other.cancel()
            return [at_s for _, at_s in fake.clients], said

    at_s, said = virtual_time.run(main(), grace_s=0.0002, patient=True)
    pauses = [after - before for before, after in pairwise(at_s)]
    assert max(pauses[-20:]) >= 60.0, "ours"
    assert len(at_s) < 80, "the two together"
    assert all(said[300:]), "somebody is needed, also in the moments in which we are connected"


# --- B18: a broker that forgets what it has acknowledged ---


@pytest.mark.parametrize("alarms", [100, pytest.param(2500, marks=pytest.mark.long)])
def test_b18_what_a_broker_acknowledged_and_forgot_is_sent_again(tmp_path: Path, alarms: int) -> None:
    async def confirm(site: Bench, seen: Subscriber) -> None:
        while True:
            for lane in (Lane.ALARM, Lane.TELEMETRY):
                have = {seq for each, seq in site.ledger.arrived if each is lane} | set(seen.seqs(lane))
                ends = [0, *sorted(have)]
                missing = [[before + 1, after - 1] for before, after in pairwise(ends) if after > before + 1]
                item = {"epoch": site.store.epoch, "lane": lane, "upto": ends[-1], "missing": missing}
                seen.publish(TOPICS.receipt, json.dumps(item).encode())
            await asyncio.sleep(0.2)

    async def main() -> None:
        async with broker(tmp_path / "b", "max_queued_messages 0") as server:
            limits = replace(QUICK, receipt_s=0.5)
            async with bench(tmp_path / "s", server.port, delivery="receipt", limits=limits) as site, running(site):
                await site.commit(Lane.ALARM, alarms)
                await site.commit(Lane.TELEMETRY, 500)
                out = min(alarms, 1000) + 500
                await until(lambda: site.uplink.status.unconfirmed == out, "acknowledged by the broker")
                await server.kill()
                assert site.store.cursor("main", Lane.ALARM) == 0
                await server.start()
                async with subscriber(server.port) as seen, asyncio.TaskGroup() as group:
                    confirming = group.create_task(confirm(site, seen))
                    await until(lambda: site.uplink.status.connected, "connected again")
                    await site.commit(Lane.ALARM)
                    await site.commit(Lane.TELEMETRY)
                    await site.until_delivered()
                    confirming.cancel()
                    site.ledger.arrive(seen.received)
            site.ledger.check(ordered=False)  # what had been forgotten comes after what happened meanwhile

    asyncio.run(main())


# --- B21: a broker that is in trouble itself (measured: NATS 2.9, three nodes, one of them dead) ---


def test_b21_connections_broken_before_anything_is_acknowledged_are_no_fight() -> None:
    """In virtual time.  While no node leads the messages, NATS accepts a gateway and breaks with its first PUBLISH."""

    async def main() -> list[float]:
        async with fake_broker(FakeBroker(on_publish=lambda *_: CLOSE)) as fake:
            site = rig.build(fake.port, limits=Limits(drain_s=0.1), keepalive="10 min")
            async with rig.running(site):
                for _ in range(30):
                    await asyncio.sleep(1.0)
                    assert not site.uplink.status.needs_person
                fake.on_publish = lambda *_: 0
                await asyncio.sleep(61.0)
                assert site.uplink.status.connected
            return [at_s for _, at_s in fake.clients]

    at_s = virtual_time.run(main(), grace_s=0.0002, patient=True)
    assert len(at_s) > 30
    assert max(after - before for before, after in pairwise(at_s)) <= 1.0


@pytest.mark.parametrize(("suback", "attempts"), [(0x80, range(110, 130)), (0x87, range(20, 30))])
def test_b21_when_a_subscription_stands_at_last_receipts_are_soon_asked_for(suback: int, attempts: range) -> None:
    """With the product's patience, in virtual time.  After 20 min of silence the next reminder is due in 5 min."""

    async def main() -> float:
        async with fake_broker(FakeBroker(suback=suback)) as fake:
            limits = Limits(drain_s=0.1, save_s=5.0)
            site = rig.build(fake.port, limits=limits, delivery="receipt", keepalive="10 min")
            site.store.append(Lane.EVENT, 3)
            async with rig.running(site):
                await asyncio.sleep(1200.0)
                assert len(fake.subscribes_s) in attempts, "missing rights are asked for less often"
                fake.suback = 1
                while site.uplink.status.faults:
                    await asyncio.sleep(1.0)
                stood_s, sent = asyncio.get_running_loop().time(), len(fake.published)
                while len(fake.published) == sent:
                    await asyncio.sleep(1.0)
                assert fake.connects == 1
                return asyncio.get_running_loop().time() - stood_s

    assert virtual_time.run(main(), grace_s=0.0002, patient=True) <= 35.0


def test_b21_a_broker_that_is_slow_to_answer_subscribe_is_waited_for() -> None:
    """In virtual time.  NATS gives each of three filters 4 s before it refuses it."""

    async def main() -> None:
        async with fake_broker(FakeBroker(suback=0x80, suback_delay_s=12.0)) as fake:
            site = rig.build(fake.port, limits=Limits(drain_s=0.1), keepalive="10 min")
            async with rig.running(site):
                async with asyncio.timeout(60.0):
                    while not site.uplink.status.faults:
                        await asyncio.sleep(1.0)
                fake.suback_delay_s = 0.0
            assert fake.connects == 1

    virtual_time.run(main(), grace_s=0.0002, patient=True)
