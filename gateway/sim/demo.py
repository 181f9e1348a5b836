"""The demonstration: a virtual compound, a broker, the gateway as a real process, and the platform's ledger.

    compound ══ pty, TCP ══▶ gateway (child process) ──▶ relay ──▶ broker (child process) ──▶ ledger
       ▲                         ▲ status (Unix socket)    ▲           ▲                        │
       └────── scenario ─────────┼─────────────────────────┴───────────┘                        │
                                 ├──────────── summary, once a second ──────────────────────────┘
                                 └── page (child process) ──▶ a browser

The verdict at the end comes from the ledger and from the store, read after the gateway has stopped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from gateway import local_api
from gateway.errors import GatewayError
from gateway.model import Lane, Text
from gateway.sim import site
from gateway.sim.broker import Broker, BrokerKind, MqttVersion, best_kind
from gateway.sim.compound import Compound
from gateway.sim.ledger import Ledger, Subscriber
from gateway.sim.process import Child
from gateway.sim.relay import Relay
from gateway.sim.scenarios import Scenario
from gateway.sim.summary import ActiveAlarm, Sample, Snapshot
from gateway.sim.systems.radio import Radio
from gateway.sim.systems.town import Town
from gateway.sim.world import Layout
from gateway.store import reader
from gateway.store.lanes import StoreStats

ONLINE_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 25.0
LAST_DELIVERY_S = 10.0
"""For what the broker has acknowledged to the gateway and not yet handed to the ledger."""
RATE_WINDOW_S = 5.0
PAGE_TIMEOUT_S = 15.0


class DemoFailed(GatewayError):
    """The demonstration could not be given."""


@dataclass(frozen=True, slots=True)
class Program:
    scenario: Scenario
    layout: Layout
    duration_s: float | None
    """From the moment the gateway is online; None: until stopped."""
    keep: Path | None
    broker: BrokerKind = field(default_factory=best_kind)
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a spectator may want to look at."""

    directory: Path
    config: Path
    store: Path
    log: Path
    broker: str
    mqtt: MqttVersion
    port: int
    root: str
    devices: int
    page: str = ""
    """Where a browser finds the local page; empty where there is none."""
    no_page: Text | None = None
    """Why there is none."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Systems of the town whose packages are missing, and what would install them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    scenario: str
    devices: int
    readings_committed: int
    envelopes_acknowledged: int
    alarms_raised: int
    lost: int
    faults: tuple[str, ...] = ()
    """Why the demonstration failed beyond losses, for people: the gateway died, the contract was broken."""

    def document(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "devices": self.devices,
            "readings_committed": self.readings_committed,
            "envelopes_acknowledged": self.envelopes_acknowledged,
            "alarms_raised": self.alarms_raised,
            "lost": self.lost,
        }


class Show(Protocol):
    """Where the demonstration is shown."""

    def started(self, facts: Facts) -> None: ...

    def update(self, snapshot: Snapshot) -> None: ...

    def ending(self) -> None:
        """The curtain falls; delivering the rest may take some seconds."""


@dataclass(slots=True)
class _Stage:
    """The parts that a scenario turns (scenarios.Stage)."""

    compound: Compound
    town: Town
    broker: Broker
    relay: Relay
    subscriber: Subscriber
    lost_broker: bool = False

    async def leak_gas(self, channel: int, peak_lel: float, rise_s: float, hold_s: float, fall_s: float) -> None:
        self.compound.leak_gas(channel, peak_lel, rise_s, hold_s, fall_s)

    async def burst_pipe(self, rise_s: float, fall_s: float, peak_cm: float) -> None:
        """The pump room and what stands beside it see the same water."""
        self.compound.burst_pipe(rise_s, fall_s, peak_cm)
        await self.town.radio.burst_pipe(rise_s, fall_s, peak_cm)

    async def shut_pipe(self) -> None:
        self.compound.shut_pipe()
        await self.town.radio.shut_pipe()

    async def lose_broker(self) -> None:
        """First the line, then the broker: what it has acknowledged and only has in memory still reaches the ledger."""
        self.lost_broker = True
        await self.relay.cut()
        await self.subscriber.quiet(0.3, 3.0)
        await self.broker.kill()

    async def return_broker(self) -> None:
        if not self.lost_broker:
            return
        self.lost_broker = False
        await self.broker.start()
        await self.subscriber.wait_ready()
        await self.relay.open()

    async def kill_line(self, *, dead: bool) -> None:
        self.compound.faults.kill_line(self.compound.meter_lines[0], dead=dead)

    async def restore(self) -> None:
        await self.return_broker()
        await self.kill_line(dead=False)


@dataclass(slots=True)
class _Pace:
    """Readings per second, over the last few seconds."""

    marks: list[tuple[float, int]] = field(default_factory=list)

    def rate(self, now_s: float, readings: int) -> float:
        self.marks = [mark for mark in self.marks if mark[0] > now_s - RATE_WINDOW_S] + [(now_s, readings)]
        (first_s, first), (last_s, last) = self.marks[0], self.marks[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


async def give(program: Program, show: Show, stop: asyncio.Event) -> Outcome:
    """Run the whole demonstration until its duration is over or *stop* is set.  Raises GatewayError."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(_directory(program.keep))
        broker = await stack.enter_async_context(Broker(program.broker, directory / "broker"))
        relay = await stack.enter_async_context(Relay(broker.host, broker.port))
        town = Town(radio=Radio(program.broker))
        compound = await stack.enter_async_context(Compound(program.layout, seed=program.seed, systems=town.systems))
        ledger = Ledger()
        subscriber = await stack.enter_async_context(
            Subscriber(broker.host, broker.port, broker.kind.mqtt, site.ROOT, ledger, name="demo-ledger")
        )
        facts = Facts(
            directory,
            directory / "config",
            directory / "store",
            directory / "gateway.log",
            broker.kind.name,
            broker.kind.mqtt,
            broker.port,
            site.ROOT,
            len(site.devices(compound)),
            left_out=town.left_out,
        )
        site.write(compound, facts.config, facts.store, site.UplinkTarget("127.0.0.1", relay.port, broker.kind.mqtt))
        stage = _Stage(compound, town, broker, relay, subscriber)
        async with Child(_gateway("run", facts), facts.log) as daemon, AsyncExitStack() as beside:
            show.started(replace(facts, **await _page(beside, facts)))
            await _online(ledger, daemon, stop)
            await _perform(program, stage, facts, ledger, daemon, show, stop)
            show.ending()
            died = not daemon.running
            await stage.restore()
            if not died:
                await _settle(facts, ledger)
            code = await daemon.stop()
        with reader.opened(facts.store) as store:
            stats = store.status()
        last = {(stats.epoch, str(lane)): stats.lanes[lane].last_seq for lane in stats.lanes}
        await subscriber.complete(last, LAST_DELIVERY_S)
        return _outcome(program, facts, ledger, stats, ledger.lost(last), _faults(ledger, died, code, daemon))


