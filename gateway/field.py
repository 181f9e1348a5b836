"""From the configuration's plan to live objects: the link of a line, a driver per device; and asking one now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.base import Driver, Explaining, Field, Hub, HubSpec, Link
from drivers.device_link import DeviceLink
from drivers.transport import ByteLine, SerialLink, TcpLink
from gateway.clock import Clock
from gateway.config.load import LinePlan
from gateway.config.plan import HubPlan
from gateway.envelope import reading_item
from gateway.errors import DriverError, GatewayError, LineLost, ProtocolError
from gateway.model import PointId, Reading
from gateway.quality import unreadable


def open_line(plan: LinePlan) -> ByteLine:
    """The wire, not yet connected.  Raises GatewayError for a line that is listened to."""
    if plan.tcp is not None:
        return TcpLink(*plan.tcp)
    if plan.serial is None or plan.format is None:
        raise GatewayError(
            f"the devices on line {plan.id} speak by themselves, and only the daemon hears them",
            hint="start it: gateway run",
        )
    return SerialLink(plan.serial, plan.format)


def open_hub(plan: LinePlan, hub: HubPlan, memory: Mapping[str, bytes], clock: Clock) -> Hub:
    """The hub, not yet opened.  *memory*: device -> how far its driver had come."""
    assert hub.protocol.hub is not None
    specs = {each.device.id: each.spec for each in plan.devices}
    return hub.protocol.hub(HubSpec(plan.id, hub.options, specs, memory), clock)


def links_on(plan: LinePlan, line: ByteLine) -> Mapping[str, DeviceLink]:
    """Device id -> its view of the line."""
    return {device.device.id: DeviceLink(line, device.format) for device in plan.devices}


def drivers_on(plan: LinePlan, links: Mapping[str, Link | Hub], clock: Clock) -> Mapping[str, Driver]:
    """Device id -> its driver.  *links*: what it talks through; of a hub's devices the hub."""
    return {each.device.id: each.protocol.make(each.spec, links[each.device.id], clock) for each in plan.devices}


async def read_now(driver: Driver, points: Sequence[PointId], clock: Clock) -> list[Reading]:
    """One reading per point, bad ones for what does not answer.  Raises LineLost."""
    readings: list[Reading] = []
    for batch in driver.batches(points) if points else ():
        try:
            readings += await _poll_twice(driver, batch)
        except LineLost:
            raise
        except DriverError as exc:
            readings += unreadable(batch, exc, clock.now_ms())
    return readings


async def _poll_twice(driver: Driver, batch: Sequence[PointId]) -> Sequence[Reading]:
    """Somebody waits for it, and some drivers find out with the first question how a device wants to be asked."""
    try:
        return await driver.poll(batch)
    except LineLost:
        raise
    except DriverError:
        return await driver.poll(batch)


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
        (reading,) = await _poll_twice(driver, [point])
    except LineLost:
        raise
    except DriverError as exc:
        (reading,) = unreadable([point], exc, clock.now_ms())
        return RawReading(reading, exc.frame if isinstance(exc, ProtocolError) else b"")
    told = driver.interpretations(point, link.last_answer) if isinstance(driver, Explaining) else ()
    return RawReading(reading, link.last_answer, tuple(told))
