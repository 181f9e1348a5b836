"""The codes that lifts are told of in, brought to one vocabulary: that of the rules (rules/library/README.md).  Pure.

    platform A "04" ┬─▶ message_code 4, stopped outside the unlocking zone
    platform B 0203 ┘
    C800h      4100 ──▶ message_code 1, safety circuit open while running

The vocabulary is GB/T 24476-2017, real-time state and faults: service modes 0 to 7, message codes 0 to 8, 40 to 47, 90.
What a foreign code says beyond it becomes 8, another fault that keeps the lift from starting again, and never 0; the
code itself stays a point of its own.  A profile names a table instead of repeating it: ``values: lift/service_mode``.

Source: public implementations (tests/vectors/elevator.json), not the standard's own text.  Of the C800h block there is
one implementation only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.model import Value

OTHER_FAULT: Final = 8
EVERY_OTHER: Final = "*"

SERVICE_MODES: Final = (
    "out_of_service",
    "normal",
    "inspection",
    "fire_return",
    "firefighter",
    "emergency_power",
    "earthquake",
    "unknown",
)
"""By their numbers in GB/T 24476-2017."""

MESSAGES: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        0: ("无故障", "no fault"),
        1: ("运行时安全回路断开", "safety circuit open while running"),
        2: ("关门故障", "door close fault"),
        3: ("开门故障", "door open fault"),
        4: ("轿厢停在开锁区域外", "car stopped outside the unlocking zone"),
        5: ("轿厢意外移动", "unintended car movement"),
        6: ("电动机运转时间限制器动作", "motor run time limiter"),
        7: ("楼层位置丢失", "floor position lost"),
        8: ("其他阻止再启动的故障", "other fault that prevents a restart"),
        40: ("恢复自动运行", "back to automatic"),
        41: ("主电源断电", "mains off"),
        42: ("停止服务", "out of service"),
        43: ("检修运行", "inspection"),
        44: ("消防返回", "fire return"),
        45: ("消防员运行", "firefighter operation"),
        46: ("应急电源运行", "emergency power"),
        47: ("地震模式", "earthquake"),
        90: ("报警按钮", "alarm button"),
    }
)
"""Message code -> what it means, Chinese and English."""


class Table(enum.StrEnum):
    """The tables by their names in a profile."""

    SERVICE_MODE = "lift/service_mode"
    MESSAGE_CODE = "lift/message_code"
    PLATFORM_A = "lift/platform_a"
    PLATFORM_B = "lift/platform_b"
    C800 = "lift/c800"


_PLATFORM_A: Final = {
    "00": 0,
    "01": 1,
    "02": 2,
    "03": 3,
    "04": 4,
    "05": 5,
    "06": 6,
    "07": 7,
    "08": 1,  # a door that opens breaks the safety circuit
    "09": 8,  # overshoot at the top
    "10": 8,  # overshoot at the bottom
    "11": 8,  # overspeed
    "12": 5,  # moving with an open door
    "13": 6,
    "14": 2,  # opens and closes again and again: it does not get closed
    "15": 90,
}
_PLATFORM_B: Final = {
    "0101": 8,  # entrapment: why is not said
    "0201": 8,  # a door: which of its faults is not said
    "0202": 1,
    "0203": 4,
    "0204": 8,
    "0205": 8,
    "0207": 5,
    "0314": 0,  # stays at one floor for long
    "0315": 8,  # seems to have stopped
    "0317": 0,  # an e-bike in the car
    "0401": 42,
    "0402": 43,
}
"""0313 is missing with intent: the monitor is offline, and nobody knows of the lift."""
_C800: Final = {0: 0, 32: 8, 40: 6, 41: 1, 42: 1, 48: 3, 49: 2, 58: 7, 65: 5}
"""Number behind the E -> message code."""


def _written_with_and_without_zeros(codes: Mapping[str, int], other: int | None) -> Mapping[str, Value]:
    """Some senders write a code as a number: ``"04"`` and 4 are the same."""
    table: dict[str, Value] = {**codes, **{str(int(code)): meant for code, meant in codes.items()}}
    return table if other is None else {**table, EVERY_OTHER: other}


TABLES: Final[Mapping[Table, Mapping[str, Value]]] = MappingProxyType(
    {
        Table.SERVICE_MODE: {str(number): word for number, word in enumerate(SERVICE_MODES)},
        Table.MESSAGE_CODE: {str(code): code for code in MESSAGES},
        Table.PLATFORM_A: _written_with_and_without_zeros(_PLATFORM_A, OTHER_FAULT),
        Table.PLATFORM_B: _written_with_and_without_zeros(_PLATFORM_B, None),
        Table.C800: {**{str(100 * number): meant for number, meant in _C800.items()}, EVERY_OTHER: OTHER_FAULT},
    }
)
"""Raw code, as it is written in JSON or read from a register -> what it means."""


def written_out(value: object) -> object:
    """The table that a name stands for; anything else is left as it is.  Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return dict(TABLES[Table(value)])
    except ValueError:
        known = ", ".join(Table)
        raise ValueError(f"没有这个代码表：{value} / no table {value}; there are {known}") from None


Values = Annotated[dict[str, bool | int | float | str], Field(max_length=256)]
_SCALARS = {"anyOf": [{"type": each} for each in ("boolean", "integer", "number", "string")]}
_VALUES = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALARS, "maxProperties": 256},
        {"type": "string", "enum": [each.value for each in Table]},
    ]
}
Codes = Annotated[Values, BeforeValidator(written_out), WithJsonSchema(_VALUES)]
"""How a profile writes a table of codes down, or names one that stands here."""
