"""The north gate: a plate camera each way, a barrier on an I/O module, and a camera over the fire lane.

Cars come and go by themselves, one every few seconds.  The barrier's own controller lets them through; what is written
to the module's relay raises the arm as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from drivers.modbus.config import Table
from drivers.modbus.simulator import Cell, SimUnit
from gateway.clock import SystemClock
from gateway.sim.broker import free_port
from gateway.sim.systems.ground import behind_server, ended
from gateway.vehicles.lists import ListEntry, ListFile
from gateway.vehicles.load import write_list
from gateway.vehicles.pseudonym import fingerprint, new_key, pseudonym_of, read_key

if TYPE_CHECKING:
    from drivers.plate_camera.simulator import PlateCameraSim

TRAFFIC_S = 5.0
"""Between two cars."""
HEARTBEAT_S = 3.0
STAYS, MOVES_ON = 64, 65
"""triggerType of Vzenith's cameras."""
_ARM_UP, _LOOP, _HIT, _FAULT, _HELD_UP, _RAISE = 0, 1, 2, 3, 4, 0
_SERIALS = {"cam-in": "5eb1b6c6-c8a1e101", "cam-out": "5eb1b6c6-c8a1e102", "cam-lane": "5eb1b6c6-c8a1e103"}
"""Of no camera."""
_CARS = tuple(f"皖X{number:05}" for number in range(11, 17))
"""Of people who live here; made up."""
BANNED = "皖X00099"


@dataclass
class Barrier:
    """The arm and what the module's terminals say of it.  No task: times are asked for, not waited for."""

    stays_s: float = 3.0
    """After the last car the arm stays up for so long."""
    moves_s: float = 1.0
    unit: SimUnit = field(default_factory=SimUnit)
    _raised_s: float = float("-inf")
    _car_s: float = float("-inf")

    def __post_init__(self) -> None:
        inputs: dict[int, Cell] = {_HIT: 0, _FAULT: 0, _HELD_UP: 0}
        inputs |= {_ARM_UP: lambda: int(self.is_up), _LOOP: lambda: int(self._since(self._car_s) < self.stays_s)}
        self.unit.tables[Table.DISCRETE].update(inputs)
        self.unit.tables[Table.COIL][_RAISE] = 0
        self.unit.on_write = self._written

    @property
    def is_up(self) -> bool:
        return self.moves_s <= self._since(self._raised_s) < self.moves_s + self.stays_s

    def lets_through(self) -> None:
        self._car_s = asyncio.get_running_loop().time()
        self._raise()

    def _raise(self) -> None:
        """What is up already stays up: the arm has not to move again."""
        self._raised_s = asyncio.get_running_loop().time() - (self.moves_s if self.is_up else 0.0)

    def _written(self, table: Table, address: int, value: int) -> None:
        if (table, address, value) == (Table.COIL, _RAISE, 1):
            self._raise()

    @staticmethod
    def _since(moment_s: float) -> float:
        return asyncio.get_running_loop().time() - moment_s


