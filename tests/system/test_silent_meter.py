"""Silent meters on a line, in virtual time at the line's real speed: the others hardly notice."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from drivers.base import SerialFormat
from gateway.sim.faults import SILENT
from support import virtual_time
from support.chaos import KINDS, Field, field_of

SEED = 20261122
LOAD = 0.85
"""Share of the line's time that reading everybody takes while all are well."""


class Site(NamedTuple):
    kind: str
    serial: SerialFormat
    devices: int
    dead: int
    timeout_s: float


SITES = {
    "one of ten, DL/T 645 at 9600": Site("dlt645", SerialFormat(9600, "E"), 10, 1, 0.5),
    "two of 64, Modbus RTU at 9600": Site("modbus-rtu", SerialFormat(9600), 64, 2, 1.0),
    "a quarter of 32, Modbus RTU at 9600": Site("modbus-rtu", SerialFormat(9600), 32, 8, 1.0),
    "a quarter of 64, DL/T 645 at 2400": Site("dlt645", SerialFormat(2400, "E"), 64, 16, 1.5),
    "a quarter of 20, CJ/T 188 at 2400": Site("cjt188", SerialFormat(2400, "E"), 20, 5, 1.5),
    "a quarter of 20, M-Bus at 2400": Site("mbus", SerialFormat(2400, "E"), 20, 5, 2.0),
}
BUSY = [SITES[name] for name in SITES if name.startswith(("a quarter of 32", "a quarter of 20, C"))]
every_site = pytest.mark.parametrize("site", SITES.values(), ids=SITES.keys())


def period_s(running: Field, name: str, since: float, until: float) -> float:
    times = sorted({at for at in running.verdict.good_at_s[name] if since <= at <= until})
    return (times[-1] - times[0]) / (len(times) - 1)


def periods_s(running: Field, names: Sequence[str], since: float, until: float) -> list[float]:
    return [period_s(running, name, since, until) for name in names]


async def cycle_s(site: Site) -> float:
    """How long the line takes to read everybody once, without a pause."""
    async with _line(site, 0.001) as running:
        await asyncio.sleep(10.0)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(120.0)
        return statistics.mean(periods_s(running, running.names, since, asyncio.get_running_loop().time()))


def _line(site: Site, interval_s: float):  # type: ignore[no-untyped-def]
    return field_of(
        KINDS[site.kind],
        seed=SEED,
        devices=site.devices,
        interval_s=interval_s,
        timeout_s=site.timeout_s,
        serial=site.serial,
        turnaround_s=(0.02, 0.03),
        points=[next(iter(KINDS[site.kind].points))],
    )


@every_site
def test_the_others_period_grows_by_less_than_ten_percent(site: Site) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        interval_s = await cycle_s(site) / LOAD
        async with _line(site, interval_s) as running:
            dead, healthy = running.names[: site.dead], running.names[site.dead :]
            await asyncio.sleep(3 * interval_s)  # the first reads come at once, off the grid
            start = loop.time()
            await asyncio.sleep(20 * interval_s)
            middle = loop.time()
            running.faults.devices = dict.fromkeys(dead, SILENT)
            await asyncio.sleep(max(60 * interval_s, 300.0))
            end = loop.time()
            assert running.line.silent() == set(dead)
            before = periods_s(running, healthy, start, middle)
            after = periods_s(running, healthy, middle, end)
            print(
                f"{site}: {statistics.mean(before):.3f} s -> {statistics.mean(after):.3f} s, worst {max(after):.3f} s"
            )
            assert statistics.mean(before) == pytest.approx(interval_s, rel=0.02), "without a fault the grid is kept"
            assert max(after) / statistics.mean(before) < 1.10
            running.faults.devices = {}
            async with asyncio.timeout(120 * len(dead)):
                while running.line.silent():
                    await asyncio.sleep(1.0)
            assert not running.verdict.wrong

    virtual_time.run(main(), grace_s=0.0)


@pytest.mark.parametrize("site", BUSY, ids=lambda site: site.kind)
def test_on_a_busy_line_questions_to_the_silent_take_a_twentieth(site: Site) -> None:
    """Without any pause, those who answer share what is left."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        all_s = await cycle_s(site)
        async with _line(site, 0.001) as running:
            dead, healthy = running.names[: site.dead], running.names[site.dead :]
            running.faults.devices = dict.fromkeys(dead, SILENT)
            await asyncio.sleep(3 * all_s + 3 * site.dead * site.timeout_s)  # until all have been found out
            since = loop.time()
            await asyncio.sleep(max(30 * all_s, 300.0))
            alone_s = all_s * len(healthy) / site.devices
            after = statistics.mean(periods_s(running, healthy, since, loop.time()))
            print(f"{site}: {alone_s:.3f} s -> {after:.3f} s")
            assert after / alone_s < 1.10

    virtual_time.run(main(), grace_s=0.0)
