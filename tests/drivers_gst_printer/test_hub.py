"""The port of a printer on a real pseudo-terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Report
from drivers.gst_printer import hub as hub_module
from drivers.gst_printer.hub import GstPrinterHub
from drivers.gst_printer.simulator import Gst9000
from drivers_gst_printer.hub_rig import PANEL, hub_spec
from gateway.errors import ConfigError, LineLost
from support.clock import LoopClock
from support.descriptors import nothing_new_since, open_descriptors
from support.virtual_time import run


async def told(hub: GstPrinterHub) -> Report:
    """The next report that is more than a sign of life."""
    while True:
        for report in await hub.receive():
            if report.happenings:
                await hub.stored([report])
                return report


def test_a_fire_is_told_and_a_reset_ends_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
            printer.fire(4, 17, "1层走廊")
            report = await told(hub)
            assert {each.point: each.value for each in report.readings} == {"panel.fire": True, "panel.active_fires": 1}
            (happening,) = report.happenings
            assert happening.kind == "fire.printed"
            wanted = {"event": "fire", "first": True, "loop": 4, "number": 17, "place": "1层走廊"}
            assert {name: happening.attributes[name] for name in wanted} == wanted
            printer.reset()
            report = await told(hub)
            assert {each.point: each.value for each in report.readings} == {
                "panel.fire": False,
                "panel.active_fires": 0,
                "panel.fault": False,
            }

    asyncio.run(scenario())


def test_an_open_port_is_a_sign_of_life_and_a_lost_one_is_none(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = GstPrinterHub(hub_spec(tmp_path / "port"), LoopClock())
        with pytest.raises(LineLost):
            await hub.__aenter__()
        async with Gst9000(tmp_path / "port") as printer:
            async with hub:
                loop = asyncio.get_running_loop()
                heard_s = []
                for _ in range(4):
                    assert await hub.receive() == [Report(PANEL)]
                    heard_s.append(loop.time())
                assert [round(later - heard_s[0]) for later in heard_s] == [0, 20, 40, 60]
                printer.unplug()
                with pytest.raises(LineLost):
                    await told(hub)
                assert not hub._reading  # a dead descriptor would be readable for ever
            printer.plug()
            async with hub:
                printer.reset()
                assert (await told(hub)).happenings

    run(scenario(), grace_s=0.02)


def test_what_stops_in_the_middle_is_told_after_a_while(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            printer.say(printer.record("首次火警", "裙楼", address=(1, 2))[:-2])
            report = await told(hub)
            assert report.happenings[0].attributes["event"] == "fire"
            assert loop.time() - began_s >= hub_module.UNFINISHED_S

    run(scenario(), grace_s=0.02)


def test_what_was_printed_before_the_port_was_lost_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
            printer.say(printer.record("首次火警", "裙楼", address=(1, 2))[:-2])
            while not hub._printout.waiting:
                await asyncio.sleep(0)
            printer.unplug()
            assert (await told(hub)).happenings[0].attributes["event"] == "fire"
            assert not hub._reading
            with pytest.raises(LineLost):
                await hub.receive()

    asyncio.run(scenario())


def test_a_core_that_does_not_listen_stops_the_reading_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
            hub._inbox._most = 5
            told_numbers: list[Any] = []
            for number in range(60):  # 60 records of some 50 bytes: what the port's own buffer can hold
                printer.fire(1, number, "1层")
            async with asyncio.timeout(30):
                while hub._reading:
                    await asyncio.sleep(0.001)
            assert len(hub._inbox._reports) == 5
            while len(told_numbers) < 60:
                for report in await hub.receive():
                    told_numbers += [each.attributes["number"] for each in report.happenings]
            assert told_numbers == list(range(60))

    asyncio.run(scenario())


def test_what_is_known_outlives_a_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer:
            async with GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
                printer.fire(1, 1, "1层")
                memory = (await told(hub)).memory
            async with GstPrinterHub(hub_spec(printer.path, memory=memory), LoopClock()) as hub:
                printer.fire(1, 2, "2层", first=False)
                values = {each.point: each.value for each in (await told(hub)).readings}
                assert values == {"panel.fire": True, "panel.active_fires": 2}
            for broken in (b"", b"[]", b'{"fire":1}', b'{"x":[]}'):
                async with GstPrinterHub(hub_spec(printer.path, memory=broken), LoopClock()):
                    pass

    asyncio.run(scenario())


def test_what_is_not_understood_is_shown_to_the_technician(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
            printer.say(b"PANEL OF ANOTHER MAKE\n\n")
            printer.reset()
            await told(hub)
            assert "PANEL OF ANOTHER MAKE" in hub.strangers[str(printer.path)]

    asyncio.run(scenario())


def test_one_port_has_one_panel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a, b"):
        GstPrinterHub(hub_spec(tmp_path, "a", "b"), LoopClock())


def closed_whole(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def watched() -> None:
        before = open_descriptors()
        await scenario()
        assert await nothing_new_since(before)

    run(watched())


def test_nothing_stays_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        for _ in range(3):
            async with Gst9000(tmp_path / "port") as printer, GstPrinterHub(hub_spec(printer.path), LoopClock()) as hub:
                printer.say(b"half a line")
                await hub.receive()

    closed_whole(scenario)
