"""A process that takes what a hub reports and writes it to a file, as the core does, until it is killed.

    python dying_reader.py PORT FILE

Each line is one commit: the values of a report and what the driver wants to remember, both or neither.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from drivers.mqtt_south.hub import ZIGBEE2MQTT
from drivers_mqtt_south.site import device, make


def committed(file: Path) -> list[dict[str, object]]:
    """A line without its end was not committed."""
    if not file.exists():
        return []
    whole = file.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.split(b"\n") if line]


async def read_for_ever(port: int, file: Path) -> None:
    before = committed(file)
    file.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in before))
    remembered = [line["memory"] for line in before if line["memory"]]
    memory = {"m1": str(remembered[-1]).encode()} if remembered else {}
    meter = device("m1", ZIGBEE2MQTT, {"energy": {"kind": "number"}}, address="meter")
    async with make(ZIGBEE2MQTT, port, [meter], memory) as hub:
        with file.open("ab", buffering=0) as log:
            while True:
                for report in await hub.receive():
                    kept = None if report.memory is None else report.memory.decode()
                    values = [reading.value for reading in report.readings]
                    log.write(json.dumps({"values": values, "memory": kept}).encode() + b"\n")
                    os.fsync(log.fileno())
                    await asyncio.sleep(0)  # where it may be killed between the commit and the acknowledgement
                    await hub.stored([report])


if __name__ == "__main__":
    asyncio.run(read_for_ever(int(sys.argv[1]), Path(sys.argv[2])))
