"""What alarm rules cost: evaluations, dispatch, a storm of alarms, the start, memory; from gas to valve."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.clock import SystemClock
from gateway.ids import uuid7
from gateway.model import Device, Place, Point, Reading, Text, ValueKind
from gateway.pipeline import Pipeline
from gateway.store.log import Store
from rules.definition import read_rules
from rules.engine import Engine, Instant
from rules.output import Order
from rules.replay import Replay

DEVICES, RULES = 5000, 5
BATCH = 100
ONE_POINT = 1000
"""Rules that read the same point, for the price of an evaluation."""
STORM, BUILDINGS = 5000, 40
REPLAYED = 500
SHOTS = 200
LIMITS = (245.0, 250.0, 255.0, 260.0, 265.0)


async def run(rounds: int) -> None:
    print(f"\n== rules: {DEVICES:,} devices x {RULES} rules ==")
    bare = statistics.median(_bare() for _ in range(rounds))
    evaluations = statistics.median(_evaluations() for _ in range(rounds))
    print(f"a bare comparison function, called                 {bare / 1e6:8.2f} M/s")
    print(
        f"evaluations with quality and state, one core       {evaluations / 1e6:8.2f} M/s   {bare / evaluations:.1f} x"
    )
    rules, devices = _rules(), _devices()
    points = {point.id: point for device in devices for point in device.points}
    starts, dispatch = [], []
    for _ in range(rounds):
        start_s, engine = _start(rules, devices, points)
        starts.append(start_s)
        dispatch.append(_dispatch(engine))
        del engine
        gc.collect()
    print(f"samples through dispatch, {BATCH} a message              {statistics.median(dispatch) / 1e3:8.0f} k/s")
    print(f"start: rules read and bound, engine made           {statistics.median(starts):8.2f} s")
    print(f"memory of one alarm with its share of the inputs   {_bytes_each(rules, devices, points):8.0f} bytes")
    storms = [_storm() for _ in range(rounds)]
    print(f"{STORM:,} alarms raised, journaled and grouped       {statistics.median(storms) * 1e3:8.0f} ms")
    speed = statistics.median(_replay() for _ in range(rounds))
    print(f"replay of {REPLAYED:,} points read once a minute       {speed:8.0f} x real time")
    for title, storm in (("idle", False), (f"in a storm of {STORM:,} alarms", True)):
        delays = sorted([delay for _ in range(rounds) for delay in await _gas_to_command(storm=storm)])
        middle, late = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
        print(f"gas reading -> valve order, {title:<23} p50 {middle * 1e3:6.1f} ms   p99 {late * 1e3:6.1f} ms")


# ---------------------------------------------------------------------- evaluation and dispatch


def _bare() -> float:
    def condition(value: float) -> bool:
        return value > 242.0

    begun = time.perf_counter()
    for number in range(1_000_000):
        condition(number % 300)
    return 1_000_000 / (time.perf_counter() - begun)


def _evaluations() -> float:
    """Each reading changes the value that a thousand rules compare with a thousand limits."""
    entries = [{"id": f"r{n}", "when": f"m0.voltage > {300 + n} V", "for": "3s"} for n in range(ONE_POINT)]
    devices = [_device(0)]
    engine = _engine(entries, devices)
    times = 300
    begun = time.perf_counter()
    for number in range(times):
        engine.observe([_reading("m0.voltage", 220.0 + number % 7, number)], _now(number))
    return times * ONE_POINT / (time.perf_counter() - begun)


def _start(
    rules: Sequence[Mapping[str, Any]], devices: Sequence[Device], points: Mapping[str, Point]
) -> tuple[float, Engine]:
    begun = time.perf_counter()
    engine = _engine(rules, devices, points)
    return time.perf_counter() - begun, engine


def _dispatch(engine: Engine) -> float:
    messages = [
        [_reading(f"m{device}.voltage", 200.0 + (device + turn) % 40, turn) for device in range(first, first + BATCH)]
        for turn in range(4)
        for first in range(0, DEVICES, BATCH)
    ]
    first = len(messages) // 4  # of every point its first reading makes its rules known
    for message in messages[:first]:
        engine.observe(message, _now(0))
    begun = time.perf_counter()
    for number, message in enumerate(messages[first:]):
        engine.observe(message, _now(number / first))
    return sum(map(len, messages[first:])) / (time.perf_counter() - begun)


def _bytes_each(rules: Sequence[Mapping[str, Any]], devices: Sequence[Device], points: Mapping[str, Point]) -> float:
    found, _ = read_rules({"format": "rules/1", "rules": rules}, devices)
    gc.collect()
    tracemalloc.start()
    engine = Engine(found, points, devices, new_id=uuid7, started=_now(0))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert engine.next_timer_s is not None
    return size / len(found.watches)


# ---------------------------------------------------------------------- a storm


def _storm() -> float:
    """A power cut: every meter of 40 buildings within one second; every record made, every notice grouped."""
    site = {"group_by": "building", "group_wait": "5s", "flood": {"start": 10, "end": 5, "within": "10 min"}}
    rules = [{"id": "power_out", "for_each": {"type": "power_meter"}, "when": "voltage < 100 V", "priority": "medium"}]
    devices = [_device(number) for number in range(STORM)]
    engine = _engine(rules, devices, site=site)
    for number in range(STORM):
        engine.observe([_reading(f"m{number}.voltage", 220.0, 0)], _now(number / STORM))
    begun = time.perf_counter()
    notices = raised = 0
    for number in range(STORM):
        changes = engine.observe([_reading(f"m{number}.voltage", 0.0, 10)], _now(10 + number / STORM))
        raised += len(changes.alarms)
    notices += len(engine.tick(_now(20)).notices)
    took_s = time.perf_counter() - begun
    if (raised, notices) != (STORM, BUILDINGS):
        raise RuntimeError(f"{raised} alarms, {notices} notices")
    return took_s


def _replay() -> float:
    """Six hours of readings through the five rules, as ``gateway rules replay`` sends them."""
    devices = [_device(number) for number in range(REPLAYED)]
    points = {point.id: point for device in devices for point in device.points}
    rules, _ = read_rules({"format": "rules/1", "rules": _rules()}, devices)
    replay = Replay(rules, points, devices, BASE_MS)
    minutes = 6 * 60
    begun = time.perf_counter()
    for minute in range(minutes):
        for number in range(REPLAYED):
            now_ms = BASE_MS + minute * 60_000 + number * 60_000 // REPLAYED
            value = 220.0 + (minute * 7 + number) % 30
            replay.hear([Reading(f"m{number}.voltage", value, now_ms, now_ms)], now_ms)
    replay.finish(BASE_MS + minutes * 60_000)
    return minutes * 60 / (time.perf_counter() - begun)


# ---------------------------------------------------------------------- from gas to the valve


async def _gas_to_command(*, storm: bool) -> list[float]:
    """From a reading handed to the pipeline until the order for the valve leaves it, the store's commit included."""
    rules: list[Mapping[str, Any]] = [
        {"id": f"gas{n}", "when": f"g{n}.lel >= 10 %LEL", "priority": "critical", "on_alarm": [{"send": f"v{n}.close"}]}
        for n in range(SHOTS)
    ]
    rules.append({"id": "power_out", "for_each": {"type": "power_meter"}, "when": "voltage < 100 V"})
    detectors = [
        Device(f"g{n}", "gas", Text("", ""), Place(), "test", (_point(f"g{n}.lel", "%[LEL]"),)) for n in range(SHOTS)
    ]
    meters = [_device(number) for number in range(STORM)]
    devices = [*detectors, *meters]
    points = {point.id: point for device in devices for point in device.points}
    clock = SystemClock()
    sent: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    def order(orders: Sequence[Order]) -> None:
        sent.update({order.name: loop.time() for order in orders})

    delays: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), budget_bytes=256 * 2**20, boot_id="bench", uplinks=["up"], clock=clock)
        async with store:
            started = Instant(clock.monotonic_s(), clock.now_ms())
            engine = _engine(rules, devices, points, started=started)
            pipeline = Pipeline(store, engine, points, clock, order=order)
            committing = asyncio.create_task(pipeline.run())
            storming = asyncio.create_task(_blow(pipeline, clock, meters)) if storm else None
            for number in range(SHOTS):
                begun = loop.time()
                await pipeline.submit([_reading(f"g{number}.lel", 50.0, 0, clock.now_ms())])
                while f"gas{number}" not in sent:
                    await asyncio.sleep(0.0005)
                delays.append(sent[f"gas{number}"] - begun)
                await asyncio.sleep(0.005)
            for task in (storming, committing):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task
    return delays


