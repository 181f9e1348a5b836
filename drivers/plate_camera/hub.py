"""The hub that plate cameras push to.

camera ══POST═▶ HttpServer ─▶ who may it be? ─▶ push.decode ─▶ which camera? ─▶ new? ─▶ Inbox ─▶ core ─▶ disk
          ◀═════ 200, when it is on disk, else 503 after ANSWER_S ◀════════════════ stored() ◀───────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report, Unasked
from drivers.http_options import HttpHubOptions
from drivers.http_server import (
    Answer,
    Body,
    Head,
    HttpServer,
    Limits,
    Request,
    Tls,
    Whole,
    comes_from,
    has_said_login,
    same_secret,
)
from drivers.hub import InboxHub, parse_host_port
from drivers.plate_camera import push
from drivers.plate_camera.config import PlateCameraOptions, PlateCameraPointOptions
from drivers.plate_camera.memory import AT_ONCE_S, Memory, lasting, mark_of
from drivers.plate_camera.messages import UNKNOWN, Alive, InputChanged, Push, PushError, Seen
from drivers.plate_camera.multipart import Thinned, boundary_of
from drivers.repetitions import Repetitions
from drivers.secret_files import word_in
from gateway.clock import Clock
from gateway.model import Reading, Value
from gateway.plates import PlateClass, colour_fits

ANSWER_S = 4.0
"""Cameras wait 5 s and more; then they push it again."""
ALIVE_S = 10.0
"""One sign of life in this time is enough for the core."""
PACE_S = 1.0
"""A camera that polls (comet) asks again as soon as it is answered: not more often than this."""
BODY_BYTES = 4 * 2**20
"""Of JSON, which may have two pictures in base64 inside."""
BELIEVED_MS = 5 * 60 * 1000
LATE_MS = 7 * 86400 * 1000
_EMERGENCY = frozenset({"police", "emergency"})
_OTHERS_LONGEST = 100


def believed_ms(camera_ms: int | None, now_ms: int, *, late: bool) -> int:
    """When it was: by the camera's clock where that can be right, else when it was heard."""
    if camera_ms is None or camera_ms > now_ms + BELIEVED_MS:
        return now_ms
    return camera_ms if now_ms - camera_ms <= (LATE_MS if late else BELIEVED_MS) else now_ms


@dataclass(slots=True)
class _Camera:
    spec: DeviceSpec
    options: PlateCameraOptions
    memory: Memory
    """Including what is on its way to the disk."""
    token: str | None = None
    password: str | None = None
    repetitions: Repetitions[asyncio.Event] = field(default_factory=lambda: Repetitions(AT_ONCE_S))
    on_disk: Memory = field(default_factory=Memory)
    alive_s: float = float("-inf")
    paced_s: float = float("-inf")

    @property
    def marks(self) -> int:
        """How much is known of it beforehand: who is known best is looked for first."""
        return sum(each is not None for each in (self.options.serial, self.options.peer, self.options.token_file))

    def may_be(self, head: Head) -> bool:
        """As far as a request's head tells."""
        if not comes_from(head, self.options.peer):
            return False
        if self.token is None:
            return True
        return sum(same_secret(part, self.token) for part in head.path.split("/")[:8]) > 0

    def has_said_the_password(self, head: Head) -> bool:
        return has_said_login(head, self.options.user, self.password)

    def is_named(self, names: Sequence[str]) -> bool:
        return self.options.serial is None or self.options.serial in names


