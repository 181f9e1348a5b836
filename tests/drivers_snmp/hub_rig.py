"""What the contract suite of hubs runs SNMP on."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from drivers.snmp.hub import SnmpHub
from drivers.snmp.simulator import SimAgent
from drivers_snmp.net import MINUTES, ON_BATTERY, VALUES, Secrets, device_spec, free_port, hub_of, send_from

STRANGER = bytes.fromhex("302902010104067075626c6963a71c020101020100020100301130 0f06082b060102010103004303010203")
"""A notification of version 2c, community public."""


class SnmpRig:
    device = "u"
    devices = ("u",)

    def __init__(self, hub: SnmpHub, agent: SimAgent, port: int) -> None:
        self.hub = hub
        self._agent = agent
        self._port = port

    async def say(self, number: int) -> None:
        self._agent.notify(ON_BATTERY, ("127.0.0.1", self._port), {MINUTES: number})

    async def garbage(self) -> None:
        send_from("127.0.0.1", b"\x30\x82\xff\xffGET / HTTP/1.1", ("127.0.0.1", self._port))

    async def stranger(self) -> None:
        send_from("127.0.0.2", STRANGER, ("127.0.0.1", self._port))


@asynccontextmanager
async def _rig() -> AsyncIterator[SnmpRig]:
    with tempfile.TemporaryDirectory() as folder:
        async with SimAgent(VALUES) as agent:
            port = free_port()
            yield SnmpRig(hub_of({"u": device_spec("u", Secrets(Path(folder)).options(agent))}, port), agent, port)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[SnmpRig]]]]:
    yield "snmp", _rig
