"""A BACnet/IP device of bacpypes3 on a loopback port: an independent implementation at the far end.

async with SimDevice(1001, port) as ahu:
    ahu.set("analog-input,1", "present-value", 21.5)
"""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Any, Self

from bacpypes3.basetypes import DoorStatus
from bacpypes3.ipv4.app import NormalApplication
from bacpypes3.local.analog import AnalogInputObject
from bacpypes3.local.binary import BinaryInputObject
from bacpypes3.local.device import DeviceObject
from bacpypes3.local.multistate import MultiStateInputObject
from bacpypes3.local.object import Object as LocalObject
from bacpypes3.object import LiftObject
from bacpypes3.pdu import IPv4Address

from drivers.hub import HostPort


class _Lift(LocalObject, LiftObject):  # type: ignore[misc]  # bacpypes3 is untyped here
    """A lift whose properties are what they were set to."""


class SimDevice:
    """analog-input,1 (21.5), binary-input,1 (inactive), multi-state-input,1 (2 of 3), lift,1."""

    def __init__(self, instance: int, port: int) -> None:
        self._instance = instance
        self._port = port
        self._app: Any = None
        self.objects: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        device = DeviceObject(objectIdentifier=("device", self._instance), objectName="sim", vendorIdentifier=999)
        self._app = NormalApplication(device, IPv4Address(self.address))
        self.objects = {
            "analog-input,1": AnalogInputObject(
                objectIdentifier=("analog-input", 1),
                objectName="temperature",
                presentValue=21.5,
                units="degreesCelsius",
            ),
            "binary-input,1": BinaryInputObject(
                objectIdentifier=("binary-input", 1), objectName="alarm", presentValue="inactive", polarity="normal"
            ),
            "multi-state-input,1": MultiStateInputObject(
                objectIdentifier=("multi-state-input", 1), objectName="mode", presentValue=2, numberOfStates=3
            ),
            "lift,1": _Lift(
                objectIdentifier=("lift", 1),
                objectName="lift 1",
                carPosition=7,
                carMode="normal",
                carDoorStatus=[DoorStatus("closed"), DoorStatus("opened")],
                passengerAlarm=False,
            ),
        }
        for each in self.objects.values():
            self._app.add_object(each)
        await asyncio.gather(*self._app.normal.server._transport_tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._app.close()
        await asyncio.sleep(0)

    def set(self, name: str, property_: str, value: Any) -> None:
        setattr(self.objects[name], property_, value)

    def notify(self, to: HostPort, value: float) -> None:
        """An unconfirmed COV notification of analog-input,1, written here."""
        self.send(cov(self._instance, value), to)

    def send(self, data: bytes, to: HostPort) -> None:
        """Any bytes, from the device's own port."""
        self._app.normal.server.local_transport.sendto(data, to)


def cov(instance: int, value: float) -> bytes:
    """present-value and status-flags of analog-input,1 (clause 13.7, and the example of annex F.1.3)."""
    values = b"\x4e\x09\x55\x2e\x44" + struct.pack(">f", value) + b"\x2f\x09\x6f\x2e\x82\x04\x00\x2f\x4f"
    device = b"\x1c" + (8 << 22 | instance).to_bytes(4, "big")
    apdu = b"\x10\x02\x09\x12" + device + b"\x2c\x00\x00\x00\x01" + b"\x39\x00" + values
    return b"\x81\x0a" + struct.pack(">H", 6 + len(apdu)) + b"\x01\x00" + apdu


def i_am(instance: int) -> bytes:
    apdu = b"\x10\x00\xc4" + (8 << 22 | instance).to_bytes(4, "big") + b"\x22\x05\xc4\x91\x03\x22\x03\xe7"
    return b"\x81\x0b" + struct.pack(">H", 6 + len(apdu)) + b"\x01\x00" + apdu
