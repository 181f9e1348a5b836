"""The words of GB/T 26875.3-2011: tables 3 to 6 and the bits of the state words.

From public implementations (github dgiot/dgiot and others), held against each other; the standard's own text was not at
hand.  Codes from 128 on are the makers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import Text

SYSTEM_STATE, COMPONENT_STATE, ANALOG, OPERATION, VERSION, SYSTEM_CONFIG, COMPONENT_CONFIG, SYSTEM_TIME = range(1, 9)
DEVICE_STATE, DEVICE_OPERATION, DEVICE_VERSION, DEVICE_CONFIG, DEVICE_TIME = 21, 24, 25, 26, 28
READ_SYSTEM_STATE, SET_TIME, QUERY_POST = 61, 90, 91

SYSTEMS: Mapping[int, Text] = {
    0: Text("通用", "general"),
    1: Text("火灾报警系统", "fire alarm system"),
    10: Text("消防联动控制器", "linkage controller"),
    11: Text("消火栓系统", "hydrant system"),
    12: Text("自动喷水灭火系统", "sprinkler system"),
    13: Text("气体灭火系统", "gas extinguishing system"),
    14: Text("水喷雾灭火系统（泵启动）", "water spray system, pumps"),
    15: Text("水喷雾灭火系统（压力容器启动）", "water spray system, pressure vessels"),
    16: Text("泡沫灭火系统", "foam system"),
    17: Text("干粉灭火系统", "powder system"),
    18: Text("防烟排烟系统", "smoke control system"),
    19: Text("防火门及卷帘系统", "fire doors and shutters"),
    20: Text("消防电梯", "firefighters' lift"),
    21: Text("消防应急广播", "emergency broadcast"),
    22: Text("消防应急照明和疏散指示系统", "emergency lighting"),
    23: Text("消防电源", "fire power supply"),
    24: Text("消防电话", "fire telephone"),
}

COMPONENTS: Mapping[int, Text] = {
    0: Text("通用", "general"),
    1: Text("火灾报警控制器", "fire alarm panel"),
    10: Text("可燃气体探测器", "combustible gas detector"),
    11: Text("点型可燃气体探测器", "point combustible gas detector"),
    12: Text("独立式可燃气体探测器", "stand-alone combustible gas detector"),
    13: Text("线型可燃气体探测器", "line combustible gas detector"),
    16: Text("电气火灾监控报警器", "electrical fire monitor"),
    17: Text("剩余电流式电气火灾监控探测器", "residual current detector"),
    18: Text("测温式电气火灾监控探测器", "cable temperature detector"),
    21: Text("探测回路", "detection loop"),
    22: Text("火灾显示盘", "repeater panel"),
    23: Text("手动火灾报警按钮", "manual call point"),
    24: Text("消火栓按钮", "hydrant button"),
    25: Text("火灾探测器", "fire detector"),
    30: Text("感温火灾探测器", "heat detector"),
    31: Text("点型感温火灾探测器", "point heat detector"),
    32: Text("点型感温火灾探测器（S型）", "point heat detector, type S"),
    33: Text("点型感温火灾探测器（R型）", "point heat detector, type R"),
    34: Text("线型感温火灾探测器", "line heat detector"),
    35: Text("线型感温火灾探测器（S型）", "line heat detector, type S"),
    36: Text("线型感温火灾探测器（R型）", "line heat detector, type R"),
    37: Text("光纤感温火灾探测器", "fibre heat detector"),
    40: Text("感烟火灾探测器", "smoke detector"),
    41: Text("点型离子感烟火灾探测器", "ionisation smoke detector"),
    42: Text("点型光电感烟火灾探测器", "optical smoke detector"),
    43: Text("线型光束感烟火灾探测器", "beam smoke detector"),
    44: Text("吸气式感烟火灾探测器", "aspirating smoke detector"),
    50: Text("复合式火灾探测器", "combined detector"),
    51: Text("复合式感烟感温火灾探测器", "smoke and heat detector"),
    52: Text("复合式感光感温火灾探测器", "flame and heat detector"),
    53: Text("复合式感光感烟火灾探测器", "flame and smoke detector"),
    61: Text("紫外火焰探测器", "ultraviolet flame detector"),
    62: Text("红外火焰探测器", "infrared flame detector"),
    69: Text("感光火灾探测器", "flame detector"),
    74: Text("气体探测器", "gas detector"),
    78: Text("图像摄像方式火灾探测器", "video fire detector"),
    79: Text("感声火灾探测器", "acoustic fire detector"),
    81: Text("气体灭火控制器", "gas extinguishing controller"),
    82: Text("消防电气控制装置", "electrical control unit"),
    83: Text("消防控制室图形显示装置", "control room display"),
    84: Text("模块", "module"),
    85: Text("输入模块", "input module"),
    86: Text("输出模块", "output module"),
    87: Text("输入/输出模块", "input and output module"),
    88: Text("中继模块", "relay module"),
    91: Text("消防水泵", "fire pump"),
    92: Text("消防水箱", "fire water tank"),
    95: Text("喷淋泵", "sprinkler pump"),
    96: Text("水流指示器", "flow indicator"),
    97: Text("信号阀", "monitored valve"),
    98: Text("报警阀", "alarm valve"),
    99: Text("压力开关", "pressure switch"),
    101: Text("阀驱动装置", "valve actuator"),
    102: Text("防火门", "fire door"),
    103: Text("防火阀", "fire damper"),
    104: Text("通风空调", "ventilation"),
    105: Text("泡沫液泵", "foam pump"),
    106: Text("管网电磁阀", "solenoid valve"),
    111: Text("防烟排烟风机", "smoke fan"),
    113: Text("排烟防火阀", "smoke and fire damper"),
    114: Text("常闭送风口", "closed air inlet"),
    115: Text("排烟口", "smoke vent"),
    116: Text("电控挡烟垂壁", "smoke curtain"),
    117: Text("防火卷帘控制器", "fire shutter controller"),
    118: Text("防火门监控器", "fire door monitor"),
    121: Text("警报装置", "sounder"),
}


def named(table: Mapping[int, Text], code: int) -> Text:
    """A code without a word keeps its number."""
    word = table.get(code)
    if word is not None:
        return word
    return Text(f"自定义 {code}", f"maker's own {code}") if code >= 128 else Text(f"预留 {code}", f"reserved {code}")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An analog type: what one step of the value is worth.  *unit*: UCUM."""

    name: Text
    step: float
    unit: str | None


