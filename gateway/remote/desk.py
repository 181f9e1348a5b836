"""Commands from afar: every one is answered, and none is believed for where it came from.

    request ─▶ cheap checks ─▶ signature ─▶ ours, fresh, first time ─▶ rights, arguments ─▶ on disk ─▶ act ─▶ reply
               size, retained,   144 us       clock, counter             rates                counter,
               known, arrivals                                                                audit

There is no queue and no second time: the counter is on disk before anything is done, and what a killed daemon was asked
is refused afterwards as a replay.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from pydantic import ValidationError

from gateway.bucket import Bucket
from gateway.clock import Clock
from gateway.errors import GatewayError, StoreCorrupt, StoreError, UplinkError
from gateway.ids import uuid7
from gateway.model import Event, Place
from gateway.remote.acts import ACTS, Act, Args, Asked, Means, done, rehearsed
from gateway.remote.codes import Code
from gateway.remote.order import Here, Order, order_in, refused
from gateway.remote.rights import Right
from gateway.remote.signature import NotSigned, opened
from gateway.remote.trail import Trail
from gateway.uplink.dialect import Reply, Request

log = structlog.get_logger()

COMMAND_BYTES = 4096
CONFIG_BYTES = 256 * 1024
"""A configuration is larger than a command; it is read only where it can be applied."""
ARRIVALS = (100, 2.0)
"""Messages an uplink may have looked at, and in how many seconds: what a flood can cost us."""
LARGE_ARRIVALS = (2, 20.0)
REBIRTHS = (1, 10.0)
UNDER_WAY = 8
"""Commands carried out at the same time."""
WAITING = 16
"""Repetitions that wait for the answer of the first."""
REMEMBERED = 200
SUMMARY_S, LONGEST_SUMMARY_S = 1.0, 300.0
"""Between two lines of the audit about what was turned away: a flood that lasts must not push the rest out of it."""
COUNTER_KEY = "remote/counter/"


class _Name(NamedTuple):
    """The same name is the same command; another body under the same id is another."""

    uplink: str
    id: str
    digest: bytes


@dataclass(slots=True)
class Stats:
    """Counters since start."""

    obeyed: int = 0
    repeated: int = 0
    """Answered again, without doing anything."""
    refused: Counter[str] = field(default_factory=Counter)
    """By code; of those that never became a command."""
    verified: int = 0
    """Signatures looked at."""


def counters_in(saved: Mapping[str, bytes]) -> dict[str, int]:
    """The last counter of each key.  One that cannot be read is as good as used up: its key is refused."""
    found = {}
    for key, value in saved.items():
        if key.startswith(COUNTER_KEY):
            found[key.removeprefix(COUNTER_KEY)] = int(value) if value.isdigit() else 2**63
    return found


@dataclass(slots=True)
class Desk:
    site: str
    gateway: str
    rights: Mapping[str, Right]
    """By key id."""
    means: Means
    trail: Trail
    clock: Clock
    counters: dict[str, int]
    commands_per_minute: int = 10
    outputs_per_minute: int = 2
    stats: Stats = field(init=False, default_factory=Stats)
    _keys: Mapping[str, bytes] = field(init=False)
    _outcomes: OrderedDict[_Name, Reply] = field(init=False, default_factory=OrderedDict)
    _under_way: dict[_Name, asyncio.Future[Reply]] = field(init=False, default_factory=dict)
    _waiting: int = field(init=False, default=0)
    _buckets: dict[tuple[str, str], Bucket] = field(init=False, default_factory=dict)
    _unsaid: Counter[tuple[str, str]] = field(init=False, default_factory=Counter)
    """(uplink, code) of what was refused and is not in the audit yet."""
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _stopping: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._keys = {name: right.public for name, right in self.rights.items()}

    async def handle(self, request: Request) -> Reply:
        """Always answers.  Raises StoreCorrupt, which ends the daemon."""
        cheap = self._cheap(request)
        if cheap is not None:
            return self._turned_away(request, cheap)
        name = _Name(request.uplink, request.id, hashlib.sha256(request.body).digest())
        if (before := self._outcomes.get(name)) is not None:
            self.stats.repeated += 1
            return before
        if (first := self._under_way.get(name)) is not None:
            return await self._answer_of(first, request)
        order = self._order(request)
        if order is None:
            return await self._rebirth(request)
        if isinstance(order, Reply):
            return self._turned_away(request, order)
        if len(self._under_way) >= UNDER_WAY:
            return self._turned_away(request, refused(Code.BUSY))
        return await self._settled(name, order, request)

    async def run(self) -> None:
        """Write down what was turned away, until cancelled: a line a second, and fewer the longer a flood lasts."""
        pause_s = SUMMARY_S
        while True:
            await self._some.wait()
            self._some.clear()
            self._sum_up()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_SUMMARY_S) if self._some.is_set() else SUMMARY_S

    def stop(self) -> None:
        """Nothing is begun any more."""
        self._stopping = True
        self._sum_up()

    async def ended(self) -> None:
        """Until nothing is under way."""
        while self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    # ------------------------------------------------------------------ what costs nothing

    def _cheap(self, request: Request) -> Reply | None:
        size = len(request.body)
        if request.retained:
            return refused(Code.RETAINED)
        if size > (COMMAND_BYTES if self.means.apply_config is None else CONFIG_BYTES):
            return refused(Code.TOO_LARGE)
        if self._stopping:
            return refused(Code.STOPPING)
        if not self._bucket("arrival", request.uplink, *ARRIVALS):
            return refused(Code.TOO_OFTEN)
        if size > COMMAND_BYTES and not self._bucket("large", request.uplink, *LARGE_ARRIVALS):
            return refused(Code.TOO_OFTEN)
        return None

    def _bucket(self, kind: str, whose: str, burst: int, period_s: float) -> bool:
        """*whose*: an uplink or a key of ours, so that there are few."""
        found = self._buckets.get((kind, whose))
        if found is None:
            found = self._buckets[kind, whose] = Bucket(burst / period_s, burst)
        return found.take(self.clock.monotonic_s())

    async def _answer_of(self, first: asyncio.Future[Reply], request: Request) -> Reply:
        if self._waiting >= WAITING:
            return self._turned_away(request, refused(Code.BUSY))
        self._waiting += 1
        try:
            return await asyncio.shield(first)
        finally:
            self._waiting -= 1
            self.stats.repeated += 1

    # ------------------------------------------------------------------ whether it is a command

    def _order(self, request: Request) -> Order | Reply | None:
        """None: a rebirth that nobody has signed."""
        if request.id == "rebirth" and b'"signed"' not in request.body:
            return None
        self.stats.verified += 1
        try:
            signed = opened(request.body, self._keys, CONFIG_BYTES)
        except NotSigned as exc:
            if exc.code == Code.UNSIGNED and _asks_rebirth(request.body):
                return None
            return refused(Code(exc.code), str(exc))
        here = Here(self.site, self.gateway, self.clock.now_ms(), self.clock.state())
        order = order_in(signed, request.id, here, self.counters.get(signed.key, 0))
        if isinstance(order, Reply):
            return order
        if len(request.body) > COMMAND_BYTES and order.document["kind"] == "command":
            return refused(Code.TOO_LARGE)
        # Used up, whatever becomes of it: what was refused once must not be obeyed later.
        self.counters[order.key] = order.counter
        self.trail.journal.remember(COUNTER_KEY + order.key, b"%d" % order.counter)
        if not self._bucket("command", order.key, self.commands_per_minute, 60.0):
            return refused(Code.TOO_OFTEN)
        return order

    async def _rebirth(self, request: Request) -> Reply:
        """Allowed to everybody, because it only says again what the platform was told already."""
        if self.means.rebirth is None:
            return self._turned_away(request, refused(Code.UNSUPPORTED))
        if not self._bucket("rebirth", request.uplink, *REBIRTHS):
            return self._turned_away(request, refused(Code.TOO_OFTEN))
        try:
            await self.means.rebirth(request.uplink)
        except UplinkError as exc:
            return Reply("failed", str(Code.TROUBLE), exc.advice())
        return done()

    # ------------------------------------------------------------------ obeying

    async def _settled(self, name: _Name, order: Order, request: Request) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._under_way[name] = future
        interrupted = reply = Reply("unknown", str(Code.INTERRUPTED))
        try:
            reply = await self._obey(order, request)
            await self._close(order, request, reply)
        except asyncio.CancelledError:
            if reply is interrupted:
                self.trail.note(self._event("remote.done", order, request, reply))
            raise
        finally:
            del self._under_way[name]
            self._outcomes[name] = reply
            while len(self._outcomes) > REMEMBERED:
                self._outcomes.popitem(last=False)
            future.set_result(reply)
        return reply

    async def _obey(self, order: Order, request: Request) -> Reply:
        right = self.rights[order.key]
        found = self._permitted(order, right)
        if isinstance(found, Reply):
            return found
        act, args = found
        if act.output and not args.dry_run and not self._bucket("output", order.key, self.outputs_per_minute, 60.0):
            return refused(Code.TOO_OFTEN, f"at most {self.outputs_per_minute} outputs a minute")
        try:
            await self.trail.record(self._event("remote.accepted", order, request, None))
        except StoreError as exc:
            return refused(Code.NOT_AUDITED, exc.advice())
        if self._stopping:
            return refused(Code.STOPPING)
        if args.dry_run and not act.rehearses:
            return rehearsed()
        self.stats.obeyed += 1
        try:
            return await act.do(Asked(order, request.uplink, right, self.means), args)
        except StoreCorrupt:
            raise
        except GatewayError as exc:
            return Reply("failed", str(Code.TROUBLE), exc.advice())

    def _permitted(self, order: Order, right: Right) -> tuple[Act, Args] | Reply:
        act = ACTS.get(order.command)
        if act is None:
            return refused(Code.UNKNOWN_COMMAND, f"there is no command {order.command[:48]!r}")
        if order.command not in right.commands:
            return refused(Code.NOT_PERMITTED)
        try:
            args = act.args.model_validate(dict(order.args))
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            return refused(Code.BAD_ARGS, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200])
        if not right.covers(order.command, act.devices(args)):
            return refused(Code.NOT_PERMITTED)
        return act, args

    # ------------------------------------------------------------------ the audit

    async def _close(self, order: Order, request: Request, reply: Reply) -> None:
        try:
            await self.trail.record(self._event("remote.done", order, request, reply))
        except StoreError as exc:
            log.error("end of a command from afar not yet on disk", command=order.id, error=exc.advice())

    def _event(self, kind: str, order: Order, request: Request, reply: Reply | None) -> Event:
        now_ms = self.clock.now_ms()
        about: dict[str, Any] = {
            "command": order.id[:48],
            "name": order.command[:48],
            "who": order.key,
            "via": request.uplink,
            "counter": order.counter,
            "args": json.dumps(order.args, ensure_ascii=True)[:400],
        }
        if reply is not None:
            about |= {"result": reply.status, "code": reply.code, "detail": _printable(reply.detail)}
        return Event(uuid7(now_ms), kind, now_ms, None, Place(), about)

    def _turned_away(self, request: Request, reply: Reply) -> Reply:
        self.stats.refused[reply.code] += 1
        self._unsaid[request.uplink, reply.code] += 1
        self._some.set()
        return reply

    def _sum_up(self) -> None:
        unsaid, self._unsaid = self._unsaid, Counter()
        now_ms = self.clock.now_ms()
        by_uplink: dict[str, dict[str, int]] = {}
        for (uplink, code), count in sorted(unsaid.items()):
            by_uplink.setdefault(uplink, {})[code] = count
        events = [
            Event(
                uuid7(now_ms), "remote.refused", now_ms, None, Place(), {"via": uplink, "result": "rejected", **codes}
            )
            for uplink, codes in by_uplink.items()
        ]
        if events:
            self.trail.note(*events)


def _asks_rebirth(body: bytes) -> bool:
    """*body* has been found to be a JSON object."""
    return bool(json.loads(body).get("command") == "rebirth")


def _printable(text: str) -> str:
    return text[:200].encode("utf-8", "replace").decode()
