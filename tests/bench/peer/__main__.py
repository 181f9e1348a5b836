"""make bench-peer: the same work through our gateway and through ThingsBoard IoT Gateway, interleaved in one run.

make bench-peer                                       everything; three quarters of an hour
make bench-peer ARGS="--quick"                        a look; 4 minutes
make bench-peer ARGS="steady kill --rounds 3 --json build/peer.json"
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError
from tests.bench.peer import report, scenarios
from tests.bench.peer.install import ROOT, installed, peer_version
from tests.bench.peer.products import KEEPALIVE_S, Ours, Product, ThingsBoard
from tests.bench.peer.scenarios import Result

FIRST_RATE = 4000.0
QUICK = ("steady", "outage", "kill", "silence")
FULL = (*QUICK, "highest")
Scenario = Callable[[Product], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Plan:
    """*side_by_side*: faults are waited for, not computed, so that the products can suffer them at the same time."""

    name: str
    scenario: Scenario
    products: Sequence[Product]
    rounds: int
    side_by_side: bool = False


def plans(quick: bool, rounds: int, program: Path) -> Sequence[Plan]:
    ours: Product = Ours()
    sqlite: Product = ThingsBoard(program, "sqlite")
    memory: Product = ThingsBoard(program, "memory")
    shipped: Product = ThingsBoard(program, "sqlite", KEEPALIVE_S)
    file: Product = ThingsBoard(program, "file")
    times = scenarios.QUICK if quick else scenarios.FULL
    faults = min(rounds, 3)

    def plan(name: str, scenario: Any, products: Sequence[Product], count: int, **options: Any) -> Plan:
        at_once = scenario in (scenarios.outage, scenarios.kill, scenarios.silence)
        return Plan(name, partial(_run, scenario, times, options), products, count, at_once)

    everywhere = [ours, sqlite] if quick else [ours, sqlite, memory, file]
    return [
        plan("steady, block", scenarios.steady, [ours, sqlite, memory], rounds, reading="block"),
        plan("steady, tags", scenarios.steady, [ours, sqlite], rounds, reading="tags"),
        plan("outage", scenarios.outage, everywhere, faults, reading="block"),
        plan("kill", scenarios.kill, everywhere, faults, reading="block"),
        plan(
            "silence",
            scenarios.silence,
            [ours, sqlite] if quick else [ours, sqlite, shipped, file],
            faults,
            reading="block",
        ),
        plan("highest, block", scenarios.highest, [ours, sqlite], 1, reading="block", start=FIRST_RATE),
        plan("highest, tags", scenarios.highest, [ours, sqlite], 1, reading="tags", start=FIRST_RATE),
    ]


async def _run(scenario: Any, times: Any, options: dict[str, Any], product: Product) -> Result:
    result: Result = await scenario(product, times, **options)
    return result


async def measure(plan: Plan) -> report.Results:
    results: dict[str, list[Result]] = {product.name: [] for product in plan.products}
    for number in range(plan.rounds):
        if plan.side_by_side:
            outcomes = await asyncio.gather(*(_outcome(plan, product) for product in plan.products))
        else:
            outcomes = [await _outcome(plan, product) for product in plan.products]
        for product, outcome in zip(plan.products, outcomes, strict=True):
            results[product.name].append(outcome)
            print(f"   {plan.name} {number + 1}/{plan.rounds}  {report.line(product.name, outcome)}", flush=True)
    return results


async def _outcome(plan: Plan, product: Product) -> Result:
    """A product that does not do what is asked costs its round, not the run."""
    try:
        return await plan.scenario(product)
    except GatewayError as exc:
        print(f"   {plan.name}: {exc.advice()}", flush=True)
        return {"failed": 1}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-peer")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(FULL)}; default: all")
    parser.add_argument("--quick", action="store_true", help="shorter, one round; the highest rate only when named")
    parser.add_argument("--rounds", type=int, help="default 5, quick 1; faults at most 3, the highest rate once")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "peer" / "results.json")
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(FULL)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(FULL)}")
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    try:
        program = installed()
        chosen = [
            plan
            for plan in plans(arguments.quick, rounds, program)
            if plan.name.split(",")[0] in (arguments.scenarios or (QUICK if arguments.quick else FULL))
        ]
        asyncio.run(_all(chosen, arguments.json))
    except GatewayError as exc:
        sys.exit(exc.advice())
    except KeyboardInterrupt:
        sys.exit(130)


async def _all(chosen: Sequence[Plan], path: Path) -> None:
    load = os.getloadavg()[0]
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {load:.2f}, {peer_version()}"
    print(machine, flush=True)
    results = {plan.name: await measure(plan) for plan in chosen}
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"taken": taken, "machine": machine, "results": results}, indent=1), "utf-8")
    print(f"\n{report.tables(results)}\n\n{machine}; every single result: {path}")


if __name__ == "__main__":
    main()
