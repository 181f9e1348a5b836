"""gateway page: what the daemon knows, in a browser beside the box.  Its own process: it can harm nobody but itself."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import signal

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.load import load
from gateway.logs import configure
from gateway.remote.configuration import in_force
from gateway.web.catalog import Catalog
from gateway.web.daemon import Daemon

_WHY = {
    errno.EADDRINUSE: ("端口已被占用；用 --port 另选一个", "the port is in use; choose another with --port"),
    errno.EACCES: ("无权使用 1024 以下的端口；用 --port 另选一个", "no right to a port below 1024; choose another"),
    errno.EADDRNOTAVAIL: ("本机没有这个地址", "this machine has no such address"),
}


@click.command(help="本地只读页面 / A read-only page for whoever stands beside the box")
@click.option("--host", default="127.0.0.1", show_default=True, help="本机地址 / address to listen on")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="端口；0 任选 / 0: any free one"
)
@click.option(
    "--expose", is_flag=True, help="允许其他机器访问（无密码、不加密）/ let other machines in, without password"
)
@command_options
def command(shell: Shell, host: str, port: int, expose: bool) -> None:
    address = _address(shell, host)
    if not address.is_loopback and not expose:
        shell.complain(
            f"{host} 可被其他机器访问，而此页无密码、不加密；确要如此请加 --expose",
            f"other machines can reach {host}, and the page has no password and no encryption; "
            "if that is what you want, add --expose",
        )
        shell.stop(USAGE)
    configure()
    daemon = _daemon(shell)
    try:
        asyncio.run(_serve(shell, daemon, str(address), port, exposed=not address.is_loopback))
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "aiohttp":
            raise
        shell.complain(
            "缺少页面组件：pip install 'compound-gateway[web]'",
            "the page's parts are missing: pip install 'compound-gateway[web]'",
        )
        shell.stop(FOUND_WRONG)
    except OSError as exc:
        zh, en = _WHY.get(exc.errno or 0, (str(exc), str(exc)))
        shell.complain(f"无法在 {host}:{port} 提供页面：{zh}", f"cannot serve the page on {host}:{port}: {en}")
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


def _address(shell: Shell, host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        shell.complain(f"--host 须为 IP 地址：{host}", f"--host must be an IP address: {host}")
        shell.stop(USAGE)


def _daemon(shell: Shell) -> Daemon:
    """Keeps of the configuration only what the page needs: of ten thousand devices the rest takes more."""
    config = configuration_of(shell)
    return Daemon(
        config.store.path, Catalog.of(config), lambda: Catalog.of(in_force(load(shell.config))), SystemClock()
    )


async def _serve(shell: Shell, daemon: Daemon, host: str, port: int, *, exposed: bool) -> None:
    """Until SIGTERM or SIGINT.  Raises OSError, ModuleNotFoundError (aiohttp is in the extra ``web``)."""
    from gateway.web import server

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server.serving(server.Gate(server.Site(daemon, exposed)), host, port) as listening:
        _announce(shell, f"http://{f'[{host}]' if ':' in host else host}:{listening}", exposed=exposed)
        await stop.wait()


def _announce(shell: Shell, url: str, *, exposed: bool) -> None:
    if exposed:
        warning = (
            "警告：同一网络中的任何人都能看到此页，无密码、不加密",
            "warning: anybody on the same network can see this page; it has no password and no encryption",
        )
        for text in warning:
            shell.complain(text, text)
    if shell.json:
        shell.document({"url": url})
    shell.say(f"本地页面：{url}（Ctrl-C 结束）", f"local page: {url} (Ctrl-C ends it)")
