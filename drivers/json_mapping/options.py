"""What a device entry and a profile's point may say of JSON that others send, however it comes."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from drivers.code_tables import Codes, Values
from drivers.json_mapping.payload import steps
from drivers.json_mapping.records import Layout, Order, Type
from gateway.model import PERSONAL_ATTRIBUTES

MOST_TOPIC = 256

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def checked_topic(value: str) -> str:
    if not value or len(value) > MOST_TOPIC or any(character in value for character in "+#\0"):
        raise ValueError(f"主题不能为空，不能含 + 与 # / a topic of 1 to {MOST_TOPIC} characters without + and #")
    if value.startswith("/") or value.endswith("/"):
        raise ValueError("主题首尾不加 / / no / at the begin and the end")
    return value


def checked_segment(value: str) -> str:
    checked_topic(value)
    if "/" in value:
        raise ValueError("不能含 / / no / in it")
    return value


def checked_pattern(value: str) -> str:
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


def _whole(value: object) -> object:
    return int(value, 16) if isinstance(value, str) and value.lower().startswith("0x") else value


def _event_kind(value: str) -> str:
    if not _KIND.fullmatch(value) or len(value) > 64:
        raise ValueError("事件种类如 locker.opened / a kind of event is like locker.opened")
    return value


def _names(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: 名称为小写字母、数字和下划线 / a name has small letters, digits and _")
    return value


Path_ = Annotated[str, AfterValidator(_path)]
Paths = Annotated[dict[str, Path_], AfterValidator(_names), Field(max_length=32)]
Factor = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
Whole = Annotated[int, BeforeValidator(_whole)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ValueOptions(Options):
    """How a raw value becomes the point's."""

    values: Codes = {}
    """Raw value -> value; ``"*"`` is every other.  A code that is not listed is ``out_of_range``.
    Or the name of a table: ``lift/platform_a``."""
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


class MappedPointOptions(RecordOptions):
    path: Path_ | None = None
    """In the payload."""
    record: Path_ | None = None
    """Where the payload holds a record as base64; ``byte`` and ``format`` then say which number of it."""
    topic: Annotated[str, AfterValidator(checked_topic)] | None = None
    """Only of topics (over HTTP: paths) that end in these levels."""
    when: Values = {}
    """Only of payloads in which each of these paths has this value."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.record is None):
            raise ValueError("须有 path 或 record 之一 / give either path or record")
        if (self.record is None) != (self.byte is None):
            raise ValueError("record 与 byte 须同时给出 / record and byte go together")
        return self


class EventOptions(Options):
    """A payload that tells of something that has happened."""

    kind: Annotated[str, AfterValidator(_event_kind)]
    topic: Annotated[str, AfterValidator(checked_topic)] | None = None
    when: Values = {}
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
