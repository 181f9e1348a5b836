"""The weather office's warnings (files of the national system 12379), a weather station, and the garage's sump."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from gateway.clock import SystemClock
from gateway.sim.systems.ground import behind_server, holding

if TYPE_CHECKING:
    from drivers.cap.simulator import Office

DISTRICT: Final = "410105"
RAINSTORM: Final = ("11B03", "暴雨")
_COLOURS: Final = {"blue": "Blue", "yellow": "Yellow", "orange": "Orange", "red": "Red"}
_LOWEST_CM, _HIGHEST_CM = 3.0, 26.0
_MM_A_S = 0.5
"""A second of the spectator is a minute: a rain of 30 mm an hour."""


@dataclass(frozen=True, slots=True)
class Course:
    """Something that changes evenly between two limits, since *from_s*."""

    begin: float
    from_s: float
    a_second: float
    lowest: float
    highest: float

    def at(self, now_s: float) -> float:
        return min(self.highest, max(self.lowest, self.begin + (now_s - self.from_s) * self.a_second))

    def turned(self, now_s: float, a_second: float) -> Course:
        return replace(self, begin=self.at(now_s), from_s=now_s, a_second=a_second)


class Weather:
    protocols = ("cap", "modbus-rtu", "http-speaker", "onbon")
    packs = ("warnings", "water:basement_water")
    """The other rules of the water pack are about pumps as they turn in real time; ours turn sixty times as fast."""

    def __init__(self) -> None:
        self._office: Office | None = None
        self._directory = Path()
        self._issued = ""
        """Identifier of the warning in force."""
        self._colour = ""
        self._port = 0
        self._sump = Course(_LOWEST_CM, 0.0, 0.0, _LOWEST_CM, _HIGHEST_CM)
        self._rain = Course(0.0, 0.0, 0.0, 0.0, 6553.0)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from drivers.cap.simulator import Office

        async with AsyncExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-weather-")))
            self._office = Office(SystemClock().now_ms, sender=DISTRICT + "41600000", geocode=DISTRICT + "000000")
            units = {1: holding(self._station()), 2: holding(self._transmitter())}
            self._port = await stack.enter_async_context(behind_server(units))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._office = None

    def lines(self) -> Sequence[dict[str, Any]]:
        return [
            {"id": "warnings", "protocol": "cap", "directory": str(self._directory), "poll_s": 0.5},
            {"id": "yard", "tcp": f"127.0.0.1:{self._port}"},
        ]

    def devices(self) -> Sequence[dict[str, Any]]:
        return [
            {
                "id": "weather",
                "profile": "cap_warnings",
                "line": "warnings",
                "areas": [DISTRICT],
                "name": {"zh": "气象预警", "en": "Weather warnings"},
                "place": {"site": True},
                "roles": {"broadcast": "speaker-1"},
            },
            {
                "id": "station-1",
                "profile": "renke_rs_fsxcs",
                "line": "yard",
                "unit_id": 1,
                "name": {"zh": "中心花园气象站", "en": "Weather station in the garden"},
                "place": {"site": True},
                "every": "5s",
            },
            {
                "id": "sump-1",
                "profile": "qdy30a_level",
                "line": "yard",
                "unit_id": 2,
                "name": {"zh": "车库坡道集水井", "en": "Sump of the garage ramp"},
                "place": {"building": "1#", "floor": "B1"},
                "every": "1s",
                "roles": {"weather": "weather"},
            },
        ]

    def rainstorm(self, colour: str) -> None:
        """The office warns (blue, yellow, orange, red), or changes its warning."""
        if self._office is None:
            return
        word = _COLOURS[colour]
        if self._issued:
            self._issued = self._office.update(self._issued, *RAINSTORM, word)
        else:
            self._issued = self._office.issue(*RAINSTORM, word)
        self._colour = word
        self._publish(self._office)

    def calm(self) -> None:
        """The office takes its warning back."""
        if self._office is not None and self._issued:
            self._office.cancel(self._issued, *RAINSTORM, self._colour)
            self._issued = ""
            self._publish(self._office)

    def rain(self, cm_a_s: float = 1.0) -> None:
        """It rains, and the sump fills faster than its pump empties it."""
        now_s = asyncio.get_running_loop().time()
        self._sump, self._rain = self._sump.turned(now_s, cm_a_s), self._rain.turned(now_s, _MM_A_S)

    def rain_stops(self, cm_a_s: float = 2.0) -> None:
        now_s = asyncio.get_running_loop().time()
        self._sump, self._rain = self._sump.turned(now_s, -cm_a_s), self._rain.turned(now_s, 0.0)

    def level_cm(self) -> float:
        return self._sump.at(asyncio.get_running_loop().time())

    def _publish(self, office: Office) -> None:
        from drivers.cap.simulator import drop

        drop(self._directory, *office.published[-1])

    def _station(self) -> dict[int, Any]:
        """Renke RS-FSXCS, registers 500 to 513."""

        def breath(low: float, high: float, period_s: float) -> float:
            now_s = asyncio.get_running_loop().time()
            return low + (high - low) * (1.0 + math.sin(math.tau * now_s / period_s)) / 2.0

        return {
            500: lambda: 100 * breath(1.0, 4.0, 17.0),
            501: lambda: 2,
            502: lambda: 3,
            503: lambda: breath(120.0, 150.0, 41.0),
            504: lambda: 10 * (96.0 if self._rain.a_second else 61.0),
            505: lambda: 10 * breath(12.0, 12.6, 240.0),
            506: lambda: 10 * breath(44.0, 52.0, 9.0),
            507: lambda: 28,
            508: lambda: 45,
            509: lambda: 1008,
            510: lambda: 0,  # the high word of the illuminance
            511: lambda: breath(9000.0, 12000.0, 60.0),
            512: lambda: 0,
            513: lambda: 10 * self._rain.at(asyncio.get_running_loop().time()),
        }

    def _transmitter(self) -> dict[int, Any]:
        """A submersible level transmitter: address, baud, unit (cm), decimals, value."""
        return {0: lambda: 2, 1: lambda: 3, 2: lambda: 1, 3: lambda: 1, 4: lambda: 10 * self.level_cm()}