class PlateCameraHub(InboxHub):
    """``Hub`` of drivers/base.py."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        options: HttpHubOptions = spec.options
        self._options = options
        self._zone = spec.zone
        self._clock = clock
        self._cameras = [
            _Camera(each, each.options, Memory.from_bytes(spec.memory.get(name, b"")))
            for name, each in spec.devices.items()
        ]
        for camera in self._cameras:
            camera.on_disk = camera.memory
        self._cameras.sort(key=lambda camera: -camera.marks)
        self._server = HttpServer(
            parse_host_port(options.listen),
            self._handle,
            admit=self._admit,
            limits=Limits(connections=options.connections, connections_of_one=16, body_bytes=2 * BODY_BYTES),
            tls=Tls.of(options.certificate, options.key),
        )

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        for camera in self._cameras:
            camera.token = word_in(camera.options.token_file)
            camera.password = word_in(camera.options.password_file)
            camera.memory = camera.on_disk  # what was under way when the hub was closed is told again
            camera.repetitions = Repetitions(AT_ONCE_S)
            for mark in camera.on_disk.marks:
                camera.repetitions.remember(mark, None, 0.0, lasting=True)
        self._inbox.open()
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, exc, tb)

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if isinstance(report.receipt, _Receipt):
                report.receipt.camera.on_disk = report.receipt.memory
                report.receipt.stored.set()

    # ------------------------------------------------------------------ requests

    def _admit(self, head: Head) -> Body | Answer:
        if head.method not in ("POST", "PUT"):
            return Answer(405, headers={"Allow": "POST"})
        candidates = [camera for camera in self._cameras if camera.may_be(head)]
        if not candidates:
            self._strangers.met(head.peer, "neither its address nor its path is known / 地址与路径均未配置")
            return Answer(403)
        if not sum(camera.has_said_the_password(head) for camera in candidates):
            self._strangers.met(head.peer, "wrong user or password / 用户名或密码不对")
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'})
        boundary = boundary_of(head.headers.get("content-type", ""))
        return Whole(BODY_BYTES) if boundary is None else Thinned(boundary)

    async def _handle(self, request: Request) -> Answer:
        head = request.head
        try:
            said = push.decode(request.body, head.headers.get("content-type", ""), self._zone)
        except PushError as exc:
            self._strangers.met(head.peer, f"{exc} / 不是车牌相机的报文")
            return Answer(400)
        camera = self._camera(head, said)
        if camera is None:
            names = ", ".join(said.cameras) or "-"
            self._strangers.met(head.peer, f"{said.dialect}: {names}"[:_OTHERS_LONGEST])
            return Answer(403)
        if not await self._taken(camera, said):
            return Answer(503, headers={"Retry-After": "1"})
        body, content_type = push.answer(said)
        return Answer(200, body, content_type)

    def _camera(self, head: Head, said: Push) -> _Camera | None:
        known = (each for each in self._cameras if each.is_named(said.cameras))
        return next((each for each in known if each.may_be(head) and each.has_said_the_password(head)), None)

    async def _taken(self, camera: _Camera, said: Push) -> bool:
        """False when it is not on disk in time: the camera will say it again."""
        if isinstance(said.said, Alive):
            await self._heartbeat(camera)
            return True
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._kept(camera, said)
        except TimeoutError:
            return False

    async def _heartbeat(self, camera: _Camera) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - camera.alive_s >= ALIVE_S and self._inbox.offer(Report(camera.spec.id)):
            camera.alive_s = now_s
        turn_s = max(now_s, camera.paced_s + PACE_S)
        camera.paced_s = turn_s
        await asyncio.sleep(turn_s - now_s)

    async def _kept(self, camera: _Camera, said: Push) -> bool:
        if isinstance(said.said, InputChanged):
            receipt = _Receipt(camera, camera.memory)
            fits = self._inbox.offer(Report(camera.spec.id, self._input(camera, said.said), receipt=receipt))
            return fits and await receipt.stored.wait()
        assert isinstance(said.said, Seen)
        now_s, mark = asyncio.get_running_loop().time(), mark_of(said.said)
        known = camera.repetitions.find(mark, now_s)
        if known is not None:
            return known.receipt is None or await known.receipt.wait()
        report, receipt = self._report(camera, said, mark)
        if not self._inbox.offer(report):
            return False
        camera.memory = receipt.memory
        camera.repetitions.remember(mark, receipt.stored, now_s, lasting=lasting(said.said))
        return await receipt.stored.wait()

    # ------------------------------------------------------------------ reports

    def _report(self, camera: _Camera, said: Push, mark: bytes) -> tuple[Report, _Receipt]:
        seen = said.said
        assert isinstance(seen, Seen)
        now_ms = self._clock.now_ms()
        time_ms = believed_ms(seen.time_ms, now_ms, late=seen.late)
        memory = camera.memory.with_one_more(mark if lasting(seen) else None)
        happening = Happening(
            "vehicle.seen",
            time_ms,
            _attributes(said, seen, camera.options),
            {"plate": seen.plate} if seen.plate else {},
        )
        values: dict[str, Value | None] = {
            "seen_count": memory.count,
            "vehicle": seen.stays,
            "emergency_vehicle": seen.plate_class is PlateClass.POLICE or seen.plate_type in _EMERGENCY,
            "confidence": seen.confidence,
            "plate_class": seen.plate_class.value,
            "colour": seen.colour.value,
            "direction": seen.direction,
        }
        receipt = _Receipt(camera, memory)
        readings = _readings(camera.spec, values, time_ms, now_ms)
        return Report(camera.spec.id, readings, (happening,), memory.to_bytes(), receipt), receipt

    def _input(self, camera: _Camera, changed: InputChanged) -> Sequence[Reading]:
        now_ms = self._clock.now_ms()
        return _readings(camera.spec, {f"input{changed.input}": changed.on}, now_ms, now_ms)


@dataclass(frozen=True, slots=True)
class _Receipt:
    camera: _Camera
    memory: Memory
    """Of the camera, when this report is on disk."""
    stored: asyncio.Event = field(default_factory=asyncio.Event)


def _readings(spec: DeviceSpec, values: Mapping[str, Value | None], time_ms: int, now_ms: int) -> Sequence[Reading]:
    """One for each point that asks for a value that was said."""
    wanted = ((each.point.id, values.get(each.options.value)) for each in spec.points.values())
    return [Reading(point, value, time_ms, now_ms) for point, value in wanted if value is not None]


def _attributes(said: Push, seen: Seen, options: PlateCameraOptions) -> Mapping[str, Value | None]:
    """Only what is known, and of the doubts only those there are."""
    doubted = seen.confidence is not None and seen.confidence < options.min_confidence
    fits = colour_fits(seen.plate_class, seen.colour)
    texts: dict[str, Value | None] = {
        "plate_class": seen.plate_class.value,
        "colour": seen.colour.value,
        "direction": seen.direction,
        "lane": seen.lane,
        "confidence": seen.confidence,
        "trigger": seen.trigger,
        "plate_type": seen.plate_type,
        "vehicle_type": seen.vehicle_type,
        "vehicle_colour": seen.vehicle_colour,
        "source_time": seen.time_ms,
        "low_confidence": doubted or None,
        "colour_contradicts": True if fits is False else None,
        "fake_plate": seen.fake or None,
        "late": seen.late or None,
        "dialect": said.dialect.value,
    }
    return {
        name: value
        for name, value in texts.items()
        if name == "plate_class" or (value is not None and value != UNKNOWN)
    }


PLATE_CAMERA = ProtocolType(
    name="plate-camera",
    device_options=PlateCameraOptions,
    point_options=PlateCameraPointOptions,
    make=lambda spec, hub, clock: Unasked(),
    hub=PlateCameraHub,
    hub_options=HttpHubOptions,
    sends=True,
)
