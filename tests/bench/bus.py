"""The field side alone: what polling costs a core, and how much of a serial line is used.

Transactions are compared by CPU, which other work on the machine disturbs least.  Serial lines are measured on real
pseudo terminals in real time, against what the wire allows; silent devices in virtual time, which is exact.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.base import SerialFormat
from gateway.sim.faults import SILENT
from support import virtual_time
from support.chaos import KINDS, RTU_BLOCK, Field, Kind, field_of
from tests.bench.daemon import canned_devices, daemon, watch

CONNECTIONS, REGISTERS, SECONDS = 20, 10, 2.0
TURNAROUND_S = 0.02
GAP_CHARACTERS = 3.5
OFFERED = 0.9
"""Share of the line's time that the healthy line is given to do, when some of its devices are going to die."""
SEED = 1


@dataclass(frozen=True, slots=True)
class Site:
    """One serial line and what its theoretical minimum is made of."""

    name: str
    kind: Kind
    points: Sequence[str] | None
    serial: SerialFormat
    devices: int
    characters: float
    """Of one exchange: request, answer, and the pause that the protocol wants."""
    timeout_s: float

    @property
    def minimum_s(self) -> float:
        """Of a whole cycle."""
        return self.devices * (self.characters * self.serial.character_s + TURNAROUND_S)

    def line(self, over: str, interval_s: float):  # type: ignore[no-untyped-def]
        return field_of(
            self.kind,
            seed=SEED,
            over=over,
            devices=self.devices,
            interval_s=interval_s,
            timeout_s=self.timeout_s,
            serial=self.serial,
            turnaround_s=(TURNAROUND_S, TURNAROUND_S),
            points=self.points,
        )


SITES = (
    Site(
        "Modbus RTU, 9600 8N1, 32 meters x 20 registers",
        RTU_BLOCK,
        None,
        SerialFormat(9600),
        32,
        8 + 5 + 2 * 20 + GAP_CHARACTERS,
        1.0,
    ),
    Site(
        "DL/T 645, 2400 8E1, 64 meters x 1 identifier",
        KINDS["dlt645"],
        ["total"],
        SerialFormat(2400, "E"),
        64,
        4 + 16 + 4 + 20,  # with four FE each; no pause is asked for
        1.5,
    ),
)


async def run(rounds: int) -> None:
    rounds = max(rounds, 5)
    await transactions(rounds)
    print(f"\n== serial lines, turnaround {TURNAROUND_S * 1000:.0f} ms, medians of {rounds} cycles ==")
    for site in SITES:
        await full_cycle(site, rounds)
    for site in SITES:
        await asyncio.to_thread(dead_quarter, site)
    await many_devices(rounds)


# ---------------------------------------------------------------------- Modbus TCP


async def transactions(rounds: int) -> None:
    print(f"\n== Modbus TCP, {CONNECTIONS} connections, {REGISTERS} registers, as fast as it goes ==")
    programs = ("bare_pymodbus", "plain_asyncio", "polling_path")
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    async with canned_devices(CONNECTIONS) as ports:
        for _ in range(rounds):
            for name in programs:
                measured[name].append(await asyncio.to_thread(_measure, name, ports))
    names = ("bare pymodbus", "plain asyncio client, 40 lines", "Line + driver + link + quality gate")
    for name, program in zip(names, programs, strict=True):
        rate = statistics.median(rate for rate, _ in measured[program])
        cost = statistics.median(cost for _, cost in measured[program])
        print(f"   {name:<48} {rate:>9,.0f} transactions/s   {cost:6.1f} us CPU each")
    ours = [cost for _, cost in measured["polling_path"]]
    ratios = [
        statistics.median(mine / theirs for mine, (_, theirs) in zip(ours, measured[program], strict=True))
        for program in programs[:2]
    ]
    print(f"   CPU per transaction, ours / pymodbus: {ratios[0]:.2f}   ours / plain asyncio: {ratios[1]:.2f}")


def _measure(program: str, ports: Sequence[int]) -> tuple[float, float]:
    """Transactions a second, microseconds of CPU each."""
    arguments = [str(SECONDS), str(REGISTERS), *map(str, ports)]
    command = [sys.executable, "-m", f"tests.bench.{program}", *arguments]
    count, cpu_s = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(count) / SECONDS, float(cpu_s) * 1e6 / int(count)


# ---------------------------------------------------------------------- serial lines


def _reads(field_: Field, name: str) -> list[float]:
    """When a device was read; its points arrive together."""
    times = field_.verdict.good_at_s.get(name, [])
    return [at for before, at in itertools.pairwise([-1.0, *times]) if at - before > 0.03]


async def full_cycle(site: Site, rounds: int) -> None:
    """As fast as the line goes, on a real pseudo terminal."""
    async with site.line("pty", 0.001) as running:
        last = running.names[-1]
        while len(_reads(running, last)) < rounds + 2:  # the first one is the start
            await asyncio.sleep(0.1)
        cycles = [b - a for a, b in itertools.pairwise(_reads(running, last)[1:])]
        assert not running.verdict.wrong
        assert not running.line.stats.failures
    cycle_s = statistics.median(cycles)
    print(
        f"   {site.name:<48} {cycle_s:6.2f} s a cycle, the wire's minimum {site.minimum_s:6.2f} s: "
        f"{site.minimum_s / cycle_s:.1%} used"
    )


def dead_quarter(site: Site) -> None:
    """A quarter of the devices dies: how much longer the others wait from one read to the next."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        interval_s = site.minimum_s / OFFERED
        async with site.line("memory", interval_s) as running:
            dead, healthy = running.names[: site.devices // 4], running.names[site.devices // 4 :]
            await asyncio.sleep(3 * interval_s)
            start = loop.time()
            await asyncio.sleep(20 * interval_s)
            middle = loop.time()
            running.faults.devices = dict.fromkeys(dead, SILENT)
            await asyncio.sleep(60 * interval_s)
            return (
                statistics.mean(_period_s(running, name, start, middle) for name in healthy),
                max(_period_s(running, name, middle, loop.time()) for name in healthy),
            )

    before_s, after_s = virtual_time.run(main(), grace_s=0.0)
    print(
        f"   {site.name:<48} a quarter dead: the others' period {before_s:.2f} s -> {after_s:.2f} s (the slowest), "
        f"{after_s / before_s - 1:+.1%}"
    )


def _period_s(field_: Field, name: str, since: float, until: float) -> float:
    times = [at for at in _reads(field_, name) if since <= at <= until]
    return (times[-1] - times[0]) / (len(times) - 1)


# ---------------------------------------------------------------------- many


async def many_devices(rounds: int) -> None:
    devices, values = 500, 20
    samples = []
    async with canned_devices(devices) as ports:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as directory:
                async with daemon(Path(directory), ports, values, "1s") as child:
                    await watch(child, Path(directory) / "store", 4.0)  # start-up is not what we ask about
                    samples.append(await watch(child, Path(directory) / "store", 6.0))
    rate = statistics.median(sample.values / sample.seconds for sample in samples)
    cpu = statistics.median(sample.cpu_s / sample.seconds for sample in samples)
    rss = statistics.median(sample.rss_bytes for sample in samples) / 2**20
    print(f"\n== the daemon with {devices * values:,} points of {devices} Modbus TCP devices, once a second ==")
    print(
        f"   {rate:,.0f} values/s of {devices * values:,} offered   {cpu:.1%} of a core   {rss:.1f} MiB   "
        f"{cpu * 1e6 / rate:.1f} ms CPU / 1000 values"
    )
