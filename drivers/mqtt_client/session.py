"""One connection to a broker: connect, subscribe, messages in, commands out; acknowledged when the hub says so.

    broker ══ TCP or TLS ══▶ run(): one packet after the other ──▶ heard(message, ticket)
           ◀══ PUBACK, in the order in which the messages came, as far as their tickets are done ── ticket.done()

After acknowledgements a PINGREQ is sent: packets are handled in order, so its answer says that they were seen.
A ``Ticket`` is done when what its message said is on disk.  A message that was not acknowledged is sent again by the
broker to the next session of the same client id.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.hub import LINGER_S
from drivers.mqtt_client import packet
from drivers.mqtt_client.packet import Kind, Malformed, Message
from gateway.errors import DeviceUnreachable, LineLost

DIAL_S = 10.0
ANSWER_S = 10.0
PART_S = 0.5
KEEPALIVE_S = 30
MOST_TOPIC_BYTES = 1024
_SKIP_BYTES = 65536

_REFUSALS = {
    1: ("the broker does not speak MQTT 3.1.1", "the broker must be of 2014 or later / 服务器须支持 MQTT 3.1.1"),
    2: ("the broker refuses the client id", "set client_id of the line to one it allows / 请在线路上设置 client_id"),
    3: ("the broker is not ready", ""),
    4: ("wrong user name or password", "check username and password_file of the line / 检查用户名与密码文件"),
    5: ("not authorised", "the broker must allow this user / 请在服务器上授权此用户"),
}
"""Return codes of CONNACK [3.2.2.3]."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Where the broker is, and who we are to it."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None
    most_bytes: Callable[[str], int] = lambda topic: 65536
    """The largest payload taken, by topic."""
    clean: bool = False
    """Whether the broker forgets us while we are away."""


@dataclass(frozen=True, slots=True)
class Tls:
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(slots=True)
class Ticket:
    """One received message that wants an acknowledgement, and how many reports of it are not on disk yet."""

    session: Session | None
    packet_id: int | None
    open: int = 0
    finished: bool = field(default=False)
    confirmed: bool = field(default=False)
    """The broker is known to have seen the acknowledgement; it will not send the message again."""

    def done(self) -> None:
        """One of its reports is on disk, or there are none.  Of an earlier session: nobody waits for it any more."""
        self.open -= 1
        if self.open <= 0 and not self.finished:
            self.finished = True
            if self.session is not None:
                self.session.acknowledge()


Heard = Callable[[Message, Ticket], Awaitable[None]]


