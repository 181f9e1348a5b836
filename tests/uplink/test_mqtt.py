"""The uplink as the daemon runs it, against a real broker and against brokers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import structlog

from gateway.errors import UplinkRejected
from gateway.model import Lane
from gateway.uplink.mqtt import check_transport
from support.broker import broker, free_port
from support.certificates import Authority
from support.fake_broker import CLOSE, SILENCE, FakeBroker, fake_broker
from support.memory_store import MemoryStore
from support.mqtt_subscriber import Subscriber, subscriber
from support.tcp_proxy import proxy
from uplink.rig import CATALOG, IDENTITY, QUICK, TOPICS, Rig, build, running

STATES = ("online", "stopping", "offline")


async def until(true: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


def states(seen: Subscriber) -> list[str]:
    return [one.json["state"] for one in seen.on("status")]


# --- delivery ---


def test_2000_envelopes_arrive_once_and_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.store.append(Lane.TELEMETRY, 1000)
            async with running(rig):
                await rig.until_delivered()
                for _ in range(10):
                    rig.store.append(Lane.TELEMETRY, 100)
                    await asyncio.sleep(0)
                await rig.until_delivered()
                status = rig.uplink.status
            await seen.until(lambda: len(seen.on("telemetry")) >= 2000, "2000 envelopes")
            assert seen.seqs("telemetry") == list(range(1, 2001))
            assert (status.sent, status.acknowledged, status.in_flight) == (2000, 2000, 0)
            assert status.connected
            assert not status.faults
            replay = [one.json["replay"] for one in seen.on("telemetry")]
            assert replay == [True] * 1000 + [False] * 1000
            assert max(rig.store.page_sizes) > 20  # pages, not one by one
            assert len(rig.store.acknowledgements) < 50  # coalesced

    asyncio.run(main())


def test_every_envelope_survives_a_broker_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """The subscriber is back before the uplink: what a broker forgets for others is not what is tested here."""
    total = 3000

    async def main() -> None:
        seen: dict[int, list[bytes]] = defaultdict(list)
        async with broker(tmp_path, "max_inflight_messages 0") as server, proxy(server.port) as line:
            rig = build(line.port)
            async with running(rig):
                for round_number in range(4):
                    async with subscriber(server.port, qos=0) as platform:
                        line.open = True
                        rig.store.append(Lane.TELEMETRY, total // 4, filler_bytes=200)
                        enough = (total // 4) * round_number + 300
                        await until(lambda n=enough: rig.uplink.status.acknowledged >= n, "envelopes under way")
                        if round_number == 3:
                            await rig.until_delivered()
                            await asyncio.sleep(0.1)
                        else:
                            line.open = False
                            await server.kill()
                            assert await asyncio.to_thread(platform.lost.wait, 10)
                        for one in platform.on("telemetry"):
                            seen[one.json["seq"]].append(one.items)
                    if round_number < 3:
                        await server.start()
                status = rig.uplink.status
        assert set(seen) == set(range(1, total + 1))
        assert all(len(set(copies)) == 1 for copies in seen.values()), "a resend differs"
        assert status.reconnects >= 3
        assert not rig.quarantined

    asyncio.run(main())


def test_an_alarm_goes_before_5000_waiting_envelopes(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.store.append(Lane.TELEMETRY, 5000)
            rig.store.append(Lane.ALARM)
            async with running(rig) as task:
                await seen.until(lambda: len(seen.on("telemetry")) >= 100, "telemetry")
                before = len(seen.on("telemetry"))
                rig.store.append(Lane.ALARM)
                await seen.until(lambda: len(seen.on("alarm")) == 2, "the second alarm")
                assert len(seen.on("telemetry")) < before + 1000
                task.cancel()
            lanes = [one.topic for one in seen.received if one.topic in TOPICS.lanes.values()]
            assert lanes[0] == TOPICS.lanes[Lane.ALARM]
            catalog = [one.topic for one in seen.received].index(TOPICS.catalog)
            assert catalog > [one.topic for one in seen.received].index(TOPICS.lanes[Lane.ALARM])

    asyncio.run(main())


def test_dropped_numbers_do_not_hold_the_cursor() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker()) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.TELEMETRY, 300)
            rig.store.drop(Lane.TELEMETRY, 1, 40)
            rig.store.drop(Lane.TELEMETRY, 100, 250)
            async with running(rig):
                await rig.until_delivered()
            sent = [json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("telemetry")]
            assert sent == [*range(41, 100), *range(251, 301)]

    asyncio.run(main())


def test_a_log_that_cannot_be_read_for_a_while_is_a_fault_and_no_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            rig = build(server.port)
            async with running(rig):
                rig.store.unreadable = True
                rig.store.append(Lane.TELEMETRY, 10)
                await until(lambda: "cannot be read" in "".join(rig.uplink.status.faults), "the fault is said")
                assert rig.uplink.status.connected
                rig.store.unreadable = False
                rig.store.append(Lane.TELEMETRY)
                await rig.until_delivered()
                assert not rig.uplink.status.faults

    asyncio.run(main())


def test_receive_maximum_of_one_is_kept_and_order_too() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(connack_properties=bytes([0x21, 0, 1]))) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.EVENT, 50)
            async with running(rig):
                await rig.until_delivered()
            assert fake.most_unanswered == 1
            sent = [json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("event")]
            assert sent == list(range(1, 51))

    asyncio.run(main())


def test_mqtt_3_1_1_delivers_where_a_broker_has_nothing_better(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port, protocol="mqtt311")
            seen.publish(TOPICS.root + "command/rebirth", retain=True)  # cannot be held back by 3.1.1, is not obeyed
            await seen.until(lambda: bool(seen.on("command/rebirth")), "the command, kept by the broker")
            rig.store.append(Lane.EVENT, 100)
            async with running(rig):
                await rig.until_delivered()
                await until(lambda: not rig.uplink.status.in_flight, "everything acknowledged")
            await seen.until(lambda: states(seen)[-1:] == ["stopping"], "stopping")
            assert seen.seqs("event") == list(range(1, 101))
            assert states(seen) == ["online", "stopping"]
            assert "as site-1-gw-1-main (p2, c1, k20)" in server.log  # mosquitto's name for 3.1.1

    asyncio.run(main())


# --- refusals ---


def test_a_denied_topic_costs_only_its_own_envelopes(tmp_path: Path) -> None:
    """And few of them: the lane is held and probed, so that mending the rights saves the rest."""
    acl = tmp_path / "acl"
    root = "topic readwrite compound/v1/site-1/gw-1/"
    allowed = ["status", "catalog", "alarm", "telemetry"]
    acl.write_text("\n".join([root + tail for tail in allowed] + ["topic read #"]) + "\n", "utf-8")

    async def main() -> None:
        async with broker(tmp_path / "b", f"acl_file {acl}") as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.store.append(Lane.EVENT, 40)
            rig.store.append(Lane.TELEMETRY, 300)
            rig.store.append(Lane.ALARM, 3)
            async with running(rig):
                await until(lambda: rig.store.cursor("main", Lane.TELEMETRY) == 300, "telemetry past the held lane")
                await until(lambda: bool(rig.quarantined), "the first event is given up")
                status = rig.uplink.status
            assert seen.seqs("telemetry") == list(range(1, 301))
            assert seen.seqs("alarm") == [1, 2, 3]
            assert {envelope.lane for envelope, _ in rig.quarantined} == {Lane.EVENT}
            assert rig.quarantined[0][0].seq == 1
            assert len(rig.quarantined) <= 3
            assert "0x87" in rig.quarantined[0][1]
            assert any("lane event" in fault for fault in status.faults)
            assert rig.store.cursor("main", Lane.EVENT) == len(rig.quarantined)

    asyncio.run(main())


def test_only_the_oversize_envelope_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path, "max_packet_size 1000") as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.store.append(Lane.EVENT, 5)
            rig.store.append(Lane.EVENT, 1, filler_bytes=2000)
            rig.store.append(Lane.EVENT, 25)
            async with running(rig):
                await rig.until_delivered()
                assert rig.uplink.status.reconnects == 0
            assert [envelope.seq for envelope, _ in rig.quarantined] == [6]
            await seen.until(lambda: len(seen.on("event")) == 30, "all the others")

    asyncio.run(main())


def test_a_message_that_breaks_the_connection_is_found_and_given_up() -> None:
    def closes(topic: str, payload: bytes) -> int:
        return CLOSE if topic.endswith("event") and b'"seq":7,' in payload else 0

    async def main() -> None:
        async with fake_broker(FakeBroker(on_publish=closes)) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.EVENT, 30)
            async with running(rig):
                await rig.until_delivered()
            assert [envelope.seq for envelope, _ in rig.quarantined] == [7]
            assert fake.connects == 5
            arrived = {json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("event")}
            assert arrived == set(range(1, 31))

    asyncio.run(main())


def test_a_catalog_that_breaks_the_connection_does_not_stop_the_data() -> None:
    async def main() -> None:
        closes = FakeBroker(on_publish=lambda topic, _: CLOSE if topic.endswith("catalog") else 0)
        async with fake_broker(closes) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.TELEMETRY, 30)
            async with running(rig):
                await rig.until_delivered()
                assert any("catalog" in fault for fault in rig.uplink.status.faults)
            assert not rig.quarantined

    asyncio.run(main())


def test_a_catalog_that_was_not_to_blame_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uplink.delivery._CATALOG_REST_S", 0.3)
    left = [3]

    def closes(topic: str, _payload: bytes) -> int:
        if not topic.endswith("catalog") or not left[0]:
            return 0
        left[0] -= 1
        return CLOSE

    async def main() -> None:
        async with fake_broker(FakeBroker(on_publish=closes)) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.TELEMETRY, 30)
            async with running(rig):
                await until(lambda: "catalog" in "".join(rig.uplink.status.faults), "the catalog is given up")
                await until(lambda: not rig.uplink.status.faults, "and sent after all")
            assert [topic for topic, _ in fake.published].count(TOPICS.catalog) == 4

    asyncio.run(main())


def test_a_broker_that_acknowledges_nothing_proves_nothing() -> None:
    async def main() -> None:
        closes = FakeBroker(on_publish=lambda _topic, _payload: CLOSE)
        async with fake_broker(closes) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.EVENT, 3)
            async with running(rig):
                await until(lambda: fake.connects >= 6, "six attempts")
            assert not rig.quarantined

    asyncio.run(main())


@pytest.mark.parametrize("code", [0x80, 0x83, 0x97])
def test_a_passing_refusal_is_sent_again_and_counted_once(code: int) -> None:
    refusals = {TOPICS.lanes[Lane.BILLING]: 5}

    def busy(topic: str, _payload: bytes) -> int:
        if refusals.get(topic, 0) == 0:
            return 0
        refusals[topic] -= 1
        return code

    async def main() -> None:
        async with fake_broker(FakeBroker(on_publish=busy)) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.BILLING, 10)
            async with running(rig):
                await rig.until_delivered()
                status = rig.uplink.status
            assert (status.acknowledged, status.quarantined) == (10, 0)
            assert not status.faults
            assert fake.connects == 1

    asyncio.run(main())


def test_nobody_subscribed_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            rig = build(server.port)
            rig.store.append(Lane.EVENT, 5)
            async with running(rig):
                await rig.until_delivered()
                assert rig.uplink.status.unheard == 5

    asyncio.run(main())


def test_a_missing_acknowledgement_ends_the_connection_and_the_envelope_is_sent_again() -> None:
    forgotten = {b'"seq":3,'}

    def forgets(topic: str, payload: bytes) -> int:
        for part in forgotten:
            if part in payload and topic.endswith("event"):
                forgotten.remove(part)
                return SILENCE
        return 0

    async def main() -> None:
        async with fake_broker(FakeBroker(on_publish=forgets)) as fake:
            rig = build(fake.port, limits=replace(QUICK, ack_s=0.3))
            rig.store.append(Lane.EVENT, 20)
            async with running(rig):
                await rig.until_delivered()
            sent = [json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("event")]
            assert sorted(sent) == sorted([*range(1, 21), 3])  # the others were settled, though out of order
            assert not rig.quarantined

    asyncio.run(main())


def test_a_refused_subscription_is_a_fault_and_not_the_end() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(suback=0x87)) as fake:
            rig = build(fake.port)
            rig.store.append(Lane.EVENT, 5)
            async with running(rig):
                await rig.until_delivered()
                faults = rig.uplink.status.faults
            assert len(faults) == 3
            assert all("refuses the subscription" in fault for fault in faults)

    asyncio.run(main())


def test_a_subscription_that_is_refused_for_a_while_is_made_later() -> None:
    """A cluster that elects a leader does so (NATS 2.9, 0x80); without its receipts an uplink is never confirmed."""

    async def main() -> None:
        async with fake_broker(FakeBroker(suback=0x80)) as fake:
            rig = build(fake.port)
            async with running(rig):
                await until(lambda: len(rig.uplink.status.faults) == 3, "the refusals in the status")
                fake.suback = 1
                await until(lambda: rig.uplink.status.faults == (), "the subscriptions")
            assert fake.connects == 1

    asyncio.run(main())


# --- the connection ---


def test_wrong_password_is_said_and_tried_again_when_it_is_mended(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    secret = tmp_path / "secret"
    secret.write_text("wrong\n", "utf-8")
    passwords.write_text(_mosquitto_password("gw", "right"), "utf-8")

    async def main() -> None:
        async with broker(tmp_path / "b", f"password_file {passwords}", anonymous=False) as server:
            rig = build(server.port, username="gw", password_file=secret)
            rig.store.append(Lane.EVENT)
            async with running(rig):
                await until(lambda: rig.uplink.status.needs_person, "the refusal in the status")
                status = rig.uplink.status
                assert not status.connected
                assert "password" in status.hint
                secret.write_text("right\n", "utf-8")
                await rig.until_delivered()
                assert rig.uplink.status.connected
                assert not rig.uplink.status.error

    asyncio.run(main())


def _mosquitto_password(user: str, password: str) -> str:
    """One line of a mosquitto 2 password file: user:$7$iterations$salt$hash (PBKDF2-HMAC-SHA512)."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def test_envelopes_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "DNS:localhost")
    listener = [f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"]

    async def main() -> None:
        async with broker(tmp_path / "b", tls=listener) as running_broker:
            rig = build(running_broker.port, host="localhost", tls={"ca": authority.ca})
            rig.store.append(Lane.TELEMETRY, 500, filler_bytes=3000)
            async with running(rig):
                await rig.until_delivered()
            wrong = build(running_broker.port, tls={"ca": authority.ca})
            async with running(wrong):
                await until(lambda: wrong.uplink.status.needs_person, "the wrong host in the status")
                assert "name that stands in the certificate" in wrong.uplink.status.hint

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "allowed", "refused"),
    [
        ("broker.example", False, True),
        ("192.0.2.1", False, True),
        ("broker.example", True, False),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
    ],
)
def test_plain_tcp_stays_on_this_machine(host: str, allowed: bool, refused: bool) -> None:
    async def main() -> None:
        config = build(1883, host=host, allow_plaintext=allowed).uplink._config
        if not refused:
            check_transport(config)
            return
        with pytest.raises(UplinkRejected) as caught:
            check_transport(config)
        assert caught.value.hint

    asyncio.run(main())


