"""Two chargers for cars (OCPP 1.6): somebody charges now and then, at one and at the other."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gateway.sim.broker import free_port
from gateway.sim.systems.ground import ended, secret

if TYPE_CHECKING:
    from drivers.ocpp.simulator import SimCharger

AGAIN_S = 1.0
"""Between two attempts to reach the gateway."""
BEAT_S = 2.0
"""How often a charger says something; a charge is metered as often."""
POWER_W = 7000
_VOLTS = 220
_PASSWORD = "a password of the simulation"  # it guards nothing
_CARD = "04A1B2C3"
_WH_A_BEAT = 230
"""A second of the spectator is a minute of the charge."""
_BEATS_IDLE, _BEATS_CHARGING = 4, 9


@dataclass
class _Charger:
    """One charge point with one plug."""

    name: str
    beat: int
    """Where in its round of idling and charging it begins."""
    meter_wh: int
    transaction: int | None = None
    faulted: bool = False
    shown: str = ""
    """The status that the gateway knows."""

    @property
    def charges(self) -> bool:
        return not self.faulted and self.beat % (_BEATS_IDLE + _BEATS_CHARGING) >= _BEATS_IDLE


class Charging:
    protocols = ("ocpp16",)
    packs = ()
    """``ebike_shed`` is for sockets of e-bikes: 8 A, and none at night."""

    def __init__(self, beat_s: float = BEAT_S) -> None:
        self._beat_s = beat_s
        self._chargers = (_Charger("CP-1", 2, 812_000), _Charger("CP-2", 7, 455_000))
        self._port = 0
        self._password = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._port = free_port()
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-charging-"))
            self._password = secret(Path(directory), "password", _PASSWORD)
            for charger in self._chargers:
                stack.push_async_callback(ended, asyncio.create_task(self._keep_up(charger)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def lines(self) -> Sequence[dict[str, Any]]:
        listen = f"127.0.0.1:{self._port}"
        return [{"id": "chargers", "protocol": "ocpp16", "listen": listen, "authorize": "all", "heartbeat_s": 10}]

    def devices(self) -> Sequence[dict[str, Any]]:
        return [
            {
                "id": f"car-charger-{number}",
                "profile": "ocpp_connector",
                "kind": "car_charger",
                "line": "chargers",
                "charge_point": charger.name,
                "password_file": self._password,
                "name": {"zh": f"车库 {number} 号充电桩", "en": f"Charger {number} of the garage"},
                "place": {"building": "1#", "floor": "B1"},
                "every": "10s",
            }
            for number, charger in enumerate(self._chargers, 1)
        ]

    def fault(self) -> None:
        """The first charger finds earth leakage: at its next beat it ends the charge, and says why."""
        self._chargers[0].faulted = True

    def mend(self) -> None:
        self._chargers[0].faulted = False

    async def _keep_up(self, charger: _Charger) -> None:
        """A connection that breaks cancels what waits for its answers: so each is a task of its own."""
        import aiohttp

        from drivers.ocpp.simulator import Refused

        while True:
            life = asyncio.create_task(self._live(charger))
            try:
                await asyncio.wait([life])
            finally:
                life.cancel()
                done = await asyncio.gather(life, return_exceptions=True)
            match done[0]:
                case None | asyncio.CancelledError() | OSError() | aiohttp.ClientError() | Refused():
                    await asyncio.sleep(AGAIN_S)
                case BaseException() as fault:
                    raise fault

    async def _live(self, charger: _Charger) -> None:
        from drivers.ocpp.simulator import SimCharger

        async with SimCharger(f"ws://127.0.0.1:{self._port}/ocpp", charger.name, _PASSWORD) as socket:
            _now(socket)
            await socket.boot()
            charger.shown = ""
            while True:
                await (_charging if charger.charges else _idle)(charger, socket)
                await asyncio.sleep(self._beat_s)
                charger.beat += 1
                _now(socket)


async def _charging(charger: _Charger, socket: SimCharger) -> None:
    if charger.transaction is None:
        await _shown(charger, socket, "Preparing")
        charger.transaction = await socket.start(1, _CARD, charger.meter_wh)
    await _shown(charger, socket, "Charging")
    charger.meter_wh += _WH_A_BEAT
    await _metered(charger, socket, POWER_W)


async def _idle(charger: _Charger, socket: SimCharger) -> None:
    if charger.transaction is not None:
        transaction, charger.transaction = charger.transaction, None
        reason = "EmergencyStop" if charger.faulted else "EVDisconnected"
        await socket.stop(transaction, charger.meter_wh, reason=reason)
        await _metered(charger, socket, 0)
    await _shown(charger, socket, "Faulted" if charger.faulted else "Available")
    await socket.heartbeat()


async def _shown(charger: _Charger, socket: SimCharger, status: str) -> None:
    if charger.shown != status:
        await socket.status(1, status, "GroundFailure" if status == "Faulted" else "NoError")
        charger.shown = status


async def _metered(charger: _Charger, socket: SimCharger, power_w: int) -> None:
    sampled = [
        {"value": str(charger.meter_wh), "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": str(power_w), "measurand": "Power.Active.Import", "unit": "W"},
        {"value": f"{power_w / _VOLTS:.1f}", "measurand": "Current.Import", "unit": "A"},
        {"value": str(_VOLTS), "measurand": "Voltage", "unit": "V"},
        {"value": "34" if power_w else "24", "measurand": "Temperature", "unit": "Celsius"},
    ]
    await socket.meter(1, sampled, charger.transaction)


def _now(socket: SimCharger) -> None:
    socket.now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
