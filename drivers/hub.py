"""What hubs have in common: a bounded queue to the core, servers that a hostile peer cannot fill, who is unknown.

peers ══▶ TcpServer / UdpServer ──▶ the protocol's codec ──▶ Inbox ──▶ Hub.receive() ──▶ core
          limits a peer and all        bytes -> Report        bounded
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Annotated, Any, Self, TypeAlias, cast

from pydantic import AfterValidator, WithJsonSchema

from drivers.base import Report
from gateway.errors import DeviceUnreachable, LineLost

HostPort: TypeAlias = tuple[str, int]

LINGER_S = 2.0
"""A connection that is being closed may take so long to deliver its last bytes."""
RESOLVE_S = 5.0

_PORT = re.compile(r"[^:\]]:[0-9]+$|\]:[0-9]+$")


def parse_host_port(written: str) -> HostPort:
    """``192.168.1.20:502``, ``[::1]:502`` -> host without brackets, port.  Raises ValueError."""
    host, colon, port = written.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not bare or (":" in bare and not bracketed) or not port.isascii() or not port.isdecimal():
        raise ValueError("host:port")
    if any(character.isspace() or character == "/" for character in bare) or not 0 < int(port) < 65536:
        raise ValueError("host:port")
    return bare, int(port)


def with_port(written: str, port: int) -> HostPort:
    """As ``parse_host_port``, but the port may be left out: ``192.168.1.60`` -> host, *port*.  Raises ValueError."""
    return parse_host_port(written if _PORT.search(written) else f"{written}:{port}")


def _checked(written: str) -> str:
    parse_host_port(written)
    return written


def _ip_address(written: str) -> str:
    try:
        return str(ipaddress.ip_address(written.strip()))
    except ValueError:
        raise ValueError(f"不是 IP 地址：{written} / not an IP address: {written}") from None


IpAddress = Annotated[str, AfterValidator(_ip_address)]

Address = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema({"type": "string", "examples": ["192.168.1.20:502"]}),
]
"""Host and port as they stand in the configuration; ``parse_host_port`` takes them apart."""


class Inbox:
    """Reports on their way to the core.  When it is full, connections wait and datagrams are refused."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._reports: deque[Report] = deque()
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._lost: str | None = None
        self.refused = 0
        """Reports that found it full; whoever sent them sends them again, or they are gone."""

    def open(self) -> None:
        """Before the hub opens: what an earlier connection left unread is forgotten with it."""
        self._reports.clear()
        self._some.clear()
        self._room.set()
        self._lost = None

    def lose(self, why: str) -> None:
        """``take`` raises LineLost from now on, after what has come already."""
        self._lost = self._lost or why
        self._some.set()
        self._room.set()

    @property
    def has_room(self) -> bool:
        return len(self._reports) < self._most

    def offer(self, report: Report) -> bool:
        """False when there is no room."""
        if len(self._reports) >= self._most:
            self.refused += 1
            return False
        self._reports.append(report)
        self._some.set()
        if len(self._reports) >= self._most:
            self._room.clear()
        return True

    async def put(self, report: Report) -> None:
        """Wait for room.  Raises LineLost when the hub is gone meanwhile."""
        while len(self._reports) >= self._most:
            if self._lost is not None:
                raise LineLost(self._lost)
            await self._room.wait()
        self.offer(report)

    async def take(self) -> Sequence[Report]:
        """All that wait, at least one.  Raises LineLost."""
        while not self._reports:
            if self._lost is not None:
                raise LineLost(self._lost)
            self._some.clear()
            await self._some.wait()
        taken = list(self._reports)
        self._reports.clear()
        self._room.set()
        return taken


class Strangers:
    """Who speaks and is not configured: the latest few, for the technician."""

    def __init__(self, most: int = 50) -> None:
        self._most = most
        self._known: OrderedDict[str, str] = OrderedDict()

    def met(self, address: str, what: str) -> bool:
        """True the first time (worth a line in the log)."""
        new = address not in self._known
        self._known[address] = what
        self._known.move_to_end(address)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return new

    def listed(self) -> Mapping[str, str]:
        return dict(self._known)


