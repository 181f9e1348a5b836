"""Ten thousand events, a gateway that dies at any moment, and pushes that get lost: every event once, in order.

What is on disk is what the core has committed: the reports in order, each with its device's memory.  A gateway that
dies loses everything else: what it was given and had not committed, what waited in the hub, what was on the wire.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from drivers.base import Happening, Report
from drivers.uhppote.hub import UhppoteHub
from drivers.uhppote.simulator import UhppoteSimulator
from drivers_uhppote.hub_rig import OTHER, SERIAL, device, devices, hub, local_now

FIRST_CARD = 1000


@dataclass
class Disk:
    happenings: list[Happening] = field(default_factory=list)
    memory: dict[str, bytes] = field(default_factory=dict)

    def commit(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self.happenings += report.happenings
            if report.memory is not None:
                self.memory[report.device] = report.memory

    def cards(self, first: int, last: int) -> list[int]:
        found = [int(each.personal["card"]) for each in self.happenings if "card" in each.personal]
        return [card for card in found if first <= card < last]


async def _serve(made: UhppoteHub, disk: Disk, chance: random.Random, until: int) -> None:
    """As the core does, until *until* happenings are on disk or the gateway dies: before a commit, or behind it."""
    async with made as opened:
        while len(disk.happenings) < until:
            reports = await opened.receive()
            if chance.random() < 0.005:
                return  # given out, and never committed
            kept = reports if chance.random() < 0.95 else reports[: chance.randrange(len(reports) + 1)]
            disk.commit(kept)
            if len(kept) < len(reports) or chance.random() < 0.005:
                return  # on disk, and the hub was never told
            await opened.stored(reports)


async def _swipe(network: UhppoteSimulator, serial: int, first: int, count: int, lose: Callable[[], bool]) -> None:
    """The last push arrives, or the last events would come a minute later."""
    controller = network.controllers[serial]
    for number in range(count):
        network.lose_push = lose if number < count - 1 else lambda: False
        controller.swipe(1 + number % 2, first + number)
        if number % 20 == 19:
            await asyncio.sleep(0)


@pytest.mark.parametrize("lost", [0.0, 0.1], ids=["every-push", "one-push-in-ten-lost"])
def test_no_event_is_lost_or_doubled_over_crashes(lost: float) -> None:
    total, chance = 5000, random.Random(11)

    def lose() -> bool:
        return chance.random() < lost

    async def main() -> int:
        async with UhppoteSimulator([SERIAL, OTHER], local_now()) as network:
            disk, starts = Disk(), 0
            specs = [*devices(), device("e1", OTHER, 1), device("e2", OTHER, 2)]
            async with hub(network, specs) as met:  # both controllers are known before the first event
                while len(disk.memory) < 2:
                    disk.commit(await met.receive())
            async with asyncio.TaskGroup() as group:
                group.create_task(_swipe(network, SERIAL, FIRST_CARD, total, lose))
                group.create_task(_swipe(network, OTHER, 10 * total, total, lose))
                while len(disk.happenings) < 2 * total:
                    starts += 1
                    await _serve(hub(network, specs, disk.memory), disk, chance, 2 * total)
            assert disk.cards(FIRST_CARD, FIRST_CARD + total) == [FIRST_CARD + number for number in range(total)]
            assert disk.cards(10 * total, 11 * total) == [10 * total + number for number in range(total)]
            assert len(disk.happenings) == 2 * total
            return starts

    assert asyncio.run(main()) > 5
