from __future__ import annotations

import struct

import pytest

from drivers.base import DeviceSpec, Field, PointSpec
from drivers.modbus import framing
from drivers.modbus.config import PointOptions, RtuOptions
from drivers.modbus.driver import ASCII, RTU, TCP, ModbusDevice
from drivers_modbus.rig import FakeLine
from gateway.model import Point, Text, Value, ValueKind
from support.clock import ManualClock

SDM = bytes.fromhex("01 04 04 43 66 33 34 1B 38")  # vector mb-sdm-volt: 230.2 V as float32 ABCD
SOIL = bytes.fromhex("01 03 06 01 EF 01 44 00 04 B5 59")  # vector mb-soil-rsp3


def interpret(frame: bytes, *, unit_id: int = 1, unit: str | None = None, **keys: object) -> list[Field]:
    return list(_device(RTU, unit_id, unit, keys).interpretations("d.a", frame))


def _device(protocol: object, unit_id: int, unit: str | None, keys: dict[str, object]) -> ModbusDevice:
    chosen = {RTU.name: framing.RTU, ASCII.name: framing.ASCII, TCP.name: framing.TCP}[getattr(protocol, "name", "")]
    point = Point("d.a", ValueKind.NUMBER, Text("a", "a"), 60.0, unit)
    spec = DeviceSpec(
        "d", RtuOptions(unit_id=unit_id), {"d.a": PointSpec(point, PointOptions.model_validate(keys))}, 1.0
    )
    return ModbusDevice(chosen, spec, FakeLine(lambda _: ()), ManualClock())


def told(fields: list[Field]) -> dict[str, Value | None]:
    assert len({field.id for field in fields}) == len(fields)
    return {field.id: field.value for field in fields}


def test_two_registers_in_every_order() -> None:
    fields = interpret(SDM, unit="V", table="input", address=0, type="u32", word_order="CDAB")
    seen = told(fields)
    assert seen["hex"] == "4366 3334"
    assert (seen["input 0 u16"], seen["input 1 u16"], seen["input 1 s16"]) == (0x4366, 0x3334, 0x3334)
    assert seen["input 0 bits 15…0"] == "01000011 01100110"
    assert seen["float32 ABCD 高位在前 big endian"] == pytest.approx(230.2, abs=1e-4)  # what the meter shows
    assert seen["► 配置 configured: u32 CDAB 字交换 words swapped"] == 0x33344366
    assert seen["u32 CDAB 字交换 words swapped"] == 0x33344366
    assert seen["u32 BADC 字节交换 bytes swapped"] == 0x66433433
    assert seen["u32 DCBA 低位在前 little endian"] == 0x34336643
    assert seen["s32 ABCD 高位在前 big endian"] == 0x43663334
    assert seen["bcd32 ABCD 高位在前 big endian"] == 43663334
    assert seen["ascii ABCD 高位在前 big endian"] == "Cf34"
    assert seen["ascii BADC 字节交换 bytes swapped"] == "fC43"
    assert len([name for name in seen if name.startswith(("u32", "s32", "float32", "bcd32"))]) == 16
    assert {field.unit for field in fields if field.id.startswith("float32")} == {"V"}


def test_the_scale_of_the_profile_is_applied_so_that_the_display_can_be_compared() -> None:
    seen = told(interpret(SOIL[:3] + SOIL[3:], table="holding", address=0, length=3, type="ascii"))
    assert seen["hex"] == "01EF 0144 0004"
    frame = b"\x01\x03\x02\x01\xef"
    seen = told(interpret(_with_crc(frame), unit="%", table="holding", address=0, scale=0.1, offset=-5))
    assert seen["► 配置 configured: u16 ×0.1 -5"] == 44.5
    assert seen["u16 ×0.1 -5 字节交换 bytes swapped"] == pytest.approx(0xEF01 * 0.1 - 5)
    assert seen["holding 0 u16"] == 495
    assert seen["bcd16 ×0.1 -5 ABCD 高位在前 big endian"] is None  # EF is no decimal digit


def test_four_registers_and_negative_ones() -> None:
    body = b"\x01\x03\x08" + struct.pack(">d", -1234.5)
    seen = told(interpret(_with_crc(body), table="holding", address=8, type="float64", word_order="DCBA"))
    assert seen["float64 ABCD 高位在前 big endian"] == -1234.5
    assert seen["holding 8 s16"] == 0xC093 - 0x10000
    assert seen["s64 ABCD 高位在前 big endian"] == int.from_bytes(struct.pack(">d", -1234.5), "big", signed=True)
    assert len([name for name in seen if name.startswith(("u64", "s64", "float64"))]) == 12


def test_a_coil_is_a_bit_and_a_refusal_tells_nothing() -> None:
    assert interpret(_with_crc(b"\x01\x01\x01\x01"), table="coil", address=7) == [Field("coil 7", 1)]
    assert interpret(_with_crc(b"\x01\x83\x02"), table="holding", address=0) == []
    assert interpret(b"noise", table="holding", address=0) == []
    assert interpret(SDM, table="input", address=0) == []  # two registers answer another question


def test_echo_noise_and_any_transaction_are_passed_over() -> None:
    keys: dict[str, object] = {"table": "input", "address": 0, "type": "float32"}
    pdu = SDM[1:-2]
    received = {
        RTU: bytes.fromhex("01 04 00 00 00 02 71 CB") + b"\xff" + SDM,
        ASCII: b":" + framing.ascii_line(b"\x01" + pdu),
        TCP: b"\x00\x01\x02" + struct.pack(">HHHB", 0xBEEF, 0, len(pdu) + 1, 1) + pdu,
    }
    for protocol, data in received.items():
        seen = told(list(_device(protocol, 1, None, keys).interpretations("d.a", data)))
        assert seen["hex"] == "4366 3334"


def _with_crc(body: bytes) -> bytes:
    return body + framing.crc16(body)
