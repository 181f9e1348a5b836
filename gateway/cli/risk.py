"""gateway risk: how great the community's risk is, why, and what would change it; or what it would be, if."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.config.faults import did_you_mean, quoted
from gateway.config.load import Configuration
from gateway.errors import GatewayError
from gateway.model import Point, PointId, Value, ValueKind
from rules.risk.definition import Definition
from rules.risk.explain import as_document, what_if

_TRUE, _FALSE = ("true", "1", "是"), ("false", "0", "否")


class Unfit(ValueError):
    """What was asked cannot be; with texts in both languages."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(zh, en)
        self.zh, self.en = zh, en


@click.command(
    help="社区灾害风险：等级、原因、会改变什么 / The community's disaster risk: level, reasons, what would change it"
)
@click.option(
    "--what-if",
    "assumed",
    is_flag=True,
    help="不问守护进程，按给出的值推算 / without the daemon: what it would be with the values given",
)
@click.argument("values", metavar="[测点=值 POINT=VALUE]...", nargs=-1)
@command_options
def command(shell: Shell, assumed: bool, values: Sequence[str]) -> None:
    config = configuration_of(shell)
    if config.risk is None:
        shell.complain("site.yaml 中没有 risk 一节；见 docs/risk.md", "site.yaml has no section risk; see docs/risk.md")
        shell.stop(FOUND_WRONG)
    if values and not assumed:
        shell.complain("给出测点的值时需要 --what-if", "values of points need --what-if")
        shell.stop(USAGE)
    found = _assumed(shell, config, config.risk, values) if assumed else _asked(shell, config)
    if shell.json:
        shell.document(found)
        shell.stop(FINE)
    for line in found["text"][shell.lang]:
        print(line)
    shell.stop(FINE)


def _asked(shell: Shell, config: Configuration) -> Any:
    try:
        return asyncio.run(local_api.ask(config.store.path, {"op": "risk"}))
    except local_api.NotRunning:
        shell.complain("守护进程未运行；可用 --what-if 推算", "the daemon is not running; --what-if reckons without it")
        shell.stop(FOUND_WRONG)
    except GatewayError as exc:
        shell.complain(f"失败：{exc.advice()}", f"refused: {exc.advice()}")
        shell.stop(FOUND_WRONG)


def _assumed(shell: Shell, config: Configuration, risk: Definition, values: Sequence[str]) -> dict[str, Any]:
    try:
        assumed = dict(assumption(text, risk, config.points) for text in values)
    except Unfit as exc:
        shell.complain(exc.zh, exc.en)
        shell.stop(USAGE)
    return as_document(risk, what_if(risk, assumed))


def assumption(text: str, risk: Definition, points: Mapping[PointId, Point]) -> tuple[PointId, Value | None]:
    """``pumps-1.level=85``, in the point's own unit; nothing behind the ``=`` for a point that says nothing.

    Raises Unfit.
    """
    name, equals, written = (part.strip() for part in text.partition("="))
    if not equals:
        raise Unfit(f"{quoted(text)} 应写成 测点=值", f"{quoted(text)} must be POINT=VALUE")
    if name not in risk.points:
        hint = did_you_mean(name, risk.points)
        zh, en = f"风险评估不使用测点 {quoted(name)}", f"the risk does not read point {quoted(name)}"
        raise Unfit(f"{zh}；{hint.zh}" if hint else zh, f"{en}; {hint.en}" if hint else en)
    return name, _value(written, name, points.get(name)) if written else None


def _value(written: str, name: PointId, point: Point | None) -> Value:
    kind = ValueKind.STATE if point is None else point.kind  # a warning that nothing delivers yet
    if kind is ValueKind.NUMBER:
        try:
            return float(written)
        except ValueError:
            raise Unfit(
                f"{name} 需要数字，不是 {quoted(written)}", f"{name} is a number, not {quoted(written)}"
            ) from None
    if kind is ValueKind.BOOLEAN:
        if written.lower() not in _TRUE + _FALSE:
            raise Unfit(f"{name} 应为 true 或 false", f"{name} must be true or false")
        return written.lower() in _TRUE
    if point is not None and written not in point.states:
        words = ", ".join(point.states)
        raise Unfit(f"{name} 应为：{words}", f"{name} must be one of: {words}")
    return written
