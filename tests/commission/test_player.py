from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from commission.test_stream import ANSWER, METER, READ, reader
from commission.toy import read_words
from drivers.base import SerialFormat
from drivers.modbus.codec import crc16
from drivers.transport import SerialLink
from gateway.commission.player import (
    Conversation,
    Exchange,
    NoExchanges,
    Player,
    Said,
    exchanges_of,
    played,
)
from gateway.commission.record import BUS, RX, TX, Capture, Chunk, Header, Heard
from gateway.errors import DeviceUnreachable
from support.descriptors import nothing_new_since, open_descriptors
from support.virtual_time import run

FAST = SerialFormat(9600)
_OTHER = bytes.fromhex("11 03 06 00 01 00 02 00 03")
OTHER = _OTHER + crc16(_OTHER)
REFUSED = bytes.fromhex("11 83 02 C1 34")


def capture_of(*pieces: tuple[int, str, bytes]) -> Capture:
    records = tuple(Heard(at_ms, (Chunk(at_ms, direction, data),)) for at_ms, direction, data in pieces)
    return Capture(Header("0", None, "bus", FAST, 0), records)


def test_questions_and_answers_where_the_directions_are_known() -> None:
    capture = capture_of(
        (0, RX, b"late"),  # an answer to what was asked before the recording began
        (10, TX, READ),
        (60, RX, ANSWER[:4]),
        (75, RX, ANSWER[4:]),
        (1000, TX, READ),  # silence
        (2000, TX, READ),
        (2040, RX, OTHER),
    )
    assert exchanges_of(capture, reader()) == [
        Exchange(READ, (Said(50, ANSWER[:4]), Said(65, ANSWER[4:]))),
        Exchange(READ),
        Exchange(READ, (Said(30 + 10, OTHER),)),
    ]


def test_questions_and_answers_that_were_heard_in_passing() -> None:
    capture = capture_of(
        (0, BUS, READ + ANSWER), (1000, BUS, READ), (2000, BUS, b"\x00\x80"), (3000, BUS, READ), (3300, BUS, OTHER)
    )
    assert exchanges_of(capture, reader("modbus-rtu")) == [
        Exchange(READ, (Said(0, ANSWER),)),
        Exchange(READ),
        Exchange(READ, (Said(300, OTHER),)),
    ]


def test_a_capture_in_which_nobody_asks() -> None:
    for capture in (capture_of(), capture_of((0, BUS, METER)), capture_of((0, RX, ANSWER))):
        with pytest.raises(NoExchanges):
            exchanges_of(capture, reader())


def test_the_same_question_gets_its_answers_in_order_and_then_from_the_beginning() -> None:
    first, second = (Said(0, ANSWER),), (Said(0, OTHER),)
    talk = Conversation.of([Exchange(READ, first), Exchange(b"other", ()), Exchange(READ, second)])
    assert [talk.hear(READ) for _ in range(4)] == [first, second, first, second]
    assert talk.hear(b"other") == ()
    assert talk.asked == {READ: 4, b"other": 1}


def test_a_question_may_come_in_pieces_and_behind_noise() -> None:
    talk = Conversation.of([Exchange(READ, (Said(0, ANSWER),))])
    assert talk.hear(b"\x00" + READ[:3]) is None
    assert talk.hear(READ[3:]) == (Said(0, ANSWER),)


def test_the_longer_question_counts_where_one_is_the_others_end() -> None:
    talk = Conversation.of([Exchange(b"bc", (Said(0, b"short"),)), Exchange(b"abc", (Said(0, b"long"),))])
    assert talk.hear(b"abc") == (Said(0, b"long"),)


def test_what_is_not_in_the_capture_is_remembered() -> None:
    talk = Conversation.of([Exchange(READ)])
    assert talk.hear(b"who") is None
    assert talk.silence() == b"who"
    assert talk.silence() == b""
    assert talk.unknown == [b"who"]


@pytest.mark.parametrize(("speed", "took_s"), [(None, 0.0), (1.0, 3.5), (2.0, 1.75), (0.5, 7.0)])
def test_a_capture_is_played_in_its_own_time_or_at_once(speed: float | None, took_s: float) -> None:
    capture = capture_of((500, BUS, READ), (3500, BUS, ANSWER))

    async def main() -> tuple[list[tuple[int, bytes]], float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        heard = [each async for each in played(capture, speed)]
        nows = [each.now_ms for each in heard]
        assert nows == sorted(nows)
        return [(chunk.at_ms, chunk.data) for each in heard for chunk in each.chunks], loop.time() - started

    pieces, elapsed = run(main())
    assert pieces == [(500, READ), (3500, ANSWER)]
    assert elapsed == pytest.approx(took_s, rel=0.02, abs=0.01)


def test_a_driver_reads_the_recorded_field_through_a_port(tmp_path: Path) -> None:
    """As the field was: 555, 0, 100, then silence, then a refusal; and from the beginning."""
    conversation = Conversation.of(
        [
            Exchange(READ, (Said(5, ANSWER[:4]), Said(15, ANSWER[4:]))),
            Exchange(READ),
            Exchange(READ, (Said(5, REFUSED),)),
        ]
    )
    puzzles: list[bytes] = []
    name = tmp_path / "field"

    async def main() -> list[str]:
        before = open_descriptors()
        told: list[str] = []
        async with Player(conversation, link=name, puzzled=puzzles.append) as player:
            assert name.resolve() == Path(player.path)
            async with SerialLink(str(name), FAST) as link:
                told += [await one(link), await one(link), await one(link), await one(link)]
                await link.collect(b"what is this", timeout_s=2.0, silence_s=0.1)
                async with asyncio.timeout(20):
                    while not puzzles:
                        await asyncio.sleep(0.01)
        assert not name.is_symlink()
        assert await nothing_new_since(before)
        return told

    async def one(link: SerialLink) -> str:
        try:
            return (await read_words(link, 0x11, 3, 0x6B, 3, 1.0)).hex(" ")
        except DeviceUnreachable:
            return "silent"

    assert asyncio.run(main()) == ["02 2b 00 00 00 64", "silent", "02", "02 2b 00 00 00 64"]
    assert puzzles == conversation.unknown == [b"what is this"]


def test_a_name_that_is_taken_is_refused_and_nothing_left_open(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()

    async def main() -> None:
        before = open_descriptors()
        with pytest.raises(NoExchanges, match="File exists"):
            async with Player(Conversation.of([Exchange(READ)]), link=taken):
                pytest.fail("the name is taken")
        assert taken.exists()
        assert await nothing_new_since(before)

    asyncio.run(main())
