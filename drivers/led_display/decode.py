"""Explains the frames of an LED display (``gateway decode onbon``)."""

from __future__ import annotations

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.led_display import frame
from drivers.led_display.frame import END, START, Frame, FrameError


def decode(data: bytes) -> Decoded:
    """All frames in *data*, which hold nothing else but more A5 in front."""
    frames: list[DecodedFrame] = []
    at = 0
    while at < len(data):
        if not data.startswith(START, at):
            return Decoded(tuple(frames), Fault("start", "a frame begins with eight A5", at))
        at = len(data) - len(data[at:].lstrip(b"\xa5")) - len(START)  # of a longer run the last eight count
        end = data.find(END, at)
        if end < 0:
            return Decoded(tuple(frames), Fault("end", "no 5A", at))
        try:
            frames.append(_explained(Frame.from_bytes(data[at : end + 1])))
        except FrameError as exc:
            return Decoded(tuple(frames), Fault("frame", str(exc), at + exc.offset))
        at = end + 1
    return Decoded(tuple(frames)) if frames else Decoded(fault=Fault("empty", "no bytes"))


def _explained(found: Frame) -> DecodedFrame:
    """Raises FrameError."""
    answer = found.to == frame.PC
    group, command = found.command
    items = [Field("from" if answer else "to", found.sender if answer else found.to)]
    if not answer and found.command == frame.SHOW:
        areas, removed = frame.shown(found.content)
        items += [Field("remove", number) for number in removed]
        for area in areas:
            items.append(Field(f"area {area.number}", f"{area.width}x{area.height} at {area.x},{area.y}"))
            items.append(Field("text", area.text.decode("gb18030", "replace")))
    elif found.content:
        items.append(Field("content", found.content.hex(" ")))
    error = None
    if answer and (found.command == frame.NACK or found.status):
        error = Fault(str(found.status), frame.REFUSALS.get(found.status, ("", "unknown"))[1])
    address = str(found.sender if answer else found.to)
    return DecodedFrame("response" if answer else "request", address, f"{group:02X}{command:02X}", tuple(items), error)
