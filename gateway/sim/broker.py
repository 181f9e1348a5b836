"""The demonstration's MQTT broker: mosquitto where the system has one, else amqtt from the package index.

mosquitto   MQTT 5, keeps sessions and messages on disk: what was acknowledged survives its death
amqtt       MQTT 3.1.1 only, everything in memory: a subscriber must be there before anybody publishes
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from gateway.errors import GatewayError
from gateway.sim.process import Child

MqttVersion = Literal["5", "3.1.1"]
START_TIMEOUT_S = 20.0


class BrokerFailed(GatewayError):
    """The broker did not start."""


@dataclass(frozen=True, slots=True)
class BrokerKind:
    name: str
    mqtt: MqttVersion
    executable: str | None
    """None for the broker that is a Python module."""


AMQTT = BrokerKind("amqtt", "3.1.1", None)


def mosquitto() -> BrokerKind | None:
    """The system's own, from PATH or from where Debian puts it."""
    found = shutil.which(
        "mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    )
    return BrokerKind("mosquitto", "5", os.path.abspath(found)) if found else None


def best_kind() -> BrokerKind:
    return mosquitto() or AMQTT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """``async with Broker(kind, directory) as broker``: listens on loopback at ``broker.port`` until the end."""

    def __init__(self, kind: BrokerKind, directory: Path) -> None:
        self.kind = kind
        self.host = "127.0.0.1"
        self.port = 0
        self._directory = directory
        self._child: Child | None = None

    async def __aenter__(self) -> Self:
        self.port = free_port()
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    async def start(self) -> None:
        """Start (again), on the same port and with what the last one left on disk; returns when it listens.

        Raises BrokerFailed.
        """
        if self.kind == AMQTT and importlib.util.find_spec("amqtt") is None:
            raise BrokerFailed(
                "there is no MQTT broker here", hint="install mosquitto, or pip install 'compound-gateway[demo]'"
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        child = Child(self._argv(), self._directory / "broker.log")
        self._child = await child.__aenter__()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._listens():
                    if not child.running:
                        raise BrokerFailed(f"{self.kind.name} ended at once: {child.last_words()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise BrokerFailed(f"{self.kind.name} does not listen after {START_TIMEOUT_S:g} s") from None
        except (BrokerFailed, asyncio.CancelledError):
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(timeout_s=5.0)

    async def kill(self) -> None:
        """Dead in an instant, as in a power cut."""
        assert self._child is not None
        await self._child.kill()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def _argv(self) -> Sequence[str]:
        if self.kind.executable is None:
            return (sys.executable, "-m", "gateway.sim.amqtt_broker", str(self.port))
        path = self._directory / "mosquitto.conf"
        path.write_text(self._mosquitto_conf())
        return (self.kind.executable, "-c", str(path))

    def _mosquitto_conf(self) -> str:
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self._directory}/",
            # Saved after every change: with the default (half an hour) a killed broker forgets what it acknowledged.
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 0",
            "log_type error",
            "log_type warning",
            "log_type notice",
        ]
        if os.geteuid() == 0:
            # Changing the user would also cancel the kernel's promise to end the broker with us.
            lines.append("user root")
        return "\n".join(lines) + "\n"
