"""A parsed condition meets the devices: every name exists, every unit fits, every kind is right.

The result is a small typed tree over numbered inputs, which program.py turns into a function.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from gateway.model import Point, ValueKind
from rules.faults import RuleFault, did_you_mean, in_text, unbuilt
from rules.named import NamedValue
from rules.syntax import (
    CHINESE_FUNCTIONS,
    Arithmetic,
    Call,
    Compare,
    Logic,
    Minus,
    Name,
    Node,
    Not,
    Number,
    Truth,
    calls,
)
from rules.units import PURE, TIME, WRITTEN, Unit, convert, of_point, per, product
from rules.windows import DAYS, STALE_INTERVALS, WEEKS

WINDOWS = ("avg", "count", "increase", "max", "min", "rate", "sum")
_MOST_PERIODS = {"same_hour": WEEKS, "usual": DAYS}
FUNCTIONS = ("age", "ago", "alarm", "at_least", "silent", *WINDOWS, *_MOST_PERIODS)
_LONGEST_S = 366 * 86400.0
_MAX_CONSTANT, _MAX_FACTOR = 1e30, 1e30


class Source(enum.Enum):
    """Where an input of a condition comes from."""

    VALUE = "value"  # the live value of a point
    AGE = "age"  # true once the newest usable value of a point is limit_s old
    ALARM = "alarm"  # whether the alarm of another rule is on, at the own place
    SILENT = "silent"  # true once a device has said nothing for limit_s
    PAST = "past"  # what a function of windows.py says of a point


@dataclass(frozen=True, slots=True)
class Input:
    source: Source
    name: str = ""
    """The point, device or rule as the rule names it; empty for the own device."""
    limit_s: float = 0.0
    """Of VALUE: how long it counts although nothing more is heard; 0: three intervals.  Of PAST: how far back."""
    function: str = ""
    periods: int = 0
    """Of same_hour() and usual(): how many weeks or days."""
    test: Checked | None = None
    """Of count(): the condition, in which slot 0 is one sample."""


# The checked tree.  Values are None (unknown), float, bool or a state word.
@dataclass(frozen=True, slots=True)
class Load:
    slot: int


@dataclass(frozen=True, slots=True)
class Const:
    value: float | bool | str


@dataclass(frozen=True, slots=True)
class Calc:
    operator: str
    left: Checked
    right: Checked


@dataclass(frozen=True, slots=True)
class Comparison:
    operator: str
    left: Checked
    right: Checked
    unit: Unit | None = None
    """The left side's, where a point is on it and a deadband may move the right side; otherwise None."""


@dataclass(frozen=True, slots=True)
class Negation:
    operand: Checked


