"""What a platform sees on the wire, held against the contract: every message of a running gateway is checked."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.compare import closed
from gateway.model import Lane
from gateway.sim import site
from gateway.sim.broker import Broker, BrokerKind
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout
from gateway.uplink.asyncapi import CHANNELS, MESSAGES, schema
from support.broker import mosquitto

ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,48}$"}
UUID7 = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"}
MS = {"type": "integer", "minimum": 1_700_000_000_000, "maximum": 4_000_000_000_000}
TEXT = {"type": "object", "required": ["zh", "en"], "properties": {"zh": {"type": "string"}, "en": {"type": "string"}}}
CLOCK = {"enum": ["synced", "holdover", "unknown"]}


def strict(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | optional,
        "additionalProperties": False,
    }


READING = strict(
    {"p": {"type": "string"}, "t": MS, "v": {"type": ["number", "boolean", "string", "null"]},
     "q": {"enum": ["good", "uncertain", "bad"]}},
    r={"type": "string"}, u={"type": "string"}, c=CLOCK, raw={"type": "string", "pattern": "^([0-9a-f]{2})+$"},
)  # fmt: skip
EVENT = strict(
    {"id": UUID7, "kind": {"type": "string"}, "t": MS, "device": {"type": ["string", "null"]},
     "place": {"type": "object"}, "attributes": {"type": "object"}},
    c=CLOCK,
)  # fmt: skip
ALARM = strict(
    {"id": UUID7, "rule": {"type": "string"}, "device": {"type": ["string", "null"]}, "place": {"type": "object"},
     "state": {"enum": ["normal", "unack", "acked", "rtn_unack"]},
     "priority": {"enum": ["critical", "high", "medium", "low", "journal"]}, "count": {"type": "integer", "minimum": 1},
     "t": MS, "reason": {"type": "string"}, "message": TEXT, "values": {"type": "object"}},
    c=CLOCK,
)  # fmt: skip
GAP = strict(
    {"reason": {"type": "string"}, "from_ms": MS, "to_ms": MS},
    point={"type": "string"}, lane={"type": "string"}, from_seq={"type": "integer"}, to_seq={"type": "integer"},
    count={"type": "integer"}, c=CLOCK,
)  # fmt: skip
ITEMS = {Lane.ALARM: ALARM, Lane.EVENT: EVENT, Lane.GAP: GAP}


def envelope(lane: Lane) -> dict[str, Any]:
    return strict(
        {"v": {"const": 1}, "site": {"const": site.SITE}, "gateway": {"const": site.GATEWAY}, "epoch": UUID7,
         "lane": {"const": str(lane)}, "seq": {"type": "integer", "minimum": 1}, "boot_id": UUID7, "sent_ms": MS,
         "replay": {"type": "boolean"}, "items": {"type": "array", "minItems": 1, "items": ITEMS.get(lane, READING)}}
    )  # fmt: skip


STATUS = strict(
    {"v": {"const": 1}, "state": {"enum": ["online", "stopping", "offline"]}, "boot_id": UUID7, "epoch": UUID7,
     "since_ms": MS, "version": {"type": "string"}, "config": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
     "clock": CLOCK}
)  # fmt: skip
CATALOG = {
    "type": "object",
    "required": ["v", "site", "gateway", "config", "destinations", "devices"],
    "properties": {
        "devices": {
            "minItems": 5,
            "items": {
                "required": ["id", "kind", "name", "place", "protocol", "points"],
                "properties": {
                    "id": ID,
                    "name": TEXT,
                    "points": {"items": {"required": ["id", "kind", "name", "lane", "interval_s", "personal"]}},
                },
            },
        },
    },
}
HEALTH = {
    "type": "object",
    "required": [
        "v",
        "t",
        "clock",
        "clock_shift_ms",
        "held",
        "store",
        "lines",
        "uplinks",
        "alarms",
        "disk_free_bytes",
        "loop_lag_ms",
    ],
}
SCHEMAS = {"status": STATUS, "catalog": CATALOG, "health": HEALTH} | {str(lane): envelope(lane) for lane in Lane}


def published() -> dict[str, jsonschema.Draft202012Validator]:
    """Tail of a topic -> the published schema, beside the plain words above; no field may be missing in it.

    Health alone may tell more than is described.
    """
    found = {}
    for channel in CHANNELS.values():
        shape = MESSAGES[channel.message].shape
        if channel.direction == "send" and shape is not None:
            wanted = schema(shape) if channel.message == "health" else closed(schema(shape))
            found[channel.tail.replace("{id}", "")] = jsonschema.Draft202012Validator(wanted)
    return found


class Recorder:
    """Everything below the root, with the retained flag, as it came."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = lambda _, __, m: self.messages.append((m.topic, m.payload, bool(m.retain)))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, topic: str) -> None:
        self._client.publish(topic, b"{}", qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def count(self, tail: str) -> int:
        return sum(topic.endswith(f"/{tail}") for topic, _, _ in self.messages)


async def until(recorder: Recorder, tail: str, count: int = 1, limit_s: float = 30.0) -> None:
    async with asyncio.timeout(limit_s):
        while recorder.count(tail) < count:
            await asyncio.sleep(0.1)


@pytest.mark.system
def test_every_message_of_a_running_gateway_keeps_the_contract(tmp_path: Path) -> None:
    async def main() -> list[tuple[str, bytes, bool]]:
        kind = BrokerKind("mosquitto", "5", mosquitto())
        async with Broker(kind, tmp_path / "broker") as broker, Compound(Layout(1, 1, 2)) as field:
            target = site.UplinkTarget(broker.host, broker.port, kind.mqtt)
            site.write(field, tmp_path / "config", tmp_path / "store", target)
            recorder = Recorder(broker.port)
            argv = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(tmp_path / "config"))
            async with Child(argv, tmp_path / "log") as daemon:
                await until(recorder, "billing")
                field.leak_gas(0, peak_lel=30.0, rise_s=1.0, hold_s=60.0, fall_s=1.0)
                field.faults.kill_line(field.meter_lines[0], dead=True)
                await until(recorder, "alarm")
                await until(recorder, "health")
                field.faults.kill_line(field.meter_lines[0], dead=False)
                await until(recorder, "gap", limit_s=60.0)
                recorder.publish(f"{site.ROOT}/command/rebirth")
                await until(recorder, "reply/rebirth")
                await until(recorder, "catalog", 2)
                recorder.publish(f"{site.ROOT}/command/c-17")
                await until(recorder, "reply/c-17")
                late = Recorder(broker.port)  # a platform that comes later finds what is retained
                await until(late, "status")
                await until(late, "catalog")
                assert [r for t, _, r in late.messages if t.endswith(("status", "catalog"))][:2] == [True, True]
                late.close()
                assert await daemon.stop() == 0
            await until(recorder, "status", 3)
            recorder.close()
            return recorder.messages

    messages = asyncio.run(main())
    seen: dict[str, int] = {}
    schemas = published()
    for topic, payload, _ in messages:
        assert topic.startswith(f"{site.ROOT}/")
        assert topic.count("/") <= 7
        assert all(re.fullmatch(ID["pattern"], level) for level in topic.split("/")), topic
        assert len(payload) < 64 * 1024
        tail = topic.removeprefix(f"{site.ROOT}/")
        seen[tail] = seen.get(tail, 0) + 1
        if tail in SCHEMAS:
            jsonschema.validate(json.loads(payload), SCHEMAS[tail])
        if not tail.startswith("command/"):
            schemas[tail if "reply/" not in tail else "reply/"].validate(json.loads(payload))
    assert {"status", "catalog", "health", "alarm", "event", "gap", "billing", "telemetry"} <= set(seen)
    states = [json.loads(p)["state"] for t, p, _ in messages if t.endswith("/status")]
    assert (states[0], states[-1]) == ("online", "stopping")
    replies = {t.rsplit("/", 1)[-1]: json.loads(p) for t, p, _ in messages if "/reply/" in t}
    assert replies["rebirth"]["status"] == "ok"
    assert (replies["c-17"]["status"], replies["c-17"]["code"]) == ("rejected", "unsigned")
    for lane in Lane:
        seqs = [json.loads(p)["seq"] for t, p, _ in messages if t.endswith(f"/{lane}")]
        assert seqs == list(range(1, len(seqs) + 1)), lane
