"""Commands: the one audited counter-current.

    command ──▶ decide (pure) ── no ──▶ rejected ─────────────────────────────────────────────┐
                   │ yes                                                                      ▼
                   └──▶ "command.requested" on disk ──▶ write, once ──▶ settle ──▶ read back ──▶ "command.done"

A rule's command is urgent: what it overtakes and what it does not wait for stands with ``Command.urgent``.

There is no queue: a command lives in the task that asked for it and dies with it.  What a killed daemon leaves behind
is a request without an end, for people to look at; nothing is ever carried out after a restart, or a second time.
"""

from __future__ import annotations

import asyncio
import enum
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import structlog

from drivers.base import Driver, Writable
from gateway.clock import Clock
from gateway.errors import DeviceRejected, DeviceUnreachable, DriverError, LineLost, ProtocolError, StoreError
from gateway.ids import uuid7
from gateway.model import Event, Place, Point, PointId, Reading, Value, ValueKind

log = structlog.get_logger()

FREE_POLL_S = 0.1
STALL_S = 30.0
"""Backstop for one write: a driver that hangs longer has got no answer."""
TOLERANCE = 0.002
"""Of a number: devices keep set points in steps, and the nearest step is what reads back."""
LONGEST = 200
"""Characters of a text that is written, and of what goes into the audit."""
LARGEST = 2.0**53
"""Of a number: above, JSON readers begin to round."""
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_SWITCH = {"on": True, "true": True, "开": True, "off": False, "false": False, "关": False}


class Status(enum.StrEnum):
    """What became of a command.  The wording is part of the MQTT contract."""

    OK = "ok"  # carried out, and it reads back
    REJECTED = "rejected"  # refused, by us or by the device: nothing has changed
    FAILED = "failed"  # it has not come about: nothing could be sent, or another value reads back
    EXPIRED = "expired"  # its time was over before it could be sent: nothing has changed
    UNKNOWN = "unknown"  # sent, and nobody knows what became of it


