"""How the CLI talks to a running daemon: one JSON request line, one JSON answer line, over a Unix socket.

{"op": "read", "points": ["m-1-1-101.energy"]}  ->  {"ok": true, "result": …}  |  {"ok": false, "error": …, "hint": …}

The socket lies in the store's directory, so whoever may read the store may ask; nobody else can reach it.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError

SOCKET_NAME = "gateway.sock"
_LIMIT = 4 * 2**20
_LONGEST_NAME = 107

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


class NotRunning(GatewayError):
    """No daemon answers on the socket."""


class Refused(GatewayError):
    """The daemon answered that it cannot."""


@asynccontextmanager
async def serve(directory: Path, handlers: Mapping[str, Handler]) -> Any:
    """Answer requests while the context is open."""
    path = directory / SOCKET_NAME
    path.unlink(missing_ok=True)  # left by a killed daemon; the store's lock proves that none is alive

    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with suppress(ConnectionError, ValueError):  # ValueError: a line longer than any honest request
            while line := await reader.readline():
                writer.write(json.dumps(await _answer(line, handlers), ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        writers.discard(writer)
        await _close(writer)

    with _address(directory) as address:
        server = await asyncio.start_unix_server(connected, address, limit=_LIMIT)
    os.chmod(path, 0o660)
    try:
        yield server
    finally:
        server.close()
        for writer in list(writers):
            await _close(writer)
        path.unlink(missing_ok=True)


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """The socket's name, short enough however deep the directory lies: the kernel takes 107 bytes (unix(7))."""
    name = str(directory / SOCKET_NAME)
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        yield name
        return
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET_NAME}"
    finally:
        os.close(handle)


async def _answer(line: bytes, handlers: Mapping[str, Handler]) -> dict[str, Any]:
    try:
        request = json.loads(line)
        handler = handlers[request["op"]]
    except (ValueError, KeyError, TypeError):
        return {"ok": False, "error": "unknown request", "hint": f"one of: {', '.join(sorted(handlers))}"}
    try:
        return {"ok": True, "result": await handler(request)}
    except GatewayError as exc:
        return {"ok": False, "error": str(exc), "hint": exc.hint}


def operator() -> str:
    """Who is at the keyboard, as the system knows him; through sudo, who called it."""
    name, called_by = user_name(os.getuid()), os.environ.get("SUDO_USER")
    return f"{called_by} ({name})" if called_by and os.getuid() == 0 else name


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


async def ask(directory: Path, request: Mapping[str, Any], *, timeout_s: float = 60.0) -> Any:
    """The daemon's answer.  Raises NotRunning, Refused."""
    try:
        with _address(directory) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=_LIMIT)
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise NotRunning("the daemon is not running") from exc
    except OSError as exc:
        raise Refused(f"cannot talk to the daemon: {exc}", hint="run as the gateway's user or as root") from exc
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            line = await reader.readline()
    except TimeoutError:
        raise Refused(f"the daemon did not answer within {timeout_s:g} s") from None
    except ConnectionError as exc:
        raise NotRunning("the daemon stopped while answering") from exc
    finally:
        await _close(writer)
    if not line.endswith(b"\n"):
        raise NotRunning("the daemon stopped while answering")
    answer = json.loads(line)
    if not answer["ok"]:
        raise Refused(answer["error"], hint=answer.get("hint", ""))
    return answer["result"]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
