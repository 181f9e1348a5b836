"""What a meter can be told: its valve, its clock.  Pure.

Meter reading (A016) and address (A018) are never written: the one changes what is billed, the other leaves a meter that
nobody finds when the answer is lost.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from drivers.base import PointSpec
from drivers.cjt188 import frame
from drivers.cjt188.config import Cjt188Options, Cjt188PointOptions
from drivers.local_time import wanted_time
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected
from gateway.model import Point, Value, ValueKind


@dataclass(frozen=True, slots=True)
class Command:
    """How a point is written (control code 04h)."""

    di: str
    content: Callable[[Value], bytes]
    """Raises DeviceRejected for a value that cannot be sent."""
    settle_s: float = 0.0


def command(spec: PointSpec, options: Cjt188Options, zone: datetime.tzinfo, clock: Clock) -> Command:
    """Raises ConfigError for a point that no meter takes, and for a meter that is not named for certain."""
    point: Point = spec.point
    wanted: Cjt188PointOptions = spec.options
    if options.address == frame.WILDCARD:
        raise ConfigError(
            f"{point.id}: 通配地址不可写 / a wildcard address cannot be written to: every meter would obey",
            hint="写表上的 14 位表号 / give the 14 digits of the meter",
        )
    if wanted.field == "valve" and point.kind is ValueKind.STATE:
        codes = [bytes.fromhex(code) for code in options.valve_codes.split("/")]
        return Command(frame.VALVE_DI, lambda value: _valve(point, codes, value), options.valve_s)
    if wanted.field == "clock" and wanted.di == frame.DATA_DI and point.kind is ValueKind.TEXT:
        return Command(frame.CLOCK_DI, lambda value: _clock(point, zone, clock, value))
    raise ConfigError(
        f"{point.id}: 字段 {wanted.field} 不可写 / field {wanted.field} cannot be written",
        hint="writable: true 只用于 only for valve (state), clock (text)",
    )


def _valve(point: Point, codes: list[bytes], value: Value) -> bytes:
    """The first state opens, the second closes; the third is none that a meter can be told."""
    told = dict(zip(point.states, codes, strict=False))
    if value not in told:
        words = " / ".join(told)
        raise DeviceRejected(f"{point.id}: 只能写 can only be told: {words}", 0)
    return told[str(value)]


def _clock(point: Point, zone: datetime.tzinfo, clock: Clock, value: Value) -> bytes:
    """ss mm hh DD MM YY CC, in the site's time; ``now`` is the gateway's."""
    local = wanted_time(point.id, value, zone, clock, before_year=2100)
    return bytes.fromhex(local.strftime("%Y%m%d%H%M%S"))[::-1]
