"""A configuration directory, read as a whole: either a plan the daemon can run, or every fault there is.

site.yaml ─┐                       ┌─▶ lines, devices (plan.py)
devices/ ──┼─▶ documents ─▶ models ┤
rules/ ────┘   (yaml12)   (explain)└─▶ rules (rules/definition.py)
                    └──────────┴──────────── faults ─▶ ConfigFaults
"""

from __future__ import annotations

import hashlib
import os
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.actions import available
from gateway.config.consent import consent_faults, consents_of, lapsed_faults
from gateway.config.explain import explain, parse
from gateway.config.faults import ConfigFaults, Fault, Report, did_you_mean, no_such_file, quoted
from gateway.config.models import (
    AuditModel,
    DeviceModel,
    GatewayModel,
    LineModel,
    PrivacyModel,
    RemoteModel,
    SiteFile,
    SiteModel,
    StoreModel,
    TlsModel,
    UplinkModel,
    on_this_machine,
)
from gateway.config.places import place_faults, placeless, places_of
from gateway.config.plan import DevicePlan, LinePlan, Planner, check_unique
from gateway.config.profiles import Profiles
from gateway.config.remote import remote_faults
from gateway.config.risk import community, read_risk
from gateway.config.rule_files import read_rule_files
from gateway.config.vehicles import vehicle_faults
from gateway.config.yaml12 import Document, Steps, read_yaml
from gateway.consent import Consent
from gateway.model import Device, Point, PointId, Text
from gateway.places import Places
from gateway.self_watch import own_device
from gateway.vehicles.config import VehiclesModel
from gateway.vehicles.points import area_device, with_lists
from rules.risk.definition import Definition
from rules.rule import Actions, RuleSet

__all__ = ["Configuration", "DevicePlan", "LinePlan", "check", "load"]

