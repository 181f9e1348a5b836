from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from commission.toy import DEAD_PHASES, MEANT, THREE_PHASES, TOY_645, TOY_RTU, answers_of, meter, rtu, units
from drivers.base import Found, ProtocolType
from drivers.cjt188.driver import CJT188
from drivers.dlt645.simulator import SimValue
from drivers.modbus.config import Table
from drivers.modbus.simulator import SimUnit
from drivers_contract.wire import Chunk, MemoryLine
from gateway.commission.fingerprint import PER_DEVICE, Fingerprint, Verdict, candidates
from gateway.config.faults import Report
from gateway.config.profiles import Profiles
from gateway.errors import LineLost
from gateway.model import Value
from support.clock import ManualClock
from support.virtual_time import run


def identify(
    type_: ProtocolType,
    respond: Callable[[bytes], Sequence[bytes]],
    entry: Mapping[str, Value],
    identity: str = "",
    directory: Path = Path("/nowhere"),
) -> tuple[Verdict, MemoryLine]:
    report = Report()
    profiles = candidates(Profiles(directory, report), type_)
    assert not report.faults
    line = MemoryLine(lambda request: [Chunk(0.03, answer) for answer in respond(request)])

    async def main() -> Verdict:
        async with line:
            return await Fingerprint(type_, profiles, ManualClock()).identify(line, Found(entry, identity))

    return run(main()), line


def names(verdict: Verdict) -> list[str]:
    return [match.profile for match in verdict.matches]


def test_an_sdm630_is_not_taken_for_its_smaller_sisters() -> None:
    verdict, line = identify(TOY_RTU, answers_of(rtu(units())), {"unit_id": 3})
    assert verdict.best is not None
    assert verdict.best.profile == "eastron_sdm630"
    assert verdict.sure, verdict.matches
    assert verdict.best.points == verdict.best.answered >= 31
    assert verdict.best.against == 0
    assert len(verdict.matches) == 3
    assert {"eastron_sdm230", "eastron_sdm120"} & set(names(verdict)[1:])
    assert len(line.requests) == verdict.requests <= PER_DEVICE


def test_a_plc_of_integers_is_told_from_meters() -> None:
    verdict, _ = identify(TOY_RTU, answers_of(rtu(units())), {"unit_id": 5})
    assert names(verdict)[0] == "pump_room_plc", verdict.matches


@pytest.mark.parametrize(
    ("values", "profile"),
    [
        (MEANT, "dlt645_single_phase"),
        (DEAD_PHASES, "dlt645_single_phase"),
        (THREE_PHASES, "dlt645_three_phase"),
    ],
    ids=["single", "single with zeros for the other phases", "three"],
)
def test_a_single_phase_meter_is_told_from_a_three_phase_one(values: Mapping[str, SimValue], profile: str) -> None:
    verdict, _ = identify(TOY_645, answers_of(meter(values)), {"address": "000000190101"})
    assert names(verdict)[0] == profile, verdict.matches
    assert verdict.sure, verdict.matches


def test_no_question_is_asked_twice() -> None:
    _, line = identify(TOY_645, answers_of(meter(THREE_PHASES)), {"address": "000000190101"})
    assert len(line.requests) == len(set(line.requests)) > 10


def test_a_device_that_refuses_everything_has_no_profile_and_costs_little() -> None:
    verdict, line = identify(TOY_RTU, answers_of(rtu({3: SimUnit()})), {"unit_id": 3})
    assert (verdict.best, verdict.sure) == (None, False)
    profiles = 30
    assert len(line.requests) < 2 * profiles, "two questions a profile at the most, many of them the same"


def test_a_device_that_falls_silent_has_no_profile_and_is_not_asked_for_ever() -> None:
    verdict, line = identify(TOY_RTU, lambda request: [], {"unit_id": 3})
    assert verdict.best is None
    assert len(line.requests) <= PER_DEVICE