class Code(enum.StrEnum):
    """Why.  The wording is part of the MQTT contract: add, never rename."""

    CONFIRMED = "confirmed"
    UNKNOWN_POINT = "unknown_point"
    NOT_WRITABLE = "not_writable"  # its profile does not say writable
    NOT_ALLOWED = "not_allowed"  # the device entry does not name it in allow_write
    DRIVER_CANNOT = "driver_cannot"
    WRONG_DEVICE = "wrong_device"  # another device than the site means answers at its address
    NO_WHO = "no_who"
    NO_REASON = "no_reason"
    BAD_VALUE = "bad_value"  # not of the point's kind, or not one of its states
    OUT_OF_RANGE = "out_of_range"
    INTERLOCK = "interlock"
    BUSY = "busy"  # another command for the point is under way
    TOO_SOON = "too_soon"  # the last one has hardly settled
    STOPPING = "stopping"
    NOT_AUDITED = "not_audited"  # the store takes nothing, so nothing is sent
    REFUSED = "refused"  # by the device
    LINE_LOST = "line_lost"
    NO_ANSWER = "no_answer"
    BAD_ANSWER = "bad_answer"
    INTERRUPTED = "interrupted"  # the daemon stopped before it was known
    NOT_READ_BACK = "not_read_back"
    DIFFERS = "differs"  # from what was written
    EXPIRED = "expired"  # while it waited for the line
    NOT_AT_REST = "not_at_rest"  # a pulse was begun, and its end is not confirmed


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody wants a point to take a value.  *value* may still be anything."""

    id: str
    """UUIDv7, or whatever unique id the platform has given."""
    point: PointId
    value: object
    who: str
    reason: str
    via: str
    """The way it came: ``local``, or the uplink."""
    expires_s: float | None = None
    """Monotonic; what has not left by then stays here."""
    urgent: bool = False
    """Of a rule: it leaves while another command for the point is under way or settles, and while the store takes
    nothing.  Its audit is not waited for."""

    @classmethod
    def local(cls, request: Mapping[str, Any], id_: str) -> Command:
        """As the command line asks; what is missing or is no text is left empty, and refused for it."""
        texts = {key: word for key in ("point", "who", "reason") if isinstance(word := request.get(key), str)}
        return cls(
            id_, texts.get("point", ""), request.get("value"), texts.get("who", ""), texts.get("reason", ""), "local"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A point, and what decides whether it may be written now.  Times are monotonic."""

    point: Point
    allowed: bool
    """The site names it in the device entry's allow_write."""
    settle_s: float | None
    """How long a write takes to show; None where the driver cannot write at all."""
    written_s: float | None = None
    """When something was last sent."""
    busy: bool = False
    wrong: bool = False
    """The device that answers is not the one that the site means."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    point: PointId
    value: Value
    settle_s: float
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pulse:
    """The value is to hold for a moment only (a door release)."""

    hold_s: float
    rest: Value
    """What is written afterwards, whatever became of the first write."""


@dataclass(frozen=True, slots=True)
class Refusal:
    code: Code
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    code: Code
    detail: str = ""
    read_back: Value | None = None
    """What the point showed afterwards; None where it was not or could not be read."""


Interlock: TypeAlias = Callable[[Command, Point], str | None]
"""Why the command must not be carried out now; None: nothing speaks against it.  Pure."""


# ---------------------------------------------------------------------- deciding: pure


def decide(
    command: Command, target: Target | None, now_s: float, interlocks: Sequence[Interlock] = ()
) -> Plan | Refusal:
    """Whether *command* is carried out.  Rights come first, then the value, then whether it may be now."""
    if target is None:
        return Refusal(Code.UNKNOWN_POINT)
    refusal = _rights(command, target)
    if refusal is not None or target.settle_s is None:
        return refusal or Refusal(Code.DRIVER_CANNOT)
    value = checked(target.point, command.value)
    if isinstance(value, Refusal):
        return value
    if target.busy and not command.urgent:
        return Refusal(Code.BUSY)
    if (wait_s := _settling_s(target, now_s)) > 0 and not command.urgent:
        return Refusal(Code.TOO_SOON, f"{wait_s:.1f} s")
    for interlock in interlocks:
        if (why := interlock(command, target.point)) is not None:
            return Refusal(Code.INTERLOCK, why)
    return Plan(target.point.id, value, target.settle_s, command.expires_s)


def _settling_s(target: Target, now_s: float) -> float:
    if target.written_s is None or target.settle_s is None:
        return 0.0
    return max(0.0, target.written_s + target.settle_s - now_s)


def _rights(command: Command, target: Target) -> Refusal | None:
    if not target.point.writable:
        return Refusal(Code.NOT_WRITABLE)
    if not target.allowed:
        return Refusal(Code.NOT_ALLOWED)
    if target.wrong:
        return Refusal(Code.WRONG_DEVICE)
    if not command.who.strip():
        return Refusal(Code.NO_WHO)
    if not command.reason.strip():
        return Refusal(Code.NO_REASON)
    return None


def checked(point: Point, value: object) -> Value | Refusal:
    """*value* if it is one that this point can take.  A whole number stays one."""
    match point.kind, value:
        case ValueKind.BOOLEAN, bool():
            return value
        case ValueKind.NUMBER, int() | float() if not isinstance(value, bool):
            return _in_range(point, value)
        case ValueKind.STATE, str():
            return value if value in _settable(point) else Refusal(Code.BAD_VALUE, _expected(point))
        case ValueKind.TEXT, str() if 0 < len(value) <= LONGEST and value.isprintable():
            return value
        case _:
            return Refusal(Code.BAD_VALUE, _expected(point))


def _settable(point: Point) -> Sequence[str]:
    return point.commands or point.states


def _in_range(point: Point, value: float) -> Value | Refusal:
    if not -LARGEST <= value <= LARGEST:  # NaN is not, either
        return Refusal(Code.BAD_VALUE, _expected(point))
    low, high = point.minimum, point.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        return Refusal(Code.OUT_OF_RANGE, _expected(point))
    return value


def parse_value(point: Point, written: str) -> Value | Refusal:
    """What a person has typed, as the point's kind says.  Nothing is guessed: ``1,5`` and ``yes`` are refused."""
    word = written.strip()
    value: object = written
    if point.kind is ValueKind.NUMBER:
        value = _number(word)
    elif point.kind is ValueKind.BOOLEAN:
        value = _SWITCH.get(word.lower())
    elif point.kind is ValueKind.STATE:
        value = word
    return checked(point, value)


def _number(word: str) -> float | None:
    if len(word) > LONGEST or not _NUMBER.fullmatch(word):
        return None
    return float(word) if "." in word else int(word)


