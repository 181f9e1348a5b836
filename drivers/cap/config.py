"""What a line, a device entry and a profile's point may say about official warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.cap.area import Site
from drivers.cap.events import HAZARDS
from drivers.hub import Address
from drivers.mqtt_client.config import TlsOptions

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _url(written: str) -> str:
    parts = urlsplit(written)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(
            "应为 http:// 或 https:// 地址，不含用户名 / http:// or https:// with a host, no user name; a token goes "
            "into token_file"
        )
    return written


def _absolute(written: str) -> str:
    if not written.startswith("/"):
        raise ValueError("应为绝对路径 / the whole path, from / on")
    return written


class CapHubOptions(Options):
    """Where the messages come from: a directory, a URL or a topic of a broker."""

    directory: Annotated[str, AfterValidator(_absolute)] | None = None
    """Polled for files ``*.xml`` and ``*.cap``; whoever writes them renames a finished file into it."""
    url: Annotated[str, AfterValidator(_url)] | None = None
    """Polled by GET; answers with one message, or with an element that holds several."""
    broker: Address | None = None
    """Listened to; each message of *topic* is one document."""
    topic: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Of a broker; may have wildcards."""
    username: str | None = None
    password_file: Path | None = None
    tls: TlsOptions | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """Of a broker; ``compound-gateway-`` and the line's id unless given."""
    token_file: Path | None = None
    """Of a url: a file whose first line is sent as a bearer token."""
    poll_s: float = Field(default=60.0, ge=0.1, le=3600)
    """Of a url 5 at least; a broker is looked at every second."""
    timeout_s: float = Field(default=20.0, gt=0, le=300)
    """Of a url: for one question and its whole answer."""
    stale_after_s: float | None = Field(default=None, ge=60)
    """Of a directory: when nothing in it has been written for so long, its source counts as failed.  Whoever fills it
    touches any file in it (``heartbeat``) more often than that."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(each is not None for each in (self.directory, self.url, self.broker)) != 1:
            raise ValueError("directory、url、broker 必须且只能给出一个 / exactly one of directory, url and broker")
        if (self.broker is None) != (self.topic is None):
            raise ValueError("broker 与 topic 必须同时给出 / broker and topic go together")
        if self.broker is None and (self.username or self.password_file or self.tls or self.client_id):
            raise ValueError(
                "username、password_file、tls、client_id 只用于 broker / "
                "username, password_file, tls and client_id belong to broker"
            )
        if self.password_file is not None and self.username is None:
            raise ValueError("有 password_file 时须有 username / password_file needs username")
        if self.url is not None and self.poll_s < 5:
            raise ValueError("poll_s 至少为 5 / poll_s is at least 5 with a url")
        if self.token_file is not None and self.url is None:
            raise ValueError("token_file 只用于 url / token_file belongs to url")
        if self.stale_after_s is not None and self.directory is None:
            raise ValueError("stale_after_s 只用于 directory / stale_after_s belongs to directory")
        if self.url is not None and self.token_file is not None:
            parts = urlsplit(self.url)
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise ValueError(
                    "令牌不得经 http 明文发送，请用 https / a token is not sent over plain http: use https"
                )
        return self

    @property
    def pace_s(self) -> float:
        return 1.0 if self.broker is not None else self.poll_s


def _code(written: str) -> str:
    code = written.strip()
    if not code or len(code) > 40 or not code.isascii() or not code.isalnum():
        raise ValueError("行政区划代码，如 410105 / an area code such as 410105")
    if code.isdecimal() and not 2 <= len(code) <= 12:
        raise ValueError("行政区划代码 2 至 12 位 / an area code has 2 to 12 digits")
    return code


class CapOptions(Options):
    """For which place warnings count."""

    areas: list[Annotated[str, AfterValidator(_code)]]
    """Codes of administrative areas, as text: the compound's district is best, ``["410105"]``.  Empty where only the
    position is to count."""
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)
    """WGS 84; for messages that have a polygon or circle and no codes."""

    @model_validator(mode="after")
    def _some_place(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude 与 longitude 必须同时给出 / latitude and longitude go together")
        if not self.areas and self.latitude is None:
            raise ValueError(
                '请给出 areas（如 ["410105"]）或经纬度 / say areas, such as ["410105"], or latitude and longitude'
            )
        return self

    @property
    def site(self) -> Site:
        if self.latitude is None or self.longitude is None:
            return Site(tuple(self.areas))
        return Site(tuple(self.areas), (self.latitude, self.longitude))


def _hazard(name: str) -> str:
    if name not in HAZARDS:
        raise ValueError(f"可用：{'、'.join(HAZARDS)} / there are: {', '.join(HAZARDS)}")
    return name


class CapPointOptions(Options):
    """Either of one hazard, or of the source as a whole."""

    hazard: Annotated[str, AfterValidator(_hazard)] | None = None
    tells: Literal["colour", "until"] = "colour"
    """The colour in force (a state), or until when (a number: UTC seconds since 1970; 0 while nothing is)."""
    source: Literal["ok", "age", "count", "headline"] | None = None
    """``ok`` (boolean): the last look at the source succeeded.  ``age`` (number, s): since its latest message, for
    whatever area, was sent.  ``count`` (number): warnings in force here.  ``headline`` (text): of the most severe."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.hazard is None) == (self.source is None):
            raise ValueError("hazard 与 source 必须且只能给出一个 / exactly one of hazard and source")
        return self

    @property
    def kind(self) -> str:
        """Of the point, as ``ValueKind`` has it."""
        if self.source is None:
            return "state" if self.tells == "colour" else "number"
        return {"ok": "boolean", "headline": "text"}.get(self.source, "number")
