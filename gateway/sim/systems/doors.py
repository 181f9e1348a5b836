"""Access control: a two-door controller (UHPPOTE over UDP) at the entrance of building 1."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from drivers.uhppote.simulator import SimController, UhppoteSimulator
from gateway.sim.systems.ground import china_now, free_udp_port

SERIAL = 201020304
RESIDENT, STRANGER = 10058400, 20031234
"""Card numbers: one with the right to enter, one without."""


class Doors:
    protocols = ("uhppote",)
    packs = ("doors",)

    def __init__(self) -> None:
        self._network = UhppoteSimulator([SERIAL], now=china_now)
        self._listen = 0

    @property
    def controller(self) -> SimController:
        return self._network.controllers[SERIAL]

    async def __aenter__(self) -> Self:
        self._listen = free_udp_port()
        await self._network.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._network.__aexit__(kind, exc, tb)

    def lines(self) -> Sequence[dict[str, Any]]:
        return [{"id": "doors", "protocol": "uhppote", "listen": f"127.0.0.1:{self._listen}"}]

    def devices(self) -> Sequence[dict[str, Any]]:
        board = {"controller": SERIAL, "line": "doors"}
        controller = {
            "id": "access-1",
            "profile": "uhppote_controller",
            **board,
            "host": f"127.0.0.1:{self._network.port}",
            "name": {"zh": "门禁控制器", "en": "Access controller"},
            "place": {"building": "1#", "unit": "1"},
            "every": "10s",
        }
        names = {1: ("单元门", "Entrance door"), 2: ("地下室门", "Basement door")}
        doors = [
            {
                "id": f"door-{number}",
                "profile": "uhppote_door",
                **board,
                "door": number,
                "name": {"zh": zh, "en": en},
                "place": {"building": "1#", "unit": "1", "floor": "1F" if number == 1 else "B1"},
                "every": "2s",
            }
            for number, (zh, en) in names.items()
        ]
        return [controller, *doors]

    def swipe(self, door: int = 1, card: int = RESIDENT) -> None:
        """A card is held to the reader."""
        self.controller.swipe(door, card, reason=1 if card == RESIDENT else 5)

    def force(self, door: int) -> None:
        """The door is opened without anybody having been let in, and stays open."""
        self.controller.opens(door, reason=38)

    def close(self, door: int) -> None:
        self.controller.closes(door)