def _expected(point: Point) -> str:
    """What could have been written, in signs that every language reads."""
    match point.kind:
        case ValueKind.NUMBER:
            low = "-∞" if point.minimum is None else f"{point.minimum:g}"
            high = "∞" if point.maximum is None else f"{point.maximum:g}"
            return f"{low} … {high} {point.unit or ''}".rstrip()
        case ValueKind.BOOLEAN:
            return "on, off"
        case ValueKind.STATE:
            return ", ".join(_settable(point))
        case ValueKind.TEXT:
            return f"1 … {LONGEST}"


def cuts_supply(point: Point, value: Value) -> bool:
    """Whether somebody may sit without power, water or gas afterwards.

    A relay is named after its contact (``closed`` supplies), a valve after its way (``open`` supplies); any word
    that is not known to supply counts as cutting.
    """
    words = {word.rstrip("0123456789") for word in point.name.split("_")}
    supplying: set[Value] = set()
    if "relay" in words:
        supplying |= {"closed", "close", "connected", "on"}
    if "valve" in words:
        supplying |= {"open", "opened", "on"}
    return bool(supplying) and value is not True and value not in supplying


def judge(plan: Plan, trouble: DriverError | None, readings: Sequence[Reading] | DriverError | None) -> Outcome:
    """What became of a write that was sent.

    trouble: how the write itself failed; None when the device has confirmed it.  readings: of the point afterwards,
    or why there are none; None when it was not asked any more.
    """
    reading = readings[0] if readings and not isinstance(readings, DriverError) else None
    shown = None if reading is None else reading.value
    if trouble is not None:
        return Outcome(Status.UNKNOWN, _code_of(trouble), trouble.advice(), shown)
    if readings is None:
        return Outcome(Status.UNKNOWN, Code.INTERRUPTED)
    if isinstance(readings, DriverError):
        return Outcome(Status.UNKNOWN, Code.NOT_READ_BACK, readings.advice())
    if shown is None:
        return Outcome(Status.UNKNOWN, Code.NOT_READ_BACK, "" if reading is None else str(reading.reason))
    if not agrees(plan.value, shown):
        return Outcome(Status.FAILED, Code.DIFFERS, str(shown), shown)
    return Outcome(Status.OK, Code.CONFIRMED, "", shown)


def agrees(wanted: Value, shown: Value) -> bool:
    if isinstance(wanted, (str, bool)) or isinstance(shown, (str, bool)):
        return wanted == shown and isinstance(wanted, bool) == isinstance(shown, bool)
    return math.isclose(wanted, shown, rel_tol=TOLERANCE, abs_tol=1e-9)


def _code_of(trouble: DriverError) -> Code:
    if isinstance(trouble, LineLost):
        return Code.LINE_LOST
    return Code.BAD_ANSWER if isinstance(trouble, ProtocolError) else Code.NO_ANSWER


# ---------------------------------------------------------------------- doing


class Bus(Protocol):
    """The way to some devices (supervisor.Line): one exchange at a time."""

    @property
    def drivers(self) -> Mapping[str, Driver]: ...

    async def command(self, device: str, action: Callable[[], Awaitable[None]]) -> None:
        """Run *action* between two exchanges, sending nothing twice.

        Raises what it raises, and LineLost when it cannot be run.
        """

    async def read(self, device: str, points: Sequence[PointId]) -> Sequence[Reading]:
        """Read now and publish.  Raises DriverError."""


class Audit(Protocol):
    """Where events go (pipeline.Pipeline)."""

    def note(self, *records: Event) -> None: ...

    async def record(self, event: Event) -> None:
        """On disk when it returns.  Raises StoreError when it is not; it is kept then, if that is possible."""


