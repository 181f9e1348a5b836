from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import time
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from drivers.registry import protocol
from gateway.config import profiles
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, check, load
from gateway.model import Lane, Reading, Text, ValueKind
from gateway.schedule import Job

PROFILES = Path(__file__).parent / "profiles"
HEAD = """format: site/1
site: {id: jiayuan, name: {zh: 佳园小区, en: Jiayuan Garden}}
gateway: {id: gw1}
"""


def site(directory: Path, text: str) -> Path:
    (directory / "devices").mkdir(exist_ok=True)
    for profile in PROFILES.glob("*.yaml"):
        shutil.copy(profile, directory / "devices")
    (directory / "site.yaml").write_text(HEAD + text, encoding="utf-8")
    return directory


def loaded(directory: Path, text: str) -> Configuration:
    return load(site(directory, text))


def test_a_configuration_becomes_a_plan(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
lines:
- {id: bus1, serial: /dev/ttyS1}
- {id: plc, tcp: "plc.example:502"}
devices:
- id: m1
  profile: meter
  line: bus1
  address: "17"
  name: {zh: 一号表, en: Meter one}
  place: {building: "3", room: "101"}
  timeout: 800 ms
- {id: p1, profile: pump, line: plc, protocol: modbus-tcp, unit_id: 5, kind: sump_pump, roles: {meter: m1}}
""",
    )
    assert (config.site.id, config.gateway.id) == ("jiayuan", "gw1")
    bus, plc = config.lines
    assert (bus.serial, bus.tcp, plc.serial, plc.tcp) == ("/dev/ttyS1", None, None, ("plc.example", 502))
    assert bus.format == SerialFormat(2400, "E", 8, 1)  # what DL/T 645 speaks when nobody says otherwise
    assert plc.format is None
    meter, pump = config.devices
    assert (meter.label, meter.kind, meter.protocol) == (Text("一号表", "Meter one"), "power_meter", "dlt645")
    assert (meter.place.building, meter.place.floor, meter.place.room) == ("3", None, "101")
    assert (pump.label, pump.kind, dict(pump.roles)) == (Text("水泵 p1", "Pump p1"), "sump_pump", {"meter": "m1"})
    assert set(config.points) - {point.id for point in config.ourselves.points} == {
        "m1.energy",
        "m1.voltage",
        "p1.running",
        "p1.level",
    }
    energy = config.points["m1.energy"]
    assert (energy.unit, energy.lane, energy.counter, energy.personal) == ("kW.h", Lane.BILLING, True, True)
    level = config.points["p1.level"]
    assert (level.kind, level.minimum, level.maximum) == (ValueKind.NUMBER, 0, 5)
    plan = bus.devices[0]
    assert plan.spec.timeout_s == 0.8
    assert plan.spec.options.address == "000000000017"
    assert plan.spec.points["m1.energy"].point is energy
    assert plc.devices[0].spec.options.max_registers == 16  # the profile's word
    assert plc.devices[0].spec.timeout_s == plc.devices[0].protocol.default_timeout_s


INTERVALS = [
    # device's keys, seconds of energy (profile: 15 min), of voltage (point of the profile: 60 s)
    ("", 900.0, 60.0),
    ("every: 5 min", 300.0, 60.0),
    ("points: {voltage: {every: 10s}}", 900.0, 10.0),
    ("every: 5 min, points: {energy: {every: 1 h}, voltage: {every: 10s}}", 3600.0, 10.0),
]


def test_the_nearest_interval_counts(tmp_path: Path) -> None:
    ran = 0
    for keys, energy_s, voltage_s in INTERVALS:
        entry = ", ".join(filter(None, ("id: m1, profile: meter, line: a", 'address: "1"', keys)))
        config = loaded(tmp_path, f"lines: [{{id: a, serial: /dev/ttyS1}}]\ndevices:\n- {{{entry}}}\n")
        assert config.points["m1.energy"].interval_s == energy_s
        assert config.points["m1.voltage"].interval_s == voltage_s
        wanted = sorted([(energy_s, ("m1.energy",)), (voltage_s, ("m1.voltage",))])
        assert [(job.interval_s, job.points) for job in config.lines[0].devices[0].jobs] == wanted
        ran += 1
    assert ran == len(INTERVALS) == 4


def test_points_of_one_interval_are_one_job_and_skipped_ones_are_gone(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n"
        "- {id: p1, profile: pump, line: a, unit_id: 1}\n"
        "- {id: p2, profile: pump, line: a, unit_id: 2, points: {level: {skip: true}}}\n",
    )
    first, second = config.lines[0].devices
    assert first.jobs == (Job("p1", ("p1.running", "p1.level"), 60.0),)
    assert second.jobs == (Job("p2", ("p2.running",), 60.0),)
    assert set(second.spec.points) == {"p2.running"}
    assert "p2.level" not in config.points
    assert first.protocol.name == "modbus-rtu"  # the only one of the profile's that a serial line carries


def test_what_a_line_says_of_its_characters_counts(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        """
lines:
- {id: a, serial: /dev/ttyS1, baud: 9600, parity: none}
- {id: b, serial: /dev/ttyS2, stop_bits: 2}
devices:
- {id: m1, profile: meter, line: a, address: "1"}
- {id: m2, profile: meter, line: b, address: "1"}
""",
    )
    assert [line.format for line in config.lines] == [SerialFormat(9600, "N", 8, 1), SerialFormat(2400, "E", 8, 2)]


def test_a_line_of_modbus_ascii_has_seven_bits_unless_it_says_eight(tmp_path: Path) -> None:
    site(tmp_path, "")
    pump = (tmp_path / "devices" / "pump.yaml").read_text(encoding="utf-8")
    spoken = pump.replace("protocols: [modbus-rtu, modbus-tcp]", "protocols: [modbus-ascii]")
    assert spoken != pump
    (tmp_path / "devices" / "pump.yaml").write_text(spoken, encoding="utf-8")
    (tmp_path / "site.yaml").write_text(
        HEAD
        + """
lines:
- {id: a, serial: /dev/ttyS1}
- {id: b, serial: /dev/ttyS2, parity: none, data_bits: 8}
- {id: c, tcp: "converter:4001"}
devices:
- {id: p1, profile: pump, line: a, unit_id: 5}
- {id: p2, profile: pump, line: b, unit_id: 5}
- {id: p3, profile: pump, line: c, unit_id: 5}
""",
        encoding="utf-8",
    )
    config = load(tmp_path)
    assert [line.format for line in config.lines] == [SerialFormat(9600, "E", 7), SerialFormat(9600), None]
    assert {device.protocol for device in config.devices} == {"modbus-ascii"}


def test_file_names_are_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret")
    (tmp_path / "ca.pem").write_text("")
    config = loaded(
        tmp_path,
        """
store: {path: data, budget: 1 GiB}
uplinks:
- {id: a, host: mqtt.example.cn, username: gw, password_file: pw, tls: {ca: ca.pem, certificate: /x.pem, key: /x.key}}
- {id: b, host: 127.0.0.1, port: 1883}
""",
    )
    assert (config.store.path, config.store.budget) == (tmp_path / "data", 2**30)
    first, second = config.uplinks
    assert first.password_file == tmp_path / "pw"
    assert first.tls is not None
    assert (first.tls.ca, first.tls.certificate) == (tmp_path / "ca.pem", Path("/x.pem"))
    assert (second.tls, second.keepalive) == (None, 20.0)
    assert {fault.code for fault in check(tmp_path)} == {"W-FILE"}  # /x.pem is not on this machine


def test_the_digest_follows_every_byte_that_counts(tmp_path: Path) -> None:
    text = 'lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n- {id: m1, profile: meter, line: a, address: "1"}\n'
    first = loaded(tmp_path, text).digest
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert loaded(tmp_path, text).digest == first
    (tmp_path / "notes.txt").write_text("nobody reads this")
    assert load(tmp_path).digest == first
    (tmp_path / "devices" / "meter.yaml").write_text(
        (PROFILES / "meter.yaml").read_text(encoding="utf-8") + "# x\n", encoding="utf-8"
    )
    second = load(tmp_path).digest
    assert second != first
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.yaml").write_text("format: rules/1\nrules: []\n")
    assert load(tmp_path).digest not in {first, second}


def test_a_profile_of_the_site_stands_before_a_shipped_one(tmp_path: Path) -> None:
    line = "lines: [{id: a, serial: /dev/ttyS1}]\n"
    entry = f"{line}devices:\n- {{id: m1, profile: eastron_sdm120, line: a, unit_id: 1}}\n"
    shipped = loaded(tmp_path, entry)
    own = (PROFILES / "pump.yaml").read_text(encoding="utf-8").replace("id: pump", "id: eastron_sdm120")
    (tmp_path / "devices" / "eastron_sdm120.yaml").write_text(own, encoding="utf-8")
    config = load(tmp_path)
    assert config.devices[0].label.en == "Pump m1"
    assert config.digest != shipped.digest


def test_rules_of_all_files_are_one_set(tmp_path: Path) -> None:
    site(
        tmp_path,
        'lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n- {id: m1, profile: meter, line: a, address: "1"}\n',
    )
    (tmp_path / "rules").mkdir()
    rule = (
        "format: rules/1\nrules:\n- id: {id}\n  name: {{zh: 电压, en: Voltage}}\n"
        "  when: m1.voltage < {limit} V\n  priority: low\n"
    )
    for name, limit in (("low", 180), ("very_low", 100)):
        (tmp_path / "rules" / f"{name}.yaml").write_text(rule.format(id=name, limit=limit), encoding="utf-8")
    assert [each.id for each in load(tmp_path).rules.rules if not each.id.startswith("gateway_")] == ["low", "very_low"]


def test_many_devices_share_what_they_have_in_common(tmp_path: Path) -> None:
    count = 5000
    lines = "".join(f"- {{id: bus{n}, serial: /dev/ttyS{n}}}\n" for n in range(25))
    devices = "".join(
        f'- {{id: m-{n}, profile: meter, line: bus{n // 200}, address: "{n:012}", place: {{room: "{n}"}}}}\n'
        for n in range(count)
    )
    config = loaded(tmp_path, f"lines:\n{lines}devices:\n{devices}")
    assert len(config.devices) == count
    assert len(config.points) == 2 * count + len(config.ourselves.points)
    options = {id(spec.options) for line in config.lines for plan in line.devices for spec in plan.spec.points.values()}
    assert len(options) == 2  # one for each point of the profile, not one for each device


def test_many_faults_are_all_found(tmp_path: Path) -> None:
    devices = "".join(f"- {{id: m-{n}, profile: meter{n}, line: bus}}\n" for n in range(1000))
    site(tmp_path, f"lines: [{{id: bus, serial: /dev/ttyS1}}]\ndevices:\n{devices}")
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path)
    assert sum(fault.code == "E-REF" for fault in caught.value.faults) == 1000


def test_warnings_do_not_stop_the_gateway(tmp_path: Path) -> None:
    site(tmp_path, "lines: [{id: spare, serial: /dev/ttyS1}]\n")
    assert [(fault.code, fault.warning) for fault in check(tmp_path)] == [("W-LINE", True)]
    assert load(tmp_path).devices == ()


def test_points_are_read_by_interval_at_times_of_day_in_spare_time_or_on_demand(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n"
        "- {id: m1, profile: meter, line: a, address: '1', points: {energy: {at: [12:00, 00:05]}}}\n"
        "- {id: m2, profile: meter, line: a, address: '2', points: {voltage: {spare: true}}}\n"
        "- {id: m3, profile: meter, line: a, address: '3', points: {voltage: {on_demand: true}}}\n",
    )
    fixed, spare, on_demand = (plan.jobs for plan in config.lines[0].devices)
    assert fixed == (
        Job("m1", ("m1.voltage",), 60.0),
        Job("m1", ("m1.energy",), 43500.0, (time(0, 5), time(12, 0))),  # 12 h 5 min from noon to five past midnight
    )
    assert spare == (Job("m2", ("m2.voltage",), 60.0, spare=True), Job("m2", ("m2.energy",), 900.0))
    assert on_demand == (Job("m3", ("m3.energy",), 900.0),)
    assert "m3.voltage" in config.points, "it can still be asked for"


def test_a_device_may_speak_at_its_own_speed(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "lines: [{id: a, serial: /dev/ttyS1, baud: 9600, parity: none}]\ndevices:\n"
        "- {id: m1, profile: meter, line: a, address: '1', baud: 2400, parity: even}\n"
        "- {id: p1, profile: pump, line: a, unit_id: 1}\n",
    )
    meter, pump = config.lines[0].devices
    assert config.lines[0].format == SerialFormat(9600, "N")
    assert (meter.format, pump.format) == (SerialFormat(2400, "E"), None)
    slow, fast = meter.demands[0], pump.demands[0]
    assert slow is not None
    assert fast is not None
    assert slow.busy_s(SerialFormat(9600)) == slow.busy_s(SerialFormat(115200)), "its own speed counts, not the line's"


def test_a_serial_number_needs_a_point_that_reads_it(tmp_path: Path) -> None:
    text = "lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n- {id: m1, profile: PROFILE, line: a, address: '1', " + (
        "serial_number: '0012'}\n"
    )
    with pytest.raises(ConfigFaults) as caught:
        loaded(tmp_path, text.replace("PROFILE", "meter"))
    assert [fault.code for fault in caught.value.faults] == ["E-POINT"]
    profile = (PROFILES / "meter.yaml").read_text(encoding="utf-8").replace("id: meter", "id: numbered")
    number = '  serial_number: {name: {zh: 表号, en: Number}, kind: text, identity: true, every: 1 h, di: "04000402"}\n'
    (tmp_path / "devices" / "numbered.yaml").write_text(profile + number, encoding="utf-8")
    config = loaded(tmp_path, text.replace("PROFILE", "numbered"))
    assert config.lines[0].devices[0].serial_number == "0012"
    assert config.points["m1.identity_check"].states == ("same", "changed")
    assert "device_changed" in [rule.id for rule in config.rules.rules], "the gateway watches it by itself"


def test_what_commands_may_write_is_named_in_the_device_entry(tmp_path: Path) -> None:
    entry = "{id: r1, profile: waveshare_modbus_relay_8ch, line: a, unit_id: 1"
    head = "lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n- "
    (plan,) = loaded(tmp_path, f"{head}{entry}, allow_write: [relay1, relay3]}}\n").lines[0].devices
    assert plan.allow_write == {"r1.relay1", "r1.relay3"}
    (plan,) = loaded(tmp_path, f"{head}{entry}}}\n").lines[0].devices
    assert plan.allow_write == frozenset(), "the profile's writable alone allows nothing"


class ReadOnly:
    """A third party's driver that can only read."""

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        raise NotImplementedError


def test_a_protocol_whose_driver_cannot_write_allows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_only = replace(protocol("modbus-tcp"), make=lambda spec, link, clock: ReadOnly())
    monkeypatch.setattr(profiles, "protocol", lambda name: read_only if name == "modbus-tcp" else protocol(name))
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "valve.yaml").write_text(
        "format: profile/1\nid: valve\nprotocols: [modbus-tcp]\nkind: valve\nname: {zh: 阀, en: Valve}\nsource: test\n"
        "confidence: low\npoints:\n  way: {name: {zh: 开度, en: Way}, writable: true, table: holding, address: 0}\n",
        encoding="utf-8",
    )
    site(
        tmp_path,
        "lines: [{id: a, tcp: '127.0.0.1:502'}]\ndevices:\n"
        "- {id: v1, profile: valve, line: a, unit_id: 1, place: {site: true}, allow_write: [way]}\n",
    )
    (fault,) = check(tmp_path)
    assert (fault.code, fault.message.en) == ("E-PROTOCOL", 'this version cannot write over protocol "modbus-tcp"')


def test_a_devices_password_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "meters.password").write_text("02 000000\n", encoding="utf-8")
    text = "lines: [{id: a, serial: /dev/ttyS1}]\ndevices:\n"
    text += "- {id: m1, profile: meter, line: a, address: '1', place: {site: true}, "
    config = loaded(tmp_path, text + "password_file: meters.password}\n")
    assert config.lines[0].devices[0].spec.options.password_file == tmp_path / "meters.password"
    assert not check(site(tmp_path, text + "password_file: meters.password}\n"))
    (fault,) = check(site(tmp_path, text + "password_file: absent}\n"))
    assert (fault.code, fault.warning) == ("W-FILE", True)
