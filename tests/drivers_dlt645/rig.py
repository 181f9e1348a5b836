"""A simulated meter on a real wire, and drivers for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, SerialFormat
from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions
from drivers.dlt645.driver import Dlt645Meter
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter, SimValue
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

ADDRESS = "000000190101"
VALUES: Mapping[str, SimValue] = {
    "00010000": Decimal("1234.56"),
    "00010100": Decimal("1000.01"),
    "00010200": Decimal("200.22"),
    "00010300": Decimal("30.33"),
    "00010400": Decimal("4.00"),
    "00020000": None,
    "02010100": Decimal("224.4"),
    "02010200": Decimal("0"),
    "02010300": Decimal("0"),
    "02020100": Decimal("-4.999"),
    "02800002": Decimal("50.03"),
    "04000101": "260605",
    "04000101.weekday": "05",
    "04000402": "123456789012",
    "04000503": "0050",
    "9010": Decimal("1234.56"),
    "9011": Decimal("1000.01"),
    "9012": Decimal("200.22"),
    "B611": Decimal("224"),
}


def spec(
    points: Mapping[str, Any], address: str = ADDRESS, timeout_s: float = 0.2, zone: tzinfo = UTC, **options: Any
) -> DeviceSpec:
    """points: name -> identifier, or a mapping of point options with the kind among them."""
    return DeviceSpec(
        "m",
        Dlt645Options(address=address, **options),
        {f"m.{name}": _point(f"m.{name}", written) for name, written in points.items()},
        timeout_s,
        zone,
    )


def _point(id: str, written: Any) -> PointSpec:  # noqa: A002
    options = {"di": written} if isinstance(written, str) else dict(written)
    kind = options.pop("kind", ValueKind.NUMBER)
    states = options.pop("states", ())
    return PointSpec(Point(id, kind, Text(id, id), 60.0, states=states), Dlt645PointOptions(**options))


def meter(link: Link, points: Mapping[str, Any], clock: ManualClock | None = None, **kwargs: Any) -> Dlt645Meter:
    return Dlt645Meter(spec(points, **kwargs), link, clock or ManualClock())


def answered_by(line: Dlt645SimLine) -> Callable[[bytes], Sequence[bytes]]:
    return lambda data: [answer for _, answer in line.feed(data)]


@dataclass
class MeterRig:
    driver: Driver
    link: ByteLine
    points: Sequence[str]
    refused: str
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Awaitable[None]]


_POINTS = {
    "energy": "00010000",
    "voltage": "02010100",
    "t1": "00010100",
    "t2": "00010200",
    "frequency": "02800002",
    "refused": "02800009",
}


_POINTS_1997 = {"energy": "9010", "t1": "9011", "t2": "9012", "voltage": "B611", "refused": "B621"}


def _rig(edition: str, link: ByteLine, unplug: Callable[[], None], plug: Callable[[], Awaitable[None]]) -> Rig:
    points = _POINTS_1997 if edition == "1997" else _POINTS
    return MeterRig(
        meter(link, points, edition=edition),
        link,
        [f"m.{name}" for name in points if name != "refused"],
        "m.refused",
        meter(link, points, edition=edition, address="000000000404", timeout_s=0.15),
        unplug,
        plug,
    )


def _line(blocks: bool, edition: str) -> Dlt645SimLine:
    other = Dlt645SimMeter("000000190102", {"00010000": Decimal("9.99")}.__getitem__)
    return Dlt645SimLine([Dlt645SimMeter(ADDRESS, VALUES.__getitem__, blocks=blocks, edition=edition), other])


@asynccontextmanager
async def _serial(blocks: bool = True, edition: str = "2007") -> AsyncIterator[Rig]:
    async with pty_wire(answered_by(_line(blocks, edition))) as wire:

        async def plug() -> None:
            wire.plug()

        async with SerialLink(str(wire.path), SerialFormat(2400, "E")) as link:
            yield _rig(edition, link, wire.unplug, plug)


@asynccontextmanager
async def _tcp() -> AsyncIterator[Rig]:
    async with tcp_wire(answered_by(_line(True, "2007"))) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig("2007", link, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "dlt645-serial", _serial
    yield "dlt645-tcp", _tcp
    yield "dlt645-serial-without-blocks", lambda: _serial(blocks=False)
    yield "dlt645-1997-serial", lambda: _serial(edition="1997")
