"""A configuration, simulated lines and a way to call commands beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from click.testing import CliRunner, Result

SITE = """format: site/1
site: {{id: s, name: {{zh: 站, en: Site}}}}
gateway: {{id: gw}}
store: {{path: store}}
lines: [{{id: bus, serial: {port}, baud: {baud}, parity: {parity}}}]
devices: [{devices}]
"""
METER_TEXT = '{id: m1, profile: dlt645_single_phase, line: bus, address: "000000190101"}'
SDM_TEXT = "{id: known-3, profile: eastron_sdm630, line: bus, unit_id: 3}"


def configured(directory: Path, port: str, *, baud: int = 9600, parity: str = "none", devices: str = "") -> Path:
    config = directory / "config"
    config.mkdir(exist_ok=True)
    (directory / "config" / "store").mkdir(exist_ok=True)
    text = SITE.format(port=port, baud=baud, parity=parity, devices=devices)
    (config / "site.yaml").write_text(text, encoding="utf-8")
    return config


async def call(command: click.Command, *arguments: str | Path) -> Result:
    """In a thread: the simulated line lives in this loop, the command brings its own."""
    return await asyncio.to_thread(CliRunner().invoke, command, [str(each) for each in arguments])
