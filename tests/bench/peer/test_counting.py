"""The two ends that count: what they say decides who has lost something."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from tests.bench.peer.helper import Helper
from tests.bench.peer.ledger import Ledger, values


def theirs(device: str, *counts: int) -> bytes:
    return json.dumps({device: [{"ts": 1, "values": {"v0": count}} for count in counts]}).encode()


def ours(device: str, *counts: int | None) -> bytes:
    items = [{"p": f"{device}.v0", "u": "V", "t": 1, "v": count, "q": "good"} for count in counts]
    return json.dumps({"v": 1, "lane": "telemetry", "items": items}).encode()


OUR_TOPIC, THEIR_TOPIC = "compound/v1/bench/gw1/telemetry", "v1/gateway/telemetry"


def test_both_products_are_read_alike() -> None:
    expected = [("d7", "v0", 3), ("d7", "v0", 4)]
    assert list(values(THEIR_TOPIC, theirs("d7", 3, 4))) == expected
    assert list(values(OUR_TOPIC, ours("d7", 3, None, 4))) == expected


@pytest.mark.parametrize("topic", ["compound/v1/bench/gw1/health", "compound/v1/bench/gw1/alarm", "v1/gateway/connect"])
def test_other_messages_hold_no_values(topic: str) -> None:
    assert not list(values(topic, b'{"items":[{"p":"d7.v0","v":3}]}'))


def test_missing_is_what_was_given_and_has_not_arrived() -> None:
    ledger = Ledger()
    ledger.note(THEIR_TOPIC, theirs("d7", 1, 2, 4, 2000), again=False)
    ledger.note(THEIR_TOPIC, theirs("d8", 1), again=False)
    assert ledger.missing({"7": [0], "8": [0]}, {"7": [4], "8": [1]}) == 1  # 3
    assert ledger.missing({"7": [2], "8": [1]}, {"7": [2001], "8": [2]}) == 2001 - 2 - 2 + 1
    assert ledger.missing({"9": [0]}, {"9": [5]}) == 5


def test_a_repetition_counts_once_and_the_brokers_own_not_at_all() -> None:
    ledger = Ledger()
    for again in (False, False, True):
        ledger.note(OUR_TOPIC, ours("d7", 1), again=again)
    status = ledger.status()
    assert (status["values"], status["distinct"], status["repeated"]) == (3, 1, 1)


def test_the_first_value_after_a_mark_is_one_that_was_read_after_it() -> None:
    ledger = Ledger()
    ledger.note(OUR_TOPIC, ours("d7", 1), again=False)
    ledger.mark({"7": [3]})
    ledger.note(OUR_TOPIC, ours("d7", 2, 3), again=False)
    assert ledger.status()["first_s"] is None
    ledger.note(OUR_TOPIC, ours("d7", 4), again=False)
    assert ledger.status()["first_s"] is not None


def test_a_register_holds_how_often_it_has_been_read_until_the_devices_fall_silent() -> None:
    async def main() -> None:
        async with Helper("tests.bench.peer.field", "2", "3") as field:
            port, other = field.hello
            reader, writer = await asyncio.open_connection("127.0.0.1", port)

            async def read(start: int, count: int) -> tuple[int, ...]:
                writer.write(struct.pack(">HHHBBHH", 5, 0, 6, 1, 4, start, count))
                answer = await reader.readexactly(9 + 2 * count)
                assert answer[:9] == struct.pack(">HHHBBB", 5, 0, 3 + 2 * count, 1, 4, 2 * count)
                return struct.unpack(f">{count}H", answer[9:])

            assert await read(0, 3) == (1, 1, 1)
            assert await read(1, 2) == (2, 2)
            assert await field.ask("counts") == {str(port): [1, 2, 2], str(other): [0, 0, 0]}
            assert await field.ask("freeze") == {str(port): [1, 2, 2], str(other): [0, 0, 0]}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await read(0, 1)
            assert await field.ask("counts") == {str(port): [1, 2, 2], str(other): [0, 0, 0]}
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())
