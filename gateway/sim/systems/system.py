"""What each of the compound's systems beside its meters is to the rest of the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self


class System(Protocol):
    """Devices that speak their real protocols on real sockets, and how an installer would have written them down.

    A system is opened before the gateway starts: what waits for the gateway's port keeps trying.  What follows is to be
    read while it is open only: ports are in it.
    """

    packs: Sequence[str]
    """Of the rule library: who watches it."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def lines(self) -> Sequence[dict[str, Any]]:
        """Entries of ``lines:``."""

    def devices(self) -> Sequence[dict[str, Any]]:
        """Entries of ``devices:``."""
