"""Configuration from afar: what is desired, what is tried, what is reported.

    desired ─▶ signed? newer? right as a whole? ─▶ wait until there is something to compare with ─▶ on disk ─▶ restart
                       │ no                                                                                    │
                       ▼                                                                                       ▼
                    reported ◀──────────── confirmed, or the one before and another restart ◀───────────────  trial

``begin`` is called at every start and decides what runs; ``RemoteConfiguration`` is the part inside the running daemon.
See CONFIGURATION.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, load
from gateway.errors import GatewayError, StoreError
from gateway.ids import uuid7
from gateway.model import Device, Event, Place, Text, Value
from gateway.pipeline import Pipeline
from gateway.remote.admission import Local, Refusal, refusal_of_files, refusal_of_version
from gateway.remote.desired import Desired, NotDesired, read
from gateway.remote.record import Fate, Outcome, Record, Version
from gateway.remote.trial import Before, Judgement, Since, Verdict, good_devices, heard_devices, judge
from gateway.remote.versions import Versions

log = structlog.get_logger()

WINDOW_S = 120.0
LOOK_S = 1.0
"""Between two looks at the devices while a configuration is on trial."""
UNSIGNED_S = 60.0
"""Documents that prove nothing are reported no more often: anybody on the broker can send them."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which this gateway takes configurations from afar."""

    keys: Mapping[str, bytes] = field(default_factory=dict)
    """Key id -> 32 bytes of a public key that may configure."""
    window_s: float = WINDOW_S


@dataclass(frozen=True, slots=True)
class Begun:
    """What a start has decided."""

    configuration: Configuration
    local: Local
    record: Record


@dataclass(frozen=True, slots=True)
class Remote:
    """What the daemon is told about the start that has begun it.  *restart*: end it in order, and ``begin`` again."""

    begun: Begun
    terms: Terms
    restart: Callable[[Record], None]


def begin(configuration: Configuration, now_ms: int, known: Record | None = None) -> Begun:
    """What runs now: the local *configuration*, or the one that has taken its place.  Raises StoreLocked, StoreError.

    Counts the starts of a version on trial, gives up one that cannot be used, and lets a local edit win.
    known: the record in memory, after a restart inside the process; a full disk may have kept it from being saved.
    """
    local = Local.of(configuration)
    versions = Versions(local.store)
    if not versions.used and known is None:
        return Begun(configuration, local, Record())
    with versions.locked():
        before = versions.record() if known is None else known
        record = before.begun(local.digest, now_ms)
        while not record.running.local:
            found = _load(versions, record.running, local)
            if isinstance(found, Configuration):
                configuration = found
                break
            log.error("a configuration cannot be used any more", version=record.running.number, reason=found.en)
            record = record.went_back("unusable", found, now_ms)
        if record != before:
            try:
                versions.save(record)
            except OSError as exc:  # on a full disk the gateway runs all the same, and decides again next time
                log.error("the record of configurations cannot be saved", error=str(exc))
        versions.tidy(record)
    return Begun(configuration, local, record)


def in_force(configuration: Configuration) -> Configuration:
    """What a daemon runs that was started with the local *configuration*; for whoever talks to it.  Changes nothing."""
    versions = Versions(configuration.store.path)
    try:
        if not versions.used:
            return configuration
        record, local = versions.record(), Local.of(configuration)
    except OSError:  # no right to look into the store: no right to talk to the daemon either
        return configuration
    if record.running.local or record.local_digest != local.digest:
        return configuration
    found = _load(versions, record.running, local)
    return found if isinstance(found, Configuration) else configuration


def _load(versions: Versions, version: Version, local: Local) -> Configuration | Text:
    """The configuration, or why it cannot be had."""
    if not versions.intact(version):
        return Text("存储的文件已损坏或丢失", "its files on this gateway are damaged or gone")
    try:
        return load(versions.path(version), local.directory)
    except ConfigFaults as exc:
        return Text(f"配置已无效：{exc.render('zh')}", f"it is not valid any more: {exc.render('en')}")


@dataclass(slots=True)
class _Letter:
    """A document that waits to be dealt with."""

    body: bytes
    uplink: str
    done: asyncio.Future[None] | None = None
    """For somebody who waits beside the gateway."""


