from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import local_api
from gateway.errors import GatewayError


async def echo(request: Mapping[str, Any]) -> Any:
    return request["what"]


async def refuse(request: Mapping[str, Any]) -> Any:
    raise GatewayError("not today", hint="tomorrow")


HANDLERS = {"echo": echo, "refuse": refuse}


def test_a_question_is_answered_and_a_refusal_carries_its_hint(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_api.serve(tmp_path, HANDLERS):
            assert await local_api.ask(tmp_path, {"op": "echo", "what": {"表": 1}}) == {"表": 1}
            with pytest.raises(local_api.Refused, match="not today") as info:
                await local_api.ask(tmp_path, {"op": "refuse"})
            assert info.value.hint == "tomorrow"
            with pytest.raises(local_api.Refused, match="unknown request"):
                await local_api.ask(tmp_path, {"op": "format_disk"})
        with pytest.raises(local_api.NotRunning):
            await local_api.ask(tmp_path, {"op": "echo", "what": 1})

    asyncio.run(main())


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b"\xff\xfe\n", b"{}\n", b"\n"])
def test_nonsense_gets_an_answer_and_harms_nobody(tmp_path: Path, line: bytes) -> None:
    async def main() -> None:
        async with local_api.serve(tmp_path, HANDLERS):
            reader, writer = await asyncio.open_unix_connection(tmp_path / local_api.SOCKET_NAME)
            writer.write(line)
            assert json.loads(await reader.readline())["ok"] is False
            writer.close()
            await writer.wait_closed()
            assert await local_api.ask(tmp_path, {"op": "echo", "what": 2}) == 2

    asyncio.run(main())


def test_only_the_owner_and_group_may_ask(tmp_path: Path) -> None:
    async def main() -> int:
        async with local_api.serve(tmp_path, HANDLERS):
            return (tmp_path / local_api.SOCKET_NAME).stat().st_mode & 0o777

    assert asyncio.run(main()) == 0o660


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    (tmp_path / local_api.SOCKET_NAME).write_text("")

    async def main() -> Any:
        async with local_api.serve(tmp_path, HANDLERS):
            return await local_api.ask(tmp_path, {"op": "echo", "what": 3})

    assert asyncio.run(main()) == 3


@pytest.mark.parametrize("last_words", [b"", b'{"ok": true, "resu', b"reset"])
def test_a_daemon_that_dies_while_answering_is_not_running(tmp_path: Path, last_words: bytes) -> None:
    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if last_words == b"reset":
            writer.transport.abort()  # what was sent to it is unread: the client's connection is reset
            return
        await reader.readline()
        writer.write(last_words)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_unix_server(dying, tmp_path / local_api.SOCKET_NAME)
        async with server:
            for _ in range(5):
                with pytest.raises(local_api.NotRunning, match="stopped while answering"):
                    await local_api.ask(tmp_path, {"op": "echo", "what": 1})

    asyncio.run(main())


def test_a_store_that_lies_deep_can_be_asked_too(tmp_path: Path) -> None:
    """A Unix socket's name has 107 bytes."""
    deep = tmp_path / "小区" / ("d" * 120)
    deep.mkdir(parents=True)

    async def main() -> Any:
        async with local_api.serve(deep, HANDLERS):
            return await local_api.ask(deep, {"op": "echo", "what": 4})

    assert asyncio.run(main()) == 4
    assert list(deep.iterdir()) == []
