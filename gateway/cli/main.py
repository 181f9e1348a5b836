"""The ``gateway`` command.  Sub-commands are imported only when they are called, so that help appears at once."""

from __future__ import annotations

import importlib

import click

_COMMANDS = {
    # name: (module, what it does) -- the function in the module is called ``command``
    "run": ("gateway.cli.run", "运行网关守护进程 / run the daemon in the foreground"),
    "demo": ("gateway.cli.demo", "虚拟小区演示 / a virtual compound, a broker and the gateway in one"),
    "check": ("gateway.cli.check", "检查全部配置 / validate the whole configuration"),
    "scan": ("gateway.cli.scan", "在线路上搜索设备 / find the devices on a line"),
    "sniff": ("gateway.cli.sniff", "只听不发的总线监视 / watch a line without sending"),
    "capture": ("gateway.cli.capture", "录制原始字节 / record raw bytes with times"),
    "replay": ("gateway.cli.replay", "重放录制的字节 / replay a capture, decoded or as a port"),
    "read": ("gateway.cli.read", "读取测点 / read points now"),
    "write": ("gateway.cli.write", "写入测点 / write a point: confirmed and audited"),
    "watch": ("gateway.cli.watch", "实时查看 / live view of lines, devices, alarms, store and uplinks"),
    "alarms": ("gateway.cli.alarms", "报警列表、原因、确认、搁置、复位 / alarms: list, explain, ack, shelve, reset"),
    "risk": ("gateway.cli.risk", "社区灾害风险 / the community's disaster risk: level, reasons, what if"),
    "config": ("gateway.cli.config", "远程配置 / configurations from afar: what runs, and the way back"),
    "page": ("gateway.cli.page", "本地只读页面 / a read-only page in the browser beside the box"),
    "decode": ("gateway.cli.decode", "解释报文 / explain captured frames"),
    "profile": ("gateway.cli.profile", "设备型号 / list, show and check device profiles, try one on a frame"),
    "plates": ("gateway.cli.plates", "车辆名单 / lists of vehicles: pseudonyms, never plates"),
    "audit": ("gateway.cli.audit", "核验与查看审计 / verify and show who did what"),
    "store": ("gateway.cli.store", "查看本地存储 / look into the store"),
    "rules": ("gateway.cli.rules", "检查、测试、重演报警规则 / check, test and replay alarm rules"),
    "report": ("gateway.cli.report", "抄表用量报表 / what the meters counted in a month, by place"),
    "simulate": ("gateway.cli.simulate", "虚拟小区、平台或网关群 / a virtual compound, a platform, or a fleet"),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compound-gateway", prog_name="gateway")
def main() -> None:
    """小区边缘网关 / Edge gateway for residential compounds."""


if __name__ == "__main__":
    main()
