"""What a meter can be told: its clock.  Pure.

An address or a baud rate is never written: when the acknowledgement is lost, the meter is too.
"""

from __future__ import annotations

import datetime

from drivers.base import PointSpec
from drivers.local_time import wanted_time
from drivers.mbus.config import MbusOptions, MbusPointOptions
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.model import Point, Value, ValueKind

_TIME = b"\x04\x6d"
"""DIF, VIF: four bytes, date and time (type F)."""


def check_writable(spec: PointSpec, device: MbusOptions) -> None:
    """Raises ConfigError for a point that no meter takes, and for a meter that is not named for certain."""
    point: Point = spec.point
    wanted: MbusPointOptions = spec.options
    if point.kind is not ValueKind.TEXT or wanted != MbusPointOptions(quantity="time"):
        raise ConfigError(
            f"{point.id}: 不可写，只有时钟可写 / cannot be written: only the clock can",
            hint="writable: true 只用于 only for kind: text, quantity: time",
        )
    if device.primary is not None and not device.reset:
        raise ConfigError(f"{point.id}: 写入需要 reset / writing needs reset: a repeated frame is not obeyed")
    if device.secondary is not None and "F" in device.secondary[:8]:
        raise ConfigError(f"{point.id}: 带通配的表号不可写 / a number with wildcards cannot be written to")


def clock_record(point: Point, value: Value, zone: datetime.tzinfo, clock: Clock) -> bytes:
    """The record that sets a clock, to the nearest minute of the site's time; ``now`` is the gateway's.

    Raises DeviceRejected.  The two century bits stay 0: read as 2000 to 2080 by meters of any age.
    """
    local = wanted_time(point.id, value, zone, clock, before_year=2080) + datetime.timedelta(seconds=30)
    year = local.year - 2000
    date = bytes((local.day | (year & 7) << 5, local.month | (year >> 3) << 4))
    return _TIME + bytes((local.minute, local.hour)) + date
