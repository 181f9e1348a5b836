"""Whether what site.yaml says of vehicles fits the rest of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.config.faults import Fault, did_you_mean, no_such_file, quoted
from gateway.config.yaml12 import Document
from gateway.model import Text
from gateway.vehicles.config import VehiclesModel
from gateway.vehicles.points import DEVICE


def vehicle_faults(document: Document, model: VehiclesModel, devices: Sequence[str], base: Path) -> Iterator[Fault]:
    """*devices*: ids of all that are written.  *base*: what names of files are relative to."""
    for index, gate in enumerate(model.gates):
        if gate.camera not in devices:
            message = Text(f"没有设备 {quoted(gate.camera)}", f"there is no device {quoted(gate.camera)}")
            yield document.fault(
                ("vehicles", "gates", index, "camera"), "E-REF", message, did_you_mean(gate.camera, devices)
            )
    if DEVICE in devices:
        message = Text(
            f"编号 {DEVICE} 由网关用于车辆统计", f"the gateway keeps the id {DEVICE} for what it counts of vehicles"
        )
        hint = Text("给该设备另取编号", "call the device otherwise")
        yield document.fault(("vehicles",), "E-DUP", message, hint, key=True)
    if not os.path.isfile(base / model.key_file):
        hint = Text(f"gateway plates key {model.key_file}", f"gateway plates key {model.key_file} makes it")
        missing = no_such_file(base / model.key_file)
        yield document.fault(("vehicles", "key_file"), "W-FILE", missing, hint, warning=True)
    for index, path in enumerate(model.lists):
        if not os.path.isfile(base / path):
            place = ("vehicles", "lists", index)
            yield document.fault(place, "W-FILE", no_such_file(base / path), warning=True)