def test_the_will_is_published_when_the_line_is_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen, proxy(server.port) as line:
            rig = build(line.port)
            async with running(rig):
                await seen.until(lambda: states(seen) == ["online"], "online")
                line.open = False
                line.cut()
                await seen.until(lambda: states(seen) == ["online", "offline"], "the will")
                will = seen.on("status")[-1].json
                assert (will["boot_id"], will["epoch"]) == (IDENTITY.boot_id, "epoch-1")
                line.open = True
                await seen.until(lambda: states(seen)[-1] == "online", "online again")
            await seen.until(lambda: states(seen)[-1] == "stopping", "stopping")
            await asyncio.sleep(0.1)
            assert states(seen)[-1] == "stopping", "an orderly end leaves no will"
        assert set(states(seen)) <= set(STATES)

    asyncio.run(main())


def test_a_half_open_line_is_noticed_and_nothing_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen, proxy(server.port) as line:
            rig = build(line.port, limits=replace(QUICK, ack_s=0.5))
            async with running(rig):
                rig.store.append(Lane.EVENT, 10)
                await rig.until_delivered()
                line.silent = True
                rig.store.append(Lane.EVENT, 10)
                started = time.monotonic()
                await until(lambda: not rig.uplink.status.connected, "the dead line is noticed")
                assert time.monotonic() - started < 2.0
                assert "no acknowledgement" in rig.uplink.status.error
                line.silent = False
                line.cut()
                await rig.until_delivered()
            assert set(seen.seqs("event")) == set(range(1, 21))
            assert not rig.quarantined

    asyncio.run(main())


