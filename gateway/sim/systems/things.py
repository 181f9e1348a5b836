"""What stands about in the compound and speaks by radio or JSON, and what each says at an instant.  Pure.

``t`` is seconds of the spectator since the compound was switched on.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gateway.model import Text
from gateway.sim.world import Burst

_S = TypeVar("_S")

State = Mapping[str, Any]
"""A JSON object."""
Uplink = tuple[int, bytes]
"""LoRaWAN port and payload."""

_DRY_CM = 2.0
_FLOW_M3H, _BURST_M3H = 3.2, 36.0
_SWING_M3H, _SWING_S = 0.4, 30.0
_VOLUME_M3 = 81_250.0


@dataclass(frozen=True, slots=True)
class Turned:
    """What somebody has made happen."""

    flat_leaks: bool = False
    flat_gas: bool = False
    shed_smokes: bool = False
    bin_full: bool = False
    burst: Burst | None = None


@dataclass(frozen=True, slots=True)
class Thing(Generic[_S]):
    id: str
    profile: str
    address: str
    name: Text
    place: Mapping[str, str]
    says: Callable[[float, Turned], _S]
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of its device entry."""


_FLAT = {"building": "1#", "unit": "1", "floor": "1F", "room": "101"}
_CONSENT = {"by": "resident", "date": "2026-01-10", "record": "demo"}
"""Of people there are not."""
_ENTRANCE = {"building": "1#", "unit": "1", "floor": "1F"}
_BASEMENT = {"building": "1#", "floor": "B1"}
_GROUNDS = {"building": "1#", "floor": "1F"}


def _bursting(t: float, turned: Turned) -> bool:
    return turned.burst is not None and turned.burst.start_s <= t < turned.burst.end_s


def _flooded_cm(t: float, turned: Turned) -> float:
    return round(_DRY_CM + (turned.burst.level_cm(t) if turned.burst is not None else 0.0), 1)


# ---------------------------------------------------------------------- Zigbee


def _gas(t: float, turned: Turned) -> State:
    density = 14 if turned.flat_gas else round(1 + math.sin(t / 40))
    quiet = {"state": "work", "test": False, "linkage_alarm_state": False}
    return {"gas": turned.flat_gas, "gas_density": density, **quiet, "linkquality": 132}


def _door(t: float, turned: Turned) -> State:
    """Somebody passes every 40 s."""
    return {"contact": t % 40 < 36, "battery": 91, "linkquality": 105}


def _socket(t: float, turned: Turned) -> State:
    power_w = round(310 + 12 * math.sin(t / 15), 1)
    energy_kwh = round(148.2 + 0.31 * t / 3600, 3)
    return {
        "state": "ON",
        "power": power_w,
        "current": round(power_w / 226, 2),
        "voltage": 226,
        "energy": energy_kwh,
        "linkquality": 176,
    }


ZIGBEE: Sequence[Thing[State]] = (
    Thing(
        "gas-1-1-101",
        "zigbee_gas_jt_bz_01aq",
        "1-1-101 kitchen",
        Text("101 室厨房燃气", "Gas detector in the kitchen of flat 101"),
        _FLAT,
        _gas,
    ),
    Thing(
        "smoke-1-1-101",
        "zigbee_smoke",
        "1-1-101 hall",
        Text("101 室感烟", "Smoke detector of flat 101"),
        _FLAT,
        lambda t, turned: {"smoke": False, "battery": 88, "linkquality": 98},
    ),
    Thing(
        "contact-1",
        "zigbee_door_mccgq11lm",
        "1-1 stairs",
        Text("楼梯间门磁", "Contact of the stairs' door"),
        _ENTRANCE,
        _door,
    ),
    Thing(
        "leak-1-1-101",
        "zigbee_water_leak",
        "1-1-101 bath",
        Text("101 室浴室水浸", "Leak sensor in the bath of flat 101"),
        _FLAT,
        lambda t, turned: {"water_leak": turned.flat_leaks, "battery": 94, "linkquality": 87},
    ),
    Thing(
        "sos-1-1-101",
        "zigbee_sos_button",
        "1-1-101 bed",
        Text("101 室求助按钮", "SOS button of flat 101"),
        _FLAT,
        lambda t, turned: {"battery": 97, "linkquality": 91},
        {"roles": {"water": "w-1-1-101", "power": "m-1-1-101"}, "consent": _CONSENT},
    ),
    Thing(
        "socket-1",
        "zigbee_socket",
        "guard room heater",
        Text("门卫室插座", "Socket in the guard room"),
        _GROUNDS,
        _socket,
    ),
)

# ---------------------------------------------------------------------- LoRaWAN: channel, type, value


def _bin(t: float, turned: Turned) -> Uplink:
    fill = 97.0 if turned.bin_full else 35 + 30 * (t % 900) / 900
    return 85, bytes.fromhex("01755F") + b"\x03\x82" + struct.pack("<H", round(1000 - 10 * fill)) + b"\x04\x00\x00"


def _contact(t: float, turned: Turned) -> Uplink:
    """Opened for a moment once a minute."""
    return 85, bytes.fromhex("01755C") + bytes((0x03, 0x00, t % 60 >= 55)) + b"\x04\x00\x00"


def _pulses(t: float, turned: Turned) -> Uplink:
    return 85, bytes.fromhex("017564") + b"\x05\xc8" + struct.pack("<I", 42_130 + math.floor(t / 20))


