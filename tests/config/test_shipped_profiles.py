"""The shipped device profiles: every one loads, is complete, and reads what its source says it must."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drivers.base import DeviceSpec, PointSpec
from drivers.modbus.config import PointOptions, RtuOptions
from drivers.modbus.driver import RTU, ModbusDevice
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from drivers.modbus.values import Type
from drivers_contract.wire import Chunk, MemoryLine
from gateway.config.faults import Report
from gateway.config.load import check
from gateway.config.profiles import Profile, Profiles, shipped_profiles
from gateway.model import Point, Quality, Text, Value, ValueKind
from rules.units import of_point
from support.clock import ManualClock
from support.virtual_time import run

NAMES = sorted(path.stem for path in shipped_profiles().glob("*.yaml"))
VECTORS = Path(__file__).parents[1] / "vectors" / "modbus.json"
EVERY = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> Profile:
    """Raises AssertionError with the faults of a profile that has any."""
    report = Report()
    profile = Profiles(Path("nowhere"), report).get(name)
    assert report.faults == []
    assert profile is not None
    return profile


def of_modbus(profile: Profile) -> Mapping[str, PointOptions]:
    """Point name -> where it stands; empty for a profile of another protocol."""
    options = profile.options.get("modbus-rtu", {})
    return {name: each for name, each in options.items() if isinstance(each, PointOptions)}


def test_there_are_as_many_as_promised() -> None:
    modbus = [name for name in NAMES if of_modbus(load(name))]
    assert len(NAMES) >= 32
    assert len(modbus) >= 30


@EVERY
def test_it_loads_without_fault_under_the_name_of_its_file(name: str) -> None:
    model = load(name).model
    assert model.id == name
    assert model.source.strip()
    assert len(model.points) >= 2


@EVERY
def test_people_can_read_it_in_both_languages(name: str) -> None:
    model = load(name).model
    names = [model.name, *(point.name for point in model.points.values())]
    assert all(each.zh.strip() and each.en.strip() for each in names)
    assert not any(re.search(r"[\u4e00-\u9fff]", each.en) for each in names)
    for texts in (
        [point.name.zh for point in model.points.values()],
        [point.name.en for point in model.points.values()],
    ):
        assert len(set(texts)) == len(texts)


@EVERY
def test_its_units_are_known_and_its_counters_count(name: str) -> None:
    for point in load(name).model.points.values():
        assert of_point(point.unit) is not None, point.unit
        assert point.lane != "billing" or point.unit
        assert not point.counter or point.unit
        assert not point.personal or not point.writable


@EVERY
def test_no_two_points_read_the_same_bits(name: str) -> None:
    """A number beside the single bits of its register would be on purpose; the same bits twice are not.

    What a code means stands beside the code itself.
    """
    seen: dict[tuple[str, int, int], str] = {}
    for point, options in of_modbus(load(name)).items():
        for place in () if options.values else _bits(options):
            assert place not in seen, f"{point} and {seen[place]} share {place}"
            seen[place] = point


def _bits(options: PointOptions) -> Sequence[tuple[str, int, int]]:
    """Every table, address and bit that the point is made of."""
    if options.table.of_bits:
        return [(options.table, options.address, 0)]
    mask = {Type.BIT: 1 << (options.bit or 0), Type.BITFIELD: options.mask or 0}.get(options.kind, 0xFFFF)
    addresses = range(options.address, options.address + options.count)
    return [(options.table, address, bit) for address in addresses for bit in range(16) if mask >> bit & 1]


ONLY_READ = {
    "lift",
    "lift_drive",
    "lift_camera",
    "gas_detector",
    "gas_controller",
    "gas_alarm",
    "gas_monitor",
    "sf6_detector",
    "co_detector",
    "fire_panel",
}


def test_nothing_of_a_lift_a_panel_or_a_gas_detector_can_be_written() -> None:
    """The gateway reads them and never writes, whatever the protocol and whatever a site allows."""
    found = [load(name).model for name in NAMES]
    models = [model for model in found if model.kind in ONLY_READ]
    assert {model.id for model in models if model.kind in ("lift", "lift_drive")} >= {
        "arkel_arcode",
        "invertek_elevator_core",
        "lift_box_a",
        "lift_controller_c800",
        "lift_json",
        "lift_platform_a",
    }
    for model in models:
        assert model.actions == {}, model.id
        assert [point for point, each in model.points.items() if each.writable or each.commands] == [], model.id


@EVERY
def test_states_are_what_the_enum_gives(name: str) -> None:
    profile = load(name)
    for point, options in of_modbus(profile).items():
        model = profile.model.points[point]
        meanings = [*options.meanings.values(), *(value for key, value in options.values.items() if key == "*")]
        words = [meaning for meaning in meanings if isinstance(meaning, str)]
        assert model.states == list(dict.fromkeys(words))
        assert len({type(meaning) for meaning in meanings}) <= 1
        truth = bool(meanings) and isinstance(meanings[0], bool)
        assert (model.kind == "boolean") == (truth or (options.kind is Type.BIT and not meanings))
        assert (model.kind == "state") == bool(words)
        assert options.kind is not Type.ASCII or model.kind == "text"
        assert model.kind != "text" or options.kind is Type.ASCII or options.scale == 1.0  # a number that is a name


@EVERY
def test_a_serial_number_is_a_text_that_is_read_once_an_hour(name: str) -> None:
    point = load(name).model.points.get("serial_number")
    assert point is None or (point.kind, point.every, point.identity) == ("text", 3600.0, True)


def test_the_meters_whose_serial_number_is_known_say_it() -> None:
    known = {name for name in NAMES if "serial_number" in load(name).model.points}
    assert known >= {"eastron_sdm120", "eastron_sdm230", "eastron_sdm630", "free2move_eprowallbox"}


@EVERY
def test_a_modbus_profile_says_its_version(name: str) -> None:
    profile = load(name)
    assert profile.model.version >= 1
    assert not of_modbus(profile) or "version" in profile.document.data


# ---------------------------------------------------------------------- a site that has one of each


KEYS = {
    "modbus-rtu": "unit_id: {number}",
    "dlt645": 'address: "{number:012}"',
    "cjt188": 'address: "{number:014}"',
}
"""What a device of a protocol must say about itself.  Other protocols check their own profiles."""


def test_a_site_with_one_of_each_passes_the_check(tmp_path: Path) -> None:
    lines = [f"- {{id: {protocol}, serial: /dev/{protocol}}}" for protocol in KEYS]
    devices = []
    for number, name in enumerate(NAMES, 1):
        for protocol in KEYS.keys() & load(name).types.keys():
            said = KEYS[protocol].format(number=number)
            devices.append(f"- {{id: d{number}, profile: {name}, line: {protocol}, place: {{site: true}}, {said}}}")
    assert len(devices) >= 36
    head = "format: site/1\nsite: {id: all, name: {zh: 全部, en: All}}\ngateway: {id: gw1}\n"
    text = head + "\n".join(["lines:", *lines, "devices:", *devices, ""])
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    assert check(tmp_path) == []


# ---------------------------------------------------------------------- registers on the wire -> values


@dataclass(frozen=True)
class Golden:
    """What a device holds, and what must be read from it.

    From the source's own example where it has one, else by its printed scale; never from our encoder.
    """

    profile: str
    values: Mapping[str, Value]
    holding: Mapping[int, int] = field(default_factory=dict)
    input: Mapping[int, int] = field(default_factory=dict)
    coil: Mapping[int, int] = field(default_factory=dict)
    discrete: Mapping[int, int] = field(default_factory=dict)


def answered(vector: str) -> dict[int, int]:
    """The registers of a captured answer to function 3 or 4, from 0 on."""
    known = {entry["id"]: entry for entry in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]}
    frame = bytes.fromhex(known[vector]["hex"])
    assert frame[1] in (3, 4)
    assert frame[2] == len(frame) - 5
    return {at // 2: int.from_bytes(frame[3 + at : 5 + at], "big") for at in range(0, frame[2], 2)}


GOLDEN = [
    Golden(
        "barrier_io_8ch",
        {"position": "open", "loop": True, "hit": False, "fault": False, "held_up": True, "raise": False},
        discrete={0: 1, 1: 1, 4: 1},
        coil={0: 0},
    ),
    # captured or printed frames; 4366 3334 is one step above the float32 nearest to the 230.2 V that were noted down
    Golden("eastron_sdm120", {"voltage": 230.200012}, input=answered("mb-sdm-volt")),
    Golden("eastron_sdm230", {"voltage": 230.200012}, input=answered("mb-sdm-volt")),
    Golden("eastron_sdm630", {"serial_number": "21234567"}, holding={0xFC00: 0x0144, 0xFC01: 0x0387}),
    Golden(
        "jxct_soil",
        {"moisture": 49.5, "temperature": 32.4, "conductivity": 4},
        holding=answered("mb-soil-rsp3"),
    ),
    Golden("soil_7in1", {"moisture": 49.5, "temperature": 32.4, "conductivity": 4}, holding=answered("mb-soil-rsp3")),
    Golden("enc_eds300", {"frequency_setpoint": 50.0}, holding={0x2001: 0x1388}),  # manual, 7.7.3
    # the "response example" of each register, pages 42 and 43; the gas is CO2
    Golden(
        "new_cosmos_ps7",
        {"flow": 500, "alarm1_limit": 25, "alarm2_limit": 40, "alarm1_delay": 5, "gas": "CO2", "unit": "ppm"},
        holding={0: 0x01F4, 1: 0x0019, 2: 0x0028, 4: 0x0005, 8: 0x434F, 9: 0x3220, 10: 0x0001},
    ),
    Golden("new_cosmos_ps7", {"sensor_current": 2.0, "test_mode": "on"}, holding={16: 1, 18: 0x00C8}),
    # the examples of the register table: 238 = 238 V, 325 = +32.5 Cel, -145 = -14.5 Cel, 1000 = 1000 VAh
    Golden(
        "walther_basicevo_pro",
        {"temperature": 32.5, "voltage_l1": 238, "apparent_power": 1000, "apparent_energy": 66536, "status": "c2"},
        input={5: 7, 9: 325, 10: 238, 14: 1000, 17: 1, 18: 1000},
    ),
    Golden("walther_basicevo_pro", {"temperature": -14.5, "lock": "locked"}, input={9: 0xFF6F, 13: 0}),
    # the same registers in the manual of Seeed's 101990667, pages 8 and 10: 0702h = 17.94 Cel, 071Dh = 18.21 %
    Golden(
        "womaster_es103",
        {"temperature": 17.94, "moisture": 18.21, "conductivity": 1821},
        holding={0: 0x0702, 1: 0x071D, 2: 0x071D},
    ),
    # limits of the printed ranges: 0 to 100.0 %, -20.0 to 80.0 Cel, pH 3.0 to 10.0
    Golden("womaster_es107", {"moisture": 100, "temperature": -20, "ph": 3.0}, holding={0: 1000, 1: 0xFF38, 3: 30}),
    # from the printed scale, type and order of words
    Golden("xy_md02", {"temperature": -5.6, "humidity": 61.2}, input={1: 0xFFC8, 2: 612}),
    Golden(
        "pzem_016",
        {
            "voltage": 230.1,
            "current": 70.536,
            "power": 6553.7,
            "energy": 131.077,
            "frequency": 50,
            "power_factor": 0.98,
        },
        input={0: 2301, 1: 5000, 2: 1, 3: 1, 4: 1, 5: 5, 6: 2, 7: 500, 8: 98},
    ),
    Golden(
        "acrel_adl3000",
        {"energy": 655.37, "energy_export": 0.02, "voltage_l3": 231.5, "power": -1.5, "frequency": 50.01},
        holding={10: 1, 11: 1, 20: 0, 21: 2, 99: 2315, 106: 0x10000 - 1500, 119: 5001},
    ),
    Golden("acrel_ddsy1352", {"energy": 1234.56, "current": 5.01}, holding={0: 1, 1: 0xE240, 12: 501}),
    Golden(
        "vacon_10",
        {"ready": True, "running": True, "fault": False, "at_reference": True, "frequency": -50, "current": 3.21},
        input={2100: 0b0100011, 2103: 0x10000 - 5000, 2105: 321},
    ),
    Golden(
        "apc_nmc2",
        {"mains": False, "on_battery": True, "battery_low": True, "battery_charge": 17, "time_left": 4},
        holding={3: 1 << 4 | 1 << 6, 5: 17, 6: 4},
    ),
    Golden("sf6_o2_detector", {"sf6": 12, "oxygen": 20.9}, holding={0: 12, 1: 209}),
    Golden(
        "sf6_o2_detector_1000h",
        {"sf6": 12, "oxygen": 20.9, "temperature": -10},
        holding={0x1000: 12, 0x1001: 209, 0x1002: 400},
    ),
    Golden(
        "msa_ultima",
        {"level1": 8.125736, "alarm_low": True, "alarm_high": False, "fault": False, "calibrating2": True},
        holding={40201: 1 << 5 | 1 << 2, 40207: 16642, 40208: 772},
    ),
    Golden(
        "free2move_eprowallbox",
        {
            "status": "c2",
            "ocpp_status": "charging",
            "current_limit": 16,
            "temperature": 26.85,
            "voltage_l1": 230.200012,
        },
        holding={
            40101: 5,
            40102: 2,
            40408: 16000,
            40602: 0x4396,  # 300.0 K
            40604: 0x4366,
            40605: 0x3334,
        },
    ),
    Golden(
        "invertek_elevator_core",
        {"running": True, "tripped": False, "error_code": 18, "frequency": -25.5, "current": 12.3, "torque": -200},
        holding={255: 0x1201, 256: 0x10000 - 255, 257: 123, 258: 0x10000 - 2000},
    ),
    Golden(
        "lift_controller_c800",
        {
            "door_closed": True,
            "service_mode": "inspection",
            "car_state": "stopped",
            "message_code": 1,
            "vendor_code": 4100,
            "direction": 2,
            "floor": 7,
            "entrapment": True,
        },
        holding={0xC800: 0, 0xC805: 0xFFFB, 0xC80A: 0x0201, 0xC80B: 4100, 0xC80C: 7, 0xC826: 2},
    ),
    Golden(
        "lift_controller_c800",
        {
            "door_closed": False,
            "service_mode": "unknown",
            "car_state": "running",
            "message_code": 8,  # E47 is in no list
            "vendor_code": 4700,
            "entrapment": False,
        },
        holding={0xC800: 17, 0xC805: 0x0002, 0xC80A: 0x0102, 0xC80B: 4700, 0xC80C: 7, 0xC826: 0xFFFD},
    ),
    Golden("arkel_arcode", {"door_bypass": True, "ucm_test": False}, coil={655: 1, 658: 0}),
    Golden(
        "waveshare_modbus_io_8ch",
        {"input1": True, "input2": False, "input8": True, "output3": True},
        discrete={0: 1, 7: 1},
        coil={2: 1},
    ),
    Golden("fire_contacts_io_8ch", {"fire": True, "fault": False}, discrete={0: 1, 1: 0}),
    Golden(
        "waveshare_modbus_io_8ch_door",
        {"contact": "closed", "button": False, "lock": True},
        discrete={0: 1},
        coil={0: 1},
    ),
    Golden("pemtech_pt495", {"concentration": 12, "sensor": "lel", "status_bits": 1}, holding={0: 12, 1: 0x0201}),
    Golden("pemtech_pt2008", {"sensor1_reading": 12, "sensor2_battery": 88}, holding={30: 12, 36: 88}),
    # from the printed scales, types and addresses of the sources
    Golden(
        "renke_rs_fsxcs",
        {"wind_speed": 12.34, "wind_force": 6, "wind_direction": 270, "temperature": -5.5, "noise": 61.2, "pm25": 75},
        holding={500: 1234, 501: 6, 503: 270, 505: 0x10000 - 55, 506: 612, 507: 75},
    ),
    Golden(
        "renke_rs_fsxcs",
        {"pressure": 101.3, "illuminance": 65537, "rainfall": 12.5},
        holding={509: 1013, 510: 1, 511: 1, 513: 125},
    ),
    Golden("renke_air_noise", {"pm25": 75, "pm10": 150, "noise": 55.5}, holding={506: 555, 507: 75, 508: 150}),
    Golden("renke_noise", {"laeq": 55.5}, holding={506: 555}),
    Golden("campbell_metsens300", {"temperature": 230.200012, "status_code": 1}, holding={4: 0x4366, 5: 0x3334, 11: 1}),
    Golden("campbell_metsens200", {"gust": 230.200012}, holding={14: 0x4366, 15: 0x3334}),
    Golden("qdy30a_level", {"level": 123.4, "unit_code": 16, "decimals": 3}, holding={2: 16, 3: 3, 4: 1234}),
    Golden("qdy30a_level", {"level": -0.2}, holding={4: 0xFFFE}),
    Golden("dfrobot_sen0676_radar", {"distance": 1234, "level": 56.7}, holding={1: 1234, 3: 567}),
    Golden("siyb_radar_60ghz", {"level": 56.7, "error_code": 2}, holding={3: 567, 16: 2}),
    Golden(
        "relay_gas_kitchen",
        {"valve": "closed", "fan": False, "position": "closed", "fan_running": False},
        coil={0: 1},
        discrete={0: 1},
    ),
    Golden("relay_siren_beacon", {"siren": True, "beacon": False}, coil={0: 1}),
    Golden("gas_alarm_contacts", {"status": "alarm", "health": "normal"}, discrete={0: 1, 1: 1}),
    Golden("gas_alarm_contacts", {"status": "normal", "health": "fault"}),  # a cable without power
]


def test_the_golden_registers_cover_most_profiles() -> None:
    assert len({golden.profile for golden in GOLDEN}) >= 24


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{at}-{golden.profile}" for at, golden in enumerate(GOLDEN)])
def test_registers_of_the_source_become_its_values(golden: Golden) -> None:
    profile = load(golden.profile)
    options, models = of_modbus(profile), profile.model.points
    specs = {
        name: PointSpec(Point(name, ValueKind(models[name].kind), Text("", ""), 60.0), options[name])
        for name in golden.values
    }
    unit = SimUnit()
    for table, cells in unit.tables.items():  # what stands between, and is read along, is zero
        held: Mapping[int, int] = getattr(golden, table.value)
        cells.update(dict.fromkeys(range(max(held, default=-1) + 16), 0))
        cells.update(held)
    line = RtuLine(ModbusBank({7: unit}))

    async def scenario() -> dict[str, Value]:
        async with MemoryLine(lambda request: [Chunk(0.01, frame) for _, frame in line.feed(request)]) as wire:
            spec = DeviceSpec("d", RtuOptions(unit_id=7, **profile.model.device), specs, 1.0)
            driver = RTU.make(spec, wire, ManualClock())
            assert isinstance(driver, ModbusDevice)
            readings = await driver.poll(list(specs))
        assert {reading.quality for reading in readings} == {Quality.GOOD}
        return {reading.point: reading.value for reading in readings if reading.value is not None}

    assert run(scenario()) == golden.values