class Gate:
    protocols = ("plate-camera", "modbus-rtu", "http-speaker", "onbon")
    packs = tuple(
        f"vehicles:{rule}"
        for rule in (
            *("fire_lane_blocked", "vehicle_denied", "parking_full"),
            *(f"barrier_{ill}" for ill in ("open_long", "hit", "hits_often", "fault")),
        )
    )
    """Of the pack's rules, one is about cameras over parking places."""

    def __init__(self, traffic_s: float = TRAFFIC_S) -> None:
        self._traffic_s = traffic_s
        self.barrier = Barrier()
        self._cameras: dict[str, PlateCameraSim] = {}
        self._pushes = self._io = 0
        self._blocked = False
        self._inside: list[str] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from drivers.plate_camera.simulator import PlateCameraSim

        self._pushes = free_port()
        async with AsyncExitStack() as stack:
            self._io = await stack.enter_async_context(behind_server({1: self.barrier.unit}))
            for device, serial in _SERIALS.items():
                camera = PlateCameraSim(f"http://127.0.0.1:{self._pushes}/", serial)
                self._cameras[device] = await stack.enter_async_context(camera)
            # Registered last, ended first: nobody pushes through a session that is closed.
            for life in (self._traffic(), *map(self._alive, self._cameras)):
                stack.push_async_callback(ended, asyncio.create_task(life))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._cameras.clear()

    def lines(self) -> Sequence[dict[str, Any]]:
        return [
            {"id": "cameras", "protocol": "plate-camera", "listen": f"127.0.0.1:{self._pushes}"},
            {"id": "gate-io", "tcp": f"127.0.0.1:{self._io}"},
        ]

    def devices(self) -> Sequence[dict[str, Any]]:
        names = {"cam-in": ("北门入口相机", "North gate, entry"), "cam-out": ("北门出口相机", "North gate, exit")}
        cameras = [self._camera(device, *name) for device, name in names.items()]
        lane = self._camera("cam-lane", "1 号楼消防车道相机", "Fire lane of building 1")
        # Whoever stands in the lane reads the display there.
        lane |= {"kind": "lane_camera", "min_confidence": 0.9, "roles": {"speaker": "sign-1"}}
        lane["place"] = {"building": "1#"}
        barrier = {
            "id": "barrier-1",
            "profile": "barrier_io_8ch",
            "line": "gate-io",
            "unit_id": 1,
            "name": {"zh": "北门道闸", "en": "Barrier of the north gate"},
            "place": {"grid": "N1"},
            "every": "1s",
            "allow_write": ["raise"],
        }
        return [*cameras, lane, barrier]

    def furnish(self, directory: Path) -> Mapping[str, Any]:
        """The lists: who lives here, and one who may not come in."""
        path = directory / "plates.key"
        key = read_key(path) if path.exists() else new_key(path)
        (directory / "lists").mkdir(exist_ok=True)
        for word, plates in (("allow", _CARS), ("deny", (BANNED,))):
            entries = [ListEntry(plate=name) for plate in plates if (name := pseudonym_of(key, plate)) is not None]
            write_list(
                directory / "lists" / f"{word}.yaml",
                ListFile(format="plates/1", word=word, key=fingerprint(key), entries=entries),
            )
        gate = {"gate": "north", "area": "garage"}
        vehicles = {
            "key_file": "plates.key",
            "lists": ["lists/allow.yaml", "lists/deny.yaml"],
            "areas": {"garage": {"capacity": 120}},
            "gates": [{"camera": "cam-in", "way": "enter", **gate}, {"camera": "cam-out", "way": "leave", **gate}],
        }
        return {"vehicles": vehicles}

    async def arrive(self, plate: str) -> None:
        """A car comes in.  Waits until the gateway has it on disk, or the camera gives up."""
        await self._passes("cam-in", plate, direction=4)

    async def leave(self, plate: str) -> None:
        await self._passes("cam-out", plate, direction=3)

    async def block_fire_lane(self, plate: str = _CARS[0]) -> None:
        """A car stops in the fire lane, and stays."""
        self._blocked = True
        await self._push("cam-lane", plate, triggerType=STAYS)

    async def clear_fire_lane(self, plate: str = _CARS[0]) -> None:
        if self._blocked:
            self._blocked = False
            await self._push("cam-lane", plate, triggerType=MOVES_ON)

    def _camera(self, device: str, zh: str, en: str) -> dict[str, Any]:
        return {
            "id": device,
            "profile": "plate_camera",
            "line": "cameras",
            "serial": _SERIALS[device],
            "peer": "127.0.0.1",
            "name": {"zh": zh, "en": en},
            "place": {"grid": "N1"},
            "every": "30s",
        }

    async def _passes(self, device: str, plate: str, direction: int) -> None:
        if self._cameras:
            self.barrier.lets_through()
        await self._push(device, plate, direction=direction)

    async def _push(self, device: str, plate: str, **more: Any) -> None:
        if (camera := self._cameras.get(device)) is not None:
            await camera.passes(plate, time_ms=SystemClock().now_ms(), **more)

    async def _traffic(self) -> None:
        """One comes, one goes."""
        number = 0
        while True:
            await asyncio.sleep(self._traffic_s)
            if self._inside:
                await self.leave(self._inside.pop())
            else:
                self._inside.append(_CARS[1 + number % (len(_CARS) - 1)])
                await self.arrive(self._inside[-1])
                number += 1

    async def _alive(self, device: str) -> None:
        """The first that a gateway hears is how it stands: nobody in the lane."""
        camera = self._cameras[device]
        told = device != "cam-lane"
        while True:
            answered = await camera.heartbeat()
            if not told and answered.status == 200 and not self._blocked:
                await self._push(device, _CARS[0], triggerType=MOVES_ON)
                told = True
            await asyncio.sleep(HEARTBEAT_S)
