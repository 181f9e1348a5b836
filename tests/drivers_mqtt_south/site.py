"""A site's worth of devices for the hubs, from the shipped profiles, and a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

from drivers.base import DeviceSpec, Hub, HubSpec, PointSpec, ProtocolType, Report
from drivers.mqtt_south.hub import MqttHub
from gateway.model import Point, Text, ValueKind
from support.broker import Broker, broker
from support.clock import ManualClock

P = ParamSpec("P")
NOW_MS = 1_767_225_600_000


def point(id_: str, kind: str, type_: ProtocolType, *, states: Sequence[str] = (), **options: Any) -> PointSpec:
    personal = bool(options.pop("personal", False))
    declared = Point(id_, ValueKind(kind), Text("点", "point"), 60.0, states=tuple(states), personal=personal)
    return PointSpec(declared, type_.point_options.model_validate(options))


def device(
    id_: str, type_: ProtocolType, points: Mapping[str, Mapping[str, Any]], *, timeout_s: float = 5.0, **options: Any
) -> DeviceSpec:
    """*points*: name -> keyword arguments of ``point``."""
    specs = [point(f"{id_}.{name}", type_=type_, **each) for name, each in points.items()]
    return DeviceSpec(
        id_, type_.device_options.model_validate(options), {spec.point.id: spec for spec in specs}, timeout_s
    )


def hub_spec(
    type_: ProtocolType,
    port: int,
    devices: Sequence[DeviceSpec],
    memory: Mapping[str, bytes] | None = None,
    **more: Any,
) -> HubSpec:
    assert type_.hub_options is not None
    options = type_.hub_options.model_validate({"broker": f"127.0.0.1:{port}", **more})
    return HubSpec("south", options, {each.id: each for each in devices}, memory or {})


def make(
    type_: ProtocolType,
    port: int,
    devices: Sequence[DeviceSpec],
    memory: Mapping[str, bytes] | None = None,
    **more: Any,
) -> MqttHub:
    assert type_.hub is not None
    hub = type_.hub(hub_spec(type_, port, devices, memory, **more), ManualClock(NOW_MS))
    assert isinstance(hub, MqttHub)
    return hub


@contextlib.asynccontextmanager
async def local_broker(*config: str, persistence: bool = False) -> AsyncIterator[Broker]:
    with tempfile.TemporaryDirectory() as folder:
        async with broker(Path(folder) / "broker", *config, persistence=persistence) as running:
            yield running


async def collect(hub: Hub, enough: Callable[[list[Report]], bool], *, store: bool = True) -> list[Report]:
    """What it reports until *enough*; stored as the core would."""
    reports: list[Report] = []
    async with asyncio.timeout(10):
        while not enough(reports):
            taken = await hub.receive()
            if store:
                await hub.stored(taken)
            reports.extend(taken)
    return reports


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a coroutine as a test; what it leaves running is a fault."""

    @functools.wraps(test)
    def runner(*args: P.args, **kwargs: P.kwargs) -> None:
        async def guarded() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left running: {left}"

        asyncio.run(guarded())

    return runner


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


def values(reports: Sequence[Report]) -> dict[str, Any]:
    """Point -> its last value, or the reason where it has none."""
    return {
        reading.point: reading.value if reading.value is not None else reading.reason
        for report in reports
        for reading in report.readings
    }
