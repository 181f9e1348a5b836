"""Two lifts of building 1: of one a box tells over MQTT, the other is asked by Modbus RTU behind a converter."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from drivers.http_output.simulator import Loudspeaker
from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit, serve_tcp
from drivers.mqtt_south.simulator import SimBoxes, SimClient
from gateway.sim.systems.radio import JSON_LINE, Radio
from gateway.sim.systems.rhythm import repeating, unix_now_s

BOX, CONTROLLER = 1, 2
"""The lifts, by number."""
SAY_S = 2.0
_LINE, _VOICE = "tcp-lifts", "lift-voice"
_BOX_ADDRESS, _CAMERA_ADDRESS = "L1", "C1"
_STOPS = (1, 5, 1, 3, 1, 4, 2)
"""Floors that a lift serves, in turn, over and over."""
_FLOOR_S, _DWELL_S = 1.5, 4.0
_CONTROLLER_UNIT, _CONTACT_UNIT = 1, 2
_STATUS_BLOCK = range(0xC800, 0xC830)


@dataclass(frozen=True, slots=True)
class Car:
    """What a lift's own electronics know."""

    floor: int
    direction: int
    """1 up, -1 down, 0 stopped."""
    door_closed: bool
    in_door_zone: bool
    passenger: bool
    entrapment: bool = False


def car_at(t_s: float) -> Car:
    """At each stop the doors stand open; somebody rides along on every second trip."""
    trips = list(zip(_STOPS, (*_STOPS[1:], _STOPS[0]), strict=True))
    rest_s = t_s % sum(_DWELL_S + _FLOOR_S * abs(to - start) for start, to in trips)
    for number, (start, to) in enumerate(trips):
        ride_s = _FLOOR_S * abs(to - start)
        if rest_s < _DWELL_S:
            return Car(start, 0, door_closed=False, in_door_zone=True, passenger=number % 2 == 0)
        if rest_s < _DWELL_S + ride_s:
            up = 1 if to > start else -1
            floor = start + up * math.floor((rest_s - _DWELL_S) / _FLOOR_S)
            return Car(floor, up, door_closed=True, in_door_zone=False, passenger=number % 2 == 0)
        rest_s -= _DWELL_S + ride_s
    raise AssertionError("the trips are as long as their sum")


