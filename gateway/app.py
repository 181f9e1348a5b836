"""The composition root: the only place that knows every part.  Read it to see what the daemon consists of.

     lines (one task each)          pipeline                 store             uplinks (one task each)
    ┌─────────────────────┐     ┌──────────────┐      ┌──────────────┐      ┌──────────────────────┐
    │ link, drivers, gate │ ──▶ │ rules, group │ ──▶  │ lanes, seq   │ ──▶  │ window ─ mqtt session│
    └─────────────────────┘     └──────────────┘      └──────────────┘      └──────────────────────┘
             ▲ read now, commands (commands.py)              ▲ status
             └──────────────── local API (Unix socket) ──────┘

Shutdown runs from left to right: no new readings, drain the pipeline, commit, deliver what the broker still takes
within a deadline, close.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import structlog

from drivers.transport import ByteLine
from gateway import local_api
from gateway.answers import Answers
from gateway.clock import Clock, ClockState, GatewayClock
from gateway.commands import Commands
from gateway.config.load import Configuration, LinePlan
from gateway.config.models import OnlyModel, UplinkModel
from gateway.envelope import Envelope
from gateway.errors import StoreError, UplinkError
from gateway.field import drivers_on, links_on, open_line
from gateway.health import Health
from gateway.identity import Identities
from gateway.ids import uuid7
from gateway.model import Event, Gap, Lane, Place, PointId, Value
from gateway.notify import notify, watchdog_interval_s
from gateway.pipeline import Pipeline
from gateway.quality import Change, QualityGate, RegisterChange
from gateway.remote.acts import Means
from gateway.remote.audit_log import AuditLog
from gateway.remote.by_hand import LOCAL, by_hand
from gateway.remote.configuration import Remote, RemoteConfiguration
from gateway.remote.desk import Desk, counters_in
from gateway.remote.doors import Doors, left_on
from gateway.remote.rights import Right, visible
from gateway.remote.trail import Trail, anchor_in
from gateway.self_watch import Findings, SelfWatch
from gateway.store.log import Keeping, Store
from gateway.store.recovery import Recovery
from gateway.supervisor import Line
from gateway.timekeeper import Timekeeper
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Reply, Request, Subject
from gateway.uplink.dialects.choose import dialect_of, view_of
from gateway.uplink.mqtt import MqttUplink
from gateway.uplink.privacy import View
from rules.engine import Engine, Instant

log = structlog.get_logger()

HEALTH_S = 60.0
REGISTERS_S = 300.0
"""So often the store is told what the counters show: what a restart is measured against."""
_IDENTITY_KEY, _REGISTERS_KEY = "identity/", "registers/"
"""Begin the keys under which the store keeps the serial number that a device has said last, and a line's counters."""
PHASE_S = 1.0
"""Lines begin their grids spread over so long."""
FIRST_HEALTH_S = 5.0
"""After the start: soon, so that whoever commissions the box sees it."""
COMMIT_S = 10.0
"""At the end: for the group that is on its way to the disk."""
RELOAD_S = 1.0
"""After a reload was ordered from afar: for the answer to leave."""
COMMANDS_S = 5.0
"""At the end: for the exchange of a command that has begun."""


