"""A real daemon is killed in the middle of a controller's events: each is stored once, and nobody's card at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.uhppote.simulator import SimController, UhppoteSimulator
from gateway.sim.process import Child
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

SERIAL = 405419896
FIRST_CARD = 31_337_000
EVENTS = 400
PATIENCE_S = 60.0


def local_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def door_site(tmp_path: Path, port: int) -> ListeningSite:
    listen = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    line = {"id": "doors", "protocol": "uhppote", "listen": listen}
    common = {"line": "doors", "controller": SERIAL, "host": f"127.0.0.1:{port}"}
    doors = [
        {**common, "id": f"door-{door}", "profile": "uhppote_door", "door": door, "place": {"building": f"{door}#"}}
        for door in (1, 2)
    ]
    controller = {**common, "id": "ctl", "profile": "uhppote_controller", "place": {"building": "1#"}}
    return listening_site(tmp_path, [line], [controller, *doors])


async def until_followed(controller: SimController) -> None:
    """The daemon has met the controller, and knows where it stands."""
    async with asyncio.timeout(PATIENCE_S):
        while controller.listener[1] == 0:
            await asyncio.sleep(0.02)


async def until_fetched(controller: SimController, daemon: Child, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while daemon.running and controller.asked.count(0xB0) < count:
            await asyncio.sleep(0.01)


def indices(site: ListeningSite) -> list[object]:
    return [event["attributes"]["index"] for event in site.happened("access.granted")]


def holding(files: Iterable[Path], text: bytes) -> list[str]:
    return [file.name for file in files if file.is_file() and text in file.read_bytes()]


def test_every_event_is_stored_once_over_kills_and_no_card_at_all(tmp_path: Path) -> None:
    async def main() -> ListeningSite:
        async with UhppoteSimulator([SERIAL], local_now) as network:
            controller = network.controllers[SERIAL]
            site = door_site(tmp_path, network.port)
            async with site.daemon() as daemon:
                await until_followed(controller)
                controller.swipe(1, FIRST_CARD)
                await until_fetched(controller, daemon, 1)
                for number in range(1, EVENTS):
                    controller.swipe(1 + number % 2, FIRST_CARD + number, silent=number % 7 == 0)
                await until_fetched(controller, daemon, 150)
                await daemon.kill()
            fetched = controller.asked.count(0xB0)
            assert fetched < EVENTS, "it was killed in the middle"
            async with site.daemon() as daemon:
                async with asyncio.timeout(PATIENCE_S):
                    while len(indices(site)) < EVENTS and daemon.running:
                        await asyncio.sleep(0.1)
                assert await daemon.stop() == 0
        return site

    site = asyncio.run(main())
    assert indices(site) == list(range(1, EVENTS + 1))
    events = site.happened("access.granted")
    assert {event["device"] for event in events} == {"door-1", "door-2"}
    assert all(str(event["attributes"]["card"]).startswith("p-") for event in events)
    assert len({event["attributes"]["card"] for event in events}) == EVENTS
    files = [*site.store.rglob("*"), site.log]
    assert len(files) > 2
    assert holding(files, b"p-")
    for card in (FIRST_CARD, FIRST_CARD + EVENTS - 1):
        assert not holding(files, str(card).encode())
        assert not holding(files, card.to_bytes(4, "little"))