class Session:
    """``async with`` it, ``subscribe``, then ``run`` for as long as it lasts; ``publish`` beside that.  Used once."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._tickets: deque[Ticket] = deque()
        self._acknowledged: list[Ticket] = []
        """Since the last PINGREQ."""
        self._pings: deque[list[Ticket]] = deque()
        """Of each PINGREQ without an answer: what was acknowledged before it, and after the one before."""
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._last_id = 0
        self._listening_s: float | None = None
        """Since when we wait for the broker; None while it waits for us."""
        self._ticker: asyncio.TimerHandle | None = None
        self._why = ""
        self._too_large: Callable[[str, int], None]

    @property
    def where(self) -> str:
        return f"{self._dial.host}:{self._dial.port}"

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._close(LINGER_S / 10)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self._part()
        finally:
            await self._close(LINGER_S)

    async def _part(self) -> None:
        """Until the broker closes: closing while its bytes are unread would reset the connection, and what we have said
        last might never be read."""
        if self._writer is None or self._writer.is_closing():
            return
        self._writer.write(packet.DISCONNECT)
        try:
            async with asyncio.timeout(PART_S):
                while await self._reader.read(_SKIP_BYTES):
                    pass
        except (OSError, TimeoutError):
            return

    # ------------------------------------------------------------------ opening

    async def _connect(self) -> None:
        dial = self._dial
        context = _context(dial.tls)
        password = _password(dial.password_file)
        hint = "is the broker running, and the address right? / 服务器是否在运行，地址是否正确？"
        try:
            async with asyncio.timeout(DIAL_S):
                name = dial.host if context else None
                self._reader, self._writer = await asyncio.open_connection(
                    dial.host, dial.port, ssl=context, server_hostname=name
                )
        except ssl.SSLCertVerificationError as exc:
            raise LineLost(
                f"{self.where}: the broker's certificate is not accepted: {exc.verify_message}",
                hint="tls.ca must be the authority that issued it / tls.ca 应为签发该证书的机构",
            ) from exc
        except TimeoutError as exc:
            raise LineLost(f"{self.where}: no connection within {DIAL_S:.0f} s", hint=hint) from exc
        except OSError as exc:
            raise LineLost(f"{self.where}: cannot connect: {exc.strerror or exc}", hint=hint) from exc
        self._writer.write(
            packet.connect(
                dial.client_id, keepalive_s=KEEPALIVE_S, clean=dial.clean, username=dial.username, password=password
            )
        )
        await self._connack()
        self._ticker = self._loop.call_later(KEEPALIVE_S / 3, self._tick)

    async def _connack(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                first, length = await self._header()
                if first >> 4 != Kind.CONNACK or length > 2:
                    raise Malformed("no CONNACK")
                _, code = packet.parse_connack(await self._reader.readexactly(length))
        except (Malformed, OSError, EOFError, TimeoutError) as exc:
            raise LineLost(
                f"{self.where}: no answer to CONNECT: {exc or type(exc).__name__}",
                hint="is this an MQTT port, and does it expect TLS? / 这是 MQTT 端口吗？是否要求 TLS？",
            ) from exc
        if code:
            text, hint = _REFUSALS.get(code, (f"refused with code {code}", ""))
            raise LineLost(f"{self.where}: {text}", hint=hint)

    async def subscribe(self, filters: Sequence[str]) -> None:
        """While ``run`` runs.  Raises LineLost, also where the broker refuses one."""
        codes: bytes = await self._ask(lambda number: packet.subscribe(number, filters), "SUBSCRIBE")
        refused = [each for each, code in zip(filters, codes, strict=False) if code >= 0x80]
        if refused or len(codes) != len(filters):
            raise LineLost(
                f"{self.where}: the broker refuses the subscription {', '.join(refused)}",
                hint="give this user the right to read it / 请授予此用户读取该主题的权限",
            )

    async def _close(self, linger_s: float) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._fail_answers()
        self._tickets.clear()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        try:
            async with asyncio.timeout(linger_s):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    # ------------------------------------------------------------------ listening

    async def run(self, heard: Heard, too_large: Callable[[str, int], None] = lambda topic, length: None) -> None:
        """Until the connection ends; always by raising LineLost.  While *heard* waits nothing is read.

        *too_large*: topic and bytes of a message that is acknowledged and thrown away unread.
        """
        self._too_large = too_large
        try:
            while True:
                self._listening_s = self._loop.time()
                first, length = await self._header()
                await self._packet(first, length, heard)
        except (OSError, EOFError, Malformed) as exc:
            raise LineLost(f"{self.where}: the connection ended: {self._why or exc or type(exc).__name__}") from exc
        finally:
            self._listening_s = None
            self._fail_answers()

    async def _header(self) -> tuple[int, int]:
        first = (await self._reader.readexactly(1))[0]
        length = b""
        while (value := packet.remaining_length(length)) is None:
            length += await self._reader.readexactly(1)
        return first, value

    async def _packet(self, first: int, length: int, heard: Heard) -> None:
        if first >> 4 == Kind.PUBLISH:
            await self._message(first, length, heard)
            return
        if length > MOST_TOPIC_BYTES:
            raise Malformed(f"a packet of type {first >> 4} with {length} bytes")
        body = await self._reader.readexactly(length)
        if first >> 4 == Kind.PINGRESP:
            self._answered()
        if first >> 4 in (Kind.PUBACK, Kind.SUBACK):
            number, codes = packet.parse_acknowledgement(body)
            answer = self._answers.get(number)
            if answer is not None and not answer.done():
                answer.set_result(codes)

    async def _message(self, first: int, length: int, heard: Heard) -> None:
        """Reads the topic before anything else: how much may follow depends on it."""
        head = await self._reader.readexactly(min(2, length))
        topic_bytes = int.from_bytes(head, "big")
        numbered = 2 if first & 6 else 0
        rest = length - 2 - topic_bytes - numbered
        if rest < 0:
            raise Malformed("a PUBLISH that ends inside its header")
        if topic_bytes > MOST_TOPIC_BYTES:
            raise Malformed(f"a topic of {topic_bytes} bytes")
        head += await self._reader.readexactly(topic_bytes + numbered)
        ticket = self._ticket(int.from_bytes(head[-2:], "big") if numbered else None)
        try:
            message = packet.parse_publish(first, head)
        except Malformed:
            await self._skip(rest, ticket)
            return
        if rest > self._dial.most_bytes(message.topic):
            self._too_large(message.topic, rest)
            await self._skip(rest, ticket)
            return
        payload = await self._reader.readexactly(rest)
        self._listening_s = None
        await heard(
            Message(message.topic, payload, message.qos, message.retained, message.again, message.packet_id), ticket
        )

    async def _skip(self, length: int, ticket: Ticket) -> None:
        while length > 0:
            read = await self._reader.read(min(length, _SKIP_BYTES))
            if not read:
                raise EOFError("inside a message")
            length -= len(read)
        ticket.done()

    def _ticket(self, packet_id: int | None) -> Ticket:
        ticket = Ticket(None if packet_id is None else self, packet_id)
        if packet_id is not None:
            self._tickets.append(ticket)
        return ticket

    def acknowledge(self) -> None:
        """Everything that is done, as far as it came before what is not [4.6.0-2]."""
        ready = bytearray()
        while self._tickets and self._tickets[0].finished:
            ticket = self._tickets.popleft()
            assert ticket.packet_id is not None
            ready += packet.puback(ticket.packet_id)
            self._acknowledged.append(ticket)
        if ready and self._writer is not None and not self._writer.is_closing():
            self._writer.write(bytes(ready))
            if not self._pings:
                self._ping()

    def _ping(self) -> None:
        assert self._writer is not None
        self._writer.write(packet.PINGREQ)
        self._pings.append(self._acknowledged)
        self._acknowledged = []

    def _answered(self) -> None:
        for ticket in self._pings.popleft() if self._pings else ():
            ticket.confirmed = True
        if self._acknowledged and not self._pings and self._writer is not None and not self._writer.is_closing():
            self._ping()

    def _tick(self) -> None:
        """Says that we live, and sees whether the broker does."""
        self._ticker = self._loop.call_later(KEEPALIVE_S / 3, self._tick)
        if self._writer is None or self._writer.is_closing():
            return
        silent_s = 0.0 if self._listening_s is None else self._loop.time() - self._listening_s
        if silent_s > 1.5 * KEEPALIVE_S:
            self._why = f"nothing from the broker for {silent_s:.0f} s"
            self._writer.transport.abort()
        else:
            self._ping()

    # ------------------------------------------------------------------ saying

    async def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Once, with QoS 1; the broker has it.  Raises LineLost, or DeviceUnreachable when it does not answer."""
        await self._ask(lambda number: packet.publish(Message(topic, payload, 1, retained, False, number)), "PUBLISH")

    async def _ask(self, request: Callable[[int], bytes], what: str) -> bytes:
        if self._writer is None or self._writer.is_closing():
            raise LineLost(f"{self.where}: not connected")
        number = self._number()
        answer = self._answers[number] = self._loop.create_future()
        try:
            self._writer.write(request(number))
            async with asyncio.timeout(ANSWER_S):
                await self._writer.drain()
                codes: bytes = await answer
        except TimeoutError as exc:
            raise DeviceUnreachable(f"{self.where}: the broker does not answer {what}") from exc
        except OSError as exc:
            raise LineLost(f"{self.where}: the connection ended") from exc
        finally:
            del self._answers[number]
        return codes

    def _fail_answers(self) -> None:
        """Who waits for an answer of the broker waits no longer."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LineLost(f"{self.where}: the connection ended"))

    def _number(self) -> int:
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self._answers:
                return self._last_id


def _password(file: Path | None) -> str | None:
    """Read afresh for every connection."""
    if file is None:
        return None
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise LineLost(
            f"{file}: cannot be read as text",
            hint="the file must exist, hold nothing but the password, and be readable by the gateway's user"
            " / 文件须存在、只含密码，且网关用户可读",
        ) from exc


def _context(tls: Tls | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate is not None:
            context.load_cert_chain(str(tls.certificate), str(tls.key) if tls.key else None, password="")
    except OSError as exc:  # ssl.SSLError is one
        raise LineLost(
            f"the TLS files of the line cannot be used: {exc}",
            hint="ca, certificate and key must be PEM files, and the key must belong to the certificate"
            " / ca、certificate、key 须为 PEM 文件，且私钥与证书相符",
        ) from exc
    return context
