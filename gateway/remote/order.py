"""A signed document as a command: whether it is meant for us, now, and for the first time.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.clock import ClockState
from gateway.remote.codes import WORDS, Code
from gateway.remote.signature import Signed
from gateway.uplink.dialect import Reply

LONGEST_MS = 60_000
"""A command may be valid for so long."""
TOLERANCE_MS = 5_000
"""The platform's clock and ours may differ by so much."""
LARGEST = 2**53 - 1
KINDS = ("command", "config")


@dataclass(frozen=True, slots=True)
class Order:
    """Signed, ours, fresh.  Whether the key may give it is not looked at yet."""

    id: str
    key: str
    command: str
    args: Mapping[str, Any]
    counter: int
    issued_ms: int
    expires_ms: int
    document: Mapping[str, Any]
    """All of what was signed."""


@dataclass(frozen=True, slots=True)
class Here:
    """What an order is judged by."""

    site: str
    gateway: str
    now_ms: int
    trust: ClockState


def refused(code: Code, detail: str = "") -> Reply:
    return Reply("expired" if code is Code.EXPIRED else "rejected", str(code), detail or WORDS[code].en)


def order_in(signed: Signed, id_: str, here: Here, last_counter: int) -> Order | Reply:
    """*id_*: as the topic says.  *last_counter*: the largest that this key has used."""
    said = signed.document
    order = _shaped(signed)
    if order is None:
        return refused(Code.MALFORMED, "kind, command, args, id, issued_ms, expires_ms or counter is missing or wrong")
    if (said.get("site"), said.get("gateway")) != (here.site, here.gateway):
        return refused(Code.NOT_OURS)
    if order.id != id_:
        return refused(Code.WRONG_ID)
    untimely = _untimely(order, here)
    if untimely is not None:
        return untimely
    if order.counter <= last_counter:
        return refused(Code.COUNTER, f"the counter must be larger than {last_counter}")
    return order


def _shaped(signed: Signed) -> Order | None:
    said = signed.document
    kind, args = said.get("kind"), said.get("args", {})
    command = "config.apply" if kind == "config" else said.get("command")
    numbers = [said.get(key) for key in ("counter", "issued_ms", "expires_ms")]
    texts = (command, said.get("id"))
    if kind not in KINDS or not isinstance(args, dict) or not all(isinstance(text, str) for text in texts):
        return None
    if not all(type(number) is int and 0 < number <= LARGEST for number in numbers):
        return None
    return Order(
        str(said["id"]),
        signed.key,
        str(command),
        args,
        said["counter"],
        said["issued_ms"],
        said["expires_ms"],
        said,
    )


def _untimely(order: Order, here: Here) -> Reply | None:
    issued_ms, expires_ms = order.issued_ms, order.expires_ms
    if here.trust is ClockState.UNKNOWN:
        return refused(Code.CLOCK, f"{WORDS[Code.CLOCK].en}; it shows {here.now_ms} ms")
    if not 0 < expires_ms - issued_ms <= LONGEST_MS:
        return refused(Code.TOO_LONG, f"expires_ms - issued_ms must be 1 to {LONGEST_MS}")
    if issued_ms > here.now_ms + TOLERANCE_MS:
        return refused(Code.FUTURE, f"by {issued_ms - here.now_ms} ms of the gateway's clock")
    if expires_ms + TOLERANCE_MS < here.now_ms:
        return refused(Code.EXPIRED, f"by {here.now_ms - expires_ms} ms of the gateway's clock")
    return None
