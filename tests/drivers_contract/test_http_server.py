"""The listener that hubs share, with peers as bad as they come.  Sockets are real; deadlines pass in virtual time."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from drivers.http_server import (
    Answer,
    Body,
    Head,
    HttpServer,
    Limits,
    Request,
    Tls,
    Whole,
    basic_credentials,
    same_secret,
)
from gateway.errors import LineLost
from support import virtual_time
from support.certificates import Authority
from support.descriptors import nothing_new_since, open_descriptors

HERE = ("127.0.0.1", 0)


async def echo(request: Request) -> Answer:
    return Answer(200, request.body or b"-")


def listening(**more: Any) -> HttpServer:
    return HttpServer(HERE, more.pop("handle", echo), **more)


def at_end(test: Coroutine[Any, Any, None], *, virtual: bool = False) -> None:
    """Run *test*, and see that neither a task nor a descriptor is left of it."""

    async def whole() -> None:
        before = open_descriptors()
        await test
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    if virtual:
        virtual_time.run(whole())
    else:
        asyncio.run(whole())


async def dialogue(server: HttpServer, *pieces: bytes) -> bytes:
    """Everything the server says to these bytes until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.transport.abort()


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        "POST /x HTTP/1.1",
        "Host: gateway",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join((*lines, "", "")).encode() + body


LAST = "Connection: close"


def test_requests_on_one_connection_until_it_is_used_up() -> None:
    async def test() -> None:
        async with listening(limits=Limits(requests=3)) as server:
            said = await dialogue(server, post(b"a") + post(b"b"), post(b"c"), post(b"d"))
            assert said.count(b"HTTP/1.1 200") == 3
            assert said.split(b"\r\n")[-1] == b"c"
            assert b"aiohttp" not in said

    at_end(test())


def test_a_peer_that_says_nothing_or_half_of_a_head_is_left() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with listening(limits=Limits(head_s=10.0)) as server:
            for pieces in ((), (b"POST /x HTTP/1.1\r\nHost: ",)):
                began_s = loop.time()
                assert await dialogue(server, *pieces) in (b"", b"reset")
                assert 10.0 <= loop.time() - began_s < 11.0
            assert server.connections == 0

    at_end(test(), virtual=True)


