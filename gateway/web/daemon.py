"""What the daemon said last.  However many browsers look, it is asked one question at a time, and not often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway import local_api
from gateway.clock import Clock
from gateway.config.faults import ConfigFaults
from gateway.web import view
from gateway.web.catalog import Catalog

log = structlog.get_logger()

FRESH_S = 1.5
"""An answer younger than this is given again; the page asks every two seconds."""
PATIENCE_S = 3.0
_SAME_START_MS = 2000
"""The daemon tells how long it runs; when it has started is known to about this much."""


class NoSuchDevice(Exception):
    """Neither the configuration nor the daemon's line figures know it."""


class Daemon:
    """*load*: reads the configuration; may take its time, and is called in a thread.  Raises ConfigFaults."""

    def __init__(self, store: Path, catalog: Catalog, load: Callable[[], Catalog], clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._load = load
        self._clock = clock
        self._lock = asyncio.Lock()
        self._overview: view.Item = {}
        self._asked_s = float("-inf")
        self._answered_s: float | None = None
        self._started_ms: float | None = None
        self._ports: list[Mapping[str, Any]] = []
        self._last_state = ""

    async def overview(self) -> view.Item:
        """Never raises for what the daemon does or does not: that is what the page is about."""
        async with self._lock:
            if self._clock.monotonic_s() - self._asked_s >= FRESH_S:
                self._overview = await self._look()
                self._asked_s = self._clock.monotonic_s()
                self._note(self._overview)
            return self._overview

    async def diagnosis(self, device: str) -> view.Item | None:
        """None while the daemon cannot be asked.  Raises NoSuchDevice."""
        if device not in self._catalog.devices:
            raise NoSuchDevice(device)
        async with self._lock:
            try:
                items = await self._ask({"op": "points", "device": device})
            except (local_api.NotRunning, local_api.Refused):
                return None
            return view.diagnosis(self._catalog, device, items, self._clock.now_ms())

    async def _look(self) -> view.Item:
        try:
            status = await self._ask({"op": "status"})
            await self._learn(status)
        except local_api.NotRunning:
            return view.unreachable(self._catalog, "absent", "", self._silent_s())
        except local_api.Refused as exc:
            return view.unreachable(self._catalog, "refused", exc.advice(), self._silent_s())
        self._answered_s = self._clock.monotonic_s()
        return view.overview(self._catalog, status, self._ports)

    async def _learn(self, status: Mapping[str, Any]) -> None:
        """A daemon that has started anew may have read another configuration."""
        started_ms = status["t"] - 1000 * status["uptime_s"]
        if self._started_ms is not None and abs(started_ms - self._started_ms) <= _SAME_START_MS:
            return
        self._ports = await self._ask({"op": "lines"})
        if self._started_ms is not None:
            try:
                self._catalog = await asyncio.to_thread(self._load)
            except ConfigFaults as exc:
                log.warning("the configuration has faults; names are those of the old one", faults=exc.render("en"))
        self._started_ms = started_ms

    async def _ask(self, request: Mapping[str, Any]) -> Any:
        try:
            return await local_api.ask(self._store, request, timeout_s=PATIENCE_S)
        except (OSError, ValueError) as exc:  # killed in the middle of an answer
            raise local_api.NotRunning(str(exc)) from exc

    def _silent_s(self) -> float | None:
        return None if self._answered_s is None else self._clock.monotonic_s() - self._answered_s

    def _note(self, overview: view.Item) -> None:
        state = overview["daemon"]
        if state != self._last_state:
            log.info("daemon", state=state, detail=overview.get("detail", ""))
        self._last_state = state
