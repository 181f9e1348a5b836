"""Memory and CPU of the daemon at rest and at 1,000 and 2,000 readings/s."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.bench.daemon import canned_devices, daemon, watch

SECONDS = 8.0
# (what, devices, values each, every)
LOADS = (
    ("at rest: 100 devices x 10 values, once an hour", 100, 10, "1h"),
    ("1,000 readings/s: 100 devices x 10 values, 1 s", 100, 10, "1s"),
    ("2,000 readings/s: 100 devices x 20 values, 1 s", 100, 20, "1s"),
)


async def run(rounds: int) -> None:
    print("\n== footprint of the daemon, one core = 100 % ==")
    for name, devices, values, every in LOADS:
        samples = []
        async with canned_devices(devices) as ports:
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as directory:
                    async with daemon(Path(directory), ports, values, every) as child:
                        await watch(child, Path(directory) / "store", 3.0)  # start-up is not what we ask about
                        samples.append(await watch(child, Path(directory) / "store", SECONDS))
        rate = statistics.median(s.values / s.seconds for s in samples)
        cpu = statistics.median(s.cpu_s / s.seconds for s in samples)
        rss = statistics.median(s.rss_bytes for s in samples) / 2**20
        each = f"{cpu * 1e6 / rate:6.1f} ms CPU / 1000 values" if rate > 1 else ""
        print(f"   {name:<48} {rate:>7,.0f} values/s  {cpu:6.1%} CPU  {rss:5.1f} MiB  {each}")
