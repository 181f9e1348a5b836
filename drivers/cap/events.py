"""What a warning is of: the event codes of the national system (12379), and the words of OASIS messages.

Sources of the codes.  11B01 to 11B48: two tables published on GitHub, in a Java class of a weather service and in a
Python plugin, which agree in every row.  11B49 to 11B64: the second alone.  11A, 11C, 11D, 11E: the icon and title
tables of a phone maker's warning app; 11A01 in a third source as well.  The standard behind them (GB/T 35561) was not
at hand.  A code that is not here goes to ``other`` and stands in the happening as it came.

Which hazard a code belongs to is our decision: what asks for the same work in a compound is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.model import Text

OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Event:
    hazard: str
    """The point that shows its colour."""
    word: Text


def _event(hazard: str, zh: str, en: str) -> Event:
    return Event(hazard, Text(zh, en))


EVENTS: Final[Mapping[str, Event]] = {
    "11A01": _event("flood", "洪水", "flood"),
    "11A02": _event("flood", "积水", "standing water"),
    "11A51": _event("flood", "山洪", "flash flood"),
    "11B01": _event("typhoon", "台风", "typhoon"),
    "11B02": _event("gale", "龙卷风", "tornado"),
    "11B03": _event("rainstorm", "暴雨", "rainstorm"),
    "11B04": _event("snow", "暴雪", "snowstorm"),
    "11B05": _event("cold", "寒潮", "cold wave"),
    "11B06": _event("gale", "大风", "gale"),
    "11B07": _event("sandstorm", "沙尘暴", "sandstorm"),
    "11B08": _event("cold", "低温冻害", "freezing damage"),
    "11B09": _event("heat", "高温", "heat"),
    "11B10": _event("heat", "热浪", "heat wave"),
    "11B11": _event(OTHER, "干热风", "dry hot wind"),
    "11B12": _event("gale", "下击暴流", "downburst"),
    "11B13": _event(OTHER, "雪崩", "avalanche"),
    "11B14": _event("thunderstorm", "雷电", "lightning"),
    "11B15": _event("hail", "冰雹", "hail"),
    "11B16": _event("frost", "霜冻", "frost"),
    "11B17": _event("fog", "大雾", "fog"),
    "11B18": _event(OTHER, "低空风切变", "low-level wind shear"),
    "11B19": _event("haze", "霾", "haze"),
    "11B20": _event("thunderstorm", "雷雨大风", "thunderstorm gale"),
    "11B21": _event("icing", "道路结冰", "icy roads"),
    "11B22": _event("drought", "干旱", "drought"),
    "11B23": _event(OTHER, "海上大风", "gale at sea"),
    "11B24": _event("heat", "高温中暑", "heat stroke"),
    "11B25": _event("fire_danger", "森林火险", "forest fire danger"),
    "11B26": _event("fire_danger", "草原火险", "grassland fire danger"),
    "11B27": _event("icing", "冰冻", "freezing"),
    "11B28": _event(OTHER, "空间天气", "space weather"),
    "11B29": _event("air_pollution", "重污染", "heavy air pollution"),
    "11B30": _event("icing", "低温雨雪冰冻", "freezing rain and snow"),
    "11B31": _event("thunderstorm", "强对流", "severe convection"),
    "11B32": _event("air_pollution", "臭氧", "ozone"),
    "11B33": _event("snow", "大雪", "heavy snow"),
    "11B34": _event("cold", "寒冷", "cold"),
    "11B35": _event(OTHER, "连阴雨", "lasting rain"),
    "11B36": _event("flood", "渍涝风险", "waterlogging risk"),
    "11B37": _event("geological", "地质灾害气象风险", "geological hazard by weather"),
    "11B38": _event("rainstorm", "强降雨", "heavy rain"),
    "11B39": _event("cold", "强降温", "sharp fall of temperature"),
    "11B40": _event("snow", "雪灾", "snow disaster"),
    "11B41": _event("fire_danger", "森林（草原）火险", "forest or grassland fire danger"),
    "11B42": _event(OTHER, "医疗气象", "medical weather"),
    "11B43": _event("thunderstorm", "雷暴", "thunderstorm"),
    "11B44": _event(OTHER, "停课信号", "schools closed"),
    "11B45": _event(OTHER, "停工信号", "work stopped"),
    "11B46": _event(OTHER, "海上风险", "danger at sea"),
    "11B47": _event("sandstorm", "春季沙尘天气趋势预警", "sand and dust outlook"),
    "11B48": _event("cold", "降温", "falling temperature"),
    "11B49": _event("rainstorm", "台风暴雨", "typhoon rainstorm"),
    "11B50": _event("cold", "严寒", "severe cold"),
    "11B51": _event("sandstorm", "沙尘", "sand and dust"),
    "11B52": _event(OTHER, "海上雷雨大风", "thunderstorm gale at sea"),
    "11B53": _event(OTHER, "海上大雾", "fog at sea"),
    "11B54": _event(OTHER, "海上雷电", "lightning at sea"),
    "11B55": _event(OTHER, "海上台风", "typhoon at sea"),
    "11B56": _event("cold", "低温", "low temperature"),
    "11B57": _event("icing", "道路冰雪", "snow and ice on roads"),
    "11B58": _event("thunderstorm", "雷暴大风", "thunderstorm gale"),
    "11B59": _event("cold", "持续低温", "lasting low temperature"),
    "11B61": _event("sandstorm", "浓浮尘", "thick dust"),
    "11B64": _event("rainstorm", "短时强降水", "short heavy rain"),
    "11C02": _event("earthquake", "天然地震", "earthquake"),
    "11D01": _event("geological", "滑坡", "landslide"),
    "11D02": _event("geological", "泥石流", "mudslide"),
    "11E02": _event("storm_surge", "风暴潮", "storm surge"),
    "11E06": _event(OTHER, "海浪", "sea waves"),
    "11G01": _event("fire_danger", "森林火灾", "forest fire"),
}

HAZARDS: Final[tuple[str, ...]] = (*sorted({event.hazard for event in EVENTS.values()} - {OTHER}), OTHER)

_ENGLISH: Final[Mapping[str, str]] = {
    "rainstorm": "11B03",
    "heavy rain": "11B38",
    "typhoon": "11B01",
    "tropical cyclone": "11B01",
    "cold wave": "11B05",
    "gale": "11B06",
    "strong wind": "11B06",
    "tornado": "11B02",
    "heat": "11B09",
    "high temperature": "11B09",
    "thunderstorm": "11B43",
    "lightning": "11B14",
    "hail": "11B15",
    "frost": "11B16",
    "fog": "11B17",
    "haze": "11B19",
    "snowstorm": "11B04",
    "heavy snow": "11B33",
    "road icing": "11B21",
    "icy road": "11B21",
    "sandstorm": "11B07",
    "dust storm": "11B07",
    "flash flood": "11A51",
    "flood": "11A01",
    "landslide": "11D01",
    "mudslide": "11D02",
    "earthquake": "11C02",
    "storm surge": "11E02",
}
"""Words of OASIS messages in English, which have no codes that all senders share."""

_WORDS: Final = [
    (re.compile(rf"\b{word}\b" if word.isascii() else re.escape(word)), code)
    for word, code in sorted(
        [*((event.word.zh, code) for code, event in EVENTS.items()), *_ENGLISH.items()],
        key=lambda pair: len(pair[0]),
        reverse=True,
    )
]
"""The longest first: a thunderstorm gale is no gale."""


def event_of(codes: tuple[str, ...], *texts: str) -> tuple[str, Event | None]:
    """Code and event of a message: by its codes where it has any of the national system's, else by its words.

    The code is the sender's own where nothing is known of it, and empty where it has none.
    """
    for code in codes:
        if code in EVENTS:
            return code, EVENTS[code]
    national = next((code for code in codes if len(code) == 5 and code.startswith("1")), None)
    if national is not None:
        return national, None  # a code of the national system that the table lacks: words must not guess
    for text in texts:
        lowered = text.lower()
        found = next((code for word, code in _WORDS if word.search(lowered)), None)
        if found is not None:
            return found, EVENTS[found]
    return (codes[0] if codes else ""), None
