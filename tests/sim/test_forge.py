"""Lies made of published answers: one thing is different, and the frame still checks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.cjt188 import frame as cjt188_frame
from drivers.dlt645 import frame as dlt645_frame
from drivers.mbus import frame as mbus_frame
from drivers.modbus.codec import crc16
from drivers.modbus.framing import ascii_body, ascii_line
from gateway.errors import ProtocolError
from gateway.sim import forge
from gateway.sim.faults import Forge, Twist

VECTORS = Path(__file__).parent.parent / "vectors"
SEEDS = range(20)
RTU = bytes.fromhex("07 03 02 1234")
RTU += crc16(RTU)
TCP = bytes.fromhex("0001 0000 0005 01 03 02 1234")


def published(protocol: str) -> list[bytes]:
    vectors = json.loads((VECTORS / f"{protocol}.json").read_text("utf-8"))["vectors"]
    return [bytes.fromhex(vector["hex"]) for vector in vectors if vector.get("hex")]


def answers(protocol: str, from_bytes: Callable[[bytes], Any], fits: Callable[[Any], bool]) -> list[bytes]:
    """Published frames that are one whole answer and nothing else."""
    found = []
    for raw in published(protocol):
        with suppress(ProtocolError):
            if fits(from_bytes(raw)):
                found.append(raw)
    return found


DLT645 = answers("dlt645", dlt645_frame.Frame.from_bytes, lambda frame: frame.is_answer and len(frame.data) >= 4)
CJT188 = answers("cjt188", cjt188_frame.Frame.from_bytes, lambda frame: frame.is_answer and len(frame.data) >= 3)
MBUS = answers("mbus", mbus_frame.Frame.from_bytes, lambda frame: frame.is_response and len(frame.data) >= 4)


def lies(make: Forge, raw: bytes, twist: Twist) -> list[bytes]:
    return [make(raw, twist, random.Random(seed)) for seed in SEEDS]


def test_there_are_published_answers_to_lie_with() -> None:
    assert (len(DLT645) >= 20, len(CJT188) >= 10, len(MBUS) >= 40) == (True, True, True)


@pytest.mark.parametrize("raw", DLT645, ids=lambda raw: raw.hex())
def test_dlt645(raw: bytes) -> None:
    true = dlt645_frame.Frame.from_bytes(raw)
    for twist in Twist:
        for lie in lies(forge.dlt645, raw, twist):
            frame = dlt645_frame.Frame.from_bytes(lie)
            assert (frame.address != true.address) == (twist is Twist.ADDRESS)
            assert (frame.control != true.control) == (twist is Twist.FUNCTION)
            assert frame.is_answer
            assert (frame.data[:4] != true.data[:4]) == (twist is Twist.REFERENCE) or twist is Twist.SHORT
            assert len(frame.data) - len(true.data) in _sizes(twist, len(true.data))
    preambles = {len(lie) - len(lie.lstrip(b"\xfe")) for lie in lies(forge.dlt645, raw, Twist.PREAMBLE)}
    assert preambles <= set(range(14))
    assert len(preambles) > 5


@pytest.mark.parametrize("raw", CJT188, ids=lambda raw: raw.hex())
def test_cjt188(raw: bytes) -> None:
    true = cjt188_frame.Frame.from_bytes(raw)
    for twist in Twist:
        for lie in lies(forge.cjt188, raw, twist):
            frame = cjt188_frame.Frame.from_bytes(lie)
            assert (frame.address != true.address) == (twist is Twist.ADDRESS)
            assert (frame.control != true.control) == (twist is Twist.FUNCTION)
            assert (frame.sequence != true.sequence) == (twist is Twist.REFERENCE) or twist is Twist.SHORT
            assert len(frame.data) - len(true.data) in _sizes(twist, len(true.data))


@pytest.mark.parametrize("raw", MBUS, ids=lambda raw: raw.hex()[:40])
def test_mbus(raw: bytes) -> None:
    true = mbus_frame.Frame.from_bytes(raw)
    for twist in Twist:
        for lie in lies(forge.mbus, raw, twist):
            frame = mbus_frame.Frame.from_bytes(lie)
            assert (frame.address != true.address) == (twist is Twist.ADDRESS)
            assert frame.is_response == (twist is not Twist.FUNCTION)
            assert len(frame.data) - len(true.data) in _sizes(twist, len(true.data))
            if twist is Twist.ADDRESS and true.data[:4].hex().isdecimal():
                assert frame.data[:4] != true.data[:4]
    assert forge.mbus(mbus_frame.ACK, Twist.ADDRESS, random.Random(1)) == mbus_frame.ACK


def test_modbus_rtu() -> None:
    for twist in Twist:
        for lie in lies(forge.modbus_rtu, RTU, twist):
            assert crc16(lie[:-2]) == lie[-2:]
            assert (lie[0] != RTU[0]) == (twist is Twist.ADDRESS)
            assert (lie[1] != RTU[1]) == (twist is Twist.FUNCTION)
            assert len(lie) - len(RTU) in _sizes(twist, 2)
            assert (lie == RTU) == (twist in (Twist.REFERENCE, Twist.PREAMBLE))


def test_modbus_ascii() -> None:
    line = ascii_line(RTU[:-2])
    for twist in Twist:
        for lie in lies(forge.modbus_ascii, line, twist):
            body = ascii_body(lie)
            assert body is not None
            assert (body[0] != RTU[0]) == (twist is Twist.ADDRESS)
            assert (body[1] != RTU[1]) == (twist is Twist.FUNCTION)
            assert len(body) - len(RTU[:-2]) in _sizes(twist, 2)


def test_modbus_tcp() -> None:
    for twist in Twist:
        for lie in lies(forge.modbus_tcp, TCP, twist):
            assert int.from_bytes(lie[4:6], "big") == len(lie) - 6
            assert (lie[:2] != TCP[:2]) == (twist is Twist.REFERENCE)
            assert (lie[6] != TCP[6]) == (twist is Twist.ADDRESS)
            assert (lie[7] != TCP[7]) == (twist is Twist.FUNCTION)
            assert len(lie) - len(TCP) in _sizes(twist, 2)


def _sizes(twist: Twist, size: int) -> range:
    """By how much an answer may be longer."""
    if twist is Twist.SHORT:
        return range(-size, 0)
    return range(min(1, 252 - size), 9) if twist is Twist.LONG else range(1)
