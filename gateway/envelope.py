"""Records become bytes here, once.  What is stored is what is sent, so a resend is identical without effort.

The shapes are those of the MQTT contract (gateway/uplink/README.md); everything in this file is pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from gateway.clock import ClockState
from gateway.messages import AlarmItem, EnvelopeHead, EventItem, GapItem, PlaceItem, ReadingItem, TextItem
from gateway.model import AlarmChange, Event, Gap, Lane, Place, Point, PointId, Reading, Record, Text

VERSION: Literal[1] = 1
MAX_ITEMS_BYTES = 60 * 1024
"""Room for the header under the contract's 64 KiB."""

json_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""The form in which we write JSON: compact, UTF-8 as it is, no NaN."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of one envelope before the store has given it a number."""

    lane: Lane
    items: bytes
    """A JSON array, UTF-8."""
    count: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """One numbered entry of the log.  (gateway, epoch, lane, seq) names it for ever."""

    epoch: str
    lane: Lane
    seq: int
    boot_id: str
    items: bytes
    count: int
    from_ms: int
    to_ms: int


class Encoder:
    """Turns records into drafts.  *points* supplies the units; a point that is not there is a bug."""

    def __init__(self, points: Mapping[PointId, Point]) -> None:
        # A reading's item begins with the same text every time: {"p":"…","u":"…"
        self._heads = {
            point.id: '{"p":' + json_text(point.id) + (',"u":' + json_text(point.unit) if point.unit else "")
            for point in points.values()
        }

    def drafts(self, lane: Lane, records: Sequence[Record], clock: ClockState) -> Iterator[Draft]:
        """Pack *records*, in order, into as few envelopes as the size limit allows."""
        items: list[bytes] = []
        times: list[int] = []
        size = 0
        for record in records:
            item = self._item(record, clock).encode()
            if items and size + len(item) + 1 > MAX_ITEMS_BYTES:
                yield _draft(lane, items, times)
                items, times, size = [], [], 0
            items.append(item)
            times.append(_time_ms(record))
            size += len(item) + 1
        if items:
            yield _draft(lane, items, times)

    def _item(self, record: Record, clock: ClockState) -> str:
        match record:
            case Reading():
                return self._reading(record, clock)
            case Event():
                return json_text(event_item(record) | _mark(clock))
            case AlarmChange():
                return json_text(alarm_item(record) | _mark(clock))
            case Gap():
                return json_text(gap_item(record) | _mark(clock))

    def _reading(self, reading: Reading, clock: ClockState) -> str:
        value = reading.value
        # repr of a number is its JSON; going through the encoder would cost as much as all the rest
        kind = type(value)
        plain = kind is int or (kind is float and isfinite(value))  # type: ignore[arg-type]
        number = repr(value) if plain else json_text(value)
        item = f'{self._heads[reading.point]},"t":{reading.source_time_ms},"v":{number}'
        if reading.reason is None:
            item += ',"q":"good"'
        else:
            item += f',"q":"{reading.quality}","r":"{reading.reason}"'
        if reading.raw:
            item += f',"raw":"{reading.raw.hex()}"'
        # The mark speaks of the gateway's clock: a time that the device's own clock gave does not depend on it.
        if clock is not ClockState.SYNCED and reading.source_time_ms == reading.gateway_time_ms:
            item += f',"c":"{clock}"'
        return item + "}"


def _mark(clock: ClockState) -> dict[str, str]:
    return {} if clock is ClockState.SYNCED else {"c": str(clock)}


def corrected(record: Record, shift_ms: int) -> Record:
    """The record as if the gateway's clock had been right when it was made."""
    match record:
        case Reading():
            own = record.source_time_ms != record.gateway_time_ms
            source_ms = record.source_time_ms if own else record.source_time_ms + shift_ms
            return replace(record, source_time_ms=source_ms, gateway_time_ms=record.gateway_time_ms + shift_ms)
        case Gap():
            return replace(record, from_ms=record.from_ms + shift_ms, to_ms=record.to_ms + shift_ms)
        case _:
            return replace(record, time_ms=record.time_ms + shift_ms)


def made_ms(record: Record) -> int:
    """When the gateway made the record, by its own clock."""
    match record:
        case Reading():
            return record.gateway_time_ms
        case Gap():
            return record.to_ms
        case _:
            return record.time_ms


def reading_item(reading: Reading, unit: str | None) -> ReadingItem:
    """One reading for people and programs that ask; what the uplink sends is built faster, by Encoder."""
    item: ReadingItem = {
        "p": reading.point,
        "t": reading.source_time_ms,
        "v": reading.value,
        "q": reading.quality,
    }
    if reading.reason is not None:
        item["r"] = reading.reason
    if unit:
        item["u"] = unit
    if reading.raw:
        item["raw"] = reading.raw.hex()
    return item


def event_item(event: Event) -> EventItem:
    return {
        "id": event.id,
        "kind": event.kind,
        "t": event.time_ms,
        "device": event.device,
        "place": place_item(event.place),
        "attributes": dict(event.attributes),
    }


def alarm_item(change: AlarmChange) -> AlarmItem:
    return {
        "id": change.id,
        "rule": change.rule,
        "device": change.device,
        "place": place_item(change.place),
        "state": change.state,
        "priority": change.priority,
        "count": change.count,
        "t": change.time_ms,
        "reason": change.reason,
        "message": text_item(change.message),
        "values": dict(change.values),
    }


def gap_item(gap: Gap) -> GapItem:
    item: GapItem = {"reason": gap.reason, "from_ms": gap.from_ms, "to_ms": gap.to_ms}
    if gap.lane is not None:
        item["lane"] = gap.lane
    if gap.from_seq is not None:
        item["from_seq"] = gap.from_seq
    if gap.to_seq is not None:
        item["to_seq"] = gap.to_seq
    if gap.count is not None:
        item["count"] = gap.count
    if gap.point is not None:
        item["point"] = gap.point
    return item


_LEVELS: tuple[Literal["grid", "building", "unit", "floor", "room"], ...] = (
    "grid",
    "building",
    "unit",
    "floor",
    "room",
)


def text_item(text: Text) -> TextItem:
    return {"zh": text.zh, "en": text.en}


def place_item(place: Place) -> PlaceItem:
    item: PlaceItem = {}
    for level in _LEVELS:
        text: str | None = getattr(place, level)
        if text is not None:
            item[level] = text
    return item


def payload(envelope: Envelope, site: str, gateway: str, sent_ms: int, *, replay: bool) -> bytes:
    """The message of one envelope.  Only *sent_ms* and *replay* may differ between two sendings."""
    head: EnvelopeHead = {
        "v": VERSION,
        "site": site,
        "gateway": gateway,
        "epoch": envelope.epoch,
        "lane": envelope.lane,
        "seq": envelope.seq,
        "boot_id": envelope.boot_id,
        "sent_ms": sent_ms,
        "replay": replay,
    }
    return json_text(head)[:-1].encode() + b',"items":' + envelope.items + b"}"


def _draft(lane: Lane, items: list[bytes], times: list[int]) -> Draft:
    return Draft(lane, b"[" + b",".join(items) + b"]", len(items), min(times), max(times))


def _time_ms(record: Record) -> int:
    match record:
        case Reading():
            return record.source_time_ms
        case Gap():
            return record.from_ms
        case _:
            return record.time_ms
