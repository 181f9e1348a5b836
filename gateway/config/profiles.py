"""Device profiles: found, read and checked once each, however many devices use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

import gateway
from drivers.base import ProtocolType
from drivers.registry import PackagesMissing, protocol, protocols
from gateway.config.action_keys import action_faults
from gateway.config.explain import explain, parse
from gateway.config.faults import Report, did_you_mean, one_of, quoted
from gateway.config.models import ProfileFile, ProfilePoint
from gateway.config.yaml12 import Document, read_yaml
from gateway.identity import CHECK_POINT
from gateway.model import Text


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile and, for every protocol it may be read with, the protocol's own settings of each point."""

    model: ProfileFile
    document: Document
    options: Mapping[str, Mapping[str, BaseModel]]
    """protocol name -> point name -> an instance of the protocol's ``point_options``."""
    types: Mapping[str, ProtocolType]


class Profiles:
    """The site's own profiles (DIRECTORY/devices) in front of the shipped ones."""

    def __init__(self, directory: Path, report: Report) -> None:
        self._report = report
        shipped = {path.stem: path for path in sorted(shipped_profiles().glob("*.yaml"))}
        self._own = {path.stem: path for path in sorted((directory / "devices").glob("*.yaml"))}
        self._files = shipped | self._own
        self._loaded: dict[str, Profile | None] = {}
        self.bytes_of: dict[str, bytes] = {}
        """What has been read: a name that says where from -> content."""

    @property
    def names(self) -> list[str]:
        return sorted(self._files)

    @property
    def own(self) -> list[str]:
        """The site's."""
        return sorted(self._own)

    def add(self, path: Path) -> str:
        """Take in a profile from anywhere, in front of all others; its name."""
        self._own[path.stem] = self._files[path.stem] = path
        return path.stem

    def get(self, name: str) -> Profile | None:
        """The profile, or None when it has faults (which are in the report).  Raises KeyError for an unknown name."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def check_own(self) -> None:
        """Read every profile of the site, those that no device uses too."""
        for name in self._own:
            self.get(name)

    def _load(self, name: str) -> Profile | None:
        path = self._files[name]
        document, content = read_yaml(path, str(path))
        self.bytes_of[f"{'devices' if name in self._own else 'shipped'}/{path.name}"] = content
        self._report.extend(document.faults)
        return None if document.broken else self._profile(name, document)

    def _profile(self, name: str, document: Document) -> Profile | None:
        try:
            model = parse(ProfileFile, document.data)
        except ValidationError as exc:
            self._report.extend(explain(exc, ProfileFile, document))
            return None
        before = len(self._report.faults)
        if model.id != name:
            message = Text(f"编号应与文件名相同：{name}", f"the id must be the file's name: {name}")
            self._report.add(document.fault(("id",), "E-ID", message))
        if CHECK_POINT in model.points:
            message = Text(f"测点名 {CHECK_POINT} 由网关保留", f"the gateway keeps the name {CHECK_POINT} for itself")
            self._report.add(document.fault(("points", CHECK_POINT), "E-POINT", message, key=True))
        for point in model.points:
            self._check_point(model.points[point], ("points", point), document)
        self._report.extend(action_faults(document, ("actions",), model.actions, model.points))
        types = self._types(model, document)
        options = {each.name: self._options(model, each, document) for each in types}
        if document.faults or len(self._report.faults) > before:
            return None
        return Profile(model, document, options, {each.name: each for each in types})

    def _types(self, model: ProfileFile, document: Document) -> list[ProtocolType]:
        found = []
        for index, name in enumerate(model.protocols):
            try:
                found.append(protocol(name))
            except KeyError:
                known = protocols()
                words = one_of(known)
                hint = did_you_mean(name, known) or Text(f"可用：{words.zh}", f"there are: {words.en}")
                message = Text(f"未知的协议 {quoted(name)}", f"unknown protocol {quoted(name)}")
                self._report.add(document.fault(("protocols", index), "E-PROTOCOL", message, hint))
            except PackagesMissing as exc:
                message = Text(f"协议 {quoted(name)} 所需的程序包未安装", str(exc))
                self._report.add(
                    document.fault(("protocols", index), "E-PROTOCOL", message, Text(exc.install, exc.install))
                )
        return found

    def _options(self, model: ProfileFile, type_: ProtocolType, document: Document) -> Mapping[str, BaseModel]:
        self._check_defaults(model.device, type_, document)
        options: dict[str, BaseModel] = {}
        for name, point in model.points.items():
            try:
                options[name] = parse(type_.point_options, point.model_extra or {})
            except ValidationError as exc:
                self._report.extend(
                    explain(exc, type_.point_options, document, ("points", name), allowed=ProfilePoint.model_fields)
                )
        return options

    def _check_defaults(self, defaults: Mapping[str, Any], type_: ProtocolType, document: Document) -> None:
        """The profile's device options, as far as they go: what only a device can know (its address) may be missing."""
        try:
            parse(type_.device_options, defaults)
        except ValidationError as exc:
            faults = explain(exc, type_.device_options, document, ("device",))
            self._report.extend(fault for fault in faults if fault.code != "E-MISSING")

    def _check_point(self, point: ProfilePoint, path: tuple[str, ...], document: Document) -> None:
        if (point.kind == "state") != bool(point.states):
            message = Text(
                "kind: state 与 states（状态词）必须同时给出", "kind: state and states (its words) go together"
            )
            self._report.add(document.fault((*path, "kind"), "E-POINT", message))
        if (point.spare and (point.on_demand or point.at)) or (point.on_demand and point.at):
            message = Text("at、spare、on_demand 只能有一个", "only one of at, spare and on_demand can be meant")
            self._report.add(document.fault((*path, "at" if point.at else "spare"), "E-POINT", message, key=True))
        if point.hold is not None and point.sent is False:
            message = Text("hold 只用于设备主动上报的测点", "hold is for points that the device sends")
            self._report.add(document.fault((*path, "hold"), "E-POINT", message, key=True))
        if point.sent and (point.spare or point.on_demand or point.at):
            message = Text(
                "主动上报（sent）的测点不按计划读取，不能写 at、spare、on_demand",
                "what is sent is not asked for: at, spare and on_demand do not go with it",
            )
            self._report.add(document.fault((*path, "sent"), "E-POINT", message, key=True))
        if point.commands and not (point.writable and set(point.commands) <= set(point.states)):
            message = Text(
                "commands 是可写状态点 states 中允许下达的词",
                "commands are those of a writable point's states that may be set",
            )
            self._report.add(document.fault((*path, "commands"), "E-POINT", message, key=True))
        if point.identity and (point.counter or point.kind not in ("text", "number")):
            message = Text("identity 用于出厂编号（text 或 number）", "identity is for a serial number: text or number")
            self._report.add(document.fault((*path, "identity"), "E-POINT", message))
        if point.minimum is not None and point.maximum is not None and point.minimum > point.maximum:
            message = Text("minimum 大于 maximum", "minimum is more than maximum")
            self._report.add(document.fault((*path, "minimum"), "E-VALUE", message))
        if point.kind != "number" and (point.unit, point.minimum, point.maximum, point.counter) != (
            None,
            None,
            None,
            False,
        ):
            message = Text(
                "unit、minimum、maximum、counter 只用于数值", "unit, minimum, maximum and counter are for numbers only"
            )
            self._report.add(document.fault((*path, "kind"), "E-POINT", message))


def shipped_config() -> Path:
    """The configuration that comes with the product: inside the package when installed, beside it in a checkout."""
    package = Path(gateway.__file__).parent
    installed = package / "share" / "config"
    return installed if installed.is_dir() else package.parent / "config"


def shipped_profiles() -> Path:
    return shipped_config() / "devices"
