"""The real server on a real port, in front of a fake daemon's real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import local_api
from gateway.errors import GatewayError
from gateway.model import Text
from gateway.web.catalog import Catalog
from gateway.web.daemon import FRESH_S
from gateway.web.server import HEADERS, LOCAL_NAMES, is_local, preferred
from support.descriptors import nothing_new_since, open_descriptors
from tests.web.rig import NASTY, NOW_MS, FakeDaemon, alarm, get, page, send, status


def test_every_answer_has_the_strict_headers_and_closes(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path) as server:
            answers = [
                await get(server.port, "/"),
                await get(server.port, "/page.js"),
                await get(server.port, "/api/status"),
                await get(server.port, "/api/device?id=m-1"),
                await get(server.port, "/api/device?id=nobody"),
                await get(server.port, "/nothing"),
                await get(server.port, "/", host="evil.example"),
                await get(server.port, "/", method="POST"),
                await get(server.port, "/", "Content-Length: 5"),
                await get(server.port, "/" + "x" * 5000),
                await get(server.port, "/", "X-Long: " + "x" * 20_000),
                await send(server.port, b"\x16\x03\x01 this is TLS\r\n\r\n"),
            ]
        assert [answer.status for answer in answers] == [200, 200, 200, 503, 404, 404, 403, 405, 413, 400, 400, 400]
        for answer in answers:
            assert {key: answer.headers[key] for key in HEADERS} == HEADERS, answer
            assert answer.headers.get("Connection", "close") == "close"  # HTTP/1.0, as which garbage counts: by itself
            assert "Access-Control-Allow-Origin" not in answer.headers
        policy = HEADERS["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy

    asyncio.run(main())


def test_what_it_serves(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path) as server:
            kinds = {
                path: (await get(server.port, path)).headers["Content-Type"]
                for path in ("/", "/page.js", "/words.js", "/page.css", "/api/status")
            }
            assert kinds == {
                "/": "text/html; charset=utf-8",
                "/page.js": "text/javascript; charset=utf-8",
                "/words.js": "text/javascript; charset=utf-8",
                "/page.css": "text/css; charset=utf-8",
                "/api/status": "application/json; charset=utf-8",
            }
            for path in (
                "/../server.py",
                "/static/page.js",
                "/page.js/",
                "/%2e%2e/server.py",
                "//page.js",
                "/favicon.ico",
            ):
                assert (await get(server.port, path)).status == 404, path

    asyncio.run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_nothing_can_be_changed(tmp_path: Path, method: str) -> None:
    async def main() -> None:
        fake = FakeDaemon()
        async with fake.running(tmp_path), page(tmp_path) as server:
            target = "127.0.0.1:80" if method == "CONNECT" else "/api/status"
            answer = await get(server.port, target, method=method)
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
            assert fake.asked == []

    asyncio.run(main())


def test_head_is_get_without_the_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path) as server:
            whole, head = await get(server.port, "/"), await get(server.port, "/", method="HEAD")
            assert (head.status, head.body) == (200, "")
            assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(whole.body.encode()))

    asyncio.run(main())


@pytest.mark.parametrize("body", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_a_body_is_refused_before_it_comes(tmp_path: Path, body: str) -> None:
    async def main() -> int:
        async with page(tmp_path) as server:
            return (await get(server.port, "/api/status", body)).status

    assert asyncio.run(main()) == 413


# ---------------------------------------------------------------------- under which name


@pytest.mark.parametrize("host", [*LOCAL_NAMES, "LOCALHOST", "localhost:8080", "127.0.0.1:1", "[::1]:65535"])
def test_the_machine_itself_is_local(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", ":8080", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080"),
        *("127.0.0.1@evil.example", "localhost:80:80", "[::1", "::1", "[::1].evil.example", "localhost ", "192.0.2.1"),
        *("127.0.0.1\nx", "localhost:", "localhost:8080x", "[::1]x"),
    ],
)
def test_every_other_name_is_not(host: str) -> None:
    assert not is_local(host)


@given(st.text(max_size=30))
def test_only_three_names_are_local_whatever_else_is_said(text: str) -> None:
    name = text.rpartition(":")[0] if ":" in text and not text.endswith("]") else text
    assert not is_local(text) or name.lower() in LOCAL_NAMES


@pytest.mark.parametrize(("host", "code"), [("evil.example", 403), (None, 400), ("", 403), ("localhost:81", 200)])
def test_a_foreign_name_is_refused(tmp_path: Path, host: str | None, code: int) -> None:
    async def main() -> None:
        fake = FakeDaemon()
        async with fake.running(tmp_path), page(tmp_path) as server:
            assert (await get(server.port, "/api/status", host=host)).status == code
            assert bool(fake.asked) == (code == 200)

    asyncio.run(main())


def test_where_other_machines_are_let_in_any_name_will_do(tmp_path: Path) -> None:
    async def main() -> int:
        async with page(tmp_path, exposed=True) as server:
            return (await get(server.port, "/", host="box.lan")).status

    assert asyncio.run(main()) == 200


# ---------------------------------------------------------------------- in which language


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [
        *(("", "zh"), ("fr", "zh"), ("en", "en"), ("en-GB,en;q=0.9", "en"), ("zh-TW", "zh"), ("*", "zh")),
        *(("en;q=0.5,zh;q=0.8", "zh"), ("zh;q=0.5, en;q=0.8", "en"), ("fr,en;q=0.1", "en"), ("en;q=x", "zh")),
        *(("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("EN-us", "en"), ("en;q=0", "zh"), (",,;;q=,", "zh")),
    ],
)
def test_the_browsers_language(accepted: str, lang: str) -> None:
    assert preferred(accepted) == lang


@given(st.text(max_size=40))
def test_any_wish_gets_a_language(text: str) -> None:
    assert preferred(text) in ("zh", "en")


def test_the_document_says_which(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path) as server:
            english = await get(server.port, "/", "Accept-Language: en")
            assert '<html lang="en">' in english.body
            assert english.headers["Vary"] == "Accept-Language"
            assert '<html lang="zh-CN">' in (await get(server.port, "/")).body

    asyncio.run(main())


# ---------------------------------------------------------------------- the daemon behind it


async def state(port: int) -> dict[str, Any]:
    answer = await get(port, "/api/status")
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_name_that_is_markup_stays_a_name(tmp_path: Path) -> None:
    async def main() -> None:
        nasty = {"zh": NASTY, "en": NASTY}
        fake = FakeDaemon(status(alarms=[alarm("gas_high", None, message=nasty, response=nasty)]))
        async with fake.running(tmp_path), page(tmp_path) as server:
            answer = await get(server.port, "/api/status")
        assert "<" not in answer.body
        found = json.loads(answer.body)
        names = {each["id"]: each["name"]["zh"] for each in found["lines"][0]["devices"]}
        assert names == {"m-1": "101 室电表", "m-2": NASTY}
        assert found["alarms"][0]["message"] == nasty

    asyncio.run(main())


def test_the_page_outlives_the_daemon_and_sees_it_return(tmp_path: Path) -> None:
    async def main() -> None:
        fake = FakeDaemon()
        async with page(tmp_path) as server:
            found = await state(server.port)
            assert (found["daemon"], found["silent_s"], found["site"]["zh"]) == ("absent", None, "小区")
            async with fake.running(tmp_path):
                server.clock.advance(FRESH_S)
                found = await state(server.port)
                assert (found["daemon"], found["lines"][0]["port"]) == ("running", "/dev/ttyS1 2400 8E1")
                assert found["uplinks"][0]["waiting"] == 2
            server.clock.advance(60)
            found = await state(server.port)
            assert (found["daemon"], found["silent_s"]) == ("absent", 60)
            assert "lines" not in found, "old figures would look like new ones"
            async with fake.running(tmp_path):
                server.clock.advance(FRESH_S)
                assert (await state(server.port))["daemon"] == "running"

    asyncio.run(main())


def test_names_are_read_anew_when_the_daemon_has_started_anew(tmp_path: Path) -> None:
    newer = Catalog(Text("新", "new"), "gw-1", {}, {}, frozenset())
    loads: list[int] = []

    def load() -> Catalog:
        loads.append(1)
        return newer

    async def main() -> None:
        fake = FakeDaemon()
        async with fake.running(tmp_path), page(tmp_path, load=load) as server:
            assert (await state(server.port))["site"]["en"] == "Compound"
            fake.status = status(t=NOW_MS + 5_300, uptime_s=105.0)
            server.clock.advance(5)
            assert (await state(server.port))["site"]["en"] == "Compound", "the same daemon, five seconds later"
            assert (loads, fake.asked.count("lines")) == ([], 1)
            fake.status = status(t=NOW_MS + 10_000, uptime_s=1.0)
            server.clock.advance(5)
            assert (await state(server.port))["site"]["en"] == "new"
            assert (loads, fake.asked.count("lines")) == ([1], 2)

    asyncio.run(main())


def test_many_browsers_cost_the_daemon_one_question(tmp_path: Path) -> None:
    async def main() -> None:
        fake = FakeDaemon()
        async with fake.running(tmp_path), page(tmp_path) as server:
            found = await asyncio.gather(*(state(server.port) for _ in range(15)))
            assert {each["t"] for each in found} == {NOW_MS}
            assert fake.asked.count("status") == 1
            server.clock.advance(FRESH_S)
            await state(server.port)
            assert fake.asked.count("status") == 2

    asyncio.run(main())


def test_a_daemon_that_breaks_off_is_absent(tmp_path: Path) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b'{"ok": true, "resu')
        writer.close()

    async def main() -> str:
        server = await asyncio.start_unix_server(break_off, tmp_path / "gateway.sock")
        async with server, page(tmp_path) as under_test:
            return str((await state(under_test.port))["daemon"])

    assert asyncio.run(main()) == "absent"


def test_a_daemon_that_refuses_says_why(tmp_path: Path) -> None:
    async def refuse(request: Mapping[str, Any]) -> Any:
        raise GatewayError("the disk is on fire", hint="call the brigade")

    async def main() -> dict[str, Any]:
        async with local_api.serve(tmp_path, {"status": refuse}), page(tmp_path) as server:
            return await state(server.port)

    found = asyncio.run(main())
    assert (found["daemon"], found["detail"]) == ("refused", "the disk is on fire; call the brigade")


def test_a_device_is_diagnosed_on_demand(tmp_path: Path) -> None:
    async def main() -> None:
        fake = FakeDaemon(points=[{"p": "m-1.voltage", "t": 0, "v": None, "q": "bad", "r": "no_answer", "u": "V"}])
        async with fake.running(tmp_path), page(tmp_path) as server:
            answer = await get(server.port, "/api/device?id=m-1")
            (point,) = json.loads(answer.body)["points"]
            assert (point["id"], point["quality"], point["reason"]) == ("voltage", "bad", "no_answer")
            assert "v" not in point
            assert (await get(server.port, "/api/device?id=%3Cscript%3E")).status == 404
            assert (await get(server.port, "/api/device")).status == 404
            assert fake.asked == ["points"]
        async with page(tmp_path) as server:
            assert (await get(server.port, "/api/device?id=m-1")).status == 503

    asyncio.run(main())


# ---------------------------------------------------------------------- who would hold on to it


async def dangling(port: int, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    await writer.drain()
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def test_slow_clients_neither_keep_their_place_nor_hinder_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path, most=8, longest_s=2.0) as server:
            slow = [await dangling(server.port, b"GET / HTTP/1.1\r\nHost: 127.") for _ in range(8)]
            assert (await get(server.port, "/")).status == 200, "the oldest of the slow ones made room"
            assert await ended(slow[0][0]) == b""
            assert [await ended(reader) for reader, _ in slow[1:]] == [b""] * 7, "their time is over"
            for _, writer in slow:
                writer.close()

    asyncio.run(main())


def test_trickling_header_lines_do_not_buy_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path, longest_s=0.5) as server:
            reader, writer = await dangling(server.port, b"GET / HTTP/1.1\r\n")
            over = asyncio.ensure_future(ended(reader))
            while not over.done():
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.02)
            assert over.result() == b""
            writer.close()

    asyncio.run(main())


def test_one_connection_serves_one_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with page(tmp_path) as server:
            request = b"GET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
            answer = await send(server.port, request * 5)
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            assert "HTTP/1.1" not in answer.body

    asyncio.run(main())


def test_a_bug_is_a_plain_500_and_the_page_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        fake = FakeDaemon({"v": 2, "t": 0, "uptime_s": 0})  # as a daemon of quite another version would speak
        async with fake.running(tmp_path), page(tmp_path) as server:
            answer = await get(server.port, "/api/status", "Accept: text/html")
            assert (answer.status, answer.body) == (500, "500 Internal Server Error\n")
            assert {key: answer.headers[key] for key in HEADERS} == HEADERS
            fake.status = status()
            server.clock.advance(FRESH_S)
            assert (await state(server.port))["daemon"] == "running"

    asyncio.run(main())
    assert "KeyError" in caplog.text


def test_nothing_is_left_open_when_it_ends(tmp_path: Path) -> None:
    async def main() -> None:
        before = open_descriptors()
        async with page(tmp_path) as server:
            _, writer = await dangling(server.port, b"GET / HTTP/1.1\r\n")
            assert (await get(server.port, "/")).status == 200
        writer.close()
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
