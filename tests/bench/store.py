"""From a reading that has been read to the broker: store and uplink, what waits in the store, and its draining."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from gateway.sim.broker import free_port
from gateway.sim.process import Child
from gateway.uplink.contract import packet_size
from tests.bench.broker import QuietBroker
from tests.bench.daemon import answering, canned_devices, watch, write_configuration
from tests.bench.uplink_path import DEVICES, VALUES

READINGS = 400_000
PER_COMMIT = 2000
BACKLOG, BACKLOG_READINGS = 100_000, 20
WAITING = 1_000_000
WATCH_S = 8.0
Numbers = Mapping[str, float]


async def _child(module: str, *arguments: object) -> Numbers:
    """What a program of ours prints when it has ended well."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)), stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    numbers: Numbers = json.loads(output)
    return numbers


# ---------------------------------------------------------------------- store and uplink


async def run(rounds: int) -> None:
    print(f"\n== store + uplink, {READINGS:,} readings, groups of {PER_COMMIT:,}, SQLite FULL, MQTT QoS 1 ==")
    bare: list[Numbers] = []
    ours: list[Numbers] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with QuietBroker(folder / "broker") as broker:
            for number in range(rounds):
                place = folder / f"bare{number}"
                bare.append(await _child("tests.bench.bare_store", READINGS, PER_COMMIT, place, broker.port))
                place = folder / f"ours{number}"
                ours.append(await _child("tests.bench.uplink_path", "feed", READINGS, place, broker.port))
            async with _listener(broker.port) as messages:  # once more, only to see what goes over the wire
                await _child("tests.bench.uplink_path", "feed", READINGS, folder / "seen", broker.port)
    _row("bare sqlite3 blob per group + paho loop", bare)
    _row("pipeline + store + uplink", ours)
    ratio = statistics.median(_us(mine) / _us(theirs) for mine, theirs in zip(ours, bare, strict=True))
    print(f"   CPU per reading, ours / bare: {ratio:.2f}")
    _wire(messages, int(ours[0]["readings"]))


def _us(numbers: Numbers) -> float:
    return numbers["cpu_s"] * 1e6 / numbers["readings"]


def _row(name: str, all_numbers: Sequence[Numbers]) -> None:
    def middle(of: Callable[[Numbers], float]) -> float:
        return statistics.median(map(of, all_numbers))

    print(
        f"   {name:<42} {middle(lambda n: n['readings'] / n['cpu_s']):>9,.0f} readings/s and core"
        f"   {middle(_us):6.2f} us CPU each   {middle(lambda n: n['readings'] / n['seconds']):>9,.0f}/s on the clock"
        f"   {middle(lambda n: n['disk_bytes'] / n['readings']):6.1f} bytes on disk each"
    )


def _wire(messages: Sequence[tuple[float, str, bytes]], readings: int) -> None:
    data = [(topic, body) for _, topic, body in messages if topic.endswith("/telemetry")]
    plain = sum(packet_size(topic, body) for topic, body in data)
    begun = time.process_time()
    packed = sum(packet_size(topic, zlib.compress(body, 1)) for topic, body in data)
    cost_us = (time.process_time() - begun) * 1e6 / readings
    print(
        f"   on the wire: {plain / readings:.1f} bytes a reading in {len(data)} messages"
        f"   (zlib level 1 would make {packed / readings:.1f} of it for {cost_us:.2f} us)"
    )


@asynccontextmanager
async def _listener(port: int) -> AsyncIterator[list[tuple[float, str, bytes]]]:
    """Everything the broker passes on: (time.monotonic(), topic, payload)."""
    messages: list[tuple[float, str, bytes]] = []
    granted = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda client, *_: client.subscribe("compound/#")
    client.on_subscribe = lambda *_: granted.set()
    client.on_message = lambda _client, _data, message: messages.append(
        (time.monotonic(), message.topic, bytes(message.payload))
    )
    await asyncio.to_thread(client.connect, "127.0.0.1", port)
    client.loop_start()
    try:
        assert await asyncio.to_thread(granted.wait, 10)
        yield messages
        await _until_quiet(messages)
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def _until_quiet(messages: Sequence[Any]) -> None:
    count = -1
    while len(messages) != count:
        count = len(messages)
        await asyncio.sleep(0.5)


