"""docs/platform.md and its example do what they say."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contract.compare import closed
from gateway.messages import CommandDocument
from gateway.model import Lane
from gateway.remote import signature
from gateway.sim.process import Child
from gateway.uplink.asyncapi import CHANNELS, MESSAGES, schema
from ingester.samples import ROOT, announcement, message
from support.broker import broker
from support.mqtt_subscriber import subscriber
from support.scripted_gateway import scripted_gateway

DOCS = Path(__file__).parent.parent.parent / "docs"
TEXT = (DOCS / "platform.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, _, code in BLOCKS if language == "python"]
JSON = [(name, text) for language, name, text in BLOCKS if language == "json"]


def run(code: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(code, "platform.md", "exec"), space)
    return space


def test_every_block_is_looked_at() -> None:
    assert (len(PYTHON), len(JSON)) == (3, 7)
    assert len(BLOCKS) == 10


@pytest.mark.parametrize("code", PYTHON)
def test_every_block_of_python_runs(code: str) -> None:
    assert run(code)


@pytest.mark.parametrize(("channel", "text"), JSON, ids=[name for name, _ in JSON])
def test_every_message_keeps_the_schema(channel: str, text: str) -> None:
    shape = MESSAGES[CHANNELS[channel].message].shape
    assert shape is not None
    jsonschema.validate(json.loads(text), closed(schema(shape)))


def test_a_signed_command_is_opened_by_the_gateways_own_code() -> None:
    space = run(next(code for code in PYTHON if "Ed25519" in code))
    keys = {"ops-2026": base64.b64decode(space["public"])}
    signed = signature.opened(space["payload"].encode(), keys, 4096)
    jsonschema.validate(dict(signed.document), closed(schema(CommandDocument)))
    assert space["topic"] == f"compound/v1/jiayuan/gw1/command/{signed.document['id']}"
    assert signed.document["args"]["reason"] == "演练"
    with pytest.raises(signature.NotSigned):
        signature.opened(space["payload"].replace("演练", "演习").encode(), keys, 4096)


def test_every_topic_is_named() -> None:
    for channel in CHANNELS.values():
        tail = channel.tail.replace("{id}", "")
        assert f"`{tail}" in TEXT or tail.endswith("/zlib"), channel.tail


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 3
    for link in links:
        assert (DOCS / link).exists(), link


def test_the_example_prints_asks_for_what_is_missing_and_confirms(tmp_path: Path) -> None:
    """Of 1 to 30, number 5 is withheld at first and 9 is announced as lost; 12 comes twice."""
    log = {seq: message(seq) for seq in range(1, 31) if seq != 9}

    async def main() -> tuple[list[Any], str]:
        async with broker(tmp_path / "broker") as running:
            argv = (sys.executable, str(DOCS / "examples" / "subscriber.py"), "127.0.0.1", str(running.port))
            async with Child(argv, tmp_path / "out") as child, subscriber(running.port) as other:
                async with asyncio.timeout(30):
                    while "bulk/zlib" not in running.log:
                        await asyncio.sleep(0.02)
                async with scripted_gateway(running.port, ROOT, log, probe_s=10.0) as gateway:
                    other.publish(*announcement(1, Lane.BILLING, 9, 9))
                    gateway.send([*range(1, 5), *range(6, 9), *range(10, 31), 12])
                    await gateway.until_receipted()
                await child.stop()
                return gateway.receipts, (tmp_path / "out").read_text()

    receipts, out = asyncio.run(main())
    assert [[5, 5]] in [receipt["missing"] for receipt in receipts]
    assert {"lane": "billing", "upto": 30, "missing": []}.items() <= receipts[-1].items()
    printed = re.findall(r"site-1 gw-1 billing (\d+) 2 items", out)
    assert sorted(map(int, printed)) == sorted(log), "each once"
    assert "Traceback" not in out
