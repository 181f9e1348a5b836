"""Requests as bytes: templates filled in, webhooks signed.  Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from drivers.http_output.config import Request

Values = Mapping[str, str | int]
"""Placeholder -> what stands for it."""

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")

SIGNATURE_HEADER: Final = "X-Gateway-Signature"
TIMESTAMP_HEADER: Final = "X-Gateway-Timestamp"
ID_HEADER: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent.  *target*: path and query, as on the wire."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def fill(request: Request, values: Values) -> Message:
    """A value never changes the structure around it: it is encoded for where it stands."""
    path = _PLACEHOLDER.sub(lambda match: quote(str(values.get(match[1], "")), safe=""), request.path)
    query = urlencode({key: _text(each, values) for key, each in request.query.items()})
    target = quote(path, safe="/%?=&-._~!$'()*+,;:@") + (f"{'&' if '?' in path else '?'}{query}" if query else "")
    if request.json_ is not None:
        body = json.dumps(_json(request.json_, values), ensure_ascii=False).encode()
        return Message(request.method, target, {"Content-Type": "application/json", **request.headers}, body)
    if request.form:
        body = urlencode({key: _text(each, values) for key, each in request.form.items()}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return Message(request.method, target, {**kind, **request.headers}, body)
    return Message(request.method, target, dict(request.headers))


def refusal(request: Request, status: int, body: bytes) -> str | None:
    """Why an answer is no yes; None when it is one."""
    if not (status in request.expect if request.expect else 200 <= status <= 299):
        return f"HTTP {status}"
    if not request.expect_json:
        return None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return "no JSON in the answer"
    if not isinstance(said, dict):
        return "no JSON object in the answer"
    for key, wanted in request.expect_json.items():
        if type(said.get(key)) is not type(wanted) or said[key] != wanted:
            return f"{key}: {str(said.get(key))[:60]!r}"
    return None


def signed(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """The headers of a webhook.

    Signature: ``v1=`` and, in hex, HMAC-SHA256 over the timestamp's digits, a full stop, and the body.
    """
    digest = hmac.new(key, f"{timestamp_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp_s),
        SIGNATURE_HEADER: f"v1={digest}",
    }


def _text(template: str, values: Values) -> str:
    return _PLACEHOLDER.sub(lambda match: str(values.get(match[1], "")), template)


def _json(template: Any, values: Values) -> Any:
    if isinstance(template, str):
        whole = _PLACEHOLDER.fullmatch(template)
        return values.get(whole[1], "") if whole else _text(template, values)
    if isinstance(template, dict):
        return {key: _json(each, values) for key, each in template.items()}
    if isinstance(template, list):
        return [_json(each, values) for each in template]
    return template
