"""gateway run: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Callable
from typing import Literal

import click
import structlog

from gateway import app
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import local_configuration
from gateway.clock import GatewayClock
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, load
from gateway.errors import StoreError
from gateway.logs import configure
from gateway.remote.configuration import Remote, Terms, begin
from gateway.remote.record import Record

log = structlog.get_logger()


@click.command(help="运行网关守护进程（前台）/ Run the daemon in the foreground")
@click.option("--log", "log_form", type=click.Choice(["auto", "json", "console"]), default="auto")
@command_options
def command(shell: Shell, log_form: Literal["auto", "json", "console"]) -> None:
    configure(log_form)
    config = local_configuration(shell)
    try:
        asyncio.run(serve(shell, config, terms_of))
    except StoreError as exc:
        shell.complain(f"存储不可用：{exc.advice()}", f"the store cannot be used: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


def terms_of(config: Configuration) -> Terms:
    """On which *config* lets itself be replaced from afar: by nobody, as long as no key may."""
    may = [key for key in config.remote.keys if "config.apply" in key.commands or "*" in key.commands]
    return Terms({key.id: base64.b64decode(key.public) for key in may}, config.remote.window)


async def serve(shell: Shell, config: Configuration, terms: Callable[[Configuration], Terms]) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP starts anew with the configuration on disk, if that is valid.

    config: the local one, which another from afar may stand in for.  terms: on which it may, by the local one.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    clock = GatewayClock.of(config.store.path)
    following: list[Configuration] = [config]
    known: list[Record] = []
    later: list[asyncio.TimerHandle] = []
    refused = asyncio.Event()

    def terminate() -> None:
        following.clear()
        loop.remove_signal_handler(signal.SIGHUP)
        stop.set()

    def reload(after_s: float = 0.0) -> str:
        """What is wrong; or nothing, and it starts anew *after_s* from now."""
        try:
            following[:] = [load(shell.config)]
        except ConfigFaults as exc:
            log.error("configuration not reloaded, the old one stays", faults=exc.render("en"))
            refused.set()
            return exc.render("en")
        later.append(loop.call_later(after_s, stop.set))
        return ""

    def restart(record: Record | None = None) -> None:
        """The local configuration may be half edited at this moment, and is as it was then.

        record: of a configuration from afar.
        """
        if stop.is_set():
            return
        known[:] = [] if record is None else [record]
        try:
            following[:] = [load(shell.config)]
        except ConfigFaults as exc:
            log.error("the local configuration has faults, what was read before counts", faults=exc.render("en"))
            following[:] = [config]
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)
    loop.add_signal_handler(signal.SIGHUP, reload)
    while following:
        config = following.pop()
        stop.clear()
        refused.clear()
        begun = begin(config, clock.now_ms(), known.pop() if known else None)
        source = "local" if begun.record.running.local else f"version {begun.record.running.number}"
        log.info("configuration", directory=str(shell.config), source=source, digest=begun.configuration.digest)
        far = Remote(begun, terms(config), restart)
        await app.run(begun.configuration, clock, stop, reload, far, refused.is_set, restart)
        while later:  # a stop that was meant for the run that has just ended
            later.pop().cancel()
