"""A signed command that somebody carries to the box, where the uplink is down: judged like any other.

{"op": "remote", "id": "…", "body": "{\\"signed\\": …}"}  ->  {"id", "status", "code", "detail", "result"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import GatewayError
from gateway.remote.desk import Desk
from gateway.uplink.dialect import Request

LOCAL = "local"


async def by_hand(desk: Desk, request: Mapping[str, Any]) -> dict[str, Any]:
    id_, body = request.get("id"), request.get("body")
    if not isinstance(id_, str) or not isinstance(body, str):
        raise GatewayError("id and body must be texts")
    reply = await desk.handle(Request(LOCAL, id_, body.encode()))
    return {
        "id": id_,
        "status": reply.status,
        "code": reply.code,
        "detail": reply.detail,
        "result": reply.result,
    }
