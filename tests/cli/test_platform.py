"""gateway simulate platform: what it refuses, and what it prints."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.simulate import command
from gateway.sim.process import Child
from ingester.samples import ROOT, message
from support.broker import broker
from support.scripted_gateway import scripted_gateway


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--broker", "nowhere"], "nowhere is not HOST:PORT"),
        (["--broker", "h:1", "--site-filter", "a/b"], "neither a site's id nor +"),
        (["--broker", "h:1", "--postgres", "postgresql://x", "--file", "y"], "exclude each other"),
    ],
)
def test_wrong_usage(options: list[str], words: str) -> None:
    result = CliRunner().invoke(command, ["platform", "--lang", "en", *options])
    assert result.exit_code == 2
    assert words in result.output


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    dsn = f"postgresql://nobody@/none?host={tmp_path}"
    result = CliRunner().invoke(command, ["platform", "--broker", "h:1", "--postgres", dsn])
    assert result.exit_code == 1
    assert "PostgreSQL:" in result.output


@pytest.mark.parametrize(
    ("options", "words"), [(["--lang", "zh"], "网关 1  信封 20（"), (["--lang", "en"], "gateways 1  envelopes 20 (")]
)
def test_a_line_a_second(tmp_path: Path, options: list[str], words: str) -> None:
    async def main() -> str:
        log = {seq: message(seq) for seq in range(1, 21)}
        async with broker(tmp_path / "broker") as running:
            argv = (sys.executable, "-m", "gateway.cli.main", "simulate", "platform", *options)
            target = ("--broker", f"127.0.0.1:{running.port}", "--file", str(tmp_path / "platform.db"))
            async with Child((*argv, *target), tmp_path / "out") as child:
                async with asyncio.timeout(60):
                    while '"connected"' not in child.last_words():
                        await asyncio.sleep(0.05)
                async with scripted_gateway(running.port, ROOT, log) as gateway:
                    gateway.send(log)
                    await gateway.until_receipted()
                    async with asyncio.timeout(60):
                        while words not in child.last_words():
                            await asyncio.sleep(0.05)
                assert await child.stop() == 0
                return child.last_words()

    for line in asyncio.run(main()).splitlines():
        assert words[:2] in line or json.loads(line), "nothing but its lines and the log"
