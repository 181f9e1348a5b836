"""Explains captured bytes: every frame in them, and what is broken between the frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.dlt645 import formats, frame, items, writing
from drivers.dlt645.frame import Frame, find_frame
from drivers.summed_frames import START, decoded

_ADDRESS_ITEM = "04000401"
_SECOND_START = 7


def decode(data: bytes) -> Decoded:
    """Frames of either direction, 2007 or 1997.  Stray bytes around frames are allowed, a damaged frame is a fault."""
    return decoded(data, find_frame, explain, _damage)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a frame: two starts, 7 bytes apart."""
    for at in range(start, end):
        second = at + _SECOND_START
        cut_off = second >= len(data)
        if data[at] == START and (cut_off or (second < end and data[second] == START)):
            return frame.SHAPE.fault_at(data, at)
    return None


def explain(each: Frame) -> DecodedFrame:
    error = None
    if each.refused:
        code = each.data[0] if each.data else 0
        error = Fault(f"{code:02X}", frame.error_text(code, each.function))
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
    """Whether the data of an 11h begin with an identifier of two bytes."""
    if len(data) <= 2:
        return len(data) == 2
    item, block = items.lookup(_high_first(data[:2])), items.block(_high_first(data[:2]))
    fits = (item is not None and item.fits(len(data) - 2)) or (block and formats.split_block(block, data[2:]))
    return bool(fits) and not _is_known(_high_first(data[:4]))


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


def _write_1997(each: Frame) -> tuple[Field, ...]:
    """04h: identifier, password level and password, data."""
    if len(each.data) < 6:
        return _unknown(each)
    written = _identified(each.data[:2] + each.data[6:], 2, with_data=True)
    return (*written, Field("password_level", each.data[2]))


def _relay(each: Frame) -> tuple[Field, ...]:
    """1Ch: password level and password, operator, command N1, reserved N2, valid until ss mm hh DD MM YY."""
    if len(each.data) != 16:
        return _unknown(each)
    command, until = each.data[8], formats.layout("YYMMDDhhmmss").read(each.data[10:])
    return (
        Field("command", f"{command:02X}"),
        Field("command_name", _COMMANDS.get(command, "unknown")),
        Field("valid_until", until),
        *_authority(each.data[:8]),
    )


def _clear(each: Frame) -> tuple[Field, ...]:
    """19h to 1Bh: password and operator, and for events which (FFFFFFFF: all)."""
    if len(each.data) < 8:
        return _unknown(each)
    which = (Field("clear", _high_first(each.data[8:12])),) if len(each.data) >= 12 else ()
    return (*which, *_authority(each.data[:8]))


def _password(each: Frame) -> tuple[Field, ...]:
    """18h: identifier, old level and password, new level and password; neither password is shown."""
    if len(each.data) != 12:
        return _unknown(each)
    return (
        Field("identifier", _high_first(each.data[:4])),
        Field("password_level", each.data[4]),
        Field("new_password_level", each.data[8]),
    )


def _baud(each: Frame) -> tuple[Field, ...]:
    """17h: one bit for each rate, in the request and in the answer."""
    rates = [rate for bit, rate in enumerate(_BAUDS, 1) if each.data == bytes((1 << bit,))]
    return (Field("baud", rates[0], "Bd"),) if rates else _unknown(each)


_BAUDS = (600, 1200, 2400, 4800, 9600, 19200)
_COMMANDS = {0x1A: "trip", 0x1B: "permit close", 0x1C: "close"} | {
    n1: f"{name.replace('_', ' ')} {state}"
    for name in ("alarm", "keep_supply")
    for n1, state in zip(writing.COMMANDS[name], ("off", "on"), strict=True)
}


def _authority(data: bytes) -> tuple[Field, ...]:
    return Field("password_level", data[0]), Field("operator", data[4:8][::-1].hex().upper())


def _time(each: Frame) -> tuple[Field, ...]:
    if len(each.data) != 6:
        return _unknown(each)
    return (Field("time", formats.layout("YYMMDDhhmmss").read(each.data)),)


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
    frame.CHANGE_BAUD: _baud,
    frame.CHANGE_PASSWORD: _password,
    frame.CLEAR_DEMAND: _clear,
    frame.CLEAR_METER: _clear,
    frame.CLEAR_EVENTS: _clear,
    frame.RELAY: _relay,
    frame.READ_1997: _read_1997,
    frame.READ_FOLLOWING_1997: _read_1997,
    frame.READ_AGAIN_1997: _read_1997,
    frame.WRITE_1997: _write_1997,
    frame.WRITE_ADDRESS_1997: _read_address,
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


def _block_fields(block: formats.Block, data: bytes) -> tuple[Field, ...]:
    members = formats.split_block(block, data)
    if not members:
        return (_raw(block.di, data),)
    pairs = zip(block.members, members, strict=False)  # a meter has fewer tariffs than there are identifiers
    return tuple(field for di, member in pairs for field in _item_fields(di, items.lookup(di), member))


def _item_fields(di: str, item: formats.Item | None, data: bytes) -> tuple[Field, ...]:
    if item is None or not item.fits(len(data)):
        return (_raw(di, data),)
    fields: list[Field] = []
    for label, part, raw in item.split(data):
        value = part.layout.read(raw)
        fields.append(Field(f"{di}.{label}" if label else di, value, part.unit))
        if value is not None:
            fields += [Field(f"{di}.{flag.name}", flag.read(value)) for flag in part.flags]
    return tuple(fields)


def _raw(di: str, data: bytes) -> Field:
    """Bytes that the table does not explain, as hex; None where there are none."""
    return Field(di, data.hex(" ").upper() or None)


def _high_first(data: bytes) -> str:
    return data[::-1].hex().upper()
