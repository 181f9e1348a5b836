"""JSON of Vzenith (臻识), Boyue and AlphaDigi cameras: ``AlarmInfoPlate`` and its relatives.  Pure.

A captured push (AlphaDigi), shortened:

    {"AlarmInfoPlate": {"channel": 0, "serialno": "fd495d6ee960dbec", "result": {"PlateResult": {
        "license": "OTM2022", "confidence": 96, "colorType": 3, "direction": 1, "triggerType": 2, "type": 1,
        "timeStamp": {"Timeval": {"sec": 1670976550, "usec": 0}}}}}}

The tables are those of the maker's document of HTTP pushes (chapter 3, 系统码表).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from drivers.plate_camera.messages import (
    UNKNOWN,
    Alive,
    Dialect,
    InputChanged,
    Push,
    PushError,
    Seen,
    Tree,
    branch,
    part_of_one,
    plate_of,
    text,
    whole,
)
from gateway.plates import Colour, PlateClass

ROOTS = ("AlarmInfoPlate", "AlarmGioIn", "SerialData", "heartbeat", "TriggerImage")

_COLOURS = {
    1: Colour.BLUE,
    2: Colour.YELLOW,
    3: Colour.WHITE,
    4: Colour.BLACK,
    5: Colour.GREEN,
    6: Colour.YELLOW_GREEN,
}
_DIRECTIONS = {1: "left", 2: "right", 3: "up", 4: "down"}
_TRIGGERS = {
    1: "automatic",
    2: "input",
    4: "software",
    8: "virtual_loop",
    64: "stays",
    65: "moves_on",
    66: "turns_back",
}
_STAYS = {64: True, 65: False, 66: False}
_PLATE_TYPES = {
    1: "blue",
    2: "black",
    3: "yellow",
    4: "yellow_two_rows",
    5: "police",
    6: "armed_police",
    7: "personal",
    8: "army",
    9: "army_two_rows",
    10: "embassy",
    11: "hong_kong",
    12: "farm",
    13: "learner",
    14: "macau",
    15: "armed_police_two_rows",
    16: "armed_police_headquarters",
    17: "armed_police_headquarters_two_rows",
    18: "civil_aviation",
    19: "nev_small",
    20: "nev_large",
    21: "emergency",
    22: "consulate",
    25: "airport",
    26: "foreign",
    29: "fake",
    31: "unlicensed",
}
_VEHICLES = {1: "car", 2: "suv", 3: "mpv", 4: "bus_small", 5: "bus_large", 6: "truck_small", 7: "truck_large"}
_VEHICLE_COLOURS = {
    0: "white",
    1: "silver",
    2: "yellow",
    3: "pink",
    4: "red",
    5: "green",
    6: "blue",
    7: "brown",
    8: "black",
}
_INPUTS = 4


def decode(tree: Tree) -> Push:
    """*tree*: the parsed body of an HTTP push.  Raises PushError."""
    root = next((name for name in ROOTS if name in tree), None)
    if root is None:
        raise PushError("none of the known JSON roots")
    content = branch(tree, root)
    cameras = _named(content, tree)
    if root == "AlarmGioIn":
        return Push(Dialect.VZENITH, cameras, _input(branch(content, "result", "TriggerResult")))
    if root == "AlarmInfoPlate" and "result" in content:
        return Push(Dialect.VZENITH, cameras, _seen(content, coded=False))
    return Push(Dialect.VZENITH, cameras, Alive())


def decode_mqtt(tree: Tree) -> Push:
    """The same over MQTT (``device/<sn>/message/up/ivs_result``): ``sn`` beside ``payload``, the plate in base64.

    Raises PushError.
    """
    payload = branch(tree, "payload") or tree
    content = branch(payload, "AlarmInfoPlate")
    cameras = _named(content, tree)
    if "result" in content:
        return Push(Dialect.VZENITH, cameras, _seen(content, coded=True))
    if cameras and text(tree.get("name")) != "":
        return Push(Dialect.VZENITH, cameras, Alive())
    raise PushError("neither a plate nor a message of a named camera")


def _named(content: Tree, tree: Tree) -> tuple[str, ...]:
    said = (content.get("serialno"), tree.get("serialno"), tree.get("sn"))
    return tuple(dict.fromkeys(name for name in map(text, said) if name))


def _input(result: Tree) -> InputChanged | Alive:
    """Source 4 is a request over TCP, no contact."""
    source, value = whole(result.get("source")), whole(result.get("value"))
    if source is None or not 0 <= source < _INPUTS or value not in (0, 1):
        return Alive()
    return InputChanged(source + 1, value == 1)


def _seen(content: Tree, *, coded: bool) -> Seen:
    result = branch(content, "result", "PlateResult")
    said = result.get("license")
    plate, plate_class = plate_of(_uncoded(said) if coded else said)
    number = whole(result.get("plateid"))
    trigger = whole(result.get("triggerType"))
    kind = whole(result.get("type"))
    if kind == 31:  # the camera's own word for it
        plate, plate_class = "", PlateClass.UNLICENSED
    colour = whole(result.get("colorType", result.get("color")))
    return Seen(
        plate,
        plate_class,
        colour=_COLOURS.get(colour if colour is not None else 0, Colour.UNKNOWN),
        confidence=part_of_one(result.get("confidence")),
        direction=_word(_DIRECTIONS, result.get("direction")),
        lane=text(content.get("channel")) or None,
        trigger=_TRIGGERS.get(trigger or 0, UNKNOWN),
        plate_type=_PLATE_TYPES.get(kind or 0, UNKNOWN),
        vehicle_type=_word(_VEHICLES, branch(result, "car_brand").get("type")),
        vehicle_colour=_word(_VEHICLE_COLOURS, result.get("carColor")),
        time_ms=_time_ms(branch(result, "timeStamp", "Timeval")),
        id="" if number is None else str(number),
        number=number,
        late=whole(result.get("isoffline")) == 1,
        fake=whole(result.get("is_fake_plate")) == 1 or kind == 29,
        stays=_STAYS.get(trigger or 0),
    )


def _uncoded(said: object) -> object:
    """Some firmware sends the plate as it is."""
    if not isinstance(said, str) or not said.isascii():
        return said
    try:
        return base64.b64decode(said, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return said


def _word(table: Mapping[int, str], value: object) -> str:
    number = whole(value)
    return UNKNOWN if number is None else table.get(number, UNKNOWN)


def _time_ms(timeval: Tree) -> int | None:
    """``sec`` is UTC (the document's example has the local time beside it: 8 hours more); 0 is no time."""
    seconds, micros = whole(timeval.get("sec")), whole(timeval.get("usec")) or 0
    if seconds is None or not 0 < seconds < 2**40 or not 0 <= micros < 1_000_000:
        return None
    return seconds * 1000 + micros // 1000
