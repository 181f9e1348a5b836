"""A household's consent to being cared for, or to terminals in its home: who gave it, when, until when.  Pure.

Whether it holds is asked of the calendar, not of the file: a consent that ends while the gateway runs takes the
household's devices out of the running configuration, and never keeps the gateway from starting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from enum import StrEnum
from typing import Any

CARE_KIND = "care_home"
"""Devices of this kind are cared for: rules/library/care.yaml."""


class Step(StrEnum):
    """What has become of a consent.  The wording is part of the MQTT contract: add, never rename."""

    GIVEN = "given"
    CHANGED = "changed"
    ENDED = "ended"  # its time is over, or has not begun
    WITHDRAWN = "withdrawn"  # it is not in the configuration any more


@dataclass(frozen=True, slots=True)
class Consent:
    by: str
    """A role."""
    since: date
    until: date | None
    """The last day."""
    record: str
    """Where the paper is."""

    def holds(self, today: date) -> bool:
        return self.since <= today and (self.until is None or today <= self.until)

    def as_item(self, today: date) -> dict[str, Any]:
        """As it is remembered: with whether it held."""
        item = asdict(self)
        return item | {
            "since": self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "holds": self.holds(today),
        }


def lapsed(consents: Mapping[str, Consent], today: date) -> frozenset[str]:
    """The devices whose household has not, or no longer, agreed."""
    return frozenset(device for device, consent in consents.items() if not consent.holds(today))


def steps(before: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Step]]:
    """What has happened between two lists of ``as_item``: (device, step)."""
    for device in sorted(before.keys() | now.keys()):
        was, is_ = before.get(device), now.get(device)
        if is_ is None:
            yield device, Step.WITHDRAWN
        elif was is None or bool(was.get("holds")) != is_["holds"]:
            yield device, Step.GIVEN if is_["holds"] else Step.ENDED
        elif was != is_:
            yield device, Step.CHANGED
