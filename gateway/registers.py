"""What the counters showed, kept over a restart: so the first reading after it is checked like any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

import structlog

from gateway.clock import Clock, ClockState
from gateway.model import PointId
from gateway.pipeline import Pipeline
from gateway.supervisor import Line

log = structlog.get_logger()

EVERY_S = 300.0
"""So often the store is told; with every reading would be a write per reading for what a third reading mends."""
_KEY = "registers/"
"""Begins the keys under which the store keeps a line's counters."""


async def keep_registers(lines: Sequence[Line], pipeline: Pipeline, clock: Clock) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        remember_registers(lines, pipeline, clock)


def remember_registers(lines: Sequence[Line], pipeline: Pipeline, clock: Clock) -> None:
    if clock.state() is ClockState.UNKNOWN:
        return  # the time with which they would be kept means nothing after a restart
    for line in lines:
        registers = line.gate.registers(clock.monotonic_s(), clock.now_ms())
        if registers:
            pipeline.remember(_KEY + line.id, json.dumps(registers).encode())


def recall_registers(lines: Sequence[Line], saved: Mapping[str, bytes], clock: Clock) -> None:
    """The counters go on from where they stood: the first reading after a start is checked like any other."""
    now_ms = None if clock.state() is ClockState.UNKNOWN else clock.now_ms()
    for line in lines:
        line.gate.recall(_registers(saved, line.id), clock.monotonic_s(), now_ms)


def registers_in(saved: Mapping[str, bytes]) -> Mapping[PointId, tuple[float, int]]:
    """Every counter's last good value and when it was read (UTC ms), as the store has them."""
    lines = [key.removeprefix(_KEY) for key in saved if key.startswith(_KEY)]
    return {point: mark for line in lines for point, mark in _registers(saved, line).items()}


def _registers(saved: Mapping[str, bytes], line: str) -> Mapping[PointId, tuple[float, int]]:
    try:
        kept = json.loads(saved.get(_KEY + line, b"{}"))
        return {point: (float(value), int(at_ms)) for point, (value, at_ms) in kept.items()}
    except (ValueError, TypeError, AttributeError):
        log.warning("what the counters showed before the start cannot be read", line=line)
        return {}
