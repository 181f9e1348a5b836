"""What a line, a device entry and a profile's point may say for the three ways of speaking MQTT in a compound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from drivers.hub import Address
from drivers.mqtt_south.payload import steps
from drivers.mqtt_south.records import Layout, Order, Type
from gateway.model import PERSONAL_ATTRIBUTES

MOST_TOPIC = 256

_EUI = re.compile(r"[0-9a-f]{16}")
_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def _topic(value: str) -> str:
    if not value or len(value) > MOST_TOPIC or any(character in value for character in "+#\0"):
        raise ValueError(f"主题不能为空，不能含 + 与 # / a topic of 1 to {MOST_TOPIC} characters without + and #")
    if value.startswith("/") or value.endswith("/"):
        raise ValueError("主题首尾不加 / / no / at the begin and the end")
    return value


def _friendly(value: str) -> str:
    _topic(value)
    if value.split("/")[0] == "bridge" or value.split("/")[-1] in ("availability", "set", "get"):
        raise ValueError(
            "bridge、availability、set、get 由 Zigbee2MQTT 保留 / bridge, availability, set, get are its own"
        )
    return value


def _eui(value: str) -> str:
    digits = value.strip().lower().replace("-", "").replace(":", "")
    if not _EUI.fullmatch(digits):
        raise ValueError("DevEUI 为 16 位十六进制数 / a DevEUI has 16 hex digits")
    return digits


def _segment(value: str) -> str:
    _topic(value)
    if "/" in value:
        raise ValueError("不能含 / / no / in it")
    return value


def _pattern(value: str) -> str:
    """``bins/{address}/#``: whole levels may be ``{address}`` (once), ``+``, and ``#`` at the end."""
    levels = value.split("/")
    if len(value) > MOST_TOPIC or not all(levels) or levels.count("{address}") != 1 or "#" in levels[:-1]:
        raise ValueError(
            "主题须恰有一级为 {address}，# 只能在末级 / one level must be {address}; # only as the last one"
        )
    if any(set("+#{}\0") & set(level) for level in levels if level not in ("{address}", "+", "#")):
        raise ValueError("+、#、{address} 须独占一级 / +, # and {address} are whole levels")
    return value


def _path(value: str) -> str:
    if not value or len(value) > MOST_TOPIC or not all(steps(value)):
        raise ValueError("路径如 a.b.0 或 /a.x/b / a path is a.b.0, or /a.x/b where a key has a dot")
    return value


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else value


def _whole(value: object) -> object:
    return int(value, 16) if isinstance(value, str) and value.lower().startswith("0x") else value


def _hex(value: str) -> str:
    try:
        bytes.fromhex(value)
    except ValueError:
        raise ValueError("应为十六进制字节，如 01FF / bytes as hex digits, 01FF") from None
    return value


def _tag(value: str) -> str:
    if len(_hex(value)) != 4:
        raise ValueError("标签为通道与类型两字节，如 0175 / a tag is two bytes, channel and type: 0175")
    return value.lower()


def _event_kind(value: str) -> str:
    if not _KIND.fullmatch(value) or len(value) > 64:
        raise ValueError("事件种类如 locker.opened / a kind of event is like locker.opened")
    return value


