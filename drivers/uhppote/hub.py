"""The line of UHPPOTE controllers: their pushes, their answers, and the events that must not be lost.

    push (listen port) ──▶ changed readings ───────────────────────────────▶ Inbox ──▶ receive ──▶ core
                      └──▶ wake ─▶ one task a controller: Follower ─▶ events ─┘                      │
    Driver.poll ──▶ status ─┐          (follow.py)   │ B0h, 20h               window ◀── stored ◀────┘
    Driver.write ─▶ command ┴─▶ one question at a time and controller ─▶ UDP ─▶ controller

**Which device an event belongs to.**  To the entry of its door, so that it has the door's place; where there is none,
to the controller's entry, else to the first door's.  Every event's report carries the mark of its controller (epoch,
index, record) as that device's memory; after a start the furthest mark among the controller's devices counts.  That is
right because reports go to disk in the order in which ``receive`` gave them.  A hub that is opened again (the disk has
lost what was said) goes on behind the last report of which ``stored`` was called.

**Fairness.**  Each controller may have ``WINDOW`` events on their way to the disk; so one that has 100,000 to catch up
with takes turns with all others, and with its own polls, since each question waits only for the one before it.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report
from drivers.hub import HostPort, InboxHub, UdpServer
from drivers.uhppote import events, frame
from drivers.uhppote.config import DeviceOptions, HubOptions, PointOptions, doors_of, parse_target
from drivers.uhppote.doors import UhppoteDevice
from drivers.uhppote.follow import Begun, Follower, Lost, Mark, Restarted, Step
from drivers.uhppote.frame import Frame, Record, Status
from drivers.uhppote.points import Latch, View, marked, readings
from drivers.uhppote.seek import seek
from gateway.clock import Clock, ClockState
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, DriverError, LineLost, ProtocolError
from gateway.model import PointId, Value

T = TypeVar("T")

WINDOW = 64
EVERY_S = 60.0
"""Without a push, a controller is asked so often for what is new."""
SETTINGS_EVERY_S = 3600.0
"""And for the listener that it pushes to, and its clock."""
LONGEST_PAUSE_S = 30.0
"""Between attempts to reach a controller that does not answer."""
FRESH_S = 0.25
"""So old a status serves again: all doors of a controller are polled at the same instant."""
LATE_ALARM_MS = 120_000
"""An event that is older says nothing of how the door stands now."""


@dataclass(eq=False, repr=False)
class Controller:
    """One controller and the devices that are configured of it."""

    serial: int
    target: HostPort
    host: str | None
    """Where its packets must come from; None while it is reached by broadcast."""
    timeout_s: float
    zone: tzinfo
    set_clock_over_s: int | None
    devices: Mapping[str, DeviceSpec]
    doors: Mapping[int, str]
    """Door -> its device."""
    main: str
    """The device of what belongs to no door."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One question at a time: an answer does not say what it answers."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    hint: int = 0
    follower: Follower | None = None
    kept: Mark | None = None
    """Of the last report that is on disk."""
    on_the_way: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)
    latch: Latch = field(default_factory=Latch)
    shown: dict[PointId, Value | None] = field(default_factory=dict)
    """What was said of each point last."""
    status: Status | None = None
    """The last that was asked for, and when."""
    status_s: float = -math.inf
    offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Receipt:
    controller: Controller
    mark: Mark
    opening: int
    """Which opening of the hub it belongs to: what an earlier one had on its way is not on the way any more."""


@dataclass(slots=True, eq=False)
class _Question:
    function: int
    fits: Callable[[Frame], bool]
    answer: asyncio.Future[Frame]


