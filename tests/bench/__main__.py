"""make bench: performance as ratios to named references, all in one run, medians.

make bench ARGS="chain bus footprint --rounds 5"
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform

import structlog

from tests.bench import bus, chain, fleet, footprint, ingest, rules, store

SECTIONS = {
    "chain": chain.run,
    "bus": bus.run,
    "footprint": footprint.run,
    "ingest": ingest.run,
    "rules": rules.run,
    "store": store.run,
    "drain": store.drain,
    "waiting": store.waiting,
    "fleet": fleet.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, medians of {arguments.rounds} rounds")
    for name in arguments.sections or SECTIONS:
        asyncio.run(SECTIONS[name](arguments.rounds))


if __name__ == "__main__":
    main()
