"""Whether a warning is for this place.  Pure.

By codes of administrative areas (GB/T 2260) first: a site that says ``410105`` is in the province 410000000000, in the
city 410100000000 and in the district 410105000000, and a warning for one of its streets may be for it.  By polygon or
circle only where codes cannot tell and the site's position is known.  What cannot be told counts as here: a warning too
many is a nuisance, one too few is not.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drivers.cap.message import Area, Circle, Corner

_LEVELS: Final = (2, 4, 6, 9, 12)
"""Digits that name a province, a city, a county, a street, a community."""
_NATION: Final = "10"
"""What is left of 100000, by which the whole country goes."""
_EARTH_KM: Final = 6371.0


class Here(enum.Enum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Site:
    """Where the compound is, as far as the configuration says."""

    codes: tuple[str, ...] = ()
    position: Corner | None = None
    """WGS 84."""


def is_here(areas: Sequence[Area], site: Site) -> Here:
    """One block's areas together."""
    verdicts = {_one(area, site) for area in areas} or {Here.UNKNOWN}
    return next(verdict for verdict in (Here.YES, Here.UNKNOWN, Here.NO) if verdict in verdicts)


def significant(code: str) -> str:
    """Without the zeros of the levels below: 410100000000 -> 4101, 410105000000 -> 410105."""
    if not (code.isascii() and code.isdecimal()):
        return code
    for digits in _LEVELS:
        if not code[digits:].strip("0"):
            return code[:digits] if code[:digits].strip("0") else ""
    return code


def same_or_within(code: str, ours: str) -> bool:
    """Whether one of two areas is the other, or a part of it."""
    theirs, mine = significant(code), significant(ours)
    if not (theirs.isascii() and theirs.isdecimal()) and theirs:
        return theirs == mine
    if theirs in ("", _NATION):
        return True
    return theirs.startswith(mine) or mine.startswith(theirs)


def _one(area: Area, site: Site) -> Here:
    if area.geocodes and site.codes:
        here = any(same_or_within(code, ours) for code in area.geocodes for ours in site.codes)
        return Here.YES if here else Here.NO
    if site.position is None or not (area.polygons or area.circles):
        return Here.UNKNOWN
    inside = any(_in_polygon(site.position, each) for each in area.polygons)
    inside = inside or any(_in_circle(site.position, each) for each in area.circles)
    return Here.YES if inside else Here.NO


def _in_polygon(place: Corner, corners: Sequence[Corner]) -> bool:
    """By the even-odd rule.  Degrees are taken as a plane, which is right to some metres over a county."""
    latitude, longitude = place
    inside = False
    for (lat1, lon1), (lat2, lon2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if (lat1 > latitude) == (lat2 > latitude):
            continue
        if longitude < (lon2 - lon1) * (latitude - lat1) / (lat2 - lat1) + lon1:
            inside = not inside
    return inside


def _in_circle(place: Corner, circle: Circle) -> bool:
    lat1, lat2 = math.radians(place[0]), math.radians(circle.latitude)
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin(math.radians(circle.longitude - place[1]) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(max(half, 0.0), 1.0))) <= circle.radius_km