class Lifts:
    protocols = ("mqtt-json", "modbus-rtu", "http-speaker")
    packs = ("lift",)

    def __init__(self, radio: Radio) -> None:
        """*radio*: whose broker the boxes speak to; it is opened before this."""
        self._radio = radio
        self._trapped: dict[int, Car] = {}
        self._ebike = False
        self._contact = _relays()
        self._speaker = Loudspeaker()
        self._port = 0
        self._started_s = 0.0
        self._boxes: SimBoxes
        self._camera: SimClient
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._started_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            units = {_CONTROLLER_UNIT: _controller(partial(self.car, CONTROLLER)), _CONTACT_UNIT: self._contact}
            self._port = await stack.enter_async_context(serve_tcp(ModbusBank(units), stream=RtuLine))
            await stack.enter_async_context(self._speaker)
            self._boxes = await stack.enter_async_context(SimBoxes("127.0.0.1", self._radio.port, "lift"))
            self._camera = await stack.enter_async_context(SimClient("127.0.0.1", self._radio.port, "sim-lift-camera"))
            await stack.enter_async_context(repeating(SAY_S, self._say))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def lines(self) -> Sequence[dict[str, Any]]:
        return [{"id": _LINE, "tcp": f"127.0.0.1:{self._port}"}, {"id": _VOICE, "protocol": "http-speaker"}]

    def devices(self) -> Sequence[dict[str, Any]]:
        place = {"building": "1#", "unit": "1"}
        boxes = {"line": JSON_LINE, "every": "10s"}
        return [
            {
                "id": "lift-1",
                "profile": "lift_box_a",
                "address": _BOX_ADDRESS,
                **boxes,
                "name": {"zh": "1 号电梯", "en": "Lift 1"},
                "place": dict(place),
            },
            {
                "id": "lift-2",
                "profile": "lift_controller_c800",
                "unit_id": _CONTROLLER_UNIT,
                "line": _LINE,
                "name": {"zh": "2 号电梯", "en": "Lift 2"},
                "place": {"building": "1#", "unit": "2"},
                "every": "2s",
            },
            {
                "id": "lift-1-door",
                "profile": "waveshare_modbus_relay_8ch",
                "unit_id": _CONTACT_UNIT,
                "line": _LINE,
                "name": {"zh": "1 号电梯开门保持触点", "en": "Contact that holds the doors of lift 1"},
                "place": dict(place),
                "allow_write": ["relay1"],
                "actions": {
                    "hold_door": {"point": "relay1", "value": True},
                    "release_door": {"point": "relay1", "value": False},
                },
            },
            {
                "id": "lift-1-camera",
                "profile": "json_lift_camera",
                "address": _CAMERA_ADDRESS,
                **boxes,
                "name": {"zh": "1 号电梯轿厢识别盒", "en": "Recognition box in the car of lift 1"},
                "place": dict(place),
                "roles": {"lift": "lift-1-door", "speaker": "lift-1-speaker"},
            },
            {
                "id": "lift-1-speaker",
                "profile": "http_speaker",
                "line": _VOICE,
                "url": self._speaker.url,
                "name": {"zh": "1 号电梯轿厢喇叭", "en": "Loudspeaker in the car of lift 1"},
                "place": dict(place),
                "every": "10s",
                "allow_write": ["announcement"],
            },
        ]

    def car(self, lift: int) -> Car:
        """How *lift* stands now."""
        trapped = self._trapped.get(lift)
        if trapped is not None:
            return trapped
        if lift == BOX and (self._ebike or self.door_held):
            return Car(_STOPS[0], 0, door_closed=False, in_door_zone=True, passenger=True)
        t_s = asyncio.get_running_loop().time() - self._started_s
        return car_at(t_s + 7.0 * lift)

    @property
    def door_held(self) -> bool:
        """Of lift 1, by the contact that the lift company has provided."""
        return bool(self._contact.tables[Table.COIL][0])

    @property
    def announced(self) -> int:
        """How often something was said in the car of lift 1."""
        return sum(request.path == "/api/tts" for request in self._speaker.received)

    async def trap(self, lift: int) -> None:
        """It stops between two floors with somebody inside."""
        self._trapped[lift] = Car(
            self.car(lift).floor, 0, door_closed=True, in_door_zone=False, passenger=True, entrapment=True
        )
        await self._say()

    async def free(self, lift: int) -> None:
        self._trapped.pop(lift, None)
        await self._say()

    async def ebike(self, there: bool = True) -> None:
        """Somebody takes an e-bike into the car of lift 1, the only one with a camera, or out of it again."""
        self._ebike = there
        await self._say()

    async def _say(self) -> None:
        """The box and the camera of lift 1; that of lift 2 is asked.  Nothing where lifts are left out."""
        if not self._started_s:
            return
        await self._boxes.lift_record(_BOX_ADDRESS, _record(self.car(BOX)), unix_now_s())
        seen = {"ebike": self._ebike, "confidence": 0.94 if self._ebike else 0.02}
        await self._camera.publish(
            f"liftcam/{_CAMERA_ADDRESS}/status", {"id": _CAMERA_ADDRESS, "time": unix_now_s(), **seen}
        )


def _record(car: Car) -> Sequence[int]:
    """One byte a field behind the time, from the version on: lift monitor A.  What ours does not know is 0."""
    running = int(car.direction != 0)
    return (
        1,
        3 if car.entrapment else 0,
        {1: 1, -1: 2, 0: 0}[car.direction],
        0 if car.in_door_zone else 1,
        10 * running,
        0 if car.door_closed else 1,
        int(car.passenger),
        0,
        car.floor,
        0,
        96,
        0,
        running,
        int(car.door_closed),
        0,
        24,
    )


def _controller(car: Callable[[], Car]) -> SimUnit:
    """The status block at C800h; what has no meaning reads 0."""
    unit = SimUnit()
    holding = unit.tables[Table.HOLDING]
    holding.update(dict.fromkeys(_STATUS_BLOCK, 0))
    holding[0xC805] = lambda: 3 if car().door_closed else 1
    holding[0xC80A] = lambda: {1: 1, -1: 2, 0: 0}[car().direction] << 8
    holding[0xC80B] = lambda: 5200 if car().entrapment else 0
    holding[0xC80C] = lambda: car().floor
    holding[0xC823] = 1
    holding[0xC826] = lambda: int(car().entrapment) << 1
    return unit


def _relays() -> SimUnit:
    """Eight coils."""
    unit = SimUnit()
    unit.tables[Table.COIL].update(dict.fromkeys(range(8), 0))
    return unit
