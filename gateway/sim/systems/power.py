"""The gateway's cabinet: a UPS and a network switch, both asked by SNMP; the UPS also sends traps."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from gateway.sim.systems.ground import ended, free_udp_port, secret

if TYPE_CHECKING:
    from drivers.snmp.simulator import SimAgent

FULL_MIN = 45
"""What the battery lasts."""
MINUTE_S = 1.0
"""A minute of it, for the spectator."""
_COMMUNITY: Final = "compound"

# RFC 1628
_UPS: Final = "1.3.6.1.2.1.33.1"
_STATUS, _MINUTES, _CHARGE, _VOLTAGE = f"{_UPS}.2.1.0", f"{_UPS}.2.3.0", f"{_UPS}.2.4.0", f"{_UPS}.2.5.0"
_INPUT_HZ, _INPUT_V, _SOURCE, _OUTPUT_V = f"{_UPS}.3.3.1.2.1", f"{_UPS}.3.3.1.3.1", f"{_UPS}.4.1.0", f"{_UPS}.4.4.1.2.1"
_TEMPERATURE, _LOAD, _ALARMS = f"{_UPS}.2.7.0", f"{_UPS}.4.4.1.5.1", f"{_UPS}.6.1.0"
_ON_BATTERY_TRAP: Final = "1.3.6.1.2.1.33.2.1"
_NORMAL, _LOW = 2, 3
_FROM_MAINS, _FROM_BATTERY = 3, 5
_LOW_MIN = 5
_UP_TIME, _DESCRIPTION, _NAME = "1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.5.0"
# IF-MIB, POWER-ETHERNET-MIB
_IF_STATUS, _IF_ERRORS, _POE, _POE_W = (
    *("1.3.6.1.2.1.2.2.1.8", "1.3.6.1.2.1.2.2.1.14"),
    *("1.3.6.1.2.1.105.1.1.1.6", "1.3.6.1.2.1.105.1.3.1.1.4.1"),
)
_UP, _DOWN, _SEARCHING, _DELIVERING = 1, 2, 2, 3
_PORTS, _USED = range(1, 9), 5


class Power:
    protocols = ("snmp",)
    packs = tuple(f"ups:ups_{rule}" for rule in ("on_battery", "battery_low", "overload", "battery_replace", "hot"))
    """The pack's other rules are about cabinets that have contacts."""

    def __init__(self, minute_s: float = MINUTE_S) -> None:
        self._minute_s = minute_s
        self._ups: SimAgent | None = None
        self._switch: SimAgent | None = None
        self._traps = 0
        self._left_min = float(FULL_MIN)
        self._mains = True
        self._community = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from drivers.snmp.simulator import SimAgent

        self._traps = free_udp_port()
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-power-"))
            self._community = secret(Path(directory), "community", _COMMUNITY)
            self._ups = await stack.enter_async_context(
                SimAgent(self._now() | {_DESCRIPTION: "Simulated UPS", _UP_TIME: 8_640_000})
            )
            self._switch = await stack.enter_async_context(SimAgent(_switch()))
            stack.push_async_callback(ended, asyncio.create_task(self._minute_by_minute(self._ups)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._ups = self._switch = None

    def lines(self) -> Sequence[dict[str, Any]]:
        return [{"id": "snmp", "protocol": "snmp", "traps": f"127.0.0.1:{self._traps}"}]

    def devices(self) -> Sequence[dict[str, Any]]:
        assert self._ups is not None
        assert self._switch is not None
        common = {"line": "snmp", "community_file": self._community}
        return [
            {
                "id": "ups-1",
                "profile": "ups_rfc1628",
                "address": self._ups.address,
                "name": {"zh": "机柜 UPS", "en": "UPS of the cabinet"},
                "every": "2s",
                "place": {"building": "1#", "floor": "B1"},
                **common,
            },
            {
                "id": "switch-1",
                "profile": "network_switch_8",
                "address": self._switch.address,
                "name": {"zh": "机柜交换机", "en": "Network switch of the cabinet"},
                "every": "10s",
                "place": {"building": "1#", "floor": "B1"},
                **common,
            },
        ]

    def mains_fail(self) -> None:
        """The UPS goes on by battery, and says so at once."""
        self._mains = False
        if self._ups is not None:
            self._ups.values |= self._now()
            self._ups.notify(_ON_BATTERY_TRAP, ("127.0.0.1", self._traps), {_MINUTES: round(self._left_min)})

    def mains_return(self) -> None:
        self._mains = True
        if self._ups is not None:
            self._ups.values |= self._now()

    async def _minute_by_minute(self, ups: SimAgent) -> None:
        while True:
            await asyncio.sleep(self._minute_s)
            self._left_min = min(FULL_MIN, max(0.0, self._left_min + (0.5 if self._mains else -1.0)))
            ups.values |= self._now() | {_UP_TIME: ups.values[_UP_TIME] + 100}

    def _now(self) -> dict[str, Any]:
        share = self._left_min / FULL_MIN
        return {
            _STATUS: _LOW if self._left_min < _LOW_MIN else _NORMAL,
            _MINUTES: round(self._left_min),
            _CHARGE: round(100 * share),
            _VOLTAGE: round(10 * (44.0 + 10.0 * share)),
            _TEMPERATURE: 27,
            _INPUT_HZ: 500 if self._mains else 0,
            _INPUT_V: 226 if self._mains else 0,
            _SOURCE: _FROM_MAINS if self._mains else _FROM_BATTERY,
            _OUTPUT_V: 220,
            _LOAD: 31,
            _ALARMS: 0 if self._mains else 1,
        }


def _switch() -> Mapping[str, Any]:
    """Five ports in use, the others empty."""
    values: dict[str, Any] = {_DESCRIPTION: "Simulated switch", _NAME: "switch-1", _UP_TIME: 8_640_000, _POE_W: 38}
    for port in _PORTS:
        used = port <= _USED
        values[f"{_IF_STATUS}.{port}"] = _UP if used else _DOWN
        values[f"{_IF_ERRORS}.{port}"] = 0
        values[f"{_POE}.1.{port}"] = _DELIVERING if used else _SEARCHING
    return values
