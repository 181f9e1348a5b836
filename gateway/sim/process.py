"""Child processes that cannot outlive us: the broker and the gateway under demonstration."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The child asks the kernel to be told when we die, before it becomes the real program (prctl(2), PR_SET_PDEATHSIG = 1).
# A tiny interpreter of its own does it, because Python code between fork and exec is not safe beside threads.
_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]): sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
STOP_TIMEOUT_S = 20.0


class Child:
    """``async with Child(argv, log) as child``: runs until told otherwise; its output goes to the file *log*.

    argv[0] must be an absolute path.
    """

    def __init__(self, argv: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        self._argv = argv
        self._log = log
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._env) if self._env is not None else None,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the child in order
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def wait(self) -> int:
        """Exit status when it has ended; negative: the signal that ended it."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask it to end, insist after *timeout_s*; returns its exit status."""
        assert self._process is not None
        if self.running:
            self._process.terminate()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._process.wait()
        except TimeoutError:
            return await self.kill()
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def kill(self) -> int:
        """SIGKILL: no chance to save anything."""
        assert self._process is not None
        if self.running:
            self._process.send_signal(signal.SIGKILL)
        return await self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
