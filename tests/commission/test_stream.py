from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.registry import decoder
from gateway.commission.record import BUS, RX, TX, Chunk
from gateway.commission.stream import HALF_MS, PAUSE_MS, Cut, Cutter, Reader, other_protocols, split

VECTORS = Path(__file__).parents[1] / "vectors"
READ = bytes.fromhex("11 03 00 6B 00 03 76 87")  # Modbus Application Protocol's example, as an RTU frame
ANSWER = bytes.fromhex("11 03 06 02 2B 00 00 00 64 C8 BA")
METER = bytes.fromhex("FE FE FE FE 68 01 01 19 00 00 00 68 91 06 33 34 34 35 77 55 1E 16")  # 224.4 V, captured
ON_A_SERIAL_LINE = ("modbus-rtu", "dlt645", "cjt188", "mbus")


def published(file: str, protocol: str, kind: str = "") -> list[bytes]:
    """The frames of a vector file that our decoder takes for one good frame; the decoders have tests of their own."""
    vectors = json.loads((VECTORS / file).read_text(encoding="utf-8"))["vectors"]
    frames = [bytes.fromhex(each["hex"]) for each in vectors if each.get("protocol", "").startswith(kind)]
    explained = [(frame, decoder(protocol)(frame)) for frame in frames]
    return [frame for frame, decoded in explained if decoded.ok and len(decoded.frames) == 1 and len(frame) >= 4]


FRAMES = {
    "dlt645": published("dlt645.json", "dlt645"),
    "cjt188": published("cjt188.json", "cjt188"),
    "mbus": published("mbus.json", "mbus"),
    "modbus-rtu": published("modbus.json", "modbus-rtu", "Modbus RTU"),
}


def reader(*names: str) -> Reader:
    return Reader({name: decoder(name) for name in names or ON_A_SERIAL_LINE})


def cut(chunks: Sequence[Chunk], by: Reader) -> list[Cut]:
    cutter = Cutter(by)
    cuts = [each for chunk in chunks for each in cutter.feed(chunk)]
    return cuts + cutter.flush()