@dataclass(slots=True)
class Commands:
    """Carries out what ``decide`` allows, one command at a time for each point."""

    points: Mapping[PointId, Point]
    places: Mapping[str, Place]
    """Of each device."""
    allowed: frozenset[PointId]
    buses: Mapping[str, Bus]
    """Device -> its line."""
    audit: Audit
    clock: Clock
    wrong: Set[str] = frozenset()
    """Devices that are known to be others than the site means, as they are found out."""
    interlocks: Sequence[Interlock] = ()
    unknown: int = field(init=False, default=0)
    """Commands since the start of which nobody knows what became of them."""
    _written_s: dict[PointId, float] = field(init=False, default_factory=dict)
    _under_way: list[PointId] = field(init=False, default_factory=list)
    """A point twice while an urgent command has overtaken another."""
    _idle: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    async def check(self, command: Command) -> Plan | Outcome:
        """Whether it would be carried out now; a refusal is audited like any other."""
        plan = self._decide(command)
        return await self._refused(command, plan) if isinstance(plan, Refusal) else plan

    async def execute(self, command: Command, pulse: Pulse | None = None) -> Outcome:
        """Carry *command* out, or refuse it.  Both ways end in the audit before this returns.

        With *pulse* the point is brought to rest again, also when the caller is cancelled meanwhile.
        """
        plan = self._decide(command)
        if isinstance(plan, Refusal):
            return await self._refused(command, plan)
        self._under_way.append(plan.point)
        self._idle.clear()
        outcome: Outcome | None = None
        try:
            outcome = await self._carry_out(command, plan, pulse)
            await self._close(command, outcome)
        except asyncio.CancelledError:
            if outcome is None:
                self.audit.note(self._done(command, Outcome(Status.UNKNOWN, Code.INTERRUPTED)))
            raise
        finally:
            self._under_way.remove(plan.point)
            if not self._under_way:
                self._idle.set()
        return outcome

    async def free(self, point: PointId) -> None:
        """Until nothing is under way for *point* and the last write has settled, or the daemon stops."""
        while not self._stopping.is_set():
            target = self._target(point)
            if target is None:
                return
            wait_s = FREE_POLL_S if target.busy else _settling_s(target, self.clock.monotonic_s())
            if wait_s <= 0:
                return
            await self._wait(wait_s)

    async def rest(self, point: PointId, value: Value) -> Outcome:
        """End a pulse, now: also while stopping, and as soon after the last write as need be.

        Nobody is asked, because whoever began the pulse was.  *point* is one that a driver can write.
        """
        driver = self._driver(self.points[point])
        plan = Plan(point, value, 0.0 if driver is None else driver.settle_s(point))
        answer = await self._write(plan)
        if isinstance(answer, Outcome):
            return answer
        await self._wait(plan.settle_s)
        return judge(plan, answer, await self._read_back(plan))

    def stop(self) -> None:
        """Nothing is begun any more; what has been sent is not waited for longer than its exchange takes."""
        self._stopping.set()

    async def ended(self) -> None:
        """Until nothing is under way."""
        await self._idle.wait()

    # ------------------------------------------------------------------ one command

    def _decide(self, command: Command) -> Plan | Refusal:
        if self._stopping.is_set():
            return Refusal(Code.STOPPING)
        return decide(command, self._target(command.point), self.clock.monotonic_s(), self.interlocks)

    def _target(self, id_: PointId) -> Target | None:
        point = self.points.get(id_)
        if point is None:
            return None
        allowed = point.writable and id_ in self.allowed
        driver = self._driver(point) if allowed else None  # of other points it need not know how long they take
        return Target(
            point,
            allowed,
            None if driver is None else driver.settle_s(id_),
            self._written_s.get(id_),
            id_ in self._under_way,
            point.device in self.wrong,
        )

    def _driver(self, point: Point) -> Writable | None:
        driver = self.buses[point.device].drivers[point.device]
        return driver if isinstance(driver, Writable) else None

    async def _carry_out(self, command: Command, plan: Plan, pulse: Pulse | None) -> Outcome:
        requested = self._event("command.requested", command, {})
        if command.urgent:
            self.audit.note(requested)
        else:
            try:
                await self.audit.record(requested)
            except StoreError as exc:
                return Outcome(Status.REJECTED, Code.NOT_AUDITED, exc.advice())
        if self._stopping.is_set():
            return Outcome(Status.REJECTED, Code.STOPPING)
        if pulse is not None:
            return await self._pulse(plan, pulse)
        answer = await self._write(plan)
        if isinstance(answer, Outcome):
            return answer
        await self._wait(plan.settle_s)
        return judge(plan, answer, None if self._stopping.is_set() else await self._read_back(plan))

    async def _wait(self, seconds: float) -> None:
        """Less when the daemon stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _pulse(self, plan: Plan, pulse: Pulse) -> Outcome:
        moved = True
        try:
            answer = await self._write(plan)
            moved = not isinstance(answer, Outcome)
            if isinstance(answer, Outcome):
                return answer
            await self._wait(pulse.hold_s)
        finally:
            rested = await self.rest(plan.point, pulse.rest) if moved else None
        assert rested is not None
        if rested.status is not Status.OK:
            return Outcome(Status.UNKNOWN, Code.NOT_AT_REST, f"{rested.code} {rested.detail}".rstrip())
        if answer is not None:
            return Outcome(Status.UNKNOWN, _code_of(answer), answer.advice(), rested.read_back)
        return rested

    async def _write(self, plan: Plan) -> Outcome | DriverError | None:
        """Send it once.  An outcome when it is known, else what went wrong afterwards; None: the device confirmed."""
        point = self.points[plan.point]
        driver = self._driver(point)
        assert driver is not None
        before_s = self._written_s.get(point.id)
        sent = False

        async def act() -> None:
            nonlocal sent
            if plan.expires_s is not None and self.clock.monotonic_s() > plan.expires_s:
                return
            sent = True
            self._written_s[point.id] = self.clock.monotonic_s()
            try:
                async with asyncio.timeout(STALL_S):
                    await driver.write(point.id, plan.value)
            except TimeoutError:
                raise DeviceUnreachable(f"the driver did not return within {STALL_S:g} s") from None

        try:
            await self.buses[point.device].command(point.device, act)
        except DeviceRejected as exc:
            self._restore(point.id, before_s)
            return Outcome(Status.REJECTED, Code.REFUSED, exc.advice())
        except DriverError as exc:
            return exc if sent else Outcome(Status.FAILED, Code.LINE_LOST, exc.advice())
        return None if sent else Outcome(Status.EXPIRED, Code.EXPIRED)

    def _restore(self, point: PointId, written_s: float | None) -> None:
        """A device that has refused has moved nothing that must settle."""
        if written_s is None:
            self._written_s.pop(point, None)
        else:
            self._written_s[point] = written_s

    async def _read_back(self, plan: Plan) -> Sequence[Reading] | DriverError:
        device = self.points[plan.point].device
        try:
            return await self.buses[device].read(device, [plan.point])
        except DriverError as exc:
            return exc

    # ------------------------------------------------------------------ the audit

    async def _refused(self, command: Command, refusal: Refusal) -> Outcome:
        outcome = Outcome(Status.REJECTED, refusal.code, refusal.detail)
        await self._close(command, outcome)
        return outcome

    async def _close(self, command: Command, outcome: Outcome) -> None:
        log.info("command", command=command.id, point=_said(command.point), status=outcome.status, code=outcome.code)
        self.unknown += outcome.status is Status.UNKNOWN
        if command.urgent:
            self.audit.note(self._done(command, outcome))
            return
        try:
            await self.audit.record(self._done(command, outcome))
        except StoreError as exc:
            log.error("end of a command not yet on disk", command=command.id, error=exc.advice())

    def _done(self, command: Command, outcome: Outcome) -> Event:
        result = {"result": str(outcome.status), "code": str(outcome.code), "detail": _said(outcome.detail)}
        shown = outcome.read_back
        return self._event("command.done", command, {**result, "read_back": None if shown is None else _said(shown)})

    def _event(self, kind: str, command: Command, more: Mapping[str, Value | None]) -> Event:
        now_ms = self.clock.now_ms()
        point = self.points.get(command.point)
        about: dict[str, Value | None] = {
            "command": _said(command.id),
            "point": _said(command.point),
            "value": _said(command.value),
            "who": _said(command.who),
            "reason": _said(command.reason),
            "via": command.via,
        }
        device = None if point is None else point.device
        place = Place() if device is None else self.places[device]
        return Event(uuid7(now_ms), kind, now_ms, device, place, {**about, **more})


def as_item(command: Command, what: Plan | Outcome) -> dict[str, Any]:
    """For the local API: what became of the command, or ``ready``: it may be given."""
    item: dict[str, Any] = {"id": command.id, "point": command.point}
    if isinstance(what, Plan):
        return {**item, "status": "ready", "settle_s": what.settle_s}
    return {**item, "status": what.status, "code": what.code, "detail": what.detail, "read_back": what.read_back}


def _said(what: object) -> bool | int | float | str:
    """As it may stand in an event: what is no decent number becomes a text, and every text short and encodable."""
    if isinstance(what, bool) or (isinstance(what, (int, float)) and -LARGEST <= what <= LARGEST):
        return what
    return str(what)[:LONGEST].encode("utf-8", "replace").decode("utf-8")
