"""Number plates of GA 36-2018: one way to write them, what kind they are, which ones a camera mixes up.  Pure.

    what a camera says ─▶ normalise ─▶ classify ─▶ PlateClass ─▶ colour_fits
                              └─▶ variants: what it may have been, to be shown to people

Whatever is no plate of the standard is ``other`` (foreign, army, armed police, coaches, temporary ones): the format of
a plate never decides who may enter.  A variant is a hint for a guard and never opens anything.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
LONGEST = 16
"""Characters; nothing longer is a plate of any country."""

_CITY = "A-HJ-NP-Z"
_ANY = "A-HJ-NP-Z0-9"  # I and O are never issued, so that nobody takes them for 1 and 0
_ENERGY = "A-HJK"  # D and F of the standard and their extension A-E, G-K


class PlateClass(enum.StrEnum):
    CIVIL = "civil"
    NEV_SMALL = "nev_small"
    NEV_LARGE = "nev_large"
    TRAILER = "trailer"
    LEARNER = "learner"
    POLICE = "police"
    HK_MACAU = "hk_macau"
    EMBASSY = "embassy"
    EMBASSY_OLD = "embassy_old"
    CONSULATE = "consulate"
    OTHER = "other"
    UNLICENSED = "unlicensed"  # the camera saw a vehicle and no plate


class Colour(enum.StrEnum):
    """Of the plate, not of the vehicle."""

    BLUE = "blue"
    YELLOW = "yellow"
    WHITE = "white"
    BLACK = "black"
    GREEN = "green"
    YELLOW_GREEN = "yellow_green"
    UNKNOWN = "unknown"


_GRAMMAR = tuple(
    (plate_class, re.compile(pattern))
    for plate_class, pattern in (
        (PlateClass.CIVIL, f"[{PROVINCES}][{_CITY}][{_ANY}]{{5}}"),
        (PlateClass.NEV_SMALL, f"[{PROVINCES}][{_CITY}][{_ENERGY}][{_ANY}][0-9]{{4}}"),
        (PlateClass.NEV_LARGE, f"[{PROVINCES}][{_CITY}][0-9]{{5}}[{_ENERGY}]"),
        (PlateClass.TRAILER, f"[{PROVINCES}][{_CITY}][{_ANY}]{{4}}挂"),
        (PlateClass.LEARNER, f"[{PROVINCES}][{_CITY}][{_ANY}]{{4}}学"),
        (PlateClass.POLICE, f"[{PROVINCES}][{_CITY}][{_ANY}]{{4}}警"),
        (PlateClass.POLICE, f"[{PROVINCES}]O[{_ANY}]{{5}}"),  # historic
        (PlateClass.HK_MACAU, f"粤Z[{_ANY}]{{4}}[港澳]"),
        (PlateClass.EMBASSY, "使[0-9]{6}"),
        (PlateClass.EMBASSY_OLD, "[0-9]{6}使"),
        (PlateClass.CONSULATE, f"[{PROVINCES}][{_CITY}][{_ANY}]{{4}}领"),
    )
)
_NO_PLATE = frozenset({"", "无", "无牌", "无牌车"})
"""What cameras push for a vehicle without a plate (``_无_``), normalised."""

_COLOURS = {
    PlateClass.CIVIL: {Colour.BLUE, Colour.YELLOW, Colour.BLACK},  # yellow: large vehicles; black: an older series
    PlateClass.NEV_SMALL: {Colour.GREEN},
    PlateClass.NEV_LARGE: {Colour.YELLOW_GREEN, Colour.GREEN},
    PlateClass.TRAILER: {Colour.YELLOW},
    PlateClass.LEARNER: {Colour.YELLOW},
    PlateClass.POLICE: {Colour.WHITE},
    PlateClass.HK_MACAU: {Colour.BLACK},
    PlateClass.EMBASSY: {Colour.BLACK},
    PlateClass.EMBASSY_OLD: {Colour.BLACK},
    PlateClass.CONSULATE: {Colour.BLACK},
}

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_DROPPED = dict.fromkeys(map(ord, ".·•・･‧∙⋅●-‐‑‒–—―−_\u200b\u200c\u200d\u2060\ufeff"))
_CONFUSED = ("0DOQ", "1I", "2Z", "5S", "8B")
_TAKEN_FOR = {letter: group.replace(letter, "") for group in _CONFUSED for letter in group}


def normalise(text: str) -> str:
    """Upper case, half width, without spaces, dots, hyphens and underscores.  Doing it twice changes nothing."""
    plain = text.translate(_FULL_WIDTH).translate(_UPPER).translate(_DROPPED)
    return "".join(character for character in plain if not character.isspace())


def classify(plate: str) -> PlateClass:
    """*plate*: normalised."""
    if plate in _NO_PLATE:
        return PlateClass.UNLICENSED
    return next((found for found, pattern in _GRAMMAR if pattern.fullmatch(plate)), PlateClass.OTHER)


def letters_in_sequence(plate: str) -> int:
    """Letters behind province and city; ordinary issue has at most two, a civil plate with more is rare."""
    return sum(character.isascii() and character.isalpha() for character in plate[2:])


def colour_fits(plate_class: PlateClass, colour: Colour) -> bool | None:
    """None where nothing can be said: the colour was not seen, or the class may have any."""
    allowed = _COLOURS.get(plate_class)
    return None if allowed is None or colour is Colour.UNKNOWN else colour in allowed


def variants(plate: str) -> Iterator[str]:
    """Plates of the standard that differ from *plate* in one character that cameras mix up, or in the province.

    Never *plate* itself; at most 51 of them.  For people to look at: no barrier may be opened by one.
    """
    if len(plate) > LONGEST:
        return
    for at, character in enumerate(plate):
        others = PROVINCES if character in PROVINCES and at == 0 else _TAKEN_FOR.get(character, "")
        for other in others:
            found = plate[:at] + other + plate[at + 1 :]
            if found != plate and classify(found) is not PlateClass.OTHER:
                yield found
