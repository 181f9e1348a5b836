"""What a hub's tests give to the contract suite: tests/drivers_<protocol>/hub_rig.py with ``hub_rigs()``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from drivers.base import Hub
from drivers_contract.rigs import TESTS


class HubRig(Protocol):
    """A hub, a device that it knows, and others."""

    hub: Hub
    """Made, not opened."""
    device: str
    """The configured device that talks."""
    devices: Collection[str]
    """All that are configured; what one says may concern another (a controller and its doors)."""

    async def say(self, number: int) -> None:
        """The device says its *number*-th thing (from 1): a report with at least one reading or happening.

        The hub is open.
        """

    async def garbage(self) -> None:
        """Somebody new sends bytes that no device sends."""

    async def stranger(self) -> None:
        """A device that is not configured says something, correctly."""


HubFactory = Callable[[], AbstractAsyncContextManager[HubRig]]


def hub_rigs() -> Iterator[tuple[str, HubFactory]]:
    """Every rig there is, as (name, factory)."""
    for file in sorted(TESTS.glob("drivers_*/hub_rig.py")):
        yield from importlib.import_module(f"{file.parent.name}.hub_rig").hub_rigs()


def hubs_without_rig() -> set[str]:
    """Folders under drivers/ whose tests have no rig."""
    folders = [file.parent.name for file in (TESTS.parent / "drivers").glob("*/hub.py")]
    return {name for name in folders if not (TESTS / f"drivers_{name}" / "hub_rig.py").exists()}