class UhppoteHub(InboxHub):
    """drivers/base.py: Hub.  Once it has been closed it may be opened again."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        """Raises ConfigError for entries that contradict each other."""
        options: HubOptions = spec.options
        self._options = options
        self._clock = clock
        self._opening = 0
        self.dropped: Counter[str] = Counter()
        """Packets that were not what they should be: ``size``, ``start``, ``function``, ``origin``, ``unasked``."""
        self._controllers = {each.serial: each for each in _controllers(spec, options)}
        self._listener = UdpServer(parse_target(options.listen), self._pushed)
        self._asker = UdpServer(("0.0.0.0", 0), self._answered, broadcast=True)
        self._questions: dict[int, _Question] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """Where it listens; only while open."""
        return self._listener.port

    # ------------------------------------------------------------------ Hub

    async def __aenter__(self) -> Self:
        await self._listener.__aenter__()
        try:
            await self._asker.__aenter__()
        except LineLost:
            await self._listener.__aexit__(None, None, None)
            raise
        self._inbox.open()
        self._opening += 1
        for each in self._controllers.values():
            each.asking, each.wake, each.room = asyncio.Lock(), asyncio.Event(), asyncio.Event()
            each.room.set()
            each.on_the_way, each.status_s = 0, -math.inf
            each.shown.clear()
            source = _Source(self, each)
            each.follower = Follower(source, partial(self._emit, each), each.kept, self._options.history)
        self._tasks = [asyncio.create_task(self._follow(each)) for each in self._controllers.values()]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._listener.__aexit__(None, None, None)
            await self._asker.__aexit__(None, None, None)

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if isinstance(report.receipt, _Receipt):
                self._kept(report.receipt)

    def _kept(self, receipt: _Receipt) -> None:
        controller = receipt.controller
        if controller.kept is None or receipt.mark > controller.kept:
            controller.kept = receipt.mark
        if receipt.opening == self._opening:
            controller.on_the_way -= 1
            controller.room.set()

    # ------------------------------------------------------------------ for the drivers of its devices

    async def look(self, serial: int) -> View:
        """How the controller stands now.  Raises DriverError."""
        controller = self._controllers[serial]
        return self._view(controller, await self._status(controller, FRESH_S))

    def shows(self, serial: int, values: Mapping[PointId, Value | None]) -> None:
        """These have been read: a push need not say them again."""
        self._controllers[serial].shown.update(values)

    async def open_door(self, serial: int, door: int) -> None:
        """Once, whatever happens.  Raises DeviceRejected, DeviceUnreachable, ProtocolError."""
        controller = self._controllers[serial]
        answer = await self._command(controller, frame.OPEN_DOOR, frame.open_door(serial, door))
        if not frame.confirmed(answer):
            raise DeviceRejected(
                f"控制器 {serial} 拒绝打开门 {door} / controller {serial} refuses to open door {door}", answer.body[0]
            )

    # ------------------------------------------------------------------ what comes by itself

    def _pushed(self, data: bytes, origin: HostPort) -> None:
        found = self._checked(data, frame.STATUS)
        if found is None:
            return
        controller = self._controllers.get(found.controller)
        if controller is None:
            if 100_000_000 <= found.controller <= 499_999_999:
                what = f"{doors_of(found.controller)} 门控制器，未配置 / door controller, not configured"
                self._strangers.met(f"{origin[0]}/{found.controller}", f"UHPPOTE {found.controller}: {what}")
            return
        if controller.host not in (None, origin[0]):
            self.dropped["origin"] += 1
            return
        try:
            status = frame.status(found)
        except ProtocolError:
            self.dropped["content"] += 1
            return
        controller.latch.seen(status.open)
        controller.status_s = -math.inf  # what was asked before is older than this
        self._tell_changes(controller, status)
        mark = None if controller.follower is None else controller.follower.mark
        if mark is None or status.index != mark.index:
            controller.hint = status.index
            controller.wake.set()

    def _checked(self, data: bytes, function: int | None = None) -> Frame | None:
        try:
            found = Frame.from_bytes(data)
        except ProtocolError:
            self.dropped["size" if len(data) != frame.SIZE else "start"] += 1
            return None
        if function is not None and found.function != function:
            self.dropped["function"] += 1
            return None
        return found

    def _tell_changes(self, controller: Controller, status: Status) -> None:
        view = self._view(controller, status)
        now_ms = self._clock.now_ms()
        for device, spec in controller.devices.items():
            values = view.values(spec)
            new = {point: value for point, value in values.items() if controller.shown.get(point, _NOTHING) != value}
            if new and self._inbox.offer(Report(device, readings(new, now_ms))):
                controller.shown.update(new)

    # ------------------------------------------------------------------ events

    async def _follow(self, controller: Controller) -> None:
        """Ends only when it is cancelled."""
        loop = asyncio.get_running_loop()
        settings_s = loop.time()
        pause_s = 1.0
        while True:
            if loop.time() >= settings_s:
                settings_s = loop.time() + (SETTINGS_EVERY_S if await self._settles(controller) else EVERY_S)
            try:
                hint, controller.hint = controller.hint, 0
                controller.wake.clear()
                assert controller.follower is not None
                await controller.follower.catch_up(hint)
            except DriverError:
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
                continue
            pause_s = 1.0
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await controller.wake.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by itself has met a bug: the line must not look alive."""
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._inbox.lose(f"{type(exc).__name__}: {exc}")

    async def _settles(self, controller: Controller) -> bool:
        """What goes wrong with a setting (old firmware knows no listener) must not keep events from being fetched."""
        try:
            await self._settle(controller)
        except DriverError:
            return False
        return True

    async def _settle(self, controller: Controller) -> None:
        """Where it pushes to, and its clock, are as the site says.  Raises DriverError."""
        await self._status(controller)
        limit_s = controller.set_clock_over_s
        off_ms = controller.offset_ms
        known = self._clock.state() is not ClockState.UNKNOWN
        if limit_s is not None and known and (off_ms is None or abs(off_ms) > limit_s * 1000):
            now = datetime.fromtimestamp(self._clock.now_ms() / 1000, controller.zone)
            await self._command(controller, frame.SET_TIME, frame.tell_time(controller.serial, now))
            await self._status(controller)
        if self._options.set_listener:
            await self._set_listener(controller)

    async def _set_listener(self, controller: Controller) -> None:
        ask = frame.ask_listener(controller.serial)
        answer = await self._ask(controller, frame.GET_LISTENER, ask, frame.listener)
        told = self._options.push_to
        address, port = parse_target(told) if told else (own_address(controller.target), self.port)
        if answer == (address, port, self._options.push_every):
            return
        tell = frame.tell_listener(controller.serial, address, port, self._options.push_every)
        if not frame.confirmed(await self._command(controller, frame.SET_LISTENER, tell)):
            raise DeviceRejected("控制器不接受推送地址 / the controller does not accept where to push", 0)

    async def _emit(self, controller: Controller, step: Step, mark: Mark) -> None:
        while controller.on_the_way >= WINDOW:
            controller.room.clear()
            await controller.room.wait()
        report = self._report(controller, step, mark)
        await self._inbox.put(report)
        controller.on_the_way += 1

    def _report(self, controller: Controller, step: Step, mark: Mark) -> Report:
        now_ms = self._clock.now_ms()
        memory, receipt = mark.to_bytes(), _Receipt(controller, mark, self._opening)
        if isinstance(step, Record):
            device = controller.doors.get(step.door, controller.main)
            time_ms = events.time_ms(step.time, controller.zone, now_ms, controller.offset_ms)
            changed = self._latched(controller, device, step, now_ms - time_ms)
            happening = events.happening(step, time_ms)
            return Report(device, readings(changed, now_ms), (happening,), memory, receipt)
        return Report(controller.main, (), _said(step, now_ms), memory, receipt)

    def _latched(self, controller: Controller, device: str, record: Record, age_ms: int) -> Mapping[PointId, Value]:
        """What the event says of how its door stands now."""
        if age_ms > LATE_ALARM_MS or not controller.latch.happened(record.door, record.reason):
            return {}
        spec = controller.devices[device]
        new: dict[PointId, Value] = dict.fromkeys(marked(spec, record.door, record.reason), True)
        controller.shown.update(new)
        return new

    # ------------------------------------------------------------------ questions

    async def _status(self, controller: Controller, fresh_s: float = 0.0) -> Status:
        loop = asyncio.get_running_loop()

        def known() -> Status | None:
            return controller.status if loop.time() - controller.status_s < fresh_s else None

        if (found := known()) is not None:
            return found
        ask = frame.ask_status(controller.serial)
        return await self._ask(controller, frame.STATUS, ask, frame.status, known=known)

    async def _ask(
        self,
        controller: Controller,
        function: int,
        request: bytes,
        read: Callable[[Frame], T],
        *,
        fits: Callable[[Frame], bool] = lambda answer: True,
        known: Callable[[], T | None] = lambda: None,
    ) -> T:
        """A question; it is asked a second time when no answer comes.

        known: an answer that somebody else has got while this one waited for its turn.
        """
        async with controller.asking:
            if (found := known()) is not None:
                return found
            try:
                answer = await self._exchange(controller, function, request, fits, controller.timeout_s / 2)
            except DeviceUnreachable:
                answer = await self._exchange(controller, function, request, fits, controller.timeout_s / 2)
            result = read(answer)
            if isinstance(result, Status):
                self._noted(controller, result)
            return result

    def _noted(self, controller: Controller, status: Status) -> None:
        controller.status, controller.status_s = status, asyncio.get_running_loop().time()
        controller.offset_ms = events.offset_ms(status.clock, controller.zone, self._clock.now_ms())
        controller.latch.seen(status.open)

    async def _exchange(
        self, controller: Controller, function: int, request: bytes, fits: Callable[[Frame], bool], timeout_s: float
    ) -> Frame:
        question = _Question(function, fits, asyncio.get_running_loop().create_future())
        self._questions[controller.serial] = question
        self._asker.send(request, controller.target)
        try:
            async with asyncio.timeout(timeout_s):
                return await question.answer
        except TimeoutError:
            raise _silent(controller) from None
        finally:
            del self._questions[controller.serial]

    def _answered(self, data: bytes, origin: HostPort) -> None:
        found = self._checked(data)
        if found is None:
            return
        question = self._questions.get(found.controller)
        controller = self._controllers.get(found.controller)
        if question is None or controller is None or question.answer.done():
            self.dropped["unasked"] += 1
        elif controller.host not in (None, origin[0]):
            self.dropped["origin"] += 1
        elif found.function != question.function or not question.fits(found):
            self.dropped["unasked"] += 1
        else:
            question.answer.set_result(found)

    async def _command(self, controller: Controller, function: int, request: bytes) -> Frame:
        """Sent once, from a socket of its own: an answer that comes too late can confirm no other command."""
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

        def heard(data: bytes, origin: HostPort) -> None:
            found = self._checked(data, function)
            if found is None or found.controller != controller.serial or controller.host not in (None, origin[0]):
                return
            if not answer.done():
                answer.set_result(found)

        async with controller.asking, UdpServer(("0.0.0.0", 0), heard, broadcast=True) as server:
            server.send(request, controller.target)
            try:
                async with asyncio.timeout(controller.timeout_s):
                    return await answer
            except TimeoutError:
                raise _silent(controller) from None

    async def event(self, controller: Controller, index: int) -> Record:
        """Raises DriverError."""
        ask = frame.ask_event(controller.serial, index)
        return await self._ask(controller, frame.EVENT, ask, frame.record, fits=partial(_answers, index))

    async def latest(self, controller: Controller) -> int:
        """Raises DriverError."""
        return (await self._status(controller)).index

    def _view(self, controller: Controller, status: Status) -> View:
        now_ms = self._clock.now_ms()
        offset_ms = events.offset_ms(status.clock, controller.zone, now_ms)
        follower = controller.follower
        return View(status, controller.latch.after(status.open), offset_ms, 0 if follower is None else follower.missing)


