"""What a line, a device entry and a profile's point may say for boxes that post JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from drivers.http_options import HttpSenderOptions
from drivers.json_mapping.options import (
    MOST_TOPIC,
    EventOptions,
    MappedPointOptions,
    Path_,
    TimeOptions,
    checked_segment,
)

MOST_ANSWER_BYTES = 4096
_PLACES = ("{address}", "{token}")


def _url_path(written: str) -> str:
    """``/lift/{address}/+``: whole levels may be ``{address}``, ``{token}``, ``+``, and ``#`` at the end."""
    levels = written.removeprefix("/").split("/")
    if len(written) > MOST_TOPIC or "#" in levels[:-1] or (not all(levels) and levels != [""]):
        raise ValueError("路径如 /lift/{address}/+，# 只能在末级 / a path is like /lift/{address}/+; # only last")
    if any(levels.count(place) > 1 for place in _PLACES):
        raise ValueError("{address}、{token} 各至多一次 / {address} and {token} once at most")
    if any(set("+#{}?\0 ") & set(level) for level in levels if level not in (*_PLACES, "+", "#")):
        raise ValueError("+、#、{address}、{token} 须独占一级 / +, #, {address} and {token} are whole levels")
    return "/".join(levels)


def _answer(said: Any) -> Any:
    try:
        length = len(json.dumps(said, allow_nan=False).encode())
    except (ValueError, TypeError, RecursionError):
        raise ValueError("应为 JSON 或文本 / JSON, or a text") from None
    if length > MOST_ANSWER_BYTES:
        raise ValueError(f"至多 {MOST_ANSWER_BYTES} 字节 / at most {MOST_ANSWER_BYTES} bytes")
    return said


class HttpJsonOptions(HttpSenderOptions):
    """How one box is recognised (everything that is written here must agree), read and answered."""

    address: Annotated[str, AfterValidator(checked_segment)]
    """What the box calls itself, in the path or in the payload."""
    topic: Annotated[str, AfterValidator(_url_path)] = "{address}"
    """The path it posts to.  The word is that of mqtt-json, so that one profile does for both."""
    identity: Path_ | None = None
    """Where the payload names the box; needed where the path does not."""
    token_file: Path | None = None
    """A file with a word that must come as ``{token}`` of the path, as ``Authorization: Bearer`` or as ``token`` of the
    query."""
    message_id: Path_ | None = None
    """Where a message has its own number; a message that comes again has the same one."""
    again_s: float = Field(default=60, ge=0, le=86400)
    """A message without number and time that comes word for word within these seconds is the same one."""
    time: TimeOptions | None = None
    events: Annotated[list[EventOptions], Field(max_length=32)] = Field(default_factory=list)
    answer: Annotated[Any, AfterValidator(_answer)] = Field(default_factory=lambda: {"code": 0})
    """What the box is told when its message is on disk: JSON, or a text.  Always the same, and never an instruction."""

    @model_validator(mode="after")
    def _recognisable(self) -> Self:
        levels = self.topic.split("/")
        if "{address}" not in levels and self.identity is None:
            raise ValueError("路径中没有 {address} 时须有 identity / a path without {address} needs identity")
        if "{token}" in levels and self.token_file is None:
            raise ValueError("路径中有 {token} 时须有 token_file / a path with {token} needs token_file")
        self.check_login()
        if self.user is not None and self.token_file is not None and "{token}" not in levels:
            raise ValueError("user 与 Bearer 令牌不能并用 / one Authorization header has no room for user and token")
        return self


class HttpJsonPointOptions(MappedPointOptions):
    """Where a point stands in what is posted."""
