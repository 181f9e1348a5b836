"""Who is on the line: every unit id is asked for one register; any answer proves a device, a refusal too.

ids ──holding register 0──▶ answer: found ──again, all bytes──▶ a second voice? ──43/14, 17──▶ identity
 │                          noise: asked once more; noise again: something is there, with trouble
 └──▶ the silent ones again, with input register 0: some devices say nothing to a function they do not have
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from typing import Final

from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.modbus import codec
from drivers.modbus.config import READ_FUNCTION, Table
from drivers.modbus.framing import Framing
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError

SERIAL_IDS: Final = range(1, 248)
TCP_IDS: Final = range(256)
"""1 to 247 behind a converter; many devices with a connection of their own want 255 or 0."""
UNLIKELY_IDS: Final = (247, 246, 245)
"""Who answers to all of these heeds no unit id."""
MOST_NOISY = 8
"""Noise at more ids than this comes from the line and not from units."""
RTU_FORMATS: Final = tuple(
    SerialFormat(baud, parity)
    for baud, parity in (
        (9600, "N"),
        (9600, "E"),
        (4800, "N"),
        (19200, "N"),
        (19200, "E"),  # the standard's own default
        (2400, "N"),
        (2400, "E"),
        (115200, "N"),
        (38400, "N"),
        (57600, "N"),
        (4800, "E"),
        (9600, "O"),
    )
)
ASCII_FORMATS: Final = (
    SerialFormat(9600, "E", 7),
    SerialFormat(9600),
    SerialFormat(19200, "E", 7),
    SerialFormat(9600, "N", 7, 2),
    SerialFormat(19200),
    SerialFormat(4800, "E", 7),
    SerialFormat(2400, "E", 7),
)
GLITCH = 3
"""So many bytes beside an answer say nothing: drivers of the line make them when they let go of it."""
ANY_ID = "任何站号都应答 answers to every unit id"
NOISE = (
    "有应答但无法识别：两台设备站号相同，或速率、校验位不同，或线路干扰 "
    "something answers that cannot be read: two devices with this unit id, another speed or parity, or interference"
)
NOISE_ONCE = (
    "有一次应答无法识别：可能有两台设备站号相同，或线路干扰 "
    "one of its answers could not be read: perhaps two devices with this unit id, or interference"
)
SECOND = (
    "应答之后还有其他字节：可能有两台设备站号相同 more bytes than its answer: two devices seem to have this unit id"
)


class _Heard(enum.Enum):
    NOTHING = enum.auto()
    NOISE = enum.auto()
    DEVICE = enum.auto()


async def discover(framing: Framing, link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """``drivers.base.Discover`` for one framing."""
    scan = _Scan(framing, link, search.timeout_s)
    units = _units(framing, search)
    if len(units) > len(UNLIKELY_IDS) and not framing.anonymous and await scan.heeds_no_id():
        yield Found({"unit_id": units[0]}, f"{await scan.identity(units[0])} {ANY_ID}".strip())
        return
    asked, noisy = 0, 0
    for table in (Table.HOLDING, Table.INPUT):
        silent: list[int] = []
        for place, unit_id in enumerate(units):
            yield Progress(asked, asked + _still_to_ask(units, place, silent, table), f"unit {unit_id}")
            asked += 1
            heard, trouble = await scan.look(unit_id, table)
            noisy += heard is _Heard.NOISE
            if heard is _Heard.NOTHING:
                silent.append(unit_id)
            elif heard is _Heard.DEVICE:
                trouble = trouble or await scan.second_voice(unit_id, table)
                yield Found({"unit_id": unit_id}, await scan.identity(unit_id), trouble)
            elif noisy <= MOST_NOISY:
                yield Found({"unit_id": unit_id}, "", trouble)
        units = silent
    yield Progress(asked, asked)


def _units(framing: Framing, search: Search) -> Sequence[int]:
    """The likeliest first, where the caller names none."""
    allowed = SERIAL_IDS if framing.anonymous else TCP_IDS
    if search.first is None and search.last is None and not framing.anonymous:
        return [*SERIAL_IDS, 255, 0]
    first = allowed[0] if search.first is None else search.first
    last = SERIAL_IDS[-1] if search.last is None else search.last
    return [unit_id for unit_id in allowed if first <= unit_id <= last]


def _still_to_ask(units: Sequence[int], place: int, silent: Sequence[int], table: Table) -> int:
    """As if nobody more answered: the silent ones of the first round are asked in a second."""
    left = len(units) - place
    return left + left + len(silent) if table is Table.HOLDING else left


class _Scan:
    def __init__(self, framing: Framing, link: Link, timeout_s: float) -> None:
        self._framing = framing
        self._link = link
        self._timeout_s = timeout_s
        self._number = 0

    async def look(self, unit_id: int, table: Table) -> tuple[_Heard, str]:
        """Ask one id; where noise comes back, once more.  What was heard, and what is wrong with it."""
        request = codec.read_request(unit_id, READ_FUNCTION[table], 0, 1)
        heard = await self._hear(request)
        if heard is not _Heard.NOISE:
            return heard, ""
        heard = await self._hear(request)
        return heard, NOISE if heard is _Heard.NOISE else NOISE_ONCE

    async def second_voice(self, unit_id: int, table: Table) -> str:
        """What is wrong when everything is heard that one question brings: of two devices one may be slower."""
        if not self._framing.anonymous:
            return ""  # what stands behind a converter it has sorted out itself
        request = codec.read_request(unit_id, READ_FUNCTION[table], 0, 1)
        sent = self._framing.frame(request, 0)
        heard = await self._link.collect(sent, timeout_s=self._timeout_s, silence_s=self._timeout_s)
        answer = self._framing.answer(request, sent, heard)
        if answer is None:
            return NOISE_ONCE if len(heard) > len(sent) else ""
        echo = len(sent) if answer.after_echo else 0
        return SECOND if len(heard) - echo - len(answer.frame) > GLITCH else ""

    async def heeds_no_id(self) -> bool:
        for unit_id in UNLIKELY_IDS:
            if (await self.look(unit_id, Table.HOLDING))[0] is not _Heard.DEVICE:
                return False
        return True

    async def identity(self, unit_id: int) -> str:
        """What the device tells of itself; empty where it does not."""
        for request in codec.identity_requests(unit_id):
            try:
                told = codec.identity(await self._ask(request))
            except LineLost:
                raise
            except (DeviceUnreachable, ProtocolError):
                told = ""
            if told:
                return told
        return ""

    async def _hear(self, request: codec.Request) -> _Heard:
        try:
            answer = await self._ask(request)
        except LineLost:
            raise
        except DeviceUnreachable:
            return _Heard.NOTHING
        except ProtocolError:
            return _Heard.NOISE
        return _Heard.NOTHING if answer.exception in codec.NOBODY_THERE else _Heard.DEVICE

    async def _ask(self, request: codec.Request) -> codec.Answer:
        self._number += 1
        return await self._framing.exchange(self._link, request, self._number & 0xFFFF, self._timeout_s)
