"""A draft meets the devices: every name is found, and one program is compiled for each kind of device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gateway.model import Device, Point, PointId
from rules.check import Checked, Checker, Input, Junction, Negation, Source, function_faults, relax
from rules.faults import Path, RuleFault, did_you_mean, in_text
from rules.program import Program, Reads, compiled, measures, read_by
from rules.reader import PLACES, Draft
from rules.rule import Action, Actions, Mode, Watch
from rules.syntax import Node, devices, names
from rules.text import holes
from rules.units import Unit


class Registry:
    def __init__(self, devices: Sequence[Device], actions: Actions | None) -> None:
        self.devices = devices
        self.actions = actions
        self.points: dict[PointId, Point] = {point.id: point for device in devices for point in device.points}
        self.ids = {device.id: device for device in devices}
        self.kinds: dict[str, list[Device]] = {}
        for device in devices:
            self.kinds.setdefault(device.kind, []).append(device)

    def chosen(self, for_each: Mapping[str, tuple[str, ...]]) -> list[Device]:
        kinds = for_each.get("type", ())
        if "any" in kinds:
            candidates = list(self.devices)
        else:
            candidates = [device for kind in dict.fromkeys(kinds) for device in self.kinds.get(kind, ())]
        places = [(level, for_each[level]) for level in PLACES if level in for_each]
        needed, areas = for_each.get("with", ()), for_each.get("area")
        return [
            device
            for device in candidates
            if all(getattr(device.place, level) in wanted for level, wanted in places)
            and all(self.resolve(name, device) is not None for name in needed)
            and (areas is None or device.area in areas)
        ]

    def target(self, send: str, device: Device | None) -> str:
        """``valve.close`` with the device's id instead of its role; ``close`` alone cannot be written."""
        first, _, action = send.partition(".")
        return f"{device.roles.get(first, first) if device is not None else first}.{action}"

    def can_send(self, target: str) -> bool:
        device, _, action = target.partition(".")
        return self.actions is None or action in self.actions.get(device, frozenset())

    def resolve(self, name: str, device: Device | None) -> Point | None:
        """``lel`` of the own device; ``valve.position`` of a role, else of the device with that id."""
        first, dot, second = name.partition(".")
        if not dot:
            return None if device is None else self.points.get(f"{device.id}.{name}")
        other = device.roles.get(first, first) if device is not None else first
        return self.points.get(f"{other}.{second}")

    def device(self, name: str, device: Device | None) -> Device | None:
        """The device of a role, else the one with that id."""
        return self.ids.get(device.roles.get(name, name) if device is not None else name)

    def suggest(self, name: str, device: Device | None) -> tuple[str, str]:
        """Looks near the name only: among thousands of points a search through all of them would take seconds."""
        first, dot, _ = name.partition(".")
        own = [point.name for point in device.points] if device is not None else []
        if not dot:
            hints = did_you_mean(name, own)
            return hints if hints[0] else _by_label(name, device)
        roles = device.roles if device is not None else {}
        other = self.ids.get(roles.get(first, first))
        if other is not None:
            return did_you_mean(name, [f"{first}.{point.name}" for point in other.points])
        if "-" in first:
            return ("减号两边请加空格", "put spaces around a minus sign")
        near = [each for each in self.ids if each[:1] == first[:1] and abs(len(each) - len(first)) <= 2]
        return did_you_mean(first, [*roles, *near[:2000]])


def _by_label(name: str, device: Device | None) -> tuple[str, str]:
    """People know a point by what it is called on the screen."""
    if device is None:
        return "请写 设备.测点", "write device.point"
    called = [point for point in device.points if name.lower() in (point.label.zh + point.label.en).lower()]
    if not called:
        return "", ""
    zh = "、".join(f"{point.name}（{point.label.zh}）" for point in called[:_MOST_NAMED])
    en = ", ".join(f"{point.name} ({point.label.en})" for point in called[:_MOST_NAMED])
    return f"是否想写 {zh}？", f"did you mean {en}?"


_MOST_NAMED = 3
_Signature: TypeAlias = tuple[tuple[object, ...] | None, ...]


@dataclass(slots=True)
class _Kind:
    """Devices for which every name of a rule means a point of the same kind, unit and states."""

    first: Device | None
    devices: list[Device | None] = field(default_factory=list)


