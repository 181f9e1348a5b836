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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog

from gateway import local_api
from gateway.clock import Clock
from gateway.commands import Command, Commands, as_item
from gateway.config.load import Configuration
from gateway.envelope import Envelope, reading_item
from gateway.errors import GatewayError, StoreError
from gateway.field import drivers_on, open_line, read_now
from gateway.health import Health, status_item
from gateway.ids import uuid7
from gateway.model import Event, Gap, Place, Reading, Value
from gateway.notify import notify, watchdog_interval_s
from gateway.pipeline import Pipeline
from gateway.quality import QualityGate, RegisterChange
from gateway.schedule import Job
from gateway.store.log import Store
from gateway.store.recovery import Recovery
from gateway.supervisor import Line
from gateway.uplink.contract import Identity, catalog_payload
from gateway.uplink.mqtt import MqttUplink
from rules.engine import Engine, Instant

log = structlog.get_logger()

HEALTH_S = 60.0
FIRST_HEALTH_S = 5.0
"""After the start: soon, so that whoever commissions the box sees it."""
COMMANDS_S = 5.0
"""At the end: for the exchange of a command that has begun."""


async def run(config: Configuration, clock: Clock, stop: asyncio.Event) -> None:
    """Run the gateway until *stop* is set.  Raises StoreLocked, StoreError; anything else that escapes is a bug."""
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
    )
    async with store:
        engine = Engine(
            config.rules,
            config.points,
            config.devices,
            new_id=uuid7,
            saved=await store.state(),
            started=Instant(clock.monotonic_s(), started_ms),
        )
        if engine.unreadable:
            log.warning("alarm journal partly unreadable, these alarms begin anew", keys=engine.unreadable)
        pipeline = Pipeline(store, engine, config.points, clock)
        lines = _lines(config, pipeline, clock)
        uplinks = _uplinks(config, store, identity, pipeline, clock, started_ms)
        commands = Commands(
            config.points,
            {device.id: device.place for device in config.devices},
            config.allow_write,
            {device: line for line in lines for device in line.drivers},
            pipeline,
            clock,
        )
        health = Health(clock, started_ms, store, config.store.path, pipeline, lines, uplinks)
        pipeline.note(*_history(identity, started_ms, store.recovery))
        async with (
            local_api.serve(config.store.path, _handlers(config, lines, health, pipeline, commands, clock)),
            asyncio.TaskGroup() as group,
        ):
            services = [
                group.create_task(health.lag.run()),
                group.create_task(_publish_health(health)),
                group.create_task(_feed_watchdog(pipeline)),
            ]
            delivering = [group.create_task(uplink.run()) for uplink in uplinks.values()]
            committing = [group.create_task(pipeline.run())]
            polling = [group.create_task(line.run()) for line in lines]
            log.info("running", site=identity.site, gateway=identity.gateway, devices=len(config.devices))
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            commands.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMANDS_S):
                    await commands.ended()
            await _cancel(polling)
            await commands.ended()  # a line that is closed tells whoever waits for it
            await _cancel(committing)
            await pipeline.drain()
            await _cancel(delivering)
            await _cancel(services)
    log.info("stopped", accepted=pipeline.stats.accepted)


def _lines(config: Configuration, pipeline: Pipeline, clock: Clock) -> list[Line]:
    lines = []
    places = {device.id: device.place for device in config.devices}
    for plan in config.lines:
        link = open_line(plan)
        jobs = [Job(d.device.id, points, interval_s) for d in plan.devices for interval_s, points in d.jobs]
        gate = QualityGate({point.id: point for each in plan.devices for point in each.device.points})
        lines.append(
            Line(
                plan.id,
                link,
                drivers_on(plan, link, clock),
                jobs,
                pipeline.submit,
                clock,
                random.Random(),
                gate,
                lambda change: pipeline.note(_register_changed(change, places, clock.now_ms())),
            )
        )
    return lines


def _register_changed(change: RegisterChange, places: Mapping[str, Place], now_ms: int) -> Event:
    """Whoever bills must know that the difference of two readings means nothing here."""
    device = change.point.partition(".")[0]
    kind = "register.rolled_over" if change.rolled_over else "register.replaced"
    about: dict[str, Value | None] = {"point": change.point, "before": change.before, "after": change.after}
    return Event(uuid7(now_ms), kind, now_ms, device, places[device], about)


def _uplinks(
    config: Configuration, store: Store, identity: Identity, pipeline: Pipeline, clock: Clock, started_ms: int
) -> dict[str, MqttUplink]:
    def quarantined(envelope: Envelope, why: str) -> None:
        pipeline.note(
            Gap(why, envelope.from_ms, envelope.to_ms, envelope.lane, envelope.seq, envelope.seq, envelope.count)
        )

    def catalog() -> bytes:
        return catalog_payload(identity, config.devices, [uplink.id for uplink in config.uplinks])

    return {
        model.id: MqttUplink(model, store, identity, catalog, clock, started_ms=started_ms, on_quarantine=quarantined)
        for model in config.uplinks
    }


def _handlers(
    config: Configuration,
    lines: Sequence[Line],
    health: Health,
    pipeline: Pipeline,
    commands: Commands,
    clock: Clock,
) -> Mapping[str, local_api.Handler]:
    """What the CLI may ask."""

    async def read(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        wanted = request.get("points", [])
        unknown = [point for point in wanted if point not in config.points]
        if unknown:
            raise GatewayError(f"unknown point: {', '.join(unknown)}")
        readings: list[Reading] = []
        for line in lines:
            for device, driver in line.drivers.items():
                points = [point for point in wanted if config.points[point].device == device]
                if points:
                    readings += await line.request(partial(read_now, driver, points, clock))
        return [reading_item(reading, config.points[reading.point].unit) for reading in readings]

    async def status(request: Mapping[str, Any]) -> dict[str, Any]:
        return await health.snapshot()

    async def alarms(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [status_item(alarm) for alarm in pipeline.engine.alarms()]

    async def acknowledge(request: Mapping[str, Any]) -> dict[str, Any]:
        rule, device = str(request.get("rule", "")), request.get("device")
        try:
            await pipeline.acknowledge(rule, device, str(request.get("who", "")))
            return status_item(pipeline.engine.alarm(rule, device))
        except KeyError:
            raise GatewayError(f"there is no alarm {rule}{f'@{device}' if device else ''}") from None

    async def write(request: Mapping[str, Any]) -> dict[str, Any]:
        """*check*: say only whether it would be carried out."""
        command = Command.local(request, uuid7(clock.now_ms()))
        return as_item(command, await (commands.check if request.get("check") else commands.execute)(command))

    return {"read": read, "status": status, "alarms": alarms, "acknowledge": acknowledge, "write": write}


async def _publish_health(health: Health) -> None:
    await asyncio.sleep(FIRST_HEALTH_S)
    while True:
        await _publish_health_once(health)
        await asyncio.sleep(HEALTH_S)


async def _publish_health_once(health: Health) -> None:
    try:
        message = json.dumps(await health.snapshot(), ensure_ascii=False).encode()
    except StoreError as exc:
        log.warning("no health message this minute", error=exc.advice())
        return
    health.lag.take()  # the next minute's worst is its own; whoever asks in between sees it and changes nothing
    for uplink in health.uplinks.values():
        uplink.publish_health(message)


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
        "kept": recovery.moved_to.name,
        "salvaged": sum(saved.envelopes.values()),
        "complete": saved.complete,
    }
    return Event(uuid7(now_ms), "gateway.store_replaced", now_ms, None, Place(), damage)
