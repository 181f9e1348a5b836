"""A checked condition becomes one Python function with three-valued logic (Kleene: None is unknown).

The text that is compiled is written here, from numbered inputs and numbers; words a person wrote reach it
only as elements of a tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from gateway.model import Point
from rules.check import (
    AtLeast,
    Calc,
    Checked,
    Checker,
    Choice,
    Comparison,
    Const,
    Input,
    Junction,
    Load,
    Negation,
    Source,
)
from rules.faults import RuleFault
from rules.syntax import parse
from rules.units import PURE, Unit


class Slot(Protocol):
    """Where a condition reads one input."""

    value: Any
    """None while unknown."""


Condition: TypeAlias = Callable[[Sequence[Slot]], bool | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """Something a condition knows and a message may show."""

    read: Callable[[Sequence[Slot]], float | bool | str | None]
    unit: Unit
    """As people write it, in a condition or on the point."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Which inputs each condition of a rule reads, by number."""

    when: frozenset[int] = frozenset()
    still: frozenset[int] = frozenset()
    suppressed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Program:
    """What one rule does with the devices of one kind."""

    inputs: tuple[Input, ...]
    when: Condition
    """Raises the alarm."""
    still: Condition
    """While the alarm is on: true or unknown keeps it, only a definite false ends it."""
    suppressed: Condition | None = None
    """While true, the alarm is followed and nobody is told; unknown does not suppress."""
    measures: Mapping[str, Measure] = field(default_factory=dict)
    """``value``, ``usual``, and the named values."""
    reads: Reads = Reads()


def measures(checker: Checker) -> Mapping[str, Measure]:
    """After the conditions of a rule have been checked, ``when`` first."""
    found = {name: Measure(_function(typed.tree), typed.unit) for name, typed in checker.said.items()}
    first = next((i for i, each in enumerate(checker.inputs) if each.source is Source.VALUE and not each.limit_s), None)
    if "value" not in found and first is not None:
        found["value"] = Measure(_function(Load(first)), PURE)
    return found


def expression(
    text: str,
    resolve: Callable[[str], Point | None],
    suggest: Callable[[str], tuple[str, str]] = lambda name: ("", ""),
    *,
    own_device: bool = False,
    rules: Collection[str] | None = None,
    devices: Callable[[str], bool] | None = None,
) -> tuple[tuple[Input, ...], Measure | None, tuple[RuleFault, ...]]:
    """One number, state or condition by itself, for whoever asks a running engine: its inputs and how to read them.

    The measure is None when there are faults; silent() and age() only stand in comparisons here, too.
    """
    tree, faults = parse(text)
    checker = Checker(resolve, suggest, own_device, rules=rules, devices=devices)
    typed = None if tree is None else checker.anything(tree)
    measure = None if typed is None else Measure(_function(typed.tree), typed.unit)
    return tuple(checker.inputs), measure, (*faults, *checker.faults)


def compiled(tree: Checked) -> Condition:
    condition: Condition = _function(tree)
    return condition


def read_by(tree: Checked | None) -> frozenset[int]:
    writer = _Writer()
    if tree is not None:
        writer.write(tree)
    return frozenset(writer.slots)


def _function(tree: Checked) -> Any:
    writer = _Writer()
    result = writer.write(tree)
    loads = [f"    v{slot} = c[{slot}].value" for slot in sorted(writer.slots)]
    source = "\n".join(["def condition(c):", *loads, *writer.lines, f"    return {result}"])
    namespace: dict[str, Any] = {"k": tuple(writer.words), "finite": _finite}
    exec(compile(source, "<condition>", "exec"), namespace)
    return namespace["condition"]


def _finite(value: float) -> float | None:
    """Overflow and inf - inf are unknown, not a very large measurement."""
    return value if value - value == 0.0 else None


class _Writer:
    """One assignment per node, so that neither nesting nor length of the generated text can grow beyond the tree."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slots: set[int] = set()
        self.words: list[str] = []

    def write(self, tree: Checked) -> str:
        """The name (or literal) that holds the value of *tree*."""
        match tree:
            case Load(slot=slot):
                self.slots.add(slot)
                return f"v{slot}"
            case Const(value=value):
                return self._literal(value)
            case Calc():
                return self._calc(tree)
            case Comparison(operator=operator, left=left, right=right):
                one, two = self.write(left), self.write(right)
                return self._assign(f"{_unknown(one, two)}{one} {operator} {two}")
            case Negation(operand=operand):
                one = self.write(operand)
                return self._assign(f"{_unknown(one)}not {one}")
            case Junction(operator=operator, operands=operands):
                return self._junction(operator == "or", [self.write(each) for each in operands])
            case AtLeast(operands=operands):
                return self._at_least(tree, [self.write(each) for each in operands])
            case Choice():
                return self._choice(tree)

    def _literal(self, value: float | bool | str) -> str:
        if isinstance(value, str):
            self.words.append(value)
            return f"k[{len(self.words) - 1}]"
        return f"({value!r})"

    def _assign(self, expression: str) -> str:
        name = f"t{len(self.lines)}"
        self.lines.append(f"    {name} = {expression}")
        return name

    def _calc(self, tree: Calc) -> str:
        one, two = self.write(tree.left), self.write(tree.right)
        guard = _unknown(one, two)
        if tree.operator == "/":
            guard += f"None if {two} == 0.0 else "
        return self._assign(f"{guard}finite({one} {tree.operator} {two})")

    def _junction(self, decisive: bool, operands: list[str]) -> str:
        decided = " or ".join(f"{each} is {decisive}" for each in operands)
        return self._assign(f"{decisive} if {decided} else {_unknown(*operands)}{not decisive}")

    def _choice(self, tree: Choice) -> str:
        tests = [self.write(test) for test, _ in tree.cases]
        chosen = self._literal(tree.default)
        for test, (_, value) in zip(reversed(tests), reversed(tree.cases), strict=True):
            chosen = self._assign(f"{self._literal(value)} if {test} is True else {chosen}")
        return chosen

    def _at_least(self, tree: AtLeast, operands: list[str]) -> str:
        count = tree.count
        true = self._assign(" + ".join(f"({each} is True)" for each in operands))
        possible = self._assign(" + ".join(f"({each} is not False)" for each in operands))
        enough = f"{true} >= {count}" + (f" or {true} and {possible} >= {count}" if tree.unknown_votes else "")
        return self._assign(f"True if {enough} else (False if {possible} < {count} else None)")


def _unknown(*operands: str) -> str:
    """``None if a is None or b is None else ``, without the operands that are literals."""
    tests = " or ".join(f"{each} is None" for each in dict.fromkeys(operands) if each[0] in "vt")
    return f"None if {tests} else " if tests else ""
