"""What a running daemon answers when the CLI asks (local_api.py carries it).

{"op": "read", "points": […], "raw": bool}       readings, or the bytes behind them
{"op": "points", "device": id | null}            the latest readings that there are, asking nobody
{"op": "status"}                                 health, with every device's figures
{"op": "lines"}                                  the lines, and who is on them
{"op": "exchange", "line", "request", "who", …}  one question on a line, between two of the daemon's own; audited
{"op": "tap", "line", "after": n | null}         the bytes of a line since piece n
{"op": "alarms"} · {"op": "explain", "rule", "device"}
{"op": "acknowledge" | "unshelve" | "in_service", "rule", "device", "who"} · "reset" and "out_of_service" also "reason"
{"op": "shelve", "rule", "device", "who", "for_s", "reason"}
{"op": "test_fire", "rule", "device", "who", "reason", "output": bool}   a proof test; answers when it is over
{"op": "write", "point", "value", "who", "reason", "check": bool}   a command; check: would it be carried out
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

from drivers.base import SerialFormat
from drivers.transport import ByteLine
from gateway.clock import Clock
from gateway.commands import Command, Commands, as_item
from gateway.config.load import Configuration, LinePlan
from gateway.envelope import reading_item
from gateway.errors import GatewayError, StoreError
from gateway.field import read_now, read_raw
from gateway.health import Health, status_item
from gateway.ids import uuid7
from gateway.local_api import Handler
from gateway.messages import AlarmHealth, HealthMessage
from gateway.model import Event, Place, PointId, Reading, Reason, bad_reading
from gateway.pipeline import Pipeline
from gateway.remote.chain import Entry
from gateway.remote.trail import Trail
from gateway.supervisor import Line
from gateway.tap import LineTap
from rules.engine import Changes, Engine, Instant
from rules.runner import name_of

T = TypeVar("T")

AUDIT_EVERY_S = 60.0
"""Raw bytes can move things as well as ask.  A scan is hundreds of them: the audit has an event a minute and line."""
LONGEST_REASON = 200
TRIAL_LOOK_S = 0.2
LONGEST_EXCHANGE_S = 10.0
"""A question from outside may keep the line from the daemon's own polling for no longer."""


