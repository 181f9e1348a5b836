"""A private RabbitMQ with rabbitmq_mqtt, from the configuration that docs/scale.md shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.broker import free_port

CONFIG = Path(__file__).parents[2] / "docs" / "examples" / "scale" / "rabbitmq.conf"
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one in PATH changes to its own user
_READY_S = 120.0


@contextlib.asynccontextmanager
async def rabbitmq(folder: Path) -> AsyncIterator[int]:
    """Its MQTT port.  Skips the test where there is none, under CI=true too: it brings all of Erlang with it."""
    epmd = shutil.which("epmd")
    if epmd is None or not _SERVER.exists():
        pytest.skip("rabbitmq-server is not installed")
    folder.mkdir(parents=True)
    port, amqp, names, nodes = (free_port() for _ in range(4))
    (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
    listeners = f"mqtt.listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.tcp.1 = 127.0.0.1:{amqp}\n"
    shown = CONFIG.read_text("utf-8").replace("mqtt.allow_anonymous = false", "mqtt.allow_anonymous = true")
    (folder / "rabbit.conf").write_text(shown + listeners)
    environment = {
        **os.environ,
        "HOME": str(folder),  # for the cookie of Erlang
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
        "RABBITMQ_DIST_PORT": str(nodes),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_NODENAME": "fleet@localhost",
    }
    # Started by us, or the server would start one that stays for ever.
    async with _child(environment, folder / "epmd.log", epmd, "-port", str(names), "-address", "127.0.0.1"):
        await _answers(names)
        async with _child(environment, folder / "out", str(_SERVER)):
            await _answers(port)
            yield port


@contextlib.asynccontextmanager
async def _child(environment: dict[str, str], log: Path, *argv: str) -> AsyncIterator[None]:
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _answers(port: int) -> None:
    async with asyncio.timeout(_READY_S):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)
