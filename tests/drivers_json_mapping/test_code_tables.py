"""The code tables of lifts: they name everything that the sources name, and shipped profiles use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from drivers.code_tables import EVERY_OTHER, MESSAGES, OTHER_FAULT, SERVICE_MODES, TABLES, Table, written_out
from drivers.json_mapping.options import MappedPointOptions, ValueOptions
from drivers.modbus.config import PointOptions
from gateway.config.faults import Report
from gateway.config.profiles import Profiles, shipped_profiles

VECTORS = {
    vector["id"]: vector["expected"]
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "elevator.json").read_text("utf-8"))["vectors"]
}
STANDARD, PLATFORM_A, PLATFORM_B = (
    VECTORS[name] for name in ("lift-codes-24476", "lift-codes-platform-a", "lift-codes-platform-b")
)
AGAIN_IN_OTHER_WORDS = {
    "no fault": 0,
    "safety circuit open while running": 1,
    "door close fault": 2,
    "door open fault": 3,
    "stopped outside unlocking zone": 4,
    "unintended movement": 5,
    "motor run time limiter": 6,
    "position lost": 7,
    "alarm button": 90,
    "out of service": 42,
    "inspection": 43,
}
"""What the platforms call messages of the standard."""


def test_the_modes_and_messages_are_those_of_the_standard() -> None:
    modes = {"out of service": "out_of_service", "fire return": "fire_return", "firefighter operation": "firefighter"}
    modes |= {"emergency power": "emergency_power"}
    said = {number: modes.get(word, word) for number, word in STANDARD["service_mode"].items()}
    assert TABLES[Table.SERVICE_MODE] == said
    assert len(said) == len(SERVICE_MODES) == 8
    assert {str(code) for code in MESSAGES} == set(STANDARD["message_code"])
    assert TABLES[Table.MESSAGE_CODE] == {code: int(code) for code in STANDARD["message_code"]}


@pytest.mark.parametrize(("table", "said"), [(Table.PLATFORM_A, PLATFORM_A), (Table.PLATFORM_B, PLATFORM_B)])
def test_every_code_of_a_platform_has_its_place(table: Table, said: Mapping[str, str]) -> None:
    """Known words mean the same message; every other fault is 8 or nearer, and none is passed off as no fault."""
    known = 0
    for code, words in said.items():
        meant = TABLES[table].get(code, TABLES[table].get(EVERY_OTHER))
        assert TABLES[table].get(str(int(code)), TABLES[table].get(EVERY_OTHER)) == meant, "written as a number"
        if words in AGAIN_IN_OTHER_WORDS:
            known += 1
            assert meant == AGAIN_IN_OTHER_WORDS[words], words
        elif words == "monitor offline for long":
            assert meant is None, "nobody knows of the lift"
        elif words in ("car stays at one floor for long", "e-bike in car"):
            assert meant == 0, words
        else:
            assert meant in range(1, OTHER_FAULT + 1), words
    assert known == {Table.PLATFORM_A: 9, Table.PLATFORM_B: 5}[table]


def test_the_faults_of_the_c800_block() -> None:
    said = {32: 8, 40: 6, 41: 1, 42: 1, 48: 3, 49: 2, 58: 7, 65: 5}
    table = TABLES[Table.C800]
    assert {number: table[str(100 * number)] for number in said} == said
    assert (table["0"], table[EVERY_OTHER], len(table)) == (0, OTHER_FAULT, 10)


def test_every_table_gives_words_of_the_vocabulary() -> None:
    for table, codes in TABLES.items():
        vocabulary = set(SERVICE_MODES) if table is Table.SERVICE_MODE else set(MESSAGES)
        assert set(codes.values()) <= vocabulary, table
    assert len(TABLES) == len(Table) == 5


def test_a_profile_names_a_table() -> None:
    assert ValueOptions(values="lift/service_mode").values["2"] == "inspection"  # type: ignore[arg-type]
    options = PointOptions.model_validate({"table": "holding", "address": 1, "values": "lift/c800"})
    assert options.meanings[4100] == 1
    with pytest.raises(ValidationError, match=r"no table lift/x; there are lift/service_mode"):
        MappedPointOptions.model_validate({"path": "a", "values": "lift/x"})
    assert written_out({"1": 2}) == {"1": 2}


def test_a_message_code_of_a_shipped_lift_is_of_the_vocabulary() -> None:
    checked = []
    for file in sorted(shipped_profiles().glob("*.yaml")):
        profile = Profiles(Path("nowhere"), Report()).get(file.stem)
        assert profile is not None
        for options in profile.options.values():
            values = getattr(options.get("message_code"), "values", {})
            if profile.model.kind == "lift" and values:
                checked.append(file.stem)
                assert set(values.values()) <= set(MESSAGES), file.stem
        words = profile.model.points["service_mode"].states if "service_mode" in profile.model.points else []
        assert profile.model.kind != "lift" or set(words) <= set(SERVICE_MODES)
    assert set(checked) >= {"lift_box_a", "lift_controller_c800", "lift_platform_a"}
