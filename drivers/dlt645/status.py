"""What the bits of the run status words mean (DL/T 645-2007, annex C; bits 8 to 15 of word 3 by its supplements).

Bit 4 of word 3 is confirmed by a captured meter before and after a trip (tests/vectors); the other bits agree between
several independent public readers.  Which of a meter's bits are alive depends on what it measures.
"""

from __future__ import annotations

from drivers.dlt645.formats import Flag

RELAY, ALARM, KEEP_SUPPLY = 4, 7, 12
"""Bits of word 3 that the commands of 1Ch move."""

_DIRECTION = ("forward", "reverse")
_SET = ("first", "second")
_POWER = ("closed", "open")

_FAULTS = tuple(
    Flag(name, bit)
    for bit, name in enumerate(
        (
            *("voltage_loss", "undervoltage", "overvoltage", "current_loss", "overcurrent", "overload"),
            *("reverse_flow", "phase_failure", "current_break"),
        )
    )
)

FLAGS: tuple[tuple[Flag, ...], ...] = (
    (
        Flag("demand_method", 1, ("sliding", "block")),
        Flag("clock_battery_low", 2),
        Flag("reading_battery_low", 3),
        Flag("active_direction", 4, _DIRECTION),
        Flag("reactive_direction", 5, _DIRECTION),
    ),
    tuple(
        Flag(f"{kind}_direction_{phase}", lowest + n, _DIRECTION)
        for kind, lowest in (("active", 0), ("reactive", 4))
        for n, phase in enumerate(("l1", "l2", "l3"))
    ),
    (
        Flag("time_slots", 0, _SET),
        Flag("supply", 1, ("mains", "auxiliary", "battery"), width=2),
        Flag("programming", 3, ("locked", "allowed")),
        Flag("relay", RELAY, _POWER),
        Flag("time_zones", 5, _SET),
        Flag("relay_command", 6, _POWER),
        Flag("trip_alarm", ALARM),
        Flag("prepayment", 8, ("none", "energy", "money"), width=2),
        Flag("tariff_set", 10, _SET),
        Flag("step_set", 11, _SET),
        Flag("keep_supply", KEEP_SUPPLY),
    ),
    _FAULTS,
    _FAULTS,
    _FAULTS,
    tuple(
        Flag(name, bit)
        for bit, name in enumerate(
            (
                *("voltage_sequence", "current_sequence", "voltage_unbalance", "current_unbalance"),
                *("auxiliary_power_lost", "power_failure", "demand_exceeded", "power_factor_low"),
            )
        )
    ),
)
"""Of the words 1 to 7."""
