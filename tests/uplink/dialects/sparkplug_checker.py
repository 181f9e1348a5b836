"""A Sparkplug B host that only watches: every message of one edge node, held against the standard's own statements.

Each check names the statement of the compatibility kit (``tck-id-…``, Sparkplug 3.0.0) that it was written from.
It keeps what a host keeps, so that a test can also ask what has arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.uplink.dialects.sparkplug_payload import DataType, Metric, Payload, Property, Scalar, decode

NAMELESS_ALIAS = frozenset({"Node Control/Rebirth", "bdSeq"})
QUALITIES = frozenset({0, 192, 500})
_FITS: Mapping[int, type] = {
    DataType.INT64: int,
    DataType.DOUBLE: float,
    DataType.BOOLEAN: bool,
    DataType.STRING: str,
}


class Violation(AssertionError):
    """*statement*: the id of what was violated."""

    def __init__(self, statement: str, what: str) -> None:
        super().__init__(f"tck-id-{statement}: {what}")
        self.statement = statement


def must(condition: bool, statement: str, what: str) -> None:
    if not condition:
        raise Violation(statement, what)


class Arrival(NamedTuple):
    device: str | None
    name: str
    time_ms: int
    value: Scalar | None
    quality: int
    historical: bool


class Known(NamedTuple):
    device: str | None
    name: str
    datatype: int


@dataclass
class Host:
    """*primary*: whether the node waits for this host."""

    group: str
    node: str
    primary: bool = False
    online: bool = False
    bd_seq: int | None = None
    """Of the present connection's will."""
    born: bool = False
    alive: set[str] = field(default_factory=set)
    known: dict[int, Known] = field(default_factory=dict)
    live: dict[tuple[str | None, str], Arrival] = field(default_factory=dict)
    """What a display shows: the latest value that is not historical."""
    properties: dict[tuple[str | None, str], dict[str, Property]] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    """By DATA messages only."""
    deaths: list[str | None] = field(default_factory=list)
    births: int = 0
    rebirth_due: bool = False
    _connected: bool = False
    _seq: int = 255

    def connects(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """*topic* ...: of the will."""
        must(
            topic == f"spBv1.0/{self.group}/NDEATH/{self.node}",
            "message-flow-edge-node-birth-publish-will-message-topic",
            topic,
        )
        must(qos == 1, "payloads-ndeath-will-message-qos", f"{qos}")
        must(not retain, "payloads-ndeath-will-message-retain", "retained")
        bd_seq = self._death_number(decode(payload))
        wanted = 0 if self.bd_seq is None else (self.bd_seq + 1) % 256
        must(
            bd_seq == wanted,
            "message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
            f"{bd_seq}, wanted {wanted}",
        )
        self.bd_seq = bd_seq
        self.born, self._connected = False, True
        self.alive.clear()

    def disconnects(self) -> None:
        self.born = self._connected = self.rebirth_due = False

    def asks_for_rebirth(self) -> None:
        self.rebirth_due = True

    def changes_state(self, online: bool) -> None:
        self.online = online
        if not online:
            self.born = self.rebirth_due = False

    def sees(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        must(self._connected, "message-flow-edge-node-birth-publish-connect", f"{topic} without a connection")
        prefix, group, verb, node, *rest = topic.split("/")
        must(
            (prefix, group, node) == ("spBv1.0", self.group, self.node) and len(rest) == verb.startswith("D"),
            "topic-structure-namespace-valid-group-id",
            topic,
        )
        must(not retain, f"payloads-{verb.lower()}-retain", topic)
        body = decode(payload)
        if verb == "NDEATH":
            must(qos == 1, "payloads-ndeath-will-message-qos", f"{qos}")
            must(self._death_number(body) == self.bd_seq, "payloads-ndeath-bdseq", "another number than in the will")
            self.born = False
            return
        must(qos == 0, f"payloads-{verb.lower()}-qos", topic)
        must(body.timestamp is not None, f"payloads-{verb.lower()}-timestamp", topic)
        self._count(verb, body)
        must(
            not self.rebirth_due or verb == "NBIRTH",
            "operational-behavior-data-commands-rebirth-action-1",
            f"{verb} after a rebirth was asked for",
        )
        device = rest[0] if rest else None
        match verb:
            case "NBIRTH":
                self._node_birth(body)
            case "DBIRTH":
                must(self.born, "message-flow-device-birth-publish-nbirth-wait", topic)
                self._birth(device, body)
                self.alive.add(device or "")
            case "NDATA" | "DDATA":
                must(self.born, f"payloads-{verb.lower()}-order", topic)
                must(device is None or device in self.alive, f"payloads-{verb.lower()}-order", f"{device} is not born")
                self._data(device, body)
            case "DDEATH":
                must(device in self.alive, "operational-behavior-device-ddeath", f"{device} was not alive")
                self.alive.discard(device or "")
                self.deaths.append(device)
            case _:
                raise Violation("topic-structure", topic)

    # --- the parts ---

    def _count(self, verb: str, body: Payload) -> None:
        must(body.seq is not None, "payloads-sequence-num-always-included", verb)
        wanted = 0 if verb == "NBIRTH" else (self._seq + 1) % 256
        statement = "payloads-sequence-num-zero-nbirth" if verb == "NBIRTH" else "payloads-sequence-num-incrementing"
        must(body.seq == wanted, statement, f"{verb} has {body.seq}, wanted {wanted}")
        self._seq = wanted

    def _death_number(self, body: Payload) -> int:
        must(body.seq is None, "payloads-ndeath-seq", f"{body.seq}")
        must(len(body.metrics) == 1, "topics-ndeath-payload", f"{len(body.metrics)} metrics")
        return _bd_seq(body.metrics)

    def _node_birth(self, body: Payload) -> None:
        must(
            not self.primary or self.online,
            "message-flow-edge-node-birth-publish-phid-wait",
            "born while the host is away",
        )
        must(
            _bd_seq(body.metrics) == self.bd_seq,
            "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
            "not that of the will",
        )
        rebirth = [metric for metric in body.metrics if metric.name == "Node Control/Rebirth"]
        must(len(rebirth) == 1, "operational-behavior-data-commands-rebirth-name", f"{len(rebirth)}")
        must(
            rebirth[0].datatype == DataType.BOOLEAN,
            "operational-behavior-data-commands-rebirth-datatype",
            f"{rebirth[0].datatype}",
        )
        must(rebirth[0].value is False, "operational-behavior-data-commands-rebirth-value", f"{rebirth[0].value}")
        must(
            rebirth[0].alias is None,
            "operational-behavior-data-commands-rebirth-name-aliases",
            f"{rebirth[0].alias}",
        )
        self.born, self.rebirth_due = True, False
        self.births += 1
        self.alive.clear()
        self.known.clear()
        self.live.clear()
        self._birth(None, body)

    def _birth(self, device: str | None, body: Payload) -> None:
        self.known = {alias: known for alias, known in self.known.items() if known.device != device}
        names: set[str] = set()
        for metric in body.metrics:
            self._birth_metric(device, metric)
            lower = (metric.name or "").lower()
            must(lower not in names, "case-sensitivity-metric-names", f"{metric.name}")
            names.add(lower)
        self._in_order(device, body.metrics)

    def _birth_metric(self, device: str | None, metric: Metric) -> None:
        must(metric.name is not None, "payloads-alias-birth-requirement", f"alias {metric.alias} without a name")
        assert metric.name is not None
        if metric.alias is None:
            must(metric.name in NAMELESS_ALIAS, "payloads-alias-birth-requirement", f"{metric.name} without an alias")
        else:
            must(metric.alias not in self.known, "payloads-alias-uniqueness", f"{metric.alias}: {metric.name}")
        must(metric.datatype in _FITS, "payloads-metric-datatype-req", f"{metric.name}: {metric.datatype}")
        assert metric.datatype is not None
        must(not metric.is_historical, "operational-behavior-data-publish-dbirth-values", f"{metric.name}: historical")
        known = Known(device, metric.name, metric.datatype)
        if metric.alias is not None:
            self.known[metric.alias] = known
        self.properties[device, metric.name] = dict(metric.properties)
        self.live[device, metric.name] = self._arrival(known, metric)

    def _data(self, device: str | None, body: Payload) -> None:
        must(bool(body.metrics), "topics-ddata-payload", "no metric")
        for metric in body.metrics:
            must(metric.name is None, "payloads-alias-data-cmd-requirement", f"{metric.name}")
            must(metric.datatype is None, "payloads-metric-datatype-not-req", f"{metric.datatype}")
            known = self.known.get(metric.alias if metric.alias is not None else -1)
            must(
                known is not None and known.device == device,
                "operational-behavior-data-publish-dbirth",
                f"alias {metric.alias} was not in the birth of {device}",
            )
            assert known is not None
            self.properties[device, known.name] |= metric.properties
            arrival = self._arrival(known, metric)
            self.arrivals.append(arrival)
            if not metric.is_historical:
                self.live[device, known.name] = arrival
        pairs = {(metric.alias, metric.timestamp) for metric in body.metrics}
        must(len(pairs) == len(body.metrics), "operational-behavior-data-publish-dbirth-change", "one time, two values")
        self._in_order(device, body.metrics)

    def _arrival(self, known: Known, metric: Metric) -> Arrival:
        must(metric.timestamp is not None, "payloads-name-birth-data-requirement", known.name)
        assert metric.timestamp is not None
        must(
            metric.value is None or type(metric.value) is _FITS[known.datatype],
            "payloads-metric-datatype-value",
            f"{known.name}: {metric.value!r}",
        )
        for key, item in metric.properties.items():
            must(item.type in set(DataType), "payloads-metric-propertyvalue-type-value", f"{key}: {item.type}")
        quality = self.properties[known.device, known.name].get("Quality")
        must(quality is None or quality.type == 3, "payloads-propertyset-quality-value-type", f"{quality}")
        must(quality is None or quality.value in QUALITIES, "payloads-propertyset-quality-value-value", f"{quality}")
        code = 192 if quality is None or not isinstance(quality.value, int) else quality.value
        return Arrival(known.device, known.name, metric.timestamp, metric.value, code, metric.is_historical)

    def _in_order(self, device: str | None, metrics: Iterable[Metric]) -> None:
        times = [metric.timestamp or 0 for metric in metrics if not metric.is_historical]
        kind = "nbirth" if device is None else "dbirth"
        must(times == sorted(times), f"operational-behavior-data-publish-{kind}-order", f"{times}")


def _bd_seq(metrics: Iterable[Metric]) -> int:
    found = [metric for metric in metrics if metric.name == "bdSeq"]
    must(len(found) == 1, "payloads-nbirth-bdseq", f"{len(found)} of them")
    must(
        found[0].datatype == DataType.INT64,
        "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
        f"datatype {found[0].datatype}",
    )
    value = found[0].value
    must(
        isinstance(value, int) and 0 <= value <= 255,
        "message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
        f"{value}",
    )
    assert isinstance(value, int)
    return value
