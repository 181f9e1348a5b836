"""Is there a camera?  OPTIONS of RTSP needs no account, no stream and no library (RFC 2326, 10.1)."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Final

from drivers.hub import HostPort

_STATUS: Final = re.compile(rb"RTSP/[12]\.[0-9] ([0-9]{3})( |\r?\n)")
LONGEST_LINE: Final = 1024


def options(address: HostPort) -> bytes:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"OPTIONS rtsp://{host}:{address[1]}/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: gateway\r\n\r\n".encode()


def status_of(line: bytes) -> int | None:
    """The status code; None for what is no answer of RTSP.  401 is an answer: somebody is there to refuse."""
    found = _STATUS.match(line)
    return int(found[1]) if found else None


async def is_alive(address: HostPort, patience_s: float) -> bool:
    """Whether an RTSP server answers there."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection(*address, limit=LONGEST_LINE)
            writer.write(options(address))
            return status_of(await reader.readline()) is not None
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
