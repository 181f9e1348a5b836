"""A daemon's answers as its socket gives them, and the page's server in front of a socket that gives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway import local_api
from gateway.model import Device, Place, Point, Text, ValueKind
from gateway.web.catalog import Catalog
from gateway.web.daemon import Daemon
from gateway.web.server import Gate, Site, serving
from support.clock import ManualClock

NOW_MS = 1_800_000_000_000
TEXT = {"zh": "", "en": ""}
POINTS = (
    Point("m-1.energy", ValueKind.NUMBER, Text("电能", "Energy"), 15.0, "kW.h", personal=True),
    Point("m-1.voltage", ValueKind.NUMBER, Text("电压", "Voltage"), 15.0, "V"),
)
NASTY = "<script>alert(1)</script>"
CATALOG = Catalog(
    site=Text("小区", "Compound"),
    gateway="gw-1",
    devices={
        "m-1": Device("m-1", "power_meter", Text("101 室电表", "Meter 101"), Place(room="101"), "dlt645", POINTS),
        "m-2": Device("m-2", "power_meter", Text(NASTY, NASTY), Place(room=NASTY), "dlt645", ()),
    },
    points={point.id: point for point in POINTS},
    speaking=frozenset({("voltage_low", "m-1"), ("gas_high", None)}),
)


def device(**figures: Any) -> dict[str, Any]:
    return {
        "period_s": 10.0, "p50_s": 10.0, "p95_s": 10.5, "polls": 20, "failures": 0, "cost_s": 2.0, "wasted_s": 0.0,
        "silent_s": None,
    } | figures  # fmt: skip


def line(**figures: Any) -> dict[str, Any]:
    return {
        "open": True, "polls": 40, "failures": 0, "busy": 0.4, "busy_1m": 0.5, "skipped": 0, "opened": 1, "rebuilt": 0,
        "members": 2, "silent": [], "devices": {"m-1": device(), "m-2": device()},
    } | figures  # fmt: skip


def alarm(rule: str, device: str | None = "m-1", **figures: Any) -> dict[str, Any]:
    return {
        "rule": rule, "device": device, "name": {"zh": f"{rule} 名", "en": f"name of {rule}"}, "place": {"room": "101"},
        "state": "unack", "priority": "low", "count": 1, "since_ms": NOW_MS - 60_000, "reason": "condition",
        "known": True, "shadow": False, "acked_by": "", "message": {"zh": f"{rule} 文", "en": f"message of {rule}"},
        "response": TEXT, "values": {},
    } | figures  # fmt: skip


def uplink(**figures: Any) -> dict[str, Any]:
    return {
        "connected": True, "since_ms": NOW_MS - 90_000, "error": "", "hint": "", "needs_person": False, "faults": [],
        "in_flight": 0, "oldest_in_flight_s": None, "sent": 7, "acknowledged": 7, "unheard": 0, "quarantined": 0,
        "reconnects": 0,
    } | figures  # fmt: skip


def lane(**figures: Any) -> dict[str, Any]:
    return {
        "envelopes": 3, "items": 30, "bytes": 3000, "first_seq": 1, "last_seq": 3, "oldest_ms": NOW_MS - 50_000,
        "unacknowledged": {"platform": 2}, "waiting_since_ms": {"platform": NOW_MS - 40_000}, "evicted": 0,
        "evicted_items": 0, "damaged": 0,
    } | figures  # fmt: skip


def status(**figures: Any) -> dict[str, Any]:
    return {
        "v": 1, "t": NOW_MS, "uptime_s": 100.0, "clock": "synced", "accepted": 900, "dropped": 0,
        "store": {
            "epoch": "e", "bytes": 10_000, "budget_bytes": 100_000, "evicted": 0, "damaged": 0,
            "lanes": {"alarm": lane(), "telemetry": lane(unacknowledged={}, waiting_since_ms={}, oldest_ms=None)},
        },
        "lines": {"bus": line()}, "uplinks": {"platform": uplink()}, "alarms": [],
        "disk_free_bytes": 10**9, "temperatures_c": [51.0], "loop_lag_ms": 1.5,
    } | figures  # fmt: skip


PORTS = [
    {"id": "bus", "serial": "/dev/ttyS1", "tcp": None, "format": [2400, "E", 8, 1], "open": True, "devices": ["m-1"]}
]


@dataclass
class FakeDaemon:
    """Answers as a daemon would; counts what it is asked."""

    status: dict[str, Any] = field(default_factory=status)
    points: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator[None]:
        answers: dict[str, Callable[[], Any]] = {
            "status": lambda: self.status,
            "lines": lambda: PORTS,
            "points": lambda: self.points,
        }

        async def answer(request: Mapping[str, Any]) -> Any:
            self.asked.append(request["op"])
            return answers[request["op"]]()

        async with local_api.serve(directory, dict.fromkeys(answers, answer)):
            yield


@dataclass
class Page:
    """The server under test."""

    port: int
    clock: ManualClock
    gate: Gate


@asynccontextmanager
async def page(
    store: Path,
    *,
    catalog: Catalog = CATALOG,
    load: Callable[[], Catalog] = lambda: CATALOG,
    exposed: bool = False,
    **limits: Any,
) -> AsyncIterator[Page]:
    clock = ManualClock()
    gate = Gate(Site(Daemon(store, catalog, load, clock), exposed), **limits)
    async with serving(gate, "127.0.0.1", 0) as port:
        yield Page(port, clock, gate)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


async def send(port: int, request: str | bytes) -> Answer:
    """One connection, one request, everything that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode() if isinstance(request, str) else request)
        async with asyncio.timeout(30):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    first, *lines = head.decode().split("\r\n")
    return Answer(int(first.split()[1]), dict(each.split(": ", 1) for each in lines), body.decode())


async def get(port: int, path: str, *headers: str, method: str = "GET", host: str | None = "127.0.0.1") -> Answer:
    lines = [f"{method} {path} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *headers]
    return await send(port, "\r\n".join(lines) + "\r\n\r\n")