SITE_BYTES = 4 * 2**20
"""Ten thousand devices take about 2 MiB."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Configuration:
    """Everything the daemon needs to know.  File names in it can be opened as they are."""

    directory: Path
    site: SiteModel
    gateway: GatewayModel
    store: StoreModel
    uplinks: tuple[UplinkModel, ...]
    lines: tuple[LinePlan, ...]
    devices: tuple[Device, ...]
    ourselves: Device
    """The gateway, as one more device that rules watch."""
    rules: RuleSet
    remote: RemoteModel
    audit: AuditModel
    privacy: PrivacyModel
    vehicles: VehiclesModel | None
    risk: Definition | None
    made_up: tuple[Device, ...]
    """What the gateway shows as devices, of which there are none in the field: the risk, the vehicles."""
    places: Places
    consents: Mapping[str, Consent]
    """Device -> what its household has agreed to, of those that may run only with it."""
    digest: str
    """``sha256:…`` over the names and bytes of every file that was read."""

    @property
    def watched(self) -> tuple[Device, ...]:
        return (*self.devices, self.ourselves, *self.made_up)

    def device(self, id_: str) -> Device:
        """Raises KeyError."""
        return self._devices[id_]

    @cached_property
    def _devices(self) -> Mapping[str, Device]:
        return {device.id: device for device in self.watched}

    @cached_property
    def readable(self) -> frozenset[PointId]:
        """The points that a device can be asked for; the others the gateway works out itself."""
        return frozenset(point for line in self.lines for plan in line.devices for point in plan.spec.points)

    @cached_property
    def sent(self) -> frozenset[PointId]:
        """Of these, the ones that their device sends by itself: they cannot be asked for."""
        plans = [plan.sent for line in self.lines for plan in line.devices]
        return frozenset(point for sent in plans if sent is not None for point in sent.points)

    @cached_property
    def points(self) -> Mapping[PointId, Point]:
        return {point.id: point for device in self.watched for point in device.points}

    @cached_property
    def allow_write(self) -> frozenset[PointId]:
        """What commands may write."""
        return frozenset(point for line in self.lines for plan in line.devices for point in plan.allow_write)


def load(directory: Path, base: Path | None = None) -> Configuration:
    """Raises ConfigFaults with all faults of all files.  Warnings do not stop it.

    base: what the names of files in it are relative to, where that is not *directory*.
    """
    configuration, faults = examine(directory, base)
    if configuration is None:
        raise ConfigFaults(faults)
    return configuration


def check(directory: Path) -> list[Fault]:
    """Every fault and warning, in the order of files and lines."""
    return examine(directory)[1]


def examine(
    directory: Path, base: Path | None = None, *, now_ms: int | None = None
) -> tuple[Configuration | None, list[Fault]]:
    """The configuration, None when it has faults; and every fault and warning.  *base*: as for ``load``.

    now_ms: look at the calendar, too.  What has run out is a fault, and yet does not keep a gateway from starting.
    """
    base = directory if base is None else base
    report = Report()
    site, content = read_yaml(directory / "site.yaml", str(directory / "site.yaml"), limit_bytes=SITE_BYTES)
    report.extend(site.faults)
    report.extend(_overlooked(directory))
    profiles = Profiles(directory, report)
    parts = _Parts.of(site, report)
    places = Places() if parts.file is None else places_of(parts.file)
    lines = Planner(site, profiles, report, _zone(parts.file), places).plan(parts.lines, parts.devices)
    profiles.check_own()
    check_unique("uplinks", parts.uplinks, site, report)
    for index, uplink in parts.uplinks.items():
        report.extend(_uplink_faults(site, ("uplinks", index), uplink, base))
    if parts.file is not None:
        report.extend(_timezone_faults(site, parts.file.site))
        report.extend(_store_faults(site, parts.file.store))
        report.extend(_privacy_faults(site, parts.file.privacy))
        if parts.file.vehicles is not None:
            known = [model.id for model in parts.devices.values()]
            report.extend(vehicle_faults(site, parts.file.vehicles, known, base))
        report.extend(place_faults(site, parts.file))
    devices = _devices(lines, parts)
    by_id = {device.id: device for device in devices}
    report.extend(consent_faults(site, parts.devices, by_id))
    if parts.file is not None:
        report.extend(remote_faults(site, parts.file.remote, parts.devices.values(), devices))
    ourselves = _ourselves(site, parts.file, devices, report)
    risk = _risk(site, parts, devices, report)
    watched = (*devices, *([ourselves] if ourselves else []), *_made_up(risk, parts))
    rules, rule_bytes = read_rule_files(directory, watched, _sendable(lines), report, complete=not report.failed)
    if parts.file is not None and not rules.site.timezone:
        rules = replace(rules, site=replace(rules.site, timezone=parts.file.site.timezone))
    if parts.file is not None and not report.failed:  # what is wrong comes first
        report.extend(placeless(site, parts.file.devices))
    faults = report.in_order()
    if parts.file is None or ourselves is None or report.failed:
        return None, faults
    consents = consents_of(parts.devices, by_id)
    if now_ms is not None:
        today = datetime.fromtimestamp(now_ms / 1000, parts.file.site.zone).date()
        report.extend(lapsed_faults(site, parts.devices, consents, today))
        faults = report.in_order()
    files = {"site.yaml": content, **profiles.bytes_of, **rule_bytes}
    return Configuration(
        directory=directory,
        site=parts.file.site,
        gateway=parts.file.gateway,
        store=parts.file.store.model_copy(update={"path": base / parts.file.store.path}),
        uplinks=tuple(_resolved(uplink, base) for uplink in parts.file.uplinks),
        lines=lines,
        devices=devices,
        ourselves=ourselves,
        rules=rules,
        remote=parts.file.remote,
        audit=parts.file.audit,
        privacy=parts.file.privacy,
        vehicles=_vehicles(parts.file.vehicles, base),
        risk=risk,
        made_up=tuple(_made_up(risk, parts)),
        places=places,
        consents=consents,
        digest=_digest(files),
    ), faults


def _ourselves(site: Document, file: SiteFile | None, devices: Sequence[Device], report: Report) -> Device | None:
    if file is None:
        return None
    id_ = file.gateway.id
    if any(device.id == id_ for device in devices):
        message = Text(f"{id_} 已是一台设备的编号", f"a device is called {id_} already")
        report.add(site.fault(("gateway", "id"), "E-DUP", message, Text("改其中一个", "rename one of the two")))
    return own_device(id_)


def _devices(lines: Sequence[LinePlan], parts: _Parts) -> tuple[Device, ...]:
    model = None if parts.file is None else parts.file.vehicles
    return with_lists((plan.device for line in lines for plan in line.devices), model)


def _made_up(risk: Definition | None, parts: _Parts) -> list[Device]:
    """Devices that are nowhere but in the gateway: the community's risk, its vehicles."""
    model = None if parts.file is None else parts.file.vehicles
    return [*([] if risk is None else [community(risk)]), *([] if model is None else [area_device(model)])]


def _risk(site: Document, parts: _Parts, devices: Sequence[Device], report: Report) -> Definition | None:
    if parts.file is None or parts.file.risk is None:
        return None
    known = {parts.file.gateway.id, *(model.id for model in parts.devices.values())}
    return read_risk(site, parts.file.risk, devices, known, report)


