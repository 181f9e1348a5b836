"""Cameras that answer a call to all, with a real datagram."""

from __future__ import annotations

import asyncio

import pytest

from drivers.base import Found
from drivers.hub import HostPort, UdpServer
from drivers.onvif.discovery import seek
from drivers_onvif.hub_rig import MATCH


def test_who_answers_is_named_with_the_address_it_answered_from() -> None:
    async def main() -> list[Found]:
        asked: list[bytes] = []

        def probed(data: bytes, peer: HostPort) -> None:
            asked.append(data)
            camera.send(MATCH, peer)
            camera.send(b"<x>\xff", peer)

        async with UdpServer(("127.0.0.1", 0), probed) as camera:
            found = [each async for each in seek(f"127.0.0.1:{camera.port}", 0.3)]
        assert len(asked) == 1
        assert b"NetworkVideoTransmitter" in asked[0]
        return found

    (found,) = asyncio.run(main())
    assert str(found.entry["address"]).startswith("127.0.0.1")


def test_an_address_that_is_none_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="host:port"):
            [each async for each in seek("no where", 0.1)]

    asyncio.run(main())
