"""A platform and a real daemon over a real broker: everything a platform may ask for, asked over MQTT."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, SimUnit
from gateway.clock import SystemClock
from gateway.sim import tcp
from gateway.sim.faults import FaultBoard
from gateway.sim.operator import Operator
from gateway.sim.process import Child
from support.broker import broker
from support.mqtt_subscriber import Received, Subscriber, subscriber
from support.remote_site import files, site_yaml, uplink, write
from support.sealed import KEY, PRIVATE, PUBLIC, document

pytestmark = pytest.mark.system

DAEMON = (sys.executable, str(Path(__file__).parents[1] / "support" / "trusting_daemon.py"))
ROOT = "compound/v1/jiayuan/gw1/"
COMMANDS = ["help", "time", "read", "resend", "rebirth", "config.apply"]
REMOTE = f"""remote:
  keys: [{{id: {KEY}, public: "{base64.b64encode(PUBLIC).decode()}", commands: {json.dumps(COMMANDS)}, devices: ["*"]}}]
  window: 10s
"""


class Platform:
    """Counts nothing: asks, and waits for the reply."""

    def __init__(self, seen: Subscriber) -> None:
        self.seen = seen
        self.operator = Operator("jiayuan", "gw1", key=KEY, private=PRIVATE)

    async def ask(self, command: str, **args: Any) -> dict[str, Any]:
        id_, body = self.operator.order(command, args, SystemClock().now_ms())
        self.seen.publish(f"{ROOT}command/{id_}", body)
        await self.seen.until(lambda: bool(self.seen.on(f"reply/{id_}")), command, 30.0)
        found: dict[str, Any] = self.seen.on(f"reply/{id_}")[0].json
        return found

    def reported(self) -> dict[str, Any]:
        said = self.seen.on("config/reported")
        return said[-1].json if said else {}

    async def until_reported(self, state: str, version: int) -> None:
        def there() -> bool:
            found = self.reported()
            return (found.get("state"), found.get("version")) == (state, version)

        await self.seen.until(there, f"{state} {version}", 90.0)


def early(seen: Subscriber, since: int) -> list[Received]:
    return [one for one in seen.on("telemetry")[since:] if one.json["seq"] <= 2]


def test_read_resend_and_configure_over_mqtt(tmp_path: Path) -> None:
    sensor = SimUnit()
    sensor.tables[Table.HOLDING].update({0: 123})

    async def main() -> None:
        async with (
            tcp.serve(ModbusBank({1: sensor}), {1: "probe-1"}, "net", FaultBoard()) as port,
            broker(tmp_path / "broker") as server,
            subscriber(server.port) as seen,
        ):
            main_uplink = uplink(server.port, more=", delivery: receipt")
            text = site_yaml(port, uplinks=main_uplink).replace("{id: gw1}", "{id: gw1, clock_wait: 0 s}") + REMOTE
            write(tmp_path / "config", files(text))
            command = (*DAEMON, "run", "--config", str(tmp_path / "config"))
            async with Child(command, tmp_path / "log", env={**os.environ}):
                platform = Platform(seen)
                await seen.until(lambda: bool(seen.on("catalog") and seen.on("telemetry")), "the gateway", 60.0)

                answer = await platform.ask("read", points=["probe-1.level"])
                assert (answer["status"], answer["result"][0]["v"]) == ("ok", 12.3), answer
                assert (await platform.ask("time"))["status"] == "ok"
                assert (await platform.ask("write", point="probe-1.level", value=1, reason="x"))[
                    "code"
                ] == "not_permitted"

                before = len(seen.on("telemetry"))
                answer = await platform.ask("resend", lane="telemetry", from_seq=1, to_seq=2)
                assert (answer["status"], answer["result"]) == ("ok", {"held_from": 1}), answer
                await seen.until(lambda: len(early(seen, before)) >= 2, "the two envelopes again")
                assert all(one.json["replay"] for one in early(seen, before))

                renamed = text.replace("name: {zh: 佳园小区, en: Jiayuan}", "name: {zh: 佳园小区, en: Renamed}")
                assert renamed != text
                seen.publish(f"{ROOT}config/desired", document(1, files(renamed)), retain=True)
                await platform.until_reported("running", 1)

                broken = document(2, files(renamed.replace("unit_id: 1", "unit_id: 999")))
                answer = await platform.ask("config.apply", document=broken.decode())
                assert answer["status"] == "ok", answer
                await platform.until_reported("rejected", 2)
                (fault, *_) = platform.reported()["faults"]
                assert (fault["file"], fault["code"]) == ("site.yaml", "E-VALUE"), fault
                assert platform.reported()["running"]["version"] == 1

    asyncio.run(main())
