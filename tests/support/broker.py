"""A real mosquitto on a free port of this machine, to be stopped, killed and started again by the test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

_READY_S = 10.0


def mosquitto() -> str:
    """The program; skips the test where it is missing, but fails it where CI promises it."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        missing("mosquitto")
    return found


def missing(tool: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{tool} is not installed")
    pytest.skip(f"{tool} is not installed")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """Use ``broker()``.  The port, the configuration and the files stay the same over ``kill()`` and ``start()``."""

    def __init__(self, program: str, folder: Path, port: int, config: Sequence[str]) -> None:
        self.port = port
        self.folder = folder
        self._program = program
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(config) + "\n", "utf-8")
        self._log = folder / "mosquitto.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program, "-c", str(self._config), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await self.ready(self.port)

    async def ready(self, port: int) -> None:
        """One of its listeners."""
        async with asyncio.timeout(_READY_S):
            while not await self._answers(port):
                assert self._process is not None
                assert self._process.returncode is None, f"mosquitto ended: {self.log}"
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """As systemd does: it may save its state."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """As a power cut does."""
        await self._end(signal.SIGKILL)

    async def reload(self) -> None:
        """It reads its access list again, and has done so."""
        assert self._process is not None
        before = self.log.count("Reloading config")
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(_READY_S):
            while self.log.count("Reloading config") == before:
                await asyncio.sleep(0.01)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        await process.wait()

    async def _answers(self, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True


@contextlib.asynccontextmanager
async def broker(
    folder: Path, *config: str, persistence: bool = False, tls: Sequence[str] = (), anonymous: bool = True
) -> AsyncIterator[Broker]:
    """*folder*: an empty one of this test.  *tls*: lines of the listener (cafile, certfile, keyfile ...)."""
    program = mosquitto()
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    user = ["user root"] if os.geteuid() == 0 else []  # else it drops its rights and cannot read the test's files
    saved = ["persistence true", f"persistence_location {folder}/", "autosave_interval 1", "autosave_on_changes true"]
    lines = [
        *user,
        f"listener {port} 127.0.0.1",
        *tls,
        f"allow_anonymous {str(anonymous).lower()}",
        "log_type all",
        "connection_messages true",
        *(saved if persistence else ["persistence false"]),
        *config,
    ]
    running = Broker(program, folder, port, lines)
    await running.start()
    try:
        yield running
    finally:
        await running.kill()
