"""Who is on the network: every controller answers function 94h with the serial number 0."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from drivers.base import Found
from drivers.hub import HostPort, UdpServer
from drivers.uhppote import frame
from drivers.uhppote.config import PORT, doors_of, parse_target
from drivers.uhppote.frame import Frame, Identity
from gateway.errors import ProtocolError
from gateway.model import Value

EVERYBODY = f"255.255.255.255:{PORT}"


async def seek(broadcast: str | None, timeout_s: float) -> AsyncIterator[Found]:
    """Each controller once, as soon as it answers (drivers/base.py: Seek).

    Raises ValueError for a *broadcast* that is no IPv4 address, LineLost where no socket can be had.
    """
    target = parse_target(broadcast or EVERYBODY)
    answers: asyncio.Queue[tuple[Identity, HostPort]] = asyncio.Queue(1000)
    seen: set[int] = set()

    def heard(data: bytes, origin: HostPort) -> None:
        try:
            found = Frame.from_bytes(data)
            identity = frame.identity(found) if found.function == frame.CONTROLLER else None
        except ProtocolError:
            return
        if identity is not None and identity.controller not in seen and not answers.full():
            seen.add(identity.controller)
            answers.put_nowait((identity, origin))

    loop = asyncio.get_running_loop()
    async with UdpServer(("0.0.0.0", 0), heard, broadcast=True) as server:
        server.send(frame.ask_controller(), target)
        end_s = loop.time() + timeout_s
        while True:
            try:
                async with asyncio.timeout_at(end_s):
                    identity, origin = await answers.get()
            except TimeoutError:
                return
            yield _found(identity, origin)


def _found(identity: Identity, origin: HostPort) -> Found:
    port = "" if origin[1] == PORT else f":{origin[1]}"
    entry: Mapping[str, Value] = {"controller": identity.controller, "host": f"{origin[0]}{port}"}
    doors = doors_of(identity.controller)
    about = f"UHPPOTE {identity.version} ({identity.date}), {doors} 门 / door(s), MAC {identity.mac}"
    trouble = ""
    if identity.address not in (origin[0], "0.0.0.0"):
        trouble = f"自报地址 {identity.address} / it says that its address is {identity.address}"
    return Found(entry, about, trouble)