async def run(
    config: Configuration,
    clock: GatewayClock,
    stop: asyncio.Event,
    reload: Callable[[float], str] | None = None,
    remote: Remote | None = None,
) -> None:
    """Run the gateway until *stop* is set.  Raises StoreLocked, StoreError; anything else that escapes is a bug.

    reload: start anew with the configuration on disk, so many seconds from now; returns what is wrong with it.
    remote: how *config* was chosen, where another may come from afar.
    """
    started_ms = clock.now_ms()
    identity = Identity(
        config.site.id, config.gateway.id, version("compound-gateway"), config.digest, uuid7(started_ms)
    )
    store = Store(
        config.store.path,
        budget_bytes=config.store.budget,
        boot_id=identity.boot_id,
        uplinks=[uplink.id for uplink in config.uplinks],
        clock=clock,
        keeping=Keeping(config.store.shares.parts(), config.store.keep),
    )
    async with store:
        saved = await store.state()
        engine = Engine(
            config.rules,
            config.points,
            config.watched,
            new_id=uuid7,
            saved=saved,
            started=Instant(clock.monotonic_s(), started_ms),
        )
        if engine.unreadable:
            log.warning("alarm journal partly unreadable, these alarms begin anew", keys=engine.unreadable)
        pipeline = Pipeline(store, engine, config.points, clock)
        timekeeper = Timekeeper(clock, store, pipeline, config.store.path, identity.boot_id, config.gateway.clock_wait)
        await timekeeper.begin(saved)
        identities = _identities(config, saved)
        connections = {plan.id: open_line(plan) for plan in config.lines}
        lines = [_line(plan, connections[plan.id], config, identities, pipeline, clock) for plan in config.lines]
        _recall_registers(lines, saved, clock)
        uplinks: dict[str, MqttUplink] = {}
        watch = await _self_watch(config, store, pipeline, uplinks, clock)
        health = Health(clock, timekeeper, clock.monotonic_s(), store, config.store.path, pipeline, lines, uplinks)
        trail = Trail(
            AuditLog(config.store.path, clock, config.audit.keep, config.audit.budget),
            pipeline,
            clock,
            anchor_in(saved),
        )
        commands = Commands(
            config.points,
            {device.id: device.place for device in config.devices},
            config.allow_write,
            {device: line for line in lines for device in line.drivers},
            trail,
            clock,
            identities.wrong,
        )
        by_id = {line.id: line for line in lines}
        answers = Answers(config, by_id, connections, health, pipeline, commands, clock, trail)
        doors = Doors(commands, pipeline, clock, left_on(saved))
        views = {model.id: _view(model, config) for model in config.uplinks}
        configuring = None if remote is None else RemoteConfiguration(remote, pipeline, _connected(uplinks), clock)
        desk = _desk(config, answers, doors, trail, saved, uplinks, views, reload, configuring)
        uplinks |= _uplinks(
            config, store, identity, pipeline, clock, started_ms, views, watch.hurry, desk.handle, configuring
        )
        pipeline.note(*_history(identity, started_ms, store.recovery))
        handlers: dict[str, local_api.Handler] = {
            **answers.handlers(),
            "remote": partial(by_hand, desk),
            **(configuring.handlers() if configuring else {}),
        }
        async with (
            trail,
            local_api.serve(config.store.path, handlers),
            asyncio.TaskGroup() as group,
        ):
            services = [
                group.create_task(timekeeper.run()),
                group.create_task(health.lag.run()),
                group.create_task(_publish_health(health)),
                group.create_task(_feed_watchdog(pipeline)),
                group.create_task(_keep_registers(lines, pipeline, clock)),
                group.create_task(watch.run()),
                group.create_task(trail.run()),
                group.create_task(desk.run()),
                group.create_task(doors.run()),
                *([group.create_task(configuring.run())] if configuring else []),
                group.create_task(store.tend()),
            ]
            delivering = [group.create_task(uplink.run()) for uplink in uplinks.values()]
            committing = [group.create_task(pipeline.run())]
            polling = [group.create_task(line.run()) for line in lines]
            log.info("running", site=identity.site, gateway=identity.gateway, devices=len(config.devices))
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            desk.stop()
            commands.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMANDS_S):
                    await commands.ended()
                    await desk.ended()
            await _cancel(polling)
            await commands.ended()  # a line that is closed tells whoever waits for it
            _remember_registers(lines, pipeline, clock)
            await trail.settled()
            async with pipeline.at_rest(COMMIT_S):
                await _cancel(committing)
            await pipeline.drain()
            await _cancel(delivering)
            await _cancel(services)
        await timekeeper.end()
    log.info("stopped", accepted=pipeline.stats.accepted)


def _line(
    plan: LinePlan,
    connection: ByteLine,
    config: Configuration,
    identities: Identities,
    pipeline: Pipeline,
    clock: Clock,
) -> Line:
    links = links_on(plan, connection)
    rng = random.Random()
    return Line(
        plan.id,
        connection,
        drivers_on(plan, links, clock),
        [job for device in plan.devices for job in device.jobs],
        pipeline.submit,
        clock,
        rng,
        QualityGate({point.id: point for each in plan.devices for point in each.device.points}, identities),
        lambda change: _announce(change, config, pipeline, clock),
        links=links,
        zone=config.site.zone,
        phase_s=rng.uniform(0.0, PHASE_S),
    )


def _announce(change: Change, config: Configuration, pipeline: Pipeline, clock: Clock) -> None:
    """Whoever bills must know that the difference of two readings means nothing here, or that they are another's."""
    now_ms = clock.now_ms()
    about: dict[str, Value | None]
    if isinstance(change, RegisterChange):
        device = change.point.partition(".")[0]
        kind = "register.rolled_over" if change.rolled_over else "register.replaced"
        about = {"point": change.point, "before": change.before, "after": change.after}
    else:
        device, kind = change.device, "device.wrong" if change.expected else "device.replaced"
        about = {"before": change.before, "after": change.after, "belongs_to": change.belongs_to}
        pipeline.remember(_IDENTITY_KEY + device, change.after.encode())
        if change.before is None:
            return
    pipeline.note(Event(uuid7(now_ms), kind, now_ms, device, config.device(device).place, about))


