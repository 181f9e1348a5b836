"""Cameras, lists and a barrier at a real daemon: the listed are let in, once each, and a kill forgets nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.base import SerialFormat
from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from drivers.plate_camera.simulator import PlateCameraSim
from gateway.clock import SystemClock
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine
from support.listening_site import GATEWAY, ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

RESIDENT, GUEST, STRANGER, BANNED = "皖Q70001", "皖Q70002", "皖Q70003", "皖Q70004"
IN, OUT = "fd495d6ee960dbec", "d85b1269-8f942256"
RULES = """format: rules/1
rules:
- id: let_in
  name: {zh: 名单车辆放行, en: A listed vehicle is let in}
  when: cam-in.may_open == true
  priority: journal
  ack: auto
  if_no_data: clear
  message: {zh: 放行, en: let in}
  on_alarm:
  - {send: barrier.lift}
  on_clear:
  - {send: barrier.let_go}
"""


class Board:
    """The module at the barrier, with the number of times that its contact was closed."""

    def __init__(self) -> None:
        self.unit = SimUnit()
        self.unit.tables[Table.COIL].update(dict.fromkeys(range(8), 0))
        self.unit.tables[Table.DISCRETE].update(dict.fromkeys(range(8), 0))
        self.lifts = 0
        self._line = RtuLine(ModbusBank({3: self.unit}, on_request=self._heard))

    def _heard(self, unit: int, pdu: bytes) -> None:
        if pdu[:3] == b"\x05\x00\x00" and pdu[3:] == b"\xff\x00":
            self.lifts += 1

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return [("barrier", frame) for _, frame in self._line.feed(data)]

    def silence(self) -> None:
        self._line.silence()


async def gateway(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*GATEWAY, *arguments, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0, arguments


async def gates(tmp_path: Path, board: str, cameras: int) -> ListeningSite:
    lines = [
        {"id": "cams", "protocol": "plate-camera", "listen": f"127.0.0.1:{cameras}"},
        {"id": "rs485", "serial": board, "baud": 9600, "parity": "none"},
    ]
    contact = {"point": "raise", "value": True}
    devices: list[dict[str, Any]] = [
        {"id": "cam-in", "profile": "plate_camera", "line": "cams", "serial": IN},
        {"id": "cam-out", "profile": "plate_camera", "line": "cams", "serial": OUT},
        {
            "id": "barrier",
            "profile": "barrier_io_8ch",
            "line": "rs485",
            "unit_id": 3,
            "every": "500ms",
            "allow_write": ["raise"],
            "actions": {"lift": contact, "let_go": {**contact, "value": False}},
        },
    ]
    vehicles = {
        "key_file": "plates.key",
        "lists": ["residents.yaml", "denied.yaml"],
        "areas": {"garage": {"capacity": 3}},
        "gates": [
            {"camera": "cam-in", "gate": "north", "area": "garage", "way": "enter", "listed_only": True},
            {"camera": "cam-out", "gate": "north", "area": "garage", "way": "leave"},
        ],
    }
    site = listening_site(tmp_path, lines, devices, RULES, vehicles=vehicles)
    key = str(site.config / "plates.key")
    await gateway("plates", "key", key)
    for file, word, plate in (
        ("residents.yaml", "allow", RESIDENT),
        ("residents.yaml", "allow", GUEST),
        ("denied.yaml", "deny", BANNED),
    ):
        await gateway("plates", "add", "--key", key, str(site.config / file), plate, "--label", "x", "--list", word)
    return site


async def until(what: Callable[[], bool], why: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not what():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"still waiting: {why}")


async def passes(url: str, serial: str, plate: str) -> None:
    async with PlateCameraSim(url, serial, tries=1000, retry_s=0.1) as camera:
        answered = await camera.passes(plate, time_ms=SystemClock().now_ms())
        assert answered.status == 200


def test_the_listed_are_let_in_and_counted_over_a_kill(tmp_path: Path) -> None:
    async def main() -> None:
        board, port = Board(), free_port()
        url = f"http://127.0.0.1:{port}/"
        async with SimLine("rs485", SerialFormat(9600), [board], FaultBoard()) as wire:
            site = await gates(tmp_path, wire.path, port)
            async with site.daemon() as daemon:
                await passes(url, IN, STRANGER)
                await passes(url, IN, BANNED)
                await passes(url, IN, RESIDENT)
                await until(lambda: board.lifts == 1, "the barrier is raised for the resident")
                await until(lambda: board.unit.tables[Table.COIL][0] == 0, "the contact is let go")
                await passes(url, IN, GUEST)
                await until(lambda: board.lifts == 2, "and again for the next one")
                await until(lambda: len(site.happened("vehicle.entered")) == 2, "both are inside")
                await daemon.kill()
            async with site.daemon() as daemon:
                await passes(url, OUT, RESIDENT)
                await until(lambda: bool(site.happened("vehicle.left")), "the resident has left")
                await until(lambda: inside(site) == 1, "the guest is still inside")
                assert await daemon.stop() == 0
            assert board.lifts == 2, "a leaving vehicle raises nothing at the entry, nor does a start"
            judged(site)

    asyncio.run(main())


def inside(site: ListeningSite) -> object:
    said = site.readings("vehicles.inside_garage")
    return said[-1]["v"] if said else None


def judged(site: ListeningSite) -> None:
    kinds = {kind: [event["attributes"] for event in site.happened(f"vehicle.{kind}")] for kind in KINDS}
    assert [len(kinds[kind]) for kind in KINDS] == [5, 2, 1, 1, 1]
    (left,) = kinds["left"]
    assert "missed" not in left, "who came before the kill is known after it"
    assert left["dwell_s"] >= 0
    assert kinds["denied"][0]["list"] == "deny"
    assert {entered["list"] for entered in kinds["entered"]} == {"allow"}
    assert site.readings("vehicles.free_garage")[-1]["v"] == 2
    for plate, file in plates_in(site):
        pytest.fail(f"{plate} stands in {file.name}")


KINDS = ("seen", "entered", "left", "denied", "unknown")


def plates_in(site: ListeningSite) -> Iterator[tuple[str, Path]]:
    for file in (*site.store.rglob("*"), *site.config.rglob("*"), site.log):
        content = file.read_bytes() if file.is_file() else b""
        for plate in (RESIDENT, GUEST, STRANGER, BANNED):
            if plate.encode() in content or plate[1:].encode() in content:
                yield plate, file
