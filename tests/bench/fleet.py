"""Many gateways on one mosquitto: connecting, delivering with receipts, coming back after a restart of the broker.

Gateways, counting platform and broker share the machine; the first two share one process and one core.
"""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from gateway.clock import SystemClock
from gateway.sim.fleet.count import Tally, balance, options
from gateway.sim.fleet.fleet import Fleet, Plan
from gateway.sim.platform.ingester import Ingester
from support.broker import Broker, broker

GATEWAYS, ENVELOPES, READINGS = 500, 40, 20
DOWN_S = 10.0


async def run(rounds: int) -> None:
    """*rounds* is not used: one round is some 40,000 messages."""
    print(f"\n== Fleet: {GATEWAYS} gateways in one process, envelopes of {READINGS} readings, receipts ==")
    with tempfile.TemporaryDirectory() as folder:
        async with broker(Path(folder), "max_queued_messages 0", "max_inflight_messages 0") as server:
            await _rounds(server)


async def _rounds(server: Broker) -> None:
    plan = Plan(
        (("127.0.0.1", server.port),),
        GATEWAYS,
        sites=10,
        rate=1000.0,
        readings=READINGS,
        envelopes=ENVELOPES,
        spread_s=0.0,
    )
    before_bytes = _rss_bytes()
    fleet, tally = Fleet(plan, SystemClock()), Tally()
    ingester = Ingester(options(plan, "bench"), tally, jitter=random.random)
    async with asyncio.TaskGroup() as group:
        platform = group.create_task(ingester.run())
        await ingester.ready.wait()
        begin_s, cpu_s = time.perf_counter(), time.process_time()
        gateways = group.create_task(fleet.run())
        await _until(lambda: fleet.totals.connected == GATEWAYS)
        _show("all connected (already sending), after", f"{time.perf_counter() - begin_s:.1f} s")
        await _until(lambda: fleet.complete and fleet.totals.waiting == 0)
        seconds, spent_s = time.perf_counter() - begin_s, time.process_time() - cpu_s
        made = fleet.totals.made
        _show("made, delivered, counted, confirmed", f"{made / seconds:,.0f} envelopes/s")
        _show("CPU of it, gateway and counting platform", f"{1e6 * spent_s / made:,.0f} us an envelope")
        _show("memory of a gateway", f"{(_rss_bytes() - before_bytes) / GATEWAYS / 1024:,.0f} KiB")
        await _restart(server, fleet)
        gateways.cancel()
        platform.cancel()
    found = balance(fleet.given_out, tally.kept)
    _show("lost", f"{found.lost} of {found.made}")


async def _restart(server: Broker, fleet: Fleet) -> None:
    await server.kill()
    await asyncio.sleep(DOWN_S)
    await server.start()
    begin_ms = SystemClock().now_ms()
    await _until(lambda: fleet.totals.connected == GATEWAYS)
    back = Counter((member.uplink.status.since_ms or 0) - begin_ms for member in fleet.members)
    seconds = Counter(max(0, since_ms) // 1000 for since_ms in back.elements())
    _show(f"all back after {DOWN_S:.0f} s without the broker, within", f"{max(back) / 1000:.1f} s")
    _show("of them in the busiest second", f"{max(seconds.values()) / GATEWAYS:.0%}")


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


def _rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _show(what: str, figure: str) -> None:
    print(f"   {what:<52} {figure:>22}")
