"""The fire alarm system: a panel behind a transmission device (GB/T 26875.3) that reports to the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from drivers.gb26875.simulator import Habits, Transmitter, component, heartbeat, operation, system_state
from gateway.sim.broker import free_port
from gateway.sim.systems.ground import china_now

HEARTBEAT_S = 5.0
AGAIN_S = 1.0
"""Between two attempts to reach the gateway."""
_A_DAY = 86_400
_FIRE, _NORMAL, _RESET = 0b10, 0b1, 0b1


class Fire:
    protocols = ("gb26875",)
    packs = ("fire",)

    def __init__(self) -> None:
        self._port = 0
        self._panel: Transmitter | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._port = free_port()
        habits = Habits(now=china_now, resend_s=AGAIN_S, resends=_A_DAY)
        self._panel = await Transmitter("127.0.0.1", self._port, habits=habits).__aenter__()
        self._task = asyncio.create_task(self._keep_alive(self._panel))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._panel is not None:
            await self._panel.__aexit__(kind, exc, tb)

    def lines(self) -> Sequence[dict[str, Any]]:
        return [{"id": "fire", "protocol": "gb26875", "listen": f"127.0.0.1:{self._port}"}]

    def devices(self) -> Sequence[dict[str, Any]]:
        return [
            {
                "id": "fire-1",
                "profile": "gb26875_panel",
                "line": "fire",
                "source": "B22396604001",
                "name": {"zh": "消防控制室", "en": "Fire control room"},
                "place": {"building": "1#", "floor": "1F"},
                "every": "10s",
                "silent_after": "30s",
            }
        ]

    async def burn(self, loop: int, number: int, text: str) -> None:
        """A detector reports fire, and with it the panel."""
        await self._say(component(_FIRE, loop=loop, number=number, text=text))
        await self._say(system_state(_FIRE))

    async def reset(self) -> None:
        """Somebody resets the panel."""
        await self._say(operation(_RESET, operator=1))
        await self._say(system_state(_NORMAL))

    async def _say(self, said: tuple[int, bytes]) -> None:
        assert self._panel is not None
        await self._panel.send(said)

    async def _keep_alive(self, panel: Transmitter) -> None:
        """It connects as soon as there is somebody to connect to, and says first how the panel stands."""
        await panel.send(system_state(_NORMAL))
        while True:
            await panel.send(heartbeat())
            await asyncio.sleep(HEARTBEAT_S)
