"""Codec, values, and a hub against bacpypes3's device on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.bacnet import apdu
from drivers.bacnet.apdu import Ack, Announced, ApduError, Bits, Changed, Enumerated, Failure, Refused, Station, Wanted
from drivers.bacnet.config import OBJECT_TYPES, PROPERTIES, DeviceOptions, PointOptions, parse_object
from drivers.bacnet.decode import decode
from drivers.bacnet.device import BacnetDevice
from drivers.bacnet.hub import BACNET
from drivers.bacnet.simulator import SimDevice, cov, i_am
from drivers.bacnet.values import value_of
from drivers.hub import UdpServer
from drivers_bacnet.net import device_spec, free_port, hub_of
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Reading, Reason, ValueKind
from support.clock import ManualClock


def bip(hexed: str, function: int = 0x0A) -> bytes:
    """NPDU and APDU in hex, as BACnet/IP."""
    npdu = bytes.fromhex(hexed)
    return bytes((0x81, function)) + (4 + len(npdu)).to_bytes(2, "big") + npdu


# Annex F.3.7 of the standard, second example, invoke id 2: analog inputs 33 (42.3), 50 (unknown object), 35 (435.7)
ACK = bip(
    "0100 30 02 0e"
    "0c00000021 1e 2955 4e 4442293333 4f 1f"
    "0c00000032 1e 2955 5e 9101 911f 5f 1f"
    "0c00000023 1e 2955 4e 4443d9d99a 4f 1f"
)
AI = (0, 1)


def test_the_question_of_the_standard() -> None:
    """Annex F.3.7, first example, with one of its two properties."""
    assert apdu.read(241, [Wanted((0, 16), 85)]) == bip("0104 0005f10e 0c00000010 1e 0955 1f")
    assert apdu.read_one(1, Wanted((59, 1), 450, 2)) == bip("0104 0005010c 0c0ec00001 1a01c2 2902")
    routed = apdu.read(1, [Wanted(AI, 85)], Station(5, b"\x0c"))
    assert routed[4:11] == bytes.fromhex("0124 0005 01 0c ff")


def test_the_answer_of_the_standard() -> None:
    found = apdu.parse(ACK)
    assert found is not None
    message, station = found
    assert station is None
    assert isinstance(message, Ack)
    values = {each.object[1]: raw for each, raw in message.values}
    assert message.invoke_id == 2
    assert values[33] == pytest.approx(42.3, abs=1e-5)
    assert values[50] == Refused(1, 31)
    assert values[35] == pytest.approx(435.7, abs=1e-4)
    shown = decode(ACK + i_am(7))
    assert shown.ok
    assert [each.function for each in shown.frames] == ["ack", "i-am"]


@pytest.mark.parametrize(
    ("hexed", "message"),
    [
        ("0100 60 07 09", Failure(7, "reject", 9)),
        ("0100 71 07 04", Failure(7, "abort", 4)),
        ("0100 50 07 0c 9101 911f", Failure(7, "error", 31, 1)),
        ("0120 ffff00 ff 1000 c402000007 220400 9100 2104", Announced(7, 4)),
        ("0180 01 0005", None),  # between routers
    ],
)
def test_other_messages(hexed: str, message: object) -> None:
    found = apdu.parse(bip(hexed, 0x0B))
    assert (found and found[0]) == message
    assert apdu.parse(bip("0000", 0x05)) is None  # foreign devices are a router's matter


def test_a_message_through_a_router() -> None:
    routed = bip("0108 0005 01 0c 30 01 0c 0c00000001 1955 3e 2105 3f")
    found = apdu.parse(routed)
    assert found == (Ack(1, ((Wanted(AI, 85), 5),)), Station(5, b"\x0c"))


def test_a_forwarded_notification() -> None:
    inner = cov(1001, 1.5)
    forwarded = b"\x81\x04" + (len(inner) + 6).to_bytes(2, "big") + bytes(6) + inner[4:]
    found = apdu.parse(forwarded)
    assert found is not None
    assert isinstance(found[0], Changed)
    assert found[0].values == ((Wanted(AI, 85), 1.5), (Wanted(AI, 111), Bits((False, False, False, False))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes.fromhex("810a0003"),
        ACK[:-1],
        bip("0100 30 02"),
        bip("0100 38 02 0e 00"),  # segmented
        bip("0100 30 02 0e 0c00000021 1e 2955 3e 00"),
        bip("0100 30 02 0e 0c00000021 1e 2955 4e 44 4229 33"),
        bip("0200 30 02 0e 0c00000021 1e"),
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ApduError):
        apdu.parse(data)


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=80),
        st.tuples(st.sampled_from([ACK, cov(1, 2.0), i_am(3)]), st.integers(0, 60), st.binary(max_size=4)),
    )
)
def test_any_bytes_are_a_message_or_refused(made: bytes | tuple[bytes, int, bytes]) -> None:
    if isinstance(made, tuple):
        whole, at, patch = made
        at %= len(whole)
        made = whole[:at] + patch + whole[at + len(patch) :]
    decode(made)
    try:
        apdu.parse(made)
    except ApduError:
        return


@pytest.mark.parametrize(
    ("raw", "keys", "kind", "value"),
    [
        (21.5, {}, ValueKind.NUMBER, 21.5),
        (3, {"scale": 0.1}, ValueKind.NUMBER, 0.3),
        (float("nan"), {}, ValueKind.NUMBER, Reason.NO_VALUE),
        (None, {}, ValueKind.NUMBER, Reason.NO_VALUE),
        ("x", {}, ValueKind.NUMBER, Reason.NO_VALUE),
        (Enumerated(1), {}, ValueKind.BOOLEAN, True),
        (Enumerated(2), {}, ValueKind.BOOLEAN, Reason.OUT_OF_RANGE),
        (True, {"map": {1: "yes"}}, ValueKind.STATE, "yes"),
        (7, {"map": {"7": "seven"}}, ValueKind.STATE, "seven"),
        (8, {"map": {7: "seven"}}, ValueKind.STATE, Reason.OUT_OF_RANGE),
        (8, {"map": {7: "seven"}, "other": "many"}, ValueKind.STATE, "many"),
        (Bits((False, True)), {"bit": 1}, ValueKind.BOOLEAN, True),
        (Bits((False, True)), {"bit": 2}, ValueKind.BOOLEAN, Reason.NO_VALUE),
        ("名称\n", {}, ValueKind.TEXT, "名称"),
        (Refused(1, 31), {}, ValueKind.NUMBER, Reason.REFUSED),
    ],
)
def test_what_a_property_is_worth(raw: Any, keys: dict[str, Any], kind: ValueKind, value: object) -> None:
    assert value_of(raw, PointOptions.model_validate({"object": "analog-input,1"} | keys), kind) == value


def test_names_and_numbers_are_those_of_another_implementation() -> None:
    from bacpypes3.primitivedata import ObjectType, PropertyIdentifier

    assert {name: int(ObjectType(name)) for name in OBJECT_TYPES} == OBJECT_TYPES
    assert {name: int(PropertyIdentifier(name)) for name in PROPERTIES} == PROPERTIES


@pytest.mark.parametrize(
    ("model", "keys", "wrong"),
    [
        (PointOptions, {"object": "analog-input"}, "type,number"),
        (PointOptions, {"object": "analog,1"}, "type,number"),
        (PointOptions, {"object": "analog-input,1", "property": "presentValue"}, "present-value"),
        (PointOptions, {"object": "analog-input,1", "other": True}, "map"),
        (DeviceOptions, {"address": "10.0.0.5", "network": 5}, "go together"),
        (DeviceOptions, {"address": "10.0.0.5", "network": 5, "mac": "0"}, "pattern"),
    ],
)
def test_what_cannot_be_meant(model: Any, keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        model.model_validate(keys)
    assert parse_object("130, 4") == (130, 4)


# ---------------------------------------------------------------------- against bacpypes3


async def polled(device: BacnetDevice, points: Sequence[str]) -> dict[str, object]:
    found: list[Reading] = []
    for batch in device.batches(points):
        found += await device.poll(batch)
    return {each.point.partition(".")[2]: each.reason or each.value for each in found}


EXPECTED = {
    "temperature": 21.5,
    "tenths": 215.0,
    "fault": False,
    "alarm": False,
    "mode": "auto",
    "name": "temperature",
    "absent": Reason.REFUSED,
    "floor": 7,
    "car_mode": "normal",
    "front": True,
    "rear": False,
    "passenger": False,
}


@pytest.mark.parametrize("single", [False, True])
def test_every_point_is_read(single: bool) -> None:
    async def scene() -> None:
        async with SimDevice(1001, free_port()) as sim:
            spec = device_spec("b", sim.address, max_objects=5)
            async with hub_of(spec, free_port()) as hub:
                device = BACNET.make(spec, hub, ManualClock())
                assert isinstance(device, BacnetDevice)
                device._single = single
                assert [len(batch) for batch in device.batches(list(spec.points))] == [5, 5, 2]
                assert await polled(device, list(spec.points)) == EXPECTED
                sim.set("analog-input,1", "presentValue", -3.25)
                assert (await polled(device, ["b.temperature"]))["temperature"] == -3.25

    asyncio.run(scene())


def test_a_notification_brings_readings_and_i_am_is_a_sign_of_life() -> None:
    async def scene() -> None:
        async with SimDevice(1001, free_port()) as sim:
            spec, port = device_spec("b", sim.address, instance=1001), free_port()
            async with hub_of(spec, port) as hub:
                sim.notify(("127.0.0.1", port), 23.5)
                (report,) = await asyncio.wait_for(hub.receive(), 10)
                assert {each.point: each.value for each in report.readings} == {
                    "b.temperature": 23.5,
                    "b.tenths": 235.0,
                    "b.fault": False,
                }
                sim.send(i_am(1001), ("127.0.0.1", port))
                (alive,) = await asyncio.wait_for(hub.receive(), 10)
                assert (alive.device, alive.readings) == ("b", [])
                sim.send(i_am(1002), ("127.0.0.1", port))  # another device at that address
                sim.send(cov(1001, 1.0), ("127.0.0.1", port))
                await asyncio.wait_for(hub.receive(), 10)
                assert list(hub.strangers.values()) == ["BACnet device 1002"]

    asyncio.run(scene())


def test_a_silent_device_is_asked_twice_with_one_number() -> None:
    async def scene() -> None:
        heard: list[bytes] = []
        async with UdpServer(("127.0.0.1", 0), lambda data, _peer: heard.append(data)) as silent:
            spec = device_spec("b", f"127.0.0.1:{silent.port}", timeout_s=0.2)
            async with hub_of(spec, free_port()) as hub:
                with pytest.raises(DeviceUnreachable, match="no answer"):
                    await BacnetDevice(spec, hub, ManualClock()).poll(["b.temperature"])
                assert hub._asked == {}
            assert len(heard) == 2
            assert heard[0] == heard[1]
            with pytest.raises(LineLost):
                await BacnetDevice(spec, hub, ManualClock()).poll(["b.temperature"])

    asyncio.run(scene())


def test_the_search_asks_everybody() -> None:
    async def scene() -> None:
        asked = asyncio.get_running_loop().create_future()

        def answer(data: bytes, peer: tuple[str, int]) -> None:
            if not asked.done():
                asked.set_result(data)
            other.send(i_am(4711), peer)

        async with UdpServer(("127.0.0.1", 0), answer) as other:
            hub = hub_of(device_spec("b", "127.0.0.1:9"), free_port(), discovery=True)
            hub.everybody = ("127.0.0.1", other.port)
            async with hub:
                assert await asyncio.wait_for(asked, 10) == apdu.who_is()
                async with asyncio.timeout(10):
                    while not hub.strangers:
                        await asyncio.sleep(0.01)
                assert list(hub.strangers.values()) == ["BACnet device 4711"]

    asyncio.run(scene())


class Scripted:
    def __init__(self, *answers: Ack | Failure) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, bool]] = []

    async def ask(self, _device: str, wanted: Sequence[Wanted], *, single: bool, timeout_s: float) -> Ack | Failure:
        self.asked.append((len(wanted), single))
        return self.answers.pop(0)


def test_refusals_of_the_whole() -> None:
    temperature, alarm = Wanted(AI, 85), Wanted((3, 1), 85)
    ones = [Ack(1, ((each, 1),)) for each in (temperature, alarm)]
    spec = device_spec("b", "10.0.0.5")
    points = ["b.temperature", "b.alarm"]

    def run(*answers: Ack | Failure) -> list[tuple[int, bool]]:
        hub = Scripted(*answers)
        asyncio.run(BacnetDevice(spec, hub, ManualClock()).poll(points))
        return hub.asked

    assert run(Failure(1, "reject", 9), *ones) == [(2, False), (1, True), (1, True)]
    assert run(Failure(1, "error", 29, 5), *ones) == [(2, False), (1, True), (1, True)]
    assert run(Failure(1, "abort", 4), *ones) == [(2, False), (1, False), (1, False)]
    for wrong in (Failure(1, "abort", 9), Failure(1, "error", 31, 1), ones[0]):
        with pytest.raises(ProtocolError):
            run(wrong)
    assert replace(temperature, index=1) != temperature
