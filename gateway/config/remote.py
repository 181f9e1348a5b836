"""Whether what site.yaml says of commands from afar fits its devices.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gateway.config.faults import Fault, did_you_mean, quoted
from gateway.config.models import DeviceModel, DoorModel, RemoteModel
from gateway.config.yaml12 import Document, Steps
from gateway.model import Device, Text, ValueKind


def remote_faults(
    document: Document, remote: RemoteModel, models: Collection[DeviceModel], devices: Sequence[Device]
) -> Iterator[Fault]:
    """*devices*: those of *models* that could be planned."""
    seen: set[str] = set()
    known = {model.id for model in models}
    for index, key in enumerate(remote.keys):
        path: Steps = ("remote", "keys", index)
        if key.id in seen:
            message = Text(f"密钥编号 {quoted(key.id)} 重复", f"key id {quoted(key.id)} is used twice")
            yield document.fault((*path, "id"), "E-DUP", message)
        seen.add(key.id)
        for place, device in enumerate(key.devices):
            if device != "*" and device not in known:
                message = Text(f"没有设备 {quoted(device)}", f"there is no device {quoted(device)}")
                yield document.fault((*path, "devices", place), "E-REF", message, did_you_mean(device, known))
    allowed = {f"{model.id}.{name}" for model in models for name in model.allow_write}
    switches = {point.id for device in devices for point in device.points if point.kind is ValueKind.BOOLEAN}
    planned = {device.id for device in devices}
    for index, door in enumerate(remote.doors):
        fault = _door_fault(door, allowed, switches, planned)
        if fault is not None:
            yield document.fault(("remote", "doors", index, "point"), "E-POINT", *fault)


def _door_fault(door: DoorModel, allowed: set[str], switches: set[str], planned: set[str]) -> tuple[Text, Text] | None:
    device, _, name = door.point.partition(".")
    if door.point not in allowed:
        return (
            Text(f"{quoted(door.point)} 不在 allow_write 中", f"no device lets commands write {quoted(door.point)}"),
            Text(f"在设备 {device} 中写 allow_write: [{name}]", f"in device {device}, write allow_write: [{name}]"),
        )
    if device in planned and door.point not in switches:
        return (
            Text(f"{quoted(door.point)} 不是开关量", f"{quoted(door.point)} is no switch"),
            Text("门必须是布尔型继电器测点", "a door is a relay: a point of kind boolean"),
        )
    return None
