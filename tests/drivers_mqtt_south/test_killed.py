"""A process that is killed again and again, and a broker that is: every message once."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from drivers.mqtt_south.simulator import SimClient
from drivers_mqtt_south.dying_reader import committed
from drivers_mqtt_south.site import asynchronous, local_broker, until

TESTS = Path(__file__).parents[1]
MESSAGES, KILLS = 240, 6


async def reader(port: int, file: Path) -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    return await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("dying_reader.py")), str(port), str(file), env=environment
    )


@asynchronous
async def test_every_message_is_committed_exactly_once_whenever_the_process_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "log"
    dice = random.Random(20261128)
    async with local_broker(persistence=True) as running:
        first = await reader(running.port, file)
        await until(lambda: "Sending SUBACK to compound-gateway-south" in running.log)
        first.kill()
        await first.wait()
        said = 0
        for kill in range(KILLS):
            process = await reader(running.port, file)
            async with SimClient("127.0.0.1", running.port, "sim") as meter:
                for _ in range(MESSAGES // KILLS):
                    await meter.publish("zigbee2mqtt/meter", {"energy": said})
                    said += 1
            enough = len(committed(file)) + dice.randrange(1, MESSAGES // KILLS)
            await until(lambda enough=enough: len(committed(file)) >= enough)  # type: ignore[misc]
            process.kill()
            await process.wait()
            if kill == KILLS // 2:
                await running.stop()
                await running.start()
        last = await reader(running.port, file)
        await until(lambda: len(committed(file)) >= said)
        last.kill()
        await last.wait()
    assert [value for line in committed(file) for value in line["values"]] == list(range(said))  # type: ignore[attr-defined]
    assert said == MESSAGES
