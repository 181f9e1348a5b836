"""Small searches for protocols, and lines of simulated devices to be found by them.

The searches are this suite's own, so that it tests what is done with a search, whatever the drivers' own are like.
"""

from __future__ import annotations

import os
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from drivers.base import Found, Link, Progress, Search, SerialFormat
from drivers.dlt645.driver import DLT645
from drivers.dlt645.frame import READ_ADDRESS, Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter, SimValue
from drivers.modbus.codec import crc16
from drivers.modbus.driver import RTU, TCP
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from gateway.errors import DriverError, LineLost
from gateway.sim.compound import _profiled
from gateway.sim.devices import Moment, View, pump_sheet, sdm630
from gateway.sim.world import Layout, build

LAST_UNIT = 8


async def find_units(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """Asks each unit for one input register; a refusal is an answer too."""
    first, last = search.first or 1, search.last or LAST_UNIT
    for unit in range(first, last + 1):
        yield Progress(unit - first, last - first + 1, f"unit {unit}")
        try:
            await read_words(link, unit, 4, 0, 1, search.timeout_s)
        except LineLost:
            raise
        except DriverError:
            continue
        yield Found({"unit_id": unit}, "toy")
    yield Progress(last - first + 1, last - first + 1)


async def find_meter(link: Link, search: Search) -> AsyncIterator[Found | Progress]:
    """The one meter on the line."""
    yield Progress(0, 1, "AAAAAAAAAAAA")
    try:
        address = await ask_address(link, search.timeout_s)
    except LineLost:
        raise
    except DriverError:
        pass
    else:
        yield Found({"address": address})
    yield Progress(1, 1)


async def ask_address(link: Link, timeout_s: float) -> str:
    """DL/T 645-2007, 13h: any one meter says its address."""

    def parse(received: bytes) -> str | None:
        found = find_frame(received)
        return found[0].address if found and found[0].is_answer else None

    request = Frame("A" * 12, READ_ADDRESS).to_bytes(4)
    return await link.exchange(request, parse, peer="any", timeout_s=timeout_s)


async def read_words(link: Link, unit: int, function: int, first: int, count: int, timeout_s: float) -> bytes:
    """A Modbus RTU read: the bytes behind the byte count of the answer; the exception code of a refusal.

    Source: Modbus Application Protocol V1.1b3, 6.3 and 6.4; Modbus over Serial Line V1.02, 2.5.1.
    """
    question = struct.pack(">BBHH", unit, function, first, count)

    def parse(received: bytes) -> bytes | None:
        refused = received[:2] == bytes((unit, function | 0x80))
        size = 5 if refused else 5 + 2 * count
        frame = received[:size]
        if len(frame) < size or frame[0] != unit or crc16(frame[:-2]) != frame[-2:]:
            return None
        return frame[2:3] if refused else frame[3:-2]

    request = question + crc16(question)
    return await link.exchange(request, parse, peer=unit, timeout_s=timeout_s, gap_characters=3.5)


TOY_RTU = replace(
    RTU, discover=find_units, scan_formats=(SerialFormat(9600), SerialFormat(19200), SerialFormat(9600, "E"))
)
TOY_645 = replace(DLT645, discover=find_meter, scan_formats=(SerialFormat(2400, "E"), SerialFormat(9600, "E")))
TOY_TCP = replace(TCP, discover=find_units)
NO_SEARCH = replace(TCP, discover=None)


# ---------------------------------------------------------------------- devices

MEANT: Mapping[str, SimValue] = {
    "00010000": Decimal("1234.56"), "00010100": Decimal("1000.01"), "00010200": Decimal("200.22"),
    "00010300": Decimal("30.33"), "00010400": Decimal("4.00"), "00020000": Decimal("0.00"),
    "02010100": Decimal("224.4"), "02020100": Decimal("4.999"), "02030000": Decimal("1.1200"),
    "02060000": Decimal("0.998"), "02800002": Decimal("50.03"), "04000503": "0000",
}  # fmt: skip
"""What a single-phase meter with its household awake shows; voltage and frequency as in captured frames."""
THREE_PHASES: Mapping[str, SimValue] = {
    **MEANT,
    "00030000": Decimal("12.00"), "02010200": Decimal("228.8"), "02010300": Decimal("231.0"),
    "02020200": Decimal("1.250"), "02020300": Decimal("0.300"), "02030100": Decimal("1.1200"),
    "02030200": Decimal("0.2800"), "02030300": Decimal("0.0690"), "02040000": Decimal("0.1000"),
    "02050000": Decimal("1.5000"),
}  # fmt: skip
DEAD_PHASES: Mapping[str, SimValue] = {
    **MEANT, **dict.fromkeys(("02010200", "02010300", "02020200", "02020300"), Decimal(0)),
}  # fmt: skip
"""A single-phase meter that answers 0 for the phases it has not."""


def meter(values: Mapping[str, SimValue], address: str = "000000190101") -> Dlt645SimLine:
    return Dlt645SimLine([Dlt645SimMeter(address, values.__getitem__)])


def moment() -> Moment:
    return Moment(View(build(Layout(1, 1, 10), 1), lambda: 12 * 3600.0))


def units() -> dict[int, SimUnit]:
    """Unit 3 is an SDM630; unit 5 is a pump room's PLC, as its profile describes it."""
    return {3: sdm630("m", 1, moment()), 5: _profiled("p", "pump_room_plc", pump_sheet, moment())}


def rtu(units: dict[int, SimUnit]) -> RtuLine:
    now = moment()
    return RtuLine(ModbusBank(units, on_request=now.begin))


def answers_of(line: RtuLine | Dlt645SimLine) -> Callable[[bytes], Sequence[bytes]]:
    return lambda data: [answer for _, answer in line.feed(data)]


def speed_of(port: str) -> int:
    """What the port was last opened at: a pseudo terminal remembers it, though it has none."""
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        return {termios.B2400: 2400, termios.B9600: 9600, termios.B19200: 19200}[termios.tcgetattr(descriptor)[4]]
    finally:
        os.close(descriptor)