def chunks_of(*pieces: tuple[int, bytes], direction: str = BUS) -> list[Chunk]:
    return [Chunk(at_ms, direction, data) for at_ms, data in pieces]


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[bytes], list[Chunk]]:
    """Published frames of one protocol, handed over in any pieces: pauses inside a frame are short, those between
    two frames anything."""
    protocol = draw(st.sampled_from(sorted(FRAMES)))
    frames = draw(st.lists(st.sampled_from(FRAMES[protocol]), min_size=1, max_size=5))
    now, chunks = 1_000_000, list[Chunk]()
    for frame in frames:
        now += draw(st.sampled_from((0, 5, 40, 300, 2000)))
        begin = 0
        while begin < len(frame):
            size = draw(st.integers(1, len(frame) - begin))
            chunks.append(Chunk(now, BUS, frame[begin : begin + size]))
            begin += size
            now += draw(st.integers(0, PAUSE_MS // 2)) if begin < len(frame) else 0
    return protocol, frames, chunks


@settings(max_examples=80, deadline=None)
@given(streams())
def test_published_frames_come_out_whole_however_they_arrive(stream: tuple[str, list[bytes], list[Chunk]]) -> None:
    protocol, frames, chunks = stream
    cuts = cut(chunks, reader(protocol))
    assert [each.data for each in cuts] == frames
    assert all(each.ok and len(each.frames) == 1 and each.protocol == protocol for each in cuts)


def test_enough_frames_were_at_hand() -> None:
    assert {protocol: len(frames) >= 8 for protocol, frames in FRAMES.items()} == dict.fromkeys(FRAMES, True)


def test_question_and_answer_in_one_burst_are_two_frames_that_know_each_other() -> None:
    asked, answered = cut(chunks_of((0, READ + ANSWER)), reader("modbus-rtu"))
    assert (asked.data, asked.frames[0].direction) == (READ, "request")
    assert (answered.data, answered.frames[0].direction) == (ANSWER, "response")
    # Modbus Application Protocol V1.1b3, 6.3: registers 108 to 110, that is addresses 107 to 109
    assert [(item.id, item.value) for item in answered.frames[0].items] == [
        ("register 107", 555),
        ("register 108", 0),
        ("register 109", 100),
    ]


def test_the_answer_in_the_next_burst_knows_the_question_too() -> None:
    chunks = [Chunk(0, TX, READ), Chunk(60, RX, ANSWER)]
    asked, answered = cut(chunks, reader("modbus-rtu"))
    assert (asked.direction, answered.direction) == (TX, RX)
    assert (asked.at_ms, answered.at_ms) == (0, 60)
    assert answered.frames[0].items[0].id == "register 107"


def test_a_pause_in_the_midst_of_a_frame_is_bridged() -> None:
    for pause in (PAUSE_MS + 1, HALF_MS - 1):
        (whole,) = cut(chunks_of((0, METER[:9]), (pause, METER[9:])), reader("dlt645"))
        assert whole.data == METER
    pieces = chunks_of((0, METER[:6]), (200, METER[6:11]), (400, METER[11:]))
    (whole,) = cut(pieces, reader("dlt645"))
    assert whole.data == METER


def test_a_half_frame_is_shown_with_its_fault_when_no_other_half_comes() -> None:
    cutter = Cutter(reader("dlt645"))
    assert cutter.feed(Chunk(0, BUS, METER[:15])) == []
    assert cutter.tick(PAUSE_MS) == []
    assert cutter.tick(PAUSE_MS + 1) == [], "held: the other half may come"
    (half,) = cutter.tick(HALF_MS + 1)
    assert not half.ok
    assert half.fault is not None
    assert (half.fault.code, half.data, half.at_ms) == ("truncated", METER[:15], 0)
    assert cutter.flush() == []


def test_noise_before_a_frame_does_not_cost_the_frame() -> None:
    noise = bytes.fromhex("00 ff 37 12 80")
    rubbish, frame = cut(chunks_of((0, noise), (100, READ[:3]), (150, READ[3:])), reader("modbus-rtu"))
    assert (rubbish.data, rubbish.ok) == (noise, False)
    assert (frame.data, frame.ok) == (READ, True)


def test_a_silence_ends_a_burst_without_waiting_for_the_next_one() -> None:
    cutter = Cutter(reader("modbus-rtu"))
    assert cutter.feed(Chunk(0, BUS, READ)) == []
    (asked,) = cutter.tick(PAUSE_MS + 1)
    assert asked.data == READ


def test_noise_that_never_pauses_is_cut_all_the_same() -> None:
    chunks = chunks_of(*((ms, b"\x55" * 100) for ms in range(0, 1000, 10)))
    cuts = cut(chunks, reader("modbus-rtu"))
    assert sum(len(each.data) for each in cuts) == 10_000
    assert max(len(each.data) for each in cuts) <= 4200


def test_auto_settles_on_the_protocol_whose_frames_check() -> None:
    ran = 0
    for protocol, frames in FRAMES.items():
        by = reader()
        chunks = chunks_of(*((1000 * n, frame) for n, frame in enumerate(frames)))
        cuts = cut(chunks, by)
        assert by.settled == protocol, by.accepted
        right = sum(each.protocol == protocol for each in cuts)
        assert right >= len(frames) - 1, (protocol, by.accepted)
        ran += 1
    assert ran == 4


def test_auto_shows_a_second_protocol_on_the_same_line() -> None:
    frames = [READ, ANSWER, READ, ANSWER, METER, READ]
    by = reader()
    cuts = cut(chunks_of(*((1000 * n, frame) for n, frame in enumerate(frames))), by)
    assert [each.protocol for each in cuts] == ["modbus-rtu"] * 4 + ["dlt645", "modbus-rtu"]
    assert by.settled == "modbus-rtu"


def test_auto_takes_no_single_byte_for_a_proof() -> None:
    by = reader()
    cuts = cut(chunks_of((0, b"\xe5"), (1000, b"\xe5"), (2000, b"\xe5"), (3000, b"\xe5")), by)
    assert (by.settled, [each.ok for each in cuts]) == (None, [False] * 4)
    assert all(each.protocol is None and each.fault is not None for each in cuts)
    (acknowledged,) = cut(chunks_of((0, b"\xe5")), reader("mbus"))
    assert acknowledged.ok


def test_the_wrong_protocol_is_told_from_noise() -> None:
    by = reader("modbus-rtu")
    cuts = cut(chunks_of((0, METER), (1000, METER), (2000, b"\x00\x80\x00\x80")), by)
    assert (by.refused, sum(each.ok for each in cuts)) == (3, 0)
    everything = {name: decoder(name) for name in ON_A_SERIAL_LINE}
    assert other_protocols(cuts, everything).most_common(1) == [("dlt645", 2)]


def test_nothing_is_lost_in_splitting() -> None:
    decode = decoder("dlt645")
    assert split(decode, METER + b"\xfe" + METER + METER) == [METER, b"\xfe" + METER, METER]
    assert split(decode, METER) == [METER]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from((TX, RX, BUS)), st.binary(min_size=1, max_size=40))))
def test_every_byte_comes_out_once_in_order(pieces: list[tuple[int, str, bytes]]) -> None:
    now, chunks = 0, list[Chunk]()
    for pause, direction, data in pieces:
        now += pause
        chunks.append(Chunk(now, direction, data))
    cuts = cut(chunks, reader())
    assert b"".join(each.data for each in cuts) == b"".join(data for _, _, data in pieces)
