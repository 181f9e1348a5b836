"""What is done to a product, and what is seen of it.  Nothing here asks the product itself.

Lost is what a device has answered and the platform never got.  An answer that was on its way to a process at the moment
it was killed counts too: nobody can know whether it had arrived.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError
from tests.bench.peer.products import Product, Reading
from tests.bench.peer.rig import VALUES, Counts, Rig, rig

DEVICES = 100
PERIOD_MS = 1000
SHORTEST_PERIOD_MS = 100
"""Our own limit; a greater load has more devices."""
WARM_UP_S = 4.0
LEAD_S = 4.0
ARRIVAL_S = 2.0
TAIL_S = 5.0
QUIET_S = 10.0
"""Nothing new for so long after the devices have fallen silent: what has not come will not come."""
BACK_LIMIT_S = 180.0
DRAIN_LIMIT_S = 300.0
HELD = 0.85
"""Of the offered values have to arrive for a rate to count as held.  Not all: a product whose timers slip reads a
little less often than it is told, and may be able to do more."""
MAX_GROWTH = 1.1
"""Of the memory, from the first half of a window to the second."""
Result = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds."""

    steady: float
    probe: float
    held: float
    outage: float
    silence: float


FULL = Times(steady=20.0, probe=10.0, held=60.0, outage=60.0, silence=60.0)
QUICK = Times(steady=8.0, probe=5.0, held=10.0, outage=12.0, silence=15.0)


async def steady(product: Product, times: Times, reading: Reading) -> Result:
    """2,000 values a second, nothing goes wrong."""
    async with rig(product, DEVICES, PERIOD_MS, reading) as running:
        first_s = await _begin(running)
        await asyncio.sleep(WARM_UP_S)
        before = await running.arrived()
        used = await running.use(times.steady)
        values = (await running.arrived())["distinct"] - before["distinct"]
        return {
            "values_per_s": values / used.seconds,
            "cpu_ms_per_1000": used.cpu_s * 1e6 / values,
            "rss_mib": used.rss_bytes / 2**20,
            "first_values_s": first_s,
            **await _account(running),
        }