@dataclass(slots=True)
class RemoteConfiguration:
    """*connected*: ids of the uplinks that are, now."""

    remote: Remote
    pipeline: Pipeline
    connected: Callable[[], Set[str]]
    clock: Clock
    on_reported: Callable[[bytes], None] = field(default=lambda message: None)
    """Told what to publish on ``config/reported`` whenever that changes."""
    _record: Record = field(init=False)
    _versions: Versions = field(init=False)
    _letter: _Letter | None = field(init=False, default=None)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _shown: Outcome | None = field(init=False, default=None)
    """Of a document that left no trace on disk."""
    _unsigned_s: float | None = field(init=False, default=None)
    _leaving: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._record = self.begun.record
        self._versions = Versions(self.begun.local.store)

    @property
    def begun(self) -> Begun:
        return self.remote.begun

    @property
    def window_s(self) -> float:
        return self.remote.terms.window_s

    # ------------------------------------------------------------------ what the uplinks use

    async def desired(self, body: bytes, uplink: str) -> None:
        """A document has come over *uplink*.  It is dealt with in its turn; of several that wait the newest counts.

        An empty one is none: somebody has cleared the retained message.
        """
        if body:
            self._put(_Letter(body, uplink))

    def reported(self) -> bytes:
        """The message for ``config/reported``, retained."""
        return json.dumps(self._item(), ensure_ascii=False).encode()

    # ------------------------------------------------------------------ what the CLI asks

    def handlers(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        return {
            "config": self._answer_config,
            "config_apply": self._answer_apply,
            "config_rollback": self._answer_rollback,
        }

    async def _answer_config(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**self._item(), "history": [each.as_item() for each in self._record.history]}

    async def _answer_apply(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same signed document, carried here by hand."""
        if self._record.trial is not None or self._leaving:
            raise GatewayError("a configuration is on trial", hint="wait for the verdict: gateway config show")
        letter = _Letter(str(request.get("document", "")).encode(errors="replace"), "", asyncio.Future())
        self._put(letter)
        assert letter.done is not None
        await letter.done
        return self._item()

    async def _answer_rollback(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        who, why = str(request.get("who", ""))[:100], str(request.get("reason", ""))[:200]
        if not who or not why:
            raise GatewayError("who and reason are needed")
        if self._record.running.local:
            raise GatewayError("the local configuration is running: there is nothing to go back to")
        if self._leaving:
            raise GatewayError("the daemon is just starting anew", hint="try again in a moment")
        reason = Text(f"{who} 在本机退回：{why}", f"rolled back here by {who}: {why}")
        await self._go_back("by_hand", reason)
        return self._item()

    # ------------------------------------------------------------------ the running part

    async def run(self) -> None:
        """Judge what is on trial, then deal with documents, until cancelled."""
        started_s = asyncio.get_running_loop().time()
        await self._tell()
        if self._record.trial is not None:
            await self._judge(self._record.trial.before, started_s)
        while not self._leaving:
            await self._some.wait()
            self._some.clear()
            letter, self._letter = self._letter, None
            if letter is not None:
                await self._deal(letter, started_s)

    async def _judge(self, before: Before, started_s: float) -> None:
        config, loop = self.begun.configuration, asyncio.get_running_loop()
        regular = self._regular()
        before = before.within((device.id for device in regular), (uplink.id for uplink in config.uplinks))
        judged = [device for device in regular if device.id in before.devices]
        good: frozenset[str] = frozenset()
        connected: frozenset[str] = frozenset()
        judgement = Judgement(Verdict.WAIT)
        while judgement.verdict is Verdict.WAIT:
            await asyncio.sleep(min(LOOK_S, self.window_s / 10))
            latest = self.pipeline.latest
            good |= good_devices((device for device in judged if device.id not in good), latest)
            connected |= self.connected()
            since = Since(good, heard_devices(judged, latest), connected)
            judgement = judge(before, since, loop.time() - started_s, self.window_s)
        if self._record.trial is None:  # somebody has gone back by hand
            return
        if judgement.verdict is Verdict.CONFIRM:
            await self._conclude(self._record.confirmed(self.clock.now_ms()))
            return
        await self._go_back(judgement.code, judgement.reason)

    async def _deal(self, letter: _Letter, started_s: float) -> None:
        try:
            await self._take(letter, started_s)
        finally:
            if letter.done is not None and not letter.done.done():
                letter.done.set_result(None)

    async def _take(self, letter: _Letter, started_s: float) -> None:
        local = self.begun.local
        try:
            desired = read(letter.body, self.remote.terms.keys, local.site, local.gateway)
        except NotDesired as exc:
            await self._reject(Refusal(exc.code, exc.text), exc.version, signed=exc.signed)
            return
        known = refusal_of_version(self._record, desired)
        if isinstance(known, Outcome):
            self._shown = known
            self._report()
            return
        refusal = known or await self._try(desired, letter, started_s)
        if refusal is not None:
            await self._reject(refusal, desired.version, desired)

    async def _try(self, desired: Desired, letter: _Letter, started_s: float) -> Refusal | None:
        """Why not; None: done, or overtaken by a newer document."""
        version = Version(desired.version, desired.digest, desired.key, desired.issued_ms)
        try:
            refusal = await asyncio.to_thread(self._prepare, desired, version, letter.uplink)
            if refusal is not None:
                return refusal
            await self._settle(started_s)
            if self._letter is not None or self._leaving:
                return None
            now_ms = self.clock.now_ms()
            good = good_devices(self.begun.configuration.devices, self.pipeline.latest, now_ms)
            uplinks = frozenset(self.connected()) | ({letter.uplink} if letter.uplink else frozenset())
            record = self._record.tried(version, Before(good, uplinks), self.begun.local.digest, now_ms)
            self._versions.save(record)
        except OSError as exc:
            log.error("a configuration cannot be put on disk", version=version.number, error=str(exc))
            return Refusal("storage", Text(f"无法写入磁盘：{exc}", f"it cannot be written to disk: {exc}"))
        self._record, self._shown, self._leaving = record, None, True
        self._report()
        await self._tell()
        self.remote.restart(self._record)
        return None

    def _prepare(self, desired: Desired, version: Version, uplink: str) -> Refusal | None:
        """In a thread.  What is checked is what lies on disk, so that nothing else can be run later."""
        with self._versions.staged(desired.files) as staged:
            refusal = refusal_of_files(staged, self.begun.local, uplink)
            if refusal is None:
                self._versions.keep(staged, version)
        return refusal

    async def _settle(self, started_s: float) -> None:
        """Right after a start nobody is good yet; what comes then would be compared with nothing."""
        loop = asyncio.get_running_loop()
        regular = self._regular()
        while loop.time() - started_s < self.window_s and self._letter is None:
            if len(heard_devices(regular, self.pipeline.latest)) == len(regular):
                return
            await asyncio.sleep(min(LOOK_S, self.window_s / 10))

    def _regular(self) -> list[Device]:
        """Devices that are read soon after a start: at an interval, not at a fixed time or in spare time only."""
        return [
            plan.device
            for line in self.begun.configuration.lines
            for plan in line.devices
            if any(not job.spare and not job.at for job in plan.jobs)
        ]

    # ------------------------------------------------------------------ what is said

    async def _reject(
        self, refusal: Refusal, version: int | None, desired: Desired | None = None, *, signed: bool = True
    ) -> None:
        now_s = asyncio.get_running_loop().time()
        digest, key = (desired.digest, desired.key) if desired is not None else ("", "")
        outcome = Outcome(
            Fate.REJECTED, self.clock.now_ms(), version, digest, key, refusal.code, refusal.reason, refusal.faults
        )
        log.warning("configuration rejected", version=version, code=outcome.code, reason=outcome.reason.en)
        if not signed:  # leaves no trace on disk but one event a minute
            self._shown = outcome
            if self._unsigned_s is None or now_s - self._unsigned_s >= UNSIGNED_S:
                self._unsigned_s = now_s
                self._report()
                self.pipeline.note(self._event(outcome))
            return
        last = self._record.outcome
        if last is not None and replace(last, since_ms=outcome.since_ms) == outcome:
            self._shown = None
            self._report()  # sent again, and still wrong
            return
        await self._conclude(self._record.rejected(outcome))

    async def _conclude(self, record: Record) -> None:
        """Something has become of a document: on disk, then reported, then an event."""
        self._record, self._shown = record, None
        try:
            self._versions.save(record)
        except OSError as exc:
            log.error("the record of configurations cannot be saved", error=str(exc))
        self._report()
        await self._tell()

    async def _tell(self) -> None:
        """Make an event of the outcome.  A power cut in between makes two of it, never none."""
        outcome = self._record.outcome
        if not self._record.untold or outcome is None:
            return
        log.info("configuration", version=outcome.version, state=str(outcome.fate), reason=outcome.reason.en)
        self._record = replace(self._record, untold=False)
        with suppress(StoreError):  # then it waits in memory with everything else
            await self.pipeline.record(self._event(outcome))
        try:
            self._versions.save(self._record)
        except OSError as exc:
            log.error("the record of configurations cannot be saved", error=str(exc))

    def _event(self, outcome: Outcome) -> Event:
        about: dict[str, Value | None] = {
            "version": outcome.version,
            "digest": outcome.digest,
            "key": outcome.key,
            "code": outcome.code,
            "reason": outcome.reason.en,
            "running": self._record.running.number,
        }
        return Event(uuid7(outcome.since_ms), _KINDS[outcome.fate], outcome.since_ms, None, Place(), about)

    def _report(self) -> None:
        self.on_reported(self.reported())

    def _item(self) -> Mapping[str, Any]:
        return {
            **self._record.as_item(self.begun.local.digest),
            **({} if self._shown is None else self._shown.as_item()),
        }

    def _put(self, letter: _Letter) -> None:
        before, self._letter = self._letter, letter
        if before is not None and before.done is not None and not before.done.done():
            before.done.set_exception(GatewayError("another document has come meanwhile"))
        self._some.set()

    async def _go_back(self, code: str, reason: Text) -> None:
        self._leaving = True
        await self._conclude(self._record.went_back(code, reason, self.clock.now_ms()))
        self.remote.restart(self._record)


_KINDS = {
    Fate.RUNNING: "config.applied",
    Fate.ON_TRIAL: "config.on_trial",
    Fate.REJECTED: "config.rejected",
    Fate.ROLLED_BACK: "config.rolled_back",
}