_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Source:
    """One controller, as its follower asks it."""

    hub: UhppoteHub
    controller: Controller

    async def latest(self) -> int:
        return await self.hub.latest(self.controller)

    async def event(self, index: int) -> Record:
        return await self.hub.event(self.controller, index)


def _answers(index: int, answer: Frame) -> bool:
    """Of an event that there is not, some say the index 0."""
    said = int.from_bytes(answer.body[:4], "little")
    return said == index or (said == 0 and answer.body[4] in (frame.NO_EVENT, frame.OVERWRITTEN))


def _silent(controller: Controller) -> DeviceUnreachable:
    return DeviceUnreachable(
        f"控制器 {controller.serial} 无应答 / controller {controller.serial} does not answer",
        hint="host 是否正确、同网段、UDP 60000 是否放行？ / is host right, the network the same, UDP 60000 open?",
    )


def _said(step: Lost | Restarted | Begun, now_ms: int) -> Sequence[Happening]:
    match step:
        case Lost(first, last, reason):
            about: Mapping[str, Value | None] = {"from": first, "to": last, "count": last - first + 1, "reason": reason}
            return (Happening("access.lost", now_ms, about),)
        case Restarted(taken, index):
            return (Happening("access.index_reset", now_ms, {"taken": taken, "index": index}),)
        case Begun():
            return ()


