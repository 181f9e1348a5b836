"""``gateway decode plate`` and ``gateway decode plate-camera``."""

from __future__ import annotations

from collections.abc import Iterator

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.plate_camera import push
from drivers.plate_camera.messages import UNKNOWN, InputChanged, Push, PushError, Seen
from drivers.plate_camera.multipart import Thinned, boundary_of
from gateway.plates import LONGEST, PlateClass, classify, letters_in_sequence, normalise, variants

_MOST_PLATES = 1000


def decode_plate(data: bytes) -> Decoded:
    """Plates, one a line, in UTF-8 or GB 18030."""
    try:
        written = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        written = data.decode("gb18030", "replace")
    lines = [line for line in written.splitlines() if line.strip()]
    if not lines:
        return Decoded(fault=Fault("no_frame", "没有车牌 no plate in this text", 0))
    for line in lines:
        if len(normalise(line)) > LONGEST:
            return Decoded(fault=Fault("too_long", "不是车牌：过长 too long to be a plate"))
    frames = tuple(
        DecodedFrame("response", line.strip(), "plate", tuple(_of_plate(normalise(line))))
        for line in lines[:_MOST_PLATES]
    )
    fault = None if len(lines) <= _MOST_PLATES else Fault("too_many", f"多于 {_MOST_PLATES} 个 more than that")
    return Decoded(frames, fault)


def _of_plate(plate: str) -> Iterator[Field]:
    plate_class = classify(plate)
    yield Field("plate", plate)
    yield Field("class", plate_class.value)
    if plate_class is PlateClass.CIVIL:
        yield Field("letters", letters_in_sequence(plate))
    if alike := [each for each in variants(plate) if each[:1] == plate[:1]]:
        yield Field("mixed_up_with", " ".join(alike))


def decode(data: bytes) -> Decoded:
    """One body that a camera has pushed: JSON, XML, or multipart with or without its HTTP headers."""
    body, content_type = _without_head(data)
    boundary = boundary_of(content_type)
    if boundary is not None:
        thinned = Thinned(boundary)
        thinned.feed(body)
        body = thinned.kept()
    for read in (push.decode, push.decode_mqtt):
        try:
            said = read(body, content_type) if read is push.decode else push.decode_mqtt(body)
        except PushError as exc:
            fault = Fault("no_push", f"不是车牌相机的报文 not a message of a plate camera: {exc}")
            continue
        names = " ".join(said.cameras)
        return Decoded((DecodedFrame("request", names, said.dialect.value, tuple(_of_push(said))),))
    return Decoded(fault=fault)


def _without_head(data: bytes) -> tuple[bytes, str]:
    if not data[:8].startswith((b"POST ", b"PUT ", b"HTTP/1.")):
        return data, ""
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return body, value.decode("utf-8", "replace").strip()
    return body, ""


def _of_push(said: Push) -> Iterator[Field]:
    if isinstance(said.said, InputChanged):
        yield Field(f"input{said.said.input}", said.said.on)
    elif isinstance(said.said, Seen):
        yield from _of_seen(said.said)
    else:
        yield Field("alive", True)


def _of_seen(seen: Seen) -> Iterator[Field]:
    yield Field("plate", seen.plate)
    yield Field("class", seen.plate_class.value)
    named = {
        "colour": seen.colour.value,
        "confidence": seen.confidence,
        "direction": seen.direction,
        "lane": seen.lane,
        "trigger": seen.trigger,
        "plate_type": seen.plate_type,
        "vehicle_type": seen.vehicle_type,
        "vehicle_colour": seen.vehicle_colour,
        "id": seen.id or None,
    }
    yield from (Field(name, value) for name, value in named.items() if value not in (None, UNKNOWN))
    if seen.time_ms is not None:
        yield Field("time", seen.time_ms, "ms")
    yield from (Field(name, True) for name in ("late", "fake") if getattr(seen, name))
