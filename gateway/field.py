"""From the configuration's plan to live objects: the link of a line, a driver per device; and asking one now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivers.base import Driver, Link
from drivers.transport import SerialLink, TcpLink
from gateway.clock import Clock
from gateway.config.load import LinePlan
from gateway.errors import DriverError, LineLost
from gateway.model import PointId, Reading
from gateway.quality import unreadable


def open_line(plan: LinePlan) -> Link:
    """The line's link, not yet connected."""
    if plan.tcp is not None:
        return TcpLink(*plan.tcp)
    assert plan.serial is not None
    assert plan.format is not None
    return SerialLink(plan.serial, plan.format)


def drivers_on(plan: LinePlan, link: Link, clock: Clock) -> Mapping[str, Driver]:
    """Device id -> its driver, all of them talking through *link*."""
    return {device.device.id: device.protocol.make(device.spec, link, clock) for device in plan.devices}


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
