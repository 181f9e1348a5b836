"""What may be said about an agent and its objects, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.base import DeviceSpec, HubSpec
from drivers.hub import with_port
from drivers.snmp.config import DeviceOptions, HubOptions, PointOptions, parse_oid, show_oid
from drivers.snmp.hub import SnmpHub
from drivers.snmp.traps import TRAP_OID, UPTIME, details
from drivers.snmp.values import Bound, Raw, holds, text_of, value_of
from gateway.errors import ConfigError
from gateway.model import Reason, Value, ValueKind
from support.clock import ManualClock

COMMUNITY = Path("community")
RAWS: st.SearchStrategy[Raw] = st.one_of(
    st.integers(-(2**63), 2**64),
    st.binary(max_size=40),
    st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=8).map(tuple),
    st.sampled_from(Reason),
)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"address": "10.0.0.5"}, "community_file"),
        ({"address": "10.0.0.5", "version": 3}, "security name"),
        ({"address": "10.0.0.5", "version": "3", "user": "u", "priv": "aes", "priv_file": "p"}, "priv needs auth"),
        ({"address": "10.0.0.5", "version": "3", "user": "u", "auth": "sha"}, "auth and auth_file"),
        ({"address": "10.0.0.5", "version": "3", "user": "u", "community_file": "c"}, "community_file"),
        ({"address": "10.0.0.5", "community_file": "c", "user": "u"}, "version 3"),
        ({"address": "10.0.0.5:0", "community_file": "c"}, "host:port"),
        ({"address": "10.0.0.5", "community": "public"}, "Extra inputs"),
    ],
)
def test_a_device_entry_that_cannot_be_meant_is_refused(keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        DeviceOptions.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"oid": "1.3.6.1.x"}, "object identifier"),
        ({"oid": "sysUpTime.0"}, "object identifier"),
        ({"oid": "1.3.6.1", "index": "a"}, "row"),
        ({"oid": "1.3.6.1", "other": False}, "map"),
        ({"oid": "1.3.6.1", "map": {1: "a"}, "character": 2}, "only one"),
        ({"oid": "1.3.6.1", "map": {1: "a"}, "scale": 2}, "numbers"),
        ({"oid": "1.3.6.1", "contains": "1.3.6", "index": 1}, "all rows"),
    ],
)
def test_a_point_that_cannot_be_meant_is_refused(keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        PointOptions.model_validate(keys)


def test_version_and_port_have_the_usual_defaults() -> None:
    options = DeviceOptions.model_validate({"address": "10.0.0.5", "community_file": "c"})
    assert (options.version, with_port(options.address, 161)) == ("2c", ("10.0.0.5", 161))
    assert with_port("[fe80::1]:1161", 161) == ("fe80::1", 1161)
    assert DeviceOptions.model_validate({"address": "u", "version": 1, "community_file": "c"}).version == "1"


def test_one_user_has_one_set_of_keys() -> None:
    def device(name: str, file: str) -> DeviceSpec:
        options = DeviceOptions(address="10.0.0.5", version="3", user="u", auth="sha", auth_file=Path(file))
        return DeviceSpec(name, options, {}, 1.0)

    with pytest.raises(ConfigError, match="different keys"):
        SnmpHub(HubSpec("n", HubOptions(), {"a": device("a", "1"), "b": device("b", "2")}), ManualClock())
    SnmpHub(HubSpec("n", HubOptions(), {"a": device("a", "1"), "b": device("b", "1")}), ManualClock())


@pytest.mark.parametrize(
    ("raw", "keys", "kind", "value"),
    [
        (2300, {"scale": 0.1}, ValueKind.NUMBER, 230.0),
        (3, {"scale": 0.1}, ValueKind.NUMBER, 0.3),  # not 0.30000000000000004
        (2**64 - 1, {}, ValueKind.NUMBER, 2**64 - 1),
        (b"23.5", {}, ValueKind.NUMBER, 23.5),
        (b"n/a", {}, ValueKind.NUMBER, Reason.NO_VALUE),
        (1, {}, ValueKind.BOOLEAN, True),  # TruthValue
        (2, {}, ValueKind.BOOLEAN, False),
        (5, {"map": {"5": True}, "other": False}, ValueKind.BOOLEAN, True),  # a key is text in YAML
        (9, {"map": {5: True}, "other": False}, ValueKind.BOOLEAN, False),
        (9, {"map": {1: "up"}}, ValueKind.STATE, Reason.OUT_OF_RANGE),
        (1, {"map": {2: False}, "no_value": [1]}, ValueKind.BOOLEAN, Reason.NO_VALUE),
        (b"2", {"map": {2: "two"}}, ValueKind.STATE, "two"),
        ((1, 3, 6), {"map": {"1.3.6": "internet"}}, ValueKind.STATE, "internet"),
        (b"000000001000", {"character": 9}, ValueKind.BOOLEAN, True),
        (b"000000001000", {"character": 8}, ValueKind.BOOLEAN, False),
        (b"0", {"character": 8}, ValueKind.BOOLEAN, Reason.NO_VALUE),
        ("核心交换机".encode("gb18030"), {}, ValueKind.TEXT, "核心交换机"),
        (b"SW-1\x00\x1b[2J", {}, ValueKind.TEXT, "SW-1  [2J"),
        (Reason.REFUSED, {}, ValueKind.NUMBER, Reason.REFUSED),
    ],
)
def test_what_a_raw_value_is_worth(raw: Raw, keys: dict[str, Any], kind: ValueKind, value: Value | Reason) -> None:
    found = value_of(raw, PointOptions.model_validate({"oid": "1.3.6"} | keys), kind)
    assert found == value
    assert type(found) is type(value)


@given(RAWS, st.sampled_from(ValueKind), st.sampled_from([{}, {"map": {1: "a"}}, {"character": 3}, {"scale": 0.1}]))
def test_any_raw_value_is_a_value_or_a_reason(raw: Raw, kind: ValueKind, keys: dict[str, Any]) -> None:
    found = value_of(raw, PointOptions.model_validate({"oid": "1.3.6"} | keys), kind)
    assert isinstance(found, Reason | float | int | bool | str)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=127))
def test_an_object_identifier_survives_being_shown(numbers: list[int]) -> None:
    assert parse_oid(show_oid((1, *numbers))) == (1, *numbers)


@given(st.text(max_size=30))
def test_any_text_is_an_object_identifier_or_refused(text: str) -> None:
    try:
        assert show_oid(parse_oid(text)) == text.removeprefix(".")
    except ValueError:
        assert text not in ("1.3", ".1.3.6")


@given(st.lists(st.builds(Bound, st.lists(st.integers(0, 99), min_size=2, max_size=6).map(tuple), RAWS), max_size=20))
def test_the_details_of_a_notification_are_bounded(bindings: list[Bound]) -> None:
    assert len(details(bindings)) <= 400


def test_the_details_show_no_community() -> None:
    """A proxy adds snmpTrapCommunity.0 (RFC 3584) to what it passes on."""
    bindings = [
        Bound(UPTIME, 1),
        Bound(TRAP_OID, (1, 3)),
        Bound((1, 3, 6, 1, 6, 3, 18, 1, 4, 0), b"secret"),
        Bound((1, 3, 6, 1, 2, 1, 2, 2, 1, 1, 3), 3),
    ]
    assert details(bindings) == "1.3.6.1.2.1.2.2.1.1.3=3"
    assert text_of(b"\xff\xfe\xfd") == "fffefd"
    assert not holds([], (1, 3))
