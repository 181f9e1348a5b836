"""From the configuration's plan to live objects: the link of a line, a driver per device; and asking one now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivers.base import Driver, Link
from drivers.device_link import DeviceLink
from drivers.transport import ByteLine, SerialLink, TcpLink
from gateway.clock import Clock
from gateway.config.load import LinePlan
from gateway.errors import DriverError, LineLost
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
