"""XML of Hikvision cameras: ``EventNotificationAlert``, with a namespace (ver10, ver20, std-cgi) or none.  Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TypeAlias
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from drivers.plate_camera.messages import (
    Alive,
    Dialect,
    Push,
    PushError,
    Seen,
    moment_ms,
    part_of_one,
    plate_of,
    text,
    word,
)
from gateway.plates import Colour

MOST_BYTES = 256 * 1024
_ROOT = "EventNotificationAlert"
_NAMES = ("deviceUUID", "deviceID", "macAddress")
_COLOURS = {
    "blue": Colour.BLUE,
    "yellow": Colour.YELLOW,
    "white": Colour.WHITE,
    "black": Colour.BLACK,
    "green": Colour.GREEN,
    "newenergygreen": Colour.GREEN,
    "newenergyyellowgreen": Colour.YELLOW_GREEN,
}
_NO_PLATE = frozenset({"unknown", "noplate", "notplate"})


Texts: TypeAlias = Mapping[str, str]


def decode(data: bytes, zone: datetime.tzinfo) -> Push:
    """Raises PushError."""
    if len(data) > MOST_BYTES:
        raise PushError("too much XML")
    try:
        root: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise PushError("no XML, or XML with a document type") from None
    if _local(root) != _ROOT:
        raise PushError("XML of another kind")
    said = _texts(root)
    cameras = tuple(dict.fromkeys(name for name in (text(said.get(key, "")) for key in _NAMES) if name))
    anpr = next((child for child in root if _local(child) == "ANPR"), None)
    if anpr is None or said.get("eventType", "").upper() != "ANPR":
        return Push(Dialect.ISAPI, cameras, Alive())
    return Push(Dialect.ISAPI, cameras, _seen(said, anpr, zone))


def _seen(said: Texts, anpr: Element, zone: datetime.tzinfo) -> Seen:
    of_plate = _texts(anpr)
    of_vehicle = _texts(next((child for child in anpr if _local(child) == "vehicleInfo"), anpr))
    written = of_plate.get("licensePlate") or of_plate.get("originalLicensePlate") or ""
    plate, plate_class = plate_of("" if written.strip().lower() in _NO_PLATE else written)
    return Seen(
        plate,
        plate_class,
        colour=_COLOURS.get(of_plate.get("plateColor", "").strip().lower(), Colour.UNKNOWN),
        confidence=part_of_one(of_plate.get("confidenceLevel")),
        direction=word(of_plate.get("direction")),
        lane=text(of_plate.get("line") or of_plate.get("laneNo") or said.get("channelID") or "") or None,
        plate_type=word(of_plate.get("plateType")),
        vehicle_type=word(of_plate.get("vehicleType")),
        vehicle_colour=word(of_vehicle.get("color")),
        time_ms=moment_ms(said.get("dateTime"), zone),
        id=text(said.get("UUID", "")),
        late=said.get("isDataRetransmission", "").strip().lower() == "true",
    )


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _texts(element: Element) -> Texts:
    return {_local(child): (child.text or "").strip() for child in element}
