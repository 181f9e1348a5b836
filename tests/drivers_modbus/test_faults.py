"""Whatever a line does to answers, no value is wrong: it is the right one, or none.  Always the same cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import ProtocolType
from drivers.modbus import codec, framing
from drivers.modbus.codec import Request, crc16
from drivers.modbus.driver import ASCII, RTU, TCP
from drivers.modbus.framing import Framing, ascii_line
from drivers.modbus.simulator import ModbusBank
from drivers_modbus.rig import FAR_ENDS, FakeLine, Replies, device, holding, unit
from gateway.errors import DriverError
from gateway.model import Reading
from support.virtual_time import run

FIXED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FRAMINGS = {"rtu": framing.RTU, "ascii": framing.ASCII, "tcp": framing.TCP}
NUMBER = 0x0107
"""The transaction that is asked for over TCP."""


def framed(chosen: Framing, unit_id: int, pdu: bytes, number: int = NUMBER) -> bytes:
    """Any PDU as a device would send it; built here, not by the code under test (but the checksums)."""
    body = bytes((unit_id,)) + pdu
    if chosen is framing.RTU:
        return body + crc16(body)
    if chosen is framing.ASCII:
        return ascii_line(body)
    return number.to_bytes(2, "big") + bytes(2) + len(body).to_bytes(2, "big") + body


def answer_pdu(function: int, registers: list[int]) -> bytes:
    return bytes((function, 2 * len(registers))) + b"".join(word.to_bytes(2, "big") for word in registers)


KINDS = ["noise", "unit", "function", "short", "long", "echo", "cut", "changed", "split", "write"]
WORDS = st.integers(0, 0xFFFF)
NOISE = st.binary(max_size=64)


@st.composite
def wrong(draw: st.DrawFn, chosen: Framing, request: Request, right: list[int]) -> tuple[str, bytes]:
    """Something that is not the answer, and what it is."""
    others = draw(st.lists(WORDS, min_size=len(right), max_size=len(right)))
    kind = draw(st.sampled_from(KINDS))
    # TCP's own checksum guards the inside of a frame; what can be damaged there is the rest of another conversation
    good = framed(chosen, request.unit_id, answer_pdu(request.function, right), NUMBER + (chosen is framing.TCP))
    match kind:
        case "noise":
            return kind, draw(NOISE)
        case "unit":
            unit_id = draw(st.integers(0, 255).filter(lambda other: other != request.unit_id))
            return kind, framed(chosen, unit_id, answer_pdu(request.function, others))
        case "function":
            function = draw(st.sampled_from([1, 2, 3, 4, 23]).filter(lambda other: other != request.function))
            return kind, framed(chosen, request.unit_id, answer_pdu(function, others))
        case "short":
            return kind, framed(chosen, request.unit_id, answer_pdu(request.function, others[:-1]))
        case "long":
            return kind, framed(chosen, request.unit_id, answer_pdu(request.function, [*others, draw(WORDS)]))
        case "echo":
            return kind, chosen.frame(request, NUMBER)
        case "cut":
            return kind, good[: draw(st.integers(0, len(good) - 1))]
        case "changed":
            place, by = draw(st.integers(0, len(good) - 1)), draw(st.integers(1, 255))
            return kind, good[:place] + bytes((good[place] ^ by,)) + good[place + 1 :]
        case "split":
            place = draw(st.integers(1, len(good) - 1))
            return kind, good[:place] + draw(st.binary(min_size=1, max_size=64)) + good[place:]
        case _:
            return kind, framed(chosen, request.unit_id, bytes((16,)) + bytes(4))


@pytest.mark.parametrize("name", FRAMINGS)
def test_of_everything_on_the_line_only_the_right_answer_counts(name: str) -> None:
    chosen = FRAMINGS[name]
    seen: Counter[str] = Counter()

    @settings(FIXED, max_examples=1000)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        right = data.draw(st.lists(WORDS, min_size=1, max_size=6))
        request = codec.read_request(data.draw(st.integers(1, 247)), data.draw(st.sampled_from([3, 4])), 9, len(right))
        pieces = data.draw(st.lists(wrong(chosen, request, right), max_size=4))
        answered = data.draw(st.integers(0, 2))  # not at all, once, twice
        good = framed(chosen, request.unit_id, answer_pdu(request.function, right))
        places = [data.draw(st.integers(0, len(pieces))) for _ in range(answered)]
        stream = [piece for _, piece in pieces]
        for place in sorted(places, reverse=True):
            stream.insert(place, good)
        found = chosen.answer(request, chosen.frame(request, NUMBER), b"".join(stream))
        if found is not None and found.exception is None:
            assert list(found.registers) == right
            seen["right"] += 1
        seen.update(kind for kind, _ in pieces)
        seen["cases"] += 1

    holds()
    assert seen["cases"] >= 1000
    assert seen["right"] >= 250
    assert all(seen[kind] >= 50 for kind in KINDS)


def test_over_tcp_no_other_transaction_is_the_answer() -> None:
    seen: Counter[str] = Counter()

    @settings(FIXED, max_examples=500)
    @given(st.lists(st.tuples(st.integers(0, 0xFFFF).filter(lambda other: other != NUMBER), WORDS), max_size=5), NOISE)
    def holds(earlier: list[tuple[int, int]], noise: bytes) -> None:
        request = codec.read_request(1, 3, 9, 1)
        late = b"".join(framed(framing.TCP, 1, answer_pdu(3, [word]), number) for number, word in earlier)
        right = framed(framing.TCP, 1, answer_pdu(3, [4711]))
        sent = framing.TCP.frame(request, NUMBER)
        assert framing.TCP.answer(request, sent, noise + late) is None
        found = framing.TCP.answer(request, sent, noise + late + right)
        assert found is not None
        assert found.registers == [4711]
        seen["cases"] += 1

    holds()
    assert seen["cases"] >= 500


WRITES = [
    codec.write_request(7, 5, 3, [1]),
    codec.write_request(7, 6, 3, [513]),
    codec.write_request(7, 15, 3, [1, 0, 1]),
    codec.write_request(7, 16, 3, [513, 0x0210]),
    codec.mask_request(7, 3, 0x00F0, 0x0020),
]


@st.composite
def no_confirmation(draw: st.DrawFn, chosen: Framing, request: Request) -> bytes:
    """Something that a careless master could take for the confirmation of *request*."""
    right = request.answer_head
    match draw(st.sampled_from(["noise", "unit", "head", "cut", "exception of another", "echo"])):
        case "noise":
            return draw(NOISE)
        case "unit":
            return framed(chosen, draw(st.sampled_from([0, 1, 8, 247])), right)
        case "head":
            place, by = draw(st.integers(0, len(right) - 1)), draw(st.integers(1, 255))
            return framed(chosen, request.unit_id, right[:place] + bytes((right[place] ^ by,)) + right[place + 1 :])
        case "cut":
            return framed(chosen, request.unit_id, right)[: draw(st.integers(0, 6))]
        case "exception of another":
            return framed(chosen, 8, bytes((request.function | 0x80, 2)))
        case _:  # of a line that is known to echo, or of a write whose answer is shorter than it
            return b"" if chosen is framing.TCP else chosen.frame(request, NUMBER)


@pytest.mark.parametrize("name", FRAMINGS)
def test_nothing_but_its_confirmation_confirms_a_write(name: str) -> None:
    chosen = FRAMINGS[name]
    seen: Counter[str] = Counter()

    @settings(FIXED, max_examples=500)
    @given(st.data(), st.sampled_from(WRITES))
    def holds(data: st.DataObject, request: Request) -> None:
        stream = b"".join(data.draw(st.lists(no_confirmation(chosen, request), max_size=4)))
        sent = chosen.frame(request, NUMBER)
        echoed = stream if stream.count(sent) < 2 else b""  # two echoes of one request are none
        found = chosen.answer(request, sent, echoed, line_echoes=True)
        assert found is None or found.exception is not None
        right = framed(chosen, request.unit_id, request.answer_head)
        echo = b"" if chosen is framing.TCP else sent
        confirmed = chosen.answer(request, sent, echo + data.draw(NOISE) + right, line_echoes=True)
        assert confirmed is not None
        assert confirmed.exception is None
        seen["cases"] += 1

    holds()
    assert seen["cases"] >= 500


# ---------------------------------------------------------------------- the whole driver, in time

TIMEOUT_S = 0.3
VALUES = {address: 1000 + 7 * address for address in range(0, 60, 20)}
"""Of unit 1.  Unit 2 has the same registers, with 20000 more in each."""
Spoil = Callable[[bytes], Replies]


@st.composite
def spoilt(draw: st.DrawFn) -> Spoil:
    """What becomes of one answer between the device and us: noise, an echo, a repetition, a delay, or silence."""
    delay_s = draw(st.sampled_from([0.01, 0.1, 0.29, 0.31, 0.5, 0.9]))
    before, after = draw(NOISE), draw(NOISE)
    times = draw(st.sampled_from([0, 1, 1, 1, 2]))
    cut = draw(st.one_of(st.none(), st.integers(0, 20)))

    def shape(answer: bytes) -> Replies:
        yield delay_s, before + answer[:cut] * times + after

    return shape


@pytest.mark.parametrize("protocol", [RTU, ASCII, TCP], ids=["rtu", "ascii", "tcp"])
def test_two_units_on_a_bad_line_never_give_a_wrong_value(protocol: ProtocolType) -> None:
    seen: Counter[str] = Counter()

    @settings(FIXED, max_examples=60)
    @given(
        st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from(sorted(VALUES)), spoilt()), min_size=2, max_size=8)
    )
    def holds(turns: list[tuple[int, int, Spoil]]) -> None:
        run(_take(protocol, turns, seen))

    holds()
    assert seen["wrong"] == 0
    assert seen["good"] >= 50
    assert seen["failed"] >= 50


async def _take(protocol: ProtocolType, turns: list[tuple[int, int, Spoil]], seen: Counter[str]) -> None:
    bank = ModbusBank({1: unit(holding=VALUES), 2: unit(holding={at: word + 20000 for at, word in VALUES.items()})})
    far_end = FAR_ENDS[protocol.name](bank)
    shapes = iter([shape for _, _, shape in turns])
    points = {f"p{address}": holding(address) for address in VALUES}

    def respond(request: bytes) -> Replies:
        shape = next(shapes)
        for _, answer in far_end.feed(request):
            yield from shape(answer)

    async with FakeLine(respond) as line:
        units = {number: device(protocol, line, points, unit_id=number, timeout_s=TIMEOUT_S) for number in (1, 2)}
        for number, address, _ in turns:
            try:
                (reading,) = await units[number].poll([f"d.p{address}"])
            except DriverError:
                seen["failed"] += 1
                continue
            seen["good" if _is_right(reading, number, address) else "wrong"] += 1


def _is_right(reading: Reading, number: int, address: int) -> bool:
    return reading.value == VALUES[address] + (20000 if number == 2 else 0)
