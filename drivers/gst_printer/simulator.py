"""A GST9000's printer port: a pseudo-terminal into which it prints.  Shares nothing with the reader."""

from __future__ import annotations

import datetime
import os
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Gst9000:
    """*path* is the port that the gateway opens: it exists while this is entered, and plugged in."""

    def __init__(self, path: Path, now: Callable[[], datetime.datetime] | None = None) -> None:
        self.path = path
        self._now = now
        self._ends: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        self.plug()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.unplug()

    def plug(self) -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)  # kept open here, or the port hangs up whenever the gateway lets go of it
        self._ends = ours, theirs
        self.path.symlink_to(os.ttyname(theirs))

    def unplug(self) -> None:
        ends, self._ends = self._ends, None
        with suppress(FileNotFoundError):
            self.path.unlink()
        for end in ends or ():
            os.close(end)

    # ------------------------------------------------------------------ what makes things happen

    def fire(self, loop: int, number: int, place: str, component: str = "感烟探测器", *, first: bool = True) -> None:
        self.say(self.record("首次火警" if first else "火警后续", place, component, address=(loop, number)))

    def fault(self, loop: int, number: int, place: str, component: str = "感烟探测器") -> None:
        self.say(self.record("设备故障", place, component, address=(loop, number)))

    def reset(self) -> None:
        self.say(self.record("系统复位"))

    def record(self, what: str, *texts: str, address: tuple[int, int] | None = None) -> bytes:
        now = self._now() if self._now else datetime.datetime(2026, 1, 1)  # noqa: DTZ001  the panel's local time
        where = "" if address is None else f"{address[0]:03}-{address[1]:03}"
        lines = "".join(f"{line}\n" for line in (what, *texts))
        return b"\x1b6%b\n  %b\n\x1b9%b\n" % (
            now.strftime("%y/%m/%d  %H:%M").encode(),
            where.encode(),
            lines.encode("gbk"),
        )

    def say(self, data: bytes) -> None:
        """Any bytes; a port that is not plugged in takes none."""
        if self._ends is not None:
            os.write(self._ends[0], data)
