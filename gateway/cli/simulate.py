"""gateway simulate compound: the virtual compound alone, for a gateway that runs elsewhere on this machine.

``gateway simulate platform`` is in platform.py, ``gateway simulate fleet`` in fleet.py.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import click

from gateway.cli.common import FINE, USAGE, Shell, command_options
from gateway.cli.fleet import fleet
from gateway.cli.platform import platform
from gateway.sim import site
from gateway.sim.compound import TIME_SCALE, Compound
from gateway.sim.world import Layout


@click.group(help="仅运行虚拟设备、参考平台或大量网关 / simulated devices alone, a platform, or many gateways")
def command() -> None:
    pass


command.add_command(platform)
command.add_command(fleet)


@command.command(help="虚拟小区，直到 Ctrl-C / the virtual compound, until Ctrl-C")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="写配置的目录 / write the configuration here",
)
@click.option("--broker", default=None, metavar="HOST:PORT", help="写入配置的 MQTT 服务器 / broker to write into it")
@click.option("--buildings", type=click.IntRange(1, 99), default=3, show_default=True, help="楼栋 / buildings")
@click.option("--entrances", type=click.IntRange(1, 99), default=2, show_default=True, help="每栋单元数 / per building")
@click.option(
    "--households", type=click.IntRange(1, 198), default=10, show_default=True, help="每单元户数 / per entrance"
)
@click.option("--seed", type=int, default=1, show_default=True, help="随机种子 / same seed, same compound")
@click.option(
    "--time-scale",
    type=click.FloatRange(0.1, 3600),
    default=TIME_SCALE,
    show_default=True,
    help="时间倍率 / seconds per second",
)
@command_options
def compound(
    shell: Shell,
    directory: Path | None,
    broker: str | None,
    buildings: int,
    entrances: int,
    households: int,
    seed: int,
    time_scale: float,
) -> None:
    uplink = _target(shell, broker)
    layout = Layout(buildings, entrances, households)
    if directory is not None:
        asyncio.run(_run(shell, Compound(layout, seed=seed, time_scale=time_scale), directory, uplink))
    else:
        with tempfile.TemporaryDirectory(prefix="gateway-compound-") as name:
            asyncio.run(_run(shell, Compound(layout, seed=seed, time_scale=time_scale), Path(name), uplink))
    shell.stop(FINE)


def _target(shell: Shell, broker: str | None) -> site.UplinkTarget | None:
    if broker is None:
        return None
    host, _, port = broker.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        shell.complain(f"{broker} 不是 主机:端口", f"{broker} is not HOST:PORT")
        shell.stop(USAGE)
    return site.UplinkTarget(host, int(port), "5")


async def _run(shell: Shell, compound: Compound, directory: Path, uplink: site.UplinkTarget | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with compound:
        site.write(compound, directory, directory / "store", uplink)
        ports = {name: line.path for name, line in compound.serial.items()}
        ports |= {name: f"127.0.0.1:{port}" for name, port in compound.tcp.items()}
        if shell.json:
            shell.document({"config": str(directory), "devices": len(site.devices(compound)), "lines": ports})
        shell.say(f"配置目录：{directory}", f"configuration: {directory}")
        for name, port in ports.items():
            shell.say(f"  {name:16} {port}", f"  {name:16} {port}")
        shell.say(
            f"{len(site.devices(compound))} 台设备在运行，Ctrl-C 结束",
            f"{len(site.devices(compound))} devices are working; Ctrl-C ends them",
        )
        await stop.wait()
