"""The exchange itself: in virtual time over a line in memory, then over a real pseudo-terminal and TCP."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import SerialFormat
from drivers.device_link import DeviceLink, ResponseTimes
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.wire import Chunk, MemoryLine, pty_wire, tcp_wire
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from support.virtual_time import run

SERIAL = SerialFormat(2400, "E")


def ends_in(end: bytes) -> Callable[[bytes], bytes | None]:
    """A protocol in one line: an answer is whatever ends so."""
    return lambda received: received if received.endswith(end) else None


def scripted(*answers: Sequence[Chunk]) -> MemoryLine:
    """Answers the first request with the first script, the second with the second."""
    scripts = iter(answers)
    return MemoryLine(lambda request: next(scripts))


async def ask(
    line: ByteLine,
    end: bytes = b"!",
    timeout_s: float = 3.0,
    embargo_s: float = 0.0,
    peer: str = "a",
    request: bytes = b"ask",
) -> bytes:
    return await line.exchange(request, ends_in(b"!"), peer=peer, timeout_s=timeout_s, embargo_s=embargo_s)


def now() -> float:
    return asyncio.get_running_loop().time()


# ---------------------------------------------------------------------- when an exchange ends


def test_an_answer_in_pieces_is_taken_with_its_last_byte() -> None:
    async def main() -> None:
        pieces = [Chunk(0.4 * (i + 1), bytes((byte,))) for i, byte in enumerate(b"answer!")]
        async with scripted(pieces) as line:
            assert await ask(line) == b"answer!"
            assert now() == pytest.approx(2.8)

    run(main())


def test_silence_is_an_unreachable_device_after_exactly_the_time_out() -> None:
    async def main() -> None:
        async with scripted([]) as line:
            with pytest.raises(DeviceUnreachable) as caught:
                await ask(line, timeout_s=1.5)
            assert not isinstance(caught.value, LineLost)
            assert now() == pytest.approx(1.5)

    run(main())


def test_bytes_that_stop_short_of_an_answer_end_the_exchange_before_the_time_out() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.1, b"garb"), Chunk(0.3, b"age")]) as line:
            with pytest.raises(ProtocolError) as caught:
                await ask(line, timeout_s=30.0)
            assert caught.value.frame == b"garbage"
            assert now() == pytest.approx(0.3 + ByteLine.reply_gap_s)

    run(main())


def test_a_chatterbox_does_not_stretch_the_time_out() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.1 * (i + 1), b"x") for i in range(100)]) as line:
            with pytest.raises(ProtocolError):
                await ask(line, timeout_s=2.0)
            assert now() == pytest.approx(2.0)

    run(main())


def test_the_echo_of_the_request_is_not_the_beginning_of_an_answer() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.01, b"as"), Chunk(0.02, b"k"), Chunk(1.9, b"yes!")]) as line:
            assert await ask(line) == b"askyes!"

    run(main())


# ---------------------------------------------------------------------- what is left over


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    async def main() -> None:
        async with scripted([Chunk(1.01, b"late!")], [Chunk(0.1, b"right!")]) as line:
            with pytest.raises(DeviceUnreachable):
                await ask(line, timeout_s=1.0)
            assert await ask(line) == b"right!"
            assert line.stale_bytes == len(b"late!")

    run(main())


def test_after_a_time_out_the_line_must_be_silent_before_it_is_used() -> None:
    async def main() -> None:
        drips = [Chunk(1.0 + 0.01 * i, b"x") for i in range(1, 31)]
        async with scripted(drips, [Chunk(0.1, b"right!")]) as line:
            with pytest.raises(DeviceUnreachable):
                await ask(line, timeout_s=1.0)
            assert await ask(line) == b"right!"
            assert now() == pytest.approx(1.3 + line.quiet_s + 0.1)
            assert line.stale_bytes == 30

    run(main())


def test_a_line_that_never_falls_silent_is_used_all_the_same() -> None:
    async def main() -> None:
        noise = [Chunk(1.0 + 0.01 * i, b"x") for i in range(1, 1000)]
        async with scripted(noise, [Chunk(0.105, b"right!")]) as line:
            with pytest.raises(DeviceUnreachable):
                await ask(line, timeout_s=1.0)
            assert (await ask(line)).endswith(b"right!")
            assert now() == pytest.approx(1.0 + ByteLine.settle_limit_s + 0.105)

    run(main())


def test_bytes_behind_an_answer_are_thrown_away() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.1, b"one!"), Chunk(0.2, b"more")], [Chunk(0.1, b"two!")]) as line:
            assert await ask(line) == b"one!"
            await asyncio.sleep(0.3)
            assert await ask(line) == b"two!"
            assert line.stale_bytes == len(b"more")

    run(main())


def test_of_a_flood_only_the_latest_bytes_are_looked_at() -> None:
    async def main() -> None:
        flood = [Chunk(0.001 * i, b"x" * 1000) for i in range(1, 900)]
        async with scripted(flood, [Chunk(0.1, b"right!")]) as line:
            seen: list[int] = []
            with pytest.raises(ProtocolError) as caught:
                await line.exchange(b"ask", lambda data: seen.append(len(data)), peer="a", timeout_s=0.8)
            assert max(seen) == len(caught.value.frame) == ByteLine.most_bytes
            assert len(seen) < 20, "a full buffer is not parsed again and again"
            assert now() <= 0.8 + 1e-6
            assert await ask(line) == b"right!"
            assert line.stale_bytes == 899_000

    run(main())


def test_a_cancelled_exchange_leaves_a_line_that_cleans_itself() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.5, b"late!")], [Chunk(0.1, b"right!")]) as line:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.49):
                    await ask(line)
            assert await ask(line) == b"right!"

    run(main())


def test_an_embargo_keeps_the_silent_peer_waiting_and_nobody_else() -> None:
    async def main() -> None:
        async with scripted([], [Chunk(0.1, b"b!")], [Chunk(0.1, b"a!")], [Chunk(0.1, b"a!")]) as line:
            with pytest.raises(DeviceUnreachable):
                await ask(line, timeout_s=1.0, embargo_s=5.0, peer="a")
            assert await ask(line, peer="b") == b"b!"
            assert now() < 1.5
            assert line.leave_alone_s("a") == pytest.approx(6.0 - now())
            assert line.leave_alone_s("b") == 0.0
            assert await ask(line, timeout_s=1.0, embargo_s=5.0, peer="a", request=b"other") == b"a!"
            assert now() == pytest.approx(6.1)
            assert await ask(line, timeout_s=1.0, embargo_s=5.0, peer="a") == b"a!"
            assert now() == pytest.approx(6.2)

    run(main())


def test_the_same_question_need_not_wait_but_the_next_one_must_wait_for_both_answers() -> None:
    async def main() -> None:
        late = [Chunk(0.3, b"first!"), Chunk(0.5, b"second!")]  # the late answer to the first, then that to the second
        async with scripted([], late, [Chunk(0.1, b"right!")]) as line:
            with pytest.raises(DeviceUnreachable):
                await ask(line, timeout_s=1.0, embargo_s=5.0)
            assert await ask(line, timeout_s=1.0, embargo_s=5.0) == b"first!"
            assert now() < 1.5
            assert line.leave_alone_s("a") > 5.0
            assert await ask(line, timeout_s=1.0, embargo_s=5.0, request=b"other") == b"right!"
            assert line.leave_alone_s("a") == 0.0

    run(main())


def test_collect_returns_whatever_comes_until_the_line_is_silent() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.4, b"two "), Chunk(0.45, b"at once")], []) as line:
            assert await line.collect(b"ask", timeout_s=1.0, silence_s=0.1) == b"two at once"
            assert now() == pytest.approx(0.55)
            started = now()
            assert await line.collect(b"ask", timeout_s=1.0, silence_s=0.1) == b""
            assert now() - started == pytest.approx(line.quiet_s + 1.0)

    run(main())


# ---------------------------------------------------------------------- a device's own view of the line


async def question(link: DeviceLink, request: bytes = b"ask", *, once: bool = False) -> bytes:
    return await link.exchange(request, ends_in(b"!"), peer="a", timeout_s=2.0, once=once)


LEARNING = [[Chunk(0.1, b"yes!")]] * 10


def test_an_answer_that_got_lost_is_asked_for_again_after_what_the_device_usually_takes() -> None:
    async def main() -> None:
        async with scripted(*LEARNING, [], [Chunk(1.5, b"again!")]) as line:
            link = DeviceLink(line)
            for _ in LEARNING:
                assert await question(link) == b"yes!"
            started = now()
            assert await question(link) == b"again!"
            assert 1.5 < now() - started < 2.0, "the second time with full patience"

    run(main())


def test_a_device_that_has_not_been_heard_often_enough_gets_its_full_time_out() -> None:
    async def main() -> None:
        async with scripted([Chunk(0.1, b"yes!")], [Chunk(1.9, b"late but in time!")]) as line:
            link = DeviceLink(line)
            await question(link)
            assert await question(link) == b"late but in time!"

    run(main())


def test_a_command_is_never_sent_a_second_time() -> None:
    async def main() -> None:
        async with scripted(*LEARNING, [], [Chunk(0.1, b"must not come!")]) as line:
            link = DeviceLink(line)
            for _ in LEARNING:
                await question(link)
            started = now()
            with pytest.raises(DeviceUnreachable):
                await question(link, b"open the valve", once=True)
            assert now() - started == pytest.approx(2.0), "and waits as long as it was told to"

    run(main())


def test_while_a_command_is_given_nothing_is_repeated_even_if_the_driver_forgets_to_say_so() -> None:
    async def main() -> None:
        async with scripted(*LEARNING, []) as line:
            link = DeviceLink(line)
            for _ in LEARNING:
                await question(link)
            started = now()
            with pytest.raises(DeviceUnreachable), link.repeating_nothing():
                await question(link, b"open the valve")
            assert now() - started == pytest.approx(2.0)
            assert line.requests.count(b"open the valve") == 1

    run(main())


def test_a_silent_device_is_probed_briefly_and_now_and_then_with_full_patience() -> None:
    async def main() -> None:
        async with scripted(*LEARNING, *([[]] * 6)) as line:
            link = DeviceLink(line)
            for _ in LEARNING:
                await question(link)
            spent = []
            for _ in range(5):
                started = now()
                with pytest.raises(DeviceUnreachable):
                    await question(link)
                spent.append(now() - started)
            assert spent[0] > 2.0, "the first silence is made sure of"
            assert all(each < 0.5 for each in spent[1:4])
            assert spent[4] > 2.0

    run(main())


@given(st.lists(st.floats(0.01, 1.0), min_size=8, max_size=60))
def test_the_learned_patience_covers_what_was_seen_last(seconds: list[float]) -> None:
    times = ResponseTimes()
    for each in seconds:
        times.answered(each)
    limit_s = times.limit_s()
    assert limit_s is not None
    assert limit_s >= times.mean_s
    steady = ResponseTimes()
    for _ in range(200):
        steady.answered(seconds[-1])
    assert steady.limit_s() == pytest.approx(max(2 * seconds[-1], 0.2), rel=0.01)


def test_a_line_that_is_lost_says_so_until_it_is_opened_again() -> None:
    async def main() -> None:
        line = scripted([], [Chunk(0.1, b"yes!")])
        async with line:
            asyncio.get_running_loop().call_later(0.2, line._fail, "pulled out")
            for _ in range(2):
                with pytest.raises(LineLost, match="pulled out"):
                    await ask(line)
            assert now() == pytest.approx(0.2)
        async with line:
            assert await ask(line) == b"yes!"

    run(main())


def test_the_tap_sees_both_directions() -> None:
    async def main() -> list[tuple[str, bytes]]:
        async with tcp_wire(lambda request: [b"yes!"]) as wire, TcpLink("127.0.0.1", wire.port) as line:
            seen: list[tuple[str, bytes]] = []
            line.tap = lambda direction, data: seen.append((direction, data))
            await ask(line)
            return seen

    assert asyncio.run(main()) == [("tx", b"ask"), ("rx", b"yes!")]


# ---------------------------------------------------------------------- serial


@pytest.mark.parametrize("format_", [SERIAL, SerialFormat(9600), SerialFormat(1200, "O", stop_bits=2)], ids=str)
def test_a_pseudo_terminal_opens_in_any_format_and_more_than_once(format_: SerialFormat) -> None:
    async def main() -> None:
        async with pty_wire(lambda request: [b"yes!"]) as wire:
            link = SerialLink(str(wire.path), format_)
            for _ in range(2):
                async with link:
                    assert await ask(link) == b"yes!"

    asyncio.run(main())


def test_the_line_takes_the_format_of_whom_it_speaks_to() -> None:
    async def main() -> None:
        async with pty_wire(lambda request: [b"yes!"]) as wire, SerialLink(str(wire.path), SERIAL) as link:
            speeds = []
            for format_ in (None, SerialFormat(9600), SerialFormat(1200, "E", stop_bits=2), None):
                await link.exchange(b"ask", ends_in(b"!"), peer="a", timeout_s=1.0, serial=format_)
                speeds.append(_speed_and_stop_bits(wire.path.resolve().as_posix()))
            assert speeds == [
                (termios.B2400, 1),
                (termios.B9600, 1),
                (termios.B1200, 2),
                (termios.B2400, 1),
            ]

    asyncio.run(main())


def _speed_and_stop_bits(path: str) -> tuple[int, int]:
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        settings = termios.tcgetattr(port)
    finally:
        os.close(port)
    return settings[5], 2 if settings[2] & termios.CSTOPB else 1


def test_a_character_takes_its_start_parity_and_stop_bits() -> None:
    assert SERIAL.character_s == pytest.approx(11 / 2400)
    assert SerialFormat(9600).character_s == pytest.approx(10 / 9600)
    assert SerialFormat(1200, "N", 7, 2).character_s == pytest.approx(10 / 1200)


def test_the_time_out_begins_when_the_request_has_left() -> None:
    """100 characters at 2400 8E1 are on the wire for 0.46 s; the device's 0.1 s begin after them."""

    async def main() -> float:
        async with pty_wire(lambda request: []) as wire, SerialLink(str(wire.path), SERIAL) as link:
            started = now()
            with pytest.raises(DeviceUnreachable):
                await link.exchange(b"x" * 100, ends_in(b"!"), peer="a", timeout_s=0.1)
            return now() - started

    assert asyncio.run(main()) == pytest.approx(0.1 + 100 * 11 / 2400, abs=0.1)


