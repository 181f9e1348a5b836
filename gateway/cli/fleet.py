"""gateway simulate fleet: how a broker and a platform bear N gateways, and whether anything is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import resource
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.clock import SystemClock
from gateway.logs import configure

if TYPE_CHECKING:
    from gateway.sim.fleet.count import Balance, Tally
    from gateway.sim.fleet.fleet import Fleet, Plan, Totals
    from gateway.sim.platform.ingester import Ingester

_REPORT_S = 1.0
_SUBSCRIBE_S = 20.0
_SPARE_FILES = 100
_THREADS = 64
"""That connect at the same time; each may wait for an address that does not answer."""


class _Platform(NamedTuple):
    ingester: Ingester
    tally: Tally


@click.command(help="许多网关同时连一台服务器 / many gateways' uplinks against one broker")
@click.option(
    "--broker", "brokers", required=True, multiple=True, metavar="HOST:PORT", help="可多个：集群节点 / of each node"
)
@click.option("--gateways", type=click.IntRange(1, 100_000), required=True, help="网关数 / how many")
@click.option("--sites", type=click.IntRange(1, 100_000), default=1, show_default=True, help="小区数 / compounds")
@click.option("--first", type=click.IntRange(1), default=1, show_default=True, help="第一个网关的编号 / first number")
@click.option(
    "--rate",
    type=click.FloatRange(0.001, 10_000),
    default=1.0,
    show_default=True,
    help="每网关每秒信封数 / envelopes a second of each gateway",
)
@click.option(
    "--readings", type=click.IntRange(1, 500), default=20, show_default=True, help="每信封读数 / readings an envelope"
)
@click.option("--envelopes", type=click.IntRange(1), default=None, help="每网关信封总数 / each gateway makes so many")
@click.option(
    "--duration", type=click.FloatRange(min=0.1), default=None, metavar="S", help="秒；默认到 Ctrl-C / until Ctrl-C"
)
@click.option("--settle", type=click.FloatRange(min=0), default=60.0, show_default=True, help="最后等待秒 / at the end")
@click.option(
    "--spread", type=click.FloatRange(min=0), default=5.0, show_default=True, help="启动错开秒 / of the starts"
)
@click.option("--delivery", type=click.Choice(["receipt", "puback"]), default="receipt", show_default=True)
@click.option("--protocol", type=click.Choice(["mqtt5", "mqtt311"]), default="mqtt5", show_default=True)
@click.option("--count", is_flag=True, help="自己订阅、回执并核对 / subscribe, confirm and prove completeness")
@click.option("--username", default=None, help="MQTT 用户名 / MQTT user name")
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None)
@click.option("--cafile", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None, help="TLS")
@click.option("--seed", type=int, default=1, show_default=True, help="随机种子 / same seed, same fleet")
@command_options
def fleet(
    shell: Shell,
    brokers: tuple[str, ...],
    gateways: int,
    sites: int,
    first: int,
    rate: float,
    readings: int,
    envelopes: int | None,
    duration: float | None,
    settle: float,
    spread: float,
    delivery: Literal["receipt", "puback"],
    protocol: Literal["mqtt5", "mqtt311"],
    count: bool,
    username: str | None,
    password_file: Path | None,
    cafile: Path | None,
    seed: int,
) -> None:
    from gateway.sim.fleet.fleet import Plan

    if (
        username is not None
        and cafile is None
        and not all(_host(each) in ("localhost", "127.0.0.1") for each in brokers)
    ):
        shell.complain(
            "有用户名时须加 --cafile：密码不得明文传输", "--username needs --cafile: no password in the clear"
        )
        shell.stop(USAGE)
    plan = Plan(
        tuple(_address(shell, each) for each in brokers),
        gateways,
        sites=sites,
        first=first,
        rate=rate,
        readings=readings,
        envelopes=envelopes,
        delivery=delivery,
        protocol=protocol,
        spread_s=spread,
        seed=seed,
        username=username,
        password_file=password_file,
        cafile=cafile,
    )
    _allow_files(shell, gateways + _SPARE_FILES)
    configure(level=logging.ERROR)  # a line for each connection of each gateway would hide the account
    shell.stop(FINE if asyncio.run(_run(shell, plan, duration, settle, count=count)) else FOUND_WRONG)


def _host(broker: str) -> str:
    return broker.rpartition(":")[0]


def _address(shell: Shell, broker: str) -> tuple[str, int]:
    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        shell.complain(f"{broker} 不是 主机:端口", f"{broker} is not HOST:PORT")
        shell.stop(USAGE)
    return host, int(port)


def _allow_files(shell: Shell, wanted: int) -> None:
    """Each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        shell.complain(
            f"最多只能打开 {hard} 个文件，需要 {wanted}：先运行 ulimit -Hn {wanted}",
            f"only {hard} open files are allowed, {wanted} are needed: run ulimit -Hn {wanted} before",
        )
        shell.stop(USAGE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(shell: Shell, plan: Plan, duration_s: float | None, settle_s: float, *, count: bool) -> bool:
    """Whether everything has been delivered, and with *count* has arrived."""
    from gateway.sim.fleet.fleet import Fleet

    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS))
    fleet = Fleet(plan, SystemClock())
    end, hurry = asyncio.Event(), asyncio.Event()

    def interrupted() -> None:
        """The first time: make nothing more.  The second time: do not wait for the rest either."""
        (hurry if end.is_set() else end).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    async with _platform(plan, count=count) as platform, asyncio.TaskGroup() as group:
        if platform is not None and not await _subscribed(shell, plan, platform, end):
            return False
        report = _Report(shell, fleet, platform)
        tasks = [group.create_task(fleet.run()), group.create_task(report.run())]
        await _until(lambda: fleet.complete or end.is_set(), duration_s)
        end.set()
        fleet.silence()
        await _until(lambda: hurry.is_set() or _done(fleet, platform), settle_s)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return report.account()


