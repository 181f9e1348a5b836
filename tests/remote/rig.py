"""A desk with everything real behind it but the wire and the database: a valve, a door, a lamp, a gas valve."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.commands import Commands
from gateway.envelope import Draft, Envelope
from gateway.errors import GatewayError, StoreError, StoreFull
from gateway.ids import uuid7
from gateway.model import Device, Lane, Place, Point, PointId, Reading, Text, Value, ValueKind
from gateway.pipeline import Pipeline
from gateway.remote.acts import Means
from gateway.remote.audit_log import AuditLog
from gateway.remote.desk import Desk, counters_in
from gateway.remote.doors import Doors, left_on
from gateway.remote.rights import Right
from gateway.remote.signature import public_key
from gateway.remote.trail import Trail, anchor_in
from gateway.sim.operator import Operator
from gateway.uplink.dialect import Request
from rules.definition import read_rules
from rules.engine import Engine, Instant
from support.clock import LoopClock, ManualClock

SITE, GATEWAY, UPLINK = "jiayuan", "gw1", "city"


def point(id_: str, kind: ValueKind, **more: Any) -> Point:
    return Point(id_, kind, Text(id_, id_), 1.0, **{"writable": True, **more})


VALVE = point("gas.valve", ValueKind.STATE, states=("open", "closed", "half"))
FLAP = point("water.valve", ValueKind.STATE, states=("open", "closed"))
DOOR = point("board.relay1", ValueKind.BOOLEAN)
LAMP = point("board.relay2", ValueKind.BOOLEAN)
LOCK = point("entrance.lock", ValueKind.BOOLEAN)
LEVEL = point("board.level", ValueKind.NUMBER, writable=False)
POINTS = {each.id: each for each in (VALVE, FLAP, DOOR, LAMP, LOCK, LEVEL)}
KINDS = {"gas": "gas_meter", "water": "water_meter", "board": "relay", "entrance": "door"}
DEVICES = {
    id_: Device(id_, kind, Text(id_, id_), Place(), "test", tuple(p for p in POINTS.values() if p.device == id_))
    for id_, kind in KINDS.items()
}
ALL = (
    "help", "time", "read", "write", "door.release", "alarm.acknowledge", "alarm.shelve", "alarm.reset", "rebirth",
    "resend", "reload", "config.apply", "bundle",
)  # fmt: skip


@dataclass
class Wire:
    """Every device: writes take 0.1 s and are kept; it is commands.Bus and the driver in one."""

    clock: LoopClock
    writes: list[tuple[float, PointId, Value]] = field(default_factory=list)
    shown: dict[PointId, Value] = field(default_factory=lambda: {VALVE.id: "open", FLAP.id: "open"})
    fails: dict[Value, Exception] = field(default_factory=dict)
    """What a write of the value ends with."""
    deaf: bool = False
    busy_s: float = 0.0
    on_write: Callable[[], None] | None = None

    @property
    def drivers(self) -> Mapping[str, Any]:
        return dict.fromkeys(DEVICES, self)

    async def command(self, device: str, action: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self.busy_s)
        await action()

    async def read(self, device: str, points: Sequence[PointId]) -> Sequence[Reading]:
        await asyncio.sleep(0.05)
        now_ms = self.clock.now_ms()
        return [Reading(each, self.shown.get(each, False), now_ms, now_ms) for each in points]

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [points]

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        raise NotImplementedError

    def settle_s(self, point: PointId) -> float:
        return 0.0

    async def write(self, point: PointId, value: Value) -> None:
        self.writes.append((round(asyncio.get_running_loop().time(), 1), point, value))
        if self.on_write is not None:
            self.on_write()
        await asyncio.sleep(0.1)
        if value in self.fails:
            raise self.fails[value]
        if not self.deaf:
            self.shown[point] = value


@dataclass
class Disk:
    """What survives: state and events."""

    state: dict[str, bytes] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    refusing: bool = False

    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        await asyncio.sleep(0.01)
        if self.refusing:
            raise StoreFull("disk full")
        for key, value in state.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        for draft in drafts:
            if draft.lane is Lane.EVENT:
                self.events += json.loads(draft.items)
        return []

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


class AtOnce(Executor):
    """For virtual time, which does not wait for threads."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except StoreError as exc:
            future.set_exception(exc)
        return future


