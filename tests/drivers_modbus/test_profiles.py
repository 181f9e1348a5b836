"""The shipped Modbus profiles: valid, free of contradictions, and readable on a device that has what they name."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers.base import DeviceSpec, PointSpec
from drivers.modbus.config import PointOptions, TcpOptions
from drivers.modbus.driver import TCP
from drivers.modbus.simulator import ModbusBank, SimUnit, serve_tcp
from drivers.modbus.values import Type
from drivers.transport import TcpLink
from gateway.config.models import ProfileFile, ProfilePoint
from gateway.model import Point, Text, Value, ValueKind
from support.clock import ManualClock

FOLDER = Path(__file__).parent.parent.parent / "config" / "devices"
OURS = {
    "acrel_ddsy1352": (10, [(3, 0, 17)]),
    "eastron_sdm120": (12, [(3, 0xFC00, 2), (4, 0, 32), (4, 70, 16), (4, 342, 2)]),
    "eastron_sdm630": (
        32,
        [(3, 0xFC00, 2), (4, 0, 18), (4, 30, 6), (4, 52, 34), (4, 200, 6), (4, 224, 16), (4, 342, 10)],
    ),
    "gas_controller_4ch": (8, [(4, 0, 8)]),
    "pemtech_pt495": (7, [(3, 0, 6)]),
    "pump_room_plc": (14, [(1, 0, 2), (2, 0, 4), (4, 0, 5)]),
    "waveshare_modbus_relay_8ch": (8, [(1, 0, 8)]),
}
"""Points, and the requests that one poll of everything takes: function, address, count."""
PROFILES = pytest.mark.parametrize("name", OURS)


def load(name: str) -> ProfileFile:
    return ProfileFile.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def options(point: ProfilePoint) -> PointOptions:
    return PointOptions.model_validate(point.model_extra)


@PROFILES
def test_the_file_and_the_protocols_keys_are_valid(name: str) -> None:
    profile = load(name)
    assert profile.id == name
    assert set(profile.protocols) <= {"modbus-rtu", "modbus-tcp"}
    assert len(profile.points) == OURS[name][0]
    TcpOptions(unit_id=1, **profile.device)
    for point in profile.points.values():
        mapped = options(point)
        assert point.states == list(mapped.enum.values())
        assert (point.kind == "state") == bool(mapped.enum)
        assert (point.kind == "boolean") == (mapped.kind is Type.BIT and not mapped.enum)
        assert not point.writable or mapped.writes_with
        assert not point.counter or (point.lane == "billing" and point.unit == "kW.h")


def plausible(point: ProfilePoint, mapped: PointOptions) -> Value:
    if mapped.enum:
        return point.states[-1]
    if mapped.kind is Type.BIT:
        return True
    return 1.0 if point.maximum == 1 else 12.0


@PROFILES
def test_everything_is_read_in_few_requests(name: str) -> None:
    profile = load(name)
    unit = SimUnit()
    wanted: dict[str, Any] = {}
    for key, point in profile.points.items():
        value = plausible(point, options(point))
        unit.place(options(point), value)
        wanted[f"d.{key}"] = f"{value:.0f}" if point.kind == "text" else value
    for table in unit.tables.values():  # registers between those we read exist too
        for address in range(max(table, default=0)):
            table.setdefault(address, 0)
    asked: list[tuple[int, int, int]] = []
    bank = ModbusBank({1: unit}, lambda _, pdu: asked.append((pdu[0], *_words(pdu))))
    specs = {
        f"d.{key}": PointSpec(Point(f"d.{key}", ValueKind(point.kind), Text("", ""), 60.0), options(point))
        for key, point in profile.points.items()
    }
    spec = DeviceSpec("d", TcpOptions(unit_id=1, **profile.device), specs, 1.0)

    async def scenario() -> dict[str, object]:
        async with serve_tcp(bank) as port, TcpLink("127.0.0.1", port) as link:
            driver = TCP.make(spec, link, ManualClock())
            batches = driver.batches(list(specs))
            return {reading.point: reading.value for batch in batches for reading in await driver.poll(batch)}

    assert asyncio.run(scenario()) == wanted
    assert sorted(asked) == OURS[name][1]


def _words(pdu: bytes) -> tuple[int, int]:
    return int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
