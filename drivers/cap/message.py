"""CAP 1.2 and the national system's dialect of it (12379): XML to frozen values.  Pure: no I/O, no clock.

                   OASIS CAP 1.2                            12379
    namespace      urn:oasis:names:tc:emergency:cap:1.2     none
    sender         sender                                   sender (a name) and senderCode (14 digits)
    time           sent, 2026-07-20T08:00:00+08:00          sendTime, 2026-07-20 08:00:00+08:00
    what           event, eventCode/value                   eventType, 5 characters
    how bad        Extreme … Minor                          Red … Blue
    where          areaDesc, polygon, circle, geocode/value areaDesc, geocode: 12 digits, comma between
    references     sender,identifier,sent …                 identifier …

Which dialect it is, the fields say, not the namespace: messages of either kind are seen with it and without.

Digital signatures (XML Signature in OASIS messages) are not checked: whether a message is genuine is decided by where
it is fetched from.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MOST_BYTES = 2 << 20
MOST_ALERTS = 500
MOST_INFOS = 32
MOST_AREAS = 64
"""Of one info block; a province has fewer counties."""
MOST_CODES = 2000
MOST_REFERENCES = 100
MOST_CORNERS = 20_000
_TEXT = 500
"""Characters of a text that are kept."""
_BEIJING: Final = timezone(timedelta(hours=8))


class CapError(ValueError):
    """Not a CAP message, or one without what every message must say."""


class Colour(enum.IntEnum):
    """Of a warning signal; IV to I."""

    NONE = 0
    BLUE = 1
    YELLOW = 2
    ORANGE = 3
    RED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


_COLOURS: Final = {
    "blue": Colour.BLUE,
    "yellow": Colour.YELLOW,
    "orange": Colour.ORANGE,
    "red": Colour.RED,
    "minor": Colour.BLUE,
    "moderate": Colour.YELLOW,
    "severe": Colour.ORANGE,
    "extreme": Colour.RED,
}
_HEADLINE_COLOUR: Final = re.compile(r"(蓝|黄|橙|红)色预警")
_HEADLINE_COLOURS: Final = {"蓝": Colour.BLUE, "黄": Colour.YELLOW, "橙": Colour.ORANGE, "红": Colour.RED}


@dataclass(frozen=True, slots=True)
class Circle:
    latitude: float
    longitude: float
    radius_km: float


Corner = tuple[float, float]
"""Latitude, longitude."""


@dataclass(frozen=True, slots=True)
class Area:
    description: str = ""
    geocodes: tuple[str, ...] = ()
    polygons: tuple[tuple[Corner, ...], ...] = ()
    circles: tuple[Circle, ...] = ()


@dataclass(frozen=True, slots=True)
class Info:
    """One info block.  Times are UTC milliseconds."""

    language: str = ""
    event: str = ""
    codes: tuple[str, ...] = ()
    severity: str = ""
    """As it came."""
    colour: Colour | None = None
    """None where neither severity nor headline names one."""
    effective_ms: int | None = None
    onset_ms: int | None = None
    expires_ms: int | None = None
    sender_name: str = ""
    headline: str = ""
    description: str = ""
    instruction: str = ""
    areas: tuple[Area, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    identifier: str
    sender: str
    """The code where there is one, else the name."""
    sender_name: str
    sent_ms: int
    status: str
    """Actual, Exercise, Test, System, Draft."""
    kind: str
    """msgType: Alert, Update, Cancel, Ack, Error."""
    references: tuple[str, ...] = ()
    """Identifiers."""
    national: bool = False
    """Of the 12379 dialect."""
    infos: tuple[Info, ...] = ()


def parse(data: bytes) -> tuple[Alert, ...]:
    """All messages in a document: one ``alert``, or any element that holds such.  Raises CapError.

    Of a document with several, one that cannot be read spoils only itself; all unreadable is an error.
    """
    if len(data) > MOST_BYTES:
        raise CapError(f"{len(data)} bytes are more than {MOST_BYTES}")
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as exc:
        raise CapError(f"no XML: {exc}") from exc
    found = [element for element in root.iter() if _name(element) == "alert"]
    if not found:
        raise CapError(f"no alert in <{_name(root)}>")
    if len(found) > MOST_ALERTS:
        raise CapError(f"{len(found)} alerts are more than {MOST_ALERTS}")
    alerts: list[Alert] = []
    faults: list[str] = []
    for element in found:
        try:
            alerts.append(_alert(element))
        except CapError as exc:
            faults.append(str(exc))
    if not alerts and faults:
        raise CapError(faults[0])
    return tuple(alerts)


def colour_of(severity: str, headline: str = "") -> Colour | None:
    """By the word for the severity of either dialect, else by the colour that the headline names."""
    known = _COLOURS.get(severity.strip().lower())
    if known is not None:
        return known
    named = _HEADLINE_COLOUR.search(headline)
    return _HEADLINE_COLOURS[named[1]] if named else None


def time_ms(written: str) -> int | None:
    """UTC milliseconds; None for an empty text.  Without an offset it is Beijing time.  Raises CapError."""
    text = written.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=_BEIJING)
        return round(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as exc:
        raise CapError(f"no time: {text[:40]!r}") from exc


def references_of(written: str) -> tuple[str, ...]:
    """``sender,identifier,sent …`` of OASIS, or identifiers with commas or spaces between of 12379."""
    found: list[str] = []
    for item in written.split():
        parts = [part for part in item.split(",") if part]
        triple = len(parts) == 3 and "T" in parts[2] and ":" in parts[2]
        found += [parts[1]] if triple else parts
    return tuple(dict.fromkeys(part[:_TEXT] for part in found))[:MOST_REFERENCES]


# ---------------------------------------------------------------------- elements


def _alert(element: Element) -> Alert:
    national = _child(element, "sendTime") is not None or _child(element, "senderCode") is not None
    identifier = _text(element, "identifier")
    sent_ms = time_ms(_text(element, "sendTime") or _text(element, "sent"))
    if not identifier:
        raise CapError("no identifier")
    if sent_ms is None:
        raise CapError(f"{identifier}: no time of sending")
    kind = _text(element, "msgType").capitalize()
    if kind not in ("Alert", "Update", "Cancel", "Ack", "Error"):
        raise CapError(f"{identifier}: msgType {kind!r}")
    infos = [_info(each) for each in _children(element, "info")[:MOST_INFOS]]
    name = _text(element, "sender")
    return Alert(
        identifier=identifier,
        sender=_text(element, "senderCode") or name,
        sender_name=name,
        sent_ms=sent_ms,
        status=_text(element, "status").capitalize() or "Actual",  # the national standard's default
        kind=kind,
        references=references_of(_whole_text(element, "references")),
        national=national,
        infos=tuple(infos),
    )


def _info(element: Element) -> Info:
    severity, headline = _text(element, "severity"), _text(element, "headline")
    codes = [_text(each, "value") for each in _children(element, "eventCode")]
    return Info(
        language=_text(element, "language"),
        event=_text(element, "event"),
        codes=tuple(code for code in (_text(element, "eventType"), *codes) if code)[:MOST_INFOS],
        severity=severity,
        colour=colour_of(severity, headline),
        effective_ms=time_ms(_text(element, "effective")),
        onset_ms=time_ms(_text(element, "onset")),
        expires_ms=time_ms(_text(element, "expires")),
        sender_name=_text(element, "senderName"),
        headline=headline,
        description=_text(element, "description"),
        instruction=_text(element, "instruction"),
        areas=tuple(_area(each) for each in _children(element, "area")[:MOST_AREAS]),
    )


def _area(element: Element) -> Area:
    return Area(
        description=_text(element, "areaDesc"),
        geocodes=tuple(dict.fromkeys(_geocodes(element)))[:MOST_CODES],
        polygons=tuple(corners for each in _children(element, "polygon") if (corners := _corners(each.text or ""))),
        circles=tuple(circle for each in _children(element, "circle") if (circle := _circle(each.text or ""))),
    )


def _geocodes(element: Element) -> Iterator[str]:
    for each in _children(element, "geocode"):
        value = _child(each, "value")
        written = (each if value is None else value).text or ""
        yield from (code for part in written.split(",") if (code := part.strip()[:40]))


def _corners(written: str) -> tuple[Corner, ...]:
    """``lat,lon lat,lon …``; nothing for what is empty or is no polygon.  Raises CapError where numbers are none."""
    pairs = written.split()
    if len(pairs) > MOST_CORNERS:
        raise CapError(f"a polygon of {len(pairs)} corners")
    corners = tuple(_corner(pair) for pair in pairs)
    return corners if len(corners) >= 3 else ()


def _circle(written: str) -> Circle | None:
    parts = written.split()
    if len(parts) != 2:
        return None
    latitude, longitude = _corner(parts[0])
    return Circle(latitude, longitude, _number(parts[1]))


def _corner(written: str) -> Corner:
    latitude, comma, longitude = written.partition(",")
    if not comma:
        raise CapError(f"no place: {written[:40]!r}")
    return _number(latitude), _number(longitude)


def _number(written: str) -> float:
    try:
        number = float(written)
    except ValueError as exc:
        raise CapError(f"no number: {written[:40]!r}") from exc
    if not -1e6 < number < 1e6:  # NaN, too
        raise CapError(f"no place: {written[:40]!r}")
    return number


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _children(element: Element, name: str) -> list[Element]:
    return [child for child in element if _name(child) == name]


def _child(element: Element, name: str) -> Element | None:
    return next(iter(_children(element, name)), None)


def _whole_text(element: Element, name: str) -> str:
    child = _child(element, name)
    return "" if child is None else (child.text or "").strip()


def _text(element: Element, name: str) -> str:
    return _printable(_whole_text(element, name))


def _printable(text: str) -> str:
    return "".join(_kept(text[: 4 * _TEXT]))[:_TEXT]


def _kept(text: str) -> Iterable[str]:
    """Line breaks become blanks; other control characters go."""
    for character in text:
        if character.isprintable():
            yield character
        elif character in "\r\n\t":
            yield " "