def test_zeros_everywhere_prove_nothing() -> None:
    tables = {table: dict.fromkeys(range(2000), 0) for table in Table}
    verdict, _ = identify(TOY_RTU, answers_of(rtu({3: SimUnit(tables)})), {"unit_id": 3})
    assert not verdict.sure, verdict.matches


OWN = """format: profile/1
id: {id}
protocols: [modbus-rtu]
kind: power_meter
name: {{zh: 自制, en: Home-made}}
manufacturer: Eastwind
source: "test"
confidence: low
points:
  voltage: {{name: {{zh: 电压, en: Voltage}}, unit: V, table: input, address: 0x0000, type: float32}}
  frequency: {{name: {{zh: 频率, en: Frequency}}, unit: Hz, table: input, address: 0x0002, type: float32}}
"""


def twins(directory: Path) -> Path:
    (directory / "devices").mkdir()
    for id_ in ("own_a", "own_b"):
        text = OWN.format(id=id_)
        (directory / "devices" / f"{id_}.yaml").write_text(
            text if id_ == "own_a" else text.replace("Eastwind", "Westw")
        )
    return directory


def own_device() -> SimUnit:
    unit = SimUnit()
    words = {0: 0x4366, 1: 0x0000, 2: 0x4248, 3: 0x0000}  # IEEE 754: 230.0, 50.0
    unit.tables[Table.INPUT].update(words)
    return unit


def test_the_sites_own_profiles_are_tried_and_two_alike_are_a_tie(tmp_path: Path) -> None:
    line = answers_of(rtu({3: own_device()}))
    verdict, _ = identify(TOY_RTU, line, {"unit_id": 3}, directory=twins(tmp_path))
    assert set(names(verdict)[:2]) == {"own_a", "own_b"}
    assert verdict.matches[0].score == verdict.matches[1].score
    assert not verdict.sure


def test_points_that_are_read_on_demand_only_are_left_alone(tmp_path: Path) -> None:
    own = OWN.format(id="own_a").replace(
        "address: 0x0002, type: float32}", "address: 0x0002, type: float32, on_demand: true}"
    )
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "own_a.yaml").write_text(own)
    verdict, _ = identify(TOY_RTU, answers_of(rtu({3: own_device()})), {"unit_id": 3}, directory=tmp_path)
    (match,) = [each for each in verdict.matches if each.profile == "own_a"]
    assert (match.points, match.asked) == (1, 1)
    assert not verdict.sure, "one voltage proves nothing"


def test_the_makers_name_decides_between_two_alike(tmp_path: Path) -> None:
    line = answers_of(rtu({3: own_device()}))
    verdict, _ = identify(TOY_RTU, line, {"unit_id": 3}, "EASTWIND E-1", twins(tmp_path))
    assert names(verdict)[0] == "own_a"


def test_what_the_search_has_seen_excludes_profiles_that_contradict_it() -> None:
    report = Report()
    profiles = candidates(Profiles(Path("/nowhere"), report), CJT188)
    assert {each.model.id for each in profiles} >= {"cjt188_water_cold", "cjt188_gas"}
    line = MemoryLine(lambda request: [])

    async def main() -> None:
        async with line:
            fingerprint = Fingerprint(CJT188, profiles, ManualClock())
            await fingerprint.identify(line, Found({"address": "00000000000001", "type": "30"}))

    run(main())
    assert line.requests
    types = {request[request.index(0x68) + 1] for request in line.requests}
    assert types == {0x30}, "a gas meter is asked as what it is, and with the gas profile only"


def test_a_lost_line_ends_it() -> None:
    profiles = candidates(Profiles(Path("/nowhere"), Report()), TOY_RTU)
    line = MemoryLine(lambda request: [])

    async def main() -> None:
        async with line:
            asyncio.get_running_loop().call_later(0.1, line._fail, "unplugged")
            with pytest.raises(LineLost):
                await Fingerprint(TOY_RTU, profiles, ManualClock()).identify(line, Found({"unit_id": 3}))

    run(main())
