"""What the commands for the wire itself share: which line is meant, at which format, and who owns it at the moment."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from drivers.base import ProtocolType, SerialFormat
from gateway import local_api
from gateway.cli.common import USAGE, Shell
from gateway.cli.site import configuration_of
from gateway.clock import Clock
from gateway.commission.daemon import OwnedLine, lines_of, tap
from gateway.commission.listen import SerialEars, TcpEars
from gateway.commission.record import Heard
from gateway.commission.trouble import explain
from gateway.config.faults import ConfigFaults, did_you_mean, one_of, quoted
from gateway.config.load import Configuration, LinePlan, load
from gateway.errors import GatewayError
from gateway.model import Text

F = TypeVar("F", bound=Callable[..., Any])
PARITIES = {"none": "N", "even": "E", "odd": "O"}


@dataclass(frozen=True, slots=True)
class Wire:
    """One line, resolved."""

    port: str | None
    tcp: tuple[str, int] | None
    line: str | None
    """Its id in the configuration, or with the running daemon; None for a line that neither knows."""
    plan: LinePlan | None
    """As configured; None for a line that is not, or when the configuration has faults."""
    config: Configuration | None
    owner: OwnedLine | None
    """The running daemon has it: ask there."""

    @property
    def name(self) -> str:
        return self.port or (f"{self.tcp[0]}:{self.tcp[1]}" if self.tcp else self.line or "")

    @property
    def format(self) -> SerialFormat | None:
        """What the line is known to be set to."""
        if self.plan is not None and self.plan.format is not None:
            return self.plan.format
        return self.owner.format if self.owner else None

    @property
    def store(self) -> Path:
        """Where the daemon listens; only with an owner."""
        assert self.config is not None
        return self.config.store.path


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says of the wire, before anybody has looked."""

    port: str | None
    tcp: str | None
    line: str | None
    bauds: tuple[int, ...]
    parities: tuple[str, ...]
    """N, E, O."""
    data_bits: int | None
    stop_bits: int | None

    @property
    def name(self) -> str:
        return self.port or self.tcp or self.line or ""


def wire_options(function: F) -> F:
    """Adds --port, --tcp, --line and the serial format, and passes them as one ``asked: Asked``."""

    @click.option("--port", metavar="/dev/…", help="串口 / serial port")
    @click.option("--tcp", metavar="HOST:PORT", help="串口服务器或 TCP 设备 / converter or TCP device")
    @click.option("--line", metavar="ID", help="配置中的线路 / a line of the configuration")
    @click.option(
        "--baud", multiple=True, type=click.IntRange(50, 4_000_000), help="波特率，可多次 / speed, may be repeated"
    )
    @click.option("--parity", multiple=True, type=click.Choice(list(PARITIES)), help="校验，可多次 / may be repeated")
    @click.option("--data-bits", type=click.Choice(["7", "8"]), help="数据位 / data bits")
    @click.option("--stop-bits", type=click.Choice(["1", "2"]), help="停止位 / stop bits")
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        port: str | None,
        tcp: str | None,
        line: str | None,
        baud: tuple[int, ...],
        parity: tuple[str, ...],
        data_bits: str | None,
        stop_bits: str | None,
        **kwargs: Any,
    ) -> Any:
        parities = tuple(PARITIES[each] for each in parity)
        bits = (int(each) if each else None for each in (data_bits, stop_bits))
        asked = Asked(port, tcp, line, baud, parities, *bits)
        return function(*args, asked=asked, **kwargs)

    return wrapper  # type: ignore[return-value]


async def resolve(shell: Shell, asked: Asked) -> Wire:
    """Ends the command when no line, or more than one, is named."""
    if sum(each is not None for each in (asked.port, asked.tcp, asked.line)) != 1:
        refuse(
            shell, "请在 --port、--tcp、--line 中给出一个", "name the wire with exactly one of --port, --tcp and --line"
        )
    if asked.line is not None:
        return await _configured(shell, asked.line)
    tcp = None if asked.tcp is None else host_port(shell, asked.tcp)
    config = configuration_if_any(shell)
    plan = _plan_at(config, asked.port, tcp)
    owner = await _owner(shell, config, asked.port, asked.tcp)
    line = owner.id if owner else plan.id if plan else None
    return Wire(asked.port, tcp, line, plan, config, owner)


