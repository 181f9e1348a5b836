"""The billing gate over a real line with everything wrong at once: no wrong number is ever called good."""

from __future__ import annotations

import asyncio
import random

import pytest

from drivers.base import SerialFormat
from gateway.sim.faults import DeviceFault
from support.meter_line import meter_line

SEED = 20261122
FAST = SerialFormat(115200, "E")


@pytest.mark.system
def test_noise_wrong_checksums_and_late_answers_never_make_a_wrong_value_good() -> None:
    chance = random.Random(SEED)

    async def main() -> tuple[int, int]:
        async with meter_line(20, 0.1, FAST, (0.001, 0.004), 0.05) as running:
            for _ in range(40):
                running.faults.devices.clear()
                for address in chance.sample(running.addresses, 5):
                    fault = DeviceFault(
                        noise=chance.choice((0.0, 0.3)),
                        spoil=chance.choice((0.0, 0.2)),
                        delay_s=chance.choice((0.0, 0.0, 0.06, 0.12)),
                        silent=chance.random() < 0.1,
                    )
                    running.faults.devices[address] = fault
                await asyncio.sleep(0.5)
            assert not running.wrong, f"seed {SEED}: {running.wrong[:3]}"
            return running.exchanges(), running.line.stats.failures

    good, failures = asyncio.run(main())
    assert good > 200, "the line must have worked in spite of it all"
    assert failures > 10, "the faults must have been felt"