# ---------------------------------------------------------------------- the most


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of one offered rate."""

    values_per_s: float
    cpu_ms_per_1000: float
    rss_mib: float
    steady: bool
    """Neither the backlog nor the memory grew."""
    held: bool


async def highest(product: Product, times: Times, reading: Reading, start: float) -> Result:
    """The highest rate that is held: doubled until it is not, then narrowed to a fifth; confirmed for longer."""
    low, high, rate = 0.0, 0.0, start
    probes: list[Probe] = []
    while not low or not high or high / low > 1.2:
        probes.append(await _probe(product, times.probe, reading, rate))
        if probes[-1].held:
            low = rate
        else:
            high = rate
        rate = low * 2 if not high else (low * high) ** 0.5 if low else high / 2
        if rate < start / 8:
            raise GatewayError(f"{product.name} does not hold {start / 4:,.0f} values/s")
    most = max(probe.values_per_s for probe in probes if probe.steady)
    for _ in range(3):
        confirmed = await _probe(product, times.held, reading, low)
        if confirmed.held:
            return {
                "values_per_s": confirmed.values_per_s,
                "cpu_ms_per_1000": confirmed.cpu_ms_per_1000,
                "rss_mib": confirmed.rss_mib,
                "most_per_s": max(most, confirmed.values_per_s),
            }
        low /= 1.2
    raise GatewayError(f"{product.name} holds {low * 1.2:,.0f} values/s for {times.probe:g} s and no longer")


async def _probe(product: Product, seconds: float, reading: Reading, rate: float) -> Probe:
    period_ms = max(SHORTEST_PERIOD_MS, round(DEVICES * VALUES * 1000 / rate))
    devices = max(DEVICES, round(rate * period_ms / 1000 / VALUES))
    async with rig(product, devices, period_ms, reading) as running:
        try:
            await _begin(running)
        except GatewayError:
            return Probe(0.0, 0.0, 0.0, steady=False, held=False)  # it does not even reach all devices in time
        await asyncio.sleep(WARM_UP_S)
        behind = await _behind(running)
        before = await running.arrived()
        halves = [await running.use(seconds / 2), await running.use(seconds / 2)]
        values = max(1, (await running.arrived())["distinct"] - before["distinct"])
        backlog = await _behind(running) - behind
        per_s = values / sum(half.seconds for half in halves)
        offered = running.work.offered
        growth = halves[1].rss_bytes / halves[0].rss_bytes
        steady = backlog <= offered and growth <= MAX_GROWTH
        held = steady and per_s >= HELD * offered
        print(
            f"      {product.name}, {reading}: {offered:,.0f}/s offered, {per_s:,.0f}/s, "
            f"backlog {backlog:+,.0f}, memory x {growth:.2f}: {'held' if held else 'not held'}",
            flush=True,
        )
        cpu_ms = sum(half.cpu_s for half in halves) * 1e6 / values
        return Probe(per_s, cpu_ms, max(half.rss_bytes for half in halves) / 2**20, steady, held)


async def _behind(running: Rig) -> int:
    """Values read and not yet arrived, as nearly as two questions in a row can say."""
    counts, status = await asyncio.gather(running.counts(), running.arrived())
    return _total(counts) - int(status["distinct"])


# ---------------------------------------------------------------------- faults


async def outage(product: Product, times: Times, reading: Reading) -> Result:
    """The broker is stopped, and started again."""
    async with rig(product, DEVICES, PERIOD_MS, reading) as running:
        await _begin(running)
        quiet = await _undisturbed(running)
        start = await running.counts()
        await running.broker.stop()
        await asyncio.sleep(times.outage)
        end = await running.counts()
        await running.mark(start)
        await running.broker.start()
        back_s = await _back(running, time.monotonic())
        return {
            "read_meanwhile": _total(end) - _total(start),
            "first_value_s": back_s,
            **await _account(running, quiet),
        }


async def kill(product: Product, times: Times, reading: Reading) -> Result:
    """kill -9 while the broker is away; started again, still away; killed and started once more; then it is back."""
    async with rig(product, DEVICES, PERIOD_MS, reading) as running:
        await _begin(running)
        quiet = await _undisturbed(running)
        start = await running.counts()
        await running.broker.stop()
        await asyncio.sleep(times.outage + random.uniform(0, PERIOD_MS / 1000))  # anywhere between two reads
        await running.kill()
        first = await running.counts()
        await running.start()
        await asyncio.sleep(times.outage + random.uniform(0, PERIOD_MS / 1000))
        await running.kill()
        second = await running.counts()
        await running.start()
        await running.mark(start)
        await running.broker.start()
        back_s = await _back(running, time.monotonic())
        account = await _account(running, quiet)
        return {
            "read_before_first": _total(first) - _total(start),
            "lost_first": await running.missing(start, first),
            "read_before_second": _total(second) - _total(first),
            "lost_second": await running.missing(first, second),
            "first_value_s": back_s,
            **account,
        }


async def silence(product: Product, times: Times, reading: Reading) -> Result:
    """The line to the broker swallows everything, then it is reset and works again."""
    async with rig(product, DEVICES, PERIOD_MS, reading, over_the_line=True) as running:
        await _begin(running)
        quiet = await _undisturbed(running)
        start = await running.counts()
        running.line.silent = True
        await asyncio.sleep(times.silence)
        end = await running.counts()
        await running.mark(start)
        running.line.silent = False
        running.line.cut()
        back_s = await _back(running, time.monotonic())
        return {
            "read_meanwhile": _total(end) - _total(start),
            "first_value_s": back_s,
            **await _account(running, quiet),
        }


# ---------------------------------------------------------------------- common


async def _begin(running: Rig) -> float:
    """Start the product; returns after how long every device had a value on the platform."""
    begun = time.monotonic()
    await running.start()
    await running.until_all_devices()
    return time.monotonic() - begun


async def _back(running: Rig, since: float) -> float:
    """How long the first value took after the way was free again; goes on for a while then."""
    status = await running.until(lambda status: status["first_s"] is not None, "a value again", BACK_LIMIT_S)
    await asyncio.sleep(TAIL_S)
    return max(0.0, float(status["first_s"]) - since)


async def _undisturbed(running: Rig) -> Counts:
    """Some seconds before the fault; returns what had been read early enough to have arrived before it."""
    await asyncio.sleep(LEAD_S)
    quiet = await running.counts()
    await asyncio.sleep(ARRIVAL_S)
    return quiet


async def _account(running: Rig, quiet: Counts | None = None) -> Result:
    """Let the devices fall silent and what is on its way arrive; then say what never came.

    *quiet*: what had been read well before the fault.  If any of that is lost, the bench or the product's configuration
    is wrong.
    """
    end = await running.freeze()
    status = await running.until_quiet(QUIET_S, DRAIN_LIMIT_S)
    result = {"lost": await running.missing(_nothing(end), end), "repeated": int(status["repeated"])}
    if quiet is not None:
        result["lost_before"] = await running.missing(_nothing(quiet), quiet)
    return result


def _nothing(counts: Counts) -> Counts:
    return {port: [0] * len(registers) for port, registers in counts.items()}


def _total(counts: Mapping[str, Sequence[int]]) -> int:
    return sum(map(sum, counts.values()))
