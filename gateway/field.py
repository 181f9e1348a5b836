"""From the configuration's plan to live objects: the link of a line, a driver per device; and asking one now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.base import Driver, Explaining, Field, Link
from drivers.device_link import DeviceLink
from drivers.transport import ByteLine, SerialLink, TcpLink
from gateway.clock import Clock
from gateway.config.load import LinePlan
from gateway.envelope import reading_item
from gateway.errors import DriverError, LineLost, ProtocolError
from gateway.model import PointId, Reading
from gateway.quality import unreadable


def open_line(plan: LinePlan) -> ByteLine:
    """The line, not yet connected."""
    if plan.tcp is not None:
        return TcpLink(*plan.tcp)
    assert plan.serial is not None
    assert plan.format is not None
    return SerialLink(plan.serial, plan.format)


def links_on(plan: LinePlan, line: ByteLine) -> Mapping[str, DeviceLink]:
    """Device id -> its view of the line."""
    return {device.device.id: DeviceLink(line, device.format) for device in plan.devices}


def drivers_on(plan: LinePlan, links: Mapping[str, Link], clock: Clock) -> Mapping[str, Driver]:
    """Device id -> its driver."""
    return {each.device.id: each.protocol.make(each.spec, links[each.device.id], clock) for each in plan.devices}


async def read_now(driver: Driver, points: Sequence[PointId], clock: Clock) -> list[Reading]:
    """One reading per point, bad ones for what does not answer.  Raises LineLost."""
    readings: list[Reading] = []
    for batch in driver.batches(points) if points else ():
        try:
            readings += await driver.poll(batch)
        except LineLost:
            raise
        except DriverError as exc:
            readings += unreadable(batch, exc, clock.now_ms())
    return readings


@dataclass(frozen=True, slots=True)
class RawReading:
    """One reading, the bytes it came in, and every way in which the driver can read them."""

    reading: Reading
    raw: bytes
    """As they arrived, an echo and noise among them; empty where nothing came."""
    interpretations: tuple[Field, ...] = ()

    def item(self, unit: str | None) -> dict[str, Any]:
        """The reading as everywhere else, and ``raw`` (hex), ``interpretations`` ([[id, value, unit], ...])."""
        told = [[field.id, field.value, field.unit] for field in self.interpretations]
        return {**reading_item(self.reading, unit), "raw": self.raw.hex(), "interpretations": told}


async def read_raw(driver: Driver, link: Link, points: Sequence[PointId], clock: Clock) -> list[RawReading]:
    """Each point read alone, so that the bytes are its own.  *link*: what *driver* talks through.  Raises LineLost."""
    return [await _read_one(driver, link, point, clock) for point in points]


async def _read_one(driver: Driver, link: Link, point: PointId, clock: Clock) -> RawReading:
    try:
        (reading,) = await driver.poll([point])
    except LineLost:
        raise
    except DriverError as exc:
        (reading,) = unreadable([point], exc, clock.now_ms())
        return RawReading(reading, exc.frame if isinstance(exc, ProtocolError) else b"")
    told = driver.interpretations(point, link.last_answer) if isinstance(driver, Explaining) else ()
    return RawReading(reading, link.last_answer, tuple(told))
