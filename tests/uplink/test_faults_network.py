"""The fault catalogue, part B: lines that hang, break, crawl and lie, names that lead nowhere, and the great return."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.model import Lane
from gateway.uplink.backoff import Backoff
from gateway.uplink.status import Limits
from support.broker import broker, free_port, mosquitto
from support.certificates import Authority
from support.fake_broker import FakeBroker, fake_broker
from support.mqtt_subscriber import Received, subscriber
from support.tcp_proxy import proxy
from uplink import rig
from uplink.ledger import Bench, bench, open_to, running, until
from uplink.rig import QUICK

SEED = 20261127
DETECTED_S = 30.0


# --- B3: the line swallows everything ---


@pytest.mark.long
@pytest.mark.parametrize("busy", [True, False])
def test_b3_a_black_hole_is_noticed_within_half_a_minute(tmp_path: Path, busy: bool) -> None:
    """With the product's limits, in real time.  The short variants, with shorter limits: test_mqtt.py (busy) and
    test_session.py (idle)."""

    async def main() -> None:
        async with (
            broker(tmp_path / "b") as server,
            subscriber(server.port) as seen,
            proxy(server.port) as line,
            bench(tmp_path / "s", line.port, limits=Limits()) as site,
            running(site),
        ):
            await site.commit(Lane.EVENT, 10)
            await site.until_delivered()
            line.silent = True
            began_s = asyncio.get_running_loop().time()
            if busy:
                await site.commit(Lane.EVENT, 10)
            await until(lambda: not site.uplink.status.connected, "it is noticed", 60.0)
            took_s = asyncio.get_running_loop().time() - began_s
            print(f"\nnoticed after {took_s:.1f} s")
            assert took_s <= DETECTED_S
            line.silent = False
            line.cut()
            await site.commit(Lane.EVENT, 10)
            await site.arrival(lambda: seen.received)
            site.ledger.check()

    asyncio.run(main())


# --- B4: reset again and again ---


@pytest.mark.parametrize(
    ("sessions", "lasting_s"), [(8, (0.0, 0.1)), pytest.param(10_000, (1.0, 5.0), marks=pytest.mark.long)]
)
@pytest.mark.timeout(900)
def test_b4_every_session_makes_progress_however_soon_it_is_reset(
    tmp_path: Path, sessions: int, lasting_s: tuple[float, float]
) -> None:
    """Long: for ten minutes, with the product's limits, so that the pauses grow as in a fight for the client id."""
    chance, long = random.Random(SEED), sessions > 1000

    async def main() -> None:
        limits = Limits() if long else replace(QUICK, short_session_s=0.0)
        async with (
            broker(tmp_path / "b", "max_queued_messages 0") as server,
            subscriber(server.port) as seen,
            proxy(server.port) as line,
            bench(tmp_path / "s", line.port, limits=limits, jitter=0.0, replay_rate=500) as site,
        ):
            await site.commit(Lane.TELEMETRY, 3000, 1000)
            progress: list[int] = []
            end_s = asyncio.get_running_loop().time() + (600.0 if long else 60.0)
            async with running(site):
                while len(progress) < sessions and asyncio.get_running_loop().time() < end_s:
                    before = len(seen.on("telemetry"))
                    await site.commit(Lane.TELEMETRY, 10)
                    await until(lambda: site.uplink.status.connected, "a connection", 150.0)
                    await asyncio.sleep(chance.uniform(*lasting_s))
                    if not long:  # a stalled machine may need more time than that
                        await until(lambda n=before: len(seen.on("telemetry")) > n, "progress")
                    known = line.accepted
                    line.cut()
                    await until(lambda n=known: line.accepted > n, "it comes back", 150.0)
                    await asyncio.sleep(0.05)  # for the subscriber, which is behind the broker
                    progress.append(len(seen.on("telemetry")) - before)
                await site.until_delivered(200.0)
            await site.arrival(lambda: seen.received)
            site.ledger.check()
            assert min(progress) >= 1
            assert not site.quarantined
            print(f"\n{len(progress)} sessions, at least {min(progress)} messages each")

    asyncio.run(main())


# --- B5: slow ---


