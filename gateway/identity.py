"""Whether the device that answers is the one that is meant.  Pure.

A swapped cable, or a meter replaced by another with the same address, shows in nothing but the serial number that the
device itself holds.  It is compared with what the site's configuration says; where that says nothing, with what was
read before, which the store keeps.

    says what it said before, or what the site says ──▶ same
    says something else ──▶ changed: an event, an alarm; under a configured number all values are doubtful until
                            the device or the configuration is put right, else the new number counts from now on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.model import Value

CHECK_POINT = "identity_check"
"""The name of the point that says how the comparison came out."""
SAME, CHANGED = "same", "changed"


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """A device said a serial number that it did not say before."""

    device: str
    before: str | None
    """None the first time, when there is nothing to compare with."""
    after: str
    expected: bool
    """Whether *before* is what the site's configuration says, so that the device itself is wrong."""
    belongs_to: str | None = None
    """The other device that is known by this number: two cables were swapped, or an address was set wrongly."""


@dataclass(slots=True)
class Identities:
    """One for the whole site."""

    expected: Mapping[str, str] = field(default_factory=dict)
    """Device -> the serial number that the configuration demands."""
    known: dict[str, str] = field(default_factory=dict)
    """Device -> the one it has said last."""
    wrong: set[str] = field(default_factory=set)
    """Devices whose values belong to another device, as far as we know."""

    def check(self, device: str, said: Value) -> tuple[str, IdentityChange | None]:
        """How *said* compares (``same``, ``changed``), and what is new about it."""
        number = normal(said)
        expected = self.expected.get(device)
        before = self.known.get(device)
        self.known[device] = number
        if expected is not None:
            return self._against_the_site(device, number, normal(expected), before)
        if before == number:
            return SAME, None
        change = IdentityChange(device, before, number, expected=False, belongs_to=self._owner(device, number))
        return (SAME if before is None else CHANGED), change

    def _against_the_site(
        self, device: str, number: str, expected: str, before: str | None
    ) -> tuple[str, IdentityChange | None]:
        if number == expected:
            self.wrong.discard(device)
            return SAME, None
        self.wrong.add(device)
        if number == before:
            return CHANGED, None
        return CHANGED, IdentityChange(device, expected, number, expected=True, belongs_to=self._owner(device, number))

    def _owner(self, device: str, number: str) -> str | None:
        """Whom the site or our memory calls by this number, beside *device*."""
        names = {**self.known, **{each: normal(text) for each, text in self.expected.items()}}
        return next((each for each, known in names.items() if known == number and each != device), None)


def normal(said: Value) -> str:
    """A serial number as it is compared: without surrounding blanks and leading zeros, in capitals."""
    text = f"{said:.0f}" if isinstance(said, float) else str(said)
    return text.strip().upper().lstrip("0") or "0"