@dataclass(frozen=True, slots=True)
class Junction:
    operator: str
    operands: tuple[Checked, ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    count: int
    operands: tuple[Checked, ...]
    unknown_votes: bool = False
    """An unknown operand counts like a true one, as long as another is true."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The value of the first case that is true; of none, the default.  A case that is unknown is not true."""

    cases: tuple[tuple[Checked, float], ...]
    default: float


Checked: TypeAlias = Load | Const | Calc | Comparison | Negation | Junction | AtLeast | Choice


@dataclass(frozen=True, slots=True)
class Typed:
    """What is known of one sub-expression at load."""

    tree: Checked
    kind: ValueKind
    unit: Unit = PURE
    constant: float | None = None
    difference: bool = False
    """A distance between two temperatures, to which a unit's offset does not apply."""
    states: tuple[str, ...] = ()
    measured: bool = False
    """A point stands in it."""
    elapsed: Input | None = None
    """silent() or age(...): only good for a comparison with a duration."""

    @property
    def written(self) -> bool:
        """A person wrote the number: here, or as a named value."""
        return self.constant is not None or isinstance(self.tree, Choice)


class Checker:
    """Checks the conditions of one rule for one kind of device; all of them share the same inputs.

    resolve: the point that a name means here, or None.
    suggest: (zh, en) hints for a name that means nothing.
    values: limits that have names.
    bad_votes: in at_least() an unknown condition counts like a true one as long as another is true.
    rules: the ids that alarm() may name; None when they are not known.
    devices: whether silent() may name this device, by its id or role; None when that is not known.

    Faults and warnings are in ``faults``.  Where a path is on them, it leads from the rule to the place; the others
    are in the condition at hand.
    """

    def __init__(
        self,
        resolve: Callable[[str], Point | None],
        suggest: Callable[[str], tuple[str, str]],
        own_device: bool,
        *,
        values: Mapping[str, NamedValue] = MappingProxyType({}),
        bad_votes: bool = False,
        rules: Collection[str] | None = None,
        devices: Callable[[str], bool] | None = None,
    ) -> None:
        self.inputs: list[Input] = []
        self.faults: list[RuleFault] = []
        self.said: dict[str, Typed] = {}
        """What a message may show: ``value``, ``usual``, and the named values that were used."""
        self._resolve = resolve
        self._suggest = suggest
        self._own_device = own_device
        self._values = values
        self._bad_votes = bad_votes
        self._rules = rules
        self._devices = devices
        self._named: dict[str, Typed | None] = {}
        self._limit_s = 0.0
        self._inside = False
        """Of something that the message does not show: a case of a named value, the condition of count()."""

    def condition(self, tree: Node) -> Checked | None:
        """None when it has faults."""
        before = len(self.faults)
        typed = self._boolean(tree)
        return typed.tree if typed is not None and not self._wrong(before) else None

    def anything(self, tree: Node) -> Typed | None:
        """A number, a state or a condition; None when it has faults."""
        before = len(self.faults)
        typed = self._typed(tree)
        if typed is not None and typed.elapsed:
            zh, en = "只能写成 silent() > 15 min 这样的形式", "only comparisons such as silent() > 15 min are possible"
            self._fault("E-TYPE", tree, (zh, en))
        return None if self._wrong(before) else typed

    def named(self, name: str) -> Typed | None:
        """A named value, checked once however often it is used; None when it has faults.  Raises KeyError."""
        if name not in self._named:
            self._named[name] = self._chosen(self._values[name])
        typed = self._named[name]
        if typed is not None:
            self.said.setdefault(name, typed)
        return typed

    def _wrong(self, before: int) -> bool:
        return any(fault.is_error for fault in self.faults[before:])

    def _fault(self, code: str, node: Node, texts: tuple[str, str], hints: tuple[str, str] = ("", "")) -> None:
        self.faults.append(in_text(code, node.start, node.end, *texts, *hints))

    def _boolean(self, node: Node) -> Typed | None:
        typed = self._typed(node)
        if typed is not None and (typed.kind is not ValueKind.BOOLEAN or typed.elapsed):
            self._fault("E-TYPE", node, ("此处需要一个条件（真或假）", "a condition (true or false) is needed here"))
            return None
        return typed

    def _number(self, node: Node) -> Typed | None:
        typed = self._typed(node)
        if typed is not None and (typed.kind is not ValueKind.NUMBER or typed.elapsed):
            self._fault("E-TYPE", node, ("此处需要一个数值", "a number is needed here"))
            return None
        return typed

    def _typed(self, node: Node) -> Typed | None:
        match node:
            case Number(value=value, unit=unit):
                return Typed(Const(value), ValueKind.NUMBER, unit, constant=value)
            case Truth(value=truth):
                return Typed(Const(truth), ValueKind.BOOLEAN)
            case Name():
                return self._name(node)
            case Minus():
                return self._minus(node)
            case Arithmetic():
                return self._arithmetic(node)
            case Compare():
                return self._compare(node)
            case Not(operand=operand):
                inner = self._boolean(operand)
                return None if inner is None else Typed(Negation(inner.tree), ValueKind.BOOLEAN)
            case Logic(operator=operator, operands=operands):
                trees = self._booleans(operands)
                return None if trees is None else Typed(Junction(operator, trees), ValueKind.BOOLEAN)
            case Call():
                return self._call(node)

    def _booleans(self, nodes: Sequence[Node]) -> tuple[Checked, ...] | None:
        typed = [self._boolean(node) for node in nodes]
        trees = tuple(each.tree for each in typed if each is not None)
        return trees if len(trees) == len(nodes) else None

    def _slot(self, wanted: Input) -> Load:
        if wanted not in self.inputs:
            self.inputs.append(wanted)
        return Load(self.inputs.index(wanted))

    def _name(self, node: Name) -> Typed | None:
        if node.text in self._values and self._resolve(node.text) is None:
            return self.named(node.text)
        found = self._point(node)
        if found is None:
            return None
        point, unit = found
        load = self._slot(Input(Source.VALUE, node.text, self._limit_s))
        return Typed(load, point.kind, unit, states=point.states, measured=True)

    def _point(self, node: Name) -> tuple[Point, Unit] | None:
        point = self._resolve(node.text)
        if point is None:
            self._fault(
                "E-POINT", node, (f'未知测点 "{node.text}"', f'unknown point "{node.text}"'), self._hints(node.text)
            )
            return None
        if point.kind is ValueKind.TEXT:
            zh, en = f'"{node.text}" 是文本，不能用于条件', f'"{node.text}" is a text and cannot be part of a condition'
            self._fault("E-TYPE", node, (zh, en))
            return None
        unit = of_point(point.unit) if point.kind is ValueKind.NUMBER else PURE
        if unit is None:
            self._fault("E-UNBUILT", node, unbuilt(f"{node.text}: {point.unit}"))
            return None
        return point, unit

    def _hints(self, name: str) -> tuple[str, str]:
        near = did_you_mean(name, self._values)
        return near if near[0] else self._suggest(name)

    def _chosen(self, value: NamedValue) -> Typed | None:
        before, (default, unit) = len(self.faults), value.default
        cases: list[tuple[Checked, float]] = []
        for case in value.cases:
            path, (number, own) = ("values", value.name, "cases", case.index), case.use
            if own.dimension != unit.dimension:
                ours, theirs = own.symbol or "1", unit.symbol or "1"
                zh, en = f"单位 {ours} 与默认值的 {theirs} 不符", f"{ours} does not fit the default's {theirs}"
                self.faults.append(RuleFault("E-UNIT", (*path, "use"), None, 1, False, zh, en))
            start = len(self.faults)
            with self._apart({}, value.expires_after_s or 0.0):
                test = self._boolean(case.when)
            self.faults[start:] = [fault.at(*path, "when") for fault in self.faults[start:]]
            if test is not None:
                cases.append((test.tree, convert(number, own, unit)))
        if self._wrong(before):
            return None
        if not cases:
            return Typed(Const(default), ValueKind.NUMBER, unit, constant=default)
        return Typed(Choice(tuple(cases), default), ValueKind.NUMBER, unit)

    @contextmanager
    def _apart(self, values: Mapping[str, NamedValue], limit_s: float) -> Iterator[None]:
        outer = self._values, self._limit_s, self._inside
        self._values, self._limit_s, self._inside = values, limit_s, True
        try:
            yield
        finally:
            self._values, self._limit_s, self._inside = outer

    def _minus(self, node: Minus) -> Typed | None:
        inner = self._number(node.operand)
        if inner is None:
            return None
        if inner.constant is not None:
            return replace(inner, tree=Const(-inner.constant), constant=-inner.constant)
        return replace(inner, tree=Calc("-", Const(0.0), inner.tree))

    def _arithmetic(self, node: Arithmetic) -> Typed | None:
        left, right = self._number(node.left), self._number(node.right)
        if left is None or right is None:
            return None
        if node.operator in "+-":
            return self._sum(node, left, right)
        pure = left if _is_pure(left.unit) else right if _is_pure(right.unit) else None
        if pure is None and (left.unit.offset or right.unit.offset):
            zh, en = "温度不能相乘或相除", "temperatures cannot be multiplied or divided"
            self._fault("E-UNIT", node, (zh, en))
            return None
        if pure is right or (pure is left and node.operator == "*"):
            kept = left if pure is right else right
            unit, difference = kept.unit, kept.difference
        else:
            unit, difference = product(left.unit, right.unit, divide=node.operator == "/"), False
            if not 1 / _MAX_FACTOR < unit.factor < _MAX_FACTOR:
                self._fault("E-UNIT", node, ("单位的组合过于复杂", "too many units multiplied"))
                return None
        return self._calculated(node, left, right, unit, difference)

    def _sum(self, node: Arithmetic, left: Typed, right: Typed) -> Typed | None:
        aligned = self._aligned(node, left, right, difference=True)
        if aligned is None:
            return None
        left, right = aligned
        both = not left.written and not right.written
        difference = left.difference and right.difference
        if node.operator == "-" and both and left.difference == right.difference:
            difference = True
        return self._calculated(node, left, right, left.unit, difference)

    def _calculated(self, node: Arithmetic, left: Typed, right: Typed, unit: Unit, difference: bool) -> Typed | None:
        constant = None
        if left.constant is not None and right.constant is not None:
            constant = _fold(node.operator, left.constant, right.constant)
            if constant is None or abs(constant) > _MAX_CONSTANT:
                self._fault("E-VALUE", node, ("除以零或数值过大", "division by zero, or a number too large"))
                return None
        tree = Calc(node.operator, left.tree, right.tree) if constant is None else Const(constant)
        measured = left.measured or right.measured
        return Typed(tree, ValueKind.NUMBER, unit, constant, difference, measured=measured)

    def _aligned(
        self, node: Arithmetic | Compare, left: Typed, right: Typed, *, difference: bool
    ) -> tuple[Typed, Typed] | None:
        """Both sides in one unit: the measured side's, else the left one's.

        difference: a constant beside a temperature is a distance (t + 5 °F), not a temperature (t > 41 °F).
        """
        if left.unit.dimension != right.unit.dimension:
            self._unit_fault(node, left, right)
            return None
        if left.written and not right.written:
            right, left = _in_unit_of(right, left, difference), right
            return right, left
        return left, _in_unit_of(left, right, difference)

    def _unit_fault(self, node: Arithmetic | Compare, left: Typed, right: Typed) -> None:
        blamed, other = (
            (node.left, right) if left.constant is not None and right.constant is None else (node.right, left)
        )
        mine = left if blamed is node.left else right
        if mine.constant is not None and not mine.unit.dimension:
            zh, en = "数值缺少单位", "the number needs a unit"
            hints = (
                (f"如 {_example(mine, other)}", f"for instance {_example(mine, other)}")
                if other.unit.symbol
                else ("", "")
            )
            self._fault("E-NOUNIT", blamed, (zh, en), hints)
            return
        ours, theirs = mine.unit.symbol or "1", other.unit.symbol or "1"
        zh, en = f"单位 {ours} 与 {theirs} 不能比较或相加", f"{ours} and {theirs} cannot be compared or added"
        self._fault("E-UNIT", blamed, (zh, en))

    def _compare(self, node: Compare) -> Typed | None:
        swapped = self._is_word(node.left) and not self._is_word(node.right)
        first, second = (node.right, node.left) if swapped else (node.left, node.right)
        one = self._typed(first)
        if one is not None and one.kind is ValueKind.STATE and isinstance(second, Name) and self._fits(second, one):
            self._say("value", one)
            return self._state(node, one, second)
        # Beside a plain true or false there can be no state, only a point: below it is found unknown.
        if self._is_word(second) and not isinstance(first, Truth) and (one is None or one.kind is ValueKind.BOOLEAN):
            self._stray_word(second, one)
            return None
        two = self._typed(second)
        if one is None or two is None:
            return None
        left, right = (two, one) if swapped else (one, two)
        if left.elapsed or right.elapsed:
            return self._elapsed(node, left, right)
        if left.kind is not right.kind:
            hints = (
                ("请写 true 或 false", "write true or false")
                if ValueKind.BOOLEAN in (left.kind, right.kind)
                else ("", "")
            )
            self._fault("E-TYPE", node, ("两边种类不同，不能比较", "the two sides are of different kinds"), hints)
            return None
        if left.kind is not ValueKind.NUMBER:
            self._say("value", left if left.measured else right)
            return self._equality(node, left, right)
        aligned = self._aligned(node, left, right, difference=left.difference or right.difference)
        if aligned is None:
            return None
        self._say("value", self._shown(left, right))
        left, right = aligned
        unit = left.unit if left.measured and node.operator not in ("==", "!=") else None
        return Typed(Comparison(node.operator, left.tree, right.tree, unit), ValueKind.BOOLEAN)

    def _say(self, name: str, typed: Typed) -> None:
        if not self._inside:
            self.said.setdefault(name, typed)

    def _shown(self, left: Typed, right: Typed) -> Typed:
        """The measured side, in its point's unit; what was calculated, in the unit of what it is compared with."""
        kept, other = (left, right) if left.measured or not right.measured else (right, left)
        plain = isinstance(kept.tree, Load) and self.inputs[kept.tree.slot].function != "rate"
        return kept if plain or not other.unit.symbol else _in_unit_of(other, kept, kept.difference)

    def _fits(self, word: Name, point: Typed) -> bool:
        return word.text in point.states or self._is_word(word)

    def _is_word(self, node: Node) -> bool:
        if not isinstance(node, Name) or "." in node.text or node.text in self._values:
            return False
        return self._resolve(node.text) is None

    def _stray_word(self, word: Node, one: Typed | None) -> None:
        # Beside an unknown point the word may well be one of its states: one fault is enough.
        if one is not None:
            zh, en = "此测点只有真假两种值", "this point is either true or false"
            self._fault("E-VALUE", word, (zh, en), ("请写 true 或 false", "write true or false"))

    def _state(self, node: Compare, point: Typed, word: Name) -> Typed | None:
        if word.text not in point.states:
            known = ", ".join(point.states)
            zh, en = did_you_mean(word.text, point.states)
            self._fault(
                "E-VALUE",
                word,
                (f'没有状态 "{word.text}"，可用：{known}', f'no state "{word.text}"; there are: {known}'),
                (zh, en),
            )
            return None
        constant = Typed(Const(word.text), ValueKind.STATE)
        return self._equality(node, point, constant)

    def _equality(self, node: Compare, left: Typed, right: Typed) -> Typed | None:
        if node.operator not in ("==", "!="):
            zh, en = "状态和真假只能用 == 或 != 比较", "states and truths are compared with == or != only"
            self._fault("E-TYPE", node, (zh, en))
            return None
        return Typed(Comparison(node.operator, left.tree, right.tree), ValueKind.BOOLEAN)

    def _elapsed(self, node: Compare, left: Typed, right: Typed) -> Typed | None:
        """silent() and age() against a fixed duration: an input that turns true by itself when the time is up.

        Time is continuous, so > and >= are the same here, and so are < and <=.
        """
        elapsed, limit = left.elapsed, right.constant
        if elapsed is None or limit is None or node.operator in ("==", "!="):
            zh, en = "只能写成 silent() > 15 min 这样的形式", "only comparisons such as silent() > 15 min are possible"
            self._fault("E-TYPE", node, (zh, en))
            return None
        if right.unit.dimension != TIME:
            self._unit_fault(node, replace(left, unit=Unit("min", TIME)), right)
            return None
        limit_s = limit * right.unit.factor
        if not self._is_duration(node.right, limit_s):
            return None
        load = self._slot(replace(elapsed, limit_s=limit_s))
        return Typed(load if node.operator in (">", ">=") else Negation(load), ValueKind.BOOLEAN)

    def _call(self, node: Call) -> Typed | None:
        match node.function:
            case "at_least":
                return self._at_least(node)
            case "silent":
                return self._silent(node)
            case "age":
                return self._age(node)
            case "alarm":
                return self._alarm(node)
            case "ago":
                return self._ago(node)
            case function if function in _MOST_PERIODS:
                return self._same_hour(node)
            case function if function in WINDOWS:
                return self._window(node)
        self.faults.append(_function_fault(node))
        return None

    def _at_least(self, node: Call) -> Typed | None:
        conditions = node.arguments[1:]
        number = node.arguments[0] if node.arguments else None
        if not (
            isinstance(number, Number)
            and number.unit is PURE
            and number.value.is_integer()
            and 1 <= number.value <= len(conditions)
        ):
            zh, en = "写法：at_least(个数, 条件, 条件, …)", "write at_least(how many, condition, condition, ...)"
            self._fault("E-FUNC", node, (zh, en))
            return None
        trees = self._booleans(conditions)
        if trees is None:
            return None
        return Typed(AtLeast(int(number.value), trees, self._bad_votes), ValueKind.BOOLEAN)

    def _silent(self, node: Call) -> Typed | None:
        if not node.arguments:
            if self._own_device:
                return Typed(Const(False), ValueKind.NUMBER, elapsed=Input(Source.SILENT))
            zh, en = "silent() 需要 for_each", "silent() needs for_each"
            self._fault("E-FUNC", node, (zh, en), ("或写 silent(设备)", "or write silent(device)"))
            return None
        device = node.arguments[0]
        if len(node.arguments) != 1 or not isinstance(device, Name):
            self._fault("E-FUNC", node, ("写法：silent() 或 silent(设备)", "write silent() or silent(device)"))
            return None
        if self._devices is not None and not self._devices(device.text):
            zh, en = f'未知设备 "{device.text}"', f'unknown device "{device.text}"'
            self._fault("E-POINT", device, (zh, en), self._suggest(f"{device.text}."))
            return None
        return Typed(Const(False), ValueKind.NUMBER, elapsed=Input(Source.SILENT, device.text))

    def _alarm(self, node: Call) -> Typed | None:
        rule = node.arguments[0] if len(node.arguments) == 1 else None
        if not isinstance(rule, Name):
            self._fault("E-FUNC", node, ("写法：alarm(规则)", "write alarm(rule)"))
            return None
        if self._rules is not None and rule.text not in self._rules:
            zh, en = f'没有规则 "{rule.text}"', f'unknown rule "{rule.text}"'
            self._fault("E-POINT", rule, (zh, en), did_you_mean(rule.text, self._rules))
            return None
        return Typed(self._slot(Input(Source.ALARM, rule.text)), ValueKind.BOOLEAN)

    # ------------------------------------------------------------------ the past

    def _window(self, node: Call) -> Typed | None:
        """``avg(power, 1 h)``"""
        function = node.function
        given = self._arguments(node, f"{function}(测点, 1 h)", f"{function}(point, 1 h)")
        if given is None:
            return None
        window_s = self._duration(given[1])
        if function == "count":
            return None if window_s is None else self._count(*given, window_s)
        found = self._numeric(given[0], function)
        if found is None or window_s is None:
            return None
        point, unit, name = found
        if function == "sum" and unit.dimension == WRITTEN["°C"].dimension:
            self._fault("E-UNIT", node, ("温度不能求和", "temperatures cannot be added up"))
            return None
        self._check_window(given[1], window_s, point)
        load = self._slot(Input(Source.PAST, name, window_s, function))
        if function == "rate":
            return Typed(load, ValueKind.NUMBER, per(unit, WRITTEN["s"]), difference=True, measured=True)
        return Typed(load, ValueKind.NUMBER, unit, difference=function == "increase", measured=True)

    def _count(self, counted: Node, window: Node, window_s: float) -> Typed | None:
        """Samples of a number; how often a condition on one point becomes true."""
        outer, self.inputs = self.inputs, []
        constants = {name: value for name, value in self._values.items() if not value.cases}
        with self._apart(constants, 0.0):
            typed = self._typed(counted)
        inner, self.inputs = self.inputs, outer
        if typed is None:
            return None
        one = inner[0] if len(inner) == 1 and inner[0].source is Source.VALUE else None
        is_number = typed.kind is ValueKind.NUMBER and isinstance(counted, Name)
        if one is None or typed.elapsed or not (is_number or typed.kind is ValueKind.BOOLEAN):
            zh, en = "只能统计一个测点，或只含一个测点的条件", "a point, or a condition on one point, can be counted"
            hints = ("如 count(door == open, 1 h)", "for instance count(door == open, 1 h)")
            self._fault("E-FUNC", counted, (zh, en), hints)
            return None
        point = self._resolve(one.name)
        assert point is not None
        self._check_window(window, window_s, point)
        test = None if is_number else typed.tree
        load = self._slot(Input(Source.PAST, one.name, window_s, "count", test=test))
        return Typed(load, ValueKind.NUMBER, measured=True)

    def _ago(self, node: Call) -> Typed | None:
        """``ago(power, 7 d)``"""
        given = self._arguments(node, "ago(测点, 1 d)", "ago(point, 1 d)")
        if given is None:
            return None
        ago_s = self._duration(given[1])
        found = self._named_point(given[0], "ago")
        if found is None or ago_s is None:
            return None
        point, unit, name = found
        load = self._slot(Input(Source.PAST, name, ago_s, "ago"))
        return Typed(load, point.kind, unit, states=point.states, measured=True)

    def _same_hour(self, node: Call) -> Typed | None:
        """``same_hour(power, 4)``: weeks; ``usual(flow, 14)``: days"""
        function, most = node.function, _MOST_PERIODS[node.function]
        given = self._arguments(node, f"{function}(测点, {most})", f"{function}(point, {most})")
        if given is None:
            return None
        periods = given[1]
        if not (isinstance(periods, Number) and periods.unit is PURE and periods.value in range(1, most + 1)):
            zh, en = f"这里应是 1 到 {most} 的整数", f"a whole number from 1 to {most} is needed"
            self._fault("E-VALUE", periods, (zh, en))
            return None
        found = self._numeric(given[0], function)
        if found is None:
            return None
        _, unit, name = found
        load = self._slot(Input(Source.PAST, name, 0.0, function, int(periods.value)))
        typed = Typed(load, ValueKind.NUMBER, unit, measured=True)
        self._say("usual", typed)
        return typed

    def _arguments(self, node: Call, zh: str, en: str) -> tuple[Node, Node] | None:
        if len(node.arguments) == 2:
            return node.arguments[0], node.arguments[1]
        self._fault("E-FUNC", node, (f"写法：{zh}", f"write {en}"))
        return None

    def _named_point(self, node: Node, function: str) -> tuple[Point, Unit, str] | None:
        if not isinstance(node, Name):
            self._fault("E-FUNC", node, (f"{function}() 的第一项应是测点", f"{function}() begins with a point"))
            return None
        found = self._point(node)
        return None if found is None else (*found, node.text)

    def _numeric(self, node: Node, function: str) -> tuple[Point, Unit, str] | None:
        found = self._named_point(node, function)
        if found is not None and found[0].kind is not ValueKind.NUMBER:
            self._fault("E-TYPE", node, (f"{function}() 需要数值测点", f"{function}() needs a point with numbers"))
            return None
        return found

    def _duration(self, node: Node) -> float | None:
        typed = self._typed(node)
        if typed is None:
            return None
        if typed.constant is None or typed.elapsed:
            self._fault(
                "E-FUNC", node, ("这里应是固定时长", "a fixed duration is needed"), ("如 5 min", "such as 5 min")
            )
        elif typed.unit.dimension != TIME:
            code = "E-UNIT" if typed.unit.dimension else "E-NOUNIT"
            self._fault(code, node, ("时长缺少单位", "a duration needs a unit of time"), ("如 5 min", "such as 5 min"))
        elif self._is_duration(node, typed.constant * typed.unit.factor):
            return typed.constant * typed.unit.factor
        return None

    def _is_duration(self, node: Node, seconds: float) -> bool:
        if 0 < seconds <= _LONGEST_S:
            return True
        self._fault("E-VALUE", node, ("时长应在 0 到 366 d 之间", "a duration between 0 and 366 d is needed"))
        return False

    def _check_window(self, node: Node, window_s: float, point: Point) -> None:
        if not window_s < STALE_INTERVALS * point.interval_s < math.inf:
            return
        zh = f"窗口短于三个采样周期（{point.interval_s:g} s）"
        en = f"the window is shorter than three intervals of the point ({point.interval_s:g} s)"
        self._fault("W-WINDOW", node, (zh, en))

    def _age(self, node: Call) -> Typed | None:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Name):
            self._fault("E-FUNC", node, ("写法：age(测点)", "write age(point)"))
            return None
        name = node.arguments[0]
        if self._resolve(name.text) is None:
            self._name(name)
            return None
        return Typed(Const(False), ValueKind.NUMBER, elapsed=Input(Source.AGE, name.text))


