"""The fault catalogue, B16 and B17: certificates that must not be believed, and one that is renewed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.model import Lane
from gateway.uplink.status import Limits
from support.broker import broker, free_port
from support.certificates import Authority, Certificate
from uplink import rig
from uplink.ledger import bench, open_to, running, until
from uplink.rig import QUICK

TODAY = datetime.now(UTC)
HANDSHAKE, APPLICATION_DATA = 22, 23
"""TLS record types (RFC 8446, 5.1)."""


@dataclass
class Heard:
    """What a server has been told, after the handshake."""

    port: int = 0
    connections: int = 0
    data: bytes = b""


def _listen(listening: socket.socket, context: ssl.SSLContext | None, heard: Heard) -> None:
    """In a thread, with a blocking handshake: asyncio would drop the alert with which a server refuses."""
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listening.accept()
            with sock, contextlib.suppress(OSError):
                sock.settimeout(5.0)
                _hear(context.wrap_socket(sock, server_side=True) if context else sock, heard)


def _hear(sock: socket.socket, heard: Heard) -> None:
    heard.connections += 1
    with sock:
        while data := sock.recv(4096):
            heard.data += data


@contextlib.asynccontextmanager
async def listener(context: ssl.SSLContext | None) -> AsyncIterator[Heard]:
    """One connection at a time.  Without a context it only listens, and the handshake stalls."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard = Heard(listening.getsockname()[1])
        serving = asyncio.create_task(asyncio.to_thread(_listen, listening, context, heard))
        try:
            yield heard
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            await serving


def server_context(issued: Certificate, *, only_tls_1_0: bool = False) -> ssl.SSLContext:
    """A server that would take anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    if only_tls_1_0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(issued.certificate, issued.key)
    return context


class Case(NamedTuple):
    issue: Callable[[Authority], Certificate]
    word: str
    """What the hint of the status must say."""
    person: bool = True
    host: str = "localhost"
    only_tls_1_0: bool = False


def between(start: timedelta, end: timedelta) -> Callable[[Authority], Certificate]:
    return lambda authority: authority.issue_between("server", "DNS:localhost", TODAY + start, TODAY + end)


def plain(authority: Authority) -> Certificate:
    return authority.issue("server", "DNS:localhost")


YEAR = timedelta(days=365)
CASES = {
    "expired": Case(between(-YEAR, -YEAR / 12), "expired"),
    "not yet valid": Case(between(10 * YEAR, 11 * YEAR), "clock", person=False),
    "wrong host": Case(lambda authority: authority.issue("server", "DNS:elsewhere"), "name that stands"),
    "wrong address": Case(plain, "name that stands", host="127.0.0.1"),
    "unknown authority": Case(lambda authority: plain(_another(authority)), "authority"),
    "SHA-1": Case(lambda authority: authority.issue("server", "DNS:localhost", digest="sha1"), "too weak"),
    "TLS 1.0": Case(plain, "TLS 1.2", only_tls_1_0=True),
}


def _another(authority: Authority) -> Authority:
    return Authority(authority.ca.parent / "other")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_b16_not_a_byte_of_data_goes_to_a_server_that_is_not_believed(tmp_path: Path, case: Case) -> None:
    authority = Authority(tmp_path / "ca")
    context = server_context(case.issue(authority), only_tls_1_0=case.only_tls_1_0)

    async def main() -> None:
        async with listener(context) as heard:
            site = rig.build(heard.port, host=case.host, tls={"ca": authority.ca}, username="gw")
            site.store.append(Lane.ALARM, 3)
            async with rig.running(site):
                await until(lambda: bool(site.uplink.status.error), "the reason")
                status = site.uplink.status
            assert case.word in status.hint
            assert status.needs_person == case.person
            assert (heard.connections, heard.data) == (0, b"")

    asyncio.run(main())


def test_b16_a_server_that_is_believed_hears_a_connect(tmp_path: Path) -> None:
    """Else the tests above would prove nothing."""
    authority = Authority(tmp_path / "ca")

    async def main() -> None:
        async with listener(server_context(plain(authority))) as heard:
            site = rig.build(heard.port, host="localhost", tls={"ca": authority.ca})
            async with rig.running(site):
                await until(lambda: b"MQTT" in heard.data, "the CONNECT")

    asyncio.run(main())


def test_b16_a_handshake_that_stalls_is_given_up(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")

    async def main() -> None:
        async with listener(None) as heard:
            limits = replace(QUICK, address_s=0.2)
            site = rig.build(heard.port, host="localhost", tls={"ca": authority.ca}, limits=limits)
            site.store.append(Lane.ALARM, 3)
            async with rig.running(site):
                await until(lambda: heard.connections >= 2, "a second attempt")
                assert "timed out" in site.uplink.status.error
            types = record_types(heard.data)
            assert HANDSHAKE in types
            assert APPLICATION_DATA not in types

    asyncio.run(main())


def record_types(data: bytes) -> list[int]:
    types = []
    while len(data) >= 5:
        types.append(data[0])
        data = data[5 + int.from_bytes(data[3:5]) :]
    assert types
    return types


def test_b17_a_renewed_client_certificate_is_used_and_nothing_is_lost(tmp_path: Path) -> None:
    """With the product's limits.  The certificate comes before its key: the connection is kept until both are there."""
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", "DNS:localhost")
    old, new = authority.issue("client-1", "DNS:gateway"), authority.issue("client-2", "DNS:gateway")
    certificate = shutil.copy(old.certificate, tmp_path / "certificate.pem")
    key = shutil.copy(old.key, tmp_path / "key.pem")
    open_port = free_port()
    tls = [
        *(f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"),
        *("require_certificate true", "use_identity_as_username true"),
    ]

    async def main() -> None:
        async with (
            broker(
                tmp_path / "b", f"listener {open_port} 127.0.0.1", "max_queued_messages 0", tls=tls
            ) as running_broker,
            open_to(running_broker, open_port) as seen,
            bench(
                tmp_path / "s",
                running_broker.port,
                host="localhost",
                tls={"ca": authority.ca, "certificate": certificate, "key": key},
                limits=Limits(),
            ) as site,
        ):
            enough = asyncio.Event()

            async def load() -> None:
                while not enough.is_set():
                    await site.commit(Lane.TELEMETRY, 5)
                    await site.commit(Lane.EVENT)
                    await asyncio.sleep(0.01)

            async with running(site), asyncio.TaskGroup() as group:
                group.create_task(load())
                await until(lambda: site.uplink.status.connected, "connected")
                assert "u'client-1'" in running_broker.log
                shutil.copy(new.certificate, certificate)
                await until(lambda: "certificate" in "".join(site.uplink.status.faults), "half a renewal is a fault")
                assert site.uplink.status.connected
                assert site.uplink.status.reconnects == 0
                shutil.copy(new.key, key)
                await until(lambda: "u'client-2'" in running_broker.log, "the new certificate", 60.0)
                await until(lambda: site.uplink.status.connected, "connected")
                assert not site.uplink.status.faults
                enough.set()
                await site.until_delivered()
                await site.arrival(lambda: seen.received)
            site.ledger.check()
            states = [one.json["state"] for one in seen.on("status")]
            assert set(states) <= {"online", "stopping"}, "no will: nobody was gone"

    asyncio.run(main())
