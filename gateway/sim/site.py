"""The configuration that describes the virtual compound to a gateway: what an installer would have written."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import rules
from gateway.model import PointId, Text
from gateway.sim.broker import MqttVersion
from gateway.sim.compound import (
    BUILDINGS,
    GAS,
    GAS_FORMAT,
    METER_FORMAT,
    PUMPS,
    Compound,
    entrance_line,
    heat_places,
    meter_id,
    water_id,
    water_line,
)
from gateway.sim.devices import meter_address, water_address
from gateway.sim.systems.system import Furnishing
from gateway.sim.world import Home, Layout

SITE, GATEWAY, UPLINK = "demo", "gw-1", "platform"
ROOT = f"compound/v1/{SITE}/{GATEWAY}"
"""Of all topics of the gateway."""
_RULES = Path(__file__).parent / "rules.yaml"
_LIBRARY = Path(rules.__file__).parent / "library"
_CHANGED: Mapping[str, Mapping[str, str | None]] = {
    "gas_controller_high": {"for": "2s", "clear_after": "5s"},
    "fire_lane_blocked": {
        "for": "8s",
        "clear_after": "5s",
        "on_alarm": "[{send: speaker.move_your_car}]",  # plate cameras take no pictures on demand
    },
    "barrier_hit": {"on_alarm": None},
    "basement_water": {"for": "3s", "clear_after": "5s", "on_alarm": None},  # the sump has a pump of its own
}
"""Rule of the library -> what the virtual installer has written into his copy, because a spectator has no three
minutes.  None: that line is gone."""
_PARITY = {"N": "none", "E": "even", "O": "odd"}

_RULE_ID = re.compile(r"^- id: (\w+)", re.MULTILINE)
_ENTRY = re.compile(r"^(?=- id: )", re.MULTILINE)

DELETED: Mapping[str, tuple[str, ...]] = {
    "water": (
        # Counts by the wall clock; an hour of the pump room is a minute.
        "pump_starts_often",
    ),
}
"""Rules that the virtual installer has taken out of the copied packs."""

METER_POINTS = ("energy", "voltage", "current", "power")
"""What the demonstration reads of a household's meter; each costs an exchange of about 0.3 s at 2400 baud."""
METER_COUNTERS = ("energy", "energy_sharp", "energy_peak", "energy_flat", "energy_valley", "energy_reverse")
METER_KWH_PER_HOUR = 25.0
"""The meters' rating.  Time runs faster in the compound than at its gateway, and so do the registers."""
_EXCHANGE_S = 0.3
_MOST_LOAD = 0.8
"""Share of an electricity meter line's time that polling may take."""
_WATER_EXCHANGE_S = 0.35
"""All of a water meter's points in one exchange at 2400 baud."""
_HEAT_EXCHANGE_S = 1.3
"""All of a heat meter's points, should its telegram be as long as M-Bus allows."""
_MOST_UTILITY_LOAD = 0.55
"""Share of a water or heat line's time."""


@dataclass(frozen=True, slots=True)
class UplinkTarget:
    """The broker the gateway shall deliver to."""

    host: str
    port: int
    mqtt: MqttVersion


def meter_interval_s(compound: Compound) -> int:
    """How often the meters of one line can all be read, with some time to spare."""
    return max(10, math.ceil(compound.layout.households * len(METER_POINTS) * _EXCHANGE_S / _MOST_LOAD))


def water_interval_s(layout: Layout) -> int:
    """How often all water meters of a building are read."""
    return _utility_interval_s(layout.entrances * layout.households, _WATER_EXCHANGE_S)


def heat_interval_s(layout: Layout) -> int:
    """How often all heat meters of the fullest bus are read."""
    return _utility_interval_s(max(place.primary for place in heat_places(layout)), _HEAT_EXCHANGE_S)


def _utility_interval_s(meters: int, exchange_s: float) -> int:
    return max(10, math.ceil(meters * exchange_s / _MOST_UTILITY_LOAD))


def devices(compound: Compound) -> Mapping[str, str]:
    """Device id -> line id."""
    return {entry["id"]: entry["line"] for entry in _devices(compound)}


def showcase(compound: Compound) -> list[tuple[PointId, Text]]:
    """Points worth watching, of the devices there are."""
    known = devices(compound)
    return [(point, label) for point, label in _watched(compound) if point.partition(".")[0] in known]