async def _until(true: Callable[[], bool], limit_s: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not true():  # noqa: ASYNC110 (no event says it)
                await asyncio.sleep(0.05)


def _done(fleet: Fleet, platform: _Platform | None) -> bool:
    if fleet.totals.waiting:
        return False
    return platform is None or _balance(fleet, platform).arrived == fleet.totals.made


def _balance(fleet: Fleet, platform: _Platform) -> Balance:
    from gateway.sim.fleet.count import balance

    return balance(fleet.given_out, platform.tally.kept)


@contextlib.asynccontextmanager
async def _platform(plan: Plan, *, count: bool) -> AsyncIterator[_Platform | None]:
    if not count:
        yield None
        return
    from gateway.sim.fleet.count import Tally, forget_session, options
    from gateway.sim.platform.ingester import Ingester

    link, tally = options(plan, f"fleet-count-{uuid.uuid4().hex[:12]}"), Tally()
    ingester = Ingester(link, tally, jitter=random.random)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ingester.run())
            yield _Platform(ingester, tally)
            task.cancel()
    finally:
        await forget_session(link)


async def _subscribed(shell: Shell, plan: Plan, platform: _Platform, end: asyncio.Event) -> bool:
    """Before the first gateway speaks: what is published to nobody is gone."""
    ready, (host, port) = platform.ingester.ready, plan.brokers[0]
    if not shell.json:
        print(shell.t("等待订阅……", "waiting for the subscription …"), flush=True)
    await _until(lambda: ready.is_set() or end.is_set(), _SUBSCRIBE_S)
    if not ready.is_set():
        shell.complain(
            f"无法在 {host}:{port} 订阅：请检查服务器、账号及其订阅权限",
            f"cannot subscribe at {host}:{port}: check the broker, the account and its rights",
        )
    return ready.is_set()


class _Report:
    """A line a second, and the account at the end."""

    def __init__(self, shell: Shell, fleet: Fleet, platform: _Platform | None) -> None:
        self._shell = shell
        self._fleet = fleet
        self._platform = platform
        self._most_connecting = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        before, at_s = self._fleet.totals, loop.time()
        while True:
            await asyncio.sleep(_REPORT_S)
            totals, now_s = self._fleet.totals, loop.time()
            connecting = totals.connections - before.connections
            self._most_connecting = max(self._most_connecting, connecting)
            self._line(totals, connecting, (totals.acknowledged - before.acknowledged) / (now_s - at_s))
            before, at_s = totals, now_s

    def _line(self, totals: Totals, connecting: int, rate: float) -> None:
        shell, arrived = self._shell, self._platform and self._platform.ingester.counts.envelopes
        if shell.json:
            extra = {"connecting": connecting, "acknowledged_per_s": round(rate, 1), "arrived": arrived}
            shell.document({**asdict(totals), **extra})
            return
        error = f"  {totals.error}" if totals.error else ""
        confirmed = shell.t(f"回执 {totals.confirmed}  ", f"confirmed {totals.confirmed}  ")
        shown = "" if totals.confirmed is None else confirmed
        print(
            shell.t(
                f"连接 {totals.connected}（+{connecting}）  产生 {totals.made}  发送 {totals.sent}  "
                f"确认 {totals.acknowledged}（{rate:.0f}/秒）  {shown}等待 {totals.waiting}{error}",
                f"connected {totals.connected} (+{connecting})  made {totals.made}  sent {totals.sent}  "
                f"acknowledged {totals.acknowledged} ({rate:.0f}/s)  {shown}waiting {totals.waiting}{error}",
            ),
            flush=True,
        )

    def account(self) -> bool:
        """Shown; whether it is clean."""
        totals, counted = self._fleet.totals, None
        fine = totals.waiting == 0 and totals.quarantined == 0
        if self._platform is not None:
            balance = _balance(self._fleet, self._platform)
            counted = {**asdict(balance), "duplicates": self._platform.ingester.counts.duplicates}
            fine = fine and balance.lost == 0 and balance.waiting == 0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cost = {
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_rss_mib": round(usage.ru_maxrss / 1024, 1),  # Linux counts it in KiB
            "most_connecting_per_s": self._most_connecting,
        }
        if self._shell.json:
            self._shell.document({"account": {**asdict(totals), "counted": counted, **cost, "fine": fine}})
        else:
            self._say(totals, counted, cost)
        return fine

    def _say(self, totals: Totals, counted: dict[str, Any] | None, cost: dict[str, Any]) -> None:
        shell = self._shell
        shell.say(
            f"产生 {totals.made}，未交付 {totals.waiting}，放弃 {totals.quarantined}，因满未产生 {totals.withheld}",
            f"made {totals.made}, not delivered {totals.waiting}, given up {totals.quarantined}, "
            f"not made because a log was full {totals.withheld}",
        )
        if counted is None:
            shell.say("未核对到达（--count）", "nobody has counted what arrived (--count)")
        else:
            shell.say(
                f"到达 {counted['arrived']}，重复 {counted['duplicates']}，在途 {counted['waiting']}，"
                f"丢失 {counted['lost']}",
                f"arrived {counted['arrived']}, duplicates {counted['duplicates']}, on their way {counted['waiting']}, "
                f"lost {counted['lost']}",
            )
        shell.say(
            f"CPU {cost['cpu_s']} 秒，内存峰值 {cost['peak_rss_mib']} MiB，"
            f"每秒最多新连接 {cost['most_connecting_per_s']}",
            f"CPU {cost['cpu_s']} s, peak memory {cost['peak_rss_mib']} MiB, "
            f"most new connections in a second {cost['most_connecting_per_s']}",
        )
