"""A cluster of nats-server on this machine, with the configuration that docs/scale.md shows, and a small client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from support.broker import free_port, missing

CONFIG = Path(__file__).parents[2] / "docs" / "examples" / "scale" / "nats.conf"
_READY_S = 60.0
_ASK_AGAIN_S = 3.0
_PORTS = ("CLIENT_PORT", "CLUSTER_PORT", "MQTT_PORT", "HTTP_PORT")


def nats_server() -> str:
    """The program; skips the test where it is missing, but fails it where CI promises it."""
    found = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        missing("nats-server")
    return found


class Node:
    def __init__(self, program: str, folder: Path, name: str, ports: dict[str, int], routes: Sequence[str]) -> None:
        self.ports = ports
        self._program = program
        self._log = folder / f"{name}.log"
        self._environment = {
            "NODE": name,
            "ADDRESS": "127.0.0.1",
            "STORE": str(folder / name),
            "ROUTES": json.dumps(list(routes)),
            **{key: str(port) for key, port in ports.items()},
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._program, "-c", str(CONFIG)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()

    async def healthy(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["HTTP_PORT"])
        except OSError:
            return False
        try:
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b'"ok"' in await reader.read()
        except OSError:
            return False
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def cluster(folder: Path, nodes: int = 3) -> AsyncIterator[list[Node]]:
    """All of them healthy.  *folder*: an empty one of this test."""
    program = nats_server()
    folder.mkdir(parents=True, exist_ok=True)
    ports = [{key: free_port() for key in _PORTS} for _ in range(nodes)]
    routes = [f"nats://127.0.0.1:{each['CLUSTER_PORT']}" for each in ports]
    running = [Node(program, folder, f"n{number}", each, routes) for number, each in enumerate(ports, 1)]
    try:
        for node in running:
            await node.start()
        async with asyncio.timeout(_READY_S):
            for node in running:
                while not await node.healthy():
                    assert node.alive, f"nats-server ended: {node.log}"
                    await asyncio.sleep(0.05)
        yield running
    finally:
        for node in running:
            await node.kill()


class Message(NamedTuple):
    subject: str
    reply: str
    body: bytes
    status: str
    """Of an answer without a message: ``404`` nothing there, ``408`` time over; else empty."""


class Client:
    """The NATS protocol as far as a pull consumer needs it.  Use ``client()``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._inboxes = 0

    def publish(self, subject: str, body: bytes = b"", reply: str = "") -> None:
        self._writer.write(f"PUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")

    async def request(self, subject: str, document: dict[str, Any]) -> dict[str, Any]:
        """Asks again every few seconds: while a leader is elected nobody answers, or there is nobody to ask."""
        loop = asyncio.get_running_loop()
        async with self._inbox() as inbox:
            while True:
                self.publish(subject, json.dumps(document).encode(), inbox)
                with contextlib.suppress(TimeoutError):
                    message = await self._next(loop.time() + _ASK_AGAIN_S)
                    if not message.status:
                        return cast(dict[str, Any], json.loads(message.body))
                    await asyncio.sleep(0.1)

    async def pull(self, stream: str, consumer: str, count: int, wait_s: float) -> list[Message]:
        """At most *count* messages; fewer when the server has no more within *wait_s*."""
        wish = {"batch": count, "expires": round(wait_s * 1e9)}
        got: list[Message] = []
        async with self._inbox() as inbox:
            self.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", json.dumps(wish).encode(), inbox)
            end_s = asyncio.get_running_loop().time() + 2 * wait_s
            with contextlib.suppress(TimeoutError):
                while len(got) < count and not (message := await self._next(end_s)).status:
                    got.append(message)
        return got

    @contextlib.asynccontextmanager
    async def _inbox(self) -> AsyncIterator[str]:
        self._inboxes += 1
        inbox = f"_INBOX.{id(self)}.{self._inboxes}"
        self._writer.write(f"SUB {inbox} {self._inboxes}\r\n".encode())
        try:
            yield inbox
        finally:
            self._writer.write(f"UNSUB {self._inboxes}\r\n".encode())

    async def _next(self, end_s: float | None = None) -> Message:
        """Raises ConnectionError when the server has gone; TimeoutError when nothing has begun at *end_s*.  What has
        begun is read to its end: the next one begins after it."""
        while True:
            async with asyncio.timeout_at(end_s):
                line = await self._reader.readline()
            if not line:
                raise ConnectionResetError("the NATS server has gone")
            verb, *words = line.decode().split()
            if verb == "PING":
                self._writer.write(b"PONG\r\n")
            elif verb in ("MSG", "HMSG"):
                return await self._message(words, headed=verb == "HMSG")
            else:
                assert verb != "-ERR", line

    async def _message(self, words: list[str], *, headed: bool) -> Message:
        """MSG subject sid [reply] size; HMSG subject sid [reply] head-size size."""
        sizes = [int(word) for word in words[-2 if headed else -1 :]]
        reply = words[2] if len(words) - len(sizes) == 3 else ""
        whole = (await self._reader.readexactly(sizes[-1] + 2))[:-2]
        head = whole[: sizes[0]] if headed else b""
        first = head.split(b"\r\n", 1)[0].split()
        status = first[1].decode() if len(first) > 1 else ""
        return Message(words[0], reply, whole[len(head) :], status)


@contextlib.asynccontextmanager
async def client(port: int) -> AsyncIterator[Client]:
    """Raises OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"lang":"test","version":"0"}\r\n')
        yield Client(reader, writer)
    finally:
        writer.close()
