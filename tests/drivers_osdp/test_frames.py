"""Packets, the secure channel of a recorded conversation, and any bytes at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import wiegand
from drivers.osdp import frame, secure
from drivers.osdp.decode import decode
from drivers.osdp.frame import Frame, find_frame
from drivers.osdp.secure import Channel
from drivers.osdp.session import Identity
from drivers.osdp.simulator import OsdpLine, SimReader
from gateway.errors import ProtocolError

SESSION: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "osdp_session.json").read_text(encoding="utf-8")
)


def packets() -> Iterator[Frame]:
    for vector in SESSION["vectors"]:
        found = find_frame(bytes.fromhex(vector["hex"]))
        assert found is not None
        assert found[0].reply == (vector["from"] == "reader")
        yield found[0]


def opened() -> tuple[list[tuple[int, bytes]], Channel]:
    """Code and data of each packet under the secure channel; libosdp has made what the reader says."""
    sent = list(packets())
    challenge, answer, cryptogram, confirmed = sent[4:8]
    keys = secure.derived(bytes.fromhex(SESSION["key"]), challenge.data)
    assert answer.data[16:] == secure.client_cryptogram(keys, challenge.data, answer.data[8:16])
    assert cryptogram.data == secure.server_cryptogram(keys, challenge.data, answer.data[8:16])
    assert confirmed.data == secure.first_mac(keys, cryptogram.data)
    channel, said = Channel(keys, confirmed.data), []
    for packet in sent[8:]:
        data, channel = channel.opened(packet)
        said.append((packet.code, data))
    return said, channel


def test_a_conversation_with_libosdp_is_understood() -> None:
    assert len(SESSION["vectors"]) == 20
    said, _ = opened()
    assert [code for code, _ in said] == [0x60, 0x40, 0x60, 0x50, 0x60, 0x40, 0x69, 0x40, 0x68, 0x40, 0x60, 0x40]
    card = said[3][1]
    assert card[:4] == bytes((0, 1, 26, 0))
    assert "".join(f"{byte:08b}" for byte in card[4:])[:26] == SESSION["card_bits"]
    read = wiegand.read(SESSION["card_bits"])
    assert read is not None
    assert (read.facility, read.card) == (90, 580)
    assert said[8][1] == bytes((0, 5, 30, 0))
    identity = Identity.of(next(packet for packet in packets() if packet.code == frame.PDID).data)
    assert identity is not None
    assert (identity.vendor, identity.serial) == ("BEBAFE", 0xDEADBEAF)


def test_a_packet_of_the_conversation_left_out_or_repeated_is_noticed() -> None:
    sent = list(packets())
    keys = secure.derived(bytes.fromhex(SESSION["key"]), sent[4].data)
    start = Channel(keys, sent[7].data)
    _, after = start.opened(sent[8])
    _, after = after.opened(sent[9])
    for wrong in (sent[8], sent[11], sent[12]):  # the answer itself may be repeated: that is how a lost one is had
        with pytest.raises(ProtocolError):
            after.opened(wrong)
    assert after.opened(sent[10])[0] == b""


@given(st.binary(max_size=60), st.booleans())
def test_what_is_closed_can_be_opened(data: bytes, is_reply: bool) -> None:
    keys = secure.derived(bytes(16), bytes(8))
    channel = Channel(keys, bytes(range(16)), bytes(range(16, 32)))
    make, kind = (frame.reply, secure.REPLY_DATA) if is_reply else (frame.command, secure.COMMAND_DATA)
    packet, ours = channel.closed(make(5, 0x50, data, 2, bytes((2, kind))), data)
    assert Frame.from_bytes(packet.to_bytes()) == packet
    back, theirs = channel.opened(packet)
    assert (back, theirs) == (data, ours)
    assert data not in packet.to_bytes() or len(data) < 4


@given(
    st.integers(0, 126),
    st.integers(0, 255),
    st.binary(max_size=100),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=20),
)
def test_packets_and_back(
    address: int, code: int, data: bytes, sequence: int, crc: bool, reply: bool, noise: bytes
) -> None:
    made = Frame(address, code, data, sequence | (0x04 if crc else 0), reply)
    wire = made.to_bytes()
    assert Frame.from_bytes(wire) == made
    quiet = noise.replace(b"\x53", b"")
    assert find_frame(quiet + b"\xff" + wire + quiet) == (made, len(quiet) + 1, len(quiet) + 1 + len(wire))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_packet_or_a_protocol_error(data: bytes, dressed: bool) -> None:
    if dressed:
        data = frame.sealed(b"\x53\x83" + (len(data) + 6).to_bytes(2, "little") + data, True)
    with contextlib.suppress(ProtocolError):
        assert Frame.from_bytes(data).to_bytes() == data
    found = decode(data)
    assert found.frames or found.fault or not data
    OsdpLine([SimReader(3, bytes(16))]).feed(data)


def test_a_keypads_digits_are_not_explained() -> None:
    digits = frame.reply(1, frame.KEYPAD, b"\x00\x041234", 1).to_bytes()
    (found,) = decode(digits).frames
    assert [(field.id, field.value) for field in found.items][-2:] == [("reader", 0), ("keys", 4)]
    assert "1234" not in repr(found)


def test_damage_is_told() -> None:
    wire = frame.command(1, frame.POLL, b"", 1).to_bytes()
    assert decode(wire[:-1]).fault is not None
    assert (decode(wire[:-1] + b"\0").fault or 0) != 0
    assert decode(b"\xff" + wire).ok
    nak = decode(frame.reply(1, frame.NAK, b"\x06", 1).to_bytes()).frames[0]
    assert nak.error is not None
    assert nak.error.text == "secure_channel_needed"