def test_a_port_that_another_has_open_is_refused_with_advice() -> None:
    async def main() -> None:
        async with pty_wire(lambda request: []) as wire, SerialLink(str(wire.path), SERIAL):
            with pytest.raises(LineLost) as caught:
                async with SerialLink(str(wire.path), SERIAL):
                    pytest.fail("two owners of one port")
            assert "another program" in caught.value.hint

    asyncio.run(main())


def test_a_port_that_is_pulled_out_ends_the_exchange_at_once() -> None:
    async def main() -> None:
        async with pty_wire(lambda request: []) as wire, SerialLink(str(wire.path), SERIAL) as link:
            asyncio.get_running_loop().call_later(0.05, wire.unplug)
            started = now()
            with pytest.raises(LineLost):
                await ask(link, timeout_s=30.0)
            assert now() - started < 1.0

    asyncio.run(main())


# ---------------------------------------------------------------------- TCP


def test_a_connection_that_is_refused_says_what_to_look_at() -> None:
    async def main() -> None:
        async with tcp_wire(lambda request: []) as wire:
            port = wire.port
        with pytest.raises(LineLost) as caught:
            async with TcpLink("127.0.0.1", port):
                pytest.fail("nobody listens")
        assert "TCP server" in caught.value.hint

    asyncio.run(main())