ANALOGS: Mapping[int, Quantity] = {
    1: Quantity(Text("事件计数", "count of events"), 1, None),
    2: Quantity(Text("高度", "height"), 0.01, "m"),
    3: Quantity(Text("温度", "temperature"), 0.1, "Cel"),
    4: Quantity(Text("压力", "pressure"), 0.1, "MPa"),
    5: Quantity(Text("压力", "pressure"), 0.1, "kPa"),
    6: Quantity(Text("气体浓度", "gas concentration"), 0.1, "%[LEL]"),
    7: Quantity(Text("时间", "time"), 1, "s"),
    8: Quantity(Text("电压", "voltage"), 0.1, "V"),
    9: Quantity(Text("电流", "current"), 0.1, "A"),
    10: Quantity(Text("流量", "flow"), 0.1, "L/s"),
    11: Quantity(Text("风量", "air flow"), 0.1, "m3/min"),
    12: Quantity(Text("风速", "wind speed"), 1, "m/s"),  # dgiot reads 0.1 m/s: no frame decides it
}

# Bits of the state words; the names are also those of the points.
SYSTEM_BITS: tuple[str, ...] = (
    "normal",
    "fire",
    "fault",
    "shielded",
    "supervisory",
    "started",
    "feedback",
    "delayed",
    "main_power_fault",
    "backup_power_fault",
    "bus_fault",
    "manual",
    "configuration_changed",
    "reset",
)
COMPONENT_BITS: tuple[str, ...] = (*SYSTEM_BITS[:8], "power_fault")
DEVICE_BITS: tuple[str, ...] = (
    "normal",
    "fire",
    "fault",
    "main_power_fault",
    "backup_power_fault",
    "link_fault",
    "line_fault",
)
OPERATION_BITS: tuple[str, ...] = ("reset", "mute", "manual_alarm", "alarm_cleared", "self_test", "post_answer", "test")

WORDS: Mapping[str, Text] = {
    "normal": Text("正常", "normal"),
    "fire": Text("火警", "fire"),
    "fault": Text("故障", "fault"),
    "shielded": Text("屏蔽", "shielded"),
    "supervisory": Text("监管", "supervisory"),
    "started": Text("启动", "started"),
    "feedback": Text("反馈", "feedback"),
    "delayed": Text("延时", "delayed"),
    "main_power_fault": Text("主电故障", "main power fault"),
    "backup_power_fault": Text("备电故障", "backup power fault"),
    "bus_fault": Text("总线故障", "bus fault"),
    "manual": Text("手动", "manual"),
    "configuration_changed": Text("配置改变", "configuration changed"),
    "reset": Text("复位", "reset"),
    "power_fault": Text("电源故障", "power fault"),
    "link_fault": Text("与监控中心通信故障", "link to the centre down"),
    "line_fault": Text("监测连接线路故障", "line to the panel down"),
    "mute": Text("消音", "mute"),
    "manual_alarm": Text("手动报警", "manual alarm"),
    "alarm_cleared": Text("警情消除", "alarm cleared"),
    "self_test": Text("自检", "self-test"),
    "post_answer": Text("查岗应答", "post answered"),
    "test": Text("测试", "test"),
}
"""What people see for a bit's name."""


def bits(word: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the bits that are set; a reserved one is called by its number."""
    return tuple(names[bit] if bit < len(names) else f"bit{bit}" for bit in range(word.bit_length()) if word >> bit & 1)
