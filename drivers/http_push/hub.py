"""The hub that boxes post JSON to.

box ══POST═▶ HttpServer ─▶ who may it be? ─▶ JSON ─▶ which box? ─▶ new? ─▶ json_mapping ─▶ Inbox ─▶ core ─▶ disk
       ◀════ 200 and the answer, when it is on disk, else 503 after ANSWER_S ◀═════════════ stored() ◀──────┘
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report, Unasked
from drivers.http_options import HttpHubOptions
from drivers.http_push.config import HttpJsonOptions, HttpJsonPointOptions
from drivers.http_push.memory import Mark, Memory, digest_of
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
from drivers.json_mapping.mapping import document_of, happenings_of, matched, readings_of, said_time_of, times_of
from drivers.json_mapping.payload import MISSING, Json, Unreadable, clean, key_of, look_up, parse, steps
from drivers.json_mapping.pulses import Pulses
from drivers.json_mapping.reading import by_address
from drivers.repetitions import Repetitions
from drivers.secret_files import word_in
from gateway.clock import Clock
from gateway.model import PointId, Reading

ANSWER_S = 4.0
"""Boxes wait 5 s and more; then they post it again."""
ALIVE_S = 10.0
"""One sign of life in this time is enough for the core."""
BODY_BYTES = 65536
RATE_PER_S = 5.0
BURST = 1000
"""A box may say so many messages at once (what it has kept while the gateway was down), then *RATE_PER_S*."""
_NAME_LONGEST = 64


@dataclass(slots=True)
class _Box:
    spec: DeviceSpec
    options: HttpJsonOptions
    memory: Memory
    """Including what is on its way to the disk."""
    on_disk: Memory
    token: str | None = None
    password: str | None = None
    repetitions: Repetitions[_Receipt] = field(default_factory=lambda: Repetitions(0))
    alive_s: float = float("-inf")
    left: float = BURST
    since_s: float = float("-inf")

    def address_in(self, head: Head) -> str | None:
        """What stands for the address in the path, empty where the path has none; None where it is not this box's."""
        found = matched(self.options.topic.split("/"), _levels(head.path))
        if found is None or not comes_from(head, self.options.peer):
            return None
        return found.get("address", "")

    def may_be(self, head: Head) -> bool:
        """As far as the path and the peer tell."""
        return self.address_in(head) in ("", self.options.address)

    def has_said_the_secrets(self, head: Head) -> bool:
        if self.token is not None and not sum(same_secret(said, self.token) for said in self._tokens(head)):
            return False
        return has_said_login(head, self.options.user, self.password)

    def _tokens(self, head: Head) -> Sequence[str]:
        found = matched(self.options.topic.split("/"), _levels(head.path)) or {}
        if "token" in found:
            return (found["token"],)
        scheme, _, bearer = head.headers.get("authorization", "").partition(" ")
        asked = parse_qs(head.query, max_num_fields=32).get("token", []) if head.query.count("&") < 32 else []
        return (*asked[:1], bearer.strip()) if scheme.lower() == "bearer" else tuple(asked[:1])

    def is_named(self, document: Json) -> bool:
        path = self.options.identity
        return path is None or key_of(look_up(document, steps(path))) == self.options.address

    def may_speak(self, now_s: float) -> bool:
        self.left = min(BURST, self.left + (now_s - self.since_s) * RATE_PER_S)
        self.since_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True, slots=True)
class _Receipt:
    box: _Box
    memory: Memory
    """Of the box, when this report is on disk."""
    stored: asyncio.Event = field(default_factory=asyncio.Event)