def _space(t: float, turned: Turned) -> Uplink:
    """A car comes and goes; the heartbeat tells the temperature as well."""
    return 2, bytes((t % 100 < 70, 11))


def _submerged(t: float, turned: Turned) -> Uplink:
    return 85, bytes.fromhex("017562") + b"\x03\x77" + struct.pack("<H", round(12 + 2 * math.sin(t / 25)))


LORAWAN: Sequence[Thing[Uplink]] = (
    Thing("bin-1", "lorawan_bin_em310_udl", "24e124136b500001", Text("1 号垃圾桶", "Waste bin 1"), _GROUNDS, _bin),
    Thing(
        "contact-2",
        "lorawan_door_ws301",
        "24e124136b500002",
        Text("设备间门磁", "Contact of the plant room"),
        _BASEMENT,
        _contact,
    ),
    Thing(
        "garden-water",
        "lorawan_water_meter_em300_di",
        "24e124136b500003",
        Text("绿化水表", "Water meter of the garden"),
        _GROUNDS,
        _pulses,
    ),
    Thing(
        "space-1", "lorawan_parking_tps110", "24e124136b500004", Text("1 号车位", "Parking space 1"), _GROUNDS, _space
    ),
    Thing(
        "pond-1",
        "lorawan_level_em500_swl",
        "24e124136b500005",
        Text("雨水池液位", "Level of the rain water basin"),
        _BASEMENT,
        _submerged,
        {"kind": "rain_basin"},  # it is there to hold water: basement_water does not look at it
    ),
)

# ---------------------------------------------------------------------- JSON


def _locker(t: float, turned: Turned) -> State:
    used = 18 + math.floor(t / PARCEL_S) % 2
    return {"free": 48 - used, "used": used, "faulty": 1, "power": "mains"}


PARCEL_S = 20.0
"""One is brought or taken."""


def _shed(t: float, turned: Turned) -> State:
    warm_c = round(14 + math.sin(t / 60) + (3 if turned.shed_smokes else 0), 1)
    return {"smoke": turned.shed_smokes, "temperature": warm_c, "flame": False}


def _charging(t: float, turned: Turned) -> State:
    """mA, W, °C.  Five minutes of every eight: charging for longer at night would be told."""
    on = t % 480 < 300
    current_ma = 1800 + round(40 * math.sin(t / 9)) if on else 0
    return {"current": current_ma, "power": 395 if on else 0, "temp": 31 if on else 19, "smoke": False}


def _zone(t: float, turned: Turned) -> State:
    """Of a pipe's flow the counter is the integral."""
    runs_s = 0.0 if turned.burst is None else turned.burst.runs_s(t)
    swung_m3h_s = _SWING_M3H * _SWING_S * (1 - math.cos(t / _SWING_S))
    flow_m3h = _FLOW_M3H + _SWING_M3H * math.sin(t / _SWING_S) + (_BURST_M3H if _bursting(t, turned) else 0.0)
    return {
        "flow": round(flow_m3h, 2),
        "pressure": 0.19 if _bursting(t, turned) else round(0.36 + 0.004 * math.sin(t / 11), 3),
        "volume": round(_VOLUME_M3 + (_FLOW_M3H * t + swung_m3h_s + _BURST_M3H * runs_s) / 3600, 3),
    }


def _home(t: float, turned: Turned) -> State:
    sensors = {"gas": False, "smoke": False, "leak": False, "sos": False}
    climate = {"temperature": round(21 + 0.5 * math.sin(t / 50), 1)}
    return {"sensors": sensors, "door": "closed", "occupied": True, "climate": climate}


BOXES: Sequence[Thing[State]] = (
    Thing("locker-1", "json_parcel_locker", "lockers/K1/status", Text("快递柜", "Parcel locker"), _GROUNDS, _locker),
    Thing(
        "shed-1",
        "json_ebike_shed",
        "shed/S1/status",
        Text("电动自行车棚", "E-bike shed"),
        _GROUNDS,
        _shed,
        {"roles": {"supply": "charger-1"}},
    ),
    Thing(
        "flood-1",
        "json_flood_sensor",
        "flood/F1/status",
        Text("地下室积水", "Flood sensor in the basement"),
        _BASEMENT,
        lambda t, turned: {"level": _flooded_cm(t, turned), "battery": 93},
    ),
    Thing(
        "zone-1",
        "json_water_zone",
        "zone/Z1/status",
        Text("1 号楼供水", "Water supply of building 1"),
        _BASEMENT,
        _zone,
    ),
    Thing(
        "care-1-1-102",
        "json_sos_unit",
        "care/C102/status",
        Text("102 室求助终端", "SOS unit of flat 102"),
        {**_FLAT, "room": "102"},
        lambda t, turned: {"door": "closed", "battery": 90},
        {"consent": _CONSENT},
    ),
    Thing(
        "home-1-1-102",
        "json_smart_home",
        "home/H102/state",
        Text("102 室智能家居", "Smart home of flat 102"),
        {**_FLAT, "room": "102"},
        _home,
        {"private_home": True, "consent": _CONSENT},
    ),
)
"""Their addresses are the topics on which they tell of themselves: the second level is the device's own."""

CHARGER: Thing[State] = Thing(
    "charger-1",
    "json_ebike_charger",
    "E1",
    Text("1 号充电插座", "Charging socket 1"),
    _GROUNDS,
    _charging,
    {
        "allow_write": ["relay"],
        "actions": {"open": {"point": "relay", "value": "open"}},
    },
)
"""The shed's supply: what cuts it off when there is smoke."""