def test_a_peer_that_drips_gets_no_more_time_for_it() -> None:
    async def test() -> None:
        async with listening(limits=Limits(head_s=10.0)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n")
            drips = 0
            while not reader.at_eof() and drips < 100:
                writer.write(b"a: b\r\n")
                drips += 1
                await asyncio.sleep(0.9)
            assert 9 <= drips <= 20
            writer.transport.abort()

    at_end(test(), virtual=True)


def test_an_idle_connection_is_closed() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with listening(limits=Limits(idle_s=75.0)) as server:
            began_s = loop.time()
            said = await dialogue(server, post(b"a"), b"POST /half")
            assert said.startswith(b"HTTP/1.1 200") or said == b"reset"
            assert 75.0 <= loop.time() - began_s < 77.0

    at_end(test(), virtual=True)


def test_a_slow_body_is_given_up() -> None:
    async def test() -> None:
        async with listening(limits=Limits(body_s=20.0)) as server:
            said = await dialogue(server, post(b"only this", length=100))
            assert said.startswith(b"HTTP/1.1 408")

    at_end(test(), virtual=True)


def test_long_bodies_whether_they_say_so_or_not() -> None:
    async def test() -> None:
        async with listening(limits=Limits(body_bytes=1000)) as server:
            assert (await dialogue(server, post(b"x" * 1000, LAST))).endswith(b"x" * 1000)
            assert (await dialogue(server, post(b"", length=1001))).startswith(b"HTTP/1.1 413")
            chunked = b"POST /x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await dialogue(server, chunked + b"3e9\r\n" + b"x" * 1001)).startswith(b"HTTP/1.1 413")
            assert b"400" in (await dialogue(server, chunked + b"zz\r\n")).split(b"\r\n")[0]

    at_end(test(), virtual=True)


def test_what_all_bodies_together_may_take() -> None:
    async def test() -> None:
        handling, go_on = asyncio.Event(), asyncio.Event()

        async def hold(request: Request) -> Answer:
            handling.set()
            await go_on.wait()
            return Answer(200)

        async with listening(handle=hold, limits=Limits(kept_bytes=1500)) as server:
            first = asyncio.ensure_future(dialogue(server, post(b"x" * 1000, LAST)))
            await handling.wait()
            assert (await dialogue(server, post(b"x" * 1000, LAST))).startswith(b"HTTP/1.1 503")
            go_on.set()
            assert (await first).startswith(b"HTTP/1.1 200")
            assert (await dialogue(server, post(b"x" * 1000, LAST))).startswith(b"HTTP/1.1 200")  # given back

    at_end(test())


def test_a_body_may_keep_less_than_comes_and_may_refuse() -> None:
    class First(Whole):
        def feed(self, data: bytes) -> bool:
            return super().feed(data[: max(0, 3 - self.kept_bytes)])

    def admit(head: Head) -> Body | Answer:
        if head.path == "/closed":
            return Answer(403)
        return First() if head.query == "first" else Whole(2)

    async def test() -> None:
        async with listening(admit=admit, limits=Limits(kept_bytes=3)) as server:
            url = f"http://127.0.0.1:{server.port}"
            async with aiohttp.ClientSession() as session:
                async with session.post(url + "/?first", data=b"abcdef" * 1000) as response:
                    assert await response.read() == b"abc"
                async with session.post(url, data=b"abc") as response:
                    assert response.status == 413
                async with session.post(url + "/closed", data=b"abc") as response:
                    assert response.status == 403

    at_end(test())


def test_what_is_no_http_is_answered_without_an_echo(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with listening() as server:
            for nonsense in (
                b"\x16\x03\x01\x02\x00\x01\x00secret",
                b"GET\r\n\r\n",
                b"GET / HTTP/1.1\r\nsecret\r\n\r\n",
            ):
                said = await dialogue(server, nonsense)
                assert said.startswith(b"HTTP/1.")
                assert b"400" in said.split(b"\r\n")[0]
                assert b"secret" not in said
                assert said.endswith(b"\r\n\r\n")
            long = b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n"
            assert b"400" in (await dialogue(server, long)).split(b"\r\n")[0]
            many = b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: 1\r\n" % number for number in range(60)) + b"\r\n"
            assert b"400" in (await dialogue(server, many)).split(b"\r\n")[0]
            packed = post(b"x", "Content-Encoding: gzip", LAST)
            assert (await dialogue(server, packed)).startswith(b"HTTP/1.1 415")

    at_end(test())
    assert caplog.records == []


def test_connections_that_are_too_many_are_closed_and_others_served() -> None:
    async def test() -> None:
        async with listening(limits=Limits(connections=3, connections_of_one=2)) as server:
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
            while server.connections < 2:
                await asyncio.sleep(0)
            assert await dialogue(server, post(b"a")) in (b"", b"reset")
            assert server.turned_away == 1
            other = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
            other[1].write(post(b"a", LAST))
            assert (await other[0].read()).endswith(b"a")
            held[0][1].transport.abort()
            while server.connections > 1:
                await asyncio.sleep(0.001)
            assert (await dialogue(server, post(b"a", LAST))).endswith(b"a")
            for _, writer in (*held, other):
                writer.transport.abort()

    at_end(test())


def test_a_client_that_asks_before_it_sends_is_told_to_go_on() -> None:
    async def test() -> None:
        async with listening() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post(b"", "Expect: 100-continue", LAST, length=3))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            assert (await reader.read()).endswith(b"abc")
            writer.transport.abort()

    at_end(test())


def test_closed_while_peers_are_connected_and_opened_again() -> None:
    async def test() -> None:
        handling = asyncio.Event()
        ended = []

        async def hang(request: Request) -> Answer:
            handling.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(request.head.path)
            return Answer(200)

        server = listening(handle=hang)
        for _ in range(2):
            async with server:
                silent = await asyncio.open_connection("127.0.0.1", server.port)
                asking = asyncio.ensure_future(dialogue(server, post(b"a")))
                await handling.wait()
                handling.clear()
            assert await asking in (b"", b"reset")
            silent[1].transport.abort()
        assert ended == ["/x", "/x"]

    at_end(test())


def test_a_peer_that_goes_away_ends_its_handler() -> None:
    async def test() -> None:
        handling, ended = asyncio.Event(), asyncio.Event()

        async def hang(request: Request) -> Answer:
            handling.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return Answer(200)

        async with listening(handle=hang) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post(b"a"))
            await handling.wait()
            writer.transport.abort()
            await ended.wait()

    at_end(test())


