"""A request's body -> what a camera has said, and what it is answered.  Pure.

The gateway only listens.  ``"info": "ok"`` in an answer opens the barrier of a camera that is wired to one, and so do
commands that may ride in the answer (``serialData``, ``ivs_ioctrl``); none of them can be built here: an answer is one
of the constants below, and the only thing that varies is the number of a record that the camera has kept.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from drivers.plate_camera import isapi, itsapi, vzenith
from drivers.plate_camera.messages import Alive, Dialect, Push, PushError, Seen, Tree, text
from drivers.plate_camera.multipart import boundary_of, parts

MOST_FIELDS = 32
MOST_JSON_BYTES = 128 * 1024
"""Without its pictures: a tree takes some thirty times the memory of its text."""
_PICTURE = re.compile(rb'"[A-Za-z0-9+/=\\]{1024,}"')
"""A long string of base64 (with ``\\/`` and ``\\r\\n`` in it, as some write it)."""


def decode(body: bytes, content_type: str = "", zone: datetime.tzinfo = datetime.UTC) -> Push:
    """*zone*: of times that name none.  Raises PushError."""
    boundary = boundary_of(content_type) or _guessed_boundary(body)
    if boundary is not None:
        return _form_of_parts(body, boundary, zone)
    return _single(body, zone) or _fields(dict(_form(body)))


def decode_mqtt(payload: bytes) -> Push:
    """What the same cameras publish.  Raises PushError."""
    return vzenith.decode_mqtt(_json(payload))


def _guessed_boundary(body: bytes) -> bytes | None:
    """Of a body that was saved without its headers."""
    line = body[:80].partition(b"\r\n")[0]
    return line if line.startswith(b"--") and 4 <= len(line) <= 76 and b"{" not in line else None


def _form_of_parts(body: bytes, boundary: bytes, zone: datetime.tzinfo) -> Push:
    fields: dict[str, str] = {}
    for headers, content in parts(body, boundary):
        found = _single(content, zone)
        if found is not None:
            return found
        fields[headers["name"].strip()] = content[:256].decode("utf-8", "replace")
    return _fields(fields)


def _single(content: bytes, zone: datetime.tzinfo) -> Push | None:
    """A message in XML or JSON; None when it is neither."""
    begins = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if begins == b"<":
        return isapi.decode(content.strip(), zone)
    if begins != b"{":
        return None
    tree = _json(content)
    return vzenith.decode(tree) if any(root in tree for root in vzenith.ROOTS) else itsapi.decode(tree, zone)


def _fields(fields: Mapping[str, str]) -> Push:
    """The heartbeat (设备注册) of a Vzenith camera; its user name and password beside it are nobody's business."""
    serial = text(fields.get("serialno"))
    if not serial:
        raise PushError("neither JSON nor XML nor a camera's registration")
    return Push(Dialect.VZENITH, (serial,), Alive())


def _form(body: bytes) -> list[tuple[str, str]]:
    if len(body) > 4096:
        return []
    try:
        return parse_qsl(body.decode("ascii"), max_num_fields=MOST_FIELDS)
    except ValueError:
        return []


def _json(content: bytes) -> Tree:
    if len(content) > MOST_JSON_BYTES:
        content = _PICTURE.sub(b'""', content)
    if len(content) > MOST_JSON_BYTES:
        raise PushError("too much JSON")
    try:
        written = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        written = content.decode("gb18030", "replace")  # a few boards of old firmware
    try:
        tree: Any = json.loads(written, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise PushError("no JSON") from None
    if not isinstance(tree, dict):
        raise PushError("JSON of another kind")
    return tree


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# ---------------------------------------------------------------------- answers


def answer(push: Push) -> tuple[bytes, str]:
    """Body and content type of the 200 that stops a camera from repeating itself, and does nothing else."""
    if push.dialect is Dialect.ISAPI:
        return b"", "text/plain"
    if push.dialect is Dialect.ITSAPI:
        # Without it the camera sends the same again and again (two public servers).
        return _written({"result": "true"}), "application/json"
    if not isinstance(push.said, Seen):
        return _written({"Response_Heartbeat": {"info": "no"}} if isinstance(push.said, Alive) else {}), (
            "application/json"
        )
    # Of the newer AlphaDigi firmware "retransfer_stop" is what counts as received; older ones look at the 200 only.
    said: dict[str, Any] = {"info": "no", "content": "retransfer_stop", "is_pay": "false"}
    if push.said.number is not None and push.said.late:
        said["ContinuePushOffline"] = {"plateid": push.said.number, "continue": 1}
    elif push.said.number is not None:
        said["plateid"] = push.said.number
    return _written({"Response_AlarmInfoPlate": said}), "application/json"


def _written(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode("ascii")
