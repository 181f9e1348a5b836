"""One connection at a time: every way in which it can fail to begin, and to end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.config.models import TlsModel
from gateway.errors import UplinkError, UplinkRejected, UplinkUnavailable
from gateway.uplink.dialect import Outgoing
from gateway.uplink.session import Options, Session
from support.broker import broker, free_port
from support.certificates import Authority
from support.fake_broker import FakeBroker, fake_broker
from support.tcp_proxy import proxy


def options(port: int, **changes: Any) -> Options:
    base: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "keepalive_s": 20,
        "client_id": "session-test",
        "will": Outgoing("compound/v1/s/g/status", b"{}", retain=True),
        "answer_s": 2.0,
        "tick_s": 0.05,
    }
    return Options(**(base | changes))


async def attempt(chosen: Options) -> UplinkError | None:
    try:
        async with Session(chosen, lambda: None):
            return None
    except UplinkError as exc:
        return exc


def sockets() -> int:
    return len(psutil.Process().net_connections(kind="tcp"))


def test_a_message_and_its_acknowledgement(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server:
            woken = asyncio.Event()
            async with Session(options(server.port), woken.set) as session:
                assert await session.subscribe([("a/+", False), ("b", True)]) == [
                    (1, "Granted QoS 1"),
                    (1, "Granted QoS 1"),
                ]
                mid = session.publish(Outgoing("a/x", b"hello"))
                while not (session.acks and session.messages):
                    woken.clear()
                    await woken.wait()
                assert session.acks.popleft() == (mid, 0)
                message = session.messages.popleft()
                assert (message.topic, message.payload, message.retained) == ("a/x", b"hello", False)
                await session.disconnect(1.0)
                assert session.lost is not None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x80, UplinkUnavailable),
        (0x84, UplinkRejected),
        (0x86, UplinkRejected),
        (0x87, UplinkRejected),
        (0x88, UplinkUnavailable),
        (0x89, UplinkUnavailable),
        (0x8A, UplinkRejected),
        (0x97, UplinkUnavailable),
        (0x9F, UplinkUnavailable),
    ],
)
def test_a_refused_connect_says_who_must_act(code: int, kind: type[UplinkError]) -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(connack=code)) as fake:
            error = await attempt(options(fake.port))
            assert type(error) is kind
            assert bool(error.hint) == (kind is UplinkRejected)

    asyncio.run(main())


def test_a_broker_without_qos_1_is_refused() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(connack_properties=bytes([0x24, 0]))) as fake:
            assert isinstance(await attempt(options(fake.port)), UplinkRejected)

    asyncio.run(main())


def test_what_the_broker_grants_is_read() -> None:
    async def main() -> None:
        granted = bytes([0x21, 0, 7, 0x27, 0, 0, 0x10, 0])
        async with (
            fake_broker(FakeBroker(connack_properties=granted)) as fake,
            Session(options(fake.port), lambda: None) as session,
        ):
            assert (session.accepted.receive_maximum, session.accepted.maximum_packet) == (7, 4096)

    asyncio.run(main())


def test_nobody_listens_and_no_such_name() -> None:
    async def main() -> None:
        refused = await attempt(options(free_port()))
        assert isinstance(refused, UplinkUnavailable)
        assert "cannot connect" in str(refused)
        unknown = await attempt(options(1883, host="no-such-host.invalid", dial_s=5.0))
        assert isinstance(unknown, UplinkUnavailable)
        nonsense = await attempt(options(1883, host="a..b"))
        assert isinstance(nonsense, UplinkRejected)

    asyncio.run(main())


def test_a_port_that_never_answers_is_given_up() -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker()) as fake, proxy(fake.port) as line:
            line.silent = True
            error = await attempt(options(line.port, answer_s=0.2))
            assert isinstance(error, UplinkUnavailable)
            assert "in time" in str(error)

    asyncio.run(main())


def test_another_protocol_on_the_port_is_no_broker() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(http, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        error = await attempt(options(port))
        assert isinstance(error, UplinkUnavailable)
        assert isinstance(await attempt(options(port, tls=TlsModel())), UplinkError)
        server.close()
        await asyncio.sleep(0.01)

    asyncio.run(main())


def test_files_that_cannot_be_used_need_a_person(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\xff\xfe not a certificate")

    async def main() -> None:
        for changes, named in [
            ({"username": "u", "password_file": tmp_path / "absent"}, "absent"),
            ({"username": "u", "password_file": junk}, "junk.pem"),
            ({"tls": TlsModel(ca=tmp_path / "no-ca.pem")}, "no-ca.pem"),
            ({"tls": TlsModel(ca=junk)}, "TLS files"),
            ({"tls": TlsModel(certificate=junk)}, "TLS files"),
        ]:
            error = await attempt(options(free_port(), **changes))
            assert isinstance(error, UplinkRejected)
            assert named in str(error)
            assert error.hint

    asyncio.run(main())


@pytest.mark.parametrize(("days", "word"), [(10, "behind"), (-10, "expired")], ids=["not yet valid", "expired"])
def test_a_certificate_out_of_its_dates_says_nothing_while_the_box_does_not_know_the_time(
    tmp_path: Path, days: int, word: str
) -> None:
    authority = Authority(tmp_path / "ca", starts_s=86400.0 * days)
    server = authority.issue("server", "DNS:localhost")
    listener = [f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"]

    async def main() -> None:
        async with broker(tmp_path / "b", tls=listener) as running:
            wanted = {"host": "localhost", "tls": TlsModel(ca=authority.ca)}
            known = await attempt(options(running.port, **wanted))
            assert known is not None
            assert word in known.hint
            unknown = await attempt(options(running.port, **wanted, clock_known=False))
            assert isinstance(unknown, UplinkUnavailable)
            assert "does not know the time yet" in unknown.hint

    asyncio.run(main())


def test_tls_verifies_the_authority_and_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    other = Authority(tmp_path / "other")
    server = authority.issue("server", "DNS:localhost")
    client = authority.issue("client", "DNS:gateway")
    listener = [f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"]
    own = TlsModel(ca=authority.ca)

    async def plain() -> None:
        async with broker(tmp_path / "b1", tls=listener) as running:
            assert await attempt(options(running.port, host="localhost", tls=own)) is None
            wrong_host = await attempt(options(running.port, tls=own))  # 127.0.0.1 is not in the certificate
            assert isinstance(wrong_host, UplinkRejected)
            assert "name that stands in the certificate" in wrong_host.hint
            unknown = await attempt(options(running.port, host="localhost", tls=TlsModel(ca=other.ca)))
            assert isinstance(unknown, UplinkRejected)
            assert "authority" in unknown.hint
            system = await attempt(options(running.port, host="localhost", tls=TlsModel()))
            assert isinstance(system, UplinkRejected)
            without = await attempt(options(running.port, host="localhost"))
            assert isinstance(without, UplinkUnavailable)

    async def mutual() -> None:
        async with broker(tmp_path / "b2", tls=[*listener, "require_certificate true"]) as running:
            both = TlsModel(ca=authority.ca, certificate=client.certificate, key=client.key)
            assert await attempt(options(running.port, host="localhost", tls=both)) is None
            missing = await attempt(options(running.port, host="localhost", tls=own))
            assert isinstance(missing, UplinkRejected)
            assert "tls.certificate" in missing.hint

    asyncio.run(plain())
    asyncio.run(mutual())


def test_many_acknowledgements_in_one_tls_record_are_all_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "DNS:localhost")
    listener = [f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"]

    async def main() -> None:
        async with broker(tmp_path / "b", tls=listener) as running:
            woken = asyncio.Event()
            chosen = options(running.port, host="localhost", tls=TlsModel(ca=authority.ca))
            async with Session(chosen, woken.set) as session, asyncio.timeout(10):
                for _ in range(20):
                    for _ in range(20):
                        session.publish(Outgoing("a/x", b"y" * 2000))
                    while len(session.acks) < 20:
                        woken.clear()
                        await woken.wait()
                    session.acks.clear()
                assert session.lost is None

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(8))
def test_garbage_ends_the_connection_and_nothing_else(seed: int) -> None:
    noise = random.Random(seed)
    kinds = [0x20, 0x30, 0x32, 0x34, 0x36, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0, 0x00]
    packets = b""
    for _ in range(30):
        body = noise.randbytes(noise.randrange(40))
        packets += bytes([noise.choice(kinds), len(body)]) + body
    packets += b"\x30\xff\xff\xff\xff\xff"  # a length of five bytes, which the standard forbids

    async def main() -> None:
        async with fake_broker(FakeBroker(after_connack=packets)) as fake:
            async with Session(options(fake.port), lambda: None) as session, asyncio.timeout(5):
                while session.lost is None:
                    await asyncio.sleep(0.01)
            assert isinstance(session.lost.error, UplinkUnavailable)

    faults: list[Any] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        runner.run(main())
    assert not faults


def test_a_broker_that_falls_silent_while_nothing_is_sent_is_noticed() -> None:
    async def main() -> None:
        async with (
            fake_broker(FakeBroker()) as fake,
            proxy(fake.port) as line,
            Session(options(line.port, keepalive_s=1, silence_s=0.4), lambda: None) as session,
        ):
            await asyncio.sleep(1.6)
            assert session.lost is None  # it answered the ping
            line.silent = True
            started = time.monotonic()
            async with asyncio.timeout(5):
                while session.lost is None:
                    await asyncio.sleep(0.05)
            assert time.monotonic() - started < 1.9
            assert "fell silent" in str(session.lost.error)

    asyncio.run(main())


def test_cancelled_at_any_moment_it_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    """Against a broker, a port nobody listens on, and one that accepts and never speaks (TLS handshake pending)."""
    noise = random.Random(1)

    async def hold(chosen: Options) -> None:
        with contextlib.suppress(UplinkError):
            async with Session(chosen, lambda: None) as session:
                while session.lost is None:
                    session.publish(Outgoing("a/x", b"y" * 1000))
                    await asyncio.sleep(0.001)

    async def cancel(chosen: Options, delay_s: float) -> float:
        task = asyncio.ensure_future(hold(chosen))
        await asyncio.sleep(delay_s)
        started = time.monotonic()
        task.cancel()
        await asyncio.wait({task})
        return time.monotonic() - started

    async def main() -> list[float]:
        async with broker(tmp_path) as server, proxy(server.port) as mute:
            mute.silent = True
            targets = [
                options(server.port),
                options(free_port()),
                options(mute.port),
                options(mute.port, host="localhost", tls=TlsModel(), address_s=0.3),
            ]
            before = asyncio.all_tasks()
            took_s = [await cancel(targets[turn % 4], noise.random() * 0.03) for turn in range(80)]
            await asyncio.sleep(0.4)  # for threads whose caller has gone
            leftover = {task for task in asyncio.all_tasks() - before if "Session" in repr(task)}
            assert not leftover
            return took_s

    before = sockets()
    took_s = asyncio.run(main())
    assert len(took_s) == 80
    assert max(took_s) < 1.0
    assert sockets() <= before
    assert threading.active_count() == 1
