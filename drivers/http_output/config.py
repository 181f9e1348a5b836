"""What device entries and points may say about outputs that are reached by HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

PLACEHOLDERS: Final = ("text", "file", "volume")
_PLACEHOLDER: Final = re.compile(r"\{(\w*)\}")
_MOST_JSON = 200
"""Values in a JSON template."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HubOptions(Options):
    """The line has nothing to say: each device has its own address."""


def _template(written: str) -> str:
    unknown = sorted({name for name in _PLACEHOLDER.findall(written) if name not in PLACEHOLDERS})
    if unknown:
        raise ValueError(
            f"未知的占位符 {{{unknown[0]}}} / unknown placeholder; there are: {{text}}, {{file}}, {{volume}}"
        )
    return written


def _base(written: str) -> str:
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("应为 http:// 或 https:// 加主机 / http:// or https:// and a host, no user name")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("只写到主机和端口，路径写在请求里 / host and port only; the path belongs to the request")
    return written.rstrip("/")


def _path(written: str) -> str:
    if not written.startswith("/") or any(character.isspace() for character in written):
        raise ValueError("路径以 / 开头，不含空格 / a path begins with / and has no blanks")
    return _template(written)


Template = Annotated[str, AfterValidator(_template)]


class Request(Options):
    """One HTTP request as data.  ``{text}``, ``{file}`` and ``{volume}`` are replaced in path, query, form and JSON."""

    method: Literal["GET", "POST", "PUT"] = "POST"
    path: Annotated[str, AfterValidator(_path)]
    query: dict[str, Template] = {}
    form: dict[str, Template] = {}
    json_: Any = Field(default=None, alias="json")
    """A JSON value; a text that is ``{volume}`` and nothing else becomes a number."""
    headers: dict[str, str] = {}
    expect: list[Annotated[int, Field(ge=200, le=299)]] = []
    """Statuses that mean yes; every 2xx where nothing is said."""
    expect_json: dict[str, str | int | bool] = {}
    """What the answer's JSON object must say beside the status: ``{code: 0}``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.form and self.json_ is not None:
            raise ValueError("form 与 json 只能有一个 / either form or json")
        if self.method == "GET" and (self.form or self.json_ is not None):
            raise ValueError("GET 没有正文 / a GET has no body")
        texts = list(_texts(self.json_))
        if len(texts) > _MOST_JSON:
            raise ValueError("json 过大 / json is too large")
        for text in texts:
            _template(text)
        if any("\n" in each or "\r" in each for pair in self.headers.items() for each in pair):
            raise ValueError("headers 不得换行 / no line breaks in headers")
        return self


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


class SpeakerOptions(Options):
    """A loudspeaker, or the server of many."""

    url: Annotated[str, AfterValidator(_base)]
    """Scheme, host, port: ``http://192.168.1.60``."""
    auth: Literal["none", "basic", "digest"] = "none"
    credentials_file: Path | None = None
    """Its first line: ``user:password``."""
    ca_file: Path | None = None
    """Whom to trust beside the system's authorities, for a device with a certificate of its own."""
    volume: int = Field(default=80, ge=0, le=100)
    """Where an announcement says none."""
    play: Request | None = None
    """Plays ``{file}``."""
    say: Request | None = None
    """Speaks ``{text}``."""
    stop: Request | None = None
    check: Request | None = None
    """Asked at every poll: any answer means that the device is there.  Without it nobody notices that it is gone."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.auth == "none") != (self.credentials_file is None):
            raise ValueError("auth 与 credentials_file 必须同时给出 / auth and credentials_file go together")
        return self


class Announcement(Options):
    """What one word of the point stands for: a file that the device has, or a text that it can speak."""

    file: str | None = Field(default=None, min_length=1, max_length=200)
    text: str | None = Field(default=None, min_length=1, max_length=500)
    volume: int | None = Field(default=None, ge=0, le=100)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.text is None):
            raise ValueError("file 与 text 必须且只能给出一个 / exactly one of file and text")
        return self


class SpeakerPointOptions(Options):
    field: Literal["announcement", "text", "online"]
    """``announcement``: a state, whose words are announced; ``text``: whatever is written is spoken; ``online``
    (boolean): the device has answered ``check``."""
    announcements: dict[str, Announcement] = {}
    """Word -> what is announced.  ``stop`` sends the request of that name, and ``idle`` is never sent."""


def _webhook_url(written: str) -> str:
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("应为完整的 https:// 地址 / a whole https:// address, no user name")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("只允许 https（本机除外）/ https only, except to this machine")
    return written


class WebhookOptions(Options):
    url: Annotated[str, AfterValidator(_webhook_url)]
    key_file: Path
    """The secret that both sides know, 16 bytes at least; white space around it does not count."""
    ca_file: Path | None = None
    tries: int = Field(default=1, ge=1, le=3)
    """More than one only where the receiver drops what comes again under the same Idempotency-Key."""


class WebhookPointOptions(Options):
    """A point has nothing to say: its name and value are sent."""
