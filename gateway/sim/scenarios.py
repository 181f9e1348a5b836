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
NOT_YET = frozenset({"lift_entrapment", "pipe_burst", "fire_lane", "ebike_in_lift", "storm"})
"""Names that the contract reserves; they need lifts, pipes that burst, cameras and weather."""
