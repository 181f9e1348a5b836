"""The text of a condition becomes a tree.  Nothing here knows devices or units' meaning; check.py does.

    or < and < not < comparison (no chains) < + - < * / < unary minus

Total by construction: no loops, no assignment, no attributes, no indexing, no strings.
且 或 非 真 假 and the Chinese names of functions mean the same as the English words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from rules.faults import RuleFault, did_you_mean, in_text
from rules.units import PER, PURE, WRITTEN, Unit, written

MAX_LENGTH, MAX_DEPTH, MAX_NODES = 500, 32, 200
_MAX_DIGITS = 15  # what a double holds exactly


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    unit: Unit
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Minus:
    operand: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Not:
    operand: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Logic:
    operator: str
    """``and`` or ``or``"""
    operands: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]
    start: int
    end: int


Node: TypeAlias = Number | Name | Truth | Minus | Arithmetic | Compare | Not | Logic | Call


def parse(text: str) -> tuple[Node | None, tuple[RuleFault, ...]]:
    """The tree, and its faults and warnings.  None when the text is not a condition at all."""
    warnings = tuple(_full_width(text))
    try:
        if len(text) > MAX_LENGTH:
            raise _Refused(
                in_text("E-SYNTAX", 0, 1, f"条件超过 {MAX_LENGTH} 个字符", f"longer than {MAX_LENGTH} characters")
            )
        narrow = text.translate(_NARROW)
        return _Parser(narrow, list(_tokens(narrow))).whole(), warnings
    except _Refused as refused:
        return None, (*warnings, refused.fault)


class _Refused(Exception):
    def __init__(self, fault: RuleFault) -> None:
        super().__init__(fault.en)
        self.fault = fault


def _refuse(start: int, end: int, zh: str, en: str, hint_zh: str = "", hint_en: str = "") -> _Refused:
    return _Refused(in_text("E-SYNTAX", start, end, zh, en, hint_zh, hint_en))


# Chinese input methods produce these; one character for one, so that offsets keep their meaning.
_NARROW = str.maketrans("＞＜（），＝＋－−＊×／÷％．！０１２３４５６７８９　", "><(),=+--**//%.!0123456789 ")
_WIDE = re.compile("[" + "".join(map(chr, _NARROW)) + "]+")


def _full_width(text: str) -> Iterator[RuleFault]:
    for match in _WIDE.finditer(text[:MAX_LENGTH]):
        wide, narrow = match[0], match[0].translate(_NARROW)
        yield in_text(
            "W-FULLWIDTH",
            match.start(),
            match.end(),
            f'全角符号 "{wide}"，已按 "{narrow}" 处理',
            f'full-width "{wide}" was read as "{narrow}"',
        )


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """number, name, end, or the operator itself"""
    text: str
    start: int
    end: int
    value: float = 0.0
    unit: Unit = PURE


# Without 且 and 或: they join conditions even where nobody leaves a space.
_LETTER = r"A-Za-z_\u3400-\u4dbf\u4e00-\u4e13\u4e15-\u6215\u6217-\u9fff"
# A device id may hold hyphens and begin with a digit; what tells it from a subtraction is that nothing is spaced.
_POINT = re.compile(rf"[{_LETTER}0-9][{_LETTER}0-9-]*\.[{_LETTER}][{_LETTER}0-9]*")
_WORD = re.compile(rf"[{_LETTER}][{_LETTER}0-9]*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_OPERATOR = re.compile(r"==|!=|>=|<=|[≥≤≠><()+\-*/,且或]")
_SAME = {"≥": ">=", "≤": "<=", "≠": "!=", "且": "and", "或": "or"}
_UNIT = re.compile(r" *([%°℃℉ΩµμA-Za-z\[][\w%°/.²³\[\]]*)")
_CHINESE = re.compile(r" *((?:(?![且或])[\u4e00-\u9fff])+)")
_UNITS = re.compile(
    " *((?:"
    + "|".join(re.escape(unit) for unit in sorted(WRITTEN, key=len, reverse=True))
    + rf")(?:/(?:{'|'.join(PER)}))?)(?![^\W且或]|[²³\[%°]|\.\w)"
)
_KEYWORDS = {word: word for word in ("and", "or", "not", "true", "false")} | {"非": "not", "真": "true", "假": "false"}
CHINESE_FUNCTIONS = {
    "平均": "avg",
    "最小": "min",
    "最大": "max",
    "总和": "sum",
    "次数": "count",
    "增量": "increase",
    "变化率": "rate",
    "之前": "ago",
    "同时段": "same_hour",
    "往常": "usual",
    "时长": "age",
    "无数据": "silent",
    "至少": "at_least",
    "报警": "alarm",
}
_OF_IDS = frozenset({"alarm", "silent"})
"""Their argument is the id of a rule or device, not an expression."""
_SPOKEN = {
    "大于": ">",
    "高于": ">",
    "超过": ">",
    "小于": "<",
    "低于": "<",
    "等于": "==",
    "大于等于": ">=",
    "不小于": ">=",
    "小于等于": "<=",
    "不大于": "<=",
    "不等于": "!=",
    "并且": "且",
    "而且": "且",
    "AND": "and",
    "OR": "or",
}
"""What people say, and how it is written."""
_CHINESE_UNITS = {
    "秒": "s",
    "分": "min",
    "分钟": "min",
    "小时": "h",
    "天": "d",
    "毫米": "mm",
    "厘米": "cm",
    "公分": "cm",
    "米": "m",
    "升": "L",
    "吨": "t",
    "方": "m³",
    "立方米": "m³",
    "千克": "kg",
    "公斤": "kg",
    "安": "A",
    "伏": "V",
    "瓦": "W",
    "千瓦": "kW",
    "千瓦时": "kWh",
    "赫兹": "Hz",
    "度": "°C",
    "摄氏度": "°C",
    "帕": "Pa",
    "千帕": "kPa",
    "兆帕": "MPa",
    "巴": "bar",
}
_FOREIGN = {"&&": "and", "||": "or", "=": "==", "!": "not", "&": "and", "|": "or"}


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at] in " \t\n":
            at += 1
            continue
        token = _token(text, at)
        at = token.end
        yield token
    yield _Token("end", "", len(text), len(text))


def _token(text: str, at: int) -> _Token:
    if match := _POINT.match(text, at):
        return _Token("name", match[0], at, match.end())
    if match := _NUMBER.match(text, at):
        return _number(text, match)
    if match := _WORD.match(text, at):
        return _Token(_KEYWORDS.get(match[0], "name"), match[0], at, match.end())
    if match := _OPERATOR.match(text, at):
        operator = _SAME.get(match[0], match[0])
        return _Token(operator, match[0], at, match.end())
    for foreign, ours in _FOREIGN.items():
        if text.startswith(foreign, at):
            end = at + len(foreign)
            raise _refuse(
                at, end, f'不认识 "{foreign}"', f'"{foreign}" is not known', f'请写 "{ours}"', f'write "{ours}"'
            )
    raise _strange(text[at], at)


def _number(text: str, digits: re.Match[str]) -> _Token:
    start, end = digits.span()
    if len(digits[0]) > _MAX_DIGITS + 1:
        raise _refuse(start, end, f"数字超过 {_MAX_DIGITS} 位", f"a number of more than {_MAX_DIGITS} digits")
    value = float(digits[0])
    if known := _UNITS.match(text, end):
        unit = written(known[1])
        assert unit is not None
        return _Token("number", digits[0], start, known.end(), value, unit)
    unknown = _UNIT.match(text, end)
    if unknown and unknown[1] not in _KEYWORDS:
        hints = did_you_mean(unknown[1], WRITTEN)
        zh, en = f'不认识的单位 "{unknown[1]}"', f'unknown unit "{unknown[1]}"'
        raise _Refused(in_text("E-UNIT", start, unknown.end(), zh, en, *hints))
    if spoken := _CHINESE.match(text, end):
        unit_of = _CHINESE_UNITS.get(spoken[1])
        if unit_of is not None:
            zh, en = f'单位不能写成 "{spoken[1]}"', f'a unit is not written "{spoken[1]}"'
            hints = f"请写 {digits[0]} {unit_of}", f"write {digits[0]} {unit_of}"
            raise _Refused(in_text("E-UNIT", start, spoken.end(), zh, en, *hints))
    return _Token("number", digits[0], start, end, value)


def _strange(character: str, at: int) -> _Refused:
    label = unicodedata.name(character, "control character")
    shown = f"U+{ord(character):04X} {label}" if not character.isascii() or not character.isprintable() else character
    return _refuse(at, at + 1, f"此处不允许字符 {shown}", f"the character {shown} is not allowed here")


_COMPARISONS = frozenset({"==", "!=", ">", ">=", "<", "<="})
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN = range(1, 8)
_POWER = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT} | dict.fromkeys(
    _COMPARISONS, _COMPARE
)


class _Parser:
    """Pratt parser: a token's binding power decides how far to the right its operand reaches."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._at = 0
        self._nodes = 0
        self._prefix: dict[str, Callable[[_Token, int], Node]] = {
            "number": lambda token, _: Number(token.value, token.unit, token.start, token.end),
            "name": self._name,
            "true": lambda token, _: Truth(True, token.start, token.end),
            "false": lambda token, _: Truth(False, token.start, token.end),
            "not": self._not,
            "-": self._minus,
            "(": self._group,
        }

    def whole(self) -> Node:
        tree = self._expression(0, 0)
        if self._next.kind != "end":
            raise self._unexpected(self._next)
        return tree

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _expect(self, kind: str) -> _Token:
        if self._next.kind != kind:
            raise self._unexpected(self._next, kind)
        return self._take()

    def _unexpected(self, token: _Token, wanted: str = "") -> _Refused:
        if token.kind == "end":
            zh, en = "条件不完整", "the condition ends too early"
        else:
            zh, en = f'此处不应出现 "{token.text}"', f'"{token.text}" is not expected here'
        hints = (f'缺少 "{wanted}"', f'"{wanted}" is missing') if wanted else ("", "")
        if token.text in _SPOKEN:
            hints = f'请写 "{_SPOKEN[token.text]}"', f'write "{_SPOKEN[token.text]}"'
        return _refuse(token.start, token.end, zh, en, *hints)

    def _expression(self, power: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            token = self._next
            raise _refuse(token.start, token.end, f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH}")
        token = self._take()
        prefix = self._prefix.get(token.kind)
        if prefix is None:
            raise self._unexpected(token)
        left = self._counted(prefix(token, depth))
        while (binding := _POWER.get(self._next.kind, 0)) > power:
            left = self._counted(self._infix(left, self._take(), binding, depth))
        return left

    def _counted(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            zh, en = f"条件超过 {MAX_NODES} 个元素", f"more than {MAX_NODES} elements"
            raise _refuse(node.start, node.end, zh, en)
        return node

    def _infix(self, left: Node, token: _Token, binding: int, depth: int) -> Node:
        right = self._expression(binding, depth)
        if token.kind in ("and", "or"):
            same = isinstance(left, Logic) and left.operator == token.kind
            first = left.operands if isinstance(left, Logic) and same else (left,)
            return Logic(token.kind, (*first, right), left.start, right.end)
        if token.kind not in _COMPARISONS:
            return Arithmetic(token.kind, left, right, left.start, right.end)
        if self._next.kind in _COMPARISONS:
            raise _refuse(
                self._next.start,
                self._next.end,
                "比较不能连写",
                "comparisons cannot be chained",
                "请写 a < b and b < c",
                "write a < b and b < c",
            )
        return Compare(token.kind, left, right, left.start, right.end)

    def _not(self, token: _Token, depth: int) -> Node:
        operand = self._expression(_NOT, depth + 1)
        return Not(operand, token.start, operand.end)

    def _minus(self, token: _Token, depth: int) -> Node:
        operand = self._expression(_SIGN, depth + 1)
        return Minus(operand, token.start, operand.end)

    def _group(self, token: _Token, depth: int) -> Node:
        inner = self._expression(0, depth + 1)
        self._expect(")")
        return inner

    def _name(self, token: _Token, depth: int) -> Node:
        if self._next.kind != "(":
            return Name(token.text, token.start, token.end)
        self._take()
        function = CHINESE_FUNCTIONS.get(token.text, token.text)
        arguments: list[Node] = [self._id()] if function in _OF_IDS and self._next.kind != ")" else []
        while self._next.kind != ")":
            if arguments:
                self._expect(",")
            arguments.append(self._expression(0, depth + 1))
        return Call(function, tuple(arguments), token.start, self._take().end)

    def _id(self) -> Name:
        """Of a device or rule.  Between hyphens it may hold what looks like numbers: ``m-1-1-101``."""
        if self._next.kind not in ("name", "number"):
            raise self._unexpected(self._next)
        first = last = self._take()
        while self._next.kind in ("name", "number", "-") and self._next.start == last.end:
            last = self._take()
        self._counted(Name(first.text, first.start, first.end))
        return Name(self._text[first.start : last.end], first.start, last.end)


def walk(tree: Node) -> Iterator[Node]:
    """Every node, in reading order."""
    return _nodes(tree, frozenset())


def _nodes(tree: Node, closed: frozenset[str]) -> Iterator[Node]:
    """closed: functions into whose arguments it does not look."""
    yield tree
    match tree:
        case Not(operand=operand) | Minus(operand=operand):
            yield from _nodes(operand, closed)
        case Arithmetic(left=left, right=right) | Compare(left=left, right=right):
            yield from _nodes(left, closed)
            yield from _nodes(right, closed)
        case Call(function=function) if function in closed:
            return
        case Logic(operands=operands) | Call(arguments=operands):
            for operand in operands:
                yield from _nodes(operand, closed)
        case Number() | Truth() | Name():
            return


def names(tree: Node) -> list[str]:
    """Every name in the tree that may be a point's, state words too, each once."""
    return list(dict.fromkeys(node.text for node in _nodes(tree, _OF_IDS) if isinstance(node, Name)))


def devices(tree: Node) -> list[str]:
    """Every device that ``silent`` names, by its role or id."""
    found = [call.arguments[0] for call in calls(tree) if call.function == "silent" and call.arguments]
    return list(dict.fromkeys(node.text for node in found if isinstance(node, Name)))


def calls(tree: Node) -> Iterator[Call]:
    return (node for node in walk(tree) if isinstance(node, Call))
