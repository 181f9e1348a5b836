"""What an answer holds, and which of it a point is."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.mbus.driver import MbusMeter
from drivers.mbus.frame import Frame
from drivers_mbus.rig import POINTS, PRIMARY, RECORDS, SECONDARY, VOLUME, meter, sim_meter, spec
from drivers_mbus.test_driver import answer, on_line, replying
from drivers_mbus.test_vectors import REAL, every_real, raw, stated_records
from gateway.model import ValueKind
from support.clock import ManualClock
from support.virtual_time import run


def shown(wire: bytes, point: dict[str, Any], **device: Any) -> list[tuple[str, object, str | None]]:
    driver = MbusMeter(spec({"it": point}, **device), replying(), ManualClock())
    return [(field.id, field.value, field.unit) for field in driver.interpretations("m.it", wire)]


def test_every_record_is_shown_and_the_one_that_is_meant_in_every_way_to_read_it() -> None:
    said = shown(answer(RECORDS), {"quantity": "volume", "storage": 1})
    assert [each[0] for each in said] == [
        "id",
        "manufacturer",
        "version",
        "medium",
        "access",
        "status",
        "1 energy",
        "2 volume",
        "3 flow",
        "4 flow_temperature",
        "→ 5 volume s1 t0",
        "  bytes",
        "  storage",
        "  tariff",
        "  subunit",
        "  function",
        "  integer",
        "  unsigned",
        "  high byte first",
        "  bcd",
        "  float",
        "6 power",
        "7 pressure",
    ]
    values = {name: value for name, value, _ in said}
    assert ("→ 5 volume s1 t0", 50.0, "m3") in said
    assert (values["  bytes"], values["  integer"], values["  bcd"]) == ("44 13 50 C3 00 00", 50000, None)
    assert values["  high byte first"] == 0x50C30000
    assert values["6 power"] == "error 05"


def test_of_several_alike_the_one_that_is_said_is_marked_else_all() -> None:
    wire = answer((VOLUME, VOLUME))
    assert [each[0] for each in shown(wire, {"quantity": "volume", "nth": 2}) if "volume" in each[0]] == [
        "1 volume",
        "→ 2 volume",
    ]
    assert [each[0] for each in shown(wire, {"quantity": "volume"}) if "→" in each[0]] == ["→ 1 volume", "→ 2 volume"]
    assert not any("→" in each[0] for each in shown(wire, {"quantity": "energy"}))


def test_what_stands_in_the_header_is_marked_there() -> None:
    said = shown(answer(RECORDS, status=0x1C), {"quantity": "status", "bit": 2, "kind": ValueKind.BOOLEAN})
    assert ("→ status", "00011100", None) in said


def test_the_answer_that_was_polled_is_the_one_shown() -> None:
    async def main() -> None:
        async with on_line(sim_meter(RECORDS)) as line:
            for device in ({"primary": PRIMARY}, {"secondary": SECONDARY}):
                driver = meter(line, **device)
                await driver.poll(["m.energy"])
                ids = [field.id for field in driver.interpretations("m.energy", line.last_answer)]
                assert "→ 1 energy" in ids

    run(main())


def test_other_meters_noise_and_refusals() -> None:
    point = dict(POINTS["energy"])
    assert shown(b"", point) == []
    assert shown(answer(RECORDS, primary=6), point) == []
    assert shown(answer(RECORDS, primary=6) + answer((VOLUME,)), point)[-1][0] == "1 volume"
    ((name, text, _),) = shown(Frame(0x08, PRIMARY, 0x70, b"\x08").to_bytes(), point)
    assert (name, "busy" in str(text)) == ("refused", True)
    cut_off = Frame(0x08, PRIMARY, 0x72, sim_meter().header() + bytes.fromhex("00000000 0413 00")).to_bytes()
    assert shown(cut_off, point)[-1][0] == "fault"


@every_real
def test_every_published_record_can_be_found_by_what_is_shown(vector: dict[str, Any]) -> None:
    frame = Frame.from_bytes(raw(vector))
    device = {"primary": frame.address} if frame.address <= 250 else {"secondary": "FFFFFFFF"}
    said = shown(raw(vector), {"quantity": "energy"}, **device)
    numbered = [name for name, _, _ in said if name.removeprefix("→ ")[0].isdigit()]
    assert len(numbered) >= len(stated_records(vector))


def test_there_are_published_records_of_energy() -> None:
    marked = 0
    for vector in REAL:
        frame = Frame.from_bytes(raw(vector))
        device = {"primary": frame.address} if frame.address <= 250 else {"secondary": "FFFFFFFF"}
        marked += any("→" in name for name, _, _ in shown(raw(vector), {"quantity": "energy"}, **device))
    assert marked >= 15


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 8])
def test_data_of_any_size_are_shown(size: int) -> None:
    kind = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 8: 7}[size]
    data = sim_meter().header() + bytes.fromhex("00000000") + bytes((kind, 0x13)) + bytes(range(1, size + 1))
    said = {
        name: value for name, value, _ in shown(Frame(0x08, PRIMARY, 0x72, data).to_bytes(), {"quantity": "volume"})
    }
    assert ("  integer" in said) == (size > 0)
    assert ("  float" in said) == (size == 4)
    assert said["  bytes"] == " ".join(f"{byte:02X}" for byte in (kind, 0x13, *range(1, size + 1)))
