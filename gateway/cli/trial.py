"""What a profile makes of a captured answer: its driver asks a line on which nothing but the capture is said.

capture ──decode──▶ address, the response ──▶ driver.poll(point) ──Replay──▶ parse(capture) ──▶ readings
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from drivers.base import DecodedFrame, DeviceSpec, Driver, OpenedElsewhere, PointSpec, ProtocolType, SerialFormat
from drivers.modbus.replay import replay
from gateway.clock import SystemClock
from gateway.config.explain import parse
from gateway.config.layout import lay_out
from gateway.config.models import DeviceModel
from gateway.config.profiles import Profile
from gateway.errors import DeviceUnreachable, DriverError
from gateway.model import Point, Quality, Reading, Reason
from gateway.quality import QualityGate

T = TypeVar("T")

DEVICE = "device"
ADDRESS_KEYS = ("unit_id", "address", "primary")
"""Under these names a protocol wants the address that its frames carry."""
AS_CAPTURED = {"echoes_sequence": False, "reset": False}
"""Settings, where a protocol has them, with which an answer counts that belongs to another request of the same kind."""


@dataclass(frozen=True, slots=True)
class Findings:
    readings: Sequence[Reading]
    """Of the points that the capture holds, as the daemon would take them."""
    missing: Sequence[str]
    """Names of the others."""
    points: Mapping[str, Point]


class Replay(OpenedElsewhere):
    """A ``Link`` with a far end that is a function."""

    def __init__(self, respond: Callable[[bytes], bytes]) -> None:
        self._respond = respond
        self.last_answer = b""

    async def exchange(
        self,
        request: bytes,
        parse: Callable[[bytes], T | None],
        *,
        peer: Hashable,
        timeout_s: float,
        embargo_s: float = 0.0,
        gap_characters: float = 0.0,
        serial: SerialFormat | None = None,
        once: bool = False,
    ) -> T:
        self.last_answer = self._respond(request)
        found = parse(self.last_answer)
        if found is None:
            raise DeviceUnreachable("the capture does not answer this request")
        return found

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        return self._respond(request)


def far_end(protocol: str, capture: bytes, answer: DecodedFrame, first: int | None) -> Callable[[bytes], bytes] | None:
    """What says the capture; None when it is no answer to a read.

    Most answers name what they hold, so the bytes themselves do.  A Modbus answer does not: *first*, as in ``replay``.
    """
    if protocol.startswith("modbus-"):
        return replay(protocol, answer, first)
    return lambda _: capture


async def examine(
    profile: Profile, type_: ProtocolType, address: str, respond: Callable[[bytes], bytes]
) -> Findings | None:
    """None when no device entry of this protocol can have *address*."""
    options = _device_options(profile, type_, address)
    if options is None:
        return None
    layout = lay_out(DeviceModel(id=DEVICE, profile=profile.model.id, line="replay"), profile, type_)
    points = {(point := Point(id=f"{DEVICE}.{name}", **said)).id: point for name, said, _ in layout.points}
    specs = {
        id_: PointSpec(point, settings)
        for (id_, point), (_, _, settings) in zip(points.items(), layout.points, strict=True)
    }
    driver = type_.make(DeviceSpec(DEVICE, options, specs, type_.default_timeout_s), Replay(respond), SystemClock())
    found = await _read(driver, list(specs), refused_is_absent=type_.name.startswith("modbus-"))
    readings, _ = QualityGate(points).settle([found[id_] for id_ in specs if id_ in found], 0.0)
    own = [reading for reading in readings if reading.point in points]  # beside them: is it the device that was meant
    return Findings(own, [points[id_].name for id_ in specs if id_ not in found], points)


async def _read(driver: Driver, points: Sequence[str], *, refused_is_absent: bool) -> dict[str, Reading]:
    """The points that are answered: each batch, and point by point what no batch could give."""
    found: dict[str, Reading] = {}
    for batch in [*driver.batches(points), *([point] for point in points)]:
        if not found.keys() >= set(batch):
            found |= {reading.point: reading for reading in await _poll(driver, batch)}
    if refused_is_absent:
        return {point: reading for point, reading in found.items() if reading.reason is not Reason.REFUSED}
    return found


async def _poll(driver: Driver, batch: Sequence[str]) -> Sequence[Reading]:
    try:
        return await driver.poll(batch)
    except DriverError:
        return ()


def _device_options(profile: Profile, type_: ProtocolType, address: str) -> BaseModel | None:
    fields = type_.device_options.model_fields
    given: dict[str, Any] = {key: value for key, value in AS_CAPTURED.items() if key in fields}
    spellings = [address, int(address)] if address.isdecimal() else [address]
    for key in ADDRESS_KEYS:
        for spelling in spellings if key in fields else ():
            try:
                return parse(type_.device_options, {**profile.model.device, **given, key: spelling})
            except ValidationError:
                continue
    return None


def all_good(findings: Findings) -> bool:
    return bool(findings.readings) and all(reading.quality is Quality.GOOD for reading in findings.readings)