def _fold(operator: str, left: float, right: float) -> float | None:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right if right else None


def _is_pure(unit: Unit) -> bool:
    """kWh / J has no dimension either, but it is not 1."""
    return not unit.dimension and unit.factor == 1.0


def _in_unit_of(kept: Typed, other: Typed, difference: bool) -> Typed:
    source, target = other.unit, kept.unit
    if (source.factor, source.offset) == (target.factor, target.offset):
        return replace(other, unit=target)
    if isinstance(other.tree, Choice):
        cases = tuple((test, convert(value, source, target, difference=difference)) for test, value in other.tree.cases)
        default = convert(other.tree.default, source, target, difference=difference)
        return replace(other, tree=Choice(cases, default), unit=target)
    if other.constant is not None:
        value = convert(other.constant, source, target, difference=difference)
        return replace(other, tree=Const(value), constant=value, unit=target)
    tree: Checked = Calc("*", other.tree, Const(source.factor / target.factor))
    shift = 0.0 if other.difference else (source.offset - target.offset) / target.factor
    return replace(other, tree=Calc("+", tree, Const(shift)) if shift else tree, unit=target)


def _example(number: Typed, other: Typed) -> str:
    return f"{number.constant:g} {other.unit.symbol}"


def relax(tree: Checked, deadband: float, unit: Unit, *, negated: bool = False) -> tuple[Checked, int]:
    """The condition under which an alarm that is on stays on, and how many comparisons the deadband moved.

    ``x > limit`` stays true down to and including limit - deadband; under ``not`` the limit moves the other way.
    """
    match tree:
        case Comparison(unit=own) if own is not None and own.dimension == unit.dimension:
            return _moved(tree, convert(deadband, unit, own, difference=True), negated), 1
        case Negation(operand=operand):
            inner, moved = relax(operand, deadband, unit, negated=not negated)
            return Negation(inner), moved
        case Junction(operands=operands) | AtLeast(operands=operands):
            parts = [relax(operand, deadband, unit, negated=negated) for operand in operands]
            return replace(tree, operands=tuple(part for part, _ in parts)), sum(moved for _, moved in parts)
    return tree, 0


def _moved(test: Comparison, deadband: float, negated: bool) -> Comparison:
    above = test.operator in (">", ">=")
    down = above is not negated
    if isinstance(test.right, Const) and isinstance(test.right.value, float):
        moved = test.right.value - deadband if down else test.right.value + deadband
        limit: Checked = Const(float(f"{moved:.12g}"))  # 0.3 - 0.1 is 0.2
    else:
        limit = Calc("-" if down else "+", test.right, Const(deadband))
    # At the moved limit itself the alarm is not over yet: it must be passed, in either direction.
    operator = (">" if above else "<") if negated else (">=" if above else "<=")
    return Comparison(operator, test.left, limit)


def function_faults(tree: Node) -> Iterator[RuleFault]:
    """Functions that do not exist: all that can be said of a condition without devices."""
    for call in calls(tree):
        if call.function not in FUNCTIONS:
            yield _function_fault(call)


def _function_fault(call: Call) -> RuleFault:
    zh, en = f'没有函数 "{call.function}"', f'unknown function "{call.function}"'
    hints = did_you_mean(call.function, (*FUNCTIONS, *CHINESE_FUNCTIONS))
    return in_text("E-FUNC", call.start, call.start + len(call.function), zh, en, *hints)
