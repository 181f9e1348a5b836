"""From the section ``risk`` of site.yaml to what rules/risk/ works with, and the device that shows the result."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.config.faults import Report, did_you_mean, one_of, quoted
from gateway.config.layout import as_text
from gateway.config.models import CalmModel, ColoursModel, HazardModel, RiskInputModel, RiskModel
from gateway.config.yaml12 import Document, Steps
from gateway.model import Device, Place, Point, PointId, Text, Value, ValueKind
from rules.risk.definition import BY_WORD, COLOURS, DEVICE, Definition, Hazard, Input, Level, Scale
from rules.units import PURE, WRITTEN, Unit, convert, of_point

EVERY_S = 60.0
"""How often the result is read, when nothing changes."""
CALM_S = 1800.0
STALE_INTERVALS = 3
BLIND = "blind"
_QUANTITY = re.compile(r"\s*([-+]?[0-9.]+)\s*(.*?)\s*")
_SHIFT = {"lower": -1, "same": 0, "higher": 1}
_OFFICIAL_STALE_S = 3600.0
"""Of a warning that no device delivers."""


def community(definition: Definition) -> Device:
    """The risk as a device: what rules and platforms see of it.

    Its points are in the order of risk_watch.py's values.
    """
    words = tuple(level.word for level in Level)
    labels = {hazard.id: hazard.label for hazard in definition.hazards}
    points = [Point(f"{DEVICE}.risk", ValueKind.STATE, Text("社区风险等级", "community risk"), EVERY_S, states=words)]
    points += [
        Point(f"{DEVICE}.risk_{id_}", ValueKind.STATE, Text(f"{name.zh}风险", f"{name.en} risk"), EVERY_S, states=words)
        for id_, name in labels.items()
    ]
    blind = Text("风险评估缺少数据", "risk judged with data missing")
    points.append(Point(f"{DEVICE}.risk_{BLIND}", ValueKind.BOOLEAN, blind, EVERY_S))
    return Device(DEVICE, DEVICE, Text("社区风险", "community risk"), Place(), "", tuple(points))


def read_risk(
    document: Document, model: RiskModel, devices: Sequence[Device], known: Collection[str], report: Report
) -> Definition:
    """*known*: ids of all devices that the file has; *devices*: those of them that could be planned.

    What does not fit is in the report; the rest is in the definition.
    """
    reader = _Reader(document, report, devices, known)
    reader.check_device()
    hazards = tuple(
        reader.hazard(("risk", "hazards", index), hazard, model.calm) for index, hazard in enumerate(model.hazards)
    )
    definition = Definition(hazards, model.raise_when, BY_WORD[model.raise_from], model.hold)
    reader.check_ids(model)
    reader.check_shared(model, definition)
    return definition


@dataclass(slots=True)
class _Reader:
    document: Document
    report: Report
    devices: Sequence[Device]
    known: Collection[str]
    points: Mapping[PointId, Point] = field(init=False)

    def __post_init__(self) -> None:
        self.points = {point.id: point for device in self.devices for point in device.points}

    def hazard(self, path: Steps, model: HazardModel, calm: CalmModel) -> Hazard:
        found: dict[str, Input] = {}
        for index, each in enumerate(model.inputs):
            made = self._input((*path, "inputs", index), each)
            if made is None:
                continue
            if made.id in found:
                message = Text(
                    f"{quoted(made.id)} 在此灾种中重复", f"{quoted(made.id)} is an input of this hazard twice"
                )
                self._add((*path, "inputs", index), "E-DUP", message)
            found[made.id] = made
        own, general = model.calm.model_dump(), calm.model_dump()
        chosen = [own[level.word] if own[level.word] is not None else general[level.word] for level in COLOURS]
        calm_s = [CALM_S if each is None else each for each in chosen]
        return Hazard(model.id, as_text(model.name), tuple(found.values()), (0.0, *calm_s))

    def check_device(self) -> None:
        if DEVICE in self.known:
            message = Text(f"{DEVICE} 已是一台设备的编号", f"a device is called {DEVICE} already")
            hint = Text("风险评估占用此编号，请改名", "the risk needs that name: rename the device")
            self._add(("risk",), "E-DUP", message, hint, key=True)

    def check_ids(self, model: RiskModel) -> None:
        seen: set[str] = set()
        for index, hazard in enumerate(model.hazards):
            path: Steps = ("risk", "hazards", index, "id")
            if hazard.id in seen or hazard.id == BLIND:
                message = Text(f"灾种编号 {quoted(hazard.id)} 已被使用", f"hazard id {quoted(hazard.id)} is taken")
                self._add(path, "E-DUP", message)
            seen.add(hazard.id)

    def check_shared(self, model: RiskModel, definition: Definition) -> None:
        """Whoever uses a warning twice should know that the two hazards do not add up."""
        if model.raise_when < 2:
            return
        for index, hazard in enumerate(model.hazards):
            earlier = [each.id for each in model.hazards[:index] if (each.id, hazard.id) in definition.related]
            if earlier:
                names = one_of(earlier)
                message = Text(
                    f"{hazard.id} 与 {names.zh} 使用同一测点，不算互相独立",
                    f"{hazard.id} reads a point that {names.en} reads too: they do not count as independent",
                )
                hint = Text("同时达到同一颜色时不升级", "the two together do not raise the level")
                self._add(("risk", "hazards", index, "id"), "W-SHARED", message, hint, warning=True)

    # ------------------------------------------------------------------ one input

    def _input(self, path: Steps, model: RiskInputModel) -> Input | None:
        if not self._is_whole(path, model):
            return None
        points = self._points(path, model)
        scales = [scale for point in points if (scale := self._scale(path, model, point)) is not None]
        if model.warning is not None and not points:
            words: dict[Value, Level] = {level.word: level for level in Level}
            stale_s = model.stale_after or _OFFICIAL_STALE_S
            scales = [Scale(model.warning, None, stale_s, words=words, shift=_SHIFT[model.exposure])]
        if not scales:
            return None
        id_ = _id(model)
        label = as_text(model.name) if model.name else points[0].label if points else Text(id_, id_)
        if model.until is not None and model.until in self.points:
            self._check_until(path, self.points[model.until])
        official = model.warning is not None
        return Input(id_, label, tuple(scales), model.delay, official, model.expires_after, model.until)

    def _is_whole(self, path: Steps, model: RiskInputModel) -> bool:
        """Whether it says one thing to read, and one way to judge it."""
        sources = [key for key in ("warning", "point", "kind") if getattr(model, key) is not None]
        if len(sources) != 1:
            message = Text(
                "warning、point 与 kind 必须且只能写一个", "exactly one of warning, point and kind is needed"
            )
            self._add(path, "E-VALUE", message, key=True)
            return False
        if (model.kind is None) != (model.measures is None):
            message = Text("kind 与 measures 必须同时给出", "kind and measures go together")
            self._add(path, "E-MISSING", message, key=True)
            return False
        ways = [key for key in ("above", "below", "when_true") if getattr(model, key) is not None]
        ways += ["states"] if model.states else []
        if model.warning is not None:
            return self._is_whole_warning(path, ways)
        if len(ways) != 1:
            message = Text(
                "above、below、states 与 when_true 必须且只能写一个",
                "exactly one of above, below, states and when_true is needed",
            )
            self._add(path, "E-VALUE", message, key=True)
            return False
        if model.until is not None:
            message = Text("until 只用于 warning", "until belongs to a warning")
            self._add((*path, "until"), "E-VALUE", message, key=True)
            return False
        return True

    def _is_whole_warning(self, path: Steps, ways: Sequence[str]) -> bool:
        """A warning has its colours already; ``states`` may translate others."""
        for key in ways:
            if key != "states":
                message = Text(f"{key} 不能用于 warning", f"{key} does not go with a warning")
                self._add((*path, key), "E-VALUE", message, Text("用 states", "use states"), key=True)
                return False
        return True

    def _points(self, path: Steps, model: RiskInputModel) -> list[Point]:
        if model.kind is not None:
            return self._points_of_kind(path, model)
        key = "point" if model.warning is None else "warning"
        id_ = str(getattr(model, key))
        for name, wanted in ((key, id_), ("until", model.until)):
            if wanted is not None and wanted not in self.points:
                self._miss((*path, name), wanted, official=model.warning is not None)
        return [self.points[id_]] if id_ in self.points else []

    def _miss(self, path: Steps, id_: PointId, *, official: bool) -> None:
        device = id_.partition(".")[0]
        planned = any(each.id == device for each in self.devices)
        if device in self.known and not planned:
            return  # the device has faults of its own
        if official and not planned:
            message = Text(f"没有设备提供 {quoted(id_)}", f"no device delivers {quoted(id_)}")
            hint = Text("在它出现之前，风险评估在这方面无数据", "until one does, the risk is blind in this respect")
            self._add(path, "W-NOMATCH", message, hint, warning=True)
            return
        message = Text(f"未知的测点 {quoted(id_)}", f"unknown point {quoted(id_)}")
        self._add(path, "E-POINT", message, did_you_mean(id_, self.points))

    def _points_of_kind(self, path: Steps, model: RiskInputModel) -> list[Point]:
        wanted = {level: value for level, value in model.place.model_dump().items() if value is not None}
        there = [device for device in self.devices if _lies_in(device.place, wanted) and device.kind == model.kind]
        found = [point for device in there for point in device.points if point.name == model.measures]
        if not found:
            message = Text(
                f"没有 {model.kind} 类设备提供 {model.measures}，此项不起作用",
                f"no device of kind {model.kind} has {model.measures}: this input does nothing",
            )
            words = {device.kind for device in self.devices}
            hint = did_you_mean(str(model.kind), words) if model.kind not in words else None
            self._add((*path, "kind"), "W-NOMATCH", message, hint, warning=True)
        return found

    def _check_until(self, path: Steps, point: Point) -> None:
        if point.kind is not ValueKind.NUMBER or point.unit not in (None, "s"):
            message = Text(f"{point.id} 不是 UTC 秒数", f"{point.id} is no number of UTC seconds")
            self._add((*path, "until"), "E-TYPE", message)

    # ------------------------------------------------------------------ values to levels

    def _scale(self, path: Steps, model: RiskInputModel, point: Point) -> Scale | None:
        stale_s = model.stale_after or STALE_INTERVALS * point.interval_s
        scale = Scale(point.id, point.unit, stale_s, low=model.below is not None, shift=_SHIFT[model.exposure])
        if model.warning is not None:
            words = self._warning_words(path, model, point)
            return None if words is None else replace(scale, words=words)
        for key, kind in (("when_true", ValueKind.BOOLEAN), ("above", ValueKind.NUMBER), ("below", ValueKind.NUMBER)):
            if getattr(model, key) is not None and not self._is(kind, (*path, key), point):
                return None
        if model.when_true is not None:
            return replace(scale, words={True: BY_WORD[model.when_true], False: Level.NONE})
        colours = model.above or model.below
        if colours is None:
            return self._state_scale(path, model, point, scale)
        key = "above" if model.above else "below"
        steps = self._steps((*path, key), colours, point, low=scale.low)
        return None if steps is None else replace(scale, steps=steps)

    def _is(self, kind: ValueKind, path: Steps, point: Point) -> bool:
        if point.kind is kind:
            return True
        message = Text(f"{point.id} 的类型是 {point.kind}，不是 {kind}", f"{point.id} is a {point.kind}, not a {kind}")
        hint = Text(
            "数值用 above/below，布尔用 when_true，状态用 states", "above/below, when_true and states go with them"
        )
        self._add(path, "E-TYPE", message, hint, key=True)
        return False

    def _warning_words(self, path: Steps, model: RiskInputModel, point: Point) -> Mapping[Value, Level] | None:
        if not self._is(ValueKind.STATE, (*path, "warning"), point):
            return None
        colours = BY_WORD | {word: BY_WORD[colour] for word, colour in model.states.items()}
        strange = [word for word in point.states if word not in colours]
        if strange:
            message = Text(
                f"{point.id} 的状态 {'、'.join(strange)} 不是颜色",
                f"{point.id} has states that are no colours: {', '.join(strange)}",
            )
            self._add(
                (*path, "warning"), "E-VALUE", message, Text("用 states 说明其颜色", "say their colours in states")
            )
            return None
        return {word: colours[word] for word in point.states}

    def _state_scale(self, path: Steps, model: RiskInputModel, point: Point, scale: Scale) -> Scale | None:
        if not self._is(ValueKind.STATE, (*path, "states"), point):
            return None
        for word in model.states:
            if word not in point.states:
                message = Text(f"{point.id} 没有状态 {quoted(word)}", f"{point.id} has no state {quoted(word)}")
                hint = did_you_mean(word, point.states) or one_of(point.states)
                self._add((*path, "states", word), "E-VALUE", message, hint, key=True)
                return None
        colours = {word: BY_WORD[colour] for word, colour in model.states.items()}
        return replace(scale, words={word: colours.get(word, Level.NONE) for word in point.states})

    def _steps(
        self, path: Steps, colours: ColoursModel, point: Point, *, low: bool
    ) -> tuple[tuple[Level, float], ...] | None:
        written = [(level, text) for level in COLOURS if (text := getattr(colours, level.word)) is not None]
        if not written:
            self._add(path, "E-MISSING", Text("至少要有一个颜色", "at least one colour is needed"), key=True)
            return None
        steps: list[tuple[Level, float]] = []
        for level, text in written:
            limit = self._limit((*path, level.word), text, point)
            if limit is None:
                return None
            if steps and (limit >= steps[-1][1] if low else limit <= steps[-1][1]):
                milder = steps[-1][0].word
                message = Text(f"{level.word} 应比 {milder} 更严重", f"{level.word} must be worse than {milder}")
                self._add((*path, level.word), "E-VALUE", message)
                return None
            steps.append((level, limit))
        return tuple(steps)

    def _limit(self, path: Steps, text: str, point: Point) -> float | None:
        """In the point's unit."""
        match = _QUANTITY.fullmatch(text)
        assert match is not None  # the model has seen to it
        unit, wanted = WRITTEN.get(match[2]) if match[2] else PURE, of_point(point.unit)
        if unit is None:
            message = Text(f"未知的单位 {quoted(match[2])}", f"unknown unit {quoted(match[2])}")
            self._add(path, "E-UNIT", message, did_you_mean(match[2], WRITTEN))
            return None
        if wanted is not None and unit.dimension == wanted.dimension:
            return convert(float(match[1]), unit, wanted)
        self._misfit(path, text, unit, wanted, point)
        return None

    def _misfit(self, path: Steps, text: str, unit: Unit, wanted: Unit | None, point: Point) -> None:
        symbol = wanted.symbol if wanted is not None else str(point.unit)
        if unit is PURE:
            message = Text(f"{quoted(text)} 缺少单位", f"{quoted(text)} lacks its unit")
            self._add(path, "E-NOUNIT", message, Text(f"写 {text} {symbol}", f"write {text} {symbol}"))
            return
        message = Text(
            f"{point.id} 的单位是 {symbol or '无'}，不能与 {quoted(text)} 比较",
            f"{point.id} is in {symbol or 'no unit'}: it cannot be compared with {quoted(text)}",
        )
        self._add(path, "E-UNIT", message)

    def _add(
        self,
        path: Steps,
        code: str,
        message: Text,
        hint: Text | None = None,
        *,
        key: bool = False,
        warning: bool = False,
    ) -> None:
        place = self.document.known(path)
        self.report.add(self.document.fault(place, code, message, hint, key=key, warning=warning))


def _id(model: RiskInputModel) -> str:
    if model.kind is None:
        return str(model.warning or model.point)
    levels = [str(value) for value in model.place.model_dump().values() if value is not None]
    return f"{model.kind}.{model.measures}" + (f"@{'/'.join(levels)}" if levels else "")


def _lies_in(place: Place, wanted: Mapping[str, str]) -> bool:
    return all(getattr(place, level) == value for level, value in wanted.items())
