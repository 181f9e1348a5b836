"""Explains a CAP message (``gateway decode cap``)."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.cap.events import event_of
from drivers.cap.message import Alert, CapError, Info, parse


def decode(data: bytes) -> Decoded:
    try:
        alerts = parse(data)
    except CapError as exc:
        return Decoded(fault=Fault("cap", str(exc)))
    return Decoded(frames=tuple(_frame(alert) for alert in alerts))


def _frame(alert: Alert) -> DecodedFrame:
    head = (
        Field("identifier", alert.identifier),
        Field("dialect", "12379" if alert.national else "CAP 1.2"),
        Field("status", alert.status),
        Field("sent", alert.sent_ms / 1000, "s"),
        *(Field("reference", each) for each in alert.references),
    )
    infos = tuple(field for info in alert.infos for field in _info(info))
    return DecodedFrame("response", alert.sender, alert.kind, (*head, *infos))


def _info(info: Info) -> Iterator[Field]:
    code, event = event_of(info.codes, info.event, info.headline)
    yield Field("event_code", code)
    yield Field("event", info.event if event is None else event.word.zh)
    yield Field("hazard", "other" if event is None else event.hazard)
    yield Field("severity", info.severity if info.colour is None else info.colour.word)
    yield Field("headline", info.headline)
    if info.expires_ms is not None:
        yield Field("expires", info.expires_ms / 1000, "s")
    for area in info.areas:
        yield Field("area", ",".join((area.description, *area.geocodes)))
