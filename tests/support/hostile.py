"""Peers that mean harm: everything that a listener on the local network may be sent, as fast as it goes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

PIECE = 16_384


async def garbage(port: int) -> None:
    """Connects, sends noise until it is thrown out, and comes again."""
    noise = os.urandom(PIECE)
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    writer.write(noise)
                    await writer.drain()
            finally:
                writer.transport.abort()
        await asyncio.sleep(0)


async def almost(port: int, beginning: bytes) -> None:
    """What begins like a message and never ends: many connections, a byte now and then."""
    writers: list[asyncio.StreamWriter] = []
    try:
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                writer.write(beginning)
            for writer in writers:
                if not writer.is_closing():
                    writer.write(b"0")
            writers = [writer for writer in writers if not writer.is_closing()]
            await asyncio.sleep(0.02)
    finally:
        for writer in writers:
            writer.transport.abort()


async def connecting(port: int) -> None:
    """Opens and leaves, as often as it goes."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.abort()
        await asyncio.sleep(0)


async def whole(port: int, message: bytes) -> None:
    """Good messages without a pause, and nobody reads the answers."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.set_write_buffer_limits(high=PIECE)
            try:
                while True:
                    writer.write(message * max(1, PIECE // len(message)))
                    await writer.drain()
            finally:
                writer.transport.abort()
        await asyncio.sleep(0)


async def datagrams(port: int, pieces: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        while True:
            for piece in pieces:
                for _ in range(50):
                    with suppress(OSError):
                        sender.sendto(piece, ("127.0.0.1", port))
                await asyncio.sleep(0)


@asynccontextmanager
async def attacked(*attacks: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """While the context is open all of them go on."""
    tasks = [asyncio.ensure_future(attack()) for attack in attacks]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
