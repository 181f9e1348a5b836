"""Keeps the devices of one line polled, whatever they do.

Owns the schedule, deadlines, back-off, the log-once rule and the gaps, so that drivers need not.  Lines know nothing
of each other: one that hangs, or has lost its port, delays nobody else.

    LineSchedule.next ──▶ driver.batches ──▶ driver.poll, one exchange each ──▶ publish
                               ▲ a command waiting is served between two exchanges
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from drivers.base import Driver, Link
from gateway.clock import Clock
from gateway.errors import DeviceUnreachable, DriverError, LineLost, ProtocolError
from gateway.model import Gap, PointId, Reading, Reason, Record
from gateway.quality import QualityGate, RegisterChange, unreadable
from gateway.schedule import Backoff, Job, LineSchedule

log = structlog.get_logger()

Publish = Callable[[Sequence[Record]], Awaitable[None]]

REOPEN = Backoff(first_s=0.5, cap_s=2.0)
"""A port that vanished (an adapter pulled out) is back within 5 s of its return."""


@dataclass(slots=True)
class LineStats:
    """Counters since start; the health message publishes them."""

    polls: int = 0
    failures: int = 0
    busy_s: float = 0.0
    opened: int = 0
    open: bool = False


@dataclass(frozen=True, slots=True)
class _Outage:
    since_ms: int
    reason: Reason


@dataclass(slots=True)
class Line:
    """One physical line and the devices on it."""

    id: str
    connection: Link
    drivers: Mapping[str, Driver]
    jobs: Sequence[Job]
    publish: Publish
    clock: Clock
    rng: random.Random
    gate: QualityGate
    announce: Callable[[RegisterChange], None]
    stall_s: float = 30.0
    """Backstop for one exchange: a driver that hangs longer is treated as a silent device."""
    stats: LineStats = field(default_factory=LineStats)
    _schedule: LineSchedule = field(init=False)
    _outages: dict[str, _Outage] = field(init=False, default_factory=dict)
    _requests: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]] = field(
        init=False, default_factory=deque
    )
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _failures_in_a_row: int = field(init=False, default=0)

    async def run(self) -> None:
        """Poll until cancelled; reopen the line as often as it takes."""
        self._schedule = LineSchedule(self.jobs, asyncio.get_running_loop().time(), self.rng)
        attempts = 0
        while True:
            try:
                async with self.connection:
                    self._opened()
                    attempts = 0
                    await self._serve()
            except LineLost as exc:
                await self._lost(exc)
            attempts += 1
            await asyncio.sleep(REOPEN.delay_s(attempts, self.rng))

    async def request(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Run *action* (a read or write through one of the drivers) as soon as the exchange under way is over.

        Raises what it raises, and LineLost at once while the line is down.
        """
        if not self.stats.open:
            raise LineLost(f"line {self.id} is not open")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._requests.append((action, done))
        self._wake.set()
        return await done

    def silent(self) -> frozenset[str]:
        """Devices that do not answer at present."""
        return frozenset(self._outages)

    def skipped(self) -> int:
        return self._schedule.skipped()

    # ------------------------------------------------------------------ the line is open

    async def _serve(self) -> None:
        """Take turns until the line is lost, or until it is up but nobody on it has answered for long."""
        while self._failures_in_a_row < max(3, 2 * len(self.drivers)):
            await self._serve_requests()
            turn = self._schedule.next(asyncio.get_running_loop().time())
            if isinstance(turn, Job):
                await self._take(turn)
            else:
                await self._wait(turn)
        self._failures_in_a_row = 0  # said once already, for each device; the line is opened anew without a word

    async def _take(self, job: Job) -> None:
        """Read the job's points, one exchange after the other; the first failure ends the turn."""
        loop = asyncio.get_running_loop()
        driver = self.drivers[job.device]
        for batch in driver.batches(job.points):
            await self._serve_requests()
            started = loop.time()
            try:
                readings = await self._poll(driver, batch)
                readings = await self._read_doubtful_again(driver, readings)
            except LineLost:
                raise
            except DriverError as exc:
                self._schedule.failed(job, loop.time(), loop.time() - started)
                await self._failed(job.device, exc)
                return
            finally:
                self.stats.busy_s += loop.time() - started
            await self._answered(job.device, readings)
        self._schedule.succeeded(job, loop.time())

    async def _poll(self, driver: Driver, batch: Sequence[PointId]) -> Sequence[Reading]:
        """One exchange; noise gets a second chance, silence does not."""
        self.stats.polls += 1
        try:
            async with asyncio.timeout(self.stall_s):
                try:
                    return await driver.poll(batch)
                except ProtocolError:
                    return await driver.poll(batch)
        except TimeoutError:
            raise DeviceUnreachable(f"the driver did not return within {self.stall_s:g} s") from None
        except (DriverError, asyncio.CancelledError):
            raise
        except Exception as exc:  # the one place: a driver's bug must cost its device, not the compound
            log.exception("driver failed", line=self.id, points=list(batch))
            raise ProtocolError(f"the driver failed: {exc!r}") from exc

    async def _read_doubtful_again(self, driver: Driver, readings: Sequence[Reading]) -> Sequence[Reading]:
        """A number that may be billed is asked for a second time before it is doubted aloud."""
        loop = asyncio.get_running_loop()
        doubtful = self.gate.doubtful(readings, loop.time())
        raw = self.connection.last_answer
        again: dict[PointId, Reading] = {}
        try:
            for batch in driver.batches(doubtful) if doubtful else ():
                again |= {reading.point: reading for reading in await self._poll(driver, batch)}
                raw = self.connection.last_answer
        except LineLost:
            raise
        except DriverError as exc:
            log.info("doubtful value could not be read again", line=self.id, points=doubtful, error=str(exc))
        settled, changes = self.gate.settle([again.get(r.point, r) for r in readings], loop.time(), raw)
        for change in changes:
            log.warning("register changed", point=change.point, before=change.before, after=change.after)
            self.announce(change)
        return settled

    async def _wait(self, seconds: float) -> None:
        self._wake.clear()
        if self._requests:
            return
        try:
            async with asyncio.timeout(min(seconds, 3600.0)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _serve_requests(self) -> None:
        while self._requests:
            action, done = self._requests.popleft()
            if done.cancelled():
                continue
            try:
                result = await action()
            except LineLost as exc:
                _fail(done, exc)
                raise
            except DriverError as exc:
                _fail(done, exc)
            except asyncio.CancelledError:
                done.cancel()
                raise
            else:
                if not done.done():
                    done.set_result(result)

    # ------------------------------------------------------------------ what changed

    def _opened(self) -> None:
        self._schedule.line_restored(asyncio.get_running_loop().time())
        if not self.stats.open:
            log.info("line open", line=self.id)
        self.stats.open = True
        self.stats.opened += 1

    async def _answered(self, device: str, readings: Sequence[Reading]) -> None:
        self._failures_in_a_row = 0
        outage = self._outages.pop(device, None)
        if outage is None:
            await self.publish(readings)
            return
        log.info("device answers again", device=device, line=self.id)
        now_ms = self.clock.now_ms()
        gaps = [
            Gap(outage.reason, outage.since_ms, now_ms, point=point)
            for job in self.jobs
            if job.device == device
            for point in job.points
        ]
        await self.publish([*gaps, *readings])

    async def _failed(self, device: str, exc: DriverError) -> None:
        self.stats.failures += 1
        self._failures_in_a_row += 1
        if device not in self._outages:
            log.warning("device does not answer", device=device, line=self.id, error=str(exc), hint=exc.hint)
            await self._mark(device, exc)

    async def _lost(self, exc: LineLost) -> None:
        """Everything on the line is out of reach, for one reason that is said once."""
        for _, done in self._requests:
            _fail(done, exc)
        self._requests.clear()
        reached = [device for device in self.drivers if device not in self._outages]
        if self.stats.open or reached:
            log.warning("line lost", line=self.id, error=str(exc), hint=exc.hint)
        self.stats.open = False
        for device in reached:
            await self._mark(device, exc)

    async def _mark(self, device: str, exc: DriverError) -> None:
        """Every point of the device is bad from now on."""
        now_ms = self.clock.now_ms()
        readings = unreadable((p for job in self.jobs if job.device == device for p in job.points), exc, now_ms)
        self._outages[device] = _Outage(now_ms, readings[0].reason or Reason.NO_ANSWER)
        await self.publish(readings)


def _fail(done: asyncio.Future[Any], exc: DriverError) -> None:
    if not done.done():
        done.set_exception(exc)
