"""A charger that speaks OCPP 1.6 over a real WebSocket; its messages are written here, not by the hub's own code.

async with SimCharger("ws://127.0.0.1:9000/ocpp", "CP-1", "password") as charger:
    await charger.boot()
    await charger.status(1, "Preparing")
    transaction = await charger.start(1, "04A2B3C4", meter_wh=1000)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
from types import TracebackType
from typing import Any, Self

import aiohttp


class Refused(Exception):
    """The central system answered with an error."""


class SimCharger:
    def __init__(self, url: str, charge_point: str, password: str | None, *, subprotocol: str = "ocpp1.6") -> None:
        self._url = f"{url}/{charge_point}"
        written = base64.b64encode(f"{charge_point}:{password}".encode()).decode()
        self._headers = {} if password is None else {"Authorization": f"Basic {written}"}
        self._subprotocol = subprotocol
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self.now = "2026-01-01T00:00:00Z"
        self.obeys = "Accepted"
        """What commands are answered with; an empty text: nothing."""
        self.commands: list[tuple[str, dict[str, Any]]] = []

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers=self._headers)
        try:
            await self.connect()
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.disconnect()
        if self._http is not None:
            await self._http.close()

    @property
    def connected(self) -> bool:
        return self._reader is not None and not self._reader.done()

    async def connect(self) -> None:
        assert self._http is not None
        self._socket = await self._http.ws_connect(self._url, protocols=(self._subprotocol,))
        self._reader = asyncio.create_task(self._read(self._socket))

    async def disconnect(self) -> None:
        """Gone without a word, as a charger whose mobile connection breaks."""
        if self._socket is not None and self._socket.get_extra_info("transport") is not None:
            self._socket.get_extra_info("transport").abort()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._socket is not None:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                await self._socket.close()
            self._socket = None
        for future in self._answers.values():
            future.cancel()
        self._answers.clear()

    # ------------------------------------------------------------------ what a charger says

    async def boot(self) -> Any:
        return await self.call(
            "BootNotification",
            {"chargePointVendor": "Sim", "chargePointModel": "S1", "chargePointSerialNumber": "0001"},
        )

    async def heartbeat(self) -> Any:
        return await self.call("Heartbeat", {})

    async def authorize(self, card: str) -> str:
        answer = await self.call("Authorize", {"idTag": card})
        return str(answer["idTagInfo"]["status"])

    async def status(self, connector: int, status: str, error: str = "NoError", **more: Any) -> Any:
        told = {"connectorId": connector, "status": status, "errorCode": error, "timestamp": self.now}
        return await self.call("StatusNotification", told | more)

    async def start(self, connector: int, card: str, meter_wh: int) -> int:
        told = {"connectorId": connector, "idTag": card, "meterStart": meter_wh, "timestamp": self.now}
        return int((await self.call("StartTransaction", told))["transactionId"])

    async def stop(self, transaction: int, meter_wh: int, **more: Any) -> Any:
        told = {"transactionId": transaction, "meterStop": meter_wh, "timestamp": self.now}
        return await self.call("StopTransaction", told | more)

    async def meter(self, connector: int, sampled: list[dict[str, str]], transaction: int | None = None) -> Any:
        told: dict[str, Any] = {
            "connectorId": connector,
            "meterValue": [{"timestamp": self.now, "sampledValue": sampled}],
        }
        return await self.call("MeterValues", told | ({} if transaction is None else {"transactionId": transaction}))

    async def call(self, action: str, payload: dict[str, Any]) -> Any:
        """The answer's payload.  Raises Refused."""
        id_ = f"m{next(self._numbers)}"
        future = self._answers[id_] = asyncio.get_running_loop().create_future()
        await self.say(json.dumps([2, id_, action, payload]))
        return await future

    async def say(self, text: str) -> None:
        """Anything at all."""
        assert self._socket is not None
        await self._socket.send_str(text)

    # ------------------------------------------------------------------ what it hears

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            heard = json.loads(message.data)
            if heard[0] == 2:
                await self._obey(socket, heard)
                continue
            future = self._answers.pop(heard[1], None)
            if future is None or future.done():
                continue
            if heard[0] == 3:
                future.set_result(heard[2])
            else:
                future.set_exception(Refused(heard[2]))
        for future in self._answers.values():
            future.cancel()

    async def _obey(self, socket: aiohttp.ClientWebSocketResponse, heard: list[Any]) -> None:
        self.commands.append((heard[2], heard[3]))
        if self.obeys == "error":
            await socket.send_str(json.dumps([4, heard[1], "InternalError", "", {}]))
        elif self.obeys:
            await socket.send_str(json.dumps([3, heard[1], {"status": self.obeys}]))
