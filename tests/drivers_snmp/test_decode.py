"""Bytes of whoever: explained or refused, never a surprise."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.snmp.decode import decode
from drivers.snmp.engine import ASKING, TRAPPING, Credentials, Engine

# SEQUENCE { version 1, "public", get-request { 0x12345678, 0, 0, { sysDescr.0, NULL } } }, by hand after RFC 1157
GET = bytes.fromhex(
    "30 29 02 01 00 04 06 70 75 62 6c 69 63 a0 1c 02 04 12 34 56 78 02 01 00 02 01 00"
    "30 0e 30 0c 06 08 2b 06 01 02 01 01 01 00 05 00"
)
# version 2c, "public", trap { 1, 0, 0, { sysUpTime.0, TimeTicks 66051 }, { snmpTrapOID.0, linkDown } }
TRAP = bytes.fromhex(
    "30 42 02 01 01 04 06 70 75 62 6c 69 63 a7 35 02 01 01 02 01 00 02 01 00 30 2a"
    "30 0f 06 08 2b 06 01 02 01 01 03 00 43 03 01 02 03"
    "30 17 06 0a 2b 06 01 06 03 01 01 04 01 00 06 09 2b 06 01 06 03 01 01 05 03"
)
ENGINE = Engine({"u": Credentials("2c", community=b"public"), "v": Credentials("3", user="u")})
LATELY: list[str] = []
ENGINE.listen(lambda host, *_: LATELY.append(host))


def fields(data: bytes) -> dict[str, object]:
    (frame,) = decode(data).frames
    return {each.id: each.value for each in frame.items}


def test_a_question_is_explained_without_its_community() -> None:
    assert fields(GET) == {
        "version": "1",
        "community": "***",
        "request": 0x12345678,
        "error": 0,
        "1.3.6.1.2.1.1.1.0": None,
    }
    assert decode(GET).frames[0].function == "get"
    assert "public" not in repr(decode(GET))


def test_several_messages_and_what_is_no_message() -> None:
    both = decode(GET + GET)
    assert both.ok
    assert len(both.frames) == 2
    broken = decode(GET + b"\x30\x05abc")
    assert (len(broken.frames), broken.fault.offset if broken.fault else None) == (1, len(GET))
    assert not decode(b"").ok


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_explained_or_refused(data: bytes) -> None:
    decode(data)


@settings(max_examples=300, deadline=None)
@example(GET, 3, b"\x88\x80")  # a length of eight bytes: pyasn1 reads so many, and OverflowError is no error of its own
@given(st.sampled_from([GET, TRAP]), st.integers(0, 80), st.binary(min_size=1, max_size=4))
def test_a_damaged_message_is_never_an_exception(message: bytes, at: int, patch: bytes) -> None:
    damaged = message[: at % len(message)] + patch + message[at % len(message) + len(patch) :]
    decode(damaged)

    async def hear() -> None:
        for domain in (ASKING, TRAPPING):
            ENGINE.heard(domain, damaged, ("127.0.0.1", 9))

    asyncio.run(hear())


@pytest.mark.parametrize("size", [0, 1, 2, 5000])
def test_nesting_without_end_is_no_message(size: int) -> None:
    assert not decode(b"\x30\x80" * size).ok
    ENGINE.heard(TRAPPING, b"\x30\x80" * size, ("127.0.0.1", 9))


def test_the_hand_made_notification_is_heard() -> None:
    LATELY.clear()
    ENGINE.heard(TRAPPING, TRAP, ("127.0.0.7", 9))
    assert LATELY == ["127.0.0.7"]
    assert fields(TRAP)["1.3.6.1.6.3.1.1.4.1.0"] == "1.3.6.1.6.3.1.1.5.3"
