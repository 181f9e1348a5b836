"""What is known of a panel from what it has printed.  Pure.

A printer is told what happens and never what is: nothing is known before the first record of its kind, or a reset.
Only a reset ends a fire; another state ends for the device that is printed as over, and all but shielding by a reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.gst_printer.printout import FAULT, FEEDBACK, FIRE, OTHER, RESET, SHIELDED, STARTED, SUPERVISORY, Printed

MOST_ADDRESSES = 1000
"""Of one state; further ones change nothing until a reset."""
_ENDED_BY_RESET = (FIRE, FAULT, SUPERVISORY, STARTED, FEEDBACK)
_KNOWN = (*_ENDED_BY_RESET, SHIELDED)


@dataclass(frozen=True, slots=True)
class Panel:
    active: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """State -> the addresses that are in it; a state that is not here has not been printed yet."""

    def heard(self, record: Printed) -> Panel:
        if record.event == OTHER:
            return self
        if record.event == RESET:
            return Panel({**self.active, **dict.fromkeys(_ENDED_BY_RESET, ())})
        there = self.active.get(record.event, ())
        if record.over:
            if record.event == FIRE or record.event not in self.active:
                return self
            left = tuple(address for address in there if address != record.address)
            return Panel({**self.active, record.event: left})
        if record.address in there or len(there) >= MOST_ADDRESSES:
            return self
        return Panel({**self.active, record.event: (*there, record.address)})

    def points(self) -> Mapping[str, bool | int]:
        told: dict[str, bool | int] = {state: bool(addresses) for state, addresses in self.active.items()}
        if FIRE in self.active:
            told["active_fires"] = len(self.active[FIRE])
        return told


def from_memory(written: Mapping[str, Sequence[str]]) -> Panel:
    """Raises ValueError, TypeError, AttributeError for what is no memory of a panel."""
    if not all(state in _KNOWN for state in written):
        raise ValueError("not the memory of a panel")
    return Panel({state: tuple(str(address) for address in addresses) for state, addresses in written.items()})
