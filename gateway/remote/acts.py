"""What may be commanded: one table.  A new command is a model of its arguments, a function, and a line at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from gateway.clock import Clock
from gateway.commands import Command, Commands, Outcome, Plan
from gateway.errors import GatewayError
from gateway.model import Device, Lane, Point, PointId
from gateway.remote.codes import WORDS, Code
from gateway.remote.doors import Doors
from gateway.remote.order import TOLERANCE_MS, Order, refused
from gateway.remote.rights import EVERY, Right, opens_gas
from gateway.uplink.dialect import Reply

POINTS = 50
"""That one command may read: the answer must fit into one message."""
LOCKS = frozenset({"door", "lock"})
"""Words in the kind of a device that keeps people in or out."""


@dataclass(frozen=True, slots=True)
class Means:
    """What commands may use of the daemon; the composition root fills it.  None: this daemon cannot."""

    points: Mapping[PointId, Point]
    devices: Mapping[str, Device]
    commands: Commands
    doors: Doors
    pulses: Mapping[PointId, float]
    """Relay of a door -> seconds that it is on for."""
    read: Callable[[Sequence[PointId]], Awaitable[Any]]
    """Readings, asked for now, as the local API has them.  Raises GatewayError."""
    attend: Callable[[str, str, str | None, str, str, str, float | None], Awaitable[Any]]
    """``acknowledge``, ``shelve`` or ``reset``; rule, device, who, via, reason, seconds -> the alarm.

    Raises KeyError when there is no such alarm, GatewayError when its rule does not let it be."""
    visible: Callable[[str, PointId], bool]
    """Whether an uplink may learn what a point shows."""
    clock: Clock
    rebirth: Callable[[str], Awaitable[None]] | None = None
    """Publish again who we are, on the uplink."""
    resend: Callable[[str, Lane, int, int], Awaitable[int]] | None = None
    """Uplink, lane, first and last number: send these envelopes once more.  The lowest number that the log still has;
    what lies below will not come.  Raises ValueError: too many."""
    reload: Callable[[], str] | None = None
    """Read the configuration anew and start with it in a moment; what is wrong with it where it cannot be."""
    apply_config: Callable[[bytes, str], Awaitable[None]] | None = None
    """The signed document, and the uplink it came over; what becomes of it is reported elsewhere."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A permitted command."""

    order: Order
    uplink: str
    right: Right
    means: Means

    def command(self, point: PointId, value: object, reason: str) -> Command:
        clock = self.means.clock
        left_s = (self.order.expires_ms + TOLERANCE_MS - clock.now_ms()) / 1000
        who = self.order.key
        return Command(self.order.id, point, value, who, reason, self.uplink, clock.monotonic_s() + left_s)


# ---------------------------------------------------------------------- arguments


class Args(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dry_run: bool = False
    """Only say whether it would be done."""


_Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=100)]
_Reason: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class ReadArgs(Args):
    points: Annotated[list[_Id], Field(min_length=1, max_length=POINTS)]


class WriteArgs(Args):
    point: _Id
    value: bool | int | float | str
    reason: _Reason


class DoorArgs(Args):
    point: _Id
    reason: _Reason


class AlarmArgs(Args):
    rule: _Id
    device: _Id | None = None
    """Absent for a rule that names its points in full."""


class ShelveArgs(AlarmArgs):
    minutes: Annotated[int, Field(ge=1, le=1440)]
    reason: _Reason


class ResetArgs(AlarmArgs):
    reason: _Reason


class ResendArgs(Args):
    lane: Literal["alarm", "event", "gap", "billing", "telemetry", "bulk"]
    from_seq: Annotated[int, Field(ge=1)]
    to_seq: Annotated[int, Field(ge=1)]


class ConfigArgs(Args):
    document: str
    """As on ``config/desired``: signed for itself.  Whoever applies it checks what is in it."""


