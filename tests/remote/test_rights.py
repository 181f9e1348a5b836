"""What nobody may do from afar."""

from __future__ import annotations

import pytest

from gateway.model import Device, Place, Point, Text, ValueKind
from gateway.remote.rights import opens_gas

GAS: list[tuple[str, str, object, bool]] = [
    # (kind of device, point, value, gas could flow)
    ("gas_meter", "valve", "open", True), ("gas_meter", "valve", "closed", False), ("gas_meter", "valve", "half", True),
    ("gas_meter", "valve", True, True), ("gas_meter", "valve", False, False), ("gas_meter", "valve", 0, True),
    ("gas_meter", "valve", None, True),
    ("gas_meter", "valve", "CLOSED", True), ("gas_meter", "valve", ["closed"], True),
    ("gas_valve", "position", "open", True), ("gas_valve", "position", "closed", False), ("gas_valve", "x", 50, True),
    ("gas_controller", "relay1", "closed", True), ("gas_controller", "relay1", "open", False),
    ("gas_controller", "relay_valve", "open", True), ("gas_controller", "relay_valve", "off", False),
    ("gas_detector", "threshold", 20, False),
    ("water_meter", "valve", "open", False), ("gasket", "valve", "open", False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "value", "opens"), GAS)
def test_gas_can_only_be_cut_off(kind: str, name: str, value: object, opens: bool) -> None:
    point = Point(f"d.{name}", ValueKind.STATE, Text("", ""), 1.0, writable=True)
    device = Device("d", kind, Text("", ""), Place(), "test", (point,))
    assert opens_gas(device, point, value) is opens
