"""What a notification is called.  Pure.

Sources: RFC 3418 (snmpTraps), RFC 1628 (upsTraps), APC PowerNet-MIB (UPS traps of enterprise 318).
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.snmp.config import Oid, show_oid
from drivers.snmp.values import Bound, text_of
from gateway.model import Reason

TRAP_OID: Oid = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
UPTIME: Oid = (1, 3, 6, 1, 2, 1, 1, 3, 0)
_BESIDE = (TRAP_OID, UPTIME, (1, 3, 6, 1, 6, 3, 18))
"""What every notification carries, and what a proxy adds (the community among it: never shown)."""
_STANDARD, _UPS, _APC = (1, 3, 6, 1, 6, 3, 1, 1, 5), (1, 3, 6, 1, 2, 1, 33, 2), (1, 3, 6, 1, 4, 1, 318, 0)

NAMES: dict[Oid, str] = {
    (*_STANDARD, 1): "coldStart",
    (*_STANDARD, 2): "warmStart",
    (*_STANDARD, 3): "linkDown",
    (*_STANDARD, 4): "linkUp",
    (*_STANDARD, 5): "authenticationFailure",
    (*_UPS, 1): "upsTrapOnBattery",
    (*_UPS, 2): "upsTrapTestCompleted",
    (*_UPS, 3): "upsTrapAlarmEntryAdded",
    (*_UPS, 4): "upsTrapAlarmEntryRemoved",
    (*_APC, 2): "upsOverload",
    (*_APC, 5): "upsOnBattery",
    (*_APC, 7): "lowBattery",
    (*_APC, 9): "powerRestored",
}
MOST_BINDINGS, LONGEST = 8, 400


def name_of(trap: Oid) -> str | None:
    """A version 1 trap's name has a zero before its last number when it is translated (RFC 3584, 3.1)."""
    return NAMES.get(trap) or NAMES.get((*trap[:-2], trap[-1]) if trap[-2:-1] == (0,) else ())


def trap_of(bindings: Sequence[Bound]) -> Oid | None:
    return next((each.raw for each in bindings if each.oid == TRAP_OID and isinstance(each.raw, tuple)), None)


def details(bindings: Sequence[Bound]) -> str:
    """``1.3.6.1.2.1.2.2.1.1.3=3; …``, bounded; nothing of what every notification carries."""
    own = [each for each in bindings if not any(each.oid[: len(beside)] == beside for beside in _BESIDE)]
    shown = (f"{show_oid(each.oid)}={_shown(each)}" for each in own[:MOST_BINDINGS])
    return "; ".join(shown)[:LONGEST]


def _shown(bound: Bound) -> str:
    return "" if isinstance(bound.raw, Reason) else text_of(bound.raw)
