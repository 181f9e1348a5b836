"""Modbus TCP polling through the whole chain (driver, rules, store, MQTT) against a bare pymodbus loop."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.daemon import Sample, canned_devices, daemon, watch

DEVICES = 100
REGISTERS = 100
SECONDS = 6.0


async def run(rounds: int) -> None:
    print(f"\n== Modbus TCP, {DEVICES} devices x {REGISTERS} registers, one request each, 10 times a second offered ==")
    ours: list[Sample] = []
    bare: list[Sample] = []
    async with canned_devices(DEVICES) as ports:
        for _ in range(rounds):
            bare.append(_bare(ports))
            with tempfile.TemporaryDirectory() as directory:
                async with daemon(Path(directory), ports, REGISTERS, "100ms") as child:
                    await watch(child, Path(directory) / "store", 2.0)  # warm-up
                    ours.append(await watch(child, Path(directory) / "store", SECONDS))
    _row("bare pymodbus loop (values thrown away)", bare)
    _row("whole chain (stored with fsync, sent by MQTT)", ours)
    ratio = statistics.median(o.values / o.seconds / (b.values / b.seconds) for o, b in zip(ours, bare, strict=True))
    cost = statistics.median(_ms_per_1000(o) / _ms_per_1000(b) for o, b in zip(ours, bare, strict=True))
    print(f"   throughput, chain / bare: {ratio:.2f}   CPU per value, chain / bare: {cost:.2f}")


def _bare(ports: object) -> Sample:
    arguments = [str(port) for port in ports]  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "tests.bench.bare_pymodbus", str(SECONDS), str(REGISTERS), *arguments]
    transactions, cpu_s = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Sample(SECONDS, int(transactions) * REGISTERS, float(cpu_s), 0)


def _ms_per_1000(sample: Sample) -> float:
    return sample.cpu_s * 1e6 / sample.values


def _row(name: str, samples: list[Sample]) -> None:
    rate = statistics.median(s.values / s.seconds for s in samples)
    cost = statistics.median(map(_ms_per_1000, samples))
    print(f"   {name:<48} {rate:>9,.0f} values/s   {cost:6.2f} ms CPU / 1000 values")
