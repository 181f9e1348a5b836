from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from gateway.health import _costliest
from gateway.line_stats import DeviceStats, LineStats
from gateway.supervisor import Line


def line(**wasted_s: float) -> Line:
    stats = LineStats(devices={name: DeviceStats(1.0, wasted_s=seconds) for name, seconds in wasted_s.items()})
    return cast(Line, cast(Any, SimpleNamespace(stats=stats)))


def test_the_published_figures_do_not_grow_with_the_devices_that_fall_silent() -> None:
    lines = [line(**{f"d{n}-{m}": float(10 * n + m) for m in range(10)}) for n in range(50)]
    assert _costliest(lines) == {"d49-5", "d49-6", "d49-7", "d49-8", "d49-9"}
    assert _costliest([line(a=0.0, b=2.0), line(c=0.0)]) == {"b"}, "who wastes nothing is not told of"