def own_address(target: HostPort) -> str:
    """The address that this box has on the way to *target*; nothing is sent.  Raises DeviceUnreachable."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            probe.connect(target)
            return str(probe.getsockname()[0])
        except OSError as exc:
            raise DeviceUnreachable(f"no way to {target[0]}: {exc}", hint="push_to: 本机地址 / say push_to") from exc


# ---------------------------------------------------------------------- the configuration


def _controllers(spec: HubSpec, options: HubOptions) -> Sequence[Controller]:
    """Raises ConfigError."""
    by_serial: dict[int, dict[str, DeviceSpec]] = {}
    for id_, device in spec.devices.items():
        by_serial.setdefault(device.options.controller, {})[id_] = device
    return [_controller(serial, devices, spec, options) for serial, devices in by_serial.items()]


def _controller(serial: int, devices: Mapping[str, DeviceSpec], spec: HubSpec, options: HubOptions) -> Controller:
    said: dict[str, DeviceOptions] = {id_: device.options for id_, device in devices.items()}
    doors: dict[int | None, str] = {}
    for id_, each in said.items():
        other = doors.setdefault(each.door, id_)
        if other != id_:
            what = f"{serial}" if each.door is None else f"{serial} door {each.door}"
            raise ConfigError(f"{id_}: 与 {other} 重复（{what}） / the same as {other} ({what})")
    host = _agreed(serial, "host", {each.host for each in said.values()})
    clock = _agreed(serial, "set_clock_over", {each.set_clock_over for each in said.values()})
    target = parse_target(host or options.broadcast)
    marks = [mark for id_ in said if (mark := Mark.from_bytes(spec.memory.get(id_, b""))) is not None]
    return Controller(
        serial=serial,
        target=target,
        host=target[0] if host else None,
        timeout_s=max(device.timeout_s for device in devices.values()),
        zone=next(iter(devices.values())).zone,
        set_clock_over_s=clock,
        devices=devices,
        doors={door: id_ for door, id_ in doors.items() if door is not None},
        main=doors.get(None) or doors[min(door for door in doors if door is not None)],
        kept=max(marks, default=None),
    )


def _agreed(serial: int, key: str, said: set[T | None]) -> T | None:
    """What all devices of a controller say, as far as they say anything.  Raises ConfigError."""
    values = [value for value in said if value is not None]
    if len(values) > 1:
        words = ", ".join(sorted(str(value) for value in values))
        raise ConfigError(
            f"控制器 {serial} 的 {key} 不一致：{words} / {key} of controller {serial} is said differently: {words}"
        )
    return values[0] if values else None


UHPPOTE = ProtocolType(
    name="uhppote",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=UhppoteDevice,
    hub=UhppoteHub,
    hub_options=HubOptions,
    seek=seek,
    default_timeout_s=1.0,
)