def _names(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: 名称为小写字母、数字和下划线 / a name has small letters, digits and _")
    return value


Port = Annotated[int, Field(ge=1, le=255)]
Path_ = Annotated[str, AfterValidator(_path)]
Paths = Annotated[dict[str, Path_], AfterValidator(_names), Field(max_length=32)]
Factor = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Whole = Annotated[int, BeforeValidator(_whole)]
Mapping_ = Annotated[dict[str, bool | int | float | str], Field(max_length=256)]
Tag = Annotated[str, AfterValidator(_tag)]
Codes = Annotated[dict[str, Annotated[str, AfterValidator(_hex)]], Field(max_length=32)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------- the line


class TlsOptions(Options):
    ca: Path | None = None
    """PEM; left out: the system's own authorities."""
    certificate: Path | None = None
    key: Path | None = None


class BrokerOptions(Options):
    broker: Address
    username: str | None = None
    password_file: Path | None = None
    """A file with nothing but the password; the password itself never stands in site.yaml."""
    tls: TlsOptions | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """``compound-gateway-`` and the line's id unless given.  Two clients of one id throw each other out."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("有 password_file 时须有 username / password_file needs username")
        return self


class ZigbeeHubOptions(BrokerOptions):
    prefix: Annotated[str, AfterValidator(_topic)] = "zigbee2mqtt"
    """``mqtt.base_topic`` of Zigbee2MQTT."""


class ChirpstackHubOptions(BrokerOptions):
    prefix: Annotated[str, AfterValidator(_topic)] = "application"
    """What stands before the application's id in ``event_topic``."""
    application: Annotated[str, AfterValidator(_segment)] | None = None
    """Only this application's devices; any where left out."""


class JsonHubOptions(BrokerOptions):
    pass


# ---------------------------------------------------------------------- points


class ValueOptions(Options):
    """How a raw value becomes the point's."""

    values: Mapping_ = {}
    """Raw value -> value; ``"*"`` is every other.  A code that is not listed is ``out_of_range``."""
    scale: Factor = 1.0
    offset: Factor = 0.0
    """value = raw * scale + offset"""
    steps: Annotated[list[tuple[float, bool | str]], Field(max_length=16)] = []
    """A number as a word: the first of these whose bound it is below.  ``[[20, low], [101, good]]``"""
    clamp: tuple[Factor, Factor] | None = None
    """A number below or above counts as the limit: a bin that is fuller than full."""
    pulse_s: float = Field(default=0, ge=0, le=86400)
    """Of a boolean that is only ever said to be true (a button): false again so many seconds later."""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if abs(self.scale) < 1e-12:
            raise ValueError("系数不能为 0 / a scale of 0 leaves nothing")
        return self


class ZigbeePointOptions(ValueOptions):
    property: Path_ | None = None
    """Key of the state; the point's own name where left out."""
    settle_s: float = Field(default=0.5, ge=0, le=600)


class RecordOptions(ValueOptions):
    """A number in a fixed binary record."""

    byte: int | None = Field(default=None, ge=-1024, le=1024)
    """Where it begins, from 0; from the end where negative."""
    format: Type = Type.U8
    order: Order = Order.BIG
    mask: Whole | None = Field(default=None, ge=1, le=0xFFFFFFFF)

    @property
    def layout(self) -> Layout | None:
        return None if self.byte is None else Layout(self.byte, self.format, self.order, self.mask)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        written = self.model_fields_set & {"format", "order", "mask"}
        if self.byte is None and written:
            raise ValueError(f"{', '.join(sorted(written))} 需要 byte / needs byte")
        if self.mask is not None and (self.format not in _INTEGERS or self.mask >> 8 * self.format.size):
            raise ValueError(f"{self.format} 没有这些位 / a {self.format} has no such bits")
        return self


_INTEGERS = frozenset({Type.U8, Type.S8, Type.U16, Type.S16, Type.U24, Type.S24, Type.U32, Type.S32})

Meta = Literal["rssi", "snr", "fcnt", "battery", "margin", "external_power", "fport"]


_PORT = {"type": "integer", "minimum": 1, "maximum": 255}
_PORTS = {"anyOf": [_PORT, {"type": "array", "items": _PORT, "maxItems": 16}]}
"""One, or a list of them: how it is written."""


class ChirpstackPointOptions(RecordOptions):
    path: Path_ | None = None
    """In ``object``, which a codec in ChirpStack has made."""
    meta: Meta | None = None
    """What the network server itself knows: rssi (dBm, of the best gateway), snr (dB), battery (%), margin (dB) ..."""
    tag: Tag | None = None
    """``byte`` counts within the value of this channel and type; see ``tags`` of the device."""
    fport: Annotated[tuple[Port, ...], BeforeValidator(_listed), Field(max_length=16), WithJsonSchema(_PORTS)] = ()
    """Only of uplinks to these ports.  Downlinks of a writable point go to the first."""
    down: Codes = {}
    """Of a writable point: its value -> the bytes of the downlink, as hex."""
    confirmed: bool = True
    """Whether the device must acknowledge a downlink; else the write is done when a gateway has sent it."""
    settle_s: float = Field(default=0, ge=0, le=600)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is None and self.byte is None and self.meta is None and not self.down:
            raise ValueError("须有 path、byte 或 meta / one of path, byte and meta must be given")
        if self.meta is not None and (self.path is not None or self.byte is not None):
            raise ValueError("meta 不与 path、byte 并用 / meta stands alone")
        if self.down and not self.fport:
            raise ValueError("down 需要 fport / down needs fport")
        return self


class CommandOptions(Options):
    topic: Annotated[str, Field(max_length=MOST_TOPIC)]
    """With ``{address}``: ``home/{address}/set``."""
    payload: Any = "{value}"
    """A text, or a JSON object; each text ``{value}`` in it becomes the value that is written."""

    @model_validator(mode="after")
    def _sendable(self) -> Self:
        _topic(self.topic.replace("{address}", "a"))
        if "{address}" not in self.topic.split("/"):
            raise ValueError("命令主题须有一级为 {address} / one level of a command's topic must be {address}")
        return self


class JsonPointOptions(RecordOptions):
    path: Path_ | None = None
    """In the payload."""
    record: Path_ | None = None
    """Where the payload holds a record as base64; ``byte`` and ``format`` then say which number of it."""
    topic: Annotated[str, AfterValidator(_topic)] | None = None
    """Only of topics that end in these levels."""
    when: Mapping_ = {}
    """Only of payloads in which each of these paths has this value."""
    command: CommandOptions | None = None
    """How the point is written, if it is writable; confirmed by the device's next word on the same point."""
    settle_s: float = Field(default=0.5, ge=0, le=600)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.record is None):
            raise ValueError("须有 path 或 record 之一 / give either path or record")
        if (self.record is None) != (self.byte is None):
            raise ValueError("record 与 byte 须同时给出 / record and byte go together")
        return self


# ---------------------------------------------------------------------- devices


class ZigbeeOptions(Options):
    address: Annotated[str, AfterValidator(_friendly)]
    """The friendly name in Zigbee2MQTT."""


class ChirpstackOptions(Options):
    address: Annotated[str, AfterValidator(_eui)]
    """DevEUI."""
    tags: Annotated[dict[Tag, Annotated[int, Field(ge=0, le=64)]], Field(max_length=64)] = {}
    """Of a device whose payload is channel, type, value, and so on: how many bytes the value of each has."""


class EventOptions(Options):
    """A payload that tells of something that has happened."""

    kind: Annotated[str, AfterValidator(_event_kind)]
    topic: Annotated[str, AfterValidator(_topic)] | None = None
    when: Mapping_ = {}
    """Path -> the value that it must have; ``"*"`` is any value but null."""
    attributes: Paths = {}
    """Attribute -> path."""
    constants: Annotated[dict[str, bool | int | float | str], AfterValidator(_names)] = {}
    """Attribute -> what it always is."""
    personal: Paths = {}
    """Attributes that name a person: -> path.  They leave the gateway as pseudonyms only."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if not self.when and self.topic is None:
            raise ValueError("须有 when 或 topic，否则每条消息都是事件 / when or topic, else every message is an event")
        strange = sorted(set(self.personal) - PERSONAL_ATTRIBUTES)
        if strange:
            known = ", ".join(sorted(PERSONAL_ATTRIBUTES))
            raise ValueError(f"personal 的属性名只能是：{known} / personal attributes are called {known}")
        names = [*self.attributes, *self.constants, *self.personal]
        if len(set(names)) < len(names):
            raise ValueError("属性名重复 / an attribute is named twice")
        return self


class TimeOptions(Options):
    """Where a message says when it was."""

    path: Path_ | None = None
    record: Path_ | None = None
    byte: int | None = None
    order: Order = Order.LITTLE
    within_s: float = Field(default=600, ge=1, le=30 * 86400)
    """How far from the gateway's clock the device's may be to be believed."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.record is None) or (self.record is None) != (self.byte is None):
            raise ValueError("须有 path，或 record 与 byte / give path, or record and byte (seconds since 1970, u32)")
        return self


class JsonOptions(Options):
    address: Annotated[str, AfterValidator(_segment)]
    topic: Annotated[str, AfterValidator(_pattern)]
    """``bins/{address}/status``"""
    time: TimeOptions | None = None
    identity: Path_ | None = None
    """Where the payload repeats the address; a payload with another one is refused."""
    events: Annotated[list[EventOptions], Field(max_length=32)] = []
