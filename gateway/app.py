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
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version

import structlog

from drivers.transport import ByteLine
from gateway import local_api
from gateway.actuators import Actuator, actions_of, interlock
from gateway.answers import Answers
from gateway.assembly import (
    Voice,
    connected,
    connection_of,
    desk_of,
    hearing_all,
    identities_of,
    intake_of,
    line_of,
    meters_of,
    risk_watch,
    self_watch,
    sight_of,
    uplinks_of,
    vehicles_of,
)
from gateway.clock import GatewayClock
from gateway.commands import Commands
from gateway.config.load import Configuration
from gateway.consent_watch import ConsentWatch, consented, today_of
from gateway.envelope import Envelope
from gateway.errors import StoreError
from gateway.health import Health
from gateway.ids import uuid7
from gateway.model import Event, Gap, Place, Value
from gateway.notify import notify, watchdog_interval_s
from gateway.past import recall
from gateway.pipeline import Pipeline
from gateway.registers import keep_registers, recall_registers, remember_registers
from gateway.remote.audit_log import AuditLog
from gateway.remote.by_hand import by_hand
from gateway.remote.configuration import Remote, RemoteConfiguration
from gateway.remote.doors import Doors, left_on
from gateway.remote.trail import Trail, anchor_in
from gateway.store.log import Keeping, Store
from gateway.store.recovery import Recovery
from gateway.timekeeper import Timekeeper
from gateway.uplink.contract import Identity
from gateway.uplink.mqtt import MqttUplink
from rules.engine import Engine, Instant

log = structlog.get_logger()

HEALTH_S = 60.0
FIRST_HEALTH_S = 5.0
"""After the start: soon, so that whoever commissions the box sees it."""
COMMIT_S = 10.0
"""At the end: for the group that is on its way to the disk."""
COMMANDS_S = 5.0
"""At the end: for the exchange of a command that has begun."""


async def run(
    config: Configuration,
    clock: GatewayClock,
    stop: asyncio.Event,
    reload: Callable[[float], str] | None = None,
    remote: Remote | None = None,
    config_refused: Callable[[], bool] = lambda: False,
    renew: Callable[[], None] | None = None,
) -> None:
    """Run the gateway until *stop* is set.  Raises StoreLocked, StoreError; anything else that escapes is a bug.

    reload: start anew with the configuration on disk, so many seconds from now; returns what is wrong with it.
    remote: how *config* was chosen, where another may come from afar.
    config_refused: whether what is on disk was refused, so that *config* still stands.
    renew: start anew at once, with what is on disk where that is valid, else with *config*.
    """
    started_ms = clock.now_ms()
    today = today_of(config, clock)
    config = consented(config, today)
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
        await recall(engine, config.store.path, config.points, clock)
        pipeline = Pipeline(store, engine, config.points, clock)
        timekeeper = Timekeeper(clock, store, pipeline, config.store.path, identity.boot_id, config.gateway.clock_wait)
        await timekeeper.begin(saved)
        identities = identities_of(config, saved)
        vehicles = vehicles_of(config, saved, pipeline, clock)
        intake = intake_of(config, pipeline, vehicles, clock)
        connections = {plan.id: connection_of(plan, saved, clock) for plan in config.lines}
        trail = Trail(
            AuditLog(config.store.path, clock, config.audit.keep, config.audit.budget),
            pipeline,
            clock,
            anchor_in(saved),
        )
        meters = await meters_of(config, saved, trail, clock)
        lines = [
            line_of(plan, connections[plan.id], config, identities, pipeline, intake, clock, meters.changed)
            for plan in config.lines
        ]
        recall_registers(lines, saved, clock)
        uplinks: dict[str, MqttUplink] = {}
        risk = risk_watch(config, saved, pipeline, clock)
        pipeline.heard = hearing_all(pipeline.heard, meters.heard)
        consents = ConsentWatch(config, trail, pipeline, clock, saved, renew, today)
        health = Health(clock, timekeeper, clock.monotonic_s(), store, config.store.path, pipeline, lines, uplinks)
        table = actions_of(config.devices)
        commands = Commands(
            config.points,
            {device.id: device.place for device in config.devices},
            config.allow_write,
            {device: line for line in lines for device in line.drivers},
            trail,
            clock,
            identities.wrong,
            [interlock(engine.holds, table)],
        )
        actuator = Actuator(commands, table, clock)
        pipeline.order = actuator.take
        watch = await self_watch(config, store, pipeline, uplinks, clock, lambda: commands.unknown, config_refused)
        by_id = {line.id: line for line in lines}
        wires = {name: each for name, each in connections.items() if isinstance(each, ByteLine)}
        answers = Answers(config, by_id, wires, health, pipeline, commands, clock, trail)
        doors = Doors(commands, pipeline, clock, left_on(saved))
        sights = {model.id: sight_of(model, config) for model in config.uplinks}
        configuring = None if remote is None else RemoteConfiguration(remote, pipeline, connected(uplinks), clock)
        desk = desk_of(config, store, answers, doors, trail, saved, uplinks, sights, reload, configuring)

        def quarantined(envelope: Envelope, why: str) -> None:
            lost = Gap(why, envelope.from_ms, envelope.to_ms, envelope.lane, envelope.seq, envelope.seq, envelope.count)
            pipeline.note(lost)
            watch.hurry()

        voice = Voice(identity, store, clock, started_ms, quarantined, desk.handle, configuring)
        uplinks |= uplinks_of(config, sights, voice)
        pipeline.note(*_history(identity, started_ms, store.recovery))
        handlers: dict[str, local_api.Handler] = {
            **answers.handlers(),
            "remote": partial(by_hand, desk),
            **(configuring.handlers() if configuring else {}),
            **(risk.handlers() if risk else {}),
            **meters.handlers(),
        }
        async with (
            trail,
            meters,
            local_api.serve(config.store.path, handlers),
            asyncio.TaskGroup() as group,
        ):
            services = [
                group.create_task(timekeeper.run()),
                group.create_task(health.lag.run()),
                group.create_task(_publish_health(health)),
                group.create_task(_feed_watchdog(pipeline)),
                group.create_task(keep_registers(lines, pipeline, clock)),
                group.create_task(watch.run()),
                *([group.create_task(risk.run())] if risk else []),
                *([group.create_task(vehicles.run())] if vehicles else []),
                group.create_task(meters.run()),
                group.create_task(consents.run()),
                group.create_task(trail.run()),
                group.create_task(desk.run()),
                group.create_task(doors.run()),
                group.create_task(actuator.run()),
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
            remember_registers(lines, pipeline, clock)
            if risk is not None:
                risk.keep()
            await trail.settled()
            async with pipeline.at_rest(COMMIT_S):
                await _cancel(committing)
            await pipeline.drain()
            await _cancel(delivering)
            await _cancel(services)
        await timekeeper.end()
    log.info("stopped", accepted=pipeline.stats.accepted)


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
