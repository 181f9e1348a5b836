"""JSON of Dahua cameras (ITSAPI): ``Picture`` with ``Plate``, ``Vehicle`` and ``SnapInfo``.  Pure.

After two public servers that receive it; no captured body was to be had.
"""

from __future__ import annotations

import datetime

from drivers.plate_camera.messages import (
    Alive,
    Dialect,
    Push,
    PushError,
    Seen,
    Tree,
    branch,
    moment_ms,
    part_of_one,
    plate_of,
    text,
    word,
)
from gateway.plates import Colour

_COLOURS = {
    "blue": Colour.BLUE,
    "yellow": Colour.YELLOW,
    "white": Colour.WHITE,
    "black": Colour.BLACK,
    "green": Colour.GREEN,
    "shadowgreen": Colour.GREEN,
    "yellowgreen": Colour.YELLOW_GREEN,
}


def decode(tree: Tree, zone: datetime.tzinfo) -> Push:
    """Raises PushError."""
    if "Picture" not in tree:
        device = text(tree.get("DeviceID"))
        if not device:
            raise PushError("none of the known JSON roots")
        return Push(Dialect.ITSAPI, (device,), Alive())
    snap, plate, vehicle = (branch(tree, "Picture", name) for name in ("SnapInfo", "Plate", "Vehicle"))
    device = text(snap.get("DeviceID"))
    return Push(Dialect.ITSAPI, (device,) if device else (), _seen(snap, plate, vehicle, zone))


def _seen(snap: Tree, plate: Tree, vehicle: Tree, zone: datetime.tzinfo) -> Seen:
    number, plate_class = plate_of("" if plate.get("IsExist") is False else plate.get("PlateNumber"))
    return Seen(
        number,
        plate_class,
        colour=_COLOURS.get(text(plate.get("PlateColor")).lower().replace(" ", ""), Colour.UNKNOWN),
        confidence=part_of_one(plate.get("Confidence")),
        direction=word(snap.get("Direction")),
        lane=text(plate.get("Channel")) or None,
        plate_type=word(plate.get("PlateType")),
        vehicle_type=word(vehicle.get("VehicleType")),
        vehicle_colour=word(vehicle.get("VehicleColor")),
        time_ms=moment_ms(snap.get("AccurateTime") or snap.get("SnapTime"), zone),
    )
