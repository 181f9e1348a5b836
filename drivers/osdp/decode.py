"""Explains captured packets; what is encrypted stays so."""

from __future__ import annotations

from collections.abc import Sequence

from drivers import wiegand
from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.osdp import frame
from drivers.osdp.frame import Frame, find_frame

_ENCRYPTED = (0x17, 0x18)


def decode(data: bytes) -> Decoded:
    """Packets of either direction.  Marks and other bytes between them are allowed, a damaged packet is a fault."""
    frames: list[DecodedFrame] = []
    at = 0
    while (found := find_frame(data, at)) is not None:
        each, begin, end = found
        if (fault := _damage(data, at, begin)) is not None:
            return Decoded(tuple(frames), fault)
        frames.append(explain(each))
        at = end
    fault = _damage(data, at, len(data))
    if fault is None and data and not frames:
        fault = Fault("no_frame", "没有 OSDP 帧 / there is no OSDP packet")
    return Decoded(tuple(frames), fault)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a packet: a mark or nothing, and 53."""
    at = data.find(frame.START, start, end)
    if at < 0:
        return None
    size = int.from_bytes(data[at + 2 : at + 4], "little") if at + 4 <= len(data) else None
    if size is None or at + size > len(data):
        return Fault("truncated", "报文不完整 / the packet is cut off", at)
    return Fault("bad_check", "长度或校验错误 / wrong length, CRC or checksum", at)


def explain(each: Frame) -> DecodedFrame:
    names = frame.REPLIES if each.reply else frame.COMMANDS
    error = None
    if each.reply and each.code == frame.NAK and not each.secured:
        reason = each.data[0] if each.data else 0
        error = Fault(f"{reason:02X}", frame.NAKS.get(reason, str(reason)))
    return DecodedFrame(
        direction="response" if each.reply else "request",
        address=str(each.address),
        function=f"{each.code:02X}",
        items=(
            Field("what", names.get(each.code)),
            Field("sequence", each.sequence),
            Field("check", "crc" if each.control & 0x04 else "checksum"),
            *_security(each),
            *(() if error else _data(each)),
        ),
        error=error,
    )


def _security(each: Frame) -> Sequence[Field]:
    if not each.block:
        return ()
    kind = Field("security_block", f"{each.block[1]:02X}")
    return (kind, Field("mac", each.mac.hex(" ").upper())) if each.mac else (kind,)


def _data(each: Frame) -> Sequence[Field]:
    data = each.data
    if not data:
        return ()
    if each.block and each.block[1] in _ENCRYPTED:
        return (Field("encrypted", len(data)),)
    if each.reply and each.code == frame.KEYPAD and len(data) >= 2:
        return Field("reader", data[0]), Field("keys", data[1])
    if each.reply and each.code == frame.RAW_CARD and len(data) >= 4:
        return _card(data)
    if each.reply and each.code == frame.LSTATR and len(data) >= 2:
        return Field("tamper", data[0]), Field("power_failed", data[1])
    if each.reply and each.code == frame.PDID and len(data) >= 12:
        return (
            Field("vendor", data[:3].hex().upper()),
            Field("model", data[3]),
            Field("version", data[4]),
            Field("serial_number", f"{int.from_bytes(data[5:9], 'little'):08X}"),
            Field("firmware", ".".join(str(part) for part in data[9:12])),
        )
    return (Field("data", data.hex(" ").upper()),)


def _card(data: bytes) -> Sequence[Field]:
    size = int.from_bytes(data[2:4], "little")
    bits = "".join(f"{byte:08b}" for byte in data[4:])[:size]
    head = Field("reader", data[0]), Field("bits", size)
    card = wiegand.read(bits) if len(bits) == size and 0 < size <= wiegand.LONGEST else None
    if card is None:
        return (*head, Field("parity", False))
    return (*head, Field("layout", card.layout), Field("facility", card.facility), Field("card", card.card))
