"""One product with everything around it: devices, broker, the platform's ledger, and what it uses of the machine.

field.py ◀── Modbus TCP ── the product ── MQTT ──▶ [line that can fall silent] ──▶ mosquitto ──▶ ledger.py
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from gateway.errors import GatewayError
from gateway.sim.broker import Broker
from gateway.sim.process import Child
from support.tcp_proxy import Proxy, proxy
from tests.bench.broker import QuietBroker
from tests.bench.peer.helper import Helper
from tests.bench.peer.ledger import USER
from tests.bench.peer.products import Product, Program, Reading, Work

VALUES = 20
"""Registers of a device."""
START_S = 60.0
LOOK_S = 0.05
Counts = Mapping[str, Sequence[int]]
"""Of each port: how often each register has been read."""


class PlatformBroker(QuietBroker):
    """mosquitto in the place of ThingsBoard's server: it must not send a gateway what the gateway itself has sent."""

    def _mosquitto_conf(self) -> str:
        acl = self._directory / "acl"
        acl.write_text(
            "topic readwrite #\n"  # ours, which gives no name
            f"user {USER}\n"
            "topic readwrite #\n"
            "user gateway\n"
            "topic write v1/#\n"
            "topic read v1/devices/me/rpc/response/+\n"
            "topic read v1/devices/me/attributes/response/+\n"
            "topic read v1/gateway/attributes/response\n"
        )
        return f"{super()._mosquitto_conf()}acl_file {acl}\n"


@dataclass(frozen=True, slots=True)
class Used:
    """By the product's processes between two looks."""

    seconds: float
    cpu_s: float
    rss_bytes: int
    """The most."""


class Rig:
    def __init__(
        self, product: Product, broker: Broker, field: Helper, ledger: Helper, line: Proxy, folder: Path
    ) -> None:
        self.product = product
        self.broker = broker
        self.line = line
        self._field = field
        self._ledger = ledger
        self._folder = folder
        self._program: Program
        self._child: Child | None = None
        self.work: Work

    def configure(self, work: Work, *, over_the_line: bool) -> None:
        self.work = work
        port = self.line.port if over_the_line else self.broker.port
        self._program = self.product.configured(self._folder / "product", work, port)

    # ---------------------------------------------------------------- the product

    async def start(self) -> None:
        self._child = Child(self._program.argv, self._folder / "product.log", env=self._program.env)
        await self._child.__aenter__()

    async def kill(self) -> None:
        """SIGKILL, with whatever it has started."""
        child, self._child = self._child, None
        if child is None:
            return
        tree = _tree(child.pid) if child.running else []
        await child.kill()
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    async def use(self, seconds: float) -> Used:
        """What the product takes for so long.  Raises GatewayError when it ends."""
        assert self._child is not None
        try:
            return await self._use(seconds)
        except psutil.NoSuchProcess as exc:
            raise GatewayError(f"{self.product.name} ended: {self._child.last_words()}") from exc

    async def _use(self, seconds: float) -> Used:
        assert self._child is not None
        pid, before, begun, most = self._child.pid, _cpu_s(self._child.pid), time.monotonic(), 0
        while (left_s := begun + seconds - time.monotonic()) > 0:
            most = max(most, _rss_bytes(pid))
            await asyncio.sleep(min(0.5, left_s))
        return Used(time.monotonic() - begun, _cpu_s(pid) - before, most)

    # ---------------------------------------------------------------- what was read, what has arrived

    async def counts(self) -> Counts:
        counts: Counts = await self._field.ask("counts")
        return counts

    async def freeze(self) -> Counts:
        counts: Counts = await self._field.ask("freeze")
        return counts

    async def arrived(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = await self._ledger.ask("status")
        return status

    async def mark(self, counts: Counts) -> None:
        await self._ledger.ask({"mark": counts})

    async def missing(self, start: Counts, end: Counts) -> int:
        missing: int = await self._ledger.ask({"from": start, "to": end})
        return missing

    # ---------------------------------------------------------------- waiting

    async def until(self, true: Callable[[Mapping[str, Any]], bool], what: str, limit_s: float) -> Mapping[str, Any]:
        begun = time.monotonic()
        while not true(status := await self.arrived()):
            if self._child is not None and not self._child.running:
                raise GatewayError(f"{self.product.name} ended: {self._child.last_words()}")
            if time.monotonic() - begun > limit_s:
                words = self._child.last_words() if self._child else ""
                raise GatewayError(f"{self.product.name}: not within {limit_s:g} s: {what}\n{status}\n{words}")
            await asyncio.sleep(LOOK_S)
        return status

    async def until_all_devices(self) -> None:
        count = len(self.work.ports)
        await self.until(lambda status: status["devices"] >= count, f"values of {count} devices", START_S)

    async def until_quiet(self, quiet_s: float, limit_s: float) -> Mapping[str, Any]:
        """Nothing new for so long, or everything has waited *limit_s*."""
        begun = time.monotonic()
        while True:
            status = await self.arrived()
            now_s = time.monotonic()
            if now_s - max(status["last_s"], begun) >= quiet_s or now_s - begun >= limit_s:
                return status
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def rig(
    product: Product, devices: int, period_ms: int, reading: Reading, *, over_the_line: bool = False
) -> AsyncIterator[Rig]:
    """The product is configured and not yet started; afterwards nothing of it is left."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-peer-")))
        broker = await stack.enter_async_context(PlatformBroker(folder / "broker"))
        field = await stack.enter_async_context(Helper("tests.bench.peer.field", str(devices), str(VALUES)))
        ledger = await stack.enter_async_context(Helper("tests.bench.peer.ledger", str(broker.port)))
        line = await stack.enter_async_context(proxy(broker.port))
        running = Rig(product, broker, field, ledger, line, folder)
        stack.push_async_callback(running.kill)
        running.configure(Work(field.hello, VALUES, period_ms, reading), over_the_line=over_the_line)
        yield running


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    """Of the process and all it has started."""
    return sum(times.user + times.system for times in (process.cpu_times() for process in _tree(pid)))


def _rss_bytes(pid: int) -> int:
    return sum(process.memory_info().rss for process in _tree(pid))
