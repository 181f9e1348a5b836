"""Explains OCPP-J messages, one a line.  Cards are not shown."""

from __future__ import annotations

from typing import Any

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.ocpp import schema
from drivers.ocpp.message import Call, FrameError, Result, parse

_PERSONAL = ("idTag", "parentIdTag")


def decode(data: bytes) -> Decoded:
    frames: list[DecodedFrame] = []
    offset = 0
    for line in data.split(b"\n"):
        if line.strip():
            try:
                frames.append(_explained(line.decode("utf-8")))
            except (FrameError, UnicodeDecodeError) as exc:
                return Decoded(tuple(frames), Fault("no_frame", f"不是 OCPP 报文 / not an OCPP message: {exc}", offset))
        offset += len(line) + 1
    return Decoded(tuple(frames), None if frames else Fault("no_frame", "没有报文 / no message"))


def _explained(text: str) -> DecodedFrame:
    message = parse(text)
    if isinstance(message, Call):
        fault = schema.fault_of_call(message.action, message.payload)
        error = None if fault is None else Fault(fault[0], fault[1])
        return DecodedFrame("request", message.id, message.action, tuple(_fields("", message.payload)), error)
    if isinstance(message, Result):
        return DecodedFrame("response", message.id, "result", tuple(_fields("", message.payload)))
    return DecodedFrame("response", message.id, "error", (), Fault(message.code, message.description))


def _fields(path: str, value: Any) -> list[Field]:
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in _fields(f"{path}.{key}" if path else str(key), each)]
    if isinstance(value, list):
        return [found for number, each in enumerate(value) for found in _fields(f"{path}[{number}]", each)]
    if path.rpartition(".")[2] in _PERSONAL:
        return [Field(path, "***")]
    return [Field(path, value)]
