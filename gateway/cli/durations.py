"""Durations on the command line."""

from __future__ import annotations

import re
from typing import Any

import click

from gateway.config.models import parse_duration

_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """``200ms``, ``1 min 30 s``, as in the configuration, or a number of seconds; seconds for the command."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(f"{value}s" if _PLAIN.fullmatch(value) else value)
        except ValueError:
            self.fail(f"{value!r}: 写法如 200ms、1.5s、2 min / write 200ms, 1.5s, 2 min", param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r}: 须大于 0 / must be more than 0", param, ctx)
        return seconds
