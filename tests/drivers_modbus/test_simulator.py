from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus import codec
from drivers.modbus.config import PointOptions, Table
from drivers.modbus.simulator import AsciiLine, ModbusBank, RtuLine, SimUnit, TcpStream
from drivers_modbus.rig import unit
from gateway.errors import ProtocolError


def rtu(text: str) -> bytes:
    frame = bytes.fromhex(text)
    return frame + codec.crc16(frame)


def bank() -> ModbusBank:
    return ModbusBank({1: unit(holding={0: 1, 1: 2}, coil={0: 0, 1: 0}), 7: unit(holding={0: 9})})


REQUESTS = [
    ("01 03 00 00 00 02", "01 03 04 00 01 00 02"),
    ("07 03 00 00 00 01", "07 03 02 00 09"),
    ("01 03 00 01 00 02", "01 83 02"),  # one address of two is not there
    ("01 03 00 00 00 00", "01 83 03"),
    ("01 03 00 00 00 7E", "01 83 03"),
    ("01 04 00 00 00 01", "01 84 02"),
    ("01 05 00 00 12 34", "01 85 03"),
    ("01 06 00 05 12 34", "01 86 02"),
    ("01 0F 00 00 00 02 01 03", "01 0F 00 00 00 02"),
    ("01 0F 00 00 00 09 01 03", "01 8F 03"),  # nine bits do not fit into one byte
    ("01 10 00 00 00 01 02 00 07", "01 10 00 00 00 01"),
    ("01 08 00 00 A5 37", "01 88 01"),
]


def test_answers() -> None:
    for request, answer in REQUESTS:
        ((unit_id, frame),) = RtuLine(bank()).feed(rtu(request))
        assert (unit_id, frame) == (int(request[:2]), rtu(answer)), request
    assert len(REQUESTS) == 12


def test_an_ascii_line_hears_whole_lines_between_noise() -> None:
    line = AsciiLine(ModbusBank({0: unit(holding={124: 141, 125: 142})}))
    heard = [line.feed(piece) for piece in (b"\xfe:00", b"\x07:0003007C", b"00027F\r", b"\n:0003007C000200\r\n")]
    assert heard == [[], [], [], [(0, b":000304008D008EDE\r\n")]]  # vectors mb-ascii-0 and mb-ascii-1
    line.feed(b":0003007C")
    line.silence()
    assert line.feed(b"00027F\r\n") == []


def test_a_scripted_exception_comes_before_whatever_is_asked() -> None:
    made = bank()
    made.units[1].exceptions.extend([6, 0, 5])
    line = RtuLine(made)
    answers = [line.feed(rtu("01 06 00 00 00 63")) for _ in range(4)]
    good = [(1, rtu("01 06 00 00 00 63"))]
    assert answers == [[(1, rtu("01 86 06"))], good, [(1, rtu("01 86 05"))], good]


def test_what_a_device_is_comes_in_the_standards_order() -> None:
    made = bank()
    made.units[1].identity = {0: "Company identification", 1: "Product code XX", 2: "V2.11"}
    ((_, frame),) = RtuLine(made).feed(rtu("01 2B 0E 01 00"))  # the example of 6.21
    assert frame[:8] == bytes.fromhex("01 2B 0E 01 01 00 00 03")
    assert frame[8:32] == b"\x00\x16Company identification"
    ((_, refused),) = RtuLine(made).feed(rtu("07 2B 0E 01 00"))
    assert refused == rtu("07 AB 01")


def test_a_refused_write_writes_nothing() -> None:
    made = bank()
    RtuLine(made).feed(rtu("01 10 00 01 00 02 04 00 07 00 08"))
    assert made.units[1].tables[Table.HOLDING] == {0: 1, 1: 2}


def test_absent_units_are_silent_and_heard_of() -> None:
    made, heard = bank(), []
    made.on_request = lambda unit_id, pdu: heard.append((unit_id, pdu[0]))
    assert RtuLine(made).feed(rtu("05 03 00 00 00 01")) == []
    assert TcpStream(made).feed(struct.pack(">HHHB", 1, 0, 6, 5) + bytes.fromhex("03 00 00 00 01")) == []
    assert heard == [(5, 3), (5, 3)]


def test_a_broadcast_reaches_everybody_and_nobody_answers() -> None:
    made = bank()
    told: list[tuple[Table, int, int]] = []
    made.units[7].on_write = lambda table, address, value: told.append((table, address, value))
    assert RtuLine(made).feed(rtu("00 06 00 00 00 63")) == []
    assert [made.units[n].tables[Table.HOLDING][0] for n in (1, 7)] == [99, 99]
    assert told == [(Table.HOLDING, 0, 99)]


@settings(deadline=None)
@given(st.lists(st.sampled_from([text for text, _ in REQUESTS]), min_size=1, max_size=5), st.data())
def test_requests_may_arrive_in_any_pieces_between_noise(texts: list[str], data: st.DataObject) -> None:
    stream = b"".join(b"\xfe\xfe" + rtu(text) for text in texts)
    line, answers = RtuLine(bank()), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        answers += line.feed(stream[:size])
        stream = stream[size:]
    assert len(answers) == len(texts)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_do_no_harm(data: bytes) -> None:
    RtuLine(bank()).feed(data)
    AsciiLine(bank()).feed(data + b"\r\n:" + data + b"\r\n")
    try:
        TcpStream(bank()).feed(data)
    except ProtocolError:
        return


def test_silence_ends_what_was_begun() -> None:
    line = RtuLine(bank())
    request = rtu("01 03 00 00 00 02")
    line.feed(request[:4])
    line.silence()
    assert line.feed(request[4:]) == []


def test_a_stream_that_is_not_modbus_tcp_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not Modbus TCP"):
        TcpStream(bank()).feed(b"GET / HTTP/1.1")


def test_bits_share_a_register_and_may_be_computed() -> None:
    made, on = SimUnit(), [False]
    made.place(PointOptions(table="input", address=0, type="bit", bit=2), True)
    made.place(PointOptions(table="input", address=0, type="bit", bit=5), lambda: on[0])
    assert made.read(Table.INPUT, 0, 1) == [0b000100]
    on[0] = True
    assert made.read(Table.INPUT, 0, 1) == [0b100100]
