from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from drivers.base import SerialFormat
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.clock import SystemClock
from gateway.commission.listen import MOST_WAITING, SerialEars, TcpEars
from gateway.commission.record import BUS, RX, Chunk, Heard
from gateway.errors import LineLost
from support.descriptors import nothing_new_since, open_descriptors

FAST = SerialFormat(9600)


def test_a_port_is_heard_and_nothing_is_ever_sent() -> None:
    sent: list[bytes] = []

    async def main() -> None:
        before = open_descriptors()
        async with pty_wire(lambda data: [sent.append(data) or b""]) as wire:  # type: ignore[func-returns-value]
            ears = SerialEars(str(wire.path), FAST, SystemClock())
            async with ears, aclosing(ears.heard()) as heard:
                wire.say(b"question")
                got = b""
                async with asyncio.timeout(20):
                    while got != b"question":
                        each = await anext(heard)
                        assert all(chunk.direction == BUS for chunk in each.chunks)
                        got += b"".join(chunk.data for chunk in each.chunks)
                with pytest.raises(LineLost, match="nothing is sent"):
                    await ears.collect(b"x", timeout_s=0.1, silence_s=0.1)
                quiet = await anext(heard)
                assert (quiet.chunks, quiet.lost) == ((), 0), "time goes on without bytes"
        assert sent == []
        assert await nothing_new_since(before)

    asyncio.run(main())


def test_a_port_that_is_pulled_out_ends_it_after_what_was_heard() -> None:
    async def main() -> None:
        async with pty_wire(lambda data: []) as wire:
            ears = SerialEars(str(wire.path), FAST, SystemClock())
            async with ears, aclosing(ears.heard()) as heard:
                await anext(heard)
                wire.unplug()
                with pytest.raises(LineLost):
                    await asyncio.wait_for(to_the_end(heard), 20)

    async def to_the_end(heard: AsyncIterator[Heard]) -> None:
        async for _ in heard:
            continue

    asyncio.run(main())


def test_a_converter_is_heard() -> None:
    async def main() -> None:
        async with tcp_wire(lambda data: []) as wire:
            ears = TcpEars("127.0.0.1", wire.port, SystemClock())
            async with ears, aclosing(ears.heard()) as heard:
                async with asyncio.timeout(20):
                    while not wire.connections:
                        await anext(heard)
                    wire.say(b"bytes")
                    while not (each := await anext(heard)).chunks:
                        continue
                assert [(chunk.direction, chunk.data) for chunk in each.chunks] == [(RX, b"bytes")]

    asyncio.run(main())


def test_whoever_does_not_keep_up_is_told_what_was_missed() -> None:
    async def main() -> None:
        async with pty_wire(lambda data: []) as wire:
            ears = SerialEars(str(wire.path), FAST, SystemClock())
            async with ears, aclosing(ears.heard()) as heard:
                await anext(heard)
                for _ in range(MOST_WAITING + 5):
                    ears._received(b"x")
                each = await anext(heard)
                assert (len(each.chunks), each.lost) == (MOST_WAITING, 5)
                assert isinstance(each.chunks[0], Chunk)
                assert (await anext(heard)).lost == 0

    asyncio.run(main())
