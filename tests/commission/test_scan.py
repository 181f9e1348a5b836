from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from commission.toy import TOY_645, TOY_RTU, answers_of, rtu, speed_of, units
from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.transport import SerialLink
from drivers_contract.wire import Chunk, MemoryLine, pty_wire
from gateway.commission.fingerprint import Verdict
from gateway.commission.scan import (
    Met,
    Named,
    News,
    Scan,
    Skipped,
    Step,
    all_formats,
    eta_s,
    formats_of,
    timeout_s,
)
from gateway.errors import LineLost
from support.virtual_time import run

SLOW, FAST = SerialFormat(2400, "E"), SerialFormat(9600)
SEARCH = Search(0.2)


class Line(MemoryLine):
    """One that knows at which format it was opened, and whether it still is."""

    def __init__(self, serial: SerialFormat | None, refuses: str = "") -> None:
        super().__init__(lambda request: [Chunk(0.01, request)] if self.serial == FAST else [])
        self.serial = serial
        self.refuses = refuses
        self.is_open = False

    async def _open(self) -> None:
        if self.refuses:
            raise LineLost(self.refuses)
        self.is_open = True

    def _close(self) -> None:
        self.is_open = False


class Lines:
    def __init__(self, refusing: Sequence[SerialFormat] = ()) -> None:
        self.opened: list[Line] = []
        self._refusing = refusing

    def __call__(self, serial: SerialFormat | None) -> Line:
        line = Line(serial, "no such speed" if serial in self._refusing else "")
        self.opened.append(line)
        return line