@dataclass
class Rig:
    """What is outside the daemon; each ``daemon`` is one life of it."""

    directory: Path
    clock: LoopClock = field(default_factory=LoopClock)
    disk: Disk = field(default_factory=Disk)
    operator: Operator = field(default_factory=lambda: Operator(SITE, GATEWAY))
    rights: dict[str, Right] = field(default_factory=dict)
    pulses: dict[PointId, float] = field(default_factory=lambda: {DOOR.id: 3.0})
    done: list[Any] = field(default_factory=list)
    """What rebirth, resend, reload, configuration and acknowledgement were asked."""
    able: bool = True
    """Whether the daemon has callables for these."""
    hidden: frozenset[PointId] = frozenset()
    faults: str = ""

    def __post_init__(self) -> None:
        self.wire = Wire(self.clock)
        self.rights[self.operator.key] = Right(public_key(self.operator.public), frozenset(ALL), frozenset({"*"}))

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Desk]:
        """Ends as if killed: nothing is told to stop."""
        devices = tuple(DEVICES.values())
        rules, _ = read_rules({"format": "rules/1", "rules": []}, devices)
        engine = Engine(rules, POINTS, devices, new_id=uuid7, started=Instant(0.0, self.clock.wall_ms))
        pipeline = Pipeline(self.disk, engine, POINTS, self.clock)
        saved = dict(self.disk.state)
        files = AuditLog(self.directory, ManualClock())
        trail = Trail(files, pipeline, self.clock, anchor_in(saved), thread=AtOnce())
        allowed = frozenset({VALVE.id, FLAP.id, DOOR.id, LAMP.id, LOCK.id})
        places = {device.id: device.place for device in devices}
        self.commands = Commands(POINTS, places, allowed, dict.fromkeys(DEVICES, self.wire), trail, self.clock)
        doors = Doors(self.commands, pipeline, self.clock, left_on(saved))
        desk = Desk(SITE, GATEWAY, self.rights, self._means(doors), trail, self.clock, counters_in(saved))
        async with trail:
            tasks = [asyncio.ensure_future(each) for each in (pipeline.run(), desk.run(), doors.run(), trail.run())]
            try:
                yield desk
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _means(self, doors: Doors) -> Means:
        async def read(points: Sequence[PointId]) -> Any:
            if unknown := [each for each in points if each not in POINTS]:
                raise GatewayError(f"unknown point: {unknown[0]}")
            return [{"p": each, "v": 1} for each in points]

        async def attend(
            act: str, rule: str, device: str | None, who: str, via: str, reason: str, for_s: float | None
        ) -> Any:
            if rule != "gas_leak":
                raise KeyError(rule)
            if for_s is not None and for_s > 3600:
                raise GatewayError("shelve refused: 1 h at most")
            self.done.append(
                (act, rule, device, who, via, *((reason,) if reason else ()), *((for_s,) if for_s else ()))
            )
            return {"state": "acked" if act == "acknowledge" else "normal"}

        async def rebirth(uplink: str) -> None:
            self.done.append(("rebirth", uplink))

        async def resend(*asked: Any) -> int:
            self.done.append(("resend", *asked))
            return 1

        def reload() -> str:
            self.done.append(("reload",))
            return self.faults

        async def apply(document: bytes, uplink: str) -> None:
            self.done.append(("apply", document, uplink))

        means = Means(
            POINTS, DEVICES, self.commands, doors, self.pulses, read, attend,
            lambda uplink, point: point not in self.hidden, self.clock,
        )  # fmt: skip
        if not self.able:
            return means
        return replace(means, rebirth=rebirth, resend=resend, reload=reload, apply_config=apply)

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def request(self, command: str, args: Mapping[str, Any] | None = None, **other: Any) -> Request:
        id_, body = self.operator.order(command, args or {}, self.now_ms(), **other)
        return Request(UPLINK, id_, body)

    def write(self, target: Point = LAMP, value: object = True, **other: Any) -> Request:
        return self.request("write", {"point": target.id, "value": value, "reason": "trial"}, **other)

    def audited(self) -> list[dict[str, Any]]:
        files = sorted(self.directory.glob("audit*.log"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
