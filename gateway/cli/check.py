"""gateway check: the whole configuration, every fault at once."""

from __future__ import annotations

from collections.abc import Iterable

import click

from gateway.cli.common import CONFIG_INVALID, FINE, Shell, command_options
from gateway.clock import SystemClock
from gateway.config.faults import Fault, render_all
from gateway.config.load import Configuration, examine


@click.command(help="检查全部配置 / Validate the whole configuration")
@command_options
def command(shell: Shell) -> None:
    configuration, faults = examine(shell.config, now_ms=SystemClock().now_ms())
    errors = sum(not fault.warning for fault in faults)
    if shell.json:
        shell.document({"ok": errors == 0, "faults": [fault.as_json(shell.lang) for fault in faults]})
    else:
        _tell(shell, faults, errors, configuration)
    shell.stop(CONFIG_INVALID if errors else FINE)


def _tell(shell: Shell, faults: Iterable[Fault], errors: int, configuration: Configuration | None) -> None:
    for text in render_all(faults, shell.lang):
        print(text)
    warnings = sum(fault.warning for fault in faults)
    if configuration is None or errors:
        shell.say(
            f"配置有误：{errors} 处错误，{warnings} 处警告（{shell.config}）",
            f"invalid: {errors} faults, {warnings} warnings ({shell.config})",
        )
        return
    name = configuration.site.name
    counts = {
        ("设备", "devices"): len(configuration.devices),
        ("测点", "points"): sum(len(device.points) for device in configuration.devices),
        ("线路", "lines"): len(configuration.lines),
        ("上行", "uplinks"): len(configuration.uplinks),
        ("规则", "rules"): len(configuration.rules.rules),
        ("警告", "warnings"): warnings,
    }
    shell.say(
        f"配置正确：{name.zh}（{shell.config}）：" + "，".join(f"{n} {zh}" for (zh, _), n in counts.items()),
        f"valid: {name.en} ({shell.config}): " + ", ".join(f"{n} {en}" for (_, en), n in counts.items()),
    )
    for line in configuration.lines:
        demands = [each for plan in line.devices for each in plan.demands if each is not None]
        rate = sum(each.exchanges / each.interval_s for each in demands)
        load = line.load
        shell.say(
            f"  {line.id}（{line.where}）：{len(line.devices)} 台设备"
            + (f"，约每秒 {rate:.2g} 次请求" if rate else "")
            + (f"，占线路时间 {load.share:.0%}" if load else ""),
            f"  {line.id} ({line.where}): {len(line.devices)} devices"
            + (f", about {rate:.2g} requests a second" if rate else "")
            + (f", {load.share:.0%} of the line's time" if load else ""),
        )
