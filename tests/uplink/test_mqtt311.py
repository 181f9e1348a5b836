"""The same session over MQTT 3.1.1, for brokers that have nothing better."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.model import Lane
from gateway.uplink.dialect import Outgoing
from gateway.uplink.session import Options, Session
from support.broker import broker
from uplink.rig import build, running


def test_a_message_and_its_acknowledgement(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            woken = asyncio.Event()
            options = Options("127.0.0.1", server.port, 20, "old", Outgoing("s", b"{}"), mqtt311=True, tick_s=0.05)
            async with Session(options, woken.set) as session:
                assert [code for code, _ in await session.subscribe([("a/+", False), ("b", False)])] == [1, 1]
                mid = session.publish(Outgoing("a/x", b"hello", retain=True))
                while not (session.acks and session.messages):
                    woken.clear()
                    await woken.wait()
                assert session.acks.popleft() == (mid, 0)
                message = session.messages.popleft()
                assert (message.topic, message.payload) == ("a/x", b"hello")
                assert (message.response_topic, message.correlation) == (None, None)
                await session.disconnect(1.0)
                assert session.lost is not None
            assert "as old (p2, c1, k20)" in server.log, "mosquitto's name for MQTT 3.1.1 with a clean session"

    asyncio.run(main())


def test_everything_is_delivered(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            rig = build(server.port, protocol="mqtt311")
            rig.store.append(Lane.TELEMETRY, 200)
            rig.store.append(Lane.ALARM)
            async with running(rig):
                await rig.until_delivered()
                assert rig.uplink.status.connected
                assert rig.uplink.status.faults == ()
            assert rig.quarantined == []

    asyncio.run(main())
