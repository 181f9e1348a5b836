"""What pydantic found wrong, in the words of the person who wrote the file.

Every error type that our models and the protocols' models can produce has a code and two texts in ``_EXPLAIN``; a type
that is not there (a third party's own) is shown in pydantic's words under E-VALUE.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails

from gateway.config.faults import Fault, did_you_mean, nearest, one_of, quoted
from gateway.config.yaml12 import Document, Steps
from gateway.model import Text

M = TypeVar("M", bound=BaseModel)

_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\b(\d+)\b")
_SWITCH_WORDS = {"on", "yes", "y", "off", "no", "n", "开", "是", "关", "否"}


def parse(model: type[M], data: object) -> M:
    """Strict, as JSON: ``"9600"`` is not 9600 and ``on`` is not true, but lists become tuples and words enums.

    Raises ValidationError.
    """
    return model.model_validate_json(json.dumps(data), strict=True)


def explain(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    prefix: Steps = (),
    *,
    allowed: Iterable[str] = (),
) -> Iterator[Fault]:
    """One fault for every place that *error* complains about.

    prefix: where in *document* the validated data begin.  allowed: keys that may stand beside the model's own.
    """
    schema = _schema(model)
    errors = error.errors(include_url=False)
    unknown = {details["loc"] for details in errors if details["type"] == "extra_forbidden"}
    seen: set[tuple[Steps, str, str]] = set()
    for details in errors:
        where = _Where(details, schema, document, prefix, tuple(allowed))
        if (*details["loc"][:-1], where.slip) in unknown:
            continue  # misspelt, and reported as such
        code, message, hint = _EXPLAIN.get(details["type"], _other)(where)
        # A value that may be of several types is complained about once for each of them.
        complaint = (where.place, code, where.name if code == "E-MISSING" else "")
        if complaint in seen:
            continue
        seen.add(complaint)
        yield document.fault(where.place, code, message, hint, key=where.at_key)


def unknown_keys(document: Document, place: Steps, written: Iterable[str], keys: Iterable[str]) -> Iterator[Fault]:
    """*written* of an entry whose model lets keys of others pass, where there is no other."""
    for name in written:
        message = Text(f"未知的键 {quoted(name)}", f"unknown key {quoted(name)}")
        words = one_of(sorted(keys))
        hint = did_you_mean(name, keys) or Text(f"可用的键：{words.zh}", f"allowed here: {words.en}")
        yield document.fault((*place, name), "E-KEY", message, hint, key=True)


@dataclass(frozen=True, slots=True)
class _Where:
    details: ErrorDetails
    schema: Mapping[str, Any]
    document: Document
    prefix: Steps
    beside: tuple[str, ...]

    @property
    def place(self) -> Steps:
        """The path in the document; a missing key is reported at what lacks it."""
        steps = self.prefix + tuple(step for step in self.details["loc"] if step != "[key]")
        if self.details["type"] == "missing":
            return steps[:-1]
        return self.document.known(steps)

    @property
    def at_key(self) -> bool:
        kind, loc = self.details["type"], self.details["loc"]
        inside_a_key = kind == "missing" and bool(self.place) and isinstance(self.place[-1], str)
        return kind == "extra_forbidden" or (bool(loc) and loc[-1] == "[key]") or inside_a_key

    @property
    def name(self) -> str:
        return str(next((step for step in reversed(self.details["loc"]) if step != "[key]"), ""))

    @property
    def found(self) -> Any:
        return self.details["input"]

    @property
    def written(self) -> str:
        """The value as it stands in the file."""
        return self.document.literal(self.place) or str(self.found)

    def context(self, name: str) -> Any:
        return self.details.get("ctx", {}).get(name)

    @property
    def slip(self) -> str | None:
        """The unknown key that was probably meant to be the missing one."""
        if self.details["type"] != "missing" or not isinstance(self.found, dict):
            return None
        return nearest(self.name, set(self.found) - set(self.keys()))

    def keys(self) -> list[str]:
        """What may be written where this key or value stands."""
        siblings = _at(self.schema, self.details["loc"][:-1]).get("properties", {})
        return [*siblings, *(self.beside if len(self.details["loc"]) == 1 else ())]

    def limits(self) -> tuple[Any, Any]:
        node = _at(self.schema, self.details["loc"])
        return node.get("minimum"), node.get("maximum")


_Words: TypeAlias = tuple[str, Text, Text | None]


def _missing(where: _Where) -> _Words:
    name, slip = quoted(where.name), where.slip
    hint = Text(f"是否误写成了 {quoted(slip)}？", f"is {quoted(slip)} meant to be it?") if slip else None
    return "E-MISSING", Text(f"缺少 {name}", f"{name} is missing"), hint


def _unknown_key(where: _Where) -> _Words:
    keys = where.keys()
    hint = did_you_mean(where.name, keys)
    if hint is None and keys:
        words = one_of(sorted(keys))
        hint = Text(f"可用的键：{words.zh}", f"allowed here: {words.en}")
    return "E-KEY", Text(f"未知的键 {quoted(where.name)}", f"unknown key {quoted(where.name)}"), hint


def _type(zh: str, en: str, advice: Callable[[_Where], Text | None] | None = None) -> Callable[[_Where], _Words]:
    def words(where: _Where) -> _Words:
        found = _describe(where.found)
        message = Text(f"这里应是{zh}，而不是{found.zh}", f"{en} is expected here, not {found.en}")
        if where.found is None:
            return "E-TYPE", message, Text("写上值，或删去这一行", "write a value, or delete the line")
        return "E-TYPE", message, advice(where) if advice else None

    return words


def _quotes_on(where: _Where) -> Text | None:
    if isinstance(where.found, (bool, int, float)):
        return Text(f'请加引号："{where.written}"', f'put it in quotes: "{where.written}"')
    return None


def _quotes_off(where: _Where) -> Text | None:
    if isinstance(where.found, str) and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?", where.found):
        return Text(f"去掉引号：{where.found}", f"without quotes: {where.found}")
    return None


def _true_or_false(where: _Where) -> Text | None:
    if isinstance(where.found, str) and where.found.lower() in _SWITCH_WORDS:
        return Text("请写 true 或 false", "write true or false")
    return _quotes_off(where)


def _word(where: _Where) -> _Words:
    expected = [text or number for text, number in _QUOTED.findall(str(where.context("expected")))]
    words = one_of(expected)
    message = Text(
        f"{quoted(where.written)} 不可用；可用的值：{words.zh}", f"{quoted(where.written)} is not one of: {words.en}"
    )
    return "E-VALUE", message, did_you_mean(str(where.found), expected)


def _limit(zh: str, en: str, bound: str) -> Callable[[_Where], _Words]:
    def words(where: _Where) -> _Words:
        # A duration's limit is in seconds, whatever unit it was written in.
        unit = " s" if where.written[-1:] in tuple("smhdn") else ""
        limit = f"{where.context(bound):g}{unit}"
        low, high = where.limits()
        message = Text(f"{quoted(where.written)} 必须{zh} {limit}", f"{quoted(where.written)} must be {en} {limit}")
        if low is None or high is None:
            return "E-VALUE", message, None
        return "E-VALUE", message, Text(f"允许范围 {low:g}–{high:g}", f"allowed: {low:g} to {high:g}")

    return words


def _length(zh: str, en: str, bound: str) -> Callable[[_Where], _Words]:
    def words(where: _Where) -> _Words:
        limit = where.context(bound)
        return "E-VALUE", Text(zh.format(limit), en.format(limit)), None

    return words


def _pattern(where: _Where) -> _Words:
    pattern = where.context("pattern")
    message = Text(
        f"{quoted(where.written)} 不符合格式 {pattern}", f"{quoted(where.written)} does not have the form {pattern}"
    )
    return ("E-ID" if where.name in {"id", "kind"} or where.at_key else "E-VALUE"), message, None


def _raised(where: _Where) -> _Words:
    """A validator of ours or of a protocol raised ValueError.

    Ours say which form was expected; a protocol says what is wrong, in one language or as ``zh / en``.
    """
    text = str(where.context("error"))
    if text in _FORMS:
        code, name, hint = _FORMS[text]
        return code, Text(f"{quoted(where.written)} 不是{name.zh}", f"{quoted(where.written)} is not {name.en}"), hint
    zh, _, en = text.partition(" / ")
    return "E-VALUE", Text(zh, en or zh), _quotes_on(where)


def _other(where: _Where) -> _Words:
    return "E-VALUE", Text(where.details["msg"], where.details["msg"]), None


_FORMS = {
    "duration": (
        "E-DURATION",
        Text("时长", "a duration"),
        Text("写法如 90s、15 min、2 h", "write 90s, 15 min or 2 h"),
    ),
    "times": (
        "E-TIME",
        Text("一天中的时刻（或其列表）", "a time of day, or a list of them"),
        Text("写法如 00:05 或 [00:05, 12:00]", "write 00:05 or [00:05, 12:00]"),
    ),
    "day": ("E-VALUE", Text("日期", "a day"), Text("写法如 2026-10-01", "write 2026-10-01")),
    "size": ("E-SIZE", Text("容量", "a size"), Text("写法如 512 MiB、4 GB", "write 512 MiB or 4 GB")),
    "id": (
        "E-ID",
        Text("有效的编号", "a valid id"),
        Text("1–48 个字母、数字、_ 或 -", "1 to 48 letters, digits, _ or -"),
    ),
    "host:port": (
        "E-VALUE",
        Text("“主机:端口”", "host:port"),
        Text("写法如 192.168.1.20:502", "write 192.168.1.20:502"),
    ),
    "quantity": ("E-VALUE", Text("一个量", "a quantity"), Text("写法如 20 cm、17 mm/h", "write 20 cm or 17 mm/h")),
    "public key": (
        "E-VALUE",
        Text(" Ed25519 公钥", "an Ed25519 public key"),
        Text("32 字节的 base64，共 44 个字符", "base64 of its 32 bytes, 44 characters"),
    ),
}

_MAPPING = _type("若干“键: 值”行", 'a group of "key: value" lines')
_LIST = _type("列表（每项以“- ”开头）", 'a list (each item begins with "- ")')
_INTEGER = _type("整数", "a whole number", _quotes_off)
_NUMBER = _type("数字", "a number", _quotes_off)

_EXPLAIN: Mapping[str, Callable[[_Where], _Words]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_key,
    "string_type": _type("文字", "text", _quotes_on),
    "path_type": _type("路径", "a path", _quotes_on),
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _type("true 或 false", "true or false", _true_or_false),
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "literal_error": _word,
    "enum": _word,
    "greater_than": _limit("大于", "more than", "gt"),
    "greater_than_equal": _limit("不小于", "at least", "ge"),
    "less_than": _limit("小于", "less than", "lt"),
    "less_than_equal": _limit("不大于", "at most", "le"),
    "multiple_of": _limit("是它的整数倍：", "a multiple of", "multiple_of"),
    "string_too_short": _length("至少 {} 个字符", "must have at least {} characters", "min_length"),
    "string_too_long": _length("至多 {} 个字符", "must have at most {} characters", "max_length"),
    "too_short": _length("至少要有 {} 项", "must have at least {} items", "min_length"),
    "too_long": _length("至多 {} 项", "must have at most {} items", "max_length"),
    "string_pattern_mismatch": _pattern,
    "value_error": _raised,
}


def _describe(found: Any) -> Text:
    match found:
        case None:
            return Text("空", "nothing")
        case bool():
            return Text(str(found).lower(), str(found).lower())
        case int() | float():
            return Text(f"数字 {found}", f"the number {found}")
        case str():
            return Text(f"文字 {quoted(found)}", f"the text {quoted(found)}")
        case list():
            return Text("列表", "a list")
        case _:
            return Text("一组键", "a group of keys")


def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    try:
        return model.model_json_schema()
    except PydanticUserError:  # a third party's model with types that JSON Schema cannot say: no advice then
        return {}


def _at(schema: Mapping[str, Any], loc: Iterable[str | int]) -> Mapping[str, Any]:
    node = _resolved(schema, schema)
    for step in loc:
        if isinstance(step, int):
            inner = node.get("items")
        else:
            patterns = node.get("patternProperties") or {"": node.get("additionalProperties")}
            inner = node.get("properties", {}).get(step) or next(iter(patterns.values()))
        node = _resolved(schema, inner) if isinstance(inner, dict) else {}
    return node


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    if branches := node.get("anyOf"):
        node = next((branch for branch in branches if branch.get("type") != "null"), {})
    reference = node.get("$ref")
    if isinstance(reference, str):
        found: Mapping[str, Any] = schema.get("$defs", {}).get(reference.rpartition("/")[2], {})
        return found
    return node
