"""Why the risk is what it is, for people in two languages and for programs.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.model import PointId, Quality, Reading, Reason, Text, Value
from rules.alarm import Instant
from rules.risk.definition import Definition, Hazard, Input, Level, Scale, combined, shifted
from rules.risk.model import Assessment, Blind, Cause, Driver, HazardState, RiskModel
from rules.text import duration
from rules.units import of_point

NAMES = {
    Level.NONE: Text("无", "none"),
    Level.BLUE: Text("蓝色", "blue"),
    Level.YELLOW: Text("黄色", "yellow"),
    Level.ORANGE: Text("橙色", "orange"),
    Level.RED: Text("红色", "red"),
}
_WORDS = {level.word: text for level, text in NAMES.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """What would make the composite worse."""

    cause: Cause
    """With the value at which it begins."""
    low: bool
    """Whether that is when the value falls to it."""
    makes: Level


def steps(definition: Definition, now: Assessment) -> Iterator[Step]:
    """For every input the mildest of its values that would make the composite worse, where it has one."""
    levels = {each.hazard: each.level for each in now.hazards}
    for hazard, each in definition.inputs():
        for value, level, scale in _values(each):
            makes, _ = combined(definition, levels | {hazard.id: max(levels[hazard.id], level)})
            if makes > now.level:
                yield Step(Cause(hazard.id, each.id, scale.point, value, level), scale.low, makes)
                break


def _values(each: Input) -> Iterator[tuple[Value, Level, Scale]]:
    """The values at which a colour begins, the mildest first; points of one kind are judged alike."""
    for scale in each.scales[:1]:
        begins = [*((value, level) for level, value in scale.steps), *scale.words.items()]
        found = [(value, shifted(level, scale.shift)) for value, level in begins]
        yield from ((value, level, scale) for value, level in sorted(found, key=lambda pair: pair[1]) if level)


# ---------------------------------------------------------------------- what if


def what_if(definition: Definition, values: Mapping[PointId, Value | None]) -> Assessment:
    """The assessment once these values have lasted; None for a point that says nothing, like those not named."""
    start = Instant(0.0, 0)
    inputs = [
        replace(hazard, inputs=tuple(replace(each, delay_s=0.0) for each in hazard.inputs))
        for hazard in definition.hazards
    ]
    model = RiskModel(replace(definition, hazards=tuple(inputs)), start)
    model.observe([_reading(point, value) for point, value in values.items()], start)
    return model.state(start)


def _reading(point: PointId, value: Value | None) -> Reading:
    if value is None:
        return Reading(point, None, 0, 0, Quality.BAD, Reason.NO_ANSWER)
    return Reading(point, value, 0, 0)


# ---------------------------------------------------------------------- for people


@dataclass(frozen=True, slots=True)
class Teller:
    """Says what an assessment means."""

    definition: Definition
    now: Assessment

    def headline(self) -> Text:
        level, raised = NAMES[self.now.level], self._hazards(self.now.raised_by)
        extra = Text("", "")
        if self.now.raised_by:
            extra = Text(f"（{raised.zh}同时达到同一颜色，升一级）", f" ({raised.en} together: one colour more)")
        elif self.now.level > max((each.level for each in self.now.hazards), default=Level.NONE):
            extra = Text("（逐级下降中）", " (going down colour by colour)")
        if self.now.blind:
            extra = Text(f"{extra.zh}；{len(self.now.blind)} 个测点无数据", f"{extra.en}; {len(self.now.blind)} blind")
        return Text(f"社区风险：{level.zh}{extra.zh}", f"community risk: {level.en}{extra.en}")

    def lines(self) -> Iterator[Text]:
        yield self.headline()
        yield from map(self._of_hazard, self.now.hazards)
        yield from map(self._of_driver, self.now.drivers)
        yield from map(self._of_blind, self.now.blind)
        yield from map(self._of_step, steps(self.definition, self.now))

    def reasons(self) -> Text:
        """In one line, for an event."""
        drivers = [self._caused(driver.cause) for driver in self.now.drivers]
        if not drivers:
            held = [each for each in self.now.hazards if each.level]
            drivers = [self._of_hazard(each) for each in held] or [Text("没有依据", "no reason left")]
        return Text("；".join(each.zh for each in drivers), "; ".join(each.en for each in drivers))

    def _of_hazard(self, state: HazardState) -> Text:
        label, level = self._hazard(state.hazard).label, NAMES[state.level]
        text = Text(f"  {label.zh}：{level.zh}", f"  {label.en}: {level.en}")
        if state.level is state.reason:
            return text
        made = [self._caused(cause) for cause in state.causes]
        by = Text(
            f"，曾由 {'；'.join(each.zh for each in made)}" if made else "",
            f", made by {'; '.join(each.en for each in made)}" if made else "",
        )
        if state.falls_in_s is None:
            return Text(
                f"{text.zh}{by.zh}；无数据的传感器使其不下降", f"{text.en}{by.en}; held by a sensor that is silent"
            )
        left, below = duration(state.falls_in_s), NAMES[Level(state.level - 1)]
        return Text(
            f"{text.zh}{by.zh}；平静 {left.zh} 后降为{below.zh}",
            f"{text.en}{by.en}; {below.en} after {left.en} more calm",
        )

    def _of_driver(self, driver: Driver) -> Text:
        caused, without = self._caused(driver.cause), NAMES[driver.without]
        return Text(f"  依据 {caused.zh}；若无此项：{without.zh}", f"  because {caused.en}; without it: {without.en}")

    def _of_blind(self, blind: Blind) -> Text:
        label = self._hazard(blind.hazard).label
        last = None if blind.last is None else self._value(blind.hazard, blind.input, blind.point, blind.last)
        known = Text("从未收到", "never heard") if last is None else Text(f"最后为 {last.zh}", f"last {last.en}")
        holds = Text("，使等级不下降", ", which keeps the level from falling") if blind.holds else Text("", "")
        return Text(
            f"  无数据 {blind.point}（{label.zh}）：{known.zh}{holds.zh}",
            f"  blind: {blind.point} ({label.en}), {known.en}{holds.en}",
        )

    def _of_step(self, step: Step) -> Text:
        cause, makes = step.cause, NAMES[step.makes]
        value = self._value(cause.hazard, cause.input, cause.point, cause.value)
        sign = "=" if isinstance(cause.value, bool | str) else "≤" if step.low else "≥"
        return Text(
            f"  会升级：{cause.input} {sign} {value.zh} → {makes.zh}",
            f"  would raise it: {cause.input} {sign} {value.en} → {makes.en}",
        )

    def _caused(self, cause: Cause) -> Text:
        value, level = self._value(cause.hazard, cause.input, cause.point, cause.value), NAMES[cause.level]
        each = self._input(cause.hazard, cause.input)
        label = Text(cause.point, cause.point) if each is None else each.label
        where = "" if label.en == cause.point else f" {cause.point}"
        return Text(f"{label.zh}{where} = {value.zh}（{level.zh}）", f"{label.en}{where} = {value.en} ({level.en})")

    def _value(self, hazard: str, input_: str, point: PointId, value: Value) -> Text:
        if isinstance(value, bool):
            return Text("是", "yes") if value else Text("否", "no")
        if isinstance(value, str):
            return _WORDS.get(value, Text(value, value))
        each = self._input(hazard, input_)
        code = next((scale.unit for scale in each.scales if scale.point == point), None) if each else None
        unit = of_point(code)
        number = f"{value:.6g} {unit.symbol if unit else code}".rstrip()
        return Text(number, number)

    def _hazard(self, id_: str) -> Hazard:
        return next(each for each in self.definition.hazards if each.id == id_)

    def _input(self, hazard: str, id_: str) -> Input | None:
        """None where a record of before speaks of an input that is gone."""
        return next((each for each in self._hazard(hazard).inputs if each.id == id_), None)

    def _hazards(self, ids: tuple[str, ...]) -> Text:
        labels = [self._hazard(id_).label for id_ in ids]
        return Text("、".join(label.zh for label in labels), " and ".join(label.en for label in labels))


# ---------------------------------------------------------------------- for programs


def as_document(definition: Definition, now: Assessment) -> dict[str, Any]:
    """JSON; ``text`` is the same for people."""
    lines = list(Teller(definition, now).lines())
    return {
        "level": now.level.word,
        "since_ms": now.since_ms,
        "raised_by": list(now.raised_by),
        "hazards": [
            {
                "hazard": each.hazard,
                "level": each.level.word,
                "reason": each.reason.word,
                "since_ms": each.since_ms,
                "falls_in_s": each.falls_in_s,
                "causes": [_cause(cause) for cause in each.causes],
            }
            for each in now.hazards
        ],
        "drivers": [_cause(driver.cause) | {"without": driver.without.word} for driver in now.drivers],
        "blind": [
            {
                "hazard": each.hazard,
                "input": each.input,
                "point": each.point,
                "last": each.last,
                "holds": each.holds,
            }
            for each in now.blind
        ],
        "would_raise": [_cause(step.cause) | {"makes": step.makes.word} for step in steps(definition, now)],
        "text": {"zh": [line.zh for line in lines], "en": [line.en for line in lines]},
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "hazard": cause.hazard,
        "input": cause.input,
        "point": cause.point,
        "value": cause.value,
        "level": cause.level.word,
    }
