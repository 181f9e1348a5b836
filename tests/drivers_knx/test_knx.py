"""Group telegrams through a simulated interface; data point types; any data at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.knx.config import DeviceOptions, HubOptions, PointOptions
from drivers.knx.hub import KNX
from drivers.knx.simulator import SimInterface
from drivers.knx.values import value_of
from drivers_knx.hub_rig import hub_of, spec_of
from gateway.errors import ConfigError, LineLost
from gateway.model import Reason, ValueKind
from support.clock import ManualClock


@pytest.mark.parametrize(
    ("data", "keys", "kind", "value"),
    [
        (b"\x0c\x1a", {"dpt": "9.001"}, ValueKind.NUMBER, 21.0),  # 0x41A * 2 * 0.01
        (b"\x8a\x24", {"dpt": "9.001"}, ValueKind.NUMBER, -30.0),  # KNX 03_07_02, 3.10
        (b"\x7f\xff", {"dpt": "9.001"}, ValueKind.NUMBER, Reason.BAD_FRAME),  # invalid data
        (b"\x00\x00\x30\x39", {"dpt": "13.010", "scale": 0.001}, ValueKind.NUMBER, 12.345),
        (b"\xff", {"dpt": "5.001"}, ValueKind.NUMBER, 100),
        (1, {"dpt": "1.005"}, ValueKind.BOOLEAN, True),
        (0, {"dpt": "1.019", "map": {"0": "closed", "1": "open"}}, ValueKind.STATE, "closed"),
        (b"\x01", {"dpt": "1.005"}, ValueKind.BOOLEAN, Reason.BAD_FRAME),
        (b"\x03", {"dpt": "20.102", "map": {3: "economy"}}, ValueKind.STATE, "economy"),
        (b"\x02", {"dpt": "20.102", "map": {3: "economy"}}, ValueKind.STATE, Reason.OUT_OF_RANGE),
        (b"KNX is OK\0\0\0\0\0", {"dpt": "16.000"}, ValueKind.TEXT, "KNX is OK"),
        (b"\x0c", {"dpt": "9.001"}, ValueKind.NUMBER, Reason.BAD_FRAME),
        (b"\x0c\x1a", {"dpt": "999.999"}, ValueKind.NUMBER, Reason.NO_VALUE),
    ],
)
def test_what_data_is_worth(data: int | bytes, keys: dict[str, Any], kind: ValueKind, value: object) -> None:
    raw: int | Sequence[int] = data if isinstance(data, int) else tuple(data)
    assert value_of(raw, PointOptions.model_validate({"group": "1/2/3"} | keys), kind) == value


@given(
    st.one_of(st.integers(0, 63), st.binary(max_size=16).map(tuple)),
    st.sampled_from(["1.001", "5.001", "7.001", "9.001", "13.010", "14.056", "16.000", "19.001", "20.102", "232.600"]),
    st.sampled_from(ValueKind),
)
def test_any_data_is_a_value_or_a_reason(data: int | Sequence[int], dpt: str, kind: ValueKind) -> None:
    found = value_of(data, PointOptions(group="1/2/3", dpt=dpt), kind)
    assert isinstance(found, Reason | bool | int | float | str)


def test_telegrams_become_readings_and_nothing_is_sent_to_the_bus() -> None:
    async def scene() -> None:
        async with SimInterface() as interface:
            hub = hub_of(interface.address, {"k": spec_of("k"), "o": spec_of("o", source="1.1.9")})
            async with hub:
                interface.write("1/2/3", b"\x0c\x1a")
                interface.write("1/2/6", 1)
                interface.write("7/7/7", 1)
                interface.write("1/2/4", b"\x00\x00\x30\x39", source="1.1.9")
                found: dict[str, object] = {}
                async with asyncio.timeout(10):
                    while len(found) < 4:
                        found |= {r.point: r.value for each in await hub.receive() for r in each.readings}
                assert found == {"k.temperature": 21.0, "k.door": "open", "k.energy": 12.345, "o.energy": 12.345}
                assert hub.strangers == {"7/7/7": "KNX group, from 1.1.5, 1–6 bits"}
            assert interface.sent_to_bus == []
            assert interface.tunnels == {}, "the tunnel was given back"

    asyncio.run(scene())


def test_an_interface_that_hangs_up_is_a_lost_line() -> None:
    async def scene() -> None:
        async with SimInterface() as interface:
            hub = hub_of(interface.address, {"k": spec_of("k")})
            async with hub:
                interface.hang_up()
                with pytest.raises(LineLost, match="tunnel"):
                    await asyncio.wait_for(hub.receive(), 10)
            async with hub:
                interface.write("1/2/5", 1)
                assert await asyncio.wait_for(hub.receive(), 10)

    asyncio.run(scene())


def test_an_interface_without_a_free_tunnel_is_a_lost_line() -> None:
    async def scene() -> None:
        async with SimInterface() as interface:
            interface.full = True
            with pytest.raises(LineLost, match="KNXnet/IP"):
                await hub_of(interface.address, {"k": spec_of("k")}).__aenter__()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("model", "keys", "wrong"),
    [
        (HubOptions, {}, "either"),
        (HubOptions, {"gateway": "10.0.0.5:3671", "routing": True}, "either"),
        (DeviceOptions, {"source": "1.1"}, "individual"),
        (PointOptions, {"group": "1/8/3", "dpt": "9.001"}, "group address"),
        (PointOptions, {"group": "1/2/3", "dpt": "9.1"}, "9.001"),
    ],
)
def test_what_cannot_be_meant(model: Any, keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        model.model_validate(keys)


def test_an_unknown_data_point_type_is_told_when_the_device_is_made() -> None:
    spec = spec_of("k")
    point = spec.points["k.smoke"]
    wrong = replace(spec, points={"k.smoke": replace(point, options=PointOptions(group="1/2/3", dpt="199.001"))})
    with pytest.raises(ConfigError, match=r"199\.001"):
        KNX.make(wrong, None, ManualClock())
