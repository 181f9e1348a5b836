"""Frames of Onbon's font cards (BX-5K, BX-6K), and the text they carry.  Pure: no I/O, no clock.

The maker's protocol, "BX-5K/6K, user's version" (doc.onbonbx.com/zh/k/potocol); the ping as it is printed there::

    A5 A5 A5 A5 A5 A5 A5 A5  01 00 00 80 00 00 00 00 00 00 FE 02 05 00  A2 00 01 00 00  68 F8 5A
    0  start                 8  10             16       18 19 20        22             crc   end
                             to from reserved (6)       type version length  data

Between start and end four bytes are written as two: A5 as A6 02, A6 as A6 01, 5A as 5B 02, 5B as 5B 01.  All numbers
are low byte first.  CRC: 16 bits, polynomial A001h, from 0, over what stands between start and CRC, not yet escaped.

A card answers ``A0 00`` (yes) or ``A0 01`` (no) and why, or the group and command of a query with its data; it does not
say which of several questions it answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.errors import ProtocolError

START: Final = b"\xa5" * 8
END: Final = 0x5A
PC: Final = 0x8000
"""The address of whoever asks."""
ANY_TYPE: Final = 0xFE
VERSION: Final = 0x02
MOST_DATA: Final = 1024
_HEAD: Final = 14
_ESCAPES: Final = {0xA5: b"\xa6\x02", 0xA6: b"\xa6\x01", 0x5A: b"\x5b\x02", 0x5B: b"\x5b\x01"}
_UNESCAPED: Final = {escape: bytes([byte]) for byte, escape in _ESCAPES.items()}

ACK: Final = (0xA0, 0x00)
NACK: Final = (0xA0, 0x01)
PING: Final = (0xA2, 0x00)
STATE: Final = (0xA1, 0x02)
SHOW: Final = (0xA3, 0x06)
"""Puts texts into dynamic areas, and removes areas."""
REPLY: Final = 0x01
SILENT: Final = 0x02

REFUSALS: Final = {
    1: ("命令分组错误", "unknown group of commands"),
    2: ("没有此命令", "unknown command"),
    3: ("控制器忙", "busy"),
    4: ("超出内存", "out of memory"),
    5: ("校验错误", "wrong checksum"),
    6: ("文件不存在", "no such file"),
    7: ("闪存错误", "flash error"),
    8: ("文件下载错误", "download failed"),
    9: ("文件名错误", "wrong file name"),
    10: ("文件类型错误", "wrong type of file"),
    11: ("文件校验错误", "wrong checksum of a file"),
    12: ("字库不存在", "no such font"),
    13: ("固件类型错误", "wrong firmware"),
    14: ("时间格式错误", "wrong format of a time"),
    15: ("文件已存在", "the file exists"),
    16: ("文件块号错误", "wrong number of a block"),
}


class FrameError(ProtocolError):
    """Bytes that are no frame.  *offset*: where it goes wrong."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Frame:
    to: int
    sender: int
    data: bytes
    """From the group of commands on."""
    type: int = ANY_TYPE
    version: int = VERSION
    reserved: bytes = bytes(6)

    @property
    def command(self) -> tuple[int, int]:
        return (self.data[0], self.data[1])

    @property
    def status(self) -> int:
        """Of an answer: why not; of a question: whether it wants an answer."""
        return self.data[2]

    @property
    def content(self) -> bytes:
        return self.data[5:]

    def to_bytes(self) -> bytes:
        head = self.to.to_bytes(2, "little") + self.sender.to_bytes(2, "little") + self.reserved
        body = head + bytes([self.type, self.version]) + len(self.data).to_bytes(2, "little") + self.data
        return START + escaped(body + crc(body).to_bytes(2, "little")) + bytes([END])

    @classmethod
    def from_bytes(cls, written: bytes) -> Frame:
        """*written*: from its eight A5 to its 5A.  Raises FrameError."""
        if not written.startswith(START):
            raise FrameError("a frame begins with eight A5", 0)
        if written[-1] != END:
            raise FrameError("a frame ends with 5A", len(written) - 1)
        body = unescaped(written[len(START) : -1])
        if len(body) < _HEAD + 5 + 2:
            raise FrameError(f"{len(body)} bytes are too few", len(written) - 1)
        length = int.from_bytes(body[12:14], "little")
        if length != len(body) - _HEAD - 2:
            raise FrameError(f"{len(body) - _HEAD - 2} bytes of data instead of {length}", 20)
        told = int.from_bytes(body[-2:], "little")
        if told != crc(body[:-2]):
            raise FrameError(f"checksum {told:04X} instead of {crc(body[:-2]):04X}", len(written) - 3)
        to, sender = int.from_bytes(body[0:2], "little"), int.from_bytes(body[2:4], "little")
        return cls(to, sender, body[_HEAD:-2], body[10], body[11], body[4:10])


