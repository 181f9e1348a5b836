"""From checked models to what the daemon runs: lines, the devices on them, and which points are read how often.

    site.yaml ──▶ lines ─────────┐
              ──▶ devices ──▶ profile ──▶ layout (cached) ──▶ points, specs, jobs ──▶ LinePlan

A layout is everything about a device that does not depend on its id, so thousands of meters of one kind cost one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from drivers.base import DeviceSpec, Driver, HubSpec, PointSpec, ProtocolType, SerialFormat, Writable
from drivers.registry import PackagesMissing, hub_protocols, protocol
from drivers.transport import TcpLink
from gateway.clock import SystemClock
from gateway.config.action_keys import action_faults
from gateway.config.budget import FULL, TIGHT, Demand, Load, demand, line_load
from gateway.config.explain import explain, parse, unknown_keys
from gateway.config.faults import Report, did_you_mean, no_such_file, one_of, quoted
from gateway.config.layout import Layout, as_text, identity_check, lay_out
from gateway.config.models import DeviceModel, LineModel
from gateway.config.places import device_place
from gateway.config.profiles import Profile, Profiles
from gateway.config.yaml12 import Document, Steps
from gateway.errors import ConfigError
from gateway.hearing import Sent
from gateway.model import Device, Place, Point, PointId, Text
from gateway.places import Places
from gateway.schedule import Job

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_FORMAT_KEYS = ("baud", "parity", "data_bits", "stop_bits")
_PARITY = {"none": "N", "even": "E", "odd": "O"}
_ADDRESS_KEYS = ("unit_id", "address")
"""What protocols call the number or text by which a device on a shared line is told from the others."""

_ENDS = ("listen", "broker", "port", "url", "broadcast")
"""What the options of hubs call the place where they meet their devices."""
_CLOCK = SystemClock()
"""For drivers that are made to be looked at and never run."""
_FEW = 20
"""So many names are worth listing when none of them resembles what was written."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device, ready to be driven."""

    device: Device
    protocol: ProtocolType
    spec: DeviceSpec
    jobs: tuple[Job, ...]
    """What is read by schedule, the shortest interval first."""
    format: SerialFormat | None = None
    """How it speaks on a serial line, where that is not the line's own format."""
    serial_number: str | None = None
    """What it must say of itself, where the site says so."""
    demands: tuple[Demand | None, ...] = ()
    """What each job costs a serial line."""
    allow_write: frozenset[PointId] = frozenset()
    """What commands may write."""
    sent: Sent | None = None
    """What it sends by itself."""


@dataclass(frozen=True, slots=True)
class HubPlan:
    """A line whose devices speak by themselves."""

    protocol: ProtocolType
    options: BaseModel


@dataclass(frozen=True, slots=True)
class LinePlan:
    """One line: a serial port with its format, a TCP address (host, port), or a hub."""

    id: str
    serial: str | None
    format: SerialFormat | None
    tcp: tuple[str, int] | None
    devices: tuple[DevicePlan, ...]
    load: Load | None = None
    """What polling takes of a serial line's time; None where that cannot be known (TCP, a driver that cannot say)."""
    hub: HubPlan | None = None

    @property
    def where(self) -> str:
        """Where it leads to, for people: a port, ``host:port``, a protocol and where it listens."""
        if self.hub is None:
            return self.serial or ":".join(map(str, self.tcp or ()))
        ends = (getattr(self.hub.options, key, None) for key in _ENDS)
        return " ".join([self.hub.protocol.name, *(str(end) for end in ends if end is not None)][:2])


