"""A captured answer as a device that has exactly the registers or bits which stand in it.  Pure.

The driver may then ask for any of a profile's points, in any grouping: what the capture does not hold is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drivers.base import DecodedFrame
from drivers.modbus.config import READ_FUNCTION
from drivers.modbus.driver import ASCII, RTU, TCP
from drivers.modbus.simulator import AsciiLine, ModbusBank, RtuLine, SimUnit, TcpStream

_TABLE: Final = {f"{function:02X}": table for table, function in READ_FUNCTION.items()}

_FAR_ENDS: Final[Mapping[str, Callable[[ModbusBank], RtuLine | AsciiLine | TcpStream]]] = {
    RTU.name: RtuLine,
    ASCII.name: AsciiLine,
    TCP.name: TcpStream,
}


def replay(protocol: str, answer: DecodedFrame, first: int | None = None) -> Callable[[bytes], bytes] | None:
    """What answers a request; None when *answer* is none to a read.

    first: the address of its first register or bit, where no request before it has numbered them.
    """
    table = _TABLE.get(answer.function)
    if table is None or answer.error is not None or not answer.items:
        return None
    unit = SimUnit()
    for place, item in enumerate(answer.items):
        address = int(item.id.rpartition(" ")[2]) if first is None else first + place
        unit.tables[table][address] = int(item.value or 0)
    far_end = _FAR_ENDS[protocol](ModbusBank({int(answer.address): unit}))
    return lambda request: b"".join(frame for _, frame in far_end.feed(request))
