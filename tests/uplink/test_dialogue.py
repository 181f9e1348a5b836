"""What the platform asks of an uplink, and what it is told: commands, repetitions, compression, several messages."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from gateway.clock import ClockState
from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.contract import client_id
from gateway.uplink.dialect import Attend, Heard, Hello, Incoming, Introduce, Outgoing, Reply, Request
from gateway.uplink.session import Options, Session
from support.broker import broker
from support.certificates import Authority
from support.mqtt_subscriber import Subscriber, subscriber
from support.tcp_proxy import proxy
from uplink.rig import IDENTITY, TOPICS, Listed, build, running, subject_of


async def until(true: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


def test_what_happens_now_goes_before_what_has_waited(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path, "max_queued_messages 0") as server, subscriber(server.port) as seen:
            rig = build(server.port, replay_rate=200)
            rig.store.append(Lane.TELEMETRY, 800)
            async with running(rig):
                await seen.until(lambda: len(seen.on("telemetry")) >= 200, "the first second's worth")
                rig.store.append(Lane.TELEMETRY, 50)
                await seen.until(lambda: 850 in seen.seqs("telemetry"), "what has just happened")
                assert len(seen.on("telemetry")) < 700, "behind the backlog"
                await rig.until_delivered()
            assert sorted(seen.seqs("telemetry")) == list(range(1, 851))
            late = {one.json["seq"] for one in seen.on("telemetry") if one.json["replay"]}
            assert late == set(range(1, 801))

    asyncio.run(main())


def test_a_range_is_sent_once_more_and_changes_no_cursor(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            rig.store.append(Lane.BILLING, 100)
            async with running(rig):
                await rig.until_delivered()
                rig.uplink.resend(Lane.BILLING, 10, 90)
                await seen.until(lambda: len(seen.on("billing")) == 181, "the range again")
                again = seen.on("billing")[100:]
                assert [one.json["seq"] for one in again] == list(range(10, 91))
                assert all(one.json["replay"] for one in again)
                assert [one.items for one in again] == [one.items for one in seen.on("billing")[9:90]]
                rig.store.append(Lane.BILLING, 1)
                await rig.until_delivered()

    asyncio.run(main())


def test_a_range_asked_for_survives_a_broken_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, proxy(server.port) as line, subscriber(server.port) as seen:
            rig = build(line.port, replay_rate=100)
            rig.store.append(Lane.BILLING, 100)
            async with running(rig):
                await rig.until_delivered()
                rig.uplink.resend(Lane.BILLING, 1, 100)
                await seen.until(lambda: len(seen.on("billing")) > 110, "some of it")
                line.cut()
                everything = set(range(1, 101))
                await seen.until(lambda: set(seen.seqs("billing")[100:]) == everything, "the range")

    asyncio.run(main())


def test_compressed_where_it_pays(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port, compress=True)
            rig.store.append(Lane.TELEMETRY, 1, filler_bytes=5000)
            rig.store.append(Lane.ALARM, 1)
            async with running(rig):
                await rig.until_delivered()
                await seen.until(lambda: bool(seen.on("telemetry/zlib") and seen.on("alarm")), "both")
            (packed,) = seen.on("telemetry/zlib")
            assert len(packed.payload) < 400
            assert json.loads(zlib.decompress(packed.payload))["items"][0]["fill"] == "x" * 5000
            assert not seen.on("telemetry")

    asyncio.run(main())


class InThree(Listed):
    """Three messages for each envelope, one of them at most once."""

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        if envelope.lane is Lane.BULK:
            return []
        root = TOPICS.root + f"part/{envelope.seq}/"
        return [Outgoing(root + "a", b"1"), Outgoing(root + "b", b"2", qos=0), Outgoing(root + "c", b"3")]


def test_an_envelope_of_three_messages_is_delivered_when_all_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path, "max_inflight_messages 2") as server, subscriber(server.port) as seen:
            store, subject = subject_of()
            rig = build(server.port, store, dialect=InThree(subject))
            store.append(Lane.EVENT, 40)
            store.append(Lane.BULK, 5)
            async with running(rig):
                await rig.until_delivered()
                parts = [one for one in seen.received if "/part/" in one.topic]
                await seen.until(lambda: len(parts) <= 120, "all parts")
                assert rig.uplink.status.sent == 40
            await seen.until(lambda: sum("/part/" in one.topic for one in seen.received) == 120, "all parts")

    asyncio.run(main())


def test_a_command_outlives_the_connection_it_came_over_and_is_answered_on_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        asked: list[Request] = []
        carry_on = asyncio.Event()

        async def act(request: Request) -> Reply:
            asked.append(request)
            await carry_on.wait()
            return Reply("ok", "confirmed", "", {"value": 7})

        async with broker(tmp_path) as server, proxy(server.port) as line, subscriber(server.port) as seen:
            rig = build(line.port, on_request=act)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("catalog")), "connected")
                seen.publish(TOPICS.root + "command/c-1", b"open sesame")
                await until(lambda: bool(asked), "the command")
                line.cut()
                await until(lambda: rig.uplink.status.reconnects == 1, "connected again")
                carry_on.set()
                await seen.until(lambda: bool(seen.on("reply/c-1")), "the reply")
            assert asked == [Request("main", "c-1", b"open sesame", False)]
            reply = {"id": "c-1", "status": "ok", "code": "confirmed", "detail": "", "result": {"value": 7}}
            assert seen.on("reply/c-1")[0].json == reply

    asyncio.run(main())


def test_too_many_commands_at_once_are_refused_and_a_retained_one_is_marked(tmp_path: Path) -> None:
    async def main() -> None:
        asked: list[Request] = []
        carry_on = asyncio.Event()

        async def act(request: Request) -> Reply:
            asked.append(request)
            await carry_on.wait()
            return Reply("ok")

        async with broker(tmp_path, "max_inflight_messages 0") as server, subscriber(server.port) as seen:
            rig = build(server.port, on_request=act)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("catalog")), "connected")
                seen.publish(TOPICS.root + "command/kept", b"x", retain=True)
                for number in range(40):
                    seen.publish(TOPICS.root + f"command/c-{number}", b"x")
                await seen.until(lambda: sum("/reply/" in one.topic for one in seen.received) == 25, "25 refusals")
                carry_on.set()
                await seen.until(lambda: sum("/reply/" in one.topic for one in seen.received) == 41, "all replies")
            assert len(asked) == 16
            assert [request.retained for request in asked] == [True] + [False] * 15

    asyncio.run(main())


def test_a_platform_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    class Waiting(Listed):
        def hello(self) -> Hello:
            known = super().hello()
            return Hello(known.client_id, known.subscriptions, known.states, known.will, attended=False)

        def hear(self, message: Incoming) -> Sequence[Heard]:
            return [Attend(True), Introduce()] if message.payload == b"here I am" else super().hear(message)

    async def main() -> None:
        asked: list[Request] = []

        async def act(request: Request) -> Reply:
            asked.append(request)
            return Reply("ok")

        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            store, subject = subject_of()
            rig = build(server.port, store, dialect=Waiting(subject), on_request=act)
            store.append(Lane.ALARM, 3)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("status")), "connected")
                rig.uplink.publish_health({"n": 1})
                await seen.until(lambda: bool(seen.on("health")), "health, though nobody is there")
                assert not seen.on("alarm")
                seen.publish(TOPICS.root + "command/c-1", b"x")
                await until(lambda: bool(asked), "a command, from whoever it was")
                rig.uplink.publish_health({"n": 2})
                await seen.until(lambda: len(seen.on("health")) == 2, "what is said in any case")
                assert not seen.on("reply/c-1")
                seen.publish(TOPICS.receipt, b"here I am")
                await seen.until(lambda: bool(seen.on("reply/c-1")), "the answer, once somebody is there")
                await rig.until_delivered()

    asyncio.run(main())


def test_a_receiver_that_goes_again_and_again_is_no_fight_and_leaves_no_will(tmp_path: Path) -> None:
    class Hosted(Listed):
        def hear(self, message: Incoming) -> Sequence[Heard]:
            return [Attend(False)] if message.topic.endswith("command/gone") else super().hear(message)

    async def main() -> None:
        async with broker(tmp_path, "max_queued_messages 0") as server, subscriber(server.port) as seen:
            store, subject = subject_of()
            rig = build(server.port, store, dialect=Hosted(subject))
            async with running(rig):
                for births in range(1, 9):
                    await seen.until(lambda n=births: states(seen).count("online") == n, "connected anew")
                    store.append(Lane.EVENT, 20)
                    await until(lambda: rig.uplink.status.connected, "connected")
                    seen.publish(TOPICS.root + "command/gone")
                await seen.until(lambda: states(seen).count("online") == 9, "connected for the ninth time")
                await rig.until_delivered()
            assert set(states(seen)) == {"online", "stopping"}

    with structlog.testing.capture_logs() as logs:
        asyncio.run(main())
    assert {entry["event"] for entry in logs} == {"uplink connected"}, "it was never down"


def states(seen: Subscriber) -> list[str]:
    return [one.json["state"] for one in seen.on("status")]


def test_the_clock_that_becomes_right_is_announced(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port) as seen:
            rig = build(server.port)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("status")), "connected")
                rig.clock.trust = ClockState.HOLDOVER
                await seen.until(lambda: len(seen.on("status")) == 2, "the new state")
            assert [one.json["clock"] for one in seen.on("status")[:2]] == ["synced", "holdover"]

    asyncio.run(main())


def test_a_renewed_certificate_is_used_without_an_outage(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("localhost", "DNS:localhost")
    listener = [f"cafile {authority.ca}", f"certfile {issued.certificate}", f"keyfile {issued.key}"]

    async def main() -> None:
        async with broker(tmp_path / "b", tls=listener) as server:
            rig = build(server.port, host="localhost", tls={"ca": authority.ca})
            async with running(rig):
                await until(lambda: rig.uplink.status.connected, "connected")
                authority.ca.write_bytes(authority.ca.read_bytes())
                await until(lambda: rig.uplink.status.reconnects == 1, "connected anew")
                rig.store.append(Lane.EVENT, 3)
                await rig.until_delivered()

    asyncio.run(main())


def test_another_client_with_our_name_is_suspected(tmp_path: Path) -> None:
    """Mosquitto throws the older one out without a word."""

    async def main() -> None:
        async with broker(tmp_path) as server:
            rig = build(server.port)
            ours = Options("127.0.0.1", server.port, 20, client_id(IDENTITY, "main"), tick_s=0.05)
            async with running(rig):
                for round_number in range(6):
                    await until(lambda n=round_number: rig.uplink.status.reconnects >= n, "connected")
                    await until(lambda: rig.uplink.status.connected, "connected")
                    async with Session(ours, lambda: None):
                        await until(lambda: not rig.uplink.status.connected, "thrown out")
                await until(lambda: "another client" in rig.uplink.status.hint, "the suspicion")
                assert rig.uplink.status.needs_person

    asyncio.run(main())
