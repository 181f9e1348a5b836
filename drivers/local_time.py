"""The time that a command gives to a meter's clock: the site's local time.  Pure."""

from __future__ import annotations

import datetime

from gateway.clock import Clock, ClockState
from gateway.errors import DeviceRejected
from gateway.model import PointId, Value


def wanted_time(
    point: PointId, value: Value, zone: datetime.tzinfo, clock: Clock, before_year: int
) -> datetime.datetime:
    """*value* as local time: ``now``, or ISO 8601 with or without an offset.

    Raises DeviceRejected: not a time, a year that the meter cannot hold, or ``now`` while the gateway does not know it.
    """
    if value == "now" and clock.state() is ClockState.UNKNOWN:
        raise DeviceRejected(f"{point}: 网关时钟未同步 / the gateway's own clock was never set", 0)
    try:
        moment = (
            datetime.datetime.fromtimestamp(clock.now_ms() / 1000, zone)
            if value == "now"
            else datetime.datetime.fromisoformat(str(value))
        )
    except ValueError:
        moment = None
    if moment is None or not 2000 <= moment.year < before_year:
        raise DeviceRejected(f"{point}: 时间写法 / write the time as 2026-01-31T08:30:00, or now", 0)
    return moment if moment.tzinfo is None else moment.astimezone(zone)
