"""Explains captured packets.  What answers say is uhppoted's word; of requests, what this driver and others send."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from uhppoted import decode as library

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.uhppote import events, frame
from drivers.uhppote.frame import Frame, find_frame
from gateway.model import Value

_ANSWERS: Mapping[int, Callable[[bytes], Any]] = {
    0x20: library.event,
    0x30: library.set_time_response,
    0x32: library.get_time_response,
    0x40: library.open_door_response,
    0x50: library.put_card_response,
    0x52: library.delete_card_response,
    0x54: library.delete_all_cards_response,
    0x58: library.get_cards_response,
    0x5A: library.get_card_response,
    0x5C: library.get_card_by_index_response,
    0x80: library.set_door_control_response,
    0x82: library.get_door_control_response,
    0x84: library.set_antipassback_response,
    0x86: library.get_antipassback_response,
    0x88: library.set_time_profile_response,
    0x8A: library.delete_all_time_profiles_response,
    0x8C: library.set_door_passcodes_response,
    0x8E: library.record_special_events_response,
    0x90: library.set_listener_response,
    0x92: library.get_listener_response,
    0x94: library.get_controller_response,
    0x98: library.get_time_profile_response,
    0xA0: library.set_pc_control_response,
    0xA2: library.set_interlock_response,
    0xA4: library.activate_keypads_response,
    0xA6: library.clear_tasklist_response,
    0xA8: library.add_task_response,
    0xAA: library.set_firstcard_response,
    0xAC: library.refresh_tasklist_response,
    0xB0: library.get_event_response,
    0xB2: library.set_event_index_response,
    0xB4: library.get_event_index_response,
    0xC8: library.restore_default_parameters_response,
}
_SHORT_ANSWERS = frozenset((0x40, 0x50, 0x52, 0x54, 0x90, 0xA8, 0xB2, 0xC8))
"""Answers of one byte: longer content is a request's."""
_BY_NUMBER = frozenset((0x5A, 0x5C, frame.EVENT))
"""Questions for a card or an event: a number, and nothing else."""
_DELETED = b"\xff" * 4
"""Stands for the number of a card that was deleted."""


def decode(data: bytes) -> Decoded:
    """Packets of either direction.  A packet of the same function and controller behind a request is its answer."""
    frames: list[DecodedFrame] = []
    at, before = 0, None
    while (found := find_frame(data, at)) is not None:
        each, begin, end = found
        if begin > at:
            return Decoded(tuple(frames), Fault("stray", "帧之间有其他字节 / bytes between packets", at))
        answers = before is not None and (before.function, before.controller) == (each.function, each.controller)
        is_answer = answers or (not _is_request(each) and not _followed_by_answer(data, each, end))
        frames.append(explain(each, is_answer))
        before, at = (None if is_answer else each), end
    if at < len(data):
        what = "truncated" if len(data) - at < frame.SIZE else "no_frame"
        return Decoded(tuple(frames), Fault(what, "不是 64 字节的 UHPPOTE 报文 / no UHPPOTE packet of 64 bytes", at))
    return Decoded(tuple(frames))


def _is_request(each: Frame) -> bool:
    """As far as a packet alone can tell."""
    body, magic = each.body, frame.MAGIC.to_bytes(4, "little")
    if not any(body) or magic in (body[:4], body[4:8]):
        return each.start == frame.START
    if each.function in _SHORT_ANSWERS:
        return any(body[1:])
    return each.function in _BY_NUMBER and not any(body[4:]) and body[:4] != _DELETED


def _followed_by_answer(data: bytes, each: Frame, end: int) -> bool:
    following = data[end : end + frame.SIZE]
    return len(following) == frame.SIZE and following[:8] == each.to_bytes()[:8] and each.function != frame.STATUS


def explain(each: Frame, is_answer: bool) -> DecodedFrame:
    items: Sequence[Field] = _request(each)
    error = None
    if is_answer:
        try:
            items = _fields(_ANSWERS[each.function](each.to_bytes()))
        except ValueError as exc:
            items, error = (), Fault("content", str(exc))
    return DecodedFrame(
        direction="response" if is_answer else "request",
        address=str(each.controller),
        function=f"{each.function:02X}",
        items=tuple(items),
        error=error,
    )


def _fields(found: Any) -> Sequence[Field]:
    said = {name: getattr(found, name) for name in found.__dataclass_fields__ if name != "controller"}
    fields = [Field(name, _value(value)) for name, value in said.items()]
    reason = said.get("reason", said.get("event_reason"))
    if isinstance(reason, int) and reason in events.REASONS:
        fields.append(Field("what", " ".join(events.REASONS[reason])))
    return fields


def _value(value: Any) -> Value | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, int | str):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _request(each: Frame) -> Sequence[Field]:
    body = each.body
    match each.function:
        case frame.OPEN_DOOR | 0x82:
            return (Field("door", body[0]),)
        case frame.EVENT:
            return (Field("index", int.from_bytes(body[:4], "little")),)
        case frame.SET_LISTENER:
            port = int.from_bytes(body[4:6], "little")
            return Field("address", str(IPv4Address(body[:4]))), Field("port", port), Field("interval", body[6])
        case frame.SET_TIME:
            return (Field("datetime", body[:7].hex()),)
    used = body.rstrip(b"\0")
    return (Field("data", used.hex(" ").upper()),) if used else ()
