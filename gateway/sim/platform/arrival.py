"""One message from a gateway, taken apart.  Pure; the sender is not believed."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from gateway.model import Lane
from gateway.sim.account import Stream
from gateway.spans import Span

ROOT = "compound/v1/"
LARGEST_BYTES = 1024 * 1024
"""Of an envelope, unpacked; the contract promises 64 KiB."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LANES: Mapping[str, Lane] = {str(lane): lane for lane in Lane}
_INT8 = range(-(2**63), 2**63)


class Malformed(ValueError):
    """Not an envelope as the contract describes it."""


class ReadingRow(NamedTuple):
    """One reading as a table keeps it.  A boolean is a number; what is neither number nor text has neither."""

    place: int
    """In the envelope, from 0; the tables' ``index``."""
    point: str
    t_ms: int
    number: float | None
    text: str | None
    quality: str
    reason: str | None
    unit: str | None
    clock: str | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One envelope.  (stream, seq) is its name."""

    stream: Stream
    seq: int
    boot_id: str
    sent_ms: int
    items: str
    """JSON, in ASCII: whatever a text in it contains, every database takes it."""
    readings: Sequence[ReadingRow]
    announced: Sequence[tuple[Stream, Span]]

    @property
    def digest(self) -> bytes:
        """The same for the same items, whatever white space they came with."""
        return hashlib.sha256(self.items.encode()).digest()


def topic_filters(site: str = "+") -> list[str]:
    """What brings every envelope, plain and compressed."""
    return [f"{ROOT}{site}/+/{lane}{tail}" for lane in Lane for tail in ("", "/zlib")]


def receipt_topic(stream: Stream) -> str:
    return f"{ROOT}{stream.site}/{stream.gateway}/receipt"


def read(topic: str, payload: bytes) -> Arrival:
    """Raises Malformed."""
    levels = topic.removeprefix(ROOT).split("/")
    if not topic.startswith(ROOT) or len(levels) not in (3, 4) or levels[3:] not in ([], ["zlib"]):
        raise Malformed(f"no topic of an envelope: {topic[:100]}")
    site, gateway, lane = levels[:3]
    if lane not in _LANES or not _ID.fullmatch(site) or not _ID.fullmatch(gateway):
        raise Malformed(f"no topic of an envelope: {topic[:100]}")
    message = _object(_unpacked(payload) if len(levels) == 4 else payload)
    if (message.get("site"), message.get("gateway"), message.get("lane")) != (site, gateway, lane):
        raise Malformed("the topic and the envelope name different gateways or lanes")
    stream = Stream(site, gateway, _word(message, "epoch"), _LANES[lane])
    items = message.get("items")
    if not isinstance(items, list):
        raise Malformed("items is not an array")
    return Arrival(
        stream,
        _whole(message, "seq", 1),
        _word(message, "boot_id"),
        _whole(message, "sent_ms", 0),
        json.dumps(items, separators=(",", ":")),
        tuple(_readings(items)),
        tuple(_announced(stream, items)) if stream.lane is Lane.GAP else (),
    )


def _unpacked(payload: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(payload, LARGEST_BYTES)
    except zlib.error as exc:
        raise Malformed(f"not a zlib stream: {exc}") from None
    if not unpacker.eof:
        raise Malformed(f"not a whole zlib stream of at most {LARGEST_BYTES} bytes")
    return found


def _object(payload: bytes) -> Mapping[str, Any]:
    if len(payload) > LARGEST_BYTES:
        raise Malformed(f"{len(payload)} bytes")
    try:
        message = json.loads(payload, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as exc:
        raise Malformed(f"not JSON: {exc}") from None
    if not isinstance(message, dict):
        raise Malformed("not a JSON object")
    return message


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def _word(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise Malformed(f"{key} is not a word")
    return value


def _whole(message: Mapping[str, Any], key: str, least: int) -> int:
    value = message.get(key)
    if type(value) is not int or value < least or value not in _INT8:
        raise Malformed(f"{key} is not a whole number from {least}")
    return value


def _readings(items: Sequence[Any]) -> Iterator[ReadingRow]:
    """What is no reading is still kept, with the envelope."""
    for place, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("p"), str):
            continue
        t_ms, value = item.get("t"), item.get("v")
        if type(t_ms) is int and t_ms in _INT8:
            words = (_text(item.get(key)) for key in ("r", "u", "c"))
            yield ReadingRow(
                place, _text(item["p"]) or "", t_ms, _number(value), _text(value), _text(item.get("q")) or "", *words
            )


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _text(value: object) -> str | None:
    """PostgreSQL's text has no NUL, UTF-8 no half of a surrogate pair."""
    if not isinstance(value, str):
        return None
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _announced(stream: Stream, items: Sequence[Any]) -> Iterator[tuple[Stream, Span]]:
    for item in items:
        if not isinstance(item, dict) or item.get("lane") not in _LANES or "from_seq" not in item:
            continue
        first, last = _whole(item, "from_seq", 1), _whole(item, "to_seq", 1)
        if last < first:
            raise Malformed("a gap that ends before it begins")
        yield stream._replace(lane=_LANES[item["lane"]]), (first, last)