def test_connections_that_are_reset_all_the_time_still_make_progress(tmp_path: Path) -> None:
    noise = random.Random(5)

    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen, proxy(server.port) as line:
            rig = build(line.port, limits=replace(QUICK, short_session_s=0.0))  # else it soon looks like a fight
            rig.store.append(Lane.TELEMETRY, 1500, filler_bytes=500)
            async with running(rig):
                for _ in range(12):
                    await until(lambda: rig.uplink.status.connected or rig.delivered(), "a connection")
                    await asyncio.sleep(noise.random() * 0.04)
                    line.cut()
                    rig.uplink._jitter = lambda: 0.0
                await rig.until_delivered()
            assert set(seen.seqs("telemetry")) == set(range(1, 1501))
            assert not rig.quarantined

    asyncio.run(main())


def test_an_outage_is_logged_once_and_so_is_its_end() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker()) as fake, proxy(fake.port) as line:
            rig = build(line.port)
            async with running(rig):
                await until(lambda: rig.uplink.status.connected, "connected")
                line.open = False
                line.cut()
                await until(lambda: line.accepted >= 4, "three attempts that fail")
                line.open = True
                await until(lambda: rig.uplink.status.reconnects == 1, "connected again")

    with structlog.testing.capture_logs() as logs:
        asyncio.run(main())
    assert [entry["event"] for entry in logs] == ["uplink connected", "uplink is down", "uplink is back"]