async def _configured(shell: Shell, line: str) -> Wire:
    config = configuration_of(shell)
    plan = next((each for each in config.lines if each.id == line), None)
    if plan is None:
        names = [each.id for each in config.lines]
        words = one_of(names)
        hint = did_you_mean(line, names) or Text(f"已有：{words.zh}", f"there are: {words.en}")
        refuse(shell, f"没有线路 {quoted(line)}；{hint.zh}", f"there is no line {quoted(line)}; {hint.en}")
    owned = await _lines(shell, config)
    owner = next((each for each in owned if each.id == line), None)
    return Wire(plan.serial, plan.tcp, line, plan, config, owner)


async def _owner(shell: Shell, config: Configuration | None, port: str | None, tcp: str | None) -> OwnedLine | None:
    owned = await _lines(shell, config)
    return next((each for each in owned if each.is_at(port, tcp)), None)


async def _lines(shell: Shell, config: Configuration | None) -> list[OwnedLine]:
    if config is None:
        return []
    try:
        return await lines_of(config.store.path)
    except local_api.Refused as exc:
        shell.complain(
            f"守护进程未说明它占用哪些线路（{exc.advice()}）；按未占用处理",
            f"the daemon does not say which lines it has ({exc.advice()}); going on as if it had none",
        )
        return []


def configuration_if_any(shell: Shell) -> Configuration | None:
    """These commands work on a bare machine too: without a configuration, or beside one that has faults."""
    if not (shell.config / "site.yaml").exists():
        return None
    try:
        return load(shell.config)
    except ConfigFaults:
        shell.complain(
            f"{shell.config} 的配置有误，不予采用（gateway check 可查）",
            f"the configuration in {shell.config} has faults and is left aside (gateway check shows them)",
        )
        return None


def _plan_at(config: Configuration | None, port: str | None, tcp: tuple[str, int] | None) -> LinePlan | None:
    for plan in config.lines if config else ():
        if OwnedLine(plan.id, plan.serial, None, None, False).is_at(port, None) or (tcp and plan.tcp == tcp):
            return plan
    return None


def host_port(shell: Shell, written: str) -> tuple[str, int]:
    host, _, port = written.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        refuse(shell, f"{quoted(written)} 不是 主机:端口", f"{quoted(written)} is not HOST:PORT")
    return host.strip("[]"), int(port)


def one_format(shell: Shell, asked: Asked, wire: Wire, usual: SerialFormat | None) -> SerialFormat:
    """For commands that listen: what was said, over what the line is set to, over what is usual."""
    if len(asked.bauds) > 1 or len(asked.parities) > 1:
        refuse(shell, "只能用一种串口格式监听", "listening takes one serial format")
    base = wire.format or usual or SerialFormat(9600)
    return SerialFormat(
        asked.bauds[0] if asked.bauds else base.baud,
        asked.parities[0] if asked.parities else base.parity,
        asked.data_bits or base.data_bits,
        asked.stop_bits or base.stop_bits,
    )


@asynccontextmanager
async def hearing(wire: Wire, serial: SerialFormat, clock: Clock) -> AsyncIterator[AsyncGenerator[Heard, None]]:
    """What passes over the wire, without a byte being sent: through the daemon where it has the line.

    Raises LineLost; and inside, whatever the source raises.
    """
    if wire.owner is not None:
        async with aclosing(tap(wire.store, wire.owner.id, clock)) as heard:
            yield heard
        return
    ears = TcpEars(*wire.tcp, clock) if wire.tcp is not None else SerialEars(wire.port or "", serial, clock)
    async with ears, aclosing(ears.heard()) as heard:
        yield heard


def check_wire(shell: Shell, type_: ProtocolType, wire: Wire) -> None:
    """Ends the command where the protocol is not spoken on such a wire."""
    over_serial = wire.port is not None
    if type_.serial is None if over_serial else not type_.tcp:
        zh, en = ("串口", "a serial line") if over_serial else ("TCP", "TCP")
        refuse(shell, f"{type_.name} 不能走{zh}", f"{type_.name} is not spoken over {en}")


def unknown_protocol(shell: Shell, protocol: str, known: list[str]) -> NoReturn:
    words = one_of(known)
    hint = did_you_mean(protocol, known) or Text(f"可用：{words.zh}", f"there are: {words.en}")
    refuse(shell, f"未知的协议 {quoted(protocol)}；{hint.zh}", f"unknown protocol {quoted(protocol)}; {hint.en}")


def refuse(shell: Shell, zh: str, en: str) -> NoReturn:
    shell.complain(zh, en)
    shell.stop(USAGE)


def tell_failure(shell: Shell, exc: GatewayError, wire: str) -> None:
    why = explain(exc, wire)
    shell.complain(f"线路不可用：{why.zh}", f"the line cannot be used: {why.en}")
