"""gateway sniff: what is spoken on a line?  Never sends a byte."""

from __future__ import annotations

import asyncio

import click

from drivers.base import SerialFormat
from drivers.registry import protocol as protocol_type
from drivers.registry import protocols
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.durations import Duration
from gateway.cli.frames import AUTO, Screen, reader_for
from gateway.cli.wire import Asked, Wire, hearing, one_format, resolve, tell_failure, wire_options
from gateway.clock import SystemClock
from gateway.commission.entries import short
from gateway.errors import GatewayError


@click.command(help="监视线路，只听不发 / Watch a line without sending a byte")
@wire_options
@click.option("--protocol", default=AUTO, show_default=True, help="协议 / protocol; auto finds out")
@click.option("--duration", type=Duration(), help="听多久，如 30s / so long; default: until Ctrl-C")
@command_options
def command(shell: Shell, asked: Asked, protocol: str, duration: float | None) -> None:
    screen = Screen(shell, reader_for(shell, protocol, over_tcp=asked.port is None))
    try:
        asyncio.run(_listen(shell, asked, protocol, screen, duration))
    except KeyboardInterrupt:
        pass
    except GatewayError as exc:
        tell_failure(shell, exc, asked.name)
        shell.stop(FOUND_WRONG)
    screen.end()
    shell.stop(FINE if screen.good else FOUND_WRONG)


async def _listen(shell: Shell, asked: Asked, protocol: str, screen: Screen, duration_s: float | None) -> None:
    wire = await resolve(shell, asked)
    usual = protocol_type(protocol).serial if protocol in protocols() else None
    serial = one_format(shell, asked, wire, usual)
    loop = asyncio.get_running_loop()
    until = None if duration_s is None else loop.time() + duration_s
    async with hearing(wire, serial, SystemClock()) as heard:
        announce(shell, wire, serial)
        async for each in heard:
            screen.take(each)
            if until is not None and loop.time() >= until:
                return


def announce(shell: Shell, wire: Wire, serial: SerialFormat) -> None:
    """Said when the port is open: what is spoken from now on is heard."""
    if wire.owner is not None:
        shell.complain(
            f"经守护进程监听线路 {wire.owner.id}（{wire.name}）",
            f"listening to line {wire.owner.id} through the daemon",
        )
        return
    at = f" {short(serial)}" if wire.port else ""
    shell.complain(f"监听 {wire.name}{at}，不发送", f"listening to {wire.name}{at}; nothing is sent")
