"""One plug of a charger, as a device: it is listened to, and can be told to stop and to be out of service.

A charge is stopped from here and never started: a start spends somebody's money and puts a plug under voltage, so it
belongs to the person who stands beside it with a card.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from drivers.base import DeviceSpec, Unasked
from drivers.ocpp.config import DeviceOptions, PointOptions
from gateway.errors import DeviceRejected
from gateway.model import PointId, Value

SETTLE_S: Final = 60.0
"""A charger ends a charge in its own time, and says so with StopTransaction and StatusNotification."""


class Asks(Protocol):
    """What a connector needs of its hub."""

    async def ask(
        self, charge_point: str, action: str, payload: dict[str, Any], timeout_s: float
    ) -> dict[str, Any]: ...

    def transaction(self, device: str) -> int | None: ...


class Connector(Unasked):
    __slots__ = ("_hub", "_options", "_spec")

    def __init__(self, spec: DeviceSpec, hub: Asks) -> None:
        self._spec = spec
        self._hub = hub
        self._options: DeviceOptions = spec.options

    async def write(self, point: PointId, value: Value) -> None:
        options: PointOptions = self._spec.points[point].options
        if options.says == "transaction":
            await self._stop(value)
        elif options.says == "available":
            kind = "Operative" if value else "Inoperative"
            await self._ask("ChangeAvailability", {"connectorId": self._options.connector, "type": kind})
        else:
            raise DeviceRejected(
                f"不能写 says: {options.says} / says: {options.says} cannot be written",
                0,
                hint="可写：transaction（只能停止）、available / transaction (to stop only) and available can be",
            )

    def settle_s(self, point: PointId) -> float:
        return SETTLE_S

    async def _stop(self, value: Value) -> None:
        if value:
            raise DeviceRejected(
                "充电只能停止，不能远程启动 / a charge is stopped from here, never started",
                0,
                hint="在桩上刷卡启动 / start it with a card at the charger",
            )
        transaction = self._hub.transaction(self._spec.id)
        if transaction is None:
            raise DeviceRejected("没有正在进行的充电 / no charge goes on", 0)
        await self._ask("RemoteStopTransaction", {"transactionId": transaction})

    async def _ask(self, action: str, payload: dict[str, Any]) -> None:
        answer = await self._hub.ask(self._options.charge_point, action, payload, self._spec.timeout_s)
        status = str(answer["status"])
        if status not in ("Accepted", "Scheduled"):
            raise DeviceRejected(f"{action}: {status}", 0)
