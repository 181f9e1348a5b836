"""What happens in the virtual compound, as data: at which second, in words, and what is turned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.model import Text
from gateway.sim.systems.town import Town


class Stage(Protocol):
    """What a scenario may turn.  Every act is harmless when it changes nothing."""

    @property
    def town(self) -> Town:
        """What there is beside meters, gas and pumps."""

    async def leak_gas(self, channel: int, peak_lel: float, rise_s: float, hold_s: float, fall_s: float) -> None: ...

    async def burst_pipe(self, rise_s: float, fall_s: float, peak_cm: float) -> None:
        """In the basement of building 1, until it is shut."""

    async def shut_pipe(self) -> None: ...

    async def lose_broker(self) -> None:
        """The way to the broker breaks, and the broker dies."""

    async def return_broker(self) -> None: ...

    async def kill_line(self, *, dead: bool) -> None:
        """The first meter line is cut, or mended."""


@dataclass(frozen=True, slots=True)
class Act:
    at_s: float
    """Seconds since the gateway was seen online."""
    text: Text
    do: Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    text: Text
    acts: tuple[Act, ...] = ()


def _leak(stage: Stage) -> Awaitable[None]:
    return stage.leak_gas(0, peak_lel=28.0, rise_s=6.0, hold_s=12.0, fall_s=6.0)


async def _red(stage: Stage) -> None:
    stage.town.weather.rainstorm("red")
    stage.town.weather.rain()


async def _calm(stage: Stage) -> None:
    stage.town.weather.rain_stops()
    stage.town.weather.calm()


def _at_once(turn: Callable[[Stage], None]) -> Callable[[Stage], Awaitable[None]]:
    async def act(stage: Stage) -> None:
        turn(stage)

    return act


def _burst(stage: Stage) -> Awaitable[None]:
    return stage.burst_pipe(rise_s=12.0, fall_s=9.0, peak_cm=36.0)


async def _force(stage: Stage) -> None:
    stage.town.doors.force(2)


async def _close(stage: Stage) -> None:
    stage.town.doors.close(2)


_ALL = (
    Scenario("quiet", Text("一切正常", "nothing happens")),
    Scenario(
        "gas_leak",
        Text("燃气泄漏，随后散去", "gas leaks, and is gone again later"),
        (Act(6.0, Text("1 号探头附近开始漏气（约 24 秒）", "gas leaks near detector 1 (for about 24 s)"), _leak),),
    ),
    Scenario(
        "fire",
        Text("楼道起火，控制室复位", "a fire in a corridor; the panel is reset later"),
        (
            Act(
                6.0,
                Text("1 号楼 2 层走廊感烟探测器报警", "a smoke detector in building 1, 2nd floor, reports fire"),
                lambda stage: stage.town.fire.burn(1, 7, "1号楼2层走廊"),
            ),
            Act(25.0, Text("控制室复位火灾报警控制器", "the panel is reset"), lambda stage: stage.town.fire.reset()),
        ),
    ),
    Scenario(
        "storm",
        Text(
            "暴雨黄色预警升级为红色，地下进水，随后转晴",
            "a rainstorm: warning yellow, then red, water below ground; calm later",
        ),
        (
            Act(
                3.0,
                Text("气象台发布暴雨黄色预警", "the weather office issues a yellow rainstorm warning"),
                _at_once(lambda stage: stage.town.weather.rainstorm("yellow")),
            ),
            Act(8.0, Text("升级为红色；车库坡道进水", "the warning turns red; water runs down the garage ramp"), _red),
            Act(28.0, Text("雨停，预警解除", "the rain stops, the warning is taken back"), _calm),
        ),
    ),
    Scenario(
        "fire_lane",
        Text("车辆占用消防车道，随后驶离", "a car stands in the fire lane, and leaves later"),
        (
            Act(
                5.0,
                Text("一辆车停进消防车道", "a car stops in the fire lane"),
                lambda stage: stage.town.gate.block_fire_lane(),
            ),
            Act(25.0, Text("车辆驶离", "the car moves on"), lambda stage: stage.town.gate.clear_fire_lane()),
        ),
    ),
    Scenario(
        "power_cut",
        Text("市电中断，机柜 UPS 供电，随后恢复", "the mains fail, the cabinet lives on its UPS; they return later"),
        (
            Act(5.0, Text("市电中断", "the mains fail"), _at_once(lambda stage: stage.town.power.mains_fail())),
            Act(30.0, Text("市电恢复", "the mains are back"), _at_once(lambda stage: stage.town.power.mains_return())),
        ),
    ),
    Scenario(
        "lift_entrapment",
        Text("电梯困人，随后救出", "passengers are trapped in a lift, and freed later"),
        (
            Act(
                4.0,
                Text("1 号电梯停在两层之间，轿厢内有人", "lift 1 stops between two floors with somebody inside"),
                lambda stage: stage.town.lifts.trap(1),
            ),
            Act(
                40.0,
                Text(
                    "维保人员救出乘客（1 分钟后报警解除）", "the contractor frees them (the alarm ends a minute later)"
                ),
                lambda stage: stage.town.lifts.free(1),
            ),
        ),
    ),
    Scenario(
        "ebike_in_lift",
        Text("电动自行车进电梯，随后推出", "an e-bike is taken into a lift, and out again later"),
        (
            Act(
                4.0,
                Text("电动自行车进入 1 号电梯", "an e-bike is taken into lift 1"),
                lambda stage: stage.town.lifts.ebike(),
            ),
            Act(
                18.0,
                Text("电动自行车推出电梯", "the e-bike is taken out again"),
                lambda stage: stage.town.lifts.ebike(there=False),
            ),
        ),
    ),
    Scenario(
        "pipe_burst",
        Text("地下室爆管，随后关阀", "a pipe bursts in a basement, and is shut off later"),
        (
            Act(4.0, Text("1 号楼地下室水管爆裂", "a pipe bursts in the basement of building 1"), _burst),
            Act(
                40.0,
                Text(
                    "关阀，积水排走（1 分钟后报警解除）",
                    "it is shut and the water drains (the alarm ends a minute later)",
                ),
                lambda stage: stage.shut_pipe(),
            ),
        ),
    ),
    Scenario(
        "forced_door",
        Text("有人强行打开地下室门", "the basement door is forced"),
        (
            Act(6.0, Text("地下室门被强行打开", "the basement door is forced open"), _force),
            Act(15.0, Text("门已关上", "the door is closed again"), _close),
        ),
    ),
    Scenario(
        "sos",
        Text("101 室老人按下求助按钮", "somebody in flat 101 presses the SOS button"),
        (
            Act(
                6.0,
                Text("101 室按下求助按钮", "the SOS button in flat 101 is pressed"),
                lambda stage: stage.town.radio.press_sos(),
            ),
        ),
    ),
    Scenario(
        "shed_smoke",
        Text("电动自行车棚冒烟，切断充电电源", "smoke in the e-bike shed: charging is cut off"),
        (
            Act(
                6.0,
                Text("自行车棚的充电器冒烟", "a charger in the shed begins to smoke"),
                lambda stage: stage.town.radio.smoke_in_shed(),
            ),
        ),
    ),
    Scenario(
        "broker_outage",
        Text("平台连接中断，随后恢复", "the broker is killed and comes back"),
        (
            Act(6.0, Text("MQTT 服务器被杀死", "the MQTT broker is killed"), lambda stage: stage.lose_broker()),
            Act(13.0, Text("MQTT 服务器恢复", "the MQTT broker is started again"), lambda stage: stage.return_broker()),
        ),
    ),
    Scenario(
        "dead_bus",
        Text("一条 RS-485 总线断开，随后修复", "an RS-485 line is cut and mended"),
        (
            Act(
                6.0, Text("第一条电表总线断线", "the first meter line is cut"), lambda stage: stage.kill_line(dead=True)
            ),
            Act(
                50.0, Text("电表总线修复", "the meter line has been mended"), lambda stage: stage.kill_line(dead=False)
            ),
        ),
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
NOT_YET: frozenset[str] = frozenset()
"""Names that the contract reserves."""
