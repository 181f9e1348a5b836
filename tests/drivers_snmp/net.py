"""Agents, hubs and devices for the SNMP tests."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.hub import HostPort
from drivers.snmp.config import DeviceOptions, HubOptions, PointOptions
from drivers.snmp.engine import Credentials
from drivers.snmp.hub import SnmpHub
from drivers.snmp.simulator import SimAgent
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

CHARGE, MINUTES, SOURCE = "1.3.6.1.2.1.33.1.2.4.0", "1.3.6.1.2.1.33.1.2.3.0", "1.3.6.1.2.1.33.1.4.1.0"
DESCRIPTION, ABSENT = "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.99.0"
ALARMS, OVERLOAD, BATTERY_BAD = "1.3.6.1.2.1.33.1.6.2.1.2", "1.3.6.1.2.1.33.1.6.3.8", "1.3.6.1.2.1.33.1.6.3.1"
ON_BATTERY = "1.3.6.1.2.1.33.2.1"
VALUES: dict[str, Any] = {
    CHARGE: 87,
    MINUTES: 42,
    SOURCE: 3,
    DESCRIPTION: "Sim UPS",
    f"{ALARMS}.5": (1, 3, 6, 1, 2, 1, 33, 1, 6, 3, 8),
    f"{ALARMS}.9": (1, 3, 6, 1, 2, 1, 33, 1, 6, 3, 2),
}
V3 = Credentials("3", user="monitor", auth="sha256", auth_key=b"auth-auth", priv="aes", priv_key=b"priv-priv")
POINTS: dict[str, tuple[ValueKind, dict[str, Any]]] = {
    "charge": (ValueKind.NUMBER, {"oid": CHARGE}),
    "minutes": (ValueKind.NUMBER, {"oid": MINUTES}),
    "on_battery": (ValueKind.BOOLEAN, {"oid": SOURCE, "map": {5: True}, "other": False}),
    "description": (ValueKind.TEXT, {"oid": DESCRIPTION}),
    "absent": (ValueKind.NUMBER, {"oid": ABSENT}),
    "overload": (ValueKind.BOOLEAN, {"oid": ALARMS, "contains": OVERLOAD}),
    "battery_bad": (ValueKind.BOOLEAN, {"oid": ALARMS, "contains": BATTERY_BAD}),
}


class Secrets:
    """Files with a community and keys, as site.yaml names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in (("community", "compound"), ("auth", "auth-auth"), ("priv", "priv-priv"), ("bad", "")):
            (folder / name).write_text(text + "\n", encoding="ascii")

    def options(self, agent: SimAgent, **more: Any) -> DeviceOptions:
        """What a device entry says to reach *agent*."""
        keys: dict[str, Any] = {"address": agent.address, "version": agent.who.version}
        if agent.who.version == "3":
            keys |= {"user": agent.who.user, "auth": agent.who.auth, "auth_file": self.folder / "auth"}
            keys |= {"priv": agent.who.priv, "priv_file": self.folder / "priv"}
        else:
            keys["community_file"] = self.folder / "community"
        return DeviceOptions(**(keys | more))


def device_spec(name: str, options: DeviceOptions, timeout_s: float = 2.0) -> DeviceSpec:
    points = {
        f"{name}.{point}": PointSpec(Point(f"{name}.{point}", kind, Text(point, point), 30.0), PointOptions(**keys))
        for point, (kind, keys) in POINTS.items()
    }
    return DeviceSpec(name, options, points, timeout_s)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hub_of(devices: Mapping[str, DeviceSpec], trap_port: int | None = None) -> SnmpHub:
    options = HubOptions(traps=f"127.0.0.1:{trap_port}" if trap_port else None)
    return SnmpHub(HubSpec("network", options, devices), ManualClock())


@asynccontextmanager
async def ups(who: Credentials | None = None, **options: Any) -> AsyncIterator[tuple[SimAgent, SnmpHub, DeviceSpec]]:
    """One agent ``u``, and an open hub that knows it and hears notifications."""
    with tempfile.TemporaryDirectory() as folder:
        async with SimAgent(VALUES, who) as agent:
            spec = device_spec("u", Secrets(Path(folder)).options(agent, **options))
            async with hub_of({"u": spec}, free_port()) as hub:
                yield agent, hub, spec


def send_from(host: str, data: bytes, to: HostPort) -> None:
    """One datagram by a peer of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.sendto(data, to)


async def until(condition: Any) -> None:
    """Wait for something that other callbacks of this loop bring about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
