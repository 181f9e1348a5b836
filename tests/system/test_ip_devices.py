"""The real daemon with a UPS, a BACnet device, a camera and a charger; killed amid charges: each is stored once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drivers.bacnet.simulator import SimDevice
from drivers.ocpp.simulator import SimCharger
from drivers.onvif.simulator import USER, SimCamera
from drivers.snmp.simulator import SimAgent
from drivers_snmp.net import ON_BATTERY, VALUES
from gateway.sim.process import Child
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

CHARGES = 60
CARD = "04A2B3C4D5"


def site_of(
    tmp_path: Path, lines: list[dict[str, Any]], devices: list[dict[str, Any]], **secrets: str
) -> ListeningSite:
    site = listening_site(tmp_path, lines, devices)
    for name, text in secrets.items():
        for folder in {path.parent for path in tmp_path.rglob("site.yaml")}:
            (folder / f"{name}.secret").write_text(text + "\n", encoding="utf-8")
    return site


async def until(condition: Any) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.1)


def test_a_ups_a_bacnet_device_and_a_camera_are_read_by_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        bacnet_port, trap_port = free_port(), free_port()
        async with SimAgent(VALUES) as ups, SimDevice(1001, free_port()) as bms, SimCamera("camera") as camera:
            camera.now = _now()
            lines = [
                {"id": "network", "protocol": "snmp", "traps": f"127.0.0.1:{trap_port}"},
                {"id": "bms", "protocol": "bacnet", "listen": f"127.0.0.1:{bacnet_port}"},
                {"id": "cameras", "protocol": "onvif"},
            ]
            devices: list[dict[str, Any]] = [
                {"id": "ups", "profile": "ups_rfc1628", "line": "network", "address": ups.address},
                {"id": "lift", "profile": "bacnet_lift", "line": "bms", "address": bms.address},
                {"id": "gate", "profile": "onvif_camera", "line": "cameras", "address": camera.address},
            ]
            devices[0]["community_file"] = "community.secret"
            devices[2] |= {"rtsp_port": camera.rtsp_port, "user": USER, "password_file": "camera.secret"}
            site = site_of(tmp_path, lines, devices, community="compound", camera="camera")
            async with site.daemon() as daemon:
                await until(lambda: camera.subscriptions and ups.questions > 3)
                camera.tamper(True)
                ups.notify(ON_BATTERY, ("127.0.0.1", trap_port))
                await until(lambda: site.happened("snmp.trap") and site.happened("camera.tamper"))
                await until(lambda: site.readings("lift.position"))
                assert await daemon.stop() == 0
        assert [each["attributes"]["name"] for each in site.happened("snmp.trap")] == ["upsTrapOnBattery"]
        assert len(site.happened("camera.tamper")) == 1
        for point, value in (("ups.battery_charge", 87), ("lift.position", 7), ("gate.online", True)):
            assert site.readings(point)[0]["v"] == value, point

    asyncio.run(main())


def test_charges_told_to_a_daemon_that_is_killed_are_stored_once_and_without_their_card(tmp_path: Path) -> None:
    port = free_port()
    lines = [{"id": "chargers", "protocol": "ocpp16", "listen": f"127.0.0.1:{port}", "authorize": "all"}]
    charger = {"id": "c1", "profile": "ocpp_connector", "line": "chargers", "charge_point": "CP-1"}
    site = site_of(tmp_path, lines, [{**charger, "password_file": "charger.secret"}], charger="charger-password")
    ids: list[int] = []

    async def charge(first: int) -> int:
        """Until all are answered or the daemon is gone; the first that was not."""
        async with await connected(port) as sim:
            for number in range(first, CHARGES):
                try:
                    async with asyncio.timeout(20):
                        ids.append(await sim.start(1, CARD, 1000 * number))
                except (TimeoutError, asyncio.CancelledError, OSError, aiohttp.ClientError):
                    return number
        return CHARGES

    async def kill_soon(daemon: Child) -> None:
        await until(lambda: len(ids) >= CHARGES // 3)
        await daemon.kill()

    async def main() -> None:
        async with site.daemon() as daemon:
            reached, _ = await asyncio.gather(charge(0), kill_soon(daemon))
        assert reached < CHARGES
        async with site.daemon() as daemon:
            assert await charge(reached) == CHARGES
            assert await daemon.stop() == 0

    asyncio.run(main())
    stored = site.happened("charging.started")
    assert sorted(each["attributes"]["meter"] for each in stored) == [float(number) for number in range(CHARGES)]
    assert len(set(ids)) == CHARGES
    assert {each["attributes"]["transaction"] for each in stored} == set(ids)
    assert all(each["attributes"]["card"] != CARD for each in stored)
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and CARD.encode() in path.read_bytes()]
    assert holding == []


async def connected(port: int) -> _Entered:
    """When the daemon listens."""
    async with asyncio.timeout(60):
        while True:
            sim = SimCharger(f"ws://127.0.0.1:{port}/ocpp", "CP-1", "charger-password")
            try:
                opened = await sim.__aenter__()
            except (OSError, aiohttp.ClientError):
                await asyncio.sleep(0.1)
                continue
            return _Entered(opened)


class _Entered:
    """A charger that is connected already, to be left."""

    def __init__(self, sim: SimCharger) -> None:
        self._sim = sim

    async def __aenter__(self) -> SimCharger:
        return self._sim

    async def __aexit__(self, *why: Any) -> None:
        await self._sim.__aexit__(*why)


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
