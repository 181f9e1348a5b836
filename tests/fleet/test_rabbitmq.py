"""RabbitMQ with its MQTT plug-in: connect, deliver, receipts; gateways that lose their line come back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.rig import books, delivered, ingesting, plan, running, until
from gateway.sim.fleet.count import Tally, options
from support.balancer import balancer
from support.rabbitmq import rabbitmq


@pytest.mark.long
def test_a_fleet_at_rabbitmq(tmp_path: Path) -> None:
    async def main() -> None:
        async with rabbitmq(tmp_path / "rabbit") as port, balancer([port]) as front:
            load = plan(front.port, gateways=60, envelopes=50, rate=10.0, protocol="mqtt311")
            tally = Tally()
            async with (
                ingesting(tally, options(plan(port, gateways=60, envelopes=50), "worker")),
                running(load) as fleet,
            ):
                await until(lambda: fleet.totals.acknowledged >= 1000, fleet)
                front.close()  # every line is cut
                await delivered(fleet)
                assert fleet.totals.connections >= 120
            balance = await books(fleet, tally)
            assert (balance.made, balance.arrived, balance.lost, balance.waiting) == (3000, 3000, 0, 0)

    asyncio.run(main())