class HttpJsonHub(InboxHub):
    """``Hub`` of drivers/base.py."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        options: HttpHubOptions = spec.options
        by_address(spec, lambda device: (device.options.topic, device.options.address))
        self._zone = spec.zone
        self._clock = clock
        self._boxes: dict[str, _Box] = {}
        for name, device in spec.devices.items():
            memory = Memory.from_bytes(spec.memory.get(name, b""))
            self._boxes[name] = _Box(device, device.options, memory, memory)
        self._pulses = Pulses(spec.devices, self._pulse_over)
        self._server = HttpServer(
            parse_host_port(options.listen),
            self._handle,
            admit=self._admit,
            limits=Limits(connections=options.connections, connections_of_one=16, body_bytes=BODY_BYTES),
            tls=Tls.of(options.certificate, options.key),
        )

    @property
    def port(self) -> int:
        return self._server.port

    async def __aenter__(self) -> Self:
        now_ms, now_s = self._clock.now_ms(), asyncio.get_running_loop().time()
        for box in self._boxes.values():
            box.token = word_in(box.options.token_file)
            box.password = word_in(box.options.password_file)
            box.memory = box.on_disk  # what was under way when the hub was closed is said again
            box.repetitions = _recalled(box.on_disk, box.options.again_s, now_ms, now_s)
            box.since_s = now_s
        self._inbox.open()
        await self._server.__aenter__()
        for name, box in self._boxes.items():
            self._pulses.resume(name, box.memory.pulses, now_ms)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._pulses.close()
        await self._server.__aexit__(kind, exc, tb)

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if isinstance(report.receipt, _Receipt):
                report.receipt.box.on_disk = report.receipt.memory
                report.receipt.stored.set()

    # ------------------------------------------------------------------ requests

    def _admit(self, head: Head) -> Body | Answer:
        if head.method not in ("POST", "PUT"):
            return Answer(405, headers={"Allow": "POST, PUT"})
        candidates = [box for box in self._boxes.values() if box.may_be(head)]
        if not candidates:
            addresses = (box.address_in(head) for box in self._boxes.values())
            self._met(next((each for each in addresses if each), head.peer), "not configured / 未配置")
            return Answer(404)
        if not sum(box.has_said_the_secrets(head) for box in candidates):
            self._met(head.peer, "wrong token, user or password / 令牌、用户名或密码不对")
            return Answer(401, headers={"WWW-Authenticate": 'Basic realm="gateway", charset="UTF-8"'})
        return Whole(BODY_BYTES)

    async def _handle(self, request: Request) -> Answer:
        head = request.head
        try:
            document: Json = parse(request.body)
        except Unreadable:
            document = MISSING
        candidates = [box for box in self._boxes.values() if box.may_be(head) and box.has_said_the_secrets(head)]
        box, document = _speaker(candidates, document, request.body)
        if document is MISSING:
            self._met(head.peer, "what it posts is no JSON / 报文不是 JSON")
            return Answer(400)
        if box is None:
            names = (key_of(look_up(document, steps(each.options.identity or "$"))) for each in candidates)
            self._met(next((name for name in names if name), head.peer), "not configured / 未配置")
            return Answer(403)
        return await self._answered(box, request, document)

    def _met(self, address: str, what: str) -> None:
        self._strangers.met(clean(address)[:_NAME_LONGEST], what)

    async def _answered(self, box: _Box, request: Request, document: Json) -> Answer:
        now_s = asyncio.get_running_loop().time()
        mark = self._mark(box, request, document)
        known = box.repetitions.find(mark.digest, now_s)
        receipt = None if known is None else known.receipt
        if known is None:
            if not box.may_speak(now_s):
                return Answer(429, headers={"Retry-After": "1"})
            if not self._inbox.has_room:
                return Answer(503, headers={"Retry-After": "1"})
            receipt = self._taken(box, request.head, document, mark, now_s)
        try:
            async with asyncio.timeout(ANSWER_S):
                if receipt is not None:
                    await receipt.stored.wait()
        except TimeoutError:
            return Answer(503, headers={"Retry-After": "1"})
        return _success(box.options.answer)

    def _mark(self, box: _Box, request: Request, document: Json) -> Mark:
        options, now_ms = box.options, self._clock.now_ms()
        number = None if options.message_id is None else key_of(look_up(document, steps(options.message_id)))
        if number is not None:
            return Mark(digest_of(b"number", number.encode("utf-8", "surrogatepass")), now_ms, True)
        timed = options.time is not None and said_time_of(options.time, document, self._zone) is not None
        path = "/".join(_levels(request.head.path)).encode("utf-8", "surrogatepass")
        return Mark(digest_of(b"body", path, request.body), now_ms, timed)

    # ------------------------------------------------------------------ reports

    def _taken(self, box: _Box, head: Head, document: Json, mark: Mark, now_s: float) -> _Receipt | None:
        """None where nobody need wait for the disk.  There is room in the inbox."""
        topic, now_ms = "/".join(_levels(head.path)), self._clock.now_ms()
        times = times_of(box.options.time, document, self._zone, now_ms)
        readings = readings_of(box.spec, topic, document, times)
        happenings = list(happenings_of(box.options.events, topic, document, times))
        if not readings and not happenings:
            if now_s - box.alive_s >= ALIVE_S and self._inbox.offer(Report(box.spec.id)):
                box.alive_s = now_s
            return None
        receipt = self._report(box, readings, happenings, box.memory.with_mark(mark))
        box.repetitions.remember(mark.digest, receipt, now_s, lasting=mark.lasting)
        return receipt

    def _report(
        self, box: _Box, readings: Sequence[Reading], happenings: Sequence[Happening], memory: Memory
    ) -> _Receipt:
        pulses = self._pulses.after(box.spec.id, readings, memory.pulses, self._clock.now_ms())
        box.memory = replace(memory, pulses=pulses)
        receipt = _Receipt(box, box.memory)
        report = Report(box.spec.id, readings, happenings, memory=box.memory.to_bytes(), receipt=receipt)
        self._inbox.offer(report)
        return receipt

    def _pulse_over(self, device: str, point: PointId) -> bool:
        if not self._inbox.has_room:
            return False
        now_ms, box = self._clock.now_ms(), self._boxes[device]
        self._report(box, [Reading(point, False, now_ms, now_ms)], [], box.memory)
        return True


def _levels(path: str) -> list[str]:
    return [unquote(level) for level in path.strip("/").split("/")]


def _speaker(candidates: Sequence[_Box], document: Json, body: bytes) -> tuple[_Box | None, Json]:
    """Whose message it is, and what it says: a text where a box's whole payload is one."""
    for box in candidates:
        said = document_of(box.spec, body) if document is MISSING else document
        if said is not MISSING and box.is_named(said):
            return box, said
    return None, document


def _recalled(memory: Memory, again_s: float, now_ms: int, now_s: float) -> Repetitions[_Receipt]:
    """Over a start only the clock on the wall tells how long ago something was."""
    made: Repetitions[_Receipt] = Repetitions(again_s)
    for mark in memory.marks:
        ago_s = max(0.0, (now_ms - mark.heard_ms) / 1000)
        made.remember(mark.digest, None, now_s - ago_s, lasting=mark.lasting)
    return made


def _success(answer: Any) -> Answer:
    if isinstance(answer, str):
        return Answer(200, answer.encode("utf-8"), "text/plain; charset=utf-8")
    return Answer(200, json.dumps(answer, ensure_ascii=False).encode("utf-8"), "application/json")


HTTP_JSON = ProtocolType(
    name="http-json",
    device_options=HttpJsonOptions,
    point_options=HttpJsonPointOptions,
    make=lambda spec, hub, clock: Unasked(),
    hub=HttpJsonHub,
    hub_options=HttpHubOptions,
    sends=True,
)