def test_a_connection_that_the_other_side_closes_ends_the_exchange_at_once() -> None:
    async def main() -> None:
        async with tcp_wire(lambda request: []) as wire, TcpLink("127.0.0.1", wire.port) as link:
            asyncio.get_running_loop().call_later(0.05, wire.unplug)
            started = now()
            with pytest.raises(LineLost):
                await ask(link, timeout_s=30.0)
            assert now() - started < 1.0

    asyncio.run(main())


def test_a_late_answer_on_tcp_is_not_the_next_one_either() -> None:
    async def main() -> None:
        async with tcp_wire(lambda request: []) as wire, TcpLink("127.0.0.1", wire.port) as link:
            with pytest.raises(DeviceUnreachable):
                await ask(link, timeout_s=0.05)
            wire.say(b"late!")
            asyncio.get_running_loop().call_later(0.1, wire.say, b"right!")
            assert await ask(link) == b"right!"

    asyncio.run(main())


def test_a_request_keeps_its_distance_from_the_answer_before_it() -> None:
    """3.5 characters at 2400 8E1 are 16 ms; noise behind the answer starts the pause anew."""

    async def main() -> None:
        async with scripted([Chunk(0.1, b"one!"), Chunk(0.11, b"\x00")], [Chunk(0.1, b"two!")]) as line:
            line.gap_s = 0.016
            assert await ask(line) == b"one!"
            assert now() == pytest.approx(0.1)
            assert await ask(line) == b"two!"
            assert now() == pytest.approx(0.11 + 0.016 + 0.1)
            assert line.stale_bytes == 1

    run(main())


def test_the_pause_is_counted_in_characters_of_the_line_and_has_a_floor() -> None:
    slow, fast = SerialLink("/dev/null", SERIAL), SerialLink("/dev/null", SerialFormat(115200))
    assert slow._gap_s(3.5) == pytest.approx(3.5 * 11 / 2400)
    assert fast._gap_s(3.5) == 0.00175
    assert slow._gap_s(0.0) == 0.0
    assert TcpLink("127.0.0.1", 1)._gap_s(3.5) == 0.0
