"""Two cameras push to the real daemon, which is killed in the middle: each vehicle once, and no plate on disk."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from drivers.plate_camera.messages import Dialect
from drivers.plate_camera.simulator import PlateCameraSim
from gateway.clock import SystemClock
from gateway.pseudonyms import box_pseudonyms
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

VEHICLES = 100
"""Of each camera."""
CAMERAS = {"cam-in": ("8d0c6b4f-0000aaaa", Dialect.VZENITH), "cam-out": ("DS-TCG406-E 20241223", Dialect.ISAPI)}


def plate(camera: str, number: int) -> str:
    return f"{'皖' if camera == 'cam-in' else '浙'}Q{70_000 + number}"


def gates_site(tmp_path: Path, port: int) -> ListeningSite:
    line = {"id": "cams", "protocol": "plate-camera", "listen": f"127.0.0.1:{port}"}
    devices: list[dict[str, Any]] = [
        {"id": camera, "profile": "plate_camera", "line": "cams", "serial": serial}
        for camera, (serial, _) in CAMERAS.items()
    ]
    return listening_site(tmp_path, [line], devices)


async def traffic(camera: str, port: int, done: Counter[str]) -> None:
    """Every vehicle is pushed until it is answered, as often as it takes."""
    serial, dialect = CAMERAS[camera]
    url = f"http://127.0.0.1:{port}/"
    async with PlateCameraSim(url, serial, dialect, tries=100_000, retry_s=0.05) as sim:
        for number in range(VEHICLES):
            answered = await sim.passes(plate(camera, number), time_ms=SystemClock().now_ms())
            assert answered.status == 200
            assert b"ok" not in answered.body
            done[camera] += 1


def test_each_vehicle_once_over_a_kill_and_no_plate_on_disk(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        site, done = gates_site(tmp_path, port), Counter[str]()
        cameras = [asyncio.ensure_future(traffic(camera, port, done)) for camera in CAMERAS]
        try:
            async with site.daemon() as daemon:
                async with asyncio.timeout(120):
                    while min(done[camera] for camera in CAMERAS) < VEHICLES // 4:
                        await asyncio.sleep(0.01)
                await daemon.kill()
            assert done.total() < 2 * VEHICLES, "the kill came in the middle"
            async with site.daemon() as daemon:
                async with asyncio.timeout(120):
                    await asyncio.gather(*cameras)
                assert await daemon.stop() == 0
        finally:
            for task in cameras:
                task.cancel()
            await asyncio.gather(*cameras, return_exceptions=True)
        judged(site)

    asyncio.run(main())


def judged(site: ListeningSite) -> None:
    names = box_pseudonyms(site.store)
    seen = Counter((event["device"], event["attributes"]["plate"]) for event in site.happened("vehicle.seen"))
    expected = {(camera, names.of("plate", plate(camera, n))) for camera in CAMERAS for n in range(VEHICLES)}
    assert set(seen) == expected, "none lost"
    assert set(seen.values()) == {1}, "none doubled"
    for camera in CAMERAS:
        assert site.readings(f"{camera}.seen_count")[-1]["v"] == VEHICLES
    for file in (*site.store.rglob("*"), site.log):
        content = file.read_bytes() if file.is_file() else b""
        assert "皖Q7".encode() not in content, file.name
        assert b"Q70" not in content, file.name
