"""docs/scale.md and the files it shows: what can be run here is run."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.rig import ingesting, plan, running, until
from gateway.sim.fleet.count import Tally, options
from support.broker import broker, missing
from support.nats import CONFIG as NATS_CONFIG

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "scale.md").read_text("utf-8")
EXAMPLES = DOCS / "examples" / "scale"


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert len(links) > 6
    for link in links:
        assert (DOCS / link).exists(), link


def test_every_example_is_shown_and_says_whether_it_has_run() -> None:
    names = sorted(path.name for path in EXAMPLES.iterdir())
    assert names == ["emqx.conf", "mosquitto.acl", "mosquitto.conf", "nats.conf", "rabbitmq.conf"]
    assert all(f"examples/scale/{name}" in TEXT for name in names)
    assert "NOT RUN HERE" in (EXAMPLES / "emqx.conf").read_text("utf-8")
    assert NATS_CONFIG == EXAMPLES / "nats.conf"  # which tests/fleet/test_nats.py runs


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(name)
        pytest.fail("not reached")
    return found


def _configuration(folder: Path) -> list[str]:
    """The example's own lines, but for what belongs to another machine: port, certificates, paths."""
    own = ("listener", "certfile", "keyfile", "password_file", "acl_file", "persistence", "allow_anonymous")
    lines = (EXAMPLES / "mosquitto.conf").read_text("utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith(("#", *own))]
    assert len(kept) > 6
    rights = (EXAMPLES / "mosquitto.acl").read_text("utf-8").replace("jiayuan", "fleet-1").replace("gw1", "g1")
    for name, text in {"acl": rights, "password": "secret\n", "passwords": ""}.items():
        (folder / name).write_text(text, "utf-8")
        (folder / name).chmod(0o600)
    for user in ("fleet-1-g1", "platform"):
        subprocess.run([_tool("mosquitto_passwd"), "-b", str(folder / "passwords"), user, "secret"], check=True)
    return [*kept, f"password_file {folder}/passwords", f"acl_file {folder}/acl"]


def test_mosquitto_with_the_rights_of_one_gateway(tmp_path: Path) -> None:
    """Two gateways use the account of the first: only its own data get through."""

    async def main() -> None:
        lines = _configuration(tmp_path)
        async with broker(tmp_path / "broker", *lines, persistence=True, anonymous=False) as server:
            load = plan(server.port, gateways=2, envelopes=10, delivery="puback")
            load = replace(load, username="fleet-1-g1", password_file=tmp_path / "password")
            tally = Tally()
            async with ingesting(tally, replace(options(load, "worker"), username="platform")), running(load) as fleet:
                first, second = fleet.members
                await until(lambda: first.made == 10 and first.log.waiting == 0, fleet)
                await until(lambda: any("0x87" in fault for fault in second.uplink.status.faults), fleet)
                await until(lambda: sum(account.last for account in tally.kept.values()) == 10, fleet)
            assert {stream.gateway for stream in tally.kept} == {"g1"}

    asyncio.run(main())