async def _blow(pipeline: Pipeline, clock: SystemClock, meters: Sequence[Device]) -> None:
    """The lights go out and on, over and over."""
    volts = 0.0
    while True:
        for first in range(0, len(meters), 20):
            now_ms = clock.now_ms()
            await pipeline.submit(
                [_reading(meter.points[0].id, volts, 0, now_ms) for meter in meters[first : first + 20]]
            )
            await asyncio.sleep(0.002)
        volts = 220.0 - volts


# ---------------------------------------------------------------------- made up


def _rules() -> list[Mapping[str, Any]]:
    return [
        {
            "id": f"r{n}",
            "for_each": {"type": "power_meter"},
            "when": f"voltage > {limit} V",
            "for": "10s",
            "deadband": "2 V",
        }
        for n, limit in enumerate(LIMITS)
    ]


def _devices() -> list[Device]:
    return [_device(number) for number in range(DEVICES)]


def _device(number: int) -> Device:
    place = Place(building=f"B{number % BUILDINGS}")
    return Device(f"m{number}", "power_meter", Text("", ""), place, "test", (_point(f"m{number}.voltage", "V"),))


def _point(id_: str, unit: str) -> Point:
    return Point(id_, ValueKind.NUMBER, Text(id_, id_), 60.0, unit)


def _engine(
    rules: Sequence[Mapping[str, Any]],
    devices: Sequence[Device],
    points: Mapping[str, Point] = MappingProxyType({}),
    *,
    site: Mapping[str, Any] = MappingProxyType({}),
    started: Instant | None = None,
) -> Engine:
    found, faults = read_rules({"format": "rules/1", "site": dict(site), "rules": list(rules)}, devices)
    if faults:
        raise RuntimeError(faults[0].en)
    points = points or {point.id: point for device in devices for point in device.points}
    return Engine(found, points, devices, new_id=uuid7, started=started or _now(0))


BASE_MS = 1_767_225_600_000


def _now(t: float) -> Instant:
    return Instant(1000.0 + t, BASE_MS + round(t * 1000))


def _reading(point: str, value: float, t: float, at_ms: int | None = None) -> Reading:
    now_ms = BASE_MS + round(t * 1000) if at_ms is None else at_ms
    return Reading(point, value, now_ms, now_ms)