def _gateway(command: str, facts: Facts, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", command, "--config", str(facts.config), *options)


async def _page(stack: AsyncExitStack, facts: Facts) -> Mapping[str, Any]:
    """Start the page on a free port; says where it is, or why there is none: the demonstration goes on without it."""
    if importlib.util.find_spec("aiohttp") is None:
        install = "pip install 'compound-gateway[web]'"
        return {"no_page": Text(f"未安装页面组件（{install}）", f"its parts are not installed ({install})")}
    log = facts.directory / "page.log"
    page = await stack.enter_async_context(Child(_gateway("page", facts, "--port", "0", "--json"), log))
    with suppress(TimeoutError):
        async with asyncio.timeout(PAGE_TIMEOUT_S):
            while page.running:
                if url := _announced(log):
                    return {"page": url}
                await asyncio.sleep(0.05)
    words = page.last_words(1)
    return {"no_page": Text(f"页面未能启动：{words}", f"it did not start: {words}")}


def _announced(log: Path) -> str:
    """What the page says first of all on its standard output, which goes into the log; empty until then."""
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith('{"url"') and line.endswith("\n"):
            return str(json.loads(line)["url"])
    return ""


async def _online(ledger: Ledger, daemon: Child, stop: asyncio.Event) -> None:
    """Until the platform has seen the gateway's birth (or the spectator has seen enough)."""
    try:
        async with asyncio.timeout(ONLINE_TIMEOUT_S):
            while ledger.status.get("state") != "online" and not stop.is_set():
                if not daemon.running:
                    raise DemoFailed(f"the gateway ended at once:\n{daemon.last_words()}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise DemoFailed(f"the gateway is not online after {ONLINE_TIMEOUT_S:g} s:\n{daemon.last_words()}") from None


async def _perform(
    program: Program, stage: _Stage, facts: Facts, ledger: Ledger, daemon: Child, show: Show, stop: asyncio.Event
) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    end_s = float("inf") if program.duration_s is None else started_s + program.duration_s
    acts = list(program.scenario.acts)
    note = program.scenario.text
    pace = _Pace()
    while not stop.is_set() and daemon.running and loop.time() < end_s:
        while acts and loop.time() - started_s >= acts[0].at_s:
            act = acts.pop(0)
            note = act.text
            await act.do(stage)
        elapsed_s = loop.time() - started_s
        rate = pace.rate(elapsed_s, ledger.readings)
        status = await _status(facts.store)
        show.update(_snapshot(program, facts, stage.compound, ledger, status, elapsed_s, rate, note))
        next_s = min(loop.time() + 1.0, end_s, started_s + acts[0].at_s if acts else end_s)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(next_s):
                await stop.wait()


async def _settle(facts: Facts, ledger: Ledger) -> None:
    """Give a gateway that was cut off the time to reconnect and deliver; what is still to come is a handful."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while True:
                status = await _status(facts.store)
                if status is not None and _connected(status) and (_waiting(status) or 0) <= 3:
                    return
                await asyncio.sleep(0.2)


async def _status(store: Path) -> dict[str, Any] | None:
    """The gateway's own account of itself; None while it cannot be asked."""
    try:
        answer: dict[str, Any] = await local_api.ask(store, {"op": "status"}, timeout_s=2.0)
    except GatewayError:
        return None
    return answer


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
        yield Path(name)


# ---------------------------------------------------------------------- what the status says


def _connected(status: dict[str, Any]) -> bool:
    return bool(status["uplinks"][site.UPLINK]["connected"])


def _waiting(status: dict[str, Any]) -> int:
    """Envelopes in the store that the broker has not acknowledged."""
    return sum(lane["unacknowledged"].get(site.UPLINK, 0) for lane in status["store"]["lanes"].values())


def _answering(status: dict[str, Any], ledger: Ledger, devices: Mapping[str, str]) -> int:
    silent = {device for line in status["lines"].values() for device in line["silent"]}
    heard = {point.partition(".")[0] for point in ledger.latest} - silent
    return sum(status["lines"][line]["open"] for device, line in devices.items() if device in heard)


def _snapshot(
    program: Program,
    facts: Facts,
    compound: Compound,
    ledger: Ledger,
    status: dict[str, Any] | None,
    elapsed_s: float,
    rate: float,
    note: Text,
) -> Snapshot:
    latest = {point: ledger.latest.get(point, {}) for point, _ in site.showcase(compound)}
    return Snapshot(
        elapsed_s=elapsed_s,
        duration_s=program.duration_s,
        devices=facts.devices,
        answering=None if status is None else _answering(status, ledger, site.devices(compound)),
        readings=ledger.readings,
        readings_per_s=rate,
        envelopes=ledger.envelopes,
        samples=[
            Sample(label, latest[point].get("v"), latest[point].get("u")) for point, label in site.showcase(compound)
        ],
        alarms=[
            ActiveAlarm(alarm.priority, ledger.active[alarm.id], Text(alarm.zh, alarm.en))
            for alarm in ledger.alarms.values()
            if alarm.id in ledger.active
        ],
        waiting=None if status is None else _waiting(status),
        connected=None if status is None else _connected(status),
        note=note,
    )


# ---------------------------------------------------------------------- the verdict

_READINGS = (Lane.BILLING, Lane.TELEMETRY, Lane.BULK)


def _outcome(
    program: Program, facts: Facts, ledger: Ledger, stats: StoreStats, lost: int, faults: tuple[str, ...]
) -> Outcome:
    lanes = stats.lanes
    return Outcome(
        scenario=program.scenario.name,
        devices=facts.devices,
        readings_committed=sum(lanes[lane].items + lanes[lane].evicted_items for lane in _READINGS),
        envelopes_acknowledged=sum(lane.last_seq - lane.unacknowledged[site.UPLINK] for lane in lanes.values()),
        alarms_raised=len(ledger.alarms),
        lost=lost,
        faults=faults,
    )


def _faults(ledger: Ledger, died: bool, code: int, daemon: Child) -> tuple[str, ...]:
    faults = []
    if died:
        faults.append(f"the gateway ended by itself:\n{daemon.last_words()}")
    elif code:
        faults.append(f"the gateway ended with status {code}:\n{daemon.last_words()}")
    if ledger.contradictions:
        faults.append(f"envelopes came twice with different content: {ledger.contradictions[:5]}")
    if ledger.malformed:
        faults.append(f"messages that break the contract on {sorted(set(ledger.malformed))}")
    return tuple(faults)
