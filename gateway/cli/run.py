"""gateway run: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import signal
from typing import Literal

import click
import structlog

from gateway import app
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.clock import GatewayClock
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, load
from gateway.errors import StoreError
from gateway.logs import configure

log = structlog.get_logger()


@click.command(help="运行网关守护进程（前台）/ Run the daemon in the foreground")
@click.option("--log", "log_form", type=click.Choice(["auto", "json", "console"]), default="auto")
@command_options
def command(shell: Shell, log_form: Literal["auto", "json", "console"]) -> None:
    configure(log_form)
    config = configuration_of(shell)
    try:
        asyncio.run(_run(config, shell))
    except StoreError as exc:
        shell.complain(f"存储不可用：{exc.advice()}", f"the store cannot be used: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


async def _run(config: Configuration, shell: Shell) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP starts anew with the configuration on disk, if that is valid."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    following: list[Configuration] = []
    later: list[asyncio.TimerHandle] = []

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
            return exc.render("en")
        later.append(loop.call_later(after_s, stop.set))
        return ""

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, terminate)
    loop.add_signal_handler(signal.SIGHUP, reload)
    clock = GatewayClock.of(config.store.path)
    following.append(config)
    while following:
        config = following.pop()
        stop.clear()
        log.info("configuration", directory=str(shell.config), digest=config.digest)
        await app.run(config, clock, stop, reload)
        while later:  # a stop that was meant for the run that has just ended
            later.pop().cancel()
