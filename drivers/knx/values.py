"""What a telegram's data is worth to a point, by its data point type.  Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum

from xknx.dpt.dpt import DPTBase
from xknx.dpt.payload import DPTArray, DPTBinary
from xknx.exceptions import ConversionError, CouldNotParseTelegram

from drivers.knx.config import PointOptions
from gateway.model import Reason, Value, ValueKind

LONGEST_TEXT = 255


def is_known(dpt: str) -> bool:
    return dpt.startswith("1.") or DPTBase.parse_transcoder(dpt) is not None


def value_of(data: int | Sequence[int], options: PointOptions, kind: ValueKind) -> Value | Reason:
    """*data*: the six bits beside the command, or bytes.  A value of *kind*, or why there is none."""
    if options.main == 1:
        return _bit(data, options, kind)
    transcoder = DPTBase.parse_transcoder(options.dpt)
    if transcoder is None:
        return Reason.NO_VALUE
    try:
        found = transcoder.from_knx(DPTBinary(data) if isinstance(data, int) else DPTArray(tuple(data)))
    except (ConversionError, CouldNotParseTelegram, ValueError):
        return Reason.BAD_FRAME
    if isinstance(found, Enum):
        found = found.value if isinstance(found.value, int) else found.name.lower()
    return _shown(found, options, kind)


def _bit(data: int | Sequence[int], options: PointOptions, kind: ValueKind) -> Value | Reason:
    if not isinstance(data, int) or data not in (0, 1):
        return Reason.BAD_FRAME
    if options.map:
        return options.map.get(data, Reason.OUT_OF_RANGE)
    return bool(data) if kind is ValueKind.BOOLEAN else data


def _shown(found: object, options: PointOptions, kind: ValueKind) -> Value | Reason:
    if options.map:
        return options.map.get(found, Reason.OUT_OF_RANGE) if isinstance(found, int | str) else Reason.NO_VALUE
    if kind is ValueKind.TEXT or isinstance(found, str):
        text = "".join(each if each.isprintable() else " " for each in str(found)).strip()[:LONGEST_TEXT]
        return text if kind is ValueKind.TEXT else Reason.NO_VALUE
    if not isinstance(found, int | float) or not math.isfinite(found):
        return Reason.NO_VALUE
    if kind is ValueKind.BOOLEAN:
        return bool(found)
    return found if options.scale == 1.0 else float(Decimal(repr(found)) * Decimal(str(options.scale)))