def _identities(config: Configuration, saved: Mapping[str, bytes]) -> Identities:
    known = {
        key.removeprefix(_IDENTITY_KEY): value.decode(errors="replace")
        for key, value in saved.items()
        if key.startswith(_IDENTITY_KEY)
    }
    plans = [device for line in config.lines for device in line.devices]
    return Identities({plan.device.id: plan.serial_number for plan in plans if plan.serial_number is not None}, known)


def _uplinks(
    config: Configuration,
    store: Store,
    identity: Identity,
    pipeline: Pipeline,
    clock: GatewayClock,
    started_ms: int,
    views: Mapping[str, tuple[View, UplinkError | None]],
    hurry: Callable[[], None],
    on_request: Callable[[Request], Awaitable[Reply]],
    configuring: RemoteConfiguration | None,
) -> dict[str, MqttUplink]:
    def quarantined(envelope: Envelope, why: str) -> None:
        pipeline.note(
            Gap(why, envelope.from_ms, envelope.to_ms, envelope.lane, envelope.seq, envelope.seq, envelope.count)
        )
        hurry()

    def uplink(model: UplinkModel) -> MqttUplink:
        view, barred = views[model.id]
        subject = Subject(
            uplink=model.id,
            identity=identity,
            devices=view.devices(),
            commandable=frozenset(shown for point in config.allow_write if (shown := view.point(point))),
            destinations=[each.id for each in config.uplinks],
            epoch=lambda: store.epoch,
            clock=clock,
            started_ms=lambda: started_ms + (clock.correction.shift_ms if clock.correction else 0),
            reported=(lambda: None) if configuring is None else configuring.reported,
        )
        dialect = dialect_of(model, subject)
        return MqttUplink(
            model,
            store,
            dialect,
            clock,
            on_quarantine=quarantined,
            view=view,
            barred=barred,
            on_request=on_request,
            on_desired=None if configuring is None else configuring.desired,
        )

    made = {model.id: uplink(model) for model in config.uplinks}

    def reported(_: bytes) -> None:
        for each in made.values():
            each.introduce()

    if configuring is not None:
        configuring.on_reported = reported
    return made


def _view(model: UplinkModel, config: Configuration) -> tuple[View, UplinkError | None]:
    """What the platform may see; where that cannot be said, nothing, and why it must not be connected to."""
    try:
        return view_of(model, config.watched), None
    except UplinkError as exc:
        return View(OnlyModel(devices=[]), None, (), {}), exc


async def _self_watch(
    config: Configuration, store: Store, pipeline: Pipeline, uplinks: Mapping[str, MqttUplink], clock: Clock
) -> SelfWatch:
    stats = await store.stats()
    before = stats.evicted + stats.damaged

    async def look(findings: Findings) -> Mapping[str, bool]:
        losses, failing = pipeline.stats.dropped + (store.recovery is not None), pipeline.failing
        try:
            stats = await store.stats()
            losses += stats.evicted + stats.damaged - before
        except StoreError:
            failing = True
        status = {name: uplink.status for name, uplink in uplinks.items()}
        return findings.values(status, losses, clock.state(), clock.monotonic_s(), failing=failing)

    return SelfWatch(config.device(config.gateway.id), look, pipeline.submit, clock)