def _watched(compound: Compound) -> list[tuple[PointId, Text]]:
    home = next(compound.layout.homes())
    meter = meter_id(home)
    return [
        (f"{meter}.energy", Text(f"1 号楼 {home.room} 室 电能", f"building 1, flat {home.room}: energy")),
        (f"{meter}.power", Text(f"1 号楼 {home.room} 室 功率", f"building 1, flat {home.room}: power")),
        ("bm-1.power", Text("1 号楼 总功率", "building 1: total power")),
        ("bm-1.energy", Text("1 号楼 总电能", "building 1: total energy")),
        (f"{water_id(home)}.volume", Text(f"1 号楼 {home.room} 室 用水", f"building 1, flat {home.room}: water")),
        ("h-1-1.energy", Text("1 号楼 1 单元 热量", "building 1, entrance 1: heat")),
        ("gas-1.ch1_concentration", Text("燃气 1 号探头", "gas detector 1")),
        ("pumps-1.level", Text("地下室水位", "basement water level")),
        ("lift-1.floor", Text("1 号电梯 楼层", "lift 1: floor")),
        ("zone-1.flow", Text("1 号楼 供水流量", "building 1: water flow")),
        ("bin-1.fill", Text("1 号垃圾桶 满溢度", "waste bin 1: fill level")),
        ("sump-1.level", Text("车库坡道水位", "water at the garage ramp")),
        ("speaker-1.announcement", Text("小区广播", "loudspeaker")),
        ("sign-1.notice", Text("消防车道显示屏", "display at the fire lane")),
    ]


def write(compound: Compound, directory: Path, store: Path, uplink: UplinkTarget | None) -> None:
    """site.yaml and rules/; the compound must be running, because its ports are written down."""
    (directory / "rules").mkdir(parents=True, exist_ok=True)
    own = string.Template(_RULES.read_text(encoding="utf-8")).substitute(
        silent_s=2 * meter_interval_s(compound),
        utility_silent_s=2 * max(water_interval_s(compound.layout), heat_interval_s(compound.layout)),
    )
    packs = {pack: _signed_off(pack, wanted) for pack, wanted in _packs(compound).items()}
    own = _without(own, [id_ for text in packs.values() for id_ in _RULE_ID.findall(text)])
    for pack, text in {"compound": own, **packs}.items():
        (directory / "rules" / f"{pack}.yaml").write_text(text, encoding="utf-8")
    whole = {**document(compound, store, uplink), **_furnished(compound, directory)}
    text = yaml.dump(whole, Dumper=_Plain, allow_unicode=True, sort_keys=False, width=120)
    (directory / "site.yaml").write_text(text, encoding="utf-8")


