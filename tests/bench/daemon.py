"""A real daemon with a broker and canned Modbus devices, for measuring from outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gateway import local_api
from gateway.sim.broker import Broker, MqttVersion, best_kind
from gateway.sim.process import Child

PROFILE = """\
format: profile/1
id: bench_block
protocols: [modbus-tcp]
kind: power_meter
name: {{zh: 基准, en: Bench}}
source: none
confidence: high
device: {{max_registers: {max_registers}}}
points:
{points}
"""
POINT = "  v{n}: {{name: {{zh: 值, en: value}}, table: input, address: {n}, type: u16, unit: V, lane: telemetry}}"
RULE = """\
format: rules/1
rules:
- {id: too_high, for_each: {type: power_meter}, when: v0 > 40000 V, for: 3s, deadband: 100 V, priority: low,
   message: {zh: 过高, en: too high}}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a daemon used between two looks."""

    seconds: float
    values: int
    cpu_s: float
    rss_bytes: int


@asynccontextmanager
async def canned_devices(count: int) -> AsyncIterator[Sequence[int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.canned_server", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield [int(port) for port in process.stdout.readline().split()]
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


@asynccontextmanager
async def daemon(directory: Path, ports: Sequence[int], values: int, every: str) -> AsyncIterator[Child]:
    """The gateway with one device of *values* registers per port, one rule per device and a broker."""
    async with Broker(best_kind(), directory / "broker") as broker:
        write_configuration(directory, ports, values, every, broker.port, mqtt=broker.kind.mqtt)
        argv = [sys.executable, "-m", "gateway.cli.main", "run", "--config", str(directory)]
        async with Child(argv, directory / "gateway.log") as child:
            await answering(directory / "store", child)
            yield child


def write_configuration(
    directory: Path,
    ports: Sequence[int],
    values: int,
    every: str,
    broker_port: int,
    *,
    mqtt: MqttVersion = "5",
    max_registers: int = 125,
    budget: str = "256 MiB",
) -> None:
    """*max_registers*: of one request; 1 makes it one request per value."""
    (directory / "devices").mkdir(parents=True)
    (directory / "rules").mkdir()
    points = "\n".join(POINT.format(n=n) for n in range(values))
    (directory / "devices" / "bench_block.yaml").write_text(
        PROFILE.format(points=points, max_registers=max_registers), encoding="utf-8"
    )
    (directory / "rules" / "bench.yaml").write_text(RULE, encoding="utf-8")
    lines = "\n".join(f"- {{id: l{port}, tcp: '127.0.0.1:{port}'}}" for port in ports)
    devices = "\n".join(
        f"- {{id: d{port}, profile: bench_block, line: l{port}, unit_id: 1, every: {every}}}" for port in ports
    )
    protocol = "" if mqtt == "5" else ", protocol: mqtt311"
    (directory / "site.yaml").write_text(
        "format: site/1\n"
        "site: {id: bench, name: {zh: 基准, en: bench}}\n"
        "gateway: {id: gw1, clock_wait: 0 s}\n"
        f"store: {{path: store, budget: {budget}}}\n"
        f"uplinks: [{{id: up, host: 127.0.0.1, port: {broker_port}, window: 100{protocol}}}]\n"
        f"lines:\n{lines}\n"
        f"devices:\n{devices}\n",
        encoding="utf-8",
    )


async def answering(store: Path, child: Child) -> dict[str, Any]:
    for _ in range(200):
        try:
            status: dict[str, Any] = await local_api.ask(store, {"op": "status"})
        except local_api.NotRunning:
            if not child.running:
                raise RuntimeError(f"the daemon ended: {child.last_words()}") from None
            await asyncio.sleep(0.1)
        else:
            return status
    raise RuntimeError("the daemon does not answer")


async def watch(child: Child, store: Path, seconds: float) -> Sample:
    """What the daemon does in *seconds*, seen from outside."""
    loop = asyncio.get_running_loop()
    process = psutil.Process(child.pid)
    before, used, begun = await local_api.ask(store, {"op": "status"}), _cpu_s(process), loop.time()
    await asyncio.sleep(seconds)
    after, used_after, ended = await local_api.ask(store, {"op": "status"}), _cpu_s(process), loop.time()
    return Sample(ended - begun, after["accepted"] - before["accepted"], used_after - used, process.memory_info().rss)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
