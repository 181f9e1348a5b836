"""A fire panel sends a thousand records to a real daemon, which is killed in the middle: all confirmed, all stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.gb26875.simulator import Habits, Transmitter, component, operation
from gateway import local_api
from gateway.sim.process import Child
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

RECORDS = 1000


def panel_site(tmp_path: Path, port: int) -> ListeningSite:
    line = {"id": "fire", "protocol": "gb26875", "listen": f"127.0.0.1:{port}"}
    panel = {"id": "panel", "profile": "gb26875_panel", "line": "fire", "source": "B22396604001"}
    return listening_site(tmp_path, [line], [{**panel, "place": {"building": "1#"}}])


async def listening(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return


def numbers(site: ListeningSite, kind: str) -> list[int]:
    return [event["attributes"]["number"] for event in site.happened(kind)]


def test_a_burst_is_confirmed_and_stored_without_waiting_for_each(tmp_path: Path) -> None:
    port = free_port()
    site = panel_site(tmp_path, port)

    async def main() -> None:
        async with site.daemon() as daemon:
            await listening(port)
            async with Transmitter("127.0.0.1", port) as panel:
                all_said = [component(4, loop=1 + n // 250, number=1 + n % 250) for n in range(RECORDS)]
                assert await panel.burst(all_said) == RECORDS
                assert panel.sent == RECORDS, "nothing had to be said twice"
            assert await daemon.stop() == 0

    asyncio.run(main())
    stored = site.happened("fire.component")
    assert len(stored) == RECORDS
    assert len({(event["attributes"]["loop"], event["attributes"]["number"]) for event in stored}) == RECORDS


def test_what_was_confirmed_before_a_kill_is_there_and_the_rest_comes_again(tmp_path: Path) -> None:
    port = free_port()
    site = panel_site(tmp_path, port)
    confirmed: list[int] = []

    async def speak(first: int) -> int:
        """Until all is confirmed or the daemon is gone; how far it came."""
        async with Transmitter("127.0.0.1", port, habits=Habits(resend_s=0.5, resends=1)) as panel:
            for number in range(first, 300):
                if not await panel.send(component(4, number=number), serial=number):
                    return number
                confirmed.append(number)
        return 300

    async def kill_soon(daemon: Child) -> None:
        while len(confirmed) < 100:
            await asyncio.sleep(0.01)
        await daemon.kill()

    async def main() -> None:
        async with site.daemon() as daemon:
            await listening(port)
            reached, _ = await asyncio.gather(speak(0), kill_soon(daemon))
        assert reached < 300
        stored = numbers(site, "fire.component")
        assert set(confirmed) <= set(stored), "confirmed means that it was on disk"
        async with site.daemon() as daemon:
            await listening(port)
            assert await speak(reached) == 300
            assert await daemon.stop() == 0

    asyncio.run(main())
    stored = numbers(site, "fire.component")
    assert sorted(stored) == list(range(300)), "none lost, none doubled"


def test_who_operated_the_panel_is_written_as_a_pseudonym(tmp_path: Path) -> None:
    port = free_port()
    site = panel_site(tmp_path, port)

    async def main() -> None:
        async with site.daemon() as daemon:
            await listening(port)
            async with Transmitter("127.0.0.1", port) as panel:
                assert await panel.send(operation(1, operator=7))
                stranger = await panel_of("010203040506", port)
                lines = await local_api.ask(site.store, {"op": "lines"})
                await stranger.__aexit__(None, None, None)
            assert await daemon.stop() == 0
        (line,) = lines
        assert list(line["strangers"]), "an unknown panel is named to the technician"

    async def panel_of(source: str, port: int) -> Transmitter:
        panel = Transmitter("127.0.0.1", port, source=bytes.fromhex(source), habits=Habits(resend_s=1.0, resends=0))
        await panel.__aenter__()
        await panel.send(component(2))
        return panel

    asyncio.run(main())
    (event,) = site.happened("fire.operation")
    assert str(event["attributes"]["who"]).startswith("p-")
    assert event["place"] == {"building": "1#"}