def devices_of(directory: Path) -> tuple[tuple[Device, ...], Actions] | None:
    """The devices of a site whose rules may still be wrong, and what can be sent to each.

    None when lines or devices have faults of their own.
    """
    report = Report()
    site, _ = read_yaml(directory / "site.yaml", str(directory / "site.yaml"), limit_bytes=SITE_BYTES)
    report.extend(site.faults)
    parts = _Parts.of(site, report)
    places = Places() if parts.file is None else places_of(parts.file)
    lines = Planner(site, Profiles(directory, report), report, places=places).plan(parts.lines, parts.devices)
    if report.failed or parts.file is None:
        return None
    devices = _devices(lines, parts)
    risk = _risk(site, parts, devices, report)
    ours = (own_device(parts.file.gateway.id), *_made_up(risk, parts))
    return (*devices, *ours), _sendable(lines)


def timezone_of(directory: Path) -> str:
    """What holds for rules that name no time zone; empty when the site cannot be read."""
    report = Report()
    site, _ = read_yaml(directory / "site.yaml", str(directory / "site.yaml"), limit_bytes=SITE_BYTES)
    file = _Parts.of(site, report).file
    return "" if file is None else file.site.timezone


def _sendable(lines: Sequence[LinePlan]) -> Actions:
    plans = [plan for line in lines for plan in line.devices]
    return available([plan.device for plan in plans], {point for plan in plans for point in plan.allow_write})


@dataclass(frozen=True, slots=True)
class _Parts:
    """What of site.yaml has the right shape; when some of it has not, the rest is still checked against each other."""

    file: SiteFile | None
    uplinks: Mapping[int, UplinkModel]
    lines: Mapping[int, LineModel]
    devices: Mapping[int, DeviceModel]

    @classmethod
    def of(cls, document: Document, report: Report) -> _Parts:
        if document.broken:
            return cls(None, {}, {}, {})
        try:
            file = parse(SiteFile, document.data)
        except ValidationError as exc:
            report.extend(explain(exc, SiteFile, document))
            return cls(
                None,
                _sound(UplinkModel, "uplinks", document, exc),
                _sound(LineModel, "lines", document, exc),
                _sound(DeviceModel, "devices", document, exc),
            )
        return cls(file, dict(enumerate(file.uplinks)), dict(enumerate(file.lines)), dict(enumerate(file.devices)))


def _sound(model: type[M], section: str, document: Document, error: ValidationError) -> dict[int, M]:
    """The entries of *section* that *error* does not mention."""
    entries = document.data.get(section) if isinstance(document.data, dict) else None
    if not isinstance(entries, list):
        return {}
    faulty = {
        details["loc"][1] for details in error.errors() if details["loc"][:1] == (section,) and details["loc"][1:]
    }
    return {index: parse(model, entry) for index, entry in enumerate(entries) if index not in faulty}


def _overlooked(directory: Path) -> Iterable[Fault]:
    """Files that look as if they were meant and are not read."""
    for path in sorted(directory.glob("**/*.yml")):
        message = Text("只读取 .yaml 文件；此文件被忽略", "only .yaml files are read; this one is ignored")
        yield Fault(str(path), 1, 1, "W-FILE", message, Text("改名为 .yaml", "rename it to .yaml"), warning=True)


def _uplink_faults(document: Document, path: Steps, uplink: UplinkModel, directory: Path) -> Iterable[Fault]:
    if uplink.tls is None and not uplink.allow_plaintext and not on_this_machine(uplink.host):
        message = Text(
            f"到 {quoted(uplink.host)} 的连接未加密", f"the connection to {quoted(uplink.host)} is not encrypted"
        )
        hint = Text("加上 tls: {}，或明确写 allow_plaintext: true", "add tls: {}, or say allow_plaintext: true")
        yield document.fault((*path, "host"), "E-TLS", message, hint)
    tls = uplink.tls or TlsModel()
    if (tls.certificate is None) != (tls.key is None):
        message = Text("certificate 与 key 必须同时给出", "certificate and key go together")
        yield document.fault((*path, "tls"), "E-TLS", message, key=True)
    yield from _dialect_faults(document, path, uplink)
    if uplink.password_file is not None and uplink.username is None:
        message = Text("有 password_file 而没有 username", "password_file without username")
        yield document.fault((*path, "password_file"), "E-MISSING", message, key=True)
    named: dict[Steps, Path | None] = {
        ("password_file",): uplink.password_file,
        ("pseudonym_key_file",): uplink.pseudonym_key_file,
        ("iotda", "secret_file"): uplink.iotda.secret_file if uplink.iotda else None,
        **{("tls", key): getattr(tls, key) for key in TlsModel.model_fields},
    }
    for steps, file in named.items():
        # os.path.isfile, not Path.is_file: a name too long for the file system is an absent file, not an error
        if file is not None and not os.path.isfile(directory / file):
            yield document.fault((*path, *steps), "W-FILE", no_such_file(directory / file), warning=True)


