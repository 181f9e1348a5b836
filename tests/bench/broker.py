"""A mosquitto for measuring: it saves what it holds when it is stopped, not after every change, and can always have its
port back."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from gateway.errors import GatewayError
from gateway.sim.broker import Broker, mosquitto

_SAVE_ALWAYS = "autosave_on_changes true\nautosave_interval 1\n"
_LOWEST_PORT = 15_000


class QuietBroker(Broker):
    def __init__(self, directory: Path) -> None:
        """Raises GatewayError where there is no mosquitto: another broker would be measured instead of us."""
        kind = mosquitto()
        if kind is None:
            raise GatewayError("mosquitto is not installed", hint="apt install mosquitto")
        super().__init__(kind, directory)

    async def __aenter__(self) -> Self:
        self.port = lasting_port()
        await self.start()
        return self

    def _mosquitto_conf(self) -> str:
        usual = super()._mosquitto_conf()
        assert _SAVE_ALWAYS in usual
        return usual.replace(_SAVE_ALWAYS, "autosave_interval 0\n")


def lasting_port() -> int:
    """One that the kernel gives to nobody while the broker is stopped: it takes those of outgoing connections from a
    range of its own."""
    first_of_the_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(_LOWEST_PORT, max(first_of_the_kernel, _LOWEST_PORT + 1000))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