def test_a_bug_in_a_handler_is_told_and_answered() -> None:
    async def test() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def broken(request: Request) -> Answer:
            raise KeyError("secret")

        async with listening(handle=broken) as server:
            said = await dialogue(server, post(b"a"))
        assert said.startswith(b"HTTP/1.1 500")
        assert b"secret" not in said
        assert [type(context["exception"]) for context in told] == [KeyError]

    at_end(test())


def test_an_address_that_cannot_be_had() -> None:
    async def test() -> None:
        async with listening() as server:
            with pytest.raises(LineLost, match="cannot listen") as refused:
                async with HttpServer(("127.0.0.1", server.port), echo):
                    pass
            assert "端口" in refused.value.hint

    at_end(test())


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("box", "IP:127.0.0.1")
    with pytest.raises(LineLost, match="certificate"):
        asyncio.run(listening(tls=Tls(issued.certificate, authority.ca)).__aenter__())

    async def test() -> None:
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        async with listening(tls=Tls(issued.certificate, issued.key), limits=Limits(connections_of_one=2)) as server:
            connector = aiohttp.TCPConnector(force_close=True)
            async with aiohttp.ClientSession(connector=connector) as session:
                url = f"https://127.0.0.1:{server.port}"
                for body in (b"abc", b"x" * 300_000):
                    async with session.post(url, data=body, ssl=trusting) as response:
                        assert await response.read() == body
            assert await dialogue(server, post(b"no TLS")) != b"-"
            held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
            while server.connections < 2:  # they count although they have not begun with TLS
                await asyncio.sleep(0.001)
            assert await dialogue(server, b"") in (b"", b"reset")
            assert server.turned_away == 1
            for _, writer in held:
                writer.transport.abort()
            while server.connections:
                await asyncio.sleep(0.001)
            _, kept = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting)
        kept.transport.abort()
        await asyncio.sleep(0.01)

    at_end(test())


def test_tls_that_does_not_begin_is_given_up(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("box", "IP:127.0.0.1")

    async def test() -> None:
        async with listening(tls=Tls(issued.certificate, issued.key), limits=Limits(head_s=5.0)) as server:
            assert await dialogue(server, b"\x16\x03\x01") in (b"", b"reset")
            assert server.connections == 0

    at_end(test(), virtual=True)


def test_another_protocol_takes_the_connection_over() -> None:
    async def talk(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def test() -> None:
        async with (
            listening(upgrade=talk, limits=Limits(head_s=5.0)) as server,
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{server.port}/") as socket,
        ):
            await socket.send_str("a")
            assert await socket.receive_str() == "A"

    at_end(test())


def test_secrets_and_credentials() -> None:
    def head(authorization: str) -> Head:
        return Head("POST", "/", "", {"authorization": authorization}, "127.0.0.1")

    assert same_secret("密码", "密码")
    assert not same_secret("密码", "密")
    assert basic_credentials(head("Basic " + base64.b64encode("相机:a:b".encode()).decode())) == ("相机", "a:b")
    for wrong in ("", "Basic", "Basic !!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic /w==", "Digest x"):
        assert basic_credentials(head(wrong)) is None
