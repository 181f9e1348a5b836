"""The smallest MQTT 5 broker: it answers CONNECT, SUBSCRIBE and PUBLISH exactly as a test tells it to.

For what a real broker cannot be made to do: chosen reason codes, missing PUBACKs, a connection closed by one message.
Packets: MQTT Version 5.0, chapter 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

CLOSE = -1
SILENCE = -2


@dataclass
class FakeBroker:
    """*on_publish*: (topic, payload) -> reason code of the PUBACK, CLOSE or SILENCE."""

    on_publish: Callable[[str, bytes], int] = lambda _topic, _payload: 0
    connack: int = 0
    connack_properties: bytes = b""
    suback: int = 1
    suback_delay_s: float = 0.0
    """Until then nothing else is answered on that connection, as NATS 2.9 does it."""
    after_connack: bytes = b""
    """Raw bytes thrown in after the CONNACK."""
    flood_bytes: int = 0
    """After those: so many zeros, as fast as the client takes them."""
    pubacks: Callable[[int, int], Sequence[tuple[int, int]]] = lambda mid, code: [(mid, code)]
    """(message id, code) of a PUBLISH -> those of the PUBACKs written for it."""
    ack_delay_s: float = 0.0
    """Every PUBACK comes so late."""
    one_per_client: bool = False
    """Close the older connection of the same client id without a word, as mosquitto 2.0 does."""
    port: int = 0
    connects: int = 0
    clients: list[tuple[str, float]] = field(default_factory=list)
    """(client id, loop.time()) of each CONNECT."""
    subscribes_s: list[float] = field(default_factory=list)
    """loop.time() of each SUBSCRIBE."""
    published: list[tuple[str, bytes]] = field(default_factory=list)
    most_unanswered: int = 0
    _open: dict[str, asyncio.StreamWriter] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unanswered = 0
        try:
            while True:
                kind, body = await _packet(reader)
                if kind >> 4 == 1:
                    self._note_client(_client_id(body), writer)
                    properties = bytes([len(self.connack_properties)]) + self.connack_properties
                    writer.write(_frame(0x20, bytes([0, self.connack]) + properties) + self.after_connack)
                    await self._flood(writer)
                elif kind >> 4 == 8:
                    topics = body.count(b"compound/v1/")
                    self.subscribes_s.append(asyncio.get_running_loop().time())
                    if self.suback_delay_s:
                        await asyncio.sleep(self.suback_delay_s)
                    writer.write(_frame(0x90, body[:2] + b"\0" + bytes([self.suback]) * topics))
                elif kind >> 4 == 3:
                    unanswered += 1
                    self.most_unanswered = max(self.most_unanswered, unanswered)
                    topic, mid, payload = _publish(body)
                    self.published.append((topic, payload))
                    code = self.on_publish(topic, payload)
                    if code == CLOSE:
                        return
                    if code != SILENCE:
                        await asyncio.sleep(0)
                        answers = self.pubacks(mid, code)
                        unanswered -= len(answers)
                        frames = b"".join(_frame(0x40, struct.pack("!HBB", *answer, 0)) for answer in answers)
                        if self.ack_delay_s:
                            asyncio.get_running_loop().call_later(self.ack_delay_s, _write, writer, frames)
                        else:
                            writer.write(frames)
                elif kind >> 4 == 12:
                    writer.write(_frame(0xD0, b""))
                elif kind >> 4 == 14:
                    return
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.close()

    def _note_client(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        self.clients.append((name, asyncio.get_running_loop().time()))
        older = self._open.get(name)
        if self.one_per_client and older is not None:
            older.close()
        self._open[name] = writer

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        for _ in range(0, self.flood_bytes, 65_536):
            writer.write(bytes(65_536))
            await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return kind, await reader.readexactly(length)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


def _client_id(body: bytes) -> str:
    """Of a CONNECT: after protocol name, level, flags, keep alive and (MQTT 5) less than 128 bytes of properties."""
    start = 2 + struct.unpack_from("!H", body)[0]
    properties = 1 + body[start + 4] if body[start] == 5 else 0
    start += 4 + properties
    (length,) = struct.unpack_from("!H", body, start)
    return body[start + 2 : start + 2 + length].decode()


def _publish(body: bytes) -> tuple[str, int, bytes]:
    end = 2 + struct.unpack_from("!H", body)[0]
    (mid,) = struct.unpack_from("!H", body, end)
    properties = body[end + 2]
    assert properties < 0x80
    return body[2:end].decode(), mid, body[end + 3 + properties :]


def _frame(kind: int, body: bytes) -> bytes:
    assert len(body) < 0x80
    return bytes([kind, len(body)]) + body


@contextlib.asynccontextmanager
async def fake_broker(behaviour: FakeBroker) -> AsyncIterator[FakeBroker]:
    server = await asyncio.start_server(behaviour.serve, "127.0.0.1", 0)
    behaviour.port = server.sockets[0].getsockname()[1]
    try:
        yield behaviour
    finally:
        server.close()
        await asyncio.sleep(0.01)  # for its handlers to see their connections end
