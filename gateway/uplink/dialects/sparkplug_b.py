"""Sparkplug B 3.0: births, deaths and metrics by alias, for SCADA hosts.  Pure.

    hello ─▶ will NDEATH(bdSeq) ─▶ [STATE online] ─▶ NBIRTH(bdSeq, seq 0) DBIRTH … ─▶ DDATA, NDATA … ─▶ NDEATH
                                         ▲                      ▲                          │
                                         └── STATE offline ─────┴── NCMD rebirth ──────────┘

Group: of the configuration.  Edge node: the gateway.  Device: a device of ours, under its own id.  README.md has the
table of metrics and qualities, and why they are as they are.

Delivery is weaker than with the native dialect: the standard demands QoS 0, so an envelope counts as delivered when
it has left while the host is there.  Where a message is lost the host sees the hole in ``seq``, and asks for a rebirth,
which says the latest value of every metric; what lay between is gone.  Envelope numbers are not sent.

Nothing acts without our own signature: a command is the signed document as a String written to ``Gateway/Command``.
Any other write is handed on as it came, so that it is refused as unsigned, and audited.

Clauses are quoted by their ids in the standard's compatibility kit (``tck-id-…``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from gateway.config.models import SparkplugModel
from gateway.envelope import Envelope, json_text
from gateway.errors import GatewayError
from gateway.model import PointId, Reason
from gateway.uplink.contract import client_id
from gateway.uplink.dialect import Asked, Attend, Heard, Hello, Incoming, Introduce, Outgoing, Reply, Request, Subject
from gateway.uplink.dialects.sparkplug_metrics import (
    ALARM,
    CLOCK,
    COMMAND,
    EPOCH,
    EVENT,
    GAP,
    HEALTH,
    REBIRTH,
    REPLY,
    Declared,
    Sample,
    birth_properties,
    declare,
    properties,
    reading,
)
from gateway.uplink.dialects.sparkplug_payload import DataType, Metric, NotAPayload, Payload, decode, encode

_UNREACHABLE = frozenset({str(Reason.NO_ANSWER), str(Reason.LINE_LOST)})
_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_LATEST_MS = 2**63

_Pair: TypeAlias = tuple[Declared, Sample]


class NotBorn(GatewayError):
    """An envelope was to be encoded before the births: a bug of the uplink."""


class SparkplugB:
    """*skipped*: readings of points that are not in the catalog.  *malformed*: commands and states without sense."""

    receipts = False

    def __init__(self, subject: Subject, model: SparkplugModel) -> None:
        self._subject = subject
        self._host = model.primary_host
        self._prefix = f"spBv1.0/{model.group}/"
        self._node = subject.identity.gateway
        self._ncmd = f"{self._prefix}NCMD/{self._node}"
        self._dcmd = f"{self._prefix}DCMD/{self._node}/"
        self._state = f"spBv1.0/STATE/{self._host}" if self._host is not None else None
        self._declared: dict[str | None, dict[str, Declared]] = {None: {}}
        for metric in declare(subject.identity, subject.devices):
            self._declared.setdefault(metric.device, {})[metric.name] = metric
        self._aliases = {metric.alias: metric for metrics in self._declared.values() for metric in metrics.values()}
        self._points: dict[PointId, Declared] = {
            point.id: self._declared[device.id][point.name] for device in subject.devices for point in device.points
        }
        self._polled = {
            device.id: [self._points[point.id].alias for point in device.points] for device in subject.devices
        }
        self._latest: dict[int, Sample] = {}
        self._late: set[int] = set()
        """Metrics whose latest value the host has got as historical only."""
        self._doubted: set[int] = set()
        """Metrics that were last sent with properties: the next plain value must take them back."""
        self._born = False
        self._alive: set[str] = set()
        """Devices with a DBIRTH and no DDEATH since."""
        self._seq = 0
        self._bd_seq = -1
        self._present: bool | None = None
        self._state_ms: float = -1
        self.skipped = self.malformed = 0

    @property
    def present(self) -> bool:
        """Whether envelopes may go.  Where there is a primary host: False from ``hello`` until it says that it is
        there."""
        return self._host is None or self._present is True

    # --- the connection ---

    def hello(self) -> Hello:
        self._bd_seq = (self._bd_seq + 1) % 256
        self._born = False
        # The broker keeps the latest STATE.  With a time from the last connection, a host whose clock was set back
        # would stay away for ever.
        self._present, self._state_ms = None, -1
        return Hello(
            client_id(self._subject.identity, self._subject.uplink),
            subscriptions=(self._ncmd, f"{self._dcmd}+"),
            states=(self._state,) if self._state else (),
            will=self._death(),
            attended=self.present,
        )

    def introduce(self) -> Sequence[Outgoing]:
        """All births; none while the primary host is away (tck-id-operational-behavior-edge-node-birth-sequence-wait).

        A device that cannot be reached is not born.
        """
        if not self.present:
            return ()
        now_ms = self._subject.clock.now_ms()
        node = self._declared[None]
        self._latest[node[EPOCH].alias] = Sample(now_ms, self._subject.epoch())
        self._latest[node[CLOCK].alias] = Sample(now_ms, str(self._subject.clock.state()))
        self._born = True
        self._seq = 0
        reachable = [device for device in self._polled if not self._unreachable(device)]
        self._alive = set(reachable)
        return [self._birth(device, now_ms) for device in (None, *reachable)]

    def catalog(self) -> Sequence[Outgoing]:
        """Empty: every birth has to precede the first value (tck-id-payloads-ndata-order)."""
        return ()

    def farewell(self) -> Sequence[Outgoing]:
        """The node's death; those of its devices are implied."""
        self._born = False
        return (self._death(),)

    def _death(self) -> Outgoing:
        now_ms = self._subject.clock.now_ms()
        body = encode(Payload(now_ms, (self._bd_seq_metric(now_ms),)))
        return Outgoing(f"{self._prefix}NDEATH/{self._node}", body, retain=False, qos=1)

    def _bd_seq_metric(self, now_ms: int) -> Metric:
        # Without an alias: the will goes by name, and a widespread host is said to stumble over an alias here.
        return Metric("bdSeq", timestamp=now_ms, datatype=DataType.INT64, value=self._bd_seq)

    def _birth(self, device: str | None, now_ms: int) -> Outgoing:
        metrics = [self._birth_metric(metric, now_ms) for metric in self._declared[device].values()]
        if device is None:
            # tck-id-operational-behavior-data-commands-rebirth-name-aliases: this one must not have an alias
            metrics.append(Metric(REBIRTH, timestamp=now_ms, datatype=DataType.BOOLEAN, value=False))
            metrics.append(self._bd_seq_metric(now_ms))
        metrics.sort(key=lambda metric: metric.timestamp or 0)  # tck-id-operational-behavior-data-publish-dbirth-order
        return self._message("BIRTH", device, metrics, now_ms)

    def _birth_metric(self, metric: Declared, now_ms: int) -> Metric:
        sample = self._latest.get(metric.alias) or Sample(now_ms, metric.text, metric.unknown)
        _mark(self._late, metric.alias, False)
        _mark(self._doubted, metric.alias, not sample.plain)
        return Metric(
            metric.name,
            metric.alias,
            sample.time_ms,
            metric.datatype,
            properties=birth_properties(metric, sample),
            value=sample.value,
        )

    # --- data ---

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        """Raises NotBorn before ``introduce``, and after ``farewell`` or the host's leaving.

        Uses up sequence numbers: what comes back must leave, in this order, or the connection must end.
        """
        if not self._born:
            raise NotBorn("births have to precede the first envelope")
        pairs = [found for item in json.loads(envelope.items) if (found := self._pair(item)) is not None]
        return self._data(pairs, sent_ms, replay=replay)

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        """Also says what has changed without an envelope: the clock's state, the latest values that the host has got
        as historical only, and the death of devices that were born for late data."""
        if not self._born:
            return ()
        now_ms = self._subject.clock.now_ms()
        node = self._declared[None]
        pairs = [(self._aliases[alias], self._latest[alias]) for alias in sorted(self._late)]
        pairs = [(metric, sample) for metric, sample in pairs if metric.device is None or metric.device in self._alive]
        pairs.append((node[HEALTH], Sample(now_ms, json_text(snapshot))))
        state = str(self._subject.clock.state())
        if self._latest[node[CLOCK].alias].value != state:
            pairs.append((node[CLOCK], Sample(now_ms, state)))
        messages = self._data(pairs, now_ms, replay=False)
        gone = [device for device in self._polled if device in self._alive and self._unreachable(device)]
        return [*messages, *(self._bury(device, now_ms) for device in gone)]

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]:
        """Nothing while the primary host is away; the audit has it."""
        if not self._born:
            return ()
        item = {"id": asked.request.id, "status": reply.status, "code": reply.code, "detail": reply.detail}
        if reply.result is not None:
            item["result"] = reply.result
        now_ms = self._subject.clock.now_ms()
        return self._data([(self._declared[None][REPLY], Sample(now_ms, json_text(item)))], now_ms, replay=False)

    def _pair(self, item: Mapping[str, Any]) -> _Pair | None:
        """What one item of an envelope says; None for a point that is not in the catalog."""
        if "p" in item:
            metric = self._points.get(item["p"])
            self.skipped += metric is None
            return None if metric is None else (metric, reading(item, metric.datatype))
        if "rule" in item:
            return self._home(item)[ALARM], Sample(item["t"], json_text(item))
        if "attributes" in item:
            return self._home(item)[EVENT], Sample(item["t"], json_text(item))
        return self._declared[None][GAP], Sample(item["to_ms"], json_text(item))

    def _home(self, item: Mapping[str, Any]) -> Mapping[str, Declared]:
        """The metrics of the item's device; of the node where it has none, or one that is not alive."""
        device = item.get("device")
        return self._declared[device if device in self._alive else None]

    def _data(self, pairs: Iterable[_Pair], now_ms: int, *, replay: bool) -> list[Outgoing]:
        groups: dict[str | None, list[_Pair]] = {}
        for pair in pairs:
            groups.setdefault(pair[0].device, []).append(pair)
        return [
            message
            for device, group in groups.items()
            for message in self._device_data(device, group, now_ms, replay=replay)
        ]

    def _device_data(self, device: str | None, group: list[_Pair], now_ms: int, *, replay: bool) -> Iterator[Outgoing]:
        """What one envelope says of one device, or of the node."""
        group = sorted(group, key=lambda pair: pair[1].time_ms)
        if device is not None and device not in self._alive:
            if not replay and all(sample.reason in _UNREACHABLE for _, sample in group):
                self._remember(group, replay=replay)  # its death has said it
                return
            self._alive.add(device)
            yield self._birth(device, now_ms)
        for batch in _apart(group):
            metrics = [self._data_metric(metric, sample, replay=replay) for metric, sample in batch]
            yield self._message("DATA", device, metrics, now_ms)
        if self._remember(group, replay=replay) and device is not None and self._unreachable(device):
            yield self._bury(device, now_ms)

    def _data_metric(self, metric: Declared, sample: Sample, *, replay: bool) -> Metric:
        said = properties(sample) if not sample.plain or metric.alias in self._doubted else {}
        _mark(self._doubted, metric.alias, not sample.plain)
        return Metric(
            alias=metric.alias,
            timestamp=sample.time_ms,
            is_historical=replay,
            properties=said,
            value=sample.value,
        )

    def _remember(self, group: Iterable[_Pair], *, replay: bool) -> bool:
        """Whether anything of it is now the latest of its metric.

        What happens now is, whatever its time: a clock that was ahead may have been set back.
        """
        newest = False
        for metric, sample in group:
            before = self._latest.get(metric.alias)
            if not replay or before is None or before.time_ms <= sample.time_ms:
                self._latest[metric.alias] = sample
                _mark(self._late, metric.alias, replay)
                newest = True
        return newest

    def _unreachable(self, device: str) -> bool:
        """Whether the latest of every point that was ever read is that it could not be."""
        reasons = [self._latest[alias].reason for alias in self._polled[device] if alias in self._latest]
        return bool(reasons) and _UNREACHABLE.issuperset(reasons)

    def _bury(self, device: str, now_ms: int) -> Outgoing:
        """tck-id-operational-behavior-device-ddeath"""
        self._alive.discard(device)
        return self._message("DEATH", device, (), now_ms)

    def _message(self, verb: str, device: str | None, metrics: Sequence[Metric], now_ms: int) -> Outgoing:
        kind, tail = ("N", "") if device is None else ("D", f"/{device}")
        body = encode(Payload(now_ms, tuple(metrics), self._seq))
        self._seq = (self._seq + 1) % 256
        return Outgoing(f"{self._prefix}{kind}{verb}/{self._node}{tail}", body, retain=False, qos=0)

    # --- what comes in ---

    def hear(self, message: Incoming) -> Sequence[Heard]:
        if message.topic == self._state:
            return self._heard_state(message.payload)
        if message.topic == self._ncmd:
            return self._heard_command(message, None)
        if message.topic.startswith(self._dcmd):
            return self._heard_command(message, message.topic.removeprefix(self._dcmd))
        return ()

    def _heard_state(self, body: bytes) -> Sequence[Heard]:
        match _json(body):
            case {"online": bool(online), "timestamp": int() | float() as time_ms} if (
                not isinstance(time_ms, bool) and 0 <= time_ms < _LATEST_MS
            ):
                pass
            case _:
                self.malformed += 1
                return ()
        if time_ms < self._state_ms:  # a late will: tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp
            return ()
        self._state_ms = time_ms
        if online is self._present:
            return ()
        self._present = online
        if online:
            return Attend(present=True), Introduce()
        self._born = False
        return (Attend(present=False),)

    def _heard_command(self, message: Incoming, device: str | None) -> Sequence[Heard]:
        try:
            metrics = decode(message.payload).metrics
        except NotAPayload:
            self.malformed += 1
            return ()
        rebirth = False
        bodies: dict[bytes, None] = {}
        for metric in metrics:
            name = self._name(metric, device)
            if name == REBIRTH and device is None:
                rebirth |= metric.value is True
            elif name == COMMAND and isinstance(metric.value, str):
                bodies[metric.value.encode()] = None
            else:
                bodies[message.payload] = None
        asked = [Asked(Request(self._subject.uplink, _id(body), body, message.retained)) for body in bodies]
        # A retained request would come back with every connection.
        return [Introduce(), *asked] if rebirth and self.present and not message.retained else asked

    def _name(self, metric: Metric, device: str | None) -> str | None:
        """Hosts write by name or by alias."""
        if metric.name is not None or metric.alias is None:
            return metric.name
        declared = self._aliases.get(metric.alias)
        return declared.name if declared is not None and declared.device == device else None


def _mark(marked: set[int], alias: int, yes: bool) -> None:
    if yes:
        marked.add(alias)
    else:
        marked.discard(alias)


def _apart(group: Iterable[_Pair]) -> Iterator[list[_Pair]]:
    """In one message a metric has at most one value of one time (5.16, Data Publish)."""
    batch: list[_Pair] = []
    seen: set[tuple[int, int]] = set()
    for metric, sample in group:
        key = (metric.alias, sample.time_ms)
        if key in seen:
            yield batch
            batch, seen = [], set()
        batch.append((metric, sample))
        seen.add(key)
    yield batch


def _id(body: bytes) -> str:
    """The id inside a signed document, not believed yet; else one made of the bytes."""
    outer = _json(body)
    signed = outer.get("signed") if isinstance(outer, dict) else None
    match _json(signed) if isinstance(signed, str) else None:
        case {"id": str(found)} if _ID.fullmatch(found):
            return found
        case _:
            return "sp-" + hashlib.sha256(body).hexdigest()[:32]


def _json(text: str | bytes) -> Any:
    """None for what is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