class Planner:
    """Joins lines, devices and profiles.  Whatever does not fit goes into the report; the rest is planned."""

    def __init__(
        self, document: Document, profiles: Profiles, report: Report, zone: tzinfo = UTC, places: Places | None = None
    ) -> None:
        """*zone*, *places*: the site's."""
        self._zone = zone
        self._places = places or Places()
        self._document = document
        self._profiles = profiles
        self._report = report
        self._layouts: dict[Hashable, Layout] = {}
        self._words: dict[tuple[str, str], frozenset[str]] = {}
        self._tried: dict[Hashable, tuple[Demand | None, ...]] = {}
        self._writers: dict[str, bool] = {}
        self._indexes: dict[str, int] = {}

    def plan(self, lines: Mapping[int, LineModel], devices: Mapping[int, DeviceModel]) -> tuple[LinePlan, ...]:
        """*lines* and *devices*: those whose own shape is right, by their index in the file."""
        check_unique("lines", lines, self._document, self._report)
        check_unique("devices", devices, self._document, self._report)
        by_id = {line.id: line for line in lines.values()}
        on_line: dict[str, list[DevicePlan]] = {line: [] for line in by_id}
        taken: dict[Hashable, tuple[int, str]] = {}
        for index, model in devices.items():
            plan = self._device(index, model, by_id)
            if plan is not None:
                self._indexes[model.id] = index
                on_line[model.line].append(plan)
                self._check_address(index, model, plan, taken)
        plans = [self._line(index, line, on_line[line.id]) for index, line in lines.items()]
        self._check_ports(lines, plans)
        return tuple(plans)

    # ------------------------------------------------------------------ lines

    def _line(self, index: int, line: LineModel, devices: Sequence[DevicePlan]) -> LinePlan:
        path = ("lines", index)
        if sum(each is not None for each in (line.serial, line.tcp, line.protocol)) != 1:
            message = Text(
                "serial、tcp、protocol 必须且只能写一个", "exactly one of serial, tcp and protocol is needed"
            )
            self._add(path, "E-LINE", message, key=True)
        if line.serial is None and (line.tcp is not None or line.protocol is not None):
            self._refuse_format(path, line)
        if line.id not in self._written("devices", "line"):
            message = Text(f"线路 {quoted(line.id)} 上没有设备", f"no device on line {quoted(line.id)}")
            self._add((*path, "id"), "W-LINE", message, warning=True)
        hub = self._hub(path, line)
        if hub is not None:
            self._try_hub(path, hub, line.id, devices)
        format_ = self._format(index, line, devices)
        load = self._load(index, devices, format_)
        return LinePlan(line.id, line.serial, format_, self._tcp(path, line.tcp), tuple(devices), load, hub)

    def _hub(self, path: Steps, line: LineModel) -> HubPlan | None:
        """What a line says that is listened to; a wire says nothing beyond its own keys."""
        own = line.model_extra or {}
        type_ = None if line.protocol is None else self._hub_type((*path, "protocol"), line.protocol)
        if line.protocol is None:
            self._report.extend(unknown_keys(self._document, path, own, LineModel.model_fields))
        if type_ is None or type_.hub_options is None:
            return None
        try:
            options = parse(type_.hub_options, own)
        except ValidationError as exc:
            self._report.extend(explain(exc, type_.hub_options, self._document, path, allowed=("id", "protocol")))
            return None
        return HubPlan(type_, self._with_files(path, options))

    def _try_hub(self, path: Steps, hub: HubPlan, line: str, devices: Sequence[DevicePlan]) -> None:
        """Make it and its drivers, without opening anything: what only they know does not fit shows then."""
        assert hub.protocol.hub is not None
        try:
            made = hub.protocol.hub(HubSpec(line, hub.options, {each.device.id: each.spec for each in devices}), _CLOCK)
        except ConfigError as exc:
            self._add((*path, "id"), "E-LINE", *_said(exc))
            return
        for plan in devices:
            index = self._indexes[plan.device.id]
            try:
                driver = hub.protocol.make(plan.spec, made, _CLOCK)
            except ConfigError as exc:
                self._add(("devices", index, "profile"), "E-POINT", *_said(exc))
                continue
            if plan.allow_write and not isinstance(driver, Writable):
                self._refuse_writes(("devices", index), plan.protocol.name)

    def _hub_type(self, path: Steps, name: str) -> ProtocolType | None:
        try:
            type_ = protocol(name)
        except KeyError:
            known = hub_protocols()
            self._check_reference(path, name, known, "协议", "protocol", "E-PROTOCOL")
            return None
        except PackagesMissing as exc:
            message = Text(f"协议 {quoted(name)} 所需的程序包未安装", str(exc))
            self._add(path, "E-PROTOCOL", message, Text(exc.install, exc.install))
            return None
        if type_.hub is None:
            message = Text(f"{name} 用于 serial 或 tcp 线路", f"{name} is for a line with serial or tcp")
            hint = Text("删去 protocol，写 serial 或 tcp", "delete protocol and say serial or tcp")
            self._add(path, "E-PROTOCOL", message, hint)
            return None
        return type_

    def _format(self, index: int, line: LineModel, devices: Sequence[DevicePlan]) -> SerialFormat | None:
        """What the line says, over what its first device's protocol usually speaks."""
        if line.serial is None:
            return None
        usual = {
            plan.protocol.name: plan.protocol.serial
            for plan in devices
            if plan.protocol.serial is not None and plan.format is None
        }
        said = {key: getattr(line, key) for key in _FORMAT_KEYS}
        if len(set(usual.values())) > 1 and (line.baud is None or line.parity is None):
            names = ", ".join(f"{name} {_short(format_)}" for name, format_ in usual.items() if format_ is not None)
            message = Text(
                f"线路上的协议通常使用不同的串口格式（{names}）", f"the protocols on this line usually differ: {names}"
            )
            hint = Text("请写明 baud 和 parity", "say baud and parity")
            self._add(("lines", index, "id"), "W-FORMAT", message, hint, warning=True)
        base = next(iter(usual.values()), None) or SerialFormat(9600)
        return _with(base, {key: value for key, value in said.items() if value is not None})

    def _refuse_format(self, path: Steps, line: LineModel) -> None:
        for key in _FORMAT_KEYS:
            if getattr(line, key) is not None:
                message = Text(f"{key} 只用于串口线路", f"{key} is for serial lines only")
                self._add((*path, key), "E-LINE", message, key=True)

    def _tcp(self, path: Steps, written: str | None) -> tuple[str, int] | None:
        if written is None:
            return None
        match = _HOST_PORT.fullmatch(written)
        if match is None or not 0 < int(match[2]) < 65536:
            message = Text(f"{quoted(written)} 不是 主机:端口", f"{quoted(written)} is not host:port")
            self._add((*path, "tcp"), "E-LINE", message, Text("写法如 192.168.1.20:502", "write 192.168.1.20:502"))
            return None
        return match[1].strip("[]"), int(match[2])

    def _check_ports(self, lines: Mapping[int, LineModel], plans: Sequence[LinePlan]) -> None:
        """One wire is one line: two owners of a port would talk over each other."""
        first: dict[Hashable, str] = {}
        for index, plan in zip(lines, plans, strict=True):
            for key, port in (("serial", plan.serial), ("tcp", plan.tcp)):
                if port is not None and first.setdefault(port, plan.id) != plan.id:
                    message = Text(f"与线路 {quoted(first[port])} 相同", f"the same as line {quoted(first[port])}")
                    hint = Text("把设备放到同一条线路下", "put the devices on one line")
                    self._add(("lines", index, key), "E-DUP", message, hint)

    # ------------------------------------------------------------------ devices

    def _device(self, index: int, model: DeviceModel, lines: Mapping[str, LineModel]) -> DevicePlan | None:
        path: Steps = ("devices", index)
        self._check_roles(path, model)
        line = lines.get(model.line)
        if line is None:
            self._check_reference((*path, "line"), model.line, self._written("lines", "id"), "线路", "line")
        profile = self._profile(path, model)
        type_ = self._protocol(path, model, profile, line) if profile and line else None
        if profile is None or type_ is None:
            return None
        self._check_identity(path, model, profile)
        options = self._options(path, model, profile, type_)
        layout = self._layout(path, model, profile, type_)
        self._check_writes(path, model, profile)
        self._report.extend(action_faults(self._document, (*path, "actions"), model.actions, profile.model.points))
        if options is None:
            return None
        place = self._places.completed(device_place(model))
        plan = _device_plan(model, profile, type_, options, layout, self._zone, place)
        plan = replace(plan, format=self._own_format(path, model, type_, line))
        own = options.model_dump_json(exclude=set(_ADDRESS_KEYS))
        sort = (profile.model.id, type_.name, own, plan.format, layout.jobs)
        if type_.hub is not None:
            return plan
        plan = replace(plan, demands=self._demands(path, plan, profile, sort))
        self._check_driver_writes(path, plan)
        return plan

    def _own_format(
        self, path: Steps, model: DeviceModel, type_: ProtocolType, line: LineModel | None
    ) -> SerialFormat | None:
        """The device's own serial format; what it does not say is the line's, then its protocol's."""
        own = {key: getattr(model, key) for key in _FORMAT_KEYS if getattr(model, key) is not None}
        if not own or line is None:
            return None
        if line.serial is None or type_.serial is None:
            for key in own:
                message = Text(f"{key} 只用于串口线路上的设备", f"{key} is for devices on serial lines only")
                self._add((*path, key), "E-LINE", message, key=True)
            return None
        said = {key: getattr(line, key) for key in _FORMAT_KEYS if getattr(line, key) is not None}
        return _with(type_.serial, said | own)

    def _check_identity(self, path: Steps, model: DeviceModel, profile: Profile) -> None:
        if model.serial_number is not None and not any(point.identity for point in profile.model.points.values()):
            message = Text(
                f"型号 {model.profile} 读不到出厂编号",
                f"profile {model.profile} has no point that reads a serial number",
            )
            hint = Text("在型号中给该测点加 identity: true", "in the profile, give that point identity: true")
            self._add((*path, "serial_number"), "E-POINT", message, hint, key=True)

    def _profile(self, path: Steps, model: DeviceModel) -> Profile | None:
        try:
            return self._profiles.get(model.profile)
        except KeyError:
            self._check_reference((*path, "profile"), model.profile, self._profiles.names, "设备型号", "profile")
            return None

    def _protocol(self, path: Steps, model: DeviceModel, profile: Profile, line: LineModel) -> ProtocolType | None:
        """The protocol the entry names, or the only one of the profile's that this line can carry."""
        names = list(profile.types)
        if model.protocol is not None and model.protocol not in names:
            words = one_of(names)
            message = Text(
                f"型号 {model.profile} 不使用协议 {quoted(model.protocol)}",
                f"profile {model.profile} does not speak {quoted(model.protocol)}",
            )
            hint = Text(f"可用：{words.zh}", f"it speaks: {words.en}")
            self._add((*path, "protocol"), "E-PROTOCOL", message, hint)
            return None
        wanted = [profile.types[model.protocol]] if model.protocol else list(profile.types.values())
        serial = line.serial is not None
        able = [each for each in wanted if _carries(line, each)]
        if len(able) == 1:
            return able[0]
        words = one_of([each.name for each in able or wanted])
        place = (*path, "protocol" if model.protocol else "line")
        if able:
            message = Text("请用 protocol 指明协议", "say which protocol")
            self._add(place, "E-PROTOCOL", message, Text(f"protocol: {words.zh}", f"protocol: {words.en}"))
        else:
            wire = Text("串口", "a serial line") if serial else Text("TCP", "TCP")
            if line.protocol is not None:
                wire = Text(f"{line.protocol} 线路", f"a line of {line.protocol}")
            elif words_of_hubs := [each.name for each in wanted if each.hub is not None]:
                hint = Text(f"线路应写 protocol: {words_of_hubs[0]}", f"its line says protocol: {words_of_hubs[0]}")
                message = Text(f"{words.zh} 不能走{wire.zh}", f"{words.en} cannot be spoken over {wire.en}")
                self._add(place, "E-PROTOCOL", message, hint)
                return None
            message = Text(f"{words.zh} 不能走{wire.zh}", f"{words.en} cannot be spoken over {wire.en}")
            self._add(place, "E-PROTOCOL", message)
        return None

    def _options(self, path: Steps, model: DeviceModel, profile: Profile, type_: ProtocolType) -> BaseModel | None:
        own = model.model_extra or {}
        try:
            options = parse(type_.device_options, {**profile.model.device, **own})
        except ValidationError as exc:
            faults = explain(exc, type_.device_options, self._document, path, allowed=DeviceModel.model_fields)
            self._report.extend(faults)
            return None
        return self._with_files(path, options)

    def _with_files(self, path: Steps, options: BaseModel) -> BaseModel:
        """File names in a configuration are relative to it."""
        update: dict[str, Any] = {}
        for key, value in options:
            if isinstance(value, BaseModel):
                update[key] = self._with_files((*path, key), value)
            elif isinstance(value, Path):
                update[key] = self._file((*path, key), value)
        return options.model_copy(update=update) if update else options

    def _file(self, path: Steps, written: Path) -> Path:
        file = Path(self._document.file).parent / written
        if not os.path.isfile(file):
            self._add(path, "W-FILE", no_such_file(file), warning=True)
        return file

    def _layout(self, path: Steps, model: DeviceModel, profile: Profile, type_: ProtocolType) -> Layout:
        """Cached by everything it is made of."""
        for name in model.points:
            if name not in profile.model.points:
                self._check_reference(
                    (*path, "points", name), name, list(profile.model.points), "测点", "point", "E-POINT", key=True
                )
        changes = frozenset((name, *vars(change).values()) for name, change in model.points.items())
        cache_key = (profile.model.id, type_.name, model.every, changes)
        if cache_key not in self._layouts:
            self._layouts[cache_key] = lay_out(model, profile, type_)
        return self._layouts[cache_key]

    def _demands(self, path: Steps, plan: DevicePlan, profile: Profile, sort: Hashable) -> tuple[Demand | None, ...]:
        """What reading the device costs; each *sort* of device is tried once, on a link that is never opened.

        That shows also what only the driver knows does not fit together (a point's kind and its encoding).
        """
        if sort not in self._tried:
            latency_s = plan.protocol.usual_latency_s if profile.model.latency is None else profile.model.latency
            self._tried[sort] = ()
            try:
                driver = _tried(plan)
                self._tried[sort] = tuple(
                    demand(driver, job, latency_s, plan.format)
                    for job in plan.jobs
                    if not job.spare  # it takes what is left
                )
            except ConfigError as exc:
                self._add((*path, "profile"), "E-POINT", *_said(exc))
        return self._tried[sort]

    def _check_writes(self, path: Steps, model: DeviceModel, profile: Profile) -> None:
        """What the site allows must be something that this device has and that its profile lets be written."""
        known = profile.model.points
        able = sorted(name for name, point in known.items() if point.writable)
        for index, name in enumerate(model.allow_write):
            place = (*path, "allow_write", index)
            if name not in known:
                self._check_reference(place, name, able or list(known), "测点", "point", "E-POINT")
            elif not known[name].writable:
                words = one_of(able)
                message = Text(
                    f"型号 {model.profile} 的测点 {quoted(name)} 不可写",
                    f"point {quoted(name)} of profile {model.profile} cannot be written",
                )
                hint = Text(f"可写：{words.zh}", f"it can write: {words.en}") if able else None
                self._add(place, "E-POINT", message, hint)
            elif name in model.points and model.points[name].skip:
                message = Text(
                    f"测点 {quoted(name)} 已被 skip 去掉", f"point {quoted(name)} is left out here by its skip"
                )
                self._add(place, "E-POINT", message)

    def _check_driver_writes(self, path: Steps, plan: DevicePlan) -> None:
        """Whether a protocol can write at all is its driver's word; each is asked once."""
        name = plan.protocol.name
        if not plan.allow_write:
            return
        if name not in self._writers:
            try:
                driver = _tried(plan)
            except ConfigError:
                return  # said already, where its costs were estimated
            self._writers[name] = isinstance(driver, Writable)
        if not self._writers[name]:
            self._refuse_writes(path, name)

    def _refuse_writes(self, path: Steps, name: str) -> None:
        message = Text(f"此版本的协议 {name} 不支持写入", f"this version cannot write over protocol {quoted(name)}")
        self._add((*path, "allow_write"), "E-PROTOCOL", message, Text("删去 allow_write", "delete allow_write"))

    def _load(self, index: int, devices: Sequence[DevicePlan], format_: SerialFormat | None) -> Load | None:
        """Refuses a schedule that cannot be kept, with the arithmetic."""
        demands = [each for plan in devices for each in plan.demands]
        if format_ is None or not demands or None in demands:
            return None
        load = line_load([each for each in demands if each is not None], format_)
        if load.share <= TIGHT:
            return load
        hint = Text(
            f"把各 every 放大到 {load.stretch:.1f} 倍，或分到多条线路，或提高 baud",
            f"make every {load.stretch:.1f} times as long, divide the devices among more lines, or raise baud",
        )
        how = load.arithmetic
        if load.share > FULL:
            message = Text(
                f"线路排不下：需要 {load.share:.0%} 的时间（{how.zh}）",
                f"the line cannot do it: polling needs {load.share:.0%} of its time ({how.en})",
            )
            self._add(("lines", index, "id"), "E-LOAD", message, hint)
        else:
            message = Text(f"线路很忙：{load.share:.0%}（{how.zh}）", f"the line is busy: {load.share:.0%} ({how.en})")
            self._add(("lines", index, "id"), "W-LOAD", message, hint, warning=True)
        return load

    # ------------------------------------------------------------------ what entries say of each other

    def _check_address(
        self, index: int, model: DeviceModel, plan: DevicePlan, taken: dict[Hashable, tuple[int, str]]
    ) -> None:
        for key in _ADDRESS_KEYS:
            address = getattr(plan.spec.options, key, None)
            if not isinstance(address, str | int):
                continue
            other, name = taken.setdefault((model.line, plan.protocol.name, key, address), (index, model.id))
            if other != index:
                line, _ = self._document.locate(("devices", other, key))
                message = Text(
                    f"线路 {model.line} 上的设备 {quoted(name)} 已用此地址",
                    f"device {quoted(name)} on line {model.line} already has this address",
                )
                hint = Text(f"见第 {line} 行", f"see line {line}")
                self._add(("devices", index, key), "E-ADDRESS", message, hint)
            return

    def _check_roles(self, path: Steps, model: DeviceModel) -> None:
        for role, device in model.roles.items():
            self._check_reference((*path, "roles", role), device, self._written("devices", "id"), "设备", "device")

    def _check_reference(
        self,
        path: Steps,
        word: str,
        known: Sequence[str] | frozenset[str],
        zh: str,
        en: str,
        code: str = "E-REF",
        *,
        key: bool = False,
    ) -> None:
        if word in known:
            return
        hint = None if self._report.crowded(self._document.file) else did_you_mean(word, known)
        if hint is None and 0 < len(known) <= _FEW:
            words = one_of(sorted(known))
            hint = Text(f"已有：{words.zh}", f"there are: {words.en}")
        self._add(path, code, Text(f"没有{zh} {quoted(word)}", f"there is no {en} {quoted(word)}"), hint, key=key)

    def _written(self, section: str, key: str) -> frozenset[str]:
        """Every *key* of a section as written, of faulty entries too: what refers to one is not a second fault."""
        if (section, key) not in self._words:
            entries = self._document.data.get(section) if isinstance(self._document.data, dict) else None
            found = (
                [entry.get(key) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
            )
            self._words[section, key] = frozenset(each for each in found if isinstance(each, str))
        return self._words[section, key]

    def _add(
        self,
        path: Steps,
        code: str,
        message: Text,
        hint: Text | None = None,
        *,
        key: bool = False,
        warning: bool = False,
    ) -> None:
        self._report.add(
            self._document.fault(self._document.known(path), code, message, hint, key=key, warning=warning)
        )


def _tried(plan: DevicePlan) -> Driver:
    """A driver on a connection that is never opened.  Raises ConfigError."""
    return plan.protocol.make(plan.spec, TcpLink("localhost", 1), _CLOCK)


def _said(exc: ConfigError) -> tuple[Text, Text | None]:
    """A driver's words, ``zh / en``."""
    zh, _, en = str(exc).partition(" / ")
    hint_zh, _, hint_en = (exc.hint or "").partition(" / ")
    return Text(zh, en or zh), Text(hint_zh, hint_en or hint_zh) if exc.hint else None


def _carries(line: LineModel, type_: ProtocolType) -> bool:
    if line.protocol is not None:
        return type_.name == line.protocol and type_.hub is not None
    if type_.hub is not None:
        return False
    return type_.serial is not None if line.serial is not None else type_.tcp


def check_unique(section: str, models: Mapping[int, Any], document: Document, report: Report) -> None:
    """The entries of one section (each has *id*) have different ids."""
    first: dict[str, int] = {}
    for index, model in models.items():
        if first.setdefault(model.id, index) != index:
            line, _ = document.locate((section, first[model.id], "id"))
            message = Text(f"编号 {quoted(model.id)} 重复", f"id {quoted(model.id)} is used twice")
            hint = Text(f"第 {line} 行已使用", f"it is used on line {line}")
            report.add(document.fault((section, index, "id"), "E-DUP", message, hint))


def _device_plan(
    model: DeviceModel,
    profile: Profile,
    type_: ProtocolType,
    options: BaseModel,
    layout: Layout,
    zone: tzinfo,
    place: Place,
) -> DevicePlan:
    prefix = f"{model.id}."
    specs = {
        (point := Point(id=prefix + name, **shared)).id: PointSpec(point, settings)
        for name, shared, settings in layout.points
    }
    points = tuple(spec.point for spec in specs.values())
    name = profile.model.name
    label = as_text(model.name) if model.name else Text(f"{name.zh} {model.id}", f"{name.en} {model.id}")
    device = Device(
        id=model.id,
        kind=model.kind or profile.model.kind,
        label=label,
        place=place,
        protocol=type_.name,
        points=(*points, *identity_check(points)),
        roles=dict(model.roles),
        area=model.area,
        actions={
            name: (prefix + action.point, action.value)
            for name, action in (profile.model.actions | model.actions).items()
            if prefix + action.point in specs
        },
    )
    timeout_s = model.timeout or type_.default_timeout_s
    jobs = tuple(
        Job(model.id, tuple(prefix + name for name in names), when.interval_s, when.at, when.spare)
        for when, names in layout.jobs
    )
    spec = DeviceSpec(model.id, options, specs, timeout_s, zone)
    allowed = frozenset(
        id_ for name in model.allow_write if (id_ := prefix + name) in specs and specs[id_].point.writable
    )
    sent = Sent(
        tuple(prefix + name for name in layout.sent),
        layout.silent_after_s,
        {prefix + name: interval_s for name, interval_s in layout.held},
    )
    return DevicePlan(
        device,
        type_,
        spec,
        jobs,
        serial_number=model.serial_number,
        allow_write=allowed,
        sent=sent if sent.points else None,
    )


def _with(base: SerialFormat, said: Mapping[str, Any]) -> SerialFormat:
    """*base* with what a file says of baud, parity, data_bits and stop_bits."""
    given: dict[str, Any] = {key: _PARITY[value] if key == "parity" else value for key, value in said.items()}
    return replace(base, **given)


def _short(format_: SerialFormat) -> str:
    return f"{format_.baud} {format_.data_bits}{format_.parity}{format_.stop_bits}"
