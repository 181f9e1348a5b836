"""A KNXnet/IP interface with one bus behind it, in bytes of its own: tunnels over UDP (KNX 03_08_04 Tunnelling).

async with SimInterface() as interface:
    interface.write("1/2/3", bytes.fromhex("0c1a"))
"""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Self

from drivers.hub import HostPort, UdpServer

_CONNECT, _STATE, _DISCONNECT, _TUNNELLING = 0x0205, 0x0207, 0x0209, 0x0420


class SimInterface:
    def __init__(self) -> None:
        self._socket = UdpServer(("127.0.0.1", 0), self._heard)
        self.tunnels: dict[int, HostPort] = {}
        """Channel -> who is connected."""
        self._sequence: dict[int, int] = {}
        self._channels = 0
        self.full = False
        """No tunnel is free."""
        self.sent_to_bus: list[bytes] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.port}"

    async def __aenter__(self) -> Self:
        await self._socket.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._socket.__aexit__(kind, exc, tb)

    def write(self, group: str, data: int | bytes, source: str = "1.1.5") -> None:
        """A device on the bus writes to a group: an int is one to six bits."""
        main, middle, sub = map(int, group.split("/"))
        area, line, device = map(int, source.split("."))
        apdu = bytes((0x00, 0x80 | data)) if isinstance(data, int) else b"\x00\x80" + data
        cemi = struct.pack(
            ">BBBBHHB",
            0x29,
            0,
            0xBC,
            0xE0,
            area << 12 | line << 8 | device,
            main << 11 | middle << 8 | sub,
            len(apdu) - 1,
        )
        for channel in self.tunnels:
            head = bytes((4, channel, self._sequence[channel], 0))
            self._sequence[channel] = self._sequence[channel] + 1 & 0xFF
            self.say(channel, _framed(_TUNNELLING, head + cemi + apdu))

    def say(self, channel: int, data: bytes) -> None:
        self._socket.send(data, self.tunnels[channel])

    def hang_up(self) -> None:
        """The interface ends all tunnels, as at its own start."""
        for channel in list(self.tunnels):
            port = struct.pack(">BB4sH", 8, 1, bytes((127, 0, 0, 1)), self._socket.port)
            self.say(channel, _framed(_DISCONNECT, bytes((channel, 0)) + port))
            del self.tunnels[channel]

    def _heard(self, data: bytes, peer: HostPort) -> None:
        if len(data) < 6 or data[:2] != b"\x06\x10":
            return
        service, body = struct.unpack_from(">H", data, 2)[0], data[6:]
        if service == _CONNECT:
            self._connect(peer)
        elif service == _STATE:
            status = 0 if body[0] in self.tunnels else 0x21
            self._socket.send(_framed(_STATE + 1, bytes((body[0], status))), peer)
        elif service == _DISCONNECT:
            self.tunnels.pop(body[0], None)
            self._socket.send(_framed(_DISCONNECT + 1, bytes((body[0], 0))), peer)
        elif service == _TUNNELLING:
            self.sent_to_bus.append(body)
            self._socket.send(_framed(_TUNNELLING + 1, bytes((4, body[1], body[2], 0))), peer)

    def _connect(self, peer: HostPort) -> None:
        if self.full:
            self._socket.send(_framed(_CONNECT + 1, bytes((0, 0x24))), peer)
            return
        self._channels += 1
        self.tunnels[self._channels], self._sequence[self._channels] = peer, 0
        here = struct.pack(">BB4sH", 8, 1, bytes((127, 0, 0, 1)), self._socket.port)
        self._socket.send(_framed(_CONNECT + 1, bytes((self._channels, 0)) + here + bytes((4, 4, 0x11, 0xFA))), peer)


def _framed(service: int, body: bytes) -> bytes:
    return struct.pack(">BBHH", 6, 0x10, service, 6 + len(body)) + body
