"""Child processes that take one JSON value a line and answer each with one; they end when their stdin closes."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any, Self

ANSWER_TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 2**26


class Helper:
    """``async with Helper(module, *arguments) as helper``; ``hello`` is what it said when it was ready.

    When we die its stdin closes too, so it cannot outlive us.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self._argv = [sys.executable, "-m", module, *arguments]
        self._asking = asyncio.Lock()
        self._process: asyncio.subprocess.Process
        self.hello: Any = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_ANSWER_BYTES,
            start_new_session=True,
        )
        try:
            self.hello = await self._answer()
        except BaseException:
            self._process.kill()
            await self._process.wait()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10.0):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, question: Any) -> Any:
        async with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            await self._process.stdin.drain()
            return await self._answer()

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._argv[2]} ended")
        return json.loads(line)
