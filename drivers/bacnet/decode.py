"""Explains captured BACnet/IP datagrams, one after the other."""

from __future__ import annotations

import struct

from drivers.bacnet.apdu import (
    Ack,
    Announced,
    ApduError,
    Bits,
    Changed,
    Enumerated,
    Message,
    Primitive,
    Refused,
    Wanted,
    parse,
)
from drivers.bacnet.config import OBJECT_TYPES, PROPERTIES
from drivers.base import Decoded, DecodedFrame, Fault, Field

_TYPES = {number: name for name, number in OBJECT_TYPES.items()}
_NAMES = {number: name for name, number in PROPERTIES.items()}


def decode(data: bytes) -> Decoded:
    frames: list[DecodedFrame] = []
    at = 0
    while at < len(data):
        end = at + struct.unpack_from(">H", data, at + 2)[0] if len(data) >= at + 4 else len(data)
        try:
            if end <= at:
                raise ApduError("length")
            found = parse(data[at:end])
        except ApduError as exc:
            text = f"不是 BACnet/IP 报文 / not a BACnet/IP message: {exc}"
            return Decoded(tuple(frames), Fault("no_frame", text, at))
        frames.append(_other() if found is None else _explained(found[0]))
        at = end
    return Decoded(tuple(frames), None if frames else Fault("no_frame", "没有报文 / no message"))


def _other() -> DecodedFrame:
    return DecodedFrame("request", "", "other")


def _explained(message: Message) -> DecodedFrame:
    if isinstance(message, Announced):
        items = (Field("device", message.instance), Field("vendor", message.vendor))
        return DecodedFrame("request", str(message.instance), "i-am", items)
    if isinstance(message, Ack | Changed):
        name = "ack" if isinstance(message, Ack) else "cov"
        address = "" if isinstance(message, Ack) else str(message.device)
        fields = tuple(Field(_name(each), _shown(raw)) for each, raw in message.values)
        return DecodedFrame("response" if name == "ack" else "request", address, name, fields)
    return DecodedFrame("response", "", message.kind, (), Fault(str(message.code), f"{message.kind} {message.code}"))


def _name(each: Wanted) -> str:
    """``analog-input,1 present-value``"""
    index = "" if each.index is None else f"[{each.index}]"
    kind = _TYPES.get(each.object[0], str(each.object[0]))
    return f"{kind},{each.object[1]} {_NAMES.get(each.property, each.property)}{index}"


def _shown(raw: Primitive | Refused) -> str | int | float | bool | None:
    if isinstance(raw, Refused):
        return f"error {raw.error_class}:{raw.code}"
    if isinstance(raw, Bits):
        return "".join("1" if bit else "0" for bit in raw.bits)
    if isinstance(raw, Enumerated):
        return raw.number
    if isinstance(raw, bytes):
        return raw.hex()
    return f"{raw[0]},{raw[1]}" if isinstance(raw, tuple) else raw
