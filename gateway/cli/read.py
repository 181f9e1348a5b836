"""gateway read: ask devices now, through the running daemon, or directly when it is stopped.

With --raw: the bytes of each answer, the frame they are, and every way in which they can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from drivers.registry import decoder, decoders
from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.cli.decode import as_json, frame_line
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.faults import did_you_mean
from gateway.config.load import Configuration, LinePlan
from gateway.envelope import reading_item
from gateway.errors import GatewayError
from gateway.field import drivers_on, links_on, open_line, read_now, read_raw
from gateway.model import PointId, Quality, Reading


@click.command(help="立即读取测点或设备 / Read points, or all points of a device, now")
@click.argument("points", nargs=-1)
@click.option("--device", multiple=True, help="设备编号 / device id: all its points")
@click.option("--raw", is_flag=True, help="显示应答的字节和各种解读 / the answer's bytes and every way to read them")
@command_options
def command(shell: Shell, points: tuple[str, ...], device: tuple[str, ...], raw: bool) -> None:
    config = configuration_of(shell)
    wanted = [*points, *(p.id for d in config.devices if d.id in device for p in d.points if p.id in config.readable)]
    unknown = [p for p in points if p not in config.readable] + [
        d for d in device if d not in {known.id for known in config.devices}
    ]
    if unknown or not wanted:
        names = ", ".join(unknown)
        shell.complain(
            f"没有这样的测点或设备：{names}" if unknown else "请给出测点或 --device 设备编号",
            f"no such point or device: {names}" if unknown else "name points, or --device and a device id",
        )
        for name in unknown:
            _advise(shell, config, name)
        shell.stop(USAGE)
    try:
        items = asyncio.run(_read(config, wanted, raw, shell))
    except GatewayError as exc:
        shell.complain(f"读取失败：{exc.advice()}", f"could not read: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    if raw:
        items = [{**item, "decoded": _decoded(config, item)} for item in items]
    if shell.json:
        shell.document({"readings": items})
    elif raw:
        _side_by_side(shell, config, items)
    else:
        _table(shell, config, items)
    shell.stop(FINE if all(item["q"] == Quality.GOOD for item in items) else FOUND_WRONG)


def _advise(shell: Shell, config: Configuration, name: str) -> None:
    if any(device.id == name for device in config.devices):
        shell.complain(f"{name} 是设备：用 --device {name}", f"{name} is a device: --device {name}")
    elif name in config.points:
        shell.complain(
            f"{name} 由网关得出，不能向设备读取；见 gateway watch --device",
            f"{name} is worked out by the gateway and cannot be asked for: see gateway watch --device",
        )
    elif hint := did_you_mean(name, config.readable):
        shell.complain(f"{name}：{hint.zh}", f"{name}: {hint.en}")


async def _read(config: Configuration, wanted: Sequence[PointId], raw: bool, shell: Shell) -> list[dict[str, Any]]:
    request = {"op": "read", "points": list(wanted), **({"raw": True} if raw else {})}
    try:
        items: list[dict[str, Any]] = await local_api.ask(config.store.path, request)
        if raw and any("raw" not in item for item in items):
            raise GatewayError("the running daemon gives no bytes", hint="restart it: it is older than this command")
    except local_api.NotRunning:
        shell.complain("守护进程未运行，直接读取", "the daemon is not running; reading directly")
        directly = _read_raw_directly if raw else _read_directly
        return [item for line in config.lines for item in await directly(config, line, wanted)]
    return items


async def _read_raw_directly(config: Configuration, line: LinePlan, wanted: Sequence[PointId]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    asked = {d.device.id: [p for p in wanted if config.points[p].device == d.device.id] for d in line.devices}
    if any(asked.values()):
        clock = SystemClock()
        async with open_line(line) as link:
            for device, driver in drivers_on(line, links_on(line, link), clock).items():
                found = await read_raw(driver, link, asked[device], clock)
                items += [each.item(config.points[each.reading.point].unit) for each in found]
    return items


async def _read_directly(config: Configuration, line: LinePlan, wanted: Sequence[PointId]) -> list[dict[str, Any]]:
    readings: list[Reading] = []
    asked = {d.device.id: [p for p in wanted if config.points[p].device == d.device.id] for d in line.devices}
    if any(asked.values()):
        clock = SystemClock()
        async with open_line(line) as link:
            for device, driver in drivers_on(line, links_on(line, link), clock).items():
                readings += await read_now(driver, asked[device], clock)
    return [{**reading_item(reading, config.points[reading.point].unit)} for reading in readings]


def _table(shell: Shell, config: Configuration, items: Sequence[dict[str, Any]]) -> None:
    width = max((len(item["p"]) for item in items), default=0)
    for item in items:
        label = config.points[item["p"]].label
        value = "—" if item["v"] is None else f"{item['v']}"
        quality = "" if item["q"] == Quality.GOOD else f"  {item['q']}: {item.get('r', '')}"
        unit = unit_symbol(item.get("u")) or ""
        print(f"{item['p']:<{width}}  {value:>14} {unit:<6} {shell.t(label.zh, label.en)}{quality}")


def _decoded(config: Configuration, item: dict[str, Any]) -> dict[str, Any] | None:
    """The answer's bytes as ``gateway decode`` explains them; None without bytes, or without a decoder for them."""
    protocol = _protocol(config, item)
    data = bytes.fromhex(item.get("raw", ""))
    return as_json(protocol, decoder(protocol)(data)) if data and protocol in decoders() else None


def _protocol(config: Configuration, item: dict[str, Any]) -> str:
    device = config.points[item["p"]].device
    return next(each.protocol for each in config.devices if each.id == device)


def _side_by_side(shell: Shell, config: Configuration, items: Sequence[dict[str, Any]]) -> None:
    for item in items:
        _table(shell, config, [item])
        data = bytes.fromhex(item.get("raw", ""))
        if not data:
            shell.say("  没有收到字节", "  no bytes came")
            continue
        print(f"  {data.hex(' ')}")
        protocol = _protocol(config, item)
        decoded = decoder(protocol)(data) if protocol in decoders() else None
        for frame in decoded.frames if decoded else ():
            print(f"  {frame_line(shell, frame)}")
        told = item.get("interpretations", [])
        values = ["—" if value is None else f"{value} {unit_symbol(unit) or ''}".rstrip() for _, value, unit in told]
        width = max(map(len, values), default=0)
        for (name, _, _), shown in zip(told, values, strict=True):
            print(f"    {shown:>{width}}  {name}")
        if not told:
            shell.say("    此协议不提供其他解读", "    this protocol offers no other way to read it")
