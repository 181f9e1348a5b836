"""gateway read: ask devices now, through the running daemon, or directly when it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.load import Configuration, LinePlan
from gateway.envelope import reading_item
from gateway.errors import GatewayError
from gateway.field import drivers_on, links_on, open_line, read_now
from gateway.model import PointId, Quality, Reading


@click.command(help="立即读取测点或设备 / Read points, or all points of a device, now")
@click.argument("points", nargs=-1)
@click.option("--device", multiple=True, help="设备编号 / device id: all its points")
@command_options
def command(shell: Shell, points: tuple[str, ...], device: tuple[str, ...]) -> None:
    config = configuration_of(shell)
    wanted = [*points, *(p.id for d in config.devices if d.id in device for p in d.points)]
    unknown = [p for p in points if p not in config.points] + [
        d for d in device if d not in {known.id for known in config.devices}
    ]
    if unknown or not wanted:
        names = ", ".join(unknown)
        shell.complain(
            f"没有这样的测点或设备：{names}" if unknown else "请给出测点或 --device 设备编号",
            f"no such point or device: {names}" if unknown else "name points, or --device and a device id",
        )
        shell.stop(USAGE)
    try:
        items = asyncio.run(_read(config, wanted, shell))
    except GatewayError as exc:
        shell.complain(f"读取失败：{exc.advice()}", f"could not read: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    if shell.json:
        shell.document({"readings": items})
    else:
        _table(shell, config, items)
    shell.stop(FINE if all(item["q"] == Quality.GOOD for item in items) else FOUND_WRONG)


async def _read(config: Configuration, wanted: Sequence[PointId], shell: Shell) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = await local_api.ask(config.store.path, {"op": "read", "points": list(wanted)})
    except local_api.NotRunning:
        shell.complain("守护进程未运行，直接读取", "the daemon is not running; reading directly")
        return [item for line in config.lines for item in await _read_directly(config, line, wanted)]
    return items


async def _read_directly(config: Configuration, line: LinePlan, wanted: Sequence[PointId]) -> list[dict[str, Any]]:
    readings: list[Reading] = []
    asked = {d.device.id: [p for p in wanted if config.points[p].device == d.device.id] for d in line.devices}
    if any(asked.values()):
        clock = SystemClock()
        async with open_line(line) as link:
            for device, driver in drivers_on(line, links_on(line, link), clock).items():
                readings += await read_now(driver, asked[device], clock)
    return [reading_item(reading, config.points[reading.point].unit) for reading in readings]


def _table(shell: Shell, config: Configuration, items: Sequence[dict[str, Any]]) -> None:
    width = max((len(item["p"]) for item in items), default=0)
    for item in items:
        label = config.points[item["p"]].label
        value = "—" if item["v"] is None else f"{item['v']}"
        quality = "" if item["q"] == Quality.GOOD else f"  {item['q']}: {item.get('r', '')}"
        unit = unit_symbol(item.get("u")) or ""
        print(f"{item['p']:<{width}}  {value:>14} {unit:<6} {shell.t(label.zh, label.en)}{quality}")
