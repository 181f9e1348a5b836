"""Keeps the devices of one line polled, whatever they do.

Owns the schedule, deadlines, back-off, the log-once rule and the gaps, so that drivers need not.  Lines know nothing
of each other: one that hangs, or has lost its port, delays nobody else.

    LineSchedule.next ──▶ driver.batches ──▶ driver.poll, one exchange ──▶ publish ──▶ LineSchedule.next ...
                               ▲ a command waiting is served between two exchanges

On a hub the same goes on beside the ``Listener``, which takes what devices say by themselves.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from typing import Any, TypeVar

import structlog

from drivers.base import Driver, Hub, Link, Report, Reporting
from drivers.device_link import DeviceLink
from gateway.clock import Clock
from gateway.errors import DeviceUnreachable, DriverError, LineLost, ProtocolError
from gateway.hearing import Hearing
from gateway.line_stats import DeviceStats, LineStats
from gateway.listener import Listener, Take, first_of
from gateway.model import Gap, PointId, Reading, Reason, Record
from gateway.quality import Change, QualityGate, RegisterChange, reason_of, unreadable
from gateway.schedule import Backoff, Job, LineSchedule

log = structlog.get_logger()

Publish = Callable[[Sequence[Record]], Awaitable[None]]

T = TypeVar("T")

REOPEN = Backoff(first_s=0.5, cap_s=2.0)
"""A port that vanished (an adapter pulled out) is open again within 5 s of its return, a slow driver included."""
STUCK_PERIODS = 3.0
"""A line that is up, and on which nobody has answered for so many of its shortest intervals, is opened anew."""
STUCK_AT_LEAST_S = 15.0
STUCK_AT_MOST_S = 600.0
"""While opening it anew does not help the patience doubles up to this: everybody on it may simply be without power."""


@dataclass(frozen=True, slots=True)
class _Outage:
    since_s: float
    reason: Reason


@dataclass(slots=True)
class Line:
    """One physical line and the devices on it."""

    id: str
    connection: Link | Hub
    drivers: Mapping[str, Driver]
    jobs: Sequence[Job]
    publish: Publish
    clock: Clock
    rng: random.Random
    gate: QualityGate
    announce: Callable[[Change], None]
    take: Take
    """Takes what devices tell beside readings."""
    hearing: Hearing = field(default_factory=lambda: Hearing({}))
    """Of a hub: what its devices send by themselves."""
    stall_s: float = 30.0
    """Backstop for one exchange: a driver that hangs longer is treated as a silent device."""
    links: Mapping[str, DeviceLink] = field(default_factory=dict)
    """Device -> its view of the line, for those that have one."""
    zone: tzinfo = UTC
    """For reads at fixed local times."""
    phase_s: float = 0.0
    """Where the line's grids begin after the start: many lines should not ask in the same instant."""
    stats: LineStats = field(default_factory=LineStats)
    _schedule: LineSchedule = field(init=False)
    _unfinished: dict[Job, deque[Sequence[PointId]]] = field(init=False, default_factory=dict)
    """Of the jobs that have begun, the groups still to be read."""
    _unverified: set[str] = field(init=False, default_factory=set)
    """Devices whose serial number is read before anything else."""
    _outages: dict[str, _Outage] = field(init=False, default_factory=dict)
    _requests: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = field(
        init=False, default_factory=deque
    )
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _progress: _Progress = field(init=False)
    _listener: Listener | None = field(init=False, default=None)
    _link: Link | None = field(init=False, default=None)
    """None where the connection is a hub."""
    _reporting: dict[str, Reporting] = field(init=False)
    _paces: dict[str, Job] = field(init=False)
    """Device -> its most frequent job, which its achieved period is measured by; a spare one where it has no other."""

    def __post_init__(self) -> None:
        self._paces = {}
        for job in sorted(self.jobs, key=lambda job: (job.spare, job.interval_s)):
            self._paces.setdefault(job.device, job)
        periods = {device: job.interval_s for device, job in self._paces.items()}
        self.stats.devices = {device: DeviceStats(periods.get(device, 0.0)) for device in self.drivers}
        self._reporting = {name: each for name, each in self.drivers.items() if isinstance(each, Reporting)}
        if isinstance(self.connection, Hub):
            self._listener = Listener(
                self.id,
                _Guarded(self.connection, self._guarded),
                self.hearing,
                self.gate.points,
                self._settle,
                self.take,
                self.publish,
                self.clock,
                self.stats,
            )
        else:
            self._link = self.connection
        self._progress = _Progress(max(STUCK_PERIODS * min(periods.values(), default=0.0), STUCK_AT_LEAST_S))

    async def run(self) -> None:
        """Poll until cancelled; reopen the line as often as it takes."""
        try:
            await self._keep_polling()
        finally:
            self.stats.open = False
            self._turn_away(LineLost(f"line {self.id} is being closed"))

    async def _keep_polling(self) -> None:
        started_s = asyncio.get_running_loop().time()
        self._schedule = LineSchedule(self.jobs, started_s, self.rng, zone=self.zone, phase_s=self.phase_s)
        attempts = 0
        while True:
            try:
                async with self.connection:
                    self._opened()
                    attempts = 0
                    await (first_of(self._serve(), self._listener.run()) if self._listener else self._serve())
            except LineLost as exc:
                await self._lost(exc)
            attempts += 1
            await asyncio.sleep(REOPEN.delay_s(attempts, self.rng))

    async def request(self, action: Callable[[], Awaitable[T]]) -> T:
        """Run *action* (a read or write through one of the drivers) as soon as the exchange under way is over.

        Raises what it raises, and LineLost at once while the line is down.
        """
        if not self.stats.open:
            raise LineLost(f"line {self.id} is not open")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._requests.append((action, done))
        self._wake.set()
        return await done

    async def command(self, device: str, action: Callable[[], Awaitable[None]]) -> None:
        """As ``request``, for what moves something: whatever the driver says, nothing is sent twice meanwhile."""
        link = self.links.get(device)

        async def act() -> None:
            with nullcontext() if link is None else link.repeating_nothing():
                await action()

        await self.request(act)

    async def read(self, device: str, points: Sequence[PointId]) -> Sequence[Reading]:
        """Ask as soon as the exchange under way is over; what comes is published like any reading.

        Raises as ``request`` does, for the first group that could not be read; publishes nothing then.
        """
        readings = await self.request(partial(self._read, self.drivers[device], points))
        await self.publish(readings)
        return readings

    def silent(self) -> frozenset[str]:
        """Devices that do not answer at present."""
        return frozenset(self._outages) | self.hearing.silent()

    @property
    def strangers(self) -> Mapping[str, str]:
        """Who speaks on a hub and is not configured."""
        return self.connection.strangers if isinstance(self.connection, Hub) else {}

    def skipped(self) -> int:
        return self._schedule.skipped()

    # ------------------------------------------------------------------ the line is open

    async def _serve(self) -> None:
        """Take turns until the line is lost, or is up while nobody on it answers for too long."""
        loop = asyncio.get_running_loop()
        self._progress.begin(loop.time())
        while not self._progress.stuck(loop.time()):
            await self._serve_requests()
            turn = self._schedule.next(loop.time(), self.clock.now_ms())
            if isinstance(turn, Job):
                await self._take(self._identifying(turn))
            else:
                await self._wait(turn)
        self.stats.rebuilt += 1
        log.info("line up but nobody answers; opening it anew", line=self.id)

    async def _take(self, job: Job) -> None:
        """One exchange of the job.  The next follows unless something more urgent is due; a failure ends the job."""
        loop = asyncio.get_running_loop()
        driver = self.drivers[job.device]
        if job not in self._unfinished:
            self._unfinished[job] = deque(self._groups(driver, job))
        groups = self._unfinished[job]
        started_s = loop.time()
        try:
            readings = await self._poll(driver, groups[0]) if groups else ()
            readings = await self._read_doubtful_again(driver, readings)
        except LineLost:
            raise
        except DriverError as exc:
            for begun in [each for each in self._unfinished if each.device == job.device]:
                del self._unfinished[begun]  # whoever answers there the next time may be another
            self._let_rest(job.device)
            now_s = loop.time()
            self.stats.spent(job.device, now_s, now_s - started_s, answered=False)
            self._schedule.failed(job, now_s, now_s - started_s)
            self._progress.failed()
            await self._failed(job.device, exc)
            self._tell(job.device)
            return
        now_s = loop.time()
        self.stats.spent(job.device, now_s, now_s - started_s, answered=True)
        self._progress.made(now_s)
        self._let_rest(job.device)
        self._schedule.exchanged(job, now_s, now_s - started_s)
        if len(groups) > 1:
            groups.popleft()
        else:
            self._finished(job, now_s)
        await self._answered(job.device, readings)
        if self._listener is not None:
            await self._listener.alive(job.device)
        self._tell(job.device)

    def _tell(self, device: str) -> None:
        """What a device that is asked has told beside its readings: nobody waits for it to be on disk."""
        if device in self._reporting and (reports := self._reporting[device].take()):
            self.take(reports)

    def _identifying(self, job: Job) -> Job:
        """Of a device that nobody has identified yet, the job that does; all of its jobs are due anyway."""
        if job.device not in self._unverified:
            return job
        serial_number = self.gate.serial_number_of(job.device)
        return next((each for each in self.jobs if serial_number in each.points), job)

    def _groups(self, driver: Driver, job: Job) -> Sequence[Sequence[PointId]]:
        """What the job's exchanges read; who answers is asked first, where that is not known."""
        serial_number = self.gate.serial_number_of(job.device)
        if serial_number is None or job.device not in self._unverified:
            return driver.batches(job.points)
        self._unverified.discard(job.device)
        others = [point for point in job.points if point != serial_number]
        return [*driver.batches([serial_number]), *driver.batches(others)]

    def _let_rest(self, device: str) -> None:
        """The wait for a late answer is spent on others."""
        link = self.links.get(device)
        wait_s = link.leave_alone_s() if link is not None else 0.0
        if wait_s > 0:
            self._schedule.rest(device, asyncio.get_running_loop().time() + wait_s)

    def _finished(self, job: Job, now_s: float) -> None:
        del self._unfinished[job]
        self._schedule.succeeded(job, now_s, self.clock.now_ms())
        if job is self._paces[job.device]:
            self.stats.devices[job.device].read(now_s)

    async def _poll(self, driver: Driver, batch: Sequence[PointId]) -> Sequence[Reading]:
        """One exchange; noise gets a second chance, silence does not."""
        try:
            async with asyncio.timeout(self.stall_s):
                try:
                    return await self._guarded(partial(driver.poll, batch), points=batch)
                except ProtocolError:
                    return await self._guarded(partial(driver.poll, batch), points=batch)
        except TimeoutError:
            raise DeviceUnreachable(f"the driver did not return within {self.stall_s:g} s") from None

    async def _guarded(self, action: Callable[[], Awaitable[T]], points: Sequence[PointId] = ()) -> T:
        try:
            return await action()
        except (DriverError, asyncio.CancelledError):
            raise
        except Exception as exc:  # the one place: a driver's bug must cost its device, not the compound
            log.exception("driver failed", line=self.id, points=list(points))
            raise ProtocolError(f"the driver failed: {exc!r}") from exc

    async def _read(self, driver: Driver, points: Sequence[PointId]) -> list[Reading]:
        readings: list[Reading] = []
        for batch in driver.batches(points):
            readings += await self._read_doubtful_again(driver, await self._poll(driver, batch))
        return readings

    async def _read_doubtful_again(self, driver: Driver, readings: Sequence[Reading]) -> Sequence[Reading]:
        """A number that may be billed is asked for a second time before it is doubted aloud."""
        loop = asyncio.get_running_loop()
        doubtful = self.gate.doubtful(readings, loop.time())
        raw = self._last_answer()
        again: dict[PointId, Reading] = {}
        try:
            for batch in driver.batches(doubtful) if doubtful else ():
                again |= {reading.point: reading for reading in await self._poll(driver, batch)}
                raw = self._last_answer()
        except LineLost:
            raise
        except DriverError as exc:
            log.info("doubtful value could not be read again", line=self.id, points=doubtful, error=str(exc))
        return self._settle([again.get(r.point, r) for r in readings], raw)

    def _settle(self, readings: Sequence[Reading], raw: bytes = b"") -> Sequence[Reading]:
        settled, changes = self.gate.settle(readings, asyncio.get_running_loop().time(), raw)
        for change in changes:
            what = change.point if isinstance(change, RegisterChange) else change.device
            log.warning("not what it was", what=what, before=change.before, after=change.after)
            self.announce(change)
        return settled

    def _last_answer(self) -> bytes:
        return b"" if self._link is None else self._link.last_answer

    async def _wait(self, seconds: float) -> None:
        self._wake.clear()
        if self._requests:
            return
        # Not asyncio.timeout: it would cancel us, and an exception is what most waits of most lines would end in.
        timer = asyncio.get_running_loop().call_later(min(seconds, 3600.0), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _serve_requests(self) -> None:
        while self._requests:
            action, done = self._requests.popleft()
            if done.cancelled():
                continue
            started_s = asyncio.get_running_loop().time()
            try:
                result = await self._guarded(action)
            except LineLost as exc:
                _fail(done, exc)
                raise
            except DriverError as exc:
                _fail(done, exc)
            except asyncio.CancelledError:
                _fail(done, LineLost(f"line {self.id} is being closed"))
                raise
            else:
                if not done.done():
                    done.set_result(result)
            finally:
                now_s = asyncio.get_running_loop().time()
                self.stats.served(now_s, now_s - started_s)

    # ------------------------------------------------------------------ what changed

    def _opened(self) -> None:
        self._schedule.line_restored(asyncio.get_running_loop().time())
        self._unverified.update(device for device in self.drivers if self.gate.serial_number_of(device))
        if not self.stats.open:
            log.info("line open", line=self.id)
        self.stats.open = True
        self.stats.opened += 1

    async def _answered(self, device: str, readings: Sequence[Reading]) -> None:
        outage = self._outages.pop(device, None)
        if outage is None:
            await self.publish(readings)
            return
        self.stats.devices[device].silent_since_s = None
        log.info("device answers again", device=device, line=self.id)
        # Not the wall clock's difference: it may have been set in between.
        now_ms, silent_ms = self.clock.now_ms(), round(1000 * (asyncio.get_running_loop().time() - outage.since_s))
        gaps = [
            Gap(outage.reason, now_ms - silent_ms, now_ms, point=point)
            for job in self.jobs
            if job.device == device
            for point in job.points
        ]
        await self.publish([*gaps, *readings])

    async def _failed(self, device: str, exc: DriverError) -> None:
        if self.gate.serial_number_of(device):
            self._unverified.add(device)
        if device not in self._outages:
            log.warning("device does not answer", device=device, line=self.id, error=str(exc), hint=exc.hint)
            await self._mark(device, exc)

    async def _lost(self, exc: LineLost) -> None:
        """Everything on the line is out of reach, for one reason that is said once."""
        self._turn_away(exc)
        reached = [device for device in self.drivers if device not in self._outages]
        if self.stats.open or reached:
            log.warning("line lost", line=self.id, error=str(exc), hint=exc.hint)
        self.stats.open = False
        self._unfinished.clear()
        for device in reached:
            await self._mark(device, exc)
        if self._listener is not None:
            await self._listener.lost(exc)

    def _turn_away(self, exc: LineLost) -> None:
        """Whoever still waits for a turn gets none."""
        for _, done in self._requests:
            _fail(done, exc)
        self._requests.clear()

    async def _mark(self, device: str, exc: DriverError) -> None:
        """Every point of the device is bad from now on."""
        now_ms = self.clock.now_ms()
        readings = unreadable((p for job in self.jobs if job.device == device for p in job.points), exc, now_ms)
        now_s = asyncio.get_running_loop().time()
        self._outages[device] = _Outage(now_s, reason_of(exc))
        self.stats.devices[device].silent_since_s = now_s
        await self.publish(readings)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A hub whose bugs cost its line, and nothing else: it is opened anew."""

    hub: Hub
    guard: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

    async def receive(self) -> Sequence[Report]:
        return list(await self._ask(self.hub.receive))

    async def stored(self, reports: Sequence[Report]) -> None:
        await self._ask(partial(self.hub.stored, reports))

    async def _ask(self, action: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self.guard(action)
        except LineLost:
            raise
        except DriverError as exc:
            raise LineLost(str(exc), hint=exc.hint) from exc


@dataclass(slots=True)
class _Progress:
    """Whether anybody on the line has answered lately."""

    patience_s: float
    _limit_s: float = field(init=False)
    _since_s: float = field(init=False, default=0.0)
    _failures: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._limit_s = self.patience_s

    def begin(self, now_s: float) -> None:
        """The line has been opened."""
        self._since_s, self._failures = now_s, 0

    def made(self, now_s: float) -> None:
        self._since_s, self._failures, self._limit_s = now_s, 0, self.patience_s

    def failed(self) -> None:
        self._failures += 1

    def stuck(self, now_s: float) -> bool:
        """True when it is time to open the line anew; the next time it takes longer."""
        if not self._failures or now_s - self._since_s < self._limit_s:
            return False
        self._limit_s = max(self._limit_s, min(2 * self._limit_s, STUCK_AT_MOST_S))
        return True


def _fail(done: asyncio.Future[Any], exc: DriverError) -> None:
    if not done.done():
        done.set_exception(exc)