def request(address: int, command: tuple[int, int], content: bytes = b"") -> Frame:
    return Frame(address, PC, bytes([*command, REPLY, 0, 0]) + content)


def find_frame(received: bytes, begin: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole frame from *begin* on, where it begins and where it ends; None while there is none."""
    end = received.find(END, begin)
    while end >= 0:
        at = received.rfind(START, begin, end)  # the last one: no A5 stands inside a frame
        if at >= 0:
            try:
                return Frame.from_bytes(received[at : end + 1]), at, end + 1
            except FrameError:
                pass
        begin = end + 1
        end = received.find(END, begin)
    return None


def crc(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


def escaped(body: bytes) -> bytes:
    return b"".join(_ESCAPES.get(byte, bytes([byte])) for byte in body)


def unescaped(written: bytes) -> bytes:
    """Raises FrameError for a byte that is never written as it is."""
    out = bytearray()
    at = 0
    while at < len(written):
        if written[at] in (0xA6, 0x5B):
            pair = written[at : at + 2]
            if pair not in _UNESCAPED:
                raise FrameError(f"{pair.hex(' ')} is no escape", at)
            out += _UNESCAPED[pair]
            at += 2
        elif written[at] in (0xA5, END):
            raise FrameError(f"{written[at]:02X} inside a frame", at)
        else:
            out.append(written[at])
            at += 1
    return bytes(out)


# ---------------------------------------------------------------------- dynamic areas


@dataclass(frozen=True, slots=True)
class Area:
    """One dynamic area: where it is, how it shows, and what."""

    number: int
    x: int
    """Pixels, in steps of 8; so is *width*."""
    y: int
    width: int
    height: int
    mode: int
    """1 still, 2 at once, 3 to the left, 4 to the right, 5 up, 6 down."""
    speed: int
    stay: int
    """Half seconds."""
    text: bytes
    """As the card's fonts have it, with its escapes."""
    single_line: bool = True
    expire_s: int = 0
    """The area goes when nothing new has come for so long; 0: it stays."""

    def to_bytes(self) -> bytes:
        numbers = (self.x // 8, self.y, self.width // 8, self.height)
        fixed = b"\x00" + b"".join(number.to_bytes(2, "little") for number in numbers)
        fixed += bytes([self.number, 0, 2 if self.expire_s else 0]) + self.expire_s.to_bytes(2, "little") + bytes(3)
        lines = 1 if self.single_line else 2
        fixed += bytes([lines, lines, self.mode, 0, self.speed, self.stay])
        return fixed + len(self.text).to_bytes(4, "little") + self.text

    @classmethod
    def from_bytes(cls, data: bytes) -> Area:
        """Raises FrameError."""
        if len(data) < 27 or int.from_bytes(data[23:27], "little") != len(data) - 27:
            raise FrameError("an area's text is not as long as it says", 23)
        x, y, width, height = (int.from_bytes(data[at : at + 2], "little") for at in (1, 3, 5, 7))
        return cls(
            number=data[9],
            x=8 * x,
            y=y,
            width=8 * width,
            height=height,
            mode=data[19],
            speed=data[21],
            stay=data[22],
            text=data[27:],
            single_line=data[17] == 1,
            expire_s=int.from_bytes(data[12:14], "little") if data[11] == 2 else 0,
        )


def show(areas: tuple[Area, ...] = (), remove: tuple[int, ...] = ()) -> bytes:
    """The content of a ``SHOW``: areas to take away, areas to set."""
    written = [area.to_bytes() for area in areas]
    head = bytes([len(remove), *remove, len(areas)])
    return head + b"".join(len(each).to_bytes(2, "little") + each for each in written)


def shown(content: bytes) -> tuple[tuple[Area, ...], tuple[int, ...]]:
    """What ``show`` was given.  Raises FrameError.  255 areas to remove means all of them."""
    if not content:
        raise FrameError("nothing to show", 0)
    count = content[0]
    remove = () if count == 0xFF else tuple(content[1 : 1 + count])
    at = 1 + len(remove)
    if at >= len(content):
        raise FrameError("no number of areas", at)
    areas: list[Area] = []
    number, at = content[at], at + 1
    for _ in range(number):
        size = int.from_bytes(content[at : at + 2], "little")
        if at + 2 + size > len(content):
            raise FrameError("an area is cut off", at)
        areas.append(Area.from_bytes(content[at + 2 : at + 2 + size]))
        at += 2 + size
    return tuple(areas), (0xFF,) if count == 0xFF else remove