@pytest.mark.parametrize(
    ("latency_s", "bytes_per_s", "envelopes", "limits"),
    [
        (0.3, 20_000, 40, replace(QUICK, ack_s=3.0)),
        pytest.param(2.0, 5_000, 100, Limits(), marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(600)
def test_b5_a_slow_line_is_no_dead_line(
    tmp_path: Path, latency_s: float, bytes_per_s: float, envelopes: int, limits: Limits
) -> None:
    """What is on its way takes longer than an acknowledgement may: only that bytes still leave saves the connection."""

    async def main() -> None:
        async with (
            broker(tmp_path / "b", "max_queued_messages 0") as server,
            subscriber(server.port) as seen,
            proxy(server.port, slow=True) as line,
            bench(tmp_path / "s", line.port, limits=limits) as site,
        ):
            line.latency_s, line.bytes_per_s = latency_s, bytes_per_s
            await site.commit(Lane.TELEMETRY, envelopes, 2000)
            async with running(site):
                await site.commit(Lane.ALARM, 3)
                await site.until_delivered(200.0)
                await site.arrival(lambda: seen.received)
                assert site.uplink.status.reconnects == 0
            site.ledger.check()

    asyncio.run(main())


# --- B6: torn, damaged, endless ---


def test_b6_a_line_that_gives_one_byte_at_a_time_delivers(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            broker(tmp_path / "b") as server,
            subscriber(server.port) as seen,
            proxy(server.port) as line,
            bench(tmp_path / "s", line.port) as site,
        ):
            line.drip = True
            await site.commit(Lane.EVENT, 20)
            async with running(site):
                await site.arrival(lambda: seen.received)
                await site.until_delivered()
                assert site.uplink.status.reconnects == 0
            site.ledger.check()

    asyncio.run(main())


ANSWERS = {
    "a truncated PUBACK": b"\x40\x04\x00",
    "a PUBLISH that is shorter than its topic": b"\x32\x04\xff\xffab",
    "a length of five bytes": b"\x30\xff\xff\xff\xff\xff",
    "a PINGRESP with a body": b"\xd0\x03abc",
    "a second CONNACK": b"\x20\x03\x00\x00\x00" * 2,
    "an unknown PUBACK code": b"\x40\x04\x00\x01\xc3\x00",
    "HTTP": b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n" * 3,
    "random": random.Random(SEED).randbytes(500),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_b6_after_garbage_the_next_connection_delivers(tmp_path: Path, answer: bytes) -> None:
    """The garbage comes after the first CONNACK or two; then the broker is well."""
    sick = FakeBroker(after_connack=answer)

    async def main() -> None:
        async with fake_broker(sick) as fake, proxy(fake.port) as line, bench(tmp_path, line.port) as site:
            await site.commit(Lane.EVENT, 5)
            async with running(site):
                await until(lambda: fake.connects >= 1, "connected")
                await asyncio.sleep(0.05)
                sick.after_connack = b""
                line.cut()
                await site.commit(Lane.EVENT, 5)
                await site.until_delivered()
            sent = {json.loads(body)["seq"] for topic, body in fake.published if topic.endswith("event")}
            assert sent == {seq for _, seq in site.ledger.accepted}
            assert not site.quarantined

    faults: list[Any] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _loop, context: faults.append(context))
        runner.run(main())
    assert not faults


def test_b6_a_packet_without_end_is_cut_off_and_fills_no_memory() -> None:
    """The largest length the standard allows, 256 MiB, and as much of it as the gateway takes."""
    endless = FakeBroker(after_connack=b"\x30\xff\xff\xff\x7f", flood_bytes=256 * 2**20)

    async def main() -> None:
        async with fake_broker(endless) as fake:
            site = rig.build(fake.port)
            site.store.append(Lane.EVENT, 5)
            async with rig.running(site):
                await until(lambda: fake.connects >= 2, "a second attempt")
                resident = psutil.Process().memory_info().rss
                await until(lambda: fake.connects >= 5, "more of them")
                assert psutil.Process().memory_info().rss - resident < 5 * 2**20
                endless.after_connack, endless.flood_bytes = b"", 0
                await site.until_delivered()

    asyncio.run(main())


def test_b6_bits_that_flip_on_the_way_are_never_believed_under_tls(tmp_path: Path) -> None:
    """A third of the pieces is damaged.  (Without TLS only the checksum of TCP would notice.)"""
    chance = random.Random(SEED)
    authority = Authority(tmp_path / "ca")
    issued = authority.issue("server", "DNS:localhost")
    tls = [f"cafile {authority.ca}", f"certfile {issued.certificate}", f"keyfile {issued.key}"]
    open_port = free_port()
    flipped = [0]

    def damage(data: bytes) -> bytes:
        if chance.random() > 1 / 3:
            return data
        flipped[0] += 1
        place = chance.randrange(len(data))
        return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]

    async def main() -> None:
        limits = replace(QUICK, short_session_s=0.0, address_s=1.0)
        async with (
            broker(tmp_path / "b", f"listener {open_port} 127.0.0.1", "max_queued_messages 0", tls=tls) as server,
            open_to(server, open_port) as seen,
            proxy(server.port) as line,
            bench(tmp_path / "s", line.port, host="localhost", tls={"ca": authority.ca}, limits=limits) as site,
            running(site),
        ):
            await until(lambda: site.uplink.status.connected, "connected")
            line.damage = damage
            for _ in range(10):
                known = flipped[0]
                await site.commit(Lane.EVENT, 20)
                await until(lambda n=known: flipped[0] > n, "damage")
            line.damage = None
            line.cut()
            await site.arrival(lambda: seen.received)
            await site.until_delivered()
            site.ledger.check()
            assert not site.quarantined

    asyncio.run(main())


# --- B15: names and addresses ---


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the name ``broker.example`` leads to: addresses in order, or an error."""
    answer: list[Any] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "broker.example":
            return real(host, port, *args, **kwargs)
        if isinstance(answer[0], Exception):
            raise answer[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answer


@contextlib.contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that drops every SYN: a listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()


@pytest.mark.parametrize("address_s", [1.0, pytest.param(Limits().address_s, marks=pytest.mark.long)])
def test_b15_of_two_addresses_the_one_that_lives_is_found(resolver: list[Any], address_s: float) -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker()) as fake:
            with black_hole() as dead:
                resolver.extend([dead, ("127.0.0.1", fake.port)])
                limits = replace(QUICK, address_s=address_s)
                site = rig.build(fake.port, host="broker.example", allow_plaintext=True, limits=limits)
                site.store.append(Lane.EVENT, 3)
                began_s = asyncio.get_running_loop().time()
                async with rig.running(site):
                    await site.until_delivered(60.0)
                took_s = asyncio.get_running_loop().time() - began_s
                print(f"\nthe second address after {took_s:.1f} s")
                assert took_s >= address_s, "the first one was tried"
                assert took_s <= 10.0

    asyncio.run(main())


def test_b15_a_name_that_cannot_be_resolved_is_asked_for_again(resolver: list[Any]) -> None:
    resolver.append(socket.gaierror(-3, "Temporary failure in name resolution"))

    async def main() -> None:
        async with fake_broker(FakeBroker()) as fake:
            site = rig.build(fake.port, host="broker.example", allow_plaintext=True)
            site.store.append(Lane.EVENT, 3)
            async with rig.running(site):
                await until(lambda: bool(site.uplink.status.error), "the reason")
                status = site.uplink.status
                assert "cannot be resolved" in status.error
                assert "DNS" in status.hint
                assert not status.needs_person
                resolver[:] = [("127.0.0.1", fake.port)]
                await site.until_delivered(10.0)

    asyncio.run(main())


@pytest.mark.parametrize("keeps_open", [False, pytest.param(True, marks=pytest.mark.long)])
def test_b15_a_captive_portal_is_no_broker_and_gets_nothing(tmp_path: Path, keeps_open: bool) -> None:
    heard = [b""]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard[0] += await reader.read(4096)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(OSError):
            while keeps_open and (more := await reader.read(4096)):
                heard[0] += more
        writer.close()

    async def main() -> None:
        web = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with web, fake_broker(FakeBroker()) as fake, proxy(web.sockets[0].getsockname()[1]) as line:
            site = rig.build(line.port)
            site.store.append(Lane.EVENT, 3)
            async with rig.running(site):
                await until(lambda: bool(site.uplink.status.error), "the reason", 20.0)
                assert not site.uplink.status.needs_person
                assert b'"items"' not in heard[0], "only a CONNECT"
                line.lead_to(fake.port)
                await site.until_delivered(20.0)
            line.cut()
            await asyncio.sleep(0.01)

    asyncio.run(main())


# --- B19: everybody comes back ---


@pytest.mark.parametrize(("outage_s", "peak"), [(3600.0, 0.05), pytest.param(86_400.0, 0.05, marks=pytest.mark.long)])
def test_b19_500_gateways_come_back_spread_out(outage_s: float, peak: float) -> None:
    """After an outage of an hour or more; after a short one they come back at once, on purpose (backoff.py)."""
    worst = 0.0
    for seed in range(10):
        chance = random.Random(seed)
        returns = Counter(int(_return_s(Backoff(), outage_s, chance) - outage_s) for _ in range(500))
        worst = max(worst, max(returns.values()) / 500)
    print(f"\nat most {worst:.1%} in one second")
    assert worst < peak


def _return_s(backoff: Backoff, outage_s: float, chance: random.Random) -> float:
    """When one gateway's first attempt after the outage happens; each attempt takes no time."""
    at_s = chance.random()
    while at_s < outage_s:
        at_s += backoff.delay_s(at_s, rejected=False, jitter=chance.random()) or 0.001
    return at_s


# --- B20: the cable ---


@pytest.mark.long
@pytest.mark.parametrize("busy", [True, False])
def test_b20_a_cable_that_is_pulled_is_noticed_and_costs_nothing(tmp_path: Path, busy: bool) -> None:
    """A broker in a network namespace of its own, behind a pair of virtual cards; one of them is taken down."""
    program = mosquitto()
    name = f"gw{os.getpid()}{'b' if busy else 'i'}"

    (tmp_path / "conf").write_text("user root\nlistener 1883\nallow_anonymous true\nmax_queued_messages 0\n", "utf-8")

    async def main() -> None:
        async with cable(name) as (address, plug), inside(name, program, "-c", str(tmp_path / "conf")):
            await until(lambda: _answers(address), "the broker")
            async with inside(name, sys.executable, "-c", LISTEN) as platform:
                await pulled(platform, tmp_path, address, plug, busy)

    asyncio.run(main())


LISTEN = """
from paho.mqtt.client import CallbackAPIVersion, Client
client = Client(CallbackAPIVersion.VERSION2)
client.on_connect = lambda *_: client.subscribe("#", qos=1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = lambda _client, _userdata, message: print(message.topic, message.payload.decode(), flush=True)
client.connect("127.0.0.1")
client.loop_forever()
"""


@contextlib.asynccontextmanager
async def inside(name: str, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program at the far end of the cable."""
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", name, *command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.communicate()


async def pulled(
    platform: asyncio.subprocess.Process, tmp_path: Path, address: str, plug: Callable[[str], None], busy: bool
) -> None:
    assert platform.stdout is not None
    assert await asyncio.wait_for(platform.stdout.readline(), 30.0) == b"ready\n"
    async with (
        bench(tmp_path / "s", 1883, host=address, allow_plaintext=True, limits=Limits()) as site,
        running(site),
    ):
        await site.commit(Lane.EVENT, 10)
        await heard(platform, site)
        await site.until_delivered()  # acknowledgements, too
        plug("down")
        began_s = asyncio.get_running_loop().time()
        if busy:
            await site.commit(Lane.EVENT, 10)
        await until(lambda: not site.uplink.status.connected, "it is noticed", 60.0)
        took_s = asyncio.get_running_loop().time() - began_s
        print(f"\nnoticed after {took_s:.1f} s")
        assert took_s <= DETECTED_S
        await site.commit(Lane.EVENT, 10)
        plug("up")
        await heard(platform, site)
        site.ledger.check()


async def heard(platform: asyncio.subprocess.Process, site: Bench) -> None:
    """Until the program at the far end has printed everything that was accepted."""
    assert platform.stdout is not None
    async with asyncio.timeout(60.0):
        while site.ledger.missing:
            topic, _, payload = (await platform.stdout.readline()).partition(b" ")
            site.ledger.arrive([Received(topic.decode(), payload.rstrip(b"\n"), retained=False)])


def _answers(address: str) -> bool:
    with socket.socket() as sock:
        sock.settimeout(0.2)
        return sock.connect_ex((address, 1883)) == 0


@contextlib.asynccontextmanager
async def cable(name: str) -> AsyncIterator[tuple[str, Callable[[str], None]]]:
    """(address at the far end, plug("down" | "up")); skips where namespaces are not ours to make."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2")
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces are not allowed here")

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", "203.0.113.1/30", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "addr", "add", "203.0.113.2/30", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        yield "203.0.113.2", lambda state: ip("-n", name, "link", "set", f"{name}b", state)
    finally:
        subprocess.run(["ip", "link", "del", f"{name}a"], capture_output=True, check=False)  # the kernel does it later
        ip("netns", "del", name)