Do: TypeAlias = Callable[[Asked, Any], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Act:
    do: Do
    args: type[Args] = Args
    devices: Callable[[Any], Set[str]] = field(default=lambda args: frozenset())
    """Of these arguments: the devices that the key must cover; ``*`` for what concerns none in particular."""
    output: bool = False
    """It moves something."""
    rehearses: bool = False
    """It looks at dry_run itself."""


def _devices_of(points: Sequence[PointId]) -> Set[str]:
    return frozenset(point.partition(".")[0] for point in points)


def _alarm_device(args: AlarmArgs) -> Set[str]:
    return frozenset({args.device or EVERY})


# ---------------------------------------------------------------------- acts


def done(result: Any = None) -> Reply:
    return Reply("ok", str(Code.DONE), "", result)


def rehearsed() -> Reply:
    return Reply("ok", str(Code.DRY_RUN), WORDS[Code.DRY_RUN].en)


async def _help(asked: Asked, args: Args) -> Reply:
    """The commands that this key may give, with their arguments; ``?`` behind those that may be absent."""
    return done(
        {
            name: [key if info.is_required() else f"{key}?" for key, info in act.args.model_fields.items()]
            for name, act in ACTS.items()
            if name in asked.right.commands
        }
    )


async def _time(asked: Asked, args: Args) -> Reply:
    """*shift_ms*: how far we are ahead of the clock that the command was issued by; its way here included."""
    clock = asked.means.clock
    now_ms = clock.now_ms()
    return done({"now_ms": now_ms, "state": str(clock.state()), "shift_ms": now_ms - asked.order.issued_ms})


async def _read(asked: Asked, args: ReadArgs) -> Reply:
    means = asked.means
    for point in args.points:
        if point in means.points and not means.visible(asked.uplink, point):
            return refused(Code.HIDDEN, point)
    return rehearsed() if args.dry_run else done(await means.read(args.points))


async def _write(asked: Asked, args: WriteArgs) -> Reply:
    means = asked.means
    point = means.points.get(args.point)
    if point is not None:
        device = means.devices[point.device]
        if opens_gas(device, point, args.value):
            return refused(Code.GAS_VALVE)
        if args.point in means.pulses or LOCKS & set(device.kind.split("_")):
            return refused(Code.DOOR, "a door is not written to: use door.release, where the site lets it be released")
    command = asked.command(args.point, args.value, args.reason)
    return _became(await (means.commands.check(command) if args.dry_run else means.commands.execute(command)))


async def _release(asked: Asked, args: DoorArgs) -> Reply:
    means = asked.means
    hold_s = means.pulses.get(args.point)
    if hold_s is None:
        return refused(Code.DOOR)
    command = asked.command(args.point, True, args.reason)
    if args.dry_run:
        return _became(await means.commands.check(command))
    return _became(await means.doors.release(command, hold_s))


def _became(what: Plan | Outcome) -> Reply:
    if isinstance(what, Plan):
        return rehearsed()
    result = None if what.read_back is None else {"read_back": what.read_back}
    return Reply(str(what.status), str(what.code), what.detail, result)


async def _acknowledge(asked: Asked, args: AlarmArgs) -> Reply:
    return await _attend(asked, "acknowledge", args)


async def _shelve(asked: Asked, args: ShelveArgs) -> Reply:
    return await _attend(asked, "shelve", args, args.reason, args.minutes * 60.0)


async def _reset(asked: Asked, args: ResetArgs) -> Reply:
    return await _attend(asked, "reset", args, args.reason)


async def _attend(asked: Asked, act: str, args: AlarmArgs, reason: str = "", for_s: float | None = None) -> Reply:
    order = asked.order
    try:
        return done(await asked.means.attend(act, args.rule, args.device, order.key, asked.uplink, reason, for_s))
    except KeyError:
        return refused(Code.UNKNOWN_ALARM)
    except GatewayError as exc:
        return refused(Code.RULE, str(exc))


async def _rebirth(asked: Asked, args: Args) -> Reply:
    if asked.means.rebirth is None:
        return refused(Code.UNSUPPORTED)
    await asked.means.rebirth(asked.uplink)
    return done()


async def _resend(asked: Asked, args: ResendArgs) -> Reply:
    if asked.means.resend is None:
        return refused(Code.UNSUPPORTED)
    if args.to_seq < args.from_seq:
        return refused(Code.BAD_ARGS, "to_seq is smaller than from_seq")
    try:
        held_from = await asked.means.resend(asked.uplink, Lane(args.lane), args.from_seq, args.to_seq)
    except ValueError as exc:
        return refused(Code.BAD_ARGS, str(exc))
    return done({"held_from": held_from})


async def _reload(asked: Asked, args: Args) -> Reply:
    if asked.means.reload is None:
        return refused(Code.UNSUPPORTED)
    faults = asked.means.reload()
    return Reply("failed", str(Code.INVALID), faults[:2000]) if faults else done()


async def _apply(asked: Asked, args: ConfigArgs) -> Reply:
    if asked.means.apply_config is None:
        return refused(Code.UNSUPPORTED)
    await asked.means.apply_config(args.document.encode(), asked.uplink)
    return Reply("ok", "", "taken; what becomes of it is on config/reported")


async def _cannot(why: str, asked: Asked, args: Args) -> Reply:
    return refused(Code.UNSUPPORTED, why)


ACTS: Mapping[str, Act] = {
    "help": Act(_help),
    "time": Act(_time),
    "read": Act(_read, ReadArgs, lambda args: _devices_of(args.points), rehearses=True),
    "write": Act(_write, WriteArgs, lambda args: _devices_of([args.point]), output=True, rehearses=True),
    "door.release": Act(_release, DoorArgs, lambda args: _devices_of([args.point]), output=True, rehearses=True),
    "alarm.acknowledge": Act(_acknowledge, AlarmArgs, _alarm_device),
    "alarm.shelve": Act(_shelve, ShelveArgs, _alarm_device),
    "alarm.reset": Act(_reset, ResetArgs, _alarm_device),
    "rebirth": Act(_rebirth),
    "resend": Act(_resend, ResendArgs),
    "reload": Act(_reload),
    "config.apply": Act(_apply, ConfigArgs, rehearses=True),
    "bundle": Act(partial(_cannot, "support bundles do not exist yet")),
}