def _dialect_faults(document: Document, path: Steps, uplink: UplinkModel) -> Iterable[Fault]:
    dialect = uplink.dialect
    if dialect in ("sparkplug_b", "iotda") and getattr(uplink, dialect) is None:
        message = Text(f"dialect: {dialect} 需要 {dialect} 一节", f"dialect: {dialect} needs a section {dialect}")
        yield document.fault((*path, "dialect"), "E-MISSING", message)
    if uplink.delivery == "receipt" and dialect != "native":
        message = Text(f"{dialect} 没有回执，只能用 puback", f"{dialect} has no receipts: puback only")
        yield document.fault((*path, "delivery"), "E-VALUE", message)
    if dialect == "iotda" and not 30 <= uplink.keepalive <= 1200:
        message = Text("该平台要求 keepalive 为 30 至 1200 秒", "this platform wants a keepalive of 30 s to 1200 s")
        yield document.fault((*path, "keepalive"), "E-VALUE", message)
    if dialect == "iotda" and uplink.replay_rate > 50:
        message = Text("该平台每连接每秒最多收 50 条", "this platform takes 50 messages a second of one connection")
        yield document.fault((*path, "replay_rate"), "E-VALUE", message, Text("写 20 或更小", "write 20 or less"))
    if dialect == "home_assistant" and not on_this_machine(uplink.host) and uplink.only.personal:
        message = Text(
            "Home Assistant 应在本机或本地网络；住户数据会一并发出",
            "Home Assistant belongs on this machine or the local network; households' data would go there too",
        )
        hint = Text("加上 only: {personal: false}", "add only: {personal: false}")
        yield document.fault((*path, "dialect"), "W-PERSONAL", message, hint, warning=True)


def _zone(file: SiteFile | None) -> tzinfo:
    """The site's time zone; UTC where the file is too broken to say, or names one that does not exist."""
    try:
        return UTC if file is None else file.site.zone
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _timezone_faults(document: Document, site: SiteModel) -> Iterable[Fault]:
    try:
        zoneinfo.ZoneInfo(site.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if known:  # a machine without a time zone database cannot tell
            message = Text(f"未知的时区 {quoted(site.timezone)}", f"unknown time zone {quoted(site.timezone)}")
            hint = did_you_mean(site.timezone, known)
            yield document.fault(("site", "timezone"), "E-VALUE", message, hint)


def _store_faults(document: Document, store: StoreModel) -> Iterable[Fault]:
    if store.shares.total > 100:
        all_of_them = ", ".join(f"{lane} {percent}" for lane, percent in store.shares.model_dump().items())
        message = Text(
            f"各通道合计 {store.shares.total}%，超过 100%：{all_of_them}",
            f"the lanes together have {store.shares.total} %, more than 100 %: {all_of_them}",
        )
        hint = Text("减小一些；未写的通道取默认值", "lower some of them; a lane that is not written has its default")
        yield document.fault(("store", "shares"), "E-VALUE", message, hint, key=True)


def _privacy_faults(document: Document, privacy: PrivacyModel) -> Iterable[Fault]:
    if privacy.keep:
        words = ", ".join(privacy.keep)
        message = Text(f"{words} 将以原文保存并上报", f"{words} will be kept and delivered as they are")
        hint = Text(
            "需要有个人信息保护法上的依据；否则删去 keep，只用化名",
            "that needs a ground in the law on personal data; else delete keep: pseudonyms do for most purposes",
        )
        yield document.fault(("privacy", "keep"), "W-PERSONAL", message, hint, key=True, warning=True)


def _resolved(uplink: UplinkModel, directory: Path) -> UplinkModel:
    """File names in a configuration are relative to it."""
    update: dict[str, Any] = {}
    if uplink.password_file is not None:
        update["password_file"] = directory / uplink.password_file
    if uplink.tls is not None:
        files = {key: getattr(uplink.tls, key) for key in TlsModel.model_fields}
        update["tls"] = TlsModel(**{key: directory / file for key, file in files.items() if file is not None})
    if uplink.pseudonym_key_file is not None:
        update["pseudonym_key_file"] = directory / uplink.pseudonym_key_file
    if uplink.iotda is not None:
        update["iotda"] = uplink.iotda.model_copy(update={"secret_file": directory / uplink.iotda.secret_file})
    return uplink.model_copy(update=update)


def _vehicles(model: VehiclesModel | None, base: Path) -> VehiclesModel | None:
    """With names of files that can be opened as they are."""
    if model is None:
        return None
    lists = [base / path for path in model.lists]
    return model.model_copy(update={"key_file": base / model.key_file, "lists": lists})


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return f"sha256:{digest.hexdigest()}"