class _Plain(yaml.SafeDumper):
    """Without anchors: what stands twice is written twice, as the gateway's own reader wants it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _furnished(compound: Compound, directory: Path) -> Mapping[str, Any]:
    furnishing = [system for system in compound.systems if isinstance(system, Furnishing)]
    return {name: section for system in furnishing for name, section in system.furnish(directory).items()}


def _packs(compound: Compound) -> Mapping[str, Sequence[str]]:
    """Pack of the library -> the rules of it that are wanted; an empty name stands for all."""
    packs: dict[str, list[str]] = {}
    for wanted in (pack for system in compound.systems for pack in system.packs):
        pack, _, rule = wanted.partition(":")
        packs.setdefault(pack, []).append(rule)
    return packs


def _signed_off(pack: str, wanted: Sequence[str]) -> str:
    """A pack as the virtual installer has copied and signed it off: nobody is hurt here."""
    text = (_LIBRARY / f"{pack}.yaml").read_text(encoding="utf-8").replace("mode: shadow", "mode: live")
    deleted = DELETED.get(pack, ()) if "" in wanted else _RULE_ID.findall(text)
    text = _without(text, set(deleted) - set(wanted))
    head, *entries = _ENTRY.split(text)
    return head + "".join(_changed(_RULE_ID.findall(entry)[0], entry) for entry in entries)


def _without(text: str, ids: Collection[str]) -> str:
    """A file of rules without some of them."""
    head, *entries = _ENTRY.split(text)
    return head + "".join(entry for entry in entries if _RULE_ID.findall(entry)[0] not in ids)


def _changed(rule: str, text: str) -> str:
    for key, value in _CHANGED.get(rule, {}).items():
        entry = re.search(rf"(?m)^  {key}:.*\n(?:  [- ].*\n)*", text)
        assert entry is not None, f"{rule} has no {key}"
        was = f"  # 库中 / in the library: {' '.join(entry[0].split())}\n"
        text = text[: entry.start()] + was + ("" if value is None else f"  {key}: {value}\n") + text[entry.end() :]
    return text


def document(compound: Compound, store: Path, uplink: UplinkTarget | None) -> Mapping[str, Any]:
    return {
        "format": "site/1",
        "site": {"id": SITE, "name": {"zh": "虚拟小区", "en": "Virtual compound"}},
        # Whoever plays wants to see data at once, on a machine without time synchronisation too.
        "gateway": {"id": GATEWAY, "clock_wait": "0 s"},
        "store": {"path": str(store), "budget": "256 MiB"},
        "uplinks": [] if uplink is None else [_uplink(uplink)],
        "lines": list(_lines(compound)),
        "devices": list(_devices(compound)),
    }


def _uplink(target: UplinkTarget) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"id": UPLINK, "host": target.host, "port": target.port}
    if target.mqtt == "3.1.1":
        entry["protocol"] = "mqtt311"
    return entry


def _lines(compound: Compound) -> Iterator[Mapping[str, Any]]:
    for name, line in compound.serial.items():
        serial = GAS_FORMAT if name == GAS else METER_FORMAT
        yield {
            "id": name,
            "serial": line.path,
            "baud": serial.baud,
            "parity": _PARITY[serial.parity],
            "stop_bits": serial.stop_bits,
        }
    for name, port in compound.tcp.items():
        yield {"id": name, "tcp": f"127.0.0.1:{port}"}
    for system in compound.systems:
        yield from system.lines()


def _devices(compound: Compound) -> Iterator[dict[str, Any]]:
    layout = compound.layout
    for home in layout.homes():
        yield {
            "id": meter_id(home),
            "profile": "dlt645_single_phase",
            "line": entrance_line(home),
            "address": meter_address(home),
            "name": {"zh": f"{home.room} 室电表", "en": f"Meter of flat {home.room}"},
            "place": _place(home),
            "every": f"{meter_interval_s(compound)}s",
            "points": {name: {"max_per_hour": METER_KWH_PER_HOUR * compound.time_scale} for name in METER_COUNTERS},
        }
    yield from _utilities(layout)
    for number in range(1, layout.buildings + 1):
        yield {
            "id": f"bm-{number}",
            "profile": "eastron_sdm630",
            "kind": "building_meter",
            "line": BUILDINGS,
            "protocol": "modbus-tcp",
            "unit_id": number,
            "name": {"zh": f"{number} 号楼总表", "en": f"Building {number} main meter"},
            "place": {"building": f"{number}#"},
            "every": "5s",
        }
    yield {
        "id": "gas-1",
        "profile": "gas_controller_4ch",
        "line": GAS,
        "unit_id": 1,
        "name": {"zh": "燃气报警控制器", "en": "Gas alarm controller"},
        "place": {"building": "1#"},
        "every": "1s",
    }
    yield {
        "id": "pumps-1",
        "profile": "pump_room_plc",
        "line": PUMPS,
        "protocol": "modbus-tcp",
        "unit_id": 1,
        "name": {"zh": "地下室泵房", "en": "Basement pump room"},
        "place": {"building": "1#", "floor": "B1"},
        "every": "2s",
        "allow_write": ["pump1_start", "pump2_start"],
    }
    for system in compound.systems:
        yield from system.devices()


def _utilities(layout: Layout) -> Iterator[dict[str, Any]]:
    """Their profiles name no max_per_hour that would have to keep up with the compound's time."""
    for home in layout.homes():
        yield {
            "id": water_id(home),
            "profile": "cjt188_water_cold",
            "line": water_line(home),
            "address": water_address(home),
            "name": {"zh": f"{home.room} 室水表", "en": f"Water meter of flat {home.room}"},
            "place": _place(home),
            "every": f"{water_interval_s(layout)}s",
        }
    heat_every = f"{heat_interval_s(layout)}s"
    for heat in heat_places(layout):
        building, entrance = heat.stairs
        yield {
            "id": heat.device,
            "profile": "mbus_heat",
            "line": heat.line,
            "primary": heat.primary,
            "name": {
                "zh": f"{building} 号楼 {entrance} 单元热量表",
                "en": f"Heat meter of building {building}, entrance {entrance}",
            },
            "place": {"building": f"{building}#", "unit": str(entrance)},
            "every": heat_every,
        }


def _place(home: Home) -> Mapping[str, str]:
    return {
        "building": f"{home.building}#",
        "unit": str(home.entrance),
        "floor": f"{home.floor}F",
        "room": home.room,
    }
