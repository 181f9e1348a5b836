"""What a meter has kept: freezes (05h) and events (03h, 1Dh, 1Eh).

Source: sizes and order as several public collectors read them, which agree with each other and with the text of annex
A where that is public; no captured answer exists.  Freeze blocks (FF), events that are not here and load profiles
(06h) have no source that says their bytes: ``decode`` shows them as hex, a point can give a ``format``.
"""

from __future__ import annotations

from collections.abc import Mapping

from drivers.dlt645.formats import Item, Part

KWH, KVARH = "kW.h", "kV.A{reactive}.h"
KW, KVAR = "kW", "kV.A{reactive}"
_STAMP = "YYMMDDhhmmss"

# ---------------------------------------------------------------------------------------------- freezes

_FREEZES = {0x00: "timed freeze", 0x01: "instant freeze", 0x04: "hourly freeze", 0x06: "daily freeze"}
"""DI2 -> what it is.  DI0 counts from 01, the latest."""

_HOURLY = 0x04


def freeze(kind: int, quantity: int, energies: Mapping[int, Item], demands: Mapping[int, Item]) -> Item | None:
    """The item of 05 *kind* *quantity* nn; None when it is not known."""
    name = _FREEZES.get(kind)
    if name is None:
        return None
    if quantity == 0x00:
        return Item(f"{name}: time", (Part("YYMMDDhhmm"),))
    if kind == _HOURLY:  # the total alone
        known = quantity in (0x01, 0x02)
        return Item(f"{name}: {energies[quantity].name}", energies[quantity].parts) if known else None
    if quantity == 0x10:
        return Item(f"{name}: powers", _POWERS)
    item = energies[quantity] if 0x01 <= quantity <= 0x08 else demands.get(_DEMANDS.get(quantity, 0))
    return Item(f"{name}: {item.name}", item.parts, per_tariff=True) if item else None


_DEMANDS = {0x09: 0x01, 0x0A: 0x02}
"""Freezes count their quantities on: 09 is the demand 01, 0A the demand 02."""

_POWERS = tuple(
    Part("XX.XXXX", unit, signed=True, label=label)
    for unit, labels in (
        (KW, ("", "l1", "l2", "l3")),
        (KVAR, ("reactive", "reactive_l1", "reactive_l2", "reactive_l3")),
    )
    for label in labels
)

# ---------------------------------------------------------------------------------------------- events


def _events(prefix: str, name: str, *parts: Part) -> dict[str, Item]:
    """How often (00), and the records of the last ten times (01 is the latest)."""
    counter = {f"{prefix}00": Item(f"{name}: count", (Part("XXXXXX"),))}
    return counter | {f"{prefix}{n:02X}": Item(f"{name}: record", parts) for n in range(1, 11)}


_BEGIN, _END, _OPERATOR = Part(_STAMP), Part(_STAMP, label="end"), Part("N" * 8, label="operator")

_REGISTERS = (("forward", KWH), ("reverse", KWH), *((f"quadrant{n}", KVARH) for n in range(1, 5)))
_AROUND = tuple(
    Part("XXXXXX.XX", unit, label=f"{when}_{register}") for when in ("before", "after") for register, unit in _REGISTERS
)


def _loss() -> tuple[Part, ...]:
    """A loss of voltage on one phase: what ran in the meantime, and what all phases showed when it began."""
    totals = (("forward", KWH), ("reverse", KWH), ("reactive1", KVARH), ("reactive2", KVARH))
    parts = [_BEGIN, _END, *(Part("XXXXXX.XX", unit, label=name) for name, unit in totals)]
    for phase in ("l1", "l2", "l3"):
        parts += [Part("XXXXXX.XX", unit, label=f"{name}_{phase}") for name, unit in totals]
        parts += [
            Part("XXX.X", "V", label=f"voltage_{phase}"),
            Part("XXX.XXX", "A", signed=True, label=f"current_{phase}"),
            Part("XX.XXXX", KW, signed=True, label=f"power_{phase}"),
            Part("XX.XXXX", KVAR, signed=True, label=f"reactive_power_{phase}"),
            Part("X.XXX", signed=True, label=f"power_factor_{phase}"),
        ]
    return (*parts, *(Part("XXXXXX.XX", label=f"ampere_hours{phase}") for phase in ("", "_l1", "_l2", "_l3")))


_LOSS_COUNTERS = (
    *(Part("XXXXXX"), Part("XXXXXX", "min", label="minutes")),
    *(Part("XXXXXX", label="l2"), Part("XXXXXX", "min", label="minutes_l2")),
    *(Part("XXXXXX", label="l3"), Part("XXXXXX", "min", label="minutes_l3")),
)
_CODES = tuple(Part("hex4", label=f"identifier{n}") for n in range(1, 11))

EVENTS: Mapping[str, Item] = {
    "03010000": Item("voltage losses of phases A, B, C: count and minutes", _LOSS_COUNTERS),
    **{
        f"0301{number:02X}{n:02X}": Item(f"voltage loss, phase {phase}: record", _loss())
        for number, phase in enumerate("ABC", 1)
        for n in range(1, 11)
    },
    **_events("031100", "power failure", _BEGIN, _END),
    **_events("033000", "programming", _BEGIN, _OPERATOR, *_CODES),
    **_events("033001", "meter cleared", _BEGIN, _OPERATOR, Part("hex96", label="energies_before")),
    **_events("033002", "demand cleared", _BEGIN, _OPERATOR, Part("hex184", label="demands_before")),
    **_events("033003", "events cleared", _BEGIN, _OPERATOR, Part("hex4", label="identifier1")),
    **_events("033004", "clock set", Part("N" * 8, label="operator"), Part(_STAMP, label="before"), _BEGIN),
    **_events("03300D", "cover opened", _BEGIN, _END, *_AROUND),
    **_events("03300E", "terminal cover opened", _BEGIN, _END, *_AROUND),
    **{f"1D0001{n:02X}": Item("relay opened: time", (_BEGIN,)) for n in range(1, 11)},
    **{f"1E0001{n:02X}": Item("relay closed: time", (_BEGIN,)) for n in range(1, 11)},
}
