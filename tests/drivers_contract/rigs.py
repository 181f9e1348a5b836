"""What a protocol's tests give to the contract suite: tests/drivers_<protocol>/rig.py with ``contract_rigs()``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from drivers.base import Driver
from drivers.transport import ByteLine
from gateway.model import PointId

TESTS = Path(__file__).parent.parent


class Rig(Protocol):
    """A device that answers, one that does not exist, and the line both are reached through."""

    driver: Driver
    link: ByteLine
    """Open."""
    points: Sequence[PointId]
    """Points the device answers with a good value; at least three."""
    refused: PointId
    """A point the device refuses."""
    silent_driver: Driver
    """Same line, an address nobody has, a time-out under 0.5 s."""

    def unplug(self) -> None:
        """Break the line under the link."""

    async def plug(self) -> None:
        """Mend it."""


Factory = Callable[[], AbstractAsyncContextManager[Rig]]


def rigs() -> Iterator[tuple[str, Factory]]:
    """Every rig there is, as (name, factory)."""
    for file in sorted(TESTS.glob("drivers_*/rig.py")):
        yield from importlib.import_module(f"{file.parent.name}.rig").contract_rigs()


def protocols_without_rig() -> set[str]:
    """Folders under drivers/ whose tests have no rig."""
    folders = (TESTS.parent / "drivers").glob("*/driver.py")
    return {
        folder.parent.name for folder in folders if not (TESTS / f"drivers_{folder.parent.name}" / "rig.py").exists()
    }