class InboxHub:
    """What hubs with an ``Inbox`` do alike (drivers/base.py: Hub): opening, closing and ``stored`` are their own."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._strangers = Strangers()

    async def receive(self) -> Sequence[Report]:
        return await self._inbox.take()

    @property
    def strangers(self) -> Mapping[str, str]:
        return self._strangers.listed()


async def resolve_ipv4(address: HostPort) -> HostPort | None:
    """With the IPv4 address that the host's name leads to just now."""
    host, port = address
    try:
        return str(ipaddress.IPv4Address(host)), port
    except ValueError:
        pass
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
    except (OSError, TimeoutError):
        return None
    return str(found[0][4][0]), port


def no_address(written: str) -> DeviceUnreachable:
    return DeviceUnreachable(
        f"no address is known for {written}",
        hint="主机名能解析吗？可改写 IP 地址 / does the name resolve? an IP address always does",
    )


def cannot_listen(where: str, exc: OSError) -> LineLost:
    return LineLost(
        f"cannot listen on {where}: {exc}",
        hint="is the port in use, or the address not of this box? / 端口是否已被占用，或地址不是本机的？",
    )


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address at the other end, without its port."""
    return str((transport.get_extra_info("peername") or ("",))[0])


def is_too_many(peer: str, connected: Collection[str], most: int, most_of_one: int) -> bool:
    """*connected*: the peers of all connections there are."""
    return len(connected) >= most or sum(each == peer for each in connected) >= most_of_one


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A task for as long as it is entered.  What the task raises is the loop's exception handler's."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
"""One connection, from its first byte to its last; the third argument is the peer's address without its port."""


class TcpServer:
    """Accepts connections within limits, and ends all of them when it is closed.

    A connection that is one too many is closed at once, so that a peer that opens thousands costs others nothing.
    """

    def __init__(
        self, address: HostPort, serve: Serve, *, most: int = 128, most_of_one: int = 16, limit_bytes: int = 65536
    ) -> None:
        self._address = address
        self._serve = serve
        self._most, self._most_of_one = most, most_of_one
        self._limit_bytes = limit_bytes
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], str] = {}
        self.turned_away = 0

    @property
    def port(self) -> int:
        """Where it listens, when port 0 was asked for.  Only while open."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=self._limit_bytes)
        except OSError as exc:
            raise cannot_listen(f"{host}:{port}", exc) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """No coroutine: when one is cancelled, asyncio before 3.12 logs it as an error."""
        peer = peer_of(writer.transport)
        if is_too_many(peer, self._open.values(), self._most, self._most_of_one):
            self.turned_away += 1
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer, peer))
        self._open[task] = peer

        def ended(task: asyncio.Task[None]) -> None:
            del self._open[task]
            writer.transport.abort()  # one that was cancelled before it began has not closed it

        task.add_done_callback(ended)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        try:
            await self._serve(reader, writer, peer)
        except (OSError, EOFError, asyncio.LimitOverrunError, LineLost):
            pass  # the peer, or the hub, has gone: nobody is left to be told
        finally:
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """What is still to be sent is sent, unless nobody takes it."""
    writer.close()
    try:
        async with asyncio.timeout(LINGER_S):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


class UdpServer(asyncio.DatagramProtocol):
    """A datagram socket: *heard* is called with each datagram and where it came from, ``send`` answers."""

    def __init__(self, address: HostPort, heard: Callable[[bytes, HostPort], None], *, broadcast: bool = False) -> None:
        self._address = address
        self._heard = heard
        self._broadcast = broadcast
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    async def __aenter__(self) -> Self:
        host, port = self._address
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(
                lambda: self, local_addr=(host, port), allow_broadcast=self._broadcast or None
            )
        except OSError as exc:
            raise cannot_listen(f"udp {host}:{port}", exc) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
            await asyncio.sleep(0)  # the transport tells its end in the loop's next turn

    def send(self, data: bytes, to: HostPort) -> None:
        """Nothing is heard of a datagram that cannot be sent: whoever waits for an answer waits in vain."""
        if self._transport is not None:
            self._transport.sendto(data, to)

    # ------------------------------------------------------------------ for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # before 3.12 the selector loop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard(data, (addr[0], addr[1]))