class Binder:
    def __init__(self, draft: Draft, registry: Registry | None, faults: list[RuleFault]) -> None:
        self._draft = draft
        self._registry = registry
        self._faults = faults
        trees = [draft.when, draft.clear_when, draft.suppress_when]
        trees += [case.when for value in draft.values for case in value.cases]
        self._names = [name for tree in trees if tree is not None for name in names(tree)]
        self._heard = [name for tree in trees if tree is not None for name in devices(tree)]
        named = {value.name for value in draft.values}
        shown = (hole.name for template in draft.rule.message for hole in holes(template))
        self._shown = dict.fromkeys(name for name in shown if name not in named)

    def bind(self) -> list[Watch]:
        devices = self._devices()
        if devices is None or self._draft.when is None:
            for key in ("when", "clear_when", "suppress_when"):
                tree: Node | None = getattr(self._draft, key)
                found = function_faults(tree) if tree is not None else ()
                self._faults.extend(fault.at(*self._draft.path, key) for fault in found)
            return []
        watches: list[Watch] = []
        refused: list[tuple[_Kind, list[RuleFault]]] = []
        for kind in self._kinds(devices):
            program, faults = self._program(kind.first)
            for warning in faults:
                if not warning.is_error:
                    self._once(warning)
            if program is None:
                refused.append((kind, [fault for fault in faults if fault.is_error]))
            elif self._draft.rule.mode is not Mode.OFF:
                watches += [self._watch(device, program) for device in kind.devices]
        self._judge(refused, good=len(devices) - sum(len(kind.devices) for kind, _ in refused))
        self._check_message(devices)
        self._left_out({watch.device for watch in watches})
        return watches

    def _devices(self) -> list[Device | None] | None:
        """Whom the rule is for: [None] for a rule that names its points in full, None when nobody can be found."""
        for_each, registry = self._draft.for_each, self._registry
        if registry is None:
            return None
        if for_each is None:
            return [None]
        found = registry.chosen(for_each)
        if found or "type" not in for_each:
            return list(found) or None
        zh, en = (
            "没有设备符合 for_each（对象），此规则不会起作用",
            "no device matches for_each: this rule watches nothing",
        )
        hints = next((hint for kind in for_each["type"] if (hint := did_you_mean(kind, registry.kinds))[0]), ("", ""))
        self._warn(("for_each",), (zh, en), hints)
        return None

    def _warn(self, path: Path, texts: tuple[str, str], hints: tuple[str, str] = ("", "")) -> None:
        self._faults.append(RuleFault("W-NOMATCH", (*self._draft.path, *path), None, 1, True, *texts, *hints))

    def _kinds(self, devices: Sequence[Device | None]) -> list[_Kind]:
        """Largest first."""
        kinds: dict[_Signature, _Kind] = {}
        for device in devices:
            kinds.setdefault(self._signature(device), _Kind(device)).devices.append(device)
        return sorted(kinds.values(), key=lambda kind: -len(kind.devices))

    def _signature(self, device: Device | None) -> _Signature:
        assert self._registry is not None
        points = [self._resolve(name, device) for name in self._names]
        heard = tuple(self._registry.device(name, device) is not None for name in self._heard)
        return (heard, *(None if point is None else (point.kind, point.unit, point.states) for point in points))

    def _resolve(self, name: str, device: Device | None) -> Point | None:
        assert self._registry is not None
        return self._registry.resolve(name, device)

    def _program(self, device: Device | None) -> tuple[Program | None, list[RuleFault]]:
        registry, draft = self._registry, self._draft
        assert registry is not None
        assert draft.when is not None
        checker = Checker(
            lambda name: registry.resolve(name, device),
            lambda name: registry.suggest(name, device),
            device is not None,
            values={value.name: value for value in draft.values},
            bad_votes=draft.bad_votes,
            devices=lambda name: registry.device(name, device) is not None,
        )
        faults: list[RuleFault] = []
        when = self._checked(checker, draft.when, "when", faults)
        over = None if draft.clear_when is None else self._checked(checker, draft.clear_when, "clear_when", faults)
        mute = draft.suppress_when
        suppressed = None if mute is None else self._checked(checker, mute, "suppress_when", faults)
        for value in draft.values:
            before = len(checker.faults)
            checker.named(value.name)
            faults += [fault.at(*draft.path, *fault.path) for fault in checker.faults[before:]]
        if when is not None and not checker.inputs:
            faults.append(self._at(("when",), "E-VALUE", ("条件没有用到任何测点", "the condition names no point")))
        still = when
        if when is not None and over is not None:
            still = Junction("or", (when, Negation(over)))
        elif when is not None and draft.deadband is not None:
            still = self._banded(when, *draft.deadband, faults)
        if when is None or still is None or any(fault.is_error for fault in faults):
            return None, faults
        first = compiled(when)
        over_or_still = first if still is when else compiled(still)
        muted = None if suppressed is None else compiled(suppressed)
        reads = Reads(read_by(when), read_by(still), read_by(suppressed))
        return Program(tuple(checker.inputs), first, over_or_still, muted, measures(checker), reads), faults

    def _at(self, path: Path, code: str, texts: tuple[str, str], hints: tuple[str, str] = ("", "")) -> RuleFault:
        return RuleFault(code, (*self._draft.path, *path), None, 1, False, *texts, *hints)

    def _checked(self, checker: Checker, tree: Node, key: str, faults: list[RuleFault]) -> Checked | None:
        before = len(checker.faults)
        checked = checker.condition(tree)
        # A fault of a named value knows its own place below the rule.
        faults += [fault.at(*self._draft.path, *(fault.path or (key,))) for fault in checker.faults[before:]]
        return checked

    def _banded(self, when: Checked, deadband: float, unit: Unit, faults: list[RuleFault]) -> Checked:
        still, moved = relax(when, deadband, unit)
        if moved:
            return still
        code = "E-UNIT" if unit.dimension else "E-NOUNIT"
        zh = "没有左边是测点、单位与 deadband 相符的比较"
        en = "no comparison has a point of this unit on its left side"
        faults.append(self._at(("deadband",), code, (zh, en)))
        return when

    def _judge(self, refused: list[tuple[_Kind, list[RuleFault]]], *, good: int) -> None:
        """A rule that fits none of its devices is wrong; one that misses points on some only watches the others."""
        for kind, faults in refused:
            if not good or any(fault.code != "E-POINT" for fault in faults):
                self._faults.extend(faults)
                return
            named = ", ".join(device.id for device in kind.devices[:3] if device is not None)
            missing = faults[0]
            zh = f"{len(kind.devices)} 台设备（{named} 等）不受监视：{missing.zh}"
            en = f"{len(kind.devices)} devices ({named} ...) are not watched: {missing.en}"
            self._warn(("for_each",), (zh, en))

    def _watch(self, device: Device | None, program: Program) -> Watch:
        targets = tuple(self._target(each, device) for each in program.inputs)
        points = {name: self._resolve(name, device) for name in self._shown}
        shown = {name: point.id for name, point in points.items() if point is not None}
        actions = tuple(
            self._bound(path, action, device)
            for path, action in self._draft.actions
            if not action.optional or self._has_receiver(action, device)
        )
        return Watch(self._draft.rule, device.id if device is not None else None, program, targets, shown, actions)

    def _left_out(self, watched: Set[str | None]) -> None:
        """Says once for each optional action which devices do without it."""
        assert self._registry is not None
        devices = [self._registry.ids.get(each) if each else None for each in sorted(watched, key=str)]
        for path, action in self._draft.actions:
            lost = [each for each in devices if action.optional and not self._has_receiver(action, each)]
            if not lost:
                continue
            named = ", ".join(each.id for each in lost[:3] if each is not None)
            zh = f"{len(lost)} 台设备（{named} 等）没有可接收 {action.send} 的设备，不发送"
            en = f"{len(lost)} devices ({named} ...) have nobody to send {action.send} to: left out"
            fault = RuleFault("W-NOMATCH", (*path, "send"), None, 1, False, zh, en)
            self._faults.append(fault)

    def _has_receiver(self, action: Action, device: Device | None) -> bool:
        assert self._registry is not None
        return self._registry.device(action.send.partition(".")[0], device) is not None

    def _bound(self, path: Path, action: Action, device: Device | None) -> Action:
        """The action with the ids of what it moves and of the point that confirms it."""
        assert self._registry is not None
        send, *otherwise = (self._registry.target(each, device) for each in (action.send, *action.otherwise))
        for target in (send, *otherwise):
            if not self._registry.can_send(target):
                self._refuse_send(path, target)
        confirm = action.confirm
        if confirm is not None:
            point = self._resolve(confirm.point, device)
            if point is None:
                texts = (f'未知测点 "{confirm.point}"', f'unknown point "{confirm.point}"')
                hints = self._registry.suggest(confirm.point, device)
                self._once(RuleFault("E-POINT", (*path, "confirm", "point"), None, 1, False, *texts, *hints))
            else:
                confirm = replace(confirm, point=point.id)
        return replace(action, send=send, otherwise=tuple(otherwise), confirm=confirm)

    def _refuse_send(self, path: Path, target: str) -> None:
        assert self._registry is not None
        name, _, action = target.partition(".")
        known = (self._registry.actions or {}).get(name)
        if known is None:
            zh, en = f'设备 "{name}" 不能接收动作', f'nothing can be sent to "{name}"'
            hints = did_you_mean(name, self._registry.actions or {})
        else:
            zh, en = f'"{name}" 没有动作 "{action}"', f'"{name}" has no action "{action}"'
            listed = ", ".join(sorted(known))
            hints = did_you_mean(action, known) if known else ("", "")
            hints = hints if hints[0] else (f"可用：{listed}", f"there are: {listed}")
        self._once(RuleFault("E-ACTION", (*path, "send"), None, 1, False, zh, en, *hints))

    def _once(self, fault: RuleFault) -> None:
        if fault not in self._faults:
            self._faults.append(fault)

    def _target(self, wanted: Input, device: Device | None) -> str:
        if wanted.source is Source.ALARM:
            return wanted.name
        if wanted.source is Source.SILENT:
            assert self._registry is not None
            silent = self._registry.device(wanted.name, device) if wanted.name else device
            assert silent is not None
            return silent.id
        point = self._resolve(wanted.name, device)
        assert point is not None
        return point.id

    def _check_message(self, devices: Sequence[Device | None]) -> None:
        lost = {name for name in self._shown if not any(self._resolve(name, device) for device in devices)}
        assert self._registry is not None
        for language, template in zip(("zh", "en"), self._draft.rule.message, strict=True):
            path = self._draft.message_at.get(language)
            for hole in holes(template):
                if hole.name not in lost or path is None:
                    continue
                texts = (f'未知测点 "{hole.name}"', f'unknown point "{hole.name}"')
                hints = self._registry.suggest(hole.name, devices[0])
                self._faults.append(in_text("E-POINT", hole.start, hole.end, *texts, *hints).at(*path))
