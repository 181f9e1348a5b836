"""What the sums per hour leave in the journal: one record per point and UTC day, under ``history/<point>/<day % 32>``.

{"v":1,"unit":"kW","day":days since 1970,"hours":[[hour,samples,sum],…]}

A record is written when one of its hours is over or has changed afterwards: some 500 bytes an hour, not all four weeks.
The places are used again after 32 days, so nothing has to be deleted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rules.windows import HOUR_MS, Hours

PREFIX = "history/"
_DAYS = 32
_VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class UnreadableHistory(ValueError):
    """A record that this version did not write, or that is damaged."""


@dataclass(frozen=True, slots=True)
class Day:
    unit: str | None
    hours: tuple[tuple[int, int, float], ...]
    """(hours since 1970, samples, their sum)"""


def day_records(point: str, unit: str | None, hours: Hours, now_ms: int) -> Iterator[tuple[str, bytes]]:
    """Those that have changed since last asked.  The running hour waits until it is over."""
    running = now_ms // HOUR_MS
    over = {hour for hour in hours.changed if hour < running}
    hours.changed -= over
    for day in sorted({hour // 24 for hour in over}):
        known = [hour for hour in range(day * 24, day * 24 + 24) if hour in hours.sums and hour < running]
        listed = [[hour % 24, *hours.sums[hour]] for hour in known if math.isfinite(hours.sums[hour][1])]
        record = {"v": _VERSION, "unit": unit, "day": day, "hours": listed}
        yield f"{PREFIX}{point}/{day % _DAYS}", _encode(record).encode()


def point_of(key: str) -> str | None:
    """None when it is not the key of such a record."""
    return key[len(PREFIX) :].rpartition("/")[0] if key.startswith(PREFIX) else None


def read_day(record: bytes) -> Day:
    """Raises UnreadableHistory."""
    try:
        found: Any = json.loads(record)
        if found["v"] != _VERSION:
            raise UnreadableHistory(f"version {found['v']!r}")
        first = int(found["day"]) * 24
        hours = tuple((first + int(hour), int(count), float(total)) for hour, count, total in found["hours"])
        return Day(found["unit"], hours)
    except (KeyError, TypeError, ValueError) as exc:
        raise UnreadableHistory(f"history record: {exc!r}") from exc
