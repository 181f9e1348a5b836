"""How the parts of the daemon are made from the configuration; app.py joins them and lets them run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import structlog

from drivers.base import Hub
from drivers.transport import ByteLine
from gateway.answers import Answers
from gateway.clock import Clock, GatewayClock
from gateway.config.faults import headline
from gateway.config.load import Configuration, LinePlan
from gateway.config.models import OnlyModel, UplinkModel
from gateway.envelope import Envelope
from gateway.errors import ConfigError, StoreError, UplinkError
from gateway.field import drivers_on, links_on, open_hub, open_line
from gateway.hearing import Hearing
from gateway.identity import Identities
from gateway.ids import uuid7
from gateway.intake import Intake, Look, memory_of
from gateway.meters.closing import Tracker, billed
from gateway.meters.files import Files
from gateway.meters.keeper import MeterJournal, begun
from gateway.model import Event, Lane, PointId, Reading, Value
from gateway.pipeline import Pipeline
from gateway.pseudonyms import box_pseudonyms
from gateway.quality import Change, QualityGate, RegisterChange
from gateway.registers import registers_in
from gateway.remote.acts import Means
from gateway.remote.by_hand import LOCAL
from gateway.remote.configuration import RemoteConfiguration
from gateway.remote.desk import Desk, counters_in
from gateway.remote.doors import Doors
from gateway.remote.rights import Right
from gateway.remote.trail import Trail
from gateway.risk_watch import RiskWatch, model_of
from gateway.self_watch import Findings, SelfWatch
from gateway.store.log import Store
from gateway.supervisor import Line
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Reply, Request, Subject
from gateway.uplink.dialects.choose import dialect_of, view_of
from gateway.uplink.mqtt import MqttUplink
from gateway.uplink.privacy import View
from gateway.vehicles.core import Vehicles
from gateway.vehicles.load import read_lists
from gateway.vehicles.points import DEVICE as VEHICLES
from gateway.vehicles.pseudonym import read_key
from gateway.vehicles.service import KEY as VEHICLES_KEY
from gateway.vehicles.service import VehicleService
from gateway.vehicles.watch import SEEN, VehicleWatch
from rules.risk.definition import DEVICE

log = structlog.get_logger()

PHASE_S = 1.0
"""Lines begin their grids spread over so long."""
RELOAD_S = 1.0
"""After a reload was ordered from afar: for the answer to leave."""
_IDENTITY_KEY = "identity/"
"""Begins the keys under which the store keeps the serial number that a device has said last."""

Sight: TypeAlias = tuple[View, UplinkError | None]
"""What a platform may see; and why it must not be connected to, where that cannot be said."""


# ---------------------------------------------------------------------- the field


def line_of(
    plan: LinePlan,
    connection: ByteLine | Hub,
    config: Configuration,
    identities: Identities,
    pipeline: Pipeline,
    intake: Intake,
    clock: Clock,
    changed: Callable[[Change], None],
) -> Line:
    """*changed*: told of a register or a device that has become another, beside the platforms."""
    links = {} if isinstance(connection, Hub) else links_on(plan, connection)
    reached = {each.device.id: links.get(each.device.id, connection) for each in plan.devices}
    rng = random.Random()

    def announce(change: Change) -> None:
        changed(change)
        _announce(change, config, pipeline, clock)

    return Line(
        plan.id,
        connection,
        drivers_on(plan, reached, clock),
        [job for device in plan.devices for job in device.jobs],
        pipeline.submit,
        clock,
        rng,
        QualityGate({point.id: point for each in plan.devices for point in each.device.points}, identities),
        announce,
        intake.take,
        Hearing({each.device.id: each.sent for each in plan.devices if each.sent is not None}),
        links=links,
        zone=config.site.zone,
        phase_s=rng.uniform(0.0, PHASE_S),
    )


def connection_of(plan: LinePlan, saved: Mapping[str, bytes], clock: Clock) -> ByteLine | Hub:
    return open_line(plan) if plan.hub is None else open_hub(plan, plan.hub, memory_of(saved), clock)


def vehicles_of(
    config: Configuration, saved: Mapping[str, bytes], pipeline: Pipeline, clock: Clock
) -> VehicleService | None:
    """None where the site has no section ``vehicles``, or no key to know them by."""
    model = config.vehicles
    if model is None:
        return None
    try:
        key = read_key(model.key_file)
    except ConfigError as exc:
        log.error("vehicles are not told apart", error=str(exc), hint=exc.hint)
        return None
    lists, faults = read_lists(model.lists, key, config.site.zone)
    for fault in faults:
        log.error("list of vehicles left out", fault=headline(fault, "en"))
    kept = [part for name, part in saved.items() if name.startswith(VEHICLES_KEY)]
    points = config.points

    def point_of(camera: str | None, name: str) -> PointId | None:
        point = f"{camera or VEHICLES}.{name}"
        return point if point in points else None

    places = {device.id: device.place for device in config.devices}
    watch = VehicleWatch(Vehicles(model.settings(), lists, kept), key, places, point_of, clock)
    cameras = [gate.camera for gate in model.gates]
    return VehicleService(watch, cameras, pipeline.submit, pipeline.remember, clock)


def intake_of(config: Configuration, pipeline: Pipeline, vehicles: VehicleService | None, clock: Clock) -> Intake:
    """Raises StoreError when the key for pseudonyms can be neither read nor made."""
    try:
        pseudonyms = box_pseudonyms(config.store.path)
    except (OSError, ValueError) as exc:
        raise StoreError(f"the key for pseudonyms in {config.store.path}: {exc}") from exc
    places = {device.id: device.place for device in config.devices}
    looks: dict[str, Look] = {} if vehicles is None else {SEEN: vehicles.look}
    return Intake(pipeline.take, places, pseudonyms, clock, frozenset(config.privacy.keep), looks)


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


def identities_of(config: Configuration, saved: Mapping[str, bytes]) -> Identities:
    known = {
        key.removeprefix(_IDENTITY_KEY): value.decode(errors="replace")
        for key, value in saved.items()
        if key.startswith(_IDENTITY_KEY)
    }
    plans = [device for line in config.lines for device in line.devices]
    return Identities({plan.device.id: plan.serial_number for plan in plans if plan.serial_number is not None}, known)


# ---------------------------------------------------------------------- the platforms


def sight_of(model: UplinkModel, config: Configuration) -> Sight:
    """What the platform may see; where that cannot be said, nothing, and why it must not be connected to."""
    try:
        return view_of(model, config.watched), None
    except UplinkError as exc:
        return View(OnlyModel(devices=[]), None, (), {}), exc


@dataclass(frozen=True, slots=True)
class Voice:
    """What the uplinks of one daemon share."""

    identity: Identity
    store: Store
    clock: GatewayClock
    started_ms: int
    on_quarantine: Callable[[Envelope, str], None]
    on_request: Callable[[Request], Awaitable[Reply]]
    configuring: RemoteConfiguration | None

    def started(self) -> int:
        """As far as is known now."""
        return self.started_ms + (self.clock.correction.shift_ms if self.clock.correction else 0)


def uplinks_of(config: Configuration, views: Mapping[str, Sight], voice: Voice) -> dict[str, MqttUplink]:
    made = {model.id: _uplink(model, config, views[model.id], voice) for model in config.uplinks}

    def reported(_: bytes) -> None:
        for each in made.values():
            each.introduce()

    if voice.configuring is not None:
        voice.configuring.on_reported = reported
    return made


def _uplink(model: UplinkModel, config: Configuration, sight: Sight, voice: Voice) -> MqttUplink:
    view, barred = sight
    configuring = voice.configuring
    subject = Subject(
        uplink=model.id,
        identity=voice.identity,
        devices=view.devices(),
        commandable=frozenset(shown for point in config.allow_write if (shown := view.point(point))),
        destinations=[each.id for each in config.uplinks],
        epoch=lambda: voice.store.epoch,
        clock=voice.clock,
        started_ms=voice.started,
        reported=(lambda: None) if configuring is None else configuring.reported,
        places=view.places(config.places),
    )
    return MqttUplink(
        model,
        voice.store,
        dialect_of(model, subject),
        voice.clock,
        on_quarantine=voice.on_quarantine,
        view=view,
        barred=barred,
        on_request=voice.on_request,
        on_desired=None if configuring is None else configuring.desired,
    )


def connected(uplinks: Mapping[str, MqttUplink]) -> Callable[[], Set[str]]:
    return lambda: {name for name, uplink in uplinks.items() if uplink.status.connected}


async def self_watch(
    config: Configuration,
    store: Store,
    pipeline: Pipeline,
    uplinks: Mapping[str, MqttUplink],
    clock: Clock,
    lost_commands: Callable[[], int],
    config_refused: Callable[[], bool],
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
        return findings.values(
            status,
            losses,
            clock.state(),
            clock.monotonic_s(),
            failing=failing,
            lost_commands=pipeline.stats.unconfirmed + lost_commands(),
            config_refused=config_refused(),
        )

    return SelfWatch(config.device(config.gateway.id), look, pipeline.submit, clock)


def risk_watch(config: Configuration, saved: Mapping[str, bytes], pipeline: Pipeline, clock: Clock) -> RiskWatch | None:
    """None where the site has no section ``risk``."""
    if config.risk is None:
        return None
    watch = RiskWatch(config.device(DEVICE), model_of(config.risk, saved, clock), pipeline, clock)
    pipeline.heard = watch.heard
    return watch


# ---------------------------------------------------------------------- meters


async def meters_of(config: Configuration, saved: Mapping[str, bytes], trail: Trail, clock: Clock) -> MeterJournal:
    """Goes on from where the counters stood."""
    known = await asyncio.to_thread(begun, config.store.path, registers_in(saved))
    zone = config.site.zone
    tracker = Tracker(billed(config.devices), zone, known)
    return MeterJournal(config.store.path, tracker, Files(config.store.path, zone, clock), trail, clock)


def hearing_all(*ears: Callable[[Sequence[Reading]], None]) -> Callable[[Sequence[Reading]], None]:
    """One for pipeline.heard that tells each of them."""

    def heard(readings: Sequence[Reading]) -> None:
        for ear in ears:
            ear(readings)

    return heard


# ---------------------------------------------------------------------- who asks from afar


def desk_of(
    config: Configuration,
    store: Store,
    answers: Answers,
    doors: Doors,
    trail: Trail,
    saved: Mapping[str, bytes],
    uplinks: Mapping[str, MqttUplink],
    views: Mapping[str, Sight],
    reload: Callable[[float], str] | None,
    configuring: RemoteConfiguration | None,
) -> Desk:
    def sees(uplink: str, point: PointId) -> bool:
        if uplink not in views:
            return uplink == LOCAL  # who may open the socket may read everything there
        return views[uplink][0].may_read(config.points[point])

    async def rebirth(uplink: str) -> None:
        if uplink in uplinks:
            uplinks[uplink].introduce()

    async def resend(uplink: str, lane: Lane, first: int, last: int) -> int:
        if uplink in uplinks:
            uplinks[uplink].resend(lane, first, last)
        return store.first_seq(lane)

    means = Means(
        config.points,
        {device.id: device for device in config.devices},
        answers.commands,
        doors,
        {door.point: door.pulse for door in config.remote.doors},
        answers.read_points,
        answers.attend,
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
