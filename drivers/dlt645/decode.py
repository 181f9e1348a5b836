"""Explains captured bytes: every frame in them, and what is broken between the frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.dlt645 import frame, items
from drivers.dlt645.frame import Frame, fault_at, find_frame

_ADDRESS_ITEM = "04000401"
_SECOND_START = 7


def decode(data: bytes) -> Decoded:
    """Frames of either direction, 2007 or 1997.  Stray bytes around frames are allowed, a damaged frame is a fault."""
    frames: list[DecodedFrame] = []
    fault: Fault | None = None
    at = 0
    while (found := find_frame(data, at)) is not None:
        each, start, end = found
        fault = fault or _damage(data, at, start)
        frames.append(explain(each))
        at = end
    fault = fault or _damage(data, at, len(data))
    if not frames and fault is None:
        fault = Fault("no_frame", "没有找到帧 no frame in these bytes", 0)
    return Decoded(tuple(frames), fault)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a frame: two starts, 7 bytes apart."""
    for at in range(start, end):
        second = at + _SECOND_START
        cut_off = second >= len(data)
        if data[at] == frame.START and (cut_off or (second < end and data[second] == frame.START)):
            return fault_at(data, at)
    return None


def explain(each: Frame) -> DecodedFrame:
    error = None
    if each.refused:
        code = each.data[0] if each.data else 0
        error = Fault(f"{code:02X}", frame.error_text(code))
    return DecodedFrame(
        direction="response" if each.is_answer else "request",
        address=each.address,
        function=f"{each.control:02X}",
        items=() if each.refused else _READERS.get(each.function, _unknown)(each),
        error=error,
    )


# ---------------------------------------------------------------------------------------------- by function


def _read(each: Frame) -> tuple[Field, ...]:
    """11h and 12h, in either direction.  Some meters take 2-byte identifiers with 2007 control codes."""
    following = each.function == frame.READ_FOLLOWING
    data = each.data[:-1] if following else each.data
    sequence = (Field("sequence", each.data[-1]),) if following and each.data else ()
    return (*_identified(data, 2 if _is_1997(data) else 4, each.is_answer), *sequence)


def _read_1997(each: Frame) -> tuple[Field, ...]:
    return _identified(each.data, 2, each.is_answer)


def _is_1997(data: bytes) -> bool:
    if len(data) == 2:
        return True
    item = items.lookup(_high_first(data[:2])) if len(data) > 2 else None
    return item is not None and len(data) == 2 + item.size and not _is_known(_high_first(data[:4]))


def _is_known(di: str) -> bool:
    return len(di) == 8 and (items.lookup(di) is not None or items.block(di) is not None)


def _read_address(each: Frame) -> tuple[Field, ...]:
    return (Field(_ADDRESS_ITEM, _high_first(each.data)),) if each.data else ()


def _write(each: Frame) -> tuple[Field, ...]:
    """14h: identifier, password level and password, operator, data.  The password itself is nobody's business."""
    if len(each.data) < 12:
        return _unknown(each)
    written = _identified(each.data[:4] + each.data[12:], 4, with_data=True)
    return (*written, *_authority(each.data[4:12]))


def _relay(each: Frame) -> tuple[Field, ...]:
    """1Ch: password level and password, operator, command N1, reserved N2, valid until ss mm hh DD MM YY."""
    if len(each.data) != 16:
        return _unknown(each)
    until = items.layout("YYMMDDhhmmss").read(each.data[10:])
    return (
        *_authority(each.data[:8]),
        Field("command", f"{each.data[8]:02X}"),
        Field("valid_until", until),
    )


def _authority(data: bytes) -> tuple[Field, ...]:
    return Field("password_level", data[0]), Field("operator", data[4:8][::-1].hex().upper())


def _time(each: Frame) -> tuple[Field, ...]:
    if len(each.data) != 6:
        return _unknown(each)
    return (Field("time", items.layout("YYMMDDhhmmss").read(each.data)),)


def _freeze(each: Frame) -> tuple[Field, ...]:
    """16h: MM DD hh mm from the high end; 99 stands for every."""
    return (Field("freeze_at", _high_first(each.data)),) if each.data else ()


def _unknown(each: Frame) -> tuple[Field, ...]:
    return (Field("data", each.data.hex(" ").upper()),) if each.data else ()


_READERS: Mapping[int, Callable[[Frame], tuple[Field, ...]]] = {
    frame.READ: _read,
    frame.READ_FOLLOWING: _read,
    frame.READ_ADDRESS: _read_address,
    frame.WRITE: _write,
    frame.WRITE_ADDRESS: _read_address,
    frame.BROADCAST_TIME: _time,
    frame.FREEZE: _freeze,
    frame.RELAY: _relay,
    frame.READ_1997: _read_1997,
    frame.READ_FOLLOWING_1997: _read_1997,
    frame.READ_AGAIN_1997: _read_1997,
}


# ---------------------------------------------------------------------------------------------- values


def _identified(data: bytes, width: int, with_data: bool) -> tuple[Field, ...]:
    """What stands behind an identifier of *width* bytes; a request has the identifier only."""
    if len(data) < width:
        return (Field("data", data.hex(" ").upper()),) if data else ()
    di, rest = _high_first(data[:width]), data[width:]
    block = items.block(di)
    if block is not None and with_data:
        return _block_fields(block, rest)
    item = items.lookup(di)
    if not with_data:
        return (Field(di, None, item.main[1].unit if item else None),)
    return _item_fields(di, item, rest)


def _block_fields(block: items.Block, data: bytes) -> tuple[Field, ...]:
    members = items.split_block(block, data)
    if not members:
        return (_raw(block.di, data),)
    pairs = zip(block.members, members, strict=False)  # a meter has fewer tariffs than there are identifiers
    return tuple(field for di, member in pairs for field in _item_fields(di, block.item, member))


def _item_fields(di: str, item: items.Item | None, data: bytes) -> tuple[Field, ...]:
    if item is None or len(data) != item.size:
        return (_raw(di, data),)
    fields: list[Field] = []
    at = 0
    for part in item.parts:
        layout = part.layout
        name = f"{di}.{part.label}" if part.label else di
        field = Field(name, layout.read(data[at : at + layout.size]), part.unit)
        fields.insert(len(fields) if part.label else 0, field)  # the main value first
        at += layout.size
    return tuple(fields)


def _raw(di: str, data: bytes) -> Field:
    """Bytes that the table does not explain, as hex; None where there are none."""
    return Field(di, data.hex(" ").upper() or None)


def _high_first(data: bytes) -> str:
    return data[::-1].hex().upper()
