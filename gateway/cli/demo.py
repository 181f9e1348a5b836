"""gateway demo: a virtual compound, a broker and the gateway in one, for people who want to see it work."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.errors import GatewayError
from gateway.sim.broker import AMQTT, best_kind, mosquitto
from gateway.sim.demo import Facts, Outcome, Program, give
from gateway.sim.scenarios import NOT_YET, SCENARIOS
from gateway.sim.summary import Snapshot, one_line, render
from gateway.sim.world import Layout
from gateway.terminal import fit

LOG_EVERY_S = 5.0


@click.command(help="虚拟小区演示：虚拟设备、MQTT 服务器、网关 / A virtual compound, a broker and the gateway in one")
@click.option(
    "--duration", type=click.FloatRange(min=1), default=None, help="秒；缺省直到 Ctrl-C / seconds; else until Ctrl-C"
)
@click.option("--scenario", "name", default="quiet", show_default=True, help=" | ".join(SCENARIOS))
@click.option("--buildings", type=click.IntRange(1, 99), default=3, show_default=True, help="楼栋 / buildings")
@click.option("--entrances", type=click.IntRange(1, 99), default=2, show_default=True, help="每栋单元数 / per building")
@click.option(
    "--households", type=click.IntRange(1, 198), default=10, show_default=True, help="每单元户数 / per entrance"
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="保留全部文件的目录 / keep files here",
)
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "amqtt"]),
    default="auto",
    show_default=True,
    help="MQTT 服务器；auto 优先用 mosquitto / auto prefers mosquitto",
)
@command_options
def command(
    shell: Shell,
    duration: float | None,
    name: str,
    buildings: int,
    entrances: int,
    households: int,
    keep: Path | None,
    broker: str,
) -> None:
    scenario = SCENARIOS.get(name)
    if scenario is None:
        refuse_scenario(shell, name)
        shell.stop(USAGE)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        shell.complain(f"目录 {keep} 不是空的", f"the directory {keep} is not empty")
        shell.stop(USAGE)
    kind = {"auto": best_kind(), "mosquitto": mosquitto(), "amqtt": AMQTT}[broker]
    if kind is None:
        shell.complain("系统未安装 mosquitto", "mosquitto is not installed")
        shell.stop(USAGE)
    program = Program(scenario, Layout(buildings, entrances, households), duration, keep, kind)
    try:
        outcome = asyncio.run(_give(program, Screen(shell)))
    except GatewayError as exc:
        shell.complain(f"演示失败：{exc}", f"the demonstration failed: {exc}")
        if exc.hint:
            shell.complain(f"  {exc.hint}", f"  {exc.hint}")
        shell.stop(FOUND_WRONG)
    report(shell, outcome, keep)
    shell.stop(FOUND_WRONG if outcome.lost or outcome.faults else FINE)


def refuse_scenario(shell: Shell, name: str) -> None:
    there_are = ", ".join(SCENARIOS)
    if name in NOT_YET:
        shell.complain(
            f"情景 {name} 在此版本中不可用；可用：{there_are}",
            f"the scenario {name} is not available in this version; there are: {there_are}",
        )
    else:
        shell.complain(f"没有情景 {name}；可用：{there_are}", f"there is no scenario {name}; there are: {there_are}")


async def _give(program: Program, screen: Screen) -> Outcome:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await give(program, screen, stop)


class Screen:
    """Redraws one picture on a terminal, appends a line now and then elsewhere."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._live = sys.stdout.isatty() and not shell.json
        self._drawn = 0
        self._logged_s = -LOG_EVERY_S
        self._note = ""

    def started(self, facts: Facts) -> None:
        say = self._shell.say
        say(
            f"虚拟小区：{facts.devices} 台设备；MQTT 服务器 {facts.broker}，端口 {facts.port}",
            f"virtual compound of {facts.devices} devices; MQTT broker {facts.broker} on port {facts.port}",
        )
        if facts.mqtt == "3.1.1":
            say(
                "  此服务器只会 MQTT 3.1.1，看不出服务器拒收；装上 mosquitto 可用 MQTT 5",
                "  it speaks MQTT 3.1.1 only, which cannot tell a refused message; with mosquitto installed: MQTT 5",
            )
        if facts.page:
            both = f"  本地页面 / local page:       {facts.page}"
            say(both, both)
        elif facts.no_page is not None:
            say(f"  没有本地页面：{facts.no_page.zh}", f"  no local page: {facts.no_page.en}")
        for install in sorted(set(facts.left_out.values())):
            missing = ", ".join(name for name, needs in facts.left_out.items() if needs == install)
            say(f"  未安装 {missing} 所需组件（{install}）", f"  without {missing}: {install}")
        topic = f"'{facts.root}/#'"
        if shutil.which("mosquitto_sub"):
            watch = f"mosquitto_sub -h 127.0.0.1 -p {facts.port} -v -t {topic}"
            say(f"  看平台收到什么：{watch}", f"  what the platform receives:  {watch}")
        else:
            say(f"  平台主题：{topic}（任意 MQTT 客户端）", f"  subscribe any MQTT client to:  {topic}")
        program = sys.argv[0] if sys.argv[0].endswith("/gateway") else "python -m gateway.cli.main"
        say(
            f"  读一个测点：    {program} read m-1-1-101.energy --config {facts.config}",
            f"  read a point:                {program} read m-1-1-101.energy --config {facts.config}",
        )
        say(f"  配置：          {facts.config}", f"  configuration:               {facts.config}")
        say(f"  本地存储：      {facts.store}", f"  store:                       {facts.store}")
        say(f"  网关日志：      {facts.log}", f"  gateway's log:               {facts.log}")
        say("", "")

    def update(self, snapshot: Snapshot) -> None:
        if self._shell.json:
            return
        if self._live:
            self._draw(snapshot)
        else:
            self._append(snapshot)

    def ending(self) -> None:
        self._shell.say("正在结束：送出余下数据……", "ending: delivering what is left ...")

    def _draw(self, snapshot: Snapshot) -> None:
        size = shutil.get_terminal_size()
        lines = [fit(line, size.columns - 1) for line in render(snapshot, self._shell.lang, rows=size.lines - 1)]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        print(up + "\x1b[J" + "\n".join(lines), flush=True)
        self._drawn = len(lines)

    def _append(self, snapshot: Snapshot) -> None:
        note = self._shell.t(snapshot.note.zh, snapshot.note.en)
        if note != self._note:
            self._note = note
            print(f"{snapshot.elapsed_s:5.0f} s  -- {note}", flush=True)
        if snapshot.elapsed_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = snapshot.elapsed_s
            print(one_line(snapshot, self._shell.lang), flush=True)


def report(shell: Shell, outcome: Outcome, keep: Path | None) -> None:
    if shell.json:
        shell.document(outcome.document())
    shell.say("", "")
    shell.say(
        f"结束：存储读数 {outcome.readings_committed}，平台确认报文 {outcome.envelopes_acknowledged}，"
        f"报警 {outcome.alarms_raised}，丢失 {outcome.lost}",
        f"done: {outcome.readings_committed} readings stored, {outcome.envelopes_acknowledged} envelopes acknowledged, "
        f"{outcome.alarms_raised} alarms raised, {outcome.lost} lost",
    )
    if keep is not None:
        shell.say(f"文件在 {keep}", f"the files are in {keep}")
    for fault in outcome.faults:
        shell.complain(f"故障：{fault}", f"fault: {fault}")
