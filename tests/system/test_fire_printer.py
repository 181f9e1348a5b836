"""A fire panel prints into a real daemon, which is killed, and whose cable is pulled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.gst_printer.simulator import Gst9000
from gateway import local_api
from support.listening_site import ListeningSite, listening_site

pytestmark = pytest.mark.system
PATIENCE_S = 60.0


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.05)


async def until_open(site: ListeningSite, printer: Gst9000) -> None:
    """What is printed while nobody listens is lost, so something that no panel prints is said until it is shown."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            printer.say(b"HELLO\n\n")
            try:
                (line,) = await local_api.ask(site.store, {"op": "lines"})
            except local_api.NotRunning:
                line = {}
            if line.get("strangers"):
                return
            await asyncio.sleep(0.05)


def test_a_fire_is_stored_over_a_kill_and_a_pulled_cable(tmp_path: Path) -> None:
    port = tmp_path / "printer"
    line = {"id": "printer", "protocol": "gst-printer", "port": str(port)}
    site = listening_site(tmp_path, [line], [{"id": "panel", "profile": "gst9000_printer", "line": "printer"}])

    def told() -> list[str]:
        return [str(event["attributes"]["event"]) for event in site.happened("fire.printed")]

    async def main() -> None:
        async with Gst9000(port) as printer:
            async with site.daemon() as daemon:
                await until_open(site, printer)
                printer.fire(4, 17, "1层走廊")
                await until(lambda: told() == ["fire"])
                await daemon.kill()
            async with site.daemon() as daemon:
                await until_open(site, printer)
                printer.fire(4, 18, "2层走廊", first=False)
                await until(lambda: told() == ["fire", "fire"])
                counted = [each["v"] for each in site.readings("panel.active_fires")]
                assert counted[-1] == 2, "the first is remembered over the kill"
                printer.unplug()
                printer.plug()
                await until(lambda: printed_after_replug(printer, told))
                assert [each["v"] for each in site.readings("panel.fire")][-1] is False
                assert await daemon.stop() == 0

    asyncio.run(main())


def printed_after_replug(printer: Gst9000, told: Callable[[], list[str]]) -> bool:
    """Whoever comes first prints into nothing: the reset button is pressed until it is heard."""
    printer.reset()
    return "reset" in told()
