"""A checked condition becomes one Python function with three-valued logic (Kleene: None is unknown).

The text that is compiled is written here, from numbered inputs and numbers; words a person wrote reach it
only as elements of a tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from rules.check import AtLeast, Calc, Checked, Comparison, Const, Input, Junction, Load, Negation


class Slot(Protocol):
    """Where a condition reads one input."""

    value: Any
    """None while unknown."""


Condition: TypeAlias = Callable[[Sequence[Slot]], bool | None]


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


def compiled(tree: Checked) -> Condition:
    writer = _Writer()
    result = writer.write(tree)
    loads = [f"    v{slot} = c[{slot}].value" for slot in sorted(writer.slots)]
    source = "\n".join(["def condition(c):", *loads, *writer.lines, f"    return {result}"])
    namespace: dict[str, Any] = {"k": tuple(writer.words), "finite": _finite}
    exec(compile(source, "<condition>", "exec"), namespace)
    condition: Condition = namespace["condition"]
    return condition


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
            case AtLeast(count=count, operands=operands):
                return self._at_least(count, [self.write(each) for each in operands])

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

    def _at_least(self, count: int, operands: list[str]) -> str:
        true = self._assign(" + ".join(f"({each} is True)" for each in operands))
        possible = self._assign(" + ".join(f"({each} is not False)" for each in operands))
        return self._assign(f"True if {true} >= {count} else (False if {possible} < {count} else None)")


def _unknown(*operands: str) -> str:
    """``None if a is None or b is None else ``, without the operands that are literals."""
    tests = " or ".join(f"{each} is None" for each in dict.fromkeys(operands) if each[0] in "vt")
    return f"None if {tests} else " if tests else ""