# ---------------------------------------------------------------------- draining


async def drain(rounds: int) -> None:
    print(f"\n== draining {BACKLOG:,} envelopes of {BACKLOG_READINGS} readings; an alarm and a reading every 0.1 s ==")
    drained: list[Numbers] = []
    late: dict[str, list[float]] = {"alarm": [], "telemetry": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            await _child("tests.bench.uplink_path", "fill", BACKLOG, BACKLOG_READINGS, folder / "store")
            async with QuietBroker(folder / "broker") as broker, _listener(broker.port) as messages:
                drained.append(await _child("tests.bench.uplink_path", "drain", folder / "store", broker.port))
        for lane, delays in late.items():
            delays += _delays_s(messages, lane)
    rate = statistics.median(numbers["envelopes"] / numbers["seconds"] for numbers in drained)
    cost = statistics.median(numbers["cpu_s"] * 1e6 / numbers["envelopes"] for numbers in drained)
    print(f"   {rate:,.0f} envelopes/s, {rate * BACKLOG_READINGS:,.0f} readings/s   {cost:.0f} us CPU an envelope")
    for lane, delays in late.items():
        if len(delays) > 1:
            p50, p99 = statistics.median(delays) * 1000, statistics.quantiles(delays, n=100)[-1] * 1000
            print(
                f"   new {lane:<9} meanwhile: p50 {p50:,.0f} ms, p99 {p99:,.0f} ms to a subscriber, {len(delays)} seen"
            )


def _delays_s(messages: Sequence[tuple[float, str, bytes]], lane: str) -> Sequence[float]:
    new = [(at, body) for at, topic, body in messages if topic.endswith(f"/{lane}") and b'"made_s"' in body]
    return [at - json.loads(body)["items"][0]["made_s"] for at, body in new]


# ---------------------------------------------------------------------- waiting


async def waiting(rounds: int) -> None:
    print(f"\n== memory of the daemon at 2,000 readings/s while {WAITING:,} envelopes wait and no broker answers ==")
    sizes: dict[int, list[float]] = {0: [], WAITING: []}
    with tempfile.TemporaryDirectory() as name:
        full = Path(name) / "full"
        filled = await _child("tests.bench.uplink_path", "fill", WAITING, 1, full)
        size = filled["disk_bytes"]
        print(f"   the store takes {size / 2**20:,.0f} MiB, {size / WAITING:.0f} bytes an envelope")
        async with canned_devices(DEVICES) as ports:
            for _ in range(rounds):
                for count in sizes:
                    sizes[count].append(await _rss_bytes(ports, full if count else None))
    empty, laden = (statistics.median(found) / 2**20 for found in sizes.values())
    print(f"   empty store {empty:.1f} MiB   {WAITING:,} waiting {laden:.1f} MiB   {laden - empty:+.1f} MiB")


async def _rss_bytes(ports: Sequence[int], store: Path | None) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_configuration(folder, ports, VALUES, "1s", free_port(), budget="4 GiB")
        if store is not None:
            await asyncio.to_thread(_copy, store, folder / "store")
        argv = [sys.executable, "-m", "gateway.cli.main", "run", "--config", str(folder)]
        async with Child(argv, folder / "gateway.log") as child:
            status = await answering(folder / "store", child)
            waits = sum(lane["unacknowledged"]["up"] for lane in status["store"]["lanes"].values())
            assert (waits >= WAITING) is (store is not None), waits
            await watch(child, folder / "store", WATCH_S)
            rss: int = psutil.Process(child.pid).memory_info().rss
            await child.kill()
            return float(rss)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(mode=0o700)
    for file in source.iterdir():
        if file.name != "store.lock":
            (target / file.name).write_bytes(file.read_bytes())
