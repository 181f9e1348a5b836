"""What plate cameras say, whatever they say it in.  Pure."""

from __future__ import annotations

import datetime
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.plates import LONGEST, Colour, PlateClass, classify, normalise

UNKNOWN = "unknown"


class PushError(Exception):
    """Not a message of a plate camera.  The text never repeats what was sent."""


class Dialect(enum.StrEnum):
    VZENITH = "vzenith"  # Vzenith, Boyue, AlphaDigi: JSON AlarmInfoPlate
    ISAPI = "isapi"  # Hikvision: XML EventNotificationAlert
    ITSAPI = "itsapi"  # Dahua: JSON Picture


@dataclass(frozen=True, slots=True)
class Seen:
    """One vehicle before one camera."""

    plate: str
    """Normalised; empty for a vehicle without one."""
    plate_class: PlateClass
    colour: Colour = Colour.UNKNOWN
    confidence: float | None = None
    """0 to 1."""
    direction: str = UNKNOWN
    """The camera's word for how the vehicle moves in its picture, not which way the gate leads."""
    lane: str | None = None
    trigger: str = UNKNOWN
    plate_type: str = UNKNOWN
    vehicle_type: str = UNKNOWN
    vehicle_colour: str = UNKNOWN
    time_ms: int | None = None
    """By the camera's clock, as it says."""
    id: str = ""
    """The camera's own number of it; unique together with the time."""
    number: int | None = None
    """The same where it is one that an answer must repeat."""
    late: bool = False
    """Kept by the camera while nobody listened."""
    fake: bool = False
    """The camera believes that the plate is a picture of one."""
    stays: bool | None = None
    """Whether the vehicle stays where it is, of a camera that tells it."""


@dataclass(frozen=True, slots=True)
class InputChanged:
    """A contact on the camera's terminals (a loop, an arm)."""

    input: int
    """From 1."""
    on: bool


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing but a sign of life."""


@dataclass(frozen=True, slots=True)
class Push:
    """One message."""

    dialect: Dialect
    cameras: tuple[str, ...]
    """Serial numbers and the like by which the camera names itself; empty when it does not."""
    said: Seen | InputChanged | Alive


Tree: TypeAlias = Mapping[str, Any]


def branch(tree: Tree, *path: str) -> Tree:
    """The object at *path*; an empty one where there is none."""
    for name in path:
        found = tree.get(name)
        tree = found if isinstance(found, dict) else {}
    return tree


def text(value: object, most: int = 64) -> str:
    """A short text or number as text; empty for everything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    written = str(value).strip()
    return written if len(written) <= most and written.isprintable() else ""


def whole(value: object) -> int | None:
    """An integer, also one written as text; None for everything else and for what 63 bits cannot hold."""
    if isinstance(value, str) and len(value) < 20 and value.strip().lstrip("-").isdecimal() and value.isascii():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 2**63 else None


def part_of_one(value: object) -> float | None:
    """0 to 100 (as a number or text) -> 0 to 1; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        percent = float(value)
    except (ValueError, OverflowError):
        return None
    return round(percent / 100, 4) if math.isfinite(percent) and 0 <= percent <= 100 else None


def word(value: object) -> str:
    """A word of the camera's own; ``unknown`` for everything that is none."""
    written = text(value, 24).lower()
    return written if written.isascii() and written.replace("_", "").replace("-", "").isalnum() else UNKNOWN


def plate_of(value: object) -> tuple[str, PlateClass]:
    """Normalised, and its class.  Raises PushError for what cannot be a plate of any country."""
    if value is None:
        value = ""
    if not isinstance(value, str) or len(value) > 4 * LONGEST:
        raise PushError("the plate is no short text")
    plate = normalise(value)
    if len(plate) > LONGEST or not plate.isprintable():
        raise PushError("the plate is no short text")
    plate_class = classify(plate)
    return ("" if plate_class is PlateClass.UNLICENSED else plate), plate_class


def moment_ms(written: object, zone: datetime.tzinfo) -> int | None:
    """ISO 8601 or ``2024-02-20 14:30:45.123``; in *zone* where it names none.  None for everything else."""
    said = text(written, 40)
    try:
        moment = datetime.datetime.fromisoformat(said)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
