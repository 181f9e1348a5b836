"""Everything that the bytes of an answer could say about a point, for whoever doubts a profile.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drivers.base import Field
from drivers.dlt645 import formats, frame
from drivers.dlt645.config import Dlt645PointOptions
from drivers.dlt645.exchange import Dialect
from drivers.dlt645.frame import Frame, find_frame


def interpretations(options: Dlt645PointOptions, address: str, dialect: Dialect, answer: bytes) -> Sequence[Field]:
    """Raw digits, the value as configured, then every other way to read the same bytes; empty without an answer."""
    found = _answer(options, address, dialect, answer)
    if found is None:
        return ()
    if found.refused:
        code = found.data[0] if found.data else 0
        return (Field("refused", frame.error_text(code, found.function)),)
    return tuple(_readings(options, found.data[dialect.width :]))


def _answer(options: Dlt645PointOptions, address: str, dialect: Dialect, answer: bytes) -> Frame | None:
    """The frame in *answer* that was meant for the point."""
    request = dialect.first(address, options.di)
    found = find_frame(answer)
    while found is not None and not frame.answers(found[0], request, dialect.width):
        found = find_frame(answer, found[2])
    return found[0] if found else None


def _readings(options: Dlt645PointOptions, data: bytes) -> Iterator[Field]:
    yield Field("raw", data.hex(" ").upper() or None)
    yield Field("digits", data[::-1].hex().upper() or None)
    offset, part = options.place
    raw = data[offset : offset + part.layout.size]
    configured = part.format
    if options.item.fits(len(data)) and len(raw) == part.layout.size:
        yield Field(f"{configured} (configured)", part.layout.read(raw), part.unit)
        yield from (Field(flag.name, flag.read(word)) for flag in part.flags if (word := part.layout.read(raw)))
    else:
        raw, configured = data, ""
    if raw:
        yield from _others(raw, configured, part.signed)


def _others(raw: bytes, configured: str, signed: bool) -> Iterator[Field]:
    """Every known format of the same length that makes sense of the bytes."""
    for name in formats.COMMON:
        for with_sign in (False, True) if formats.is_numeric(name) else (False,):
            layout = formats.layout(name, with_sign)
            value = layout.read(raw) if layout.size == len(raw) and (name, with_sign) != (configured, signed) else None
            if value is not None:
                yield Field(
                    f"{name} {'signed' if with_sign else 'unsigned'}" if formats.is_numeric(name) else name, value
                )
    if len(raw) <= 8:
        yield Field("binary, low byte first", int.from_bytes(raw, "little"))
