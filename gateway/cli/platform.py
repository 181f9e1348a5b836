"""gateway simulate platform: the reference ingester, for demonstrations, tests and as an example to start from."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.errors import GatewayError
from gateway.logs import configure

if TYPE_CHECKING:
    from gateway.sim.platform.ingester import Counts, Ingester
    from gateway.sim.platform.link import Options
    from gateway.sim.platform.storage import Storage

_REPORT_S = 1.0
_SITE = re.compile(r"\+|[A-Za-z0-9_-]{1,48}")


@click.command(help="参考平台：入库、去重、回执 / the reference platform: stores, removes duplicates, sends receipts")
@click.option("--broker", required=True, metavar="HOST:PORT", help="MQTT 服务器 / the broker")
@click.option("--site-filter", default="+", show_default=True, metavar="SITE", help="仅此小区 / this compound only")
@click.option("--postgres", default=None, metavar="DSN", help="写入 PostgreSQL / into PostgreSQL 14 or newer")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="写入 SQLite 文件；两者都不给则只在内存 / into an SQLite file; with neither, in memory",
)
@click.option("--share", default=None, metavar="GROUP", help="共享订阅组 / shared subscription of several ingesters")
@click.option(
    "--name",
    default="platform",
    show_default=True,
    help="MQTT 客户端标识，每个进程不同 / client id, another one for each process",
)
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=None, help="请网关限速补传 / ask gateways to replay at most N/s"
)
@click.option("--username", default=None, help="MQTT 用户名 / MQTT user name")
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None)
@click.option("--cafile", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None, help="TLS")
@command_options
def platform(
    shell: Shell,
    broker: str,
    site_filter: str,
    postgres: str | None,
    file: Path | None,
    share: str | None,
    name: str,
    rate: float | None,
    username: str | None,
    password_file: Path | None,
    cafile: Path | None,
) -> None:
    from gateway.sim.platform.arrival import topic_filters
    from gateway.sim.platform.link import Options

    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        shell.complain(f"{broker} 不是 主机:端口", f"{broker} is not HOST:PORT")
        shell.stop(USAGE)
    if not _SITE.fullmatch(site_filter):
        shell.complain(f"{site_filter} 不是小区编号，也不是 +", f"{site_filter} is neither a site's id nor +")
        shell.stop(USAGE)
    if postgres is not None and file is not None:
        shell.complain("--postgres 与 --file 只能选一个", "--postgres and --file exclude each other")
        shell.stop(USAGE)
    if postgres is not None and importlib.util.find_spec("asyncpg") is None:
        shell.complain(
            "缺少 asyncpg：pip install 'compound-gateway[platform]'",
            "asyncpg is missing: pip install 'compound-gateway[platform]'",
        )
        shell.stop(USAGE)
    filters = topic_filters(site_filter)
    if share is not None:
        filters = [f"$share/{share}/{each}" for each in filters]
    password = password_file.read_text("utf-8").strip() if password_file is not None else None
    options = Options(host, int(port), name, tuple(filters), username=username, password=password, cafile=cafile)
    configure()
    try:
        asyncio.run(_run(shell, options, postgres, file, rate))
    except GatewayError as exc:
        shell.complain(exc.advice(), exc.advice())
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


async def _run(shell: Shell, options: Options, postgres: str | None, file: Path | None, rate: float | None) -> None:
    from gateway.sim.platform.ingester import Ingester

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    storage = await _storage(postgres, file)
    try:
        ingester = Ingester(options, storage, rate=rate, jitter=random.random)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ingester.run()), group.create_task(_report(shell, ingester))]
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        await storage.close()


async def _storage(postgres: str | None, file: Path | None) -> Storage:
    if postgres is not None:
        from gateway.sim.platform.postgres import PostgresStorage

        return await PostgresStorage.open(postgres)
    from gateway.sim.platform.sqlite import SqliteStorage

    return SqliteStorage(file)


async def _report(shell: Shell, ingester: Ingester) -> None:
    """A line a second, while anything has changed; with --json always."""
    loop = asyncio.get_running_loop()
    before, shown, at_s = 0, "", loop.time()
    while True:
        await asyncio.sleep(_REPORT_S)
        counts, now_s = ingester.counts, loop.time()
        rate = (counts.envelopes - before) / (now_s - at_s)
        before, at_s = counts.envelopes, now_s
        if shell.json:
            shell.document({**counts.as_item(), "envelopes_per_s": round(rate, 1)})
            continue
        line = _line(shell, counts, rate)
        if line != shown:
            print(line, flush=True)
        shown = line


def _line(shell: Shell, counts: Counts, rate: float) -> str:
    wrong = counts.contradictions + counts.malformed
    return shell.t(
        f"网关 {counts.gateways}  信封 {counts.envelopes}（{rate:.0f}/秒）  重复 {counts.duplicates}  "
        f"缺失 {counts.missing}  缺口 {counts.gaps}  回执 {counts.receipts}"
        + (f"  不合约定 {wrong}" if wrong else "")
        + ("" if counts.connected else "  （未连接）"),
        f"gateways {counts.gateways}  envelopes {counts.envelopes} ({rate:.0f}/s)  duplicates {counts.duplicates}  "
        f"missing {counts.missing}  gaps {counts.gaps}  receipts {counts.receipts}"
        + (f"  against the contract {wrong}" if wrong else "")
        + ("" if counts.connected else "  (not connected)"),
    )
