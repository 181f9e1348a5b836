"""What a line, a device entry and a profile's point may say for the three ways of speaking MQTT in a compound."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from drivers.json_mapping.options import (
    MOST_TOPIC,
    EventOptions,
    MappedPointOptions,
    Options,
    Path_,
    RecordOptions,
    TimeOptions,
    ValueOptions,
    checked_pattern,
    checked_segment,
    checked_topic,
)
from drivers.mqtt_client.config import BrokerOptions

_EUI = re.compile(r"[0-9a-f]{16}")


def _friendly(value: str) -> str:
    checked_topic(value)
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


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else value


Port = Annotated[int, Field(ge=1, le=255)]
Tag = Annotated[str, AfterValidator(_tag)]
Downlinks = Annotated[dict[str, Annotated[str, AfterValidator(_hex)]], Field(max_length=32)]


# ---------------------------------------------------------------------- the line


class ZigbeeHubOptions(BrokerOptions):
    prefix: Annotated[str, AfterValidator(checked_topic)] = "zigbee2mqtt"
    """``mqtt.base_topic`` of Zigbee2MQTT."""


class ChirpstackHubOptions(BrokerOptions):
    prefix: Annotated[str, AfterValidator(checked_topic)] = "application"
    """What stands before the application's id in ``event_topic``."""
    application: Annotated[str, AfterValidator(checked_segment)] | None = None
    """Only this application's devices; any where left out."""


class JsonHubOptions(BrokerOptions):
    pass


# ---------------------------------------------------------------------- points


class ZigbeePointOptions(ValueOptions):
    property: Path_ | None = None
    """Key of the state; the point's own name where left out."""
    settle_s: float = Field(default=0.5, ge=0, le=600)


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
    down: Downlinks = Field(default_factory=dict)
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
        checked_topic(self.topic.replace("{address}", "a"))
        if "{address}" not in self.topic.split("/"):
            raise ValueError("命令主题须有一级为 {address} / one level of a command's topic must be {address}")
        return self


class JsonPointOptions(MappedPointOptions):
    command: CommandOptions | None = None
    """How the point is written, if it is writable; confirmed by the device's next word on the same point."""
    settle_s: float = Field(default=0.5, ge=0, le=600)


# ---------------------------------------------------------------------- devices


class ZigbeeOptions(Options):
    address: Annotated[str, AfterValidator(_friendly)]
    """The friendly name in Zigbee2MQTT."""


class ChirpstackOptions(Options):
    address: Annotated[str, AfterValidator(_eui)]
    """DevEUI."""
    tags: Annotated[dict[Tag, Annotated[int, Field(ge=0, le=64)]], Field(max_length=64)] = Field(default_factory=dict)
    """Of a device whose payload is channel, type, value, and so on: how many bytes the value of each has."""


class JsonOptions(Options):
    address: Annotated[str, AfterValidator(checked_segment)]
    topic: Annotated[str, AfterValidator(checked_pattern)]
    """``bins/{address}/status``"""
    time: TimeOptions | None = None
    identity: Path_ | None = None
    """Where the payload repeats the address; a payload with another one is refused."""
    events: Annotated[list[EventOptions], Field(max_length=32)] = Field(default_factory=list)