@dataclass(slots=True)
class Answers:
    config: Configuration
    lines: Mapping[str, Line]
    wires: Mapping[str, ByteLine]
    """The lines that carry bytes between us and the devices; a hub does not."""
    health: Health
    pipeline: Pipeline
    commands: Commands
    clock: Clock
    trail: Trail
    _taps: dict[str, LineTap] = field(init=False)
    _audited_s: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._taps = {name: LineTap(connection, self.clock) for name, connection in self.wires.items()}

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "read": self._read,
            "points": self._points,
            "status": self._status,
            "lines": self._lines,
            "exchange": self._exchange,
            "tap": self._tap,
            "alarms": self._alarms,
            "explain": self._explain,
            "test_fire": self._test_fire,
            **{act: partial(self._attend, act) for act in ATTENDED},
            "write": self._write,
        }

    async def _read(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, object]]:
        wanted: list[PointId] = request.get("points", [])
        unknown = [point for point in wanted if point not in self.config.readable]
        if unknown:
            raise GatewayError(f"unknown point: {', '.join(unknown)}")
        if request.get("raw"):
            return [await self._read_raw(point) for point in wanted]
        readings = [self._last_said(point) for point in wanted if point in self.config.sent]
        wanted = [point for point in wanted if point not in self.config.sent]
        for line in self.lines.values():
            for device, driver in line.drivers.items():
                points = [point for point in wanted if self.config.points[point].device == device]
                if points:
                    readings += await line.request(partial(read_now, driver, points, self.clock))
        return [reading_item(reading, self.config.points[reading.point].unit) for reading in readings]

    async def _read_raw(self, point: PointId) -> dict[str, Any]:
        """Each point is a turn of its own: thirty of them must not keep the line for thirty exchanges."""
        about = self.config.points[point]
        name, driver = next(
            (name, line.drivers[about.device]) for name, line in self.lines.items() if about.device in line.drivers
        )
        ask = partial(read_raw, driver, self._wire(name), [point], self.clock)
        (found,) = await self.lines[name].request(ask)
        return found.item(about.unit)

    def _last_said(self, point: PointId) -> Reading:
        """Of a device that cannot be asked."""
        said = self.pipeline.latest.get(point)
        return bad_reading(point, Reason.NO_ANSWER, self.clock.now_ms()) if said is None else said

    def _wire(self, name: str) -> ByteLine:
        if name not in self.wires:
            raise GatewayError(
                f"the devices of line {name} speak by themselves: it has no exchanges of bytes to look at",
                hint="see the last values: gateway read --device",
            )
        return self.wires[name]

    async def _points(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, object]]:
        device = request.get("device")
        return [
            reading_item(reading, self.config.points[point].unit)
            for point, reading in self.pipeline.latest.items()
            if device is None or self.config.points[point].device == device
        ]

    async def _status(self, request: Mapping[str, Any]) -> HealthMessage:
        return await self.health.snapshot(devices=True)

    async def _lines(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [self._line_item(plan) for plan in self.config.lines]

    def _line_item(self, plan: LinePlan) -> dict[str, Any]:
        form = plan.format
        return {
            "id": plan.id,
            "where": plan.where,
            "serial": plan.serial,
            "tcp": f"{plan.tcp[0]}:{plan.tcp[1]}" if plan.tcp else None,
            "protocol": plan.hub.protocol.name if plan.hub else None,
            "strangers": dict(self.lines[plan.id].strangers),
            "format": [form.baud, form.parity, form.data_bits, form.stop_bits] if form else None,
            "open": self.lines[plan.id].stats.open,
            "devices": [device.device.id for device in plan.devices],
        }

    async def _exchange(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name = _named(self.lines, request)
        wire = self._wire(name)
        timeout_s = _checked(request, "timeout_s", float)
        silence_s = _checked(request, "silence_s", float)
        if not 0 < timeout_s <= LONGEST_EXCHANGE_S or not 0 < silence_s <= 1.0:
            raise GatewayError(f"timeout_s must be up to {LONGEST_EXCHANGE_S:g}, silence_s up to 1")
        serial = request.get("serial")
        question = _checked(request, "request", bytes.fromhex)
        self._audit(name, str(request.get("who", ""))[:100], question)
        ask = partial(
            wire.collect,
            question,
            timeout_s=timeout_s,
            silence_s=silence_s,
            serial=None if serial is None else _checked(request, "serial", lambda parts: SerialFormat(*parts)),
        )
        answer: bytes = await self.lines[name].request(ask)
        return {"answer": answer.hex()}

    def _audit(self, line: str, who: str, question: bytes) -> None:
        now_s, now_ms = self.clock.monotonic_s(), self.clock.now_ms()
        if now_s - self._audited_s.get(line, -AUDIT_EVERY_S) >= AUDIT_EVERY_S:
            self._audited_s[line] = now_s
            about = {"line": line, "who": who, "via": "local", "bytes": question[:64].hex()}
            self.trail.note(Event(uuid7(now_ms), "line.raw_access", now_ms, None, Place(), about))

    async def _tap(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name = _named(self.lines, request)
        self._wire(name)
        following, lost, pieces = self._taps[name].listen(request.get("after"))
        records = [[piece.time_ms, piece.direction, piece.data.hex()] for piece in pieces]
        return {"next": following, "lost": lost, "records": records}

    async def _alarms(self, request: Mapping[str, Any]) -> list[AlarmHealth]:
        return [status_item(alarm) for alarm in self.pipeline.engine.alarms()]

    async def _explain(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        rule, device = _alarm(request)
        engine = self.pipeline.engine
        try:
            proof = engine.proved(rule, device)
            return {**engine.explain(rule, device, self.clock.monotonic_s()), "proof": proof and asdict(proof)}
        except KeyError:
            raise GatewayError(f"there is no alarm {name_of(rule, device)}", hint="see gateway alarms list") from None

    async def _attend(self, act: str, request: Mapping[str, Any]) -> AlarmHealth:
        rule, device = _alarm(request)
        who, reason = str(request.get("who", "")), str(request.get("reason", ""))[:LONGEST_REASON]
        for_s = request.get("for_s")
        if not (for_s is None or (isinstance(for_s, int | float) and 0 < for_s < math.inf)):
            raise GatewayError("for_s must be more than 0")
        try:
            return await self.attend(act, rule, device, who, "local", reason, None if for_s is None else float(for_s))
        except KeyError:
            raise GatewayError(f"there is no alarm {name_of(rule, device)}", hint="see gateway alarms list") from None

    async def attend(
        self, act: str, rule: str, device: str | None, who: str, via: str, reason: str = "", for_s: float | None = None
    ) -> AlarmHealth:
        """*act*: one of ATTENDED.  *via*: ``local``, or the uplink.

        Raises KeyError when there is no such alarm, GatewayError when the rules refuse.
        """
        lines = await self.pipeline.attend(partial(ATTENDED[act], rule, device, who, reason, for_s))
        refused = next((line for line in lines if line.event.endswith("_refused")), None)
        found = status_item(self.pipeline.engine.alarm(rule, device))
        what = {"rule": rule, "device": device, "state": str(found["state"]), "reason": reason, "for_s": for_s}
        result = "ok" if refused is None else f"refused: {refused.about.get('why')}"
        with suppress(StoreError):  # said in the log; the alarm's own journal has it
            await self.trail.write(Entry(self.clock.now_ms(), AUDITED[act], who, via, what, result))
        if refused is not None:
            raise GatewayError(f"{act} refused: {refused.about.get('why')}")
        return found

    async def _test_fire(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Until the test is over, which takes as long as its longest confirmation."""
        rule, device = _alarm(request)
        who, reason = str(request.get("who", "")), str(request.get("reason", ""))[:LONGEST_REASON]
        with_output = request.get("output") is True
        engine = self.pipeline.engine
        try:
            lines = await self.pipeline.attend(
                lambda engine, now: engine.test_fire(rule, device, who, reason, with_output, now)
            )
        except KeyError:
            raise GatewayError(f"there is no alarm {name_of(rule, device)}", hint="see gateway rules check") from None
        refused = next((line for line in lines if line.event == "test_fire_refused"), None)
        if refused is not None:
            raise GatewayError(f"test refused: {refused.about.get('why')}")
        while (found := engine.trial(rule, device)) is not None:
            lines = found
            await asyncio.sleep(TRIAL_LOOK_S)
        proof = engine.proved(rule, device)
        failed = [] if proof is None else list(proof.failed)
        what = {"rule": rule, "device": device, "output": with_output, "reason": reason, "failed": ", ".join(failed)}
        with suppress(StoreError):
            result = f"not confirmed: {', '.join(failed)}" if failed else "ok"
            await self.trail.write(Entry(self.clock.now_ms(), "rule.test_fired", who, "local", what, result))
        sent = [str(line.about["send"]) for line in lines if line.event in ("command", "would_send")]
        confirmed = [str(line.about["send"]) for line in lines if line.event == "confirmed"]
        return {"sent": sent, "confirmed": confirmed, "failed": failed, "output": with_output}

    async def read_points(self, points: Sequence[PointId]) -> Sequence[Mapping[str, object]]:
        """Raises GatewayError."""
        return await self._read({"points": list(points)})

    async def _write(self, request: Mapping[str, Any]) -> dict[str, Any]:
        command = Command.local(request, uuid7(self.clock.now_ms()))
        act = self.commands.check if request.get("check") else self.commands.execute
        return as_item(command, await act(command))


def _alarm(request: Mapping[str, Any]) -> tuple[str, str | None]:
    device = request.get("device")
    return str(request.get("rule", "")), device if isinstance(device, str) and device else None


Act = Callable[[str, str | None, str, str, float | None, Engine, Instant], Changes]
"""Rule, device, who, reason, seconds, engine, now."""

ATTENDED: Mapping[str, Act] = {
    "acknowledge": lambda rule, device, who, reason, for_s, engine, now: engine.acknowledge(rule, device, who, now),
    "shelve": lambda rule, device, who, reason, for_s, engine, now: engine.shelve(
        rule, device, who, for_s or 0.0, reason, now
    ),
    "unshelve": lambda rule, device, who, reason, for_s, engine, now: engine.unshelve(rule, device, who, now),
    "reset": lambda rule, device, who, reason, for_s, engine, now: engine.reset(rule, device, who, reason, now),
    "out_of_service": lambda rule, device, who, reason, for_s, engine, now: engine.out_of_service(
        rule, device, who, reason, for_s, now
    ),
    "in_service": lambda rule, device, who, reason, for_s, engine, now: engine.in_service(rule, device, who, now),
}
"""What people do with an alarm."""

AUDITED = {
    "acknowledge": "alarm.acknowledged",
    "shelve": "alarm.shelved",
    "unshelve": "alarm.unshelved",
    "reset": "alarm.reset",
    "out_of_service": "alarm.out_of_service",
    "in_service": "alarm.in_service",
}


def _named(lines: Mapping[str, Line], request: Mapping[str, Any]) -> str:
    name = request.get("line")
    if not isinstance(name, str) or name not in lines:
        raise GatewayError(f"there is no line {name!r}", hint=f"lines: {', '.join(sorted(lines))}")
    return name


def _checked(request: Mapping[str, Any], key: str, read: Callable[[Any], T]) -> T:
    try:
        return read(request[key])
    except (KeyError, TypeError, ValueError):
        raise GatewayError(f"{key} is missing or not what it should be") from None
