"""Simulated readers on a real wire, and drivers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, SerialFormat
from drivers.osdp.config import OsdpOptions, OsdpPointOptions
from drivers.osdp.driver import OsdpReader
from drivers.osdp.simulator import OsdpLine, SimReader
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

KEY = bytes.fromhex("8F3A0C5511D27E90A4B6C8E1F2034586")
STATES = {"power": ("normal", "fault"), "led": ("off", "red", "green", "amber", "blue")}
COUNTS, TEXTS = ("card_count", "keypad_count"), ("vendor", "model", "serial_number", "firmware")
POINTS: Mapping[str, Any] = {
    **{
        name: {}
        for name in ("online", "secure", "tamper", "power", *COUNTS, "serial_number", "firmware", "led", "buzzer")
    },
    "relay": {"field": "output", "pulse_s": 3.0},
    "input": {},
}


def spec(points: Mapping[str, Any] = POINTS, address: int = 3, timeout_s: float = 0.3, **options: Any) -> DeviceSpec:
    chosen = OsdpOptions.model_validate({"address": address, "plaintext": not options} | options)
    return DeviceSpec("r", chosen, {f"r.{name}": _point(name, each) for name, each in points.items()}, timeout_s)


def _point(name: str, written: Mapping[str, Any]) -> PointSpec:
    options = OsdpPointOptions.model_validate({"field": name} | dict(written))
    states = STATES.get(options.field, ())
    kind = ValueKind.STATE if states else ValueKind.BOOLEAN
    kind = ValueKind.NUMBER if options.field in COUNTS else ValueKind.TEXT if options.field in TEXTS else kind
    writable = options.field in ("output", "led", "buzzer")
    return PointSpec(Point(f"r.{name}", kind, Text(name, name), 1.0, states=states, writable=writable), options)


def reader(link: Link, points: Mapping[str, Any] = POINTS, **options: Any) -> OsdpReader:
    return OsdpReader(spec(points, **options), link, ManualClock())


def answered_by(line: OsdpLine) -> Callable[[bytes], Sequence[bytes]]:
    return lambda data: [answer for _, answer in line.feed(data)]


@dataclass
class ReaderRig:
    driver: Driver
    link: ByteLine
    points: Sequence[str]
    refused: str
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Awaitable[None]]


def _rig(link: ByteLine, key_file: Path | None, unplug: Callable[[], None], plug: Callable[[], Awaitable[None]]) -> Rig:
    options = {} if key_file is None else {"key_file": key_file}
    good = [f"r.{name}" for name in POINTS if name != "input"]
    silent = reader(link, address=9, timeout_s=0.15, **options)
    return ReaderRig(reader(link, **options), link, good, "r.input", silent, unplug, plug)


@asynccontextmanager
async def _serial() -> AsyncIterator[Rig]:
    with TemporaryDirectory() as folder:
        key_file = Path(folder) / "key"
        key_file.write_text(KEY.hex(), encoding="ascii")
        async with pty_wire(answered_by(OsdpLine([SimReader(3, KEY)]))) as wire:

            async def plug() -> None:
                wire.plug()

            async with SerialLink(str(wire.path), SerialFormat(9600)) as link:
                yield _rig(link, key_file, wire.unplug, plug)


@asynccontextmanager
async def _tcp() -> AsyncIterator[Rig]:
    wire_of = answered_by(OsdpLine([SimReader(3)]))
    async with tcp_wire(wire_of) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig(link, None, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "osdp-serial-secure", _serial
    yield "osdp-tcp-plain", _tcp
