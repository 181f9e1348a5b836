"""One connection, with brokers that are silent, wrong or hostile, and with TLS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.mqtt_client import packet
from drivers.mqtt_client.packet import Message
from drivers.mqtt_client.session import KEEPALIVE_S, MOST_TOPIC_BYTES, Dial, Session, Ticket
from drivers.mqtt_south.hub import ZIGBEE2MQTT
from drivers.mqtt_south.simulator import SimClient
from drivers_mqtt_south.site import asynchronous, collect, device, make
from gateway.errors import DeviceUnreachable, LineLost
from support.broker import broker
from support.certificates import Authority
from support.virtual_time import run

CONNACK = bytes((0x20, 2, 0, 0))
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[Dial]:
    ended: list[asyncio.Task[None] | None] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.current_task())
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        yield Dial("127.0.0.1", server.sockets[0].getsockname()[1], "test")
        for task in ended:
            if task is not None:
                task.cancel()
        await asyncio.gather(*[task for task in ended if task is not None], return_exceptions=True)


async def nothing(message: Message, ticket: Ticket) -> None:
    ticket.done()


def test_a_broker_that_falls_silent_is_a_lost_line() -> None:
    pings = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(CONNACK)
        while data := await reader.read(1024):
            pings.append(data)

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        async with served(silent) as dial, Session(dial) as session:
            began_s = loop.time()
            with pytest.raises(LineLost, match="nothing from the broker"):
                await session.run(nothing)
            return loop.time() - began_s

    assert KEEPALIVE_S < run(scenario()) <= 2 * KEEPALIVE_S
    assert packet.PINGREQ in b"".join(pings)


def test_a_broker_that_answers_pings_is_not_lost_and_an_unanswered_command_is_unreachable() -> None:
    async def alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(CONNACK)
        while data := await reader.read(1024):
            writer.write(bytes((0xD0, 0)) * data.count(packet.PINGREQ))

    async def scenario() -> None:
        async with served(alive) as dial, Session(dial) as session, asyncio.TaskGroup() as group:
            running = group.create_task(session.run(nothing))
            await asyncio.sleep(20 * KEEPALIVE_S)
            with pytest.raises(DeviceUnreachable, match="does not answer PUBLISH"):
                await session.publish("a", b"")
            assert not running.done()
            running.cancel()

    run(scenario())


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes((0x20, 2, 0, 5)), bytes((0x20, 3, 0))]
)
def test_what_is_no_broker_is_a_lost_line_with_a_hint(answer: bytes) -> None:
    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(answer)

    async def scenario() -> None:
        async with served(wrong) as dial:
            with pytest.raises(LineLost) as caught:
                await Session(dial).__aenter__()
            assert caught.value.hint

    run(scenario())


def test_a_refused_subscription_says_which() -> None:
    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        writer.write(CONNACK)
        while data := await reader.read(1024):
            at = data.find(b"\x82")
            if at >= 0:
                writer.write(bytes((0x90, 4)) + data[at + 2 : at + 4] + bytes((1, 0x80)))

    async def scenario() -> None:
        async with served(refusing) as dial, Session(dial) as session:
            running = asyncio.create_task(session.run(nothing))
            with pytest.raises(LineLost, match="refuses the subscription b/#"):
                await session.subscribe(["a/#", "b/#"])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(scenario())


PACKETS = st.one_of(
    st.binary(max_size=30),
    st.builds(
        lambda topic, payload, qos, number: packet.publish(
            Message(topic, payload, qos, packet_id=number if qos else None)
        ),
        st.text(st.characters(min_codepoint=48, max_codepoint=122), min_size=1, max_size=MOST_TOPIC_BYTES),
        st.binary(max_size=300),
        st.sampled_from([0, 1]),
        st.integers(1, 0xFFFF),
    ),
    st.just(packet.puback(1)),
    st.just(bytes((0xD0, 0))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PACKETS, max_size=6))
def test_any_bytes_of_a_broker_end_in_a_lost_line(sent: list[bytes]) -> None:
    heard: list[Message] = []
    large: list[tuple[str, int]] = []

    async def note(message: Message, ticket: Ticket) -> None:
        heard.append(message)
        ticket.done()

    async def scenario() -> None:
        session = Session(Dial("nowhere", 1, "test", most_bytes=lambda topic: 200))
        session._reader = asyncio.StreamReader()
        session._reader.feed_data(b"".join(sent))
        session._reader.feed_eof()
        with pytest.raises(LineLost):
            await session.run(note, lambda topic, length: large.append((topic, length)))

    asyncio.run(scenario())
    assert all(len(message.payload) <= 200 for message in heard)
    assert all(length > 200 for _, length in large)


@asynchronous
async def test_tls_is_spoken_and_a_wrong_authority_refused(tmp_path: Path) -> None:
    right, wrong = Authority(tmp_path / "right"), Authority(tmp_path / "wrong")
    server, client = right.issue("localhost", "DNS:localhost"), right.issue("gateway", "DNS:gateway")
    lines = [
        f"cafile {right.ca}",
        f"certfile {server.certificate}",
        f"keyfile {server.key}",
        "require_certificate true",
    ]
    meter = [device("m1", ZIGBEE2MQTT, {"energy": {"kind": "number"}}, address="meter")]
    own = {"certificate": str(client.certificate), "key": str(client.key)}
    async with broker(tmp_path / "broker", tls=lines) as running:
        where = f"localhost:{running.port}"
        good = make(ZIGBEE2MQTT, 1, meter, broker=where, tls={"ca": str(right.ca), **own})
        async with good:
            await good._session.publish("zigbee2mqtt/meter", b'{"energy": 5}')  # type: ignore[union-attr]
            (report,) = await collect(good, lambda got: len(got) >= 1)
            assert report.readings[0].value == 5
        for tls in ({"ca": str(wrong.ca), **own}, {"ca": str(right.ca)}, {"ca": str(tmp_path / "none.pem")}):
            with pytest.raises(LineLost) as caught:
                await make(ZIGBEE2MQTT, 1, meter, broker=where, tls=tls).__aenter__()
            assert caught.value.hint


@asynchronous
async def test_a_simulator_whose_broker_is_gone_says_so() -> None:
    with pytest.raises(LineLost):
        await SimClient("127.0.0.1", 1, "sim").publish("a", b"")
