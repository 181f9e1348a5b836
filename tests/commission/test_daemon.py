from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from commission.fake_daemon import FakeDaemon, running
from commission.test_scan import news_of
from commission.toy import MEANT, TOY_645, TOY_RTU, answers_of, ask_address, meter, rtu, units
from drivers.base import Search, SerialFormat
from drivers_contract.wire import Chunk as Later
from drivers_contract.wire import MemoryLine
from gateway import local_api
from gateway.commission.daemon import DaemonLink, OwnedLine, lines_of, tap
from gateway.commission.record import RX, TX, Chunk
from gateway.commission.scan import Scan
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from support.clock import ManualClock

ODD = SerialFormat(1200, "O")


def silent() -> MemoryLine:
    return MemoryLine(lambda request: [])


def test_a_search_goes_through_the_daemon(tmp_path: Path) -> None:
    respond = answers_of(rtu(units()))
    line = MemoryLine(lambda request: [Later(0.01, answer) for answer in respond(request)])

    async def main() -> None:
        async with running(tmp_path, FakeDaemon("bus", line)) as daemon:
            assert TOY_RTU.discover is not None
            scan = Scan(
                lambda serial: DaemonLink(tmp_path, "bus", serial),
                TOY_RTU.discover,
                [ODD],
                Search(0.1, first=2, last=6),
            )
            await news_of(scan)
            assert [met.found.entry for met in scan.devices] == [{"unit_id": 3}, {"unit_id": 5}]
            assert set(daemon.formats) == {ODD}
            assert scan.heard_bytes > 10

    asyncio.run(main())


def test_an_answer_is_the_first_that_fits_and_kept(tmp_path: Path) -> None:
    respond = answers_of(meter(MEANT))
    line = MemoryLine(lambda request: [Later(0.01, b"\x00\xff" + answer) for answer in respond(request)])

    async def main() -> None:
        async with running(tmp_path, FakeDaemon("bus", line)):
            link = DaemonLink(tmp_path, "bus", None)
            async with link:
                assert await ask_address(link, 0.2) == "000000190101"
            assert link.last_answer.startswith(b"\x00\xff\xfe")

    asyncio.run(main())


def test_silence_an_echo_and_noise_are_what_they_are_on_a_line_of_our_own(tmp_path: Path) -> None:
    async def ask(answer: bytes) -> None:
        line = MemoryLine(lambda request: [Later(0.01, answer)] if answer else [])
        async with running(tmp_path, FakeDaemon("bus", line)):
            link = DaemonLink(tmp_path, "bus", None)
            await link.exchange(b"ask", lambda received: None, peer=1, timeout_s=0.05)

    for answer, error in ((b"", DeviceUnreachable), (b"ask", DeviceUnreachable), (b"noise", ProtocolError)):
        with pytest.raises(error):
            asyncio.run(ask(answer))


def test_a_unit_that_was_late_is_left_alone_for_its_embargo(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, FakeDaemon("bus", silent())):
            link = DaemonLink(tmp_path, "bus", None)
            loop = asyncio.get_running_loop()
            for _ in range(2):
                started = loop.time()
                with pytest.raises(DeviceUnreachable):
                    await link.exchange(b"ask", lambda received: None, peer=1, timeout_s=0.05, embargo_s=0.3)
            assert loop.time() - started >= 0.3
            assert TOY_645.discover is not None

    asyncio.run(main())


def test_a_daemon_that_stops_or_does_not_know_the_line_is_a_lost_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, FakeDaemon("bus", silent())):
            with pytest.raises(LineLost, match="unknown line: other"):
                await DaemonLink(tmp_path, "other", None).collect(b"ask", timeout_s=0.05, silence_s=0.05)
        with pytest.raises(LineLost, match="not running"):
            await DaemonLink(tmp_path, "bus", None).collect(b"ask", timeout_s=0.05, silence_s=0.05)

    asyncio.run(main())


def test_the_lines_of_a_daemon_under_any_name_of_the_port(tmp_path: Path) -> None:
    port = tmp_path / "ttyS9"
    port.touch()
    (tmp_path / "by-id").symlink_to(port)

    async def main() -> None:
        assert await lines_of(tmp_path) == []
        async with running(tmp_path, FakeDaemon("bus", silent(), serial=str(port))):
            (line,) = await lines_of(tmp_path)
        assert line == OwnedLine("bus", str(port), None, SerialFormat(9600), True)
        assert line.is_at(str(tmp_path / "by-id"), None)
        assert not line.is_at(str(tmp_path / "ttyS8"), None)
        assert not line.is_at(None, "10.0.0.1:502")
        assert replace(line, serial=None, tcp="10.0.0.1:502").is_at(None, "10.0.0.1:502")

    asyncio.run(main())


def test_a_daemon_that_knows_no_lines_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_api.serve(tmp_path, {}):
            with pytest.raises(local_api.Refused):
                await lines_of(tmp_path)

    asyncio.run(main())


def test_the_tap_goes_on_where_it_left_off_and_says_what_it_missed(tmp_path: Path) -> None:
    async def main() -> None:
        daemon = FakeDaemon("bus", silent())
        async with running(tmp_path, daemon), aclosing(tap(tmp_path, "bus", ManualClock(5000))) as heard:
            first = await anext(heard)
            assert (first.now_ms, first.chunks, first.lost) == (5000, (), 0)
            daemon.heard += [[4000, "tx", "1103"], [4100, "rx", "11"]]
            second = await anext(heard)
            assert second.chunks == (Chunk(4000, TX, b"\x11\x03"), Chunk(4100, RX, b"\x11"))
            daemon.heard.append([4200, "rx", "03"])
            daemon.lost = 7
            third = await anext(heard)
            assert (third.chunks, third.lost) == ((Chunk(4200, RX, b"\x03"),), 7)

    asyncio.run(main())