async def two_questions(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """Whoever hears a question is there."""
    for number in (1, 2):
        yield Progress(number - 1, 2, f"unit {number}")
        if await link.collect(bytes([number]), timeout_s=search.timeout_s, silence_s=0.05):
            yield Found({"unit_id": number})
    yield Progress(2, 2)


async def news_of(scan: Scan) -> list[News]:
    async with aclosing(scan.run()) as news:
        return [each async for each in news]


def test_every_format_is_tried_on_a_line_opened_for_it_and_closed_again() -> None:
    lines = Lines()
    scan = Scan(lines, two_questions, [SLOW, FAST, None], SEARCH)
    news = run(news_of(scan))
    assert [line.serial for line in lines.opened] == [SLOW, FAST, None]
    assert not any(line.is_open for line in lines.opened)
    met = [each for each in news if isinstance(each, Met)]
    assert met == scan.devices == [Met(Found({"unit_id": n}), FAST) for n in (1, 2)]


def test_progress_counts_over_all_formats_and_ends_at_the_end() -> None:
    scan = Scan(Lines(), two_questions, [SLOW, FAST, None], SEARCH)
    steps = [each for each in run(news_of(scan)) if isinstance(each, Step)]
    assert [step.asked for step in steps] == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert {step.expected for step in steps} == {6}
    assert (steps[3].where, steps[3].serial) == ("unit 1", FAST)


def test_an_expectation_may_grow() -> None:
    async def tree(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        for asked, expected in ((0, 10), (10, 20), (20, 20)):
            yield Progress(asked, expected)

    steps = [each for each in run(news_of(Scan(Lines(), tree, [SLOW, FAST], SEARCH))) if isinstance(each, Step)]
    assert [(step.asked, step.expected) for step in steps] == [
        (0, 20), (10, 40), (20, 40), (20, 30), (30, 40), (40, 40)
    ]  # fmt: skip


def test_a_device_that_answers_at_two_formats_is_one_device() -> None:
    async def always(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        yield Found({"address": "000000000001"}, "first" if len(scan.devices) == 0 else "again")

    scan = Scan(Lines(), always, [SLOW, FAST], SEARCH)
    run(news_of(scan))
    assert scan.devices == [Met(Found({"address": "000000000001"}, "first"), SLOW)]


def test_what_is_found_is_identified_when_the_search_at_this_format_is_over() -> None:
    order: list[str] = []
    verdict = Verdict((), 0)

    async def watched(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        async for each in two_questions(link, search):
            order.append("search")
            yield each
        order.append("search over")

    async def identify(link: Link, found: Found) -> Verdict:
        assert isinstance(link, Line)
        assert link.is_open
        order.append(f"identify {found.entry['unit_id']}")
        return verdict

    scan = Scan(Lines(), watched, [FAST], SEARCH, identify)
    named = [each for each in run(news_of(scan)) if isinstance(each, Named)]
    assert order[-3:] == ["search over", "identify 1", "identify 2"]
    assert named == [Named(met, verdict) for met in scan.devices]


def test_a_format_that_the_port_cannot_do_is_left_out_but_a_port_that_cannot_be_opened_ends_it() -> None:
    odd = SerialFormat(9600, "O")
    scan = Scan(Lines([odd]), two_questions, [SLOW, odd, FAST], SEARCH)
    news = run(news_of(scan))
    assert [each.serial for each in news if isinstance(each, Skipped)] == [odd]
    assert len(scan.devices) == 2
    with pytest.raises(LineLost, match="no such speed"):
        run(news_of(Scan(Lines([odd]), two_questions, [odd, FAST], SEARCH)))


def test_what_was_met_before_the_line_was_lost_or_the_scan_cancelled_is_kept() -> None:
    lines = Lines()

    async def cut_short(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        yield Found({"unit_id": 1})
        raise LineLost("unplugged")

    scan = Scan(lines, cut_short, [FAST], SEARCH)
    with pytest.raises(LineLost):
        run(news_of(scan))
    assert len(scan.devices) == 1
    assert not lines.opened[0].is_open

    async def endless(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        yield Found({"unit_id": 1})
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await news_of(endlessly)

    endlessly = Scan(lines, endless, [FAST], SEARCH)
    run(main())
    assert len(endlessly.devices) == 1
    assert not lines.opened[1].is_open


def test_bytes_that_made_no_sense_are_counted() -> None:
    async def deaf(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
        await link.collect(b"abc", timeout_s=0.2, silence_s=0.05)
        yield Progress(1, 1)

    scan = Scan(Lines(), deaf, [FAST], SEARCH)
    run(news_of(scan))
    assert (scan.devices, scan.heard_bytes) == ([], 3)


def test_the_device_is_found_at_the_speed_it_speaks_on_a_real_port() -> None:
    line = rtu(units())

    async def main() -> list[Met]:
        def respond(data: bytes) -> Sequence[bytes]:
            return answers_of(line)(data) if speed_of(str(wire.path)) == 19200 else []

        async with pty_wire(respond) as wire:
            assert TOY_RTU.discover is not None
            formats = all_formats(TOY_RTU)
            search = Search(1.0, first=3, last=3)
            scan = Scan(lambda serial: SerialLink(str(wire.path), serial or FAST), TOY_RTU.discover, formats, search)
            await news_of(scan)
            return scan.devices

    (met,) = asyncio.run(main())
    assert (met.found.entry, met.serial) == ({"unit_id": 3}, SerialFormat(19200))


def test_formats_are_combined_from_what_is_said() -> None:
    assert formats_of(TOY_645, None, (), (), None, None) == [SLOW]
    assert formats_of(TOY_645, FAST, (), (), None, None) == [FAST], "the line's own word goes before the protocol's"
    assert formats_of(TOY_645, None, (1200, 9600), ("N", "E"), 7, 2) == [
        SerialFormat(baud, parity, 7, 2) for baud in (1200, 9600) for parity in ("N", "E")
    ]
    assert all_formats(TOY_RTU)[0] == FAST
    assert all_formats(TOY_RTU, SLOW)[:2] == [SLOW, FAST]
    assert all_formats(replace(TOY_RTU, scan_formats=())) == [FAST]


def test_the_time_to_wait_and_the_time_still_to_go() -> None:
    # DL/T 645: 50 ms are usual, 500 ms allowed; 32 characters of 11 bits at 2400 baud take 147 ms
    assert timeout_s(TOY_645, [SLOW]) == pytest.approx(0.647, abs=0.001)
    assert timeout_s(TOY_RTU, [FAST]) == pytest.approx(0.2 + 32 * 10 / 9600, abs=0.001)
    assert timeout_s(TOY_RTU, [None]) == 0.2
    assert eta_s(Step(0, 100, "", None), 3.0) is None
    assert eta_s(Step(25, 100, "", None), 10.0) == 30.0
    assert eta_s(Step(5, 4, "", None), 10.0) == 0.0