def _desk(
    config: Configuration,
    answers: Answers,
    doors: Doors,
    trail: Trail,
    saved: Mapping[str, bytes],
    uplinks: Mapping[str, MqttUplink],
    views: Mapping[str, tuple[View, UplinkError | None]],
    reload: Callable[[float], str] | None,
    configuring: RemoteConfiguration | None,
) -> Desk:
    models = {model.id: model for model in config.uplinks}

    def sees(uplink: str, point: PointId) -> bool:
        """A command must not get around what the platform is sent otherwise; nor around a pseudonym."""
        if uplink not in views:
            return uplink == LOCAL  # who may open the socket may read everything there
        only, about = models[uplink].only, config.points[point]
        hidden = models[uplink].pseudonym_key_file is not None
        shown = visible(only, pseudonyms=hidden, device=config.device(about.device), point=about)
        return shown and views[uplink][0].point(point) == point

    async def rebirth(uplink: str) -> None:
        if uplink in uplinks:
            uplinks[uplink].introduce()

    async def resend(uplink: str, lane: Lane, first: int, last: int) -> None:
        if uplink in uplinks:
            uplinks[uplink].resend(lane, first, last)

    means = Means(
        config.points,
        {device.id: device for device in config.devices},
        answers.commands,
        doors,
        {door.point: door.pulse for door in config.remote.doors},
        answers.read_points,
        answers.acknowledge,
        sees,
        answers.clock,
        rebirth,
        resend,
        reload=None if reload is None else partial(reload, RELOAD_S),
        apply_config=None if configuring is None else configuring.desired,
    )
    return Desk(
        config.site.id,
        config.gateway.id,
        {key.id: Right.of(key) for key in config.remote.keys},
        means,
        trail,
        answers.clock,
        counters_in(saved),
        config.remote.commands_per_minute,
        config.remote.outputs_per_minute,
    )


def _connected(uplinks: Mapping[str, MqttUplink]) -> Callable[[], Set[str]]:
    return lambda: {name for name, uplink in uplinks.items() if uplink.status.connected}


async def _keep_registers(lines: Sequence[Line], pipeline: Pipeline, clock: Clock) -> None:
    while True:
        await asyncio.sleep(REGISTERS_S)
        _remember_registers(lines, pipeline, clock)


def _remember_registers(lines: Sequence[Line], pipeline: Pipeline, clock: Clock) -> None:
    if clock.state() is ClockState.UNKNOWN:
        return  # the time with which they would be kept means nothing after a restart
    for line in lines:
        registers = line.gate.registers(clock.monotonic_s(), clock.now_ms())
        if registers:
            pipeline.remember(_REGISTERS_KEY + line.id, json.dumps(registers).encode())


def _recall_registers(lines: Sequence[Line], saved: Mapping[str, bytes], clock: Clock) -> None:
    """The counters go on from where they stood: the first reading after a start is checked like any other."""
    now_ms = None if clock.state() is ClockState.UNKNOWN else clock.now_ms()
    for line in lines:
        try:
            kept = json.loads(saved.get(_REGISTERS_KEY + line.id, b"{}"))
            registers = {point: (float(value), int(at_ms)) for point, (value, at_ms) in kept.items()}
        except (ValueError, TypeError, AttributeError):
            log.warning("what the counters showed before the start cannot be read", line=line.id)
            continue
        line.gate.recall(registers, clock.monotonic_s(), now_ms)


async def _publish_health(health: Health) -> None:
    await asyncio.sleep(FIRST_HEALTH_S)
    while True:
        await _publish_health_once(health)
        await asyncio.sleep(HEALTH_S)


async def _publish_health_once(health: Health) -> None:
    try:
        snapshot = await health.snapshot()
    except StoreError as exc:
        log.warning("no health message this minute", error=exc.advice())
        return
    health.lag.take()  # the next minute's worst is its own; whoever asks in between sees it and changes nothing
    for uplink in health.uplinks.values():
        uplink.publish_health(snapshot)


async def _feed_watchdog(pipeline: Pipeline) -> None:
    """Sign of life only while the loop turns and groups are being committed (or there is nothing to commit)."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    loop = asyncio.get_running_loop()
    commits = -1
    while True:
        due_s = loop.time() + interval_s / 3
        await asyncio.sleep(interval_s / 3)
        turning = loop.time() - due_s < interval_s / 2  # judged afresh each time: an old spike is over
        if turning and (pipeline.stats.commits != commits or not pipeline.waiting()):
            commits = pipeline.stats.commits
            notify("WATCHDOG=1")


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _history(identity: Identity, now_ms: int, recovery: Recovery | None) -> list[Event]:
    """What the platform should know about this start."""
    about = {"version": identity.version, "boot_id": identity.boot_id, "config": identity.config_digest}
    events = [Event(uuid7(now_ms), "gateway.started", now_ms, None, Place(), about)]
    return events if recovery is None else [*events, store_replaced(recovery, now_ms)]


def store_replaced(recovery: Recovery, now_ms: int) -> Event:
    saved = recovery.salvage
    damage: dict[str, Value | None] = {
        "fault": recovery.fault,
        "kept": recovery.moved_to.name if recovery.moved_to else None,
        "salvaged": sum(saved.envelopes.values()),
        "complete": saved.complete,
    }
    return Event(uuid7(now_ms), "gateway.store_replaced", now_ms, None, Place(), damage)
