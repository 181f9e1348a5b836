"""What each of the compound's systems beside its meters is to the rest of the simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from drivers.registry import PackagesMissing, protocol


class System(Protocol):
    """Devices that speak their real protocols on real sockets, and how an installer would have written them down.

    A system is opened before the gateway starts: what waits for the gateway's port keeps trying.  What follows is to be
    read while it is open only: ports are in it.
    """

    @property
    def protocols(self) -> Sequence[str]:
        """What its lines and the devices in its roles speak.  Its module imports nothing that only they need before it
        is opened: the packages may be missing."""

    @property
    def packs(self) -> Sequence[str]:
        """Of the rule library: who watches it.  ``water:basement_water``: of that pack this rule alone."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def lines(self) -> Sequence[dict[str, Any]]:
        """Entries of ``lines:``."""

    def devices(self) -> Sequence[dict[str, Any]]:
        """Entries of ``devices:``."""


@runtime_checkable
class Furnishing(Protocol):
    """Optional: a system that needs sections of site.yaml, and files beside it."""

    def furnish(self, directory: Path) -> Mapping[str, Any]:
        """Write the files into the configuration's *directory*; returns the sections."""


def installs(system: System) -> str:
    """The command that brings the packages without which it cannot be; empty where nothing is missing."""
    for name in system.protocols:
        try:
            protocol(name)
        except PackagesMissing as exc:
            return exc.install
    return ""