# --- the other direction ---


def test_rebirth_and_commands_that_nobody_carries_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            seen.publish(TOPICS.root + "command/rebirth", retain=True)  # a retained command is never obeyed
            await asyncio.sleep(0.05)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("catalog")), "the catalog")
                assert seen.on("catalog")[0].payload == CATALOG
                await asyncio.sleep(0.1)
                assert len(seen.on("status")) == 1
                seen.publish(TOPICS.root + "command/rebirth")
                await seen.until(lambda: len(seen.on("catalog")) == 2 and len(seen.on("status")) == 2, "a rebirth")
                seen.publish(TOPICS.root + "command/c-17", b'{"point": "m-1.relay", "value": "open"}')
                await seen.until(lambda: bool(seen.on("reply/c-17")), "the rejection")
                reply = seen.on("reply/c-17")[0].json
                assert (reply["id"], reply["status"], reply["code"]) == ("c-17", "rejected", "unsupported")
                seen.publish(TOPICS.root + "command/not an id")
                assert not [one for one in seen.received if "not an id" in one.topic and "reply" in one.topic]

    asyncio.run(main())


def test_status_and_catalog_are_retained(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            rig = build(server.port)
            async with running(rig):
                await until(lambda: rig.uplink.status.connected, "connected")
                await asyncio.sleep(0.1)
                async with subscriber(server.port) as late:
                    await late.until(lambda: len(late.received) == 2, "both retained messages")
                    assert {one.topic for one in late.received} == {TOPICS.status, TOPICS.catalog}
                    assert all(one.retained for one in late.received)
                    assert late.on("status")[0].json["state"] == "online"

    asyncio.run(main())


def test_health_is_sent_when_connected_and_dropped_when_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.uplink.publish_health({"n": 1})
            async with running(rig):
                await seen.until(lambda: bool(seen.on("catalog")), "connected")
                rig.uplink.publish_health({"n": 2})
                rig.uplink.publish_health({"n": 3})
                await seen.until(lambda: bool(seen.on("health")), "health")
            assert [one.json for one in seen.on("health")] == [{"n": 2}]

    asyncio.run(main())


# --- the end ---


def test_cancelled_it_delivers_what_it_can_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            async with running(rig) as task:
                await until(lambda: rig.uplink.status.connected, "connected")
                rig.store.append(Lane.BILLING, 200)
                task.cancel()
            assert rig.delivered()
            await seen.until(lambda: states(seen)[-1:] == ["stopping"], "stopping")
            assert seen.seqs("billing") == list(range(1, 201))

    asyncio.run(main())


def test_a_drain_that_the_broker_does_not_answer_ends_at_its_deadline() -> None:
    async def main() -> None:
        mute = FakeBroker(on_publish=lambda topic, _: SILENCE if topic.endswith("event") else 0)
        async with fake_broker(mute) as fake:
            rig = build(fake.port, limits=replace(QUICK, drain_s=0.3))
            rig.store.append(Lane.EVENT, 5)
            async with running(rig) as task:
                await until(lambda: rig.uplink.status.in_flight == 5, "five on their way")
                started = time.monotonic()
                task.cancel()
            assert 0.2 < time.monotonic() - started < 1.0
            assert not rig.delivered()

    asyncio.run(main())


def test_cancelled_at_any_moment_nothing_stays_behind(tmp_path: Path) -> None:
    noise = random.Random(3)

    async def once(port: int, store: MemoryStore) -> Rig:
        rig = build(port, store, limits=replace(QUICK, drain_s=0.2, goodbye_s=0.2))
        async with running(rig) as task:
            await asyncio.sleep(noise.random() * 0.06)
            started = time.monotonic()
            task.cancel()
            await asyncio.wait({task})
            assert time.monotonic() - started < 1.0
        return rig

    async def main() -> set[int]:
        async with broker(tmp_path) as server, subscriber(server.port) as seen, proxy(server.port) as line:
            store = MemoryStore()
            quiet = asyncio.all_tasks()
            for turn in range(40):
                store.append(Lane.TELEMETRY, 40)
                line.silent = turn % 5 == 4
                port = (server.port, line.port, free_port(), line.port, line.port)[turn % 5]
                await once(port, store)
                line.cut()
            line.silent = False
            await asyncio.sleep(0.1)
            assert {task for task in asyncio.all_tasks() - quiet if "proxy" not in repr(task)} == set()
            rig = build(server.port, store)
            async with running(rig):
                await rig.until_delivered()
            assert set(seen.seqs("telemetry")) == set(range(1, 1601))
            return {server.port, line.port}

    ports = asyncio.run(main())
    connections = psutil.Process().net_connections(kind="tcp")
    assert not [one for one in connections if one.raddr and one.raddr.port in ports]
