"""A display on a serial line and on TCP, for the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec
from drivers.led_display.config import DisplayOptions, DisplayPointOptions
from drivers.led_display.driver import ONBON, Display
from drivers.led_display.simulator import SimCard, SimDisplayLine
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, PointId, Text, ValueKind
from support.clock import ManualClock

NOTICES = {"move_your_car": "请将车移走", "fire": "火警"}
_POINTS: Mapping[str, tuple[ValueKind, tuple[str, ...], dict[str, Any]]] = {
    "text": (ValueKind.TEXT, (), {"field": "text"}),
    "notice": (ValueKind.STATE, ("idle", "clear", *NOTICES), {"field": "notice", "texts": NOTICES}),
    "online": (ValueKind.BOOLEAN, (), {"field": "online"}),
    "lit": (ValueKind.BOOLEAN, (), {"field": "online"}),
    "state": (ValueKind.TEXT, (), {"field": "state"}),
}


def spec(address: int = 1, timeout_s: float = 0.4, *names: str, **options: Any) -> DeviceSpec:
    points = {
        f"d.{name}": PointSpec(
            Point(
                f"d.{name}",
                kind,
                Text(name, name),
                60.0,
                states=states,
                writable=name in ("text", "notice"),
                commands=tuple(each for each in states if each != "idle"),
            ),
            DisplayPointOptions(**keys),
        )
        for name, (kind, states, keys) in _POINTS.items()
        if name in (names or _POINTS)
    }
    return DeviceSpec("d", DisplayOptions(address=address, **options), points, timeout_s)


def display(link: Link, address: int = 1, timeout_s: float = 0.4, **options: Any) -> Display:
    return Display(spec(address, timeout_s, **options), link, ManualClock())


@dataclass
class DisplayRig:
    driver: Driver
    link: ByteLine
    points: Sequence[PointId]
    refused: PointId
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Coroutine[Any, Any, None]]


def _rig(link: ByteLine, unplug: Callable[[], None], plug: Callable[[], Coroutine[Any, Any, None]]) -> Rig:
    points = ["d.online", "d.lit", "d.notice"]
    silent = display(link, 9, 0.15)
    return DisplayRig(display(link), link, points, "d.state", silent, unplug, plug)


def _answered() -> Callable[[bytes], Sequence[bytes]]:
    line = SimDisplayLine(SimCard(knows_state=False))
    return lambda data: [reply for _, reply in line.feed(data)]


@asynccontextmanager
async def _serial() -> AsyncIterator[Rig]:
    async with pty_wire(_answered()) as wire:

        async def plug() -> None:
            wire.plug()

        assert ONBON.serial is not None
        async with SerialLink(str(wire.path), ONBON.serial) as link:
            yield _rig(link, wire.unplug, plug)


@asynccontextmanager
async def _tcp() -> AsyncIterator[Rig]:
    async with tcp_wire(_answered()) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig(link, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "onbon", _serial
    yield "onbon-tcp", _tcp
