"""Ten thousand swipes at a real controller's port, the daemon killed in the middle: none lost, none doubled.

The controller keeps what it has not been asked for; the daemon keeps how far it has come, in the transaction that keeps
the events.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from drivers.uhppote.simulator import SimController, UhppoteSimulator
from gateway.pseudonyms import box_pseudonyms
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

SERIAL = 405419896
EVENTS = 10_000
CARD = re.compile(rb"(?<![0-9a-f-])1005\d{4}(?![0-9a-f-])")
"""All cards of this test, as the controller says them; not digits in the midst of an id."""


def doors_site(tmp_path: Path, controllers: UhppoteSimulator) -> ListeningSite:
    listen = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    line = {"id": "doors", "protocol": "uhppote", "listen": listen, "history": True}
    board = {"controller": SERIAL, "line": "doors", "place": {"building": "1#"}}
    devices: list[dict[str, Any]] = [
        {"id": "board", "profile": "uhppote_controller", "host": f"127.0.0.1:{controllers.port}", **board},
        *({"id": f"door{n}", "profile": "uhppote_door", "door": n, **board} for n in (1, 2)),
    ]
    return listening_site(tmp_path, [line], devices)


def swipe(controller: SimController, number: int) -> None:
    controller.swipe(1 + number % 2, 10050000 + number % 5000, reason=1 if number % 7 else 18)


async def stored(site: ListeningSite, count: int) -> None:
    """Wait until so many swipes are on disk."""
    async with asyncio.timeout(120):
        while len(indexes(site)) < count:
            await asyncio.sleep(0.2)


def indexes(site: ListeningSite) -> list[int]:
    if not list(site.store.glob("*.db")):
        return []
    return [
        event["attributes"]["index"] for event in site.events() if event["kind"] in ("access.granted", "access.denied")
    ]


def test_ten_thousand_swipes_over_a_kill(tmp_path: Path) -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], now=datetime.now) as network:
            controller = network.controllers[SERIAL]
            site = doors_site(tmp_path, network)
            network.lose_push = lambda: controller.latest % 10 == 0
            async with site.daemon() as daemon:
                for number in range(EVENTS // 2):
                    swipe(controller, number)
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                await stored(site, 1000)
                await daemon.kill()
            between = len(indexes(site))
            assert between < EVENTS // 2, "the kill came in the middle"
            for number in range(EVENTS // 2, EVENTS - 500):
                swipe(controller, number)  # nobody listens
            async with site.daemon() as daemon:
                for number in range(EVENTS - 500, EVENTS):
                    swipe(controller, number)
                    await asyncio.sleep(0.001)
                await stored(site, EVENTS)
                assert await daemon.stop() == 0
            judged(site)

    asyncio.run(main())


def judged(site: ListeningSite) -> None:
    seen = Counter(indexes(site))
    assert sorted(seen) == list(range(1, EVENTS + 1)), "none lost"
    assert not [index for index, times in seen.items() if times > 1], "none doubled"
    assert indexes(site) == sorted(seen), "in their order"
    assert not site.happened("access.lost")
    events = [event for event in site.events() if event["kind"] == "access.denied"]
    assert {event["device"] for event in events} == {"door1", "door2"}
    names = box_pseudonyms(site.store)
    assert {event["attributes"]["card"] for event in events} <= {
        names.of("card", str(10050000 + number)) for number in range(5000)
    }
    for file in site.store.rglob("*"):
        if file.is_file():
            assert not CARD.search(file.read_bytes()), f"a card's number stands in {file.name}"
    assert not CARD.search(site.log.read_bytes())
