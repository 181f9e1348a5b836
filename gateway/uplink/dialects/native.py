"""Our own contract (contract.py): one message for each envelope, receipts, signed commands, a desired configuration."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.envelope import Envelope, payload
from gateway.model import Lane
from gateway.uplink.contract import (
    State,
    Topics,
    catalog_payload,
    client_id,
    health_payload,
    reply_payload,
    status_payload,
)
from gateway.uplink.dialect import (
    Asked,
    Desired,
    Heard,
    Hello,
    Incoming,
    Outgoing,
    Receipt,
    Reply,
    Request,
    Subject,
)

_COMMAND_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_SMALL_BYTES = 1024
"""Not compressed at all: it fits into one packet of the network anyway."""
_PAYS = 0.8
"""Compressed only when it becomes smaller than this part: below, the platform's work is not worth it."""
_MOST_MISSING = 1000
"""Pairs of one receipt that are acted on."""


class Native:
    receipts = True

    def __init__(self, subject: Subject, *, compress: bool = False) -> None:
        self._subject = subject
        self._compress = compress
        identity = subject.identity
        self._topics = Topics(identity.site, identity.gateway)

    def hello(self) -> Hello:
        topics = self._topics
        return Hello(
            client_id(self._subject.identity, self._subject.uplink),
            subscriptions=(topics.commands, topics.receipt),
            states=(topics.desired,),
            will=Outgoing(topics.status, self._status(State.OFFLINE), retain=True),
        )

    def introduce(self) -> Sequence[Outgoing]:
        reported = self._subject.reported()
        online = Outgoing(self._topics.status, self._status(State.ONLINE), retain=True)
        return [online] if reported is None else [online, Outgoing(self._topics.reported, reported, retain=True)]

    def catalog(self) -> Sequence[Outgoing]:
        subject = self._subject
        body = catalog_payload(
            subject.identity, subject.devices, subject.destinations, subject.commandable, subject.places
        )
        return [Outgoing(self._topics.catalog, body, retain=True)]

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        identity, topic = self._subject.identity, self._topics.lanes[envelope.lane]
        body = payload(envelope, identity.site, identity.gateway, sent_ms, replay=replay)
        packed = zlib.compress(body, 1) if self._compress and len(body) >= _SMALL_BYTES else body
        if len(packed) < _PAYS * len(body):
            return [Outgoing(f"{topic}/zlib", packed)]
        return [Outgoing(topic, body)]

    def hear(self, message: Incoming) -> Sequence[Heard]:
        topics = self._topics
        if message.topic == topics.receipt:
            return _receipt(message.payload)
        if message.topic == topics.desired:
            return [Desired(message.payload)] if message.payload else []
        command = topics.command_id(message.topic)
        if command is None or not _COMMAND_ID.fullmatch(command):
            return []
        request = Request(self._subject.uplink, command, message.payload, message.retained)
        return [Asked(request, self._return_address(command, message))]

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]:
        topic, correlation = asked.context
        body = reply_payload(asked.request.id, reply.status, reply.code, reply.detail, reply.result)
        return [Outgoing(topic, body, correlation=correlation)]

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        return [Outgoing(self._topics.health, health_payload(snapshot))]

    def farewell(self) -> Sequence[Outgoing]:
        return [Outgoing(self._topics.status, self._status(State.STOPPING), retain=True)]

    def _status(self, state: State) -> bytes:
        subject = self._subject
        return status_payload(subject.identity, state, subject.epoch(), subject.started_ms(), subject.clock.state())

    def _return_address(self, command: str, message: Incoming) -> tuple[str, bytes | None]:
        """The MQTT 5 response topic when it is one of ours, else ``reply/{id}``."""
        asked = message.response_topic or ""
        ours = asked.startswith(self._topics.reply("")) and not set(asked) & {"+", "#"}
        return (asked if ours else self._topics.reply(command)), message.correlation


def _receipt(body: bytes) -> Sequence[Heard]:
    """Nothing for one that is not what the contract says: what is not confirmed is sent again."""
    try:
        item = json.loads(body)
        upto = _seq(item["upto"])
        missing = sorted((_seq(first), _seq(last)) for first, last in item.get("missing", []))
        if len(missing) > _MOST_MISSING:  # what lies behind them waits for the next receipt
            upto = min(upto, missing[_MOST_MISSING][0] - 1)
        rate = item.get("rate")
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0):
            return []
        return [Receipt(str(item["epoch"]), Lane(item["lane"]), upto, tuple(missing[:_MOST_MISSING]), rate)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _seq(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("not a sequence number")
    return value
