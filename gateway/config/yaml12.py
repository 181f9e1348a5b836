"""YAML as people expect it: YAML 1.2 core scalars, one document, places for every value, and no surprises.

PyYAML resolves scalars by YAML 1.1 (``22:30`` is 1350, ``on`` is true, ``010`` is 8), so only its event stream is used
here; values are resolved by the core schema of YAML 1.2.2, section 10.3.2.  Keys are always text.  Anchors, aliases,
tags, duplicate keys, tabs as indentation and a second document are faults.  The stream is consumed with an explicit
stack and stops at the first limit, so that neither 20,000 brackets nor a gigabyte costs more than a message.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from gateway.config.faults import Fault, quoted
from gateway.model import Text

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_KEYS = 1000
"""In one mapping.  A long list of devices is a list; a mapping this long is a mistake."""
_LONGEST_NUMBER = 40

Steps: TypeAlias = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML built without libyaml: slower, same events
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # what libyaml counts as the end of a line
_NOT_YAML = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAB_INDENT = re.compile(r"^ *\t[ \t]*(?=[^\s#])", re.MULTILINE)
_FIRST_WORD = re.compile(r"[^\s:,\[\]{}]*")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER_BEGINS = frozenset("+-.0123456789")
_ESCAPE_LENGTH = {"x": 4, "u": 6, "U": 10}

_WHY: Mapping[int | None, str] = {
    errno.ENOENT: "文件不存在",
    errno.EACCES: "没有权限",
    errno.EISDIR: "这是一个目录",
}
_PROBLEMS = {
    # libyaml's own limit (PyYAML 6.0.4), which may be met before ours: it reads ahead
    "exceeded maximum nesting depth": Text(f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH} levels"),
    # libyaml's words: ours, for people who have never seen a parser
    "mapping values are not allowed in this context": Text(
        '这里不应出现冒号；检查缩进，以及上一行的键后面是否漏了冒号 ":"',
        'a colon is out of place here; check the indentation, and whether the line above lacks its ":"',
    ),
    "could not find expected ':'": Text('键后面缺少冒号 ":"', 'a ":" is missing after the key'),
    "did not find expected key": Text(
        "缩进不一致，或上一个值没有结束", "indentation does not fit, or the value above has not ended"
    ),
    "did not find expected '-' indicator": Text(
        '此处应是以 "- " 开头的列表项', 'an item beginning with "- " belongs here'
    ),
    "found character that cannot start any token": Text(
        "值不能以这个字符开头；请加引号", "a value cannot begin with this character; put it in quotes"
    ),
    "found unexpected end of stream": Text("引号没有结束", "a quotation mark is never closed"),
    "did not find expected ',' or ']'": Text('列表 [ ] 缺少 "," 或 "]"', '"," or "]" is missing in a [ ] list'),
    "did not find expected ',' or '}'": Text('{ } 中缺少 "," 或 "}"', '"," or "}" is missing in { }'),
    "did not find expected node content": Text("这里缺少一个值", "a value is missing here"),
    "did not find expected <document start>": Text(
        "这一行不属于上面的内容", "this line does not belong to what stands above"
    ),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One file as plain data, with the place of everything in it.

    *data* is None when the file could not be read to its end; *faults* then says why.
    """

    file: str
    data: Any
    faults: tuple[Fault, ...]
    lines: tuple[str, ...]
    root: _Place | None = None

    @property
    def broken(self) -> bool:
        return self.root is None

    def locate(self, path: Steps, *, key: bool = False, offset: int = 0) -> tuple[int, int]:
        """Line and column, from 1, of the value at *path* or of its key; if there is none, of what surrounds it.

        offset: characters into the scalar's text.
        """
        event = self._event(path, key)
        if event is None:
            return 1, 1
        start = event.start_mark
        if offset and _is_scalar(event):
            return self._inside(event, offset)
        return start.line + 1, start.column + 1

    def length(self, path: Steps, *, key: bool = False) -> int:
        """Characters of the scalar at *path* (or of its key) on its first line; of a collection, of its first word."""
        event = self._event(path, key)
        if event is None:
            return 1
        if not _is_scalar(event):
            word = _FIRST_WORD.match(self.line(event.start_mark.line + 1), event.start_mark.column)
            return max(1, len(word[0])) if word else 1
        start, end = event.start_mark, event.end_mark
        last = int(end.column) if end.line == start.line else len(self.line(start.line + 1).rstrip())
        return max(1, last - int(start.column))

    def known(self, path: Steps) -> Steps:
        """The part of *path* that exists here."""
        place = self.root
        for depth, step in enumerate(path):
            inner = place.child(step) if isinstance(place, _Branch) else None
            if inner is None:
                return path[:depth]
            place = inner
        return path

    def span(self, path: Steps) -> tuple[int, int]:
        """Where the node at *path*, which exists, begins and ends: characters into the text (without a BOM)."""
        place = self._place(path)
        if not isinstance(place, _Branch):
            start, end = place.start_mark, place.end_mark
            assert start is not None
            assert end is not None
            return start.index, end.index
        last = list(place.values)[-1:]
        if place.event.flow_style or not last:
            return place.event.start_mark.index, place.end.end_mark.index
        return place.event.start_mark.index, self.span((*path, last[0]))[1]

    def is_flow(self, path: Steps) -> bool:
        """A scalar, or a collection in brackets."""
        place = self._place(path)
        return not isinstance(place, _Branch) or bool(place.event.flow_style)

    def key_end(self, path: Steps) -> int:
        """Where the key of the node at *path* ends, in characters."""
        event = self._event(path, key=True)
        return int(event.end_mark.index)

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def literal(self, path: Steps) -> str:
        """The scalar at *path* as it stands in the file, before any type was made of it."""
        event = self._event(path, key=False)
        return str(event.value) if _is_scalar(event) else ""

    def fault(
        self,
        path: Steps,
        code: str,
        message: Text,
        hint: Text | None = None,
        *,
        key: bool = False,
        offset: int = 0,
        length: int | None = None,
        warning: bool = False,
    ) -> Fault:
        line, column = self.locate(path, key=key, offset=offset)
        if length is None:
            length = self.length(path, key=key)
        return Fault(self.file, line, column, code, message, hint, length, self.line(line), warning)

    def _place(self, path: Steps) -> _Place:
        place = self.root
        for step in path:
            assert isinstance(place, _Branch)
            place = place.child(step)
        assert place is not None
        return place

    def _event(self, path: Steps, key: bool) -> Any:
        place = self.root
        for depth, step in enumerate(path):
            if not isinstance(place, _Branch):
                break
            if key and depth == len(path) - 1 and step in place.keys:
                return place.keys[step]
            inner = place.child(step)
            if inner is None:
                break
            place = inner
        return place.event if isinstance(place, _Branch) else place

    def _inside(self, event: Any, offset: int) -> tuple[int, int]:
        start, end = event.start_mark, event.end_mark
        if event.style in ("'", '"'):
            column = self._inside_quotes(event, offset) if start.line == end.line else start.column
            return start.line + 1, column + 1
        # Plain and block scalars: the lines without their indentation, joined by one character each.
        row, column = (start.line, start.column) if not event.style else (start.line + 1, 0)
        block = self._block_indent(row, end.line) if event.style else None
        while row <= end.line:
            text = self.line(row + 1)
            column = column or (len(text) - len(text.lstrip(" ")) if block is None else block)
            length = max(0, len(text) - column)
            if offset <= length:
                return row + 1, column + offset + 1
            offset -= length + 1
            row, column = row + 1, 0
        return start.line + 1, start.column + 1

    def _block_indent(self, row: int, last: int) -> int:
        """Of a block scalar: its first line that is not empty says it, deeper ones keep what they have more."""
        texts = (self.line(each + 1) for each in range(row, last + 1))
        return next((len(text) - len(text.lstrip(" ")) for text in texts if text.strip()), 0)

    def _inside_quotes(self, event: Any, offset: int) -> int:
        text = self.line(event.start_mark.line + 1)
        column, end = int(event.start_mark.column) + 1, int(event.end_mark.column)
        for _ in range(offset):
            if event.style == "'" and text.startswith("''", column):
                column += 2
            elif event.style == '"' and text.startswith("\\", column):
                column += _ESCAPE_LENGTH.get(text[column + 1 : column + 2], 2)
            else:
                column += 1
        return min(column, end)


def read_yaml(path: Path, file: str, *, limit_bytes: int = MAX_BYTES) -> tuple[Document, bytes]:
    """The file's document, and its bytes as read.  A file that cannot be read gives a document that says so."""
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as exc:
        why = exc.strerror or str(exc)
        message = Text(f"读不到文件：{_WHY.get(exc.errno, why)}", f"the file cannot be read: {why}")
        return _refused(file, "", 1, 1, message, "E-FILE"), b""
    if len(data) > limit_bytes:
        return _too_large(file, limit_bytes), data
    return _decoded(data, file, limit_bytes), data


def load_yaml(text: str, file: str, *, limit_bytes: int = MAX_BYTES) -> Document:
    """*file*: how faults name it."""
    if len(text) > limit_bytes or len(text.encode(errors="surrogatepass")) > limit_bytes:
        return _too_large(file, limit_bytes)
    text = text.removeprefix("\ufeff")
    if found := _NOT_YAML.search(text):
        code_point = f"U+{ord(found[0]):04X}"
        return _refused_at(
            text, file, found.start(), Text(f"不允许的字符 {code_point}", f"character {code_point} is not allowed")
        )
    if found := _TAB_INDENT.search(text):
        place = found.start() + found[0].index("\t")
        return _refused_at(text, file, place, Text("缩进用了制表符；请改用空格", "a tab indents this line; use spaces"))
    lines = tuple(_BREAK.split(text))
    builder = _Builder(file, lines)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except _Stop as stop:
        return Document(file, None, (*builder.faults, stop.fault), lines)
    except yaml.MarkedYAMLError as exc:
        return Document(file, None, (*builder.faults, _syntax_fault(exc, file, lines)), lines)
    if not builder.documents:
        return _refused(file, text, 1, 1, Text("文件是空的", "the file is empty"))
    return Document(file, builder.documents[0], tuple(builder.faults), lines, builder.places[0])


class _Stop(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Branch:
    """A mapping or a sequence: its data, and where its parts stand."""

    __slots__ = ("data", "end", "event", "key", "keys", "repeated", "values")

    def __init__(self, event: Any, data: dict[str, Any] | list[Any]) -> None:
        self.event = event
        self.end: Any = event
        """The event that ends it."""
        self.data = data
        self.keys: dict[str | int, Any] = {}
        self.values: dict[str | int, _Place] = {}
        self.key: str | None = None
        """The key that waits for its value."""
        self.repeated = 0

    def child(self, step: str | int) -> _Place | None:
        return self.values.get(step)


_Place: TypeAlias = _Branch | yaml.ScalarEvent


class _Builder:
    """Eats events; keeps the stack of open collections itself, so that depth is a number and not a crash."""

    def __init__(self, file: str, lines: tuple[str, ...]) -> None:
        self.faults: list[Fault] = []
        self.documents: list[Any] = []
        self.places: list[_Place] = []
        self._file = file
        self._lines = lines
        self._stack: list[_Branch] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }

    def feed(self, event: Any) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self._refuse_marks(event)
        if self._wants_key():
            self._take_key(event)
            return
        value = event.value
        if not event.style:
            value = self._resolve(event)
        self._attach(value, event)

    def _open(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self._refuse_marks(event)
        if self._wants_key():
            self._stop(event, Text("键必须是一个词", "a key must be a single word"))
        if len(self._stack) >= MAX_DEPTH:
            self._stop(event, Text(f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH} levels"))
        branch = _Branch(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
        self._attach(branch.data, branch)
        self._stack.append(branch)

    def _close(self, event: Any) -> None:
        self._stack.pop().end = event

    def _alias(self, event: Any) -> None:
        self._report(event, Text("不支持别名 *", "aliases (*) are not supported"), _REPEAT_HINT)
        if self._wants_key():
            self._stop(event, Text("键必须是一个词", "a key must be a single word"))
        self._attach(None, yaml.ScalarEvent(None, None, (True, False), "", event.start_mark, event.end_mark))

    def _document(self, event: Any) -> None:
        if self.documents:
            self._stop(
                event, Text('一个文件只能有一份内容，"---" 之后的不要', 'one document a file: nothing after "---"')
            )

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].data, dict) and self._stack[-1].key is None

    def _take_key(self, event: Any) -> None:
        top = self._stack[-1]
        top.key = event.value
        if len(top.keys) + top.repeated >= MAX_KEYS:
            self._stop(event, Text(f"键超过 {MAX_KEYS} 个", f"more than {MAX_KEYS} keys in one place"))
        if event.value in top.keys:
            first = top.keys[event.value].start_mark.line + 1
            top.repeated += 1
            self._report(
                event,
                Text(f"键 {quoted(event.value)} 重复", f"key {quoted(event.value)} is repeated"),
                Text(f"第 {first} 行已写过", f"it already stands on line {first}"),
            )
        else:
            top.keys[event.value] = event

    def _attach(self, value: Any, place: _Place) -> None:
        if not self._stack:
            self.documents.append(value)
            self.places.append(place)
            return
        top = self._stack[-1]
        if isinstance(top.data, list):
            top.values[len(top.data)] = place
            top.data.append(value)
            return
        assert top.key is not None
        if top.key not in top.values:  # of a repeated key the first one counts
            top.values[top.key] = place
            top.data[top.key] = value
        top.key = None

    def _resolve(self, event: Any) -> Any:
        """The core schema's value of a plain scalar (YAML 1.2.2, 10.3.2)."""
        text: str = event.value
        if text[:1] not in _NUMBER_BEGINS:
            return _WORDS.get(text, text)
        if len(text) > _LONGEST_NUMBER:
            if _INTEGER.fullmatch(text) or _HEX.fullmatch(text) or _OCTAL.fullmatch(text):
                self._report(event, Text("数字太长", "the number is too long"), _QUOTES_HINT)
            return text
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _HEX.fullmatch(text):
            return int(text, 16)
        return int(text[2:], 8) if _OCTAL.fullmatch(text) else _WORDS.get(text, text)

    def _refuse_marks(self, event: Any) -> None:
        if event.anchor is not None:
            self._report(event, Text("不支持锚点 &", "anchors (&) are not supported"), _REPEAT_HINT)
        if event.tag is not None:
            self._report(
                event,
                Text("不支持标签 !", "tags (!) are not supported"),
                Text("去掉它，或加引号", "drop it, or use quotes"),
            )

    def _report(self, event: Any, message: Text, hint: Text | None = None, code: str = "E-YAML") -> None:
        self.faults.append(self._fault(event, message, hint, code))

    def _stop(self, event: Any, message: Text) -> None:
        raise _Stop(self._fault(event, message, None, "E-YAML"))

    def _fault(self, event: Any, message: Text, hint: Text | None, code: str) -> Fault:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Fault(
            self._file, start.line + 1, start.column + 1, code, message, hint, max(1, length), self._lines[start.line]
        )


def _is_scalar(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent)


_REPEAT_HINT = Text("请把内容再写一遍", "write the content again")
_QUOTES_HINT = Text("若是编号，请加引号", "if it is a name or address, put it in quotes")


def _decoded(data: bytes, file: str, limit_bytes: int) -> Document:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        message = Text("文件编码是 UTF-16；请另存为 UTF-8", "the file is UTF-16; save it as UTF-8")
        return _refused(file, "", 1, 1, message)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode("utf-8")
        line = data[data.rfind(b"\n", 0, exc.start) + 1 :].partition(b"\n")[0].decode("utf-8", "replace")
        column = len(before) - before.rfind("\n")
        message = Text(
            "文件不是 UTF-8（可能是 GBK）；请另存为 UTF-8", "not UTF-8 (GBK perhaps); save the file as UTF-8"
        )
        return _refused(file, line, before.count("\n") + 1, column, message)
    return load_yaml(text, file, limit_bytes=limit_bytes)


def _too_large(file: str, limit_bytes: int) -> Document:
    limit = f"{limit_bytes // 1024} KiB"
    return _refused(file, "", 1, 1, Text(f"文件大于 {limit}", f"the file is larger than {limit}"))


def _refused_at(text: str, file: str, index: int, message: Text) -> Document:
    lines = _BREAK.split(text[:index])
    source = _BREAK.split(text[index - len(lines[-1]) :], maxsplit=1)[0]
    return _refused(file, source, len(lines), len(lines[-1]) + 1, message)


def _refused(file: str, source: str, line: int, column: int, message: Text, code: str = "E-YAML") -> Document:
    return Document(file, None, (Fault(file, line, column, code, message, None, 1, source),), ())


def _syntax_fault(exc: yaml.MarkedYAMLError, file: str, lines: tuple[str, ...]) -> Fault:
    problem = exc.problem or "not valid YAML"
    # What never ends is shown where it begins.
    endless = "end of stream" in problem and exc.context_mark is not None
    mark = exc.context_mark if endless else exc.problem_mark or exc.context_mark
    row, column = (mark.line, mark.column) if mark else (0, 0)
    row = min(row, len(lines) - 1)
    hint = None
    if any("：" in line for line in lines[max(0, row - 1) : row + 1]):
        hint = Text('键后面要用半角冒号加空格 ": "，不是 "："', 'after a key write ": ", not the full-width "："')
    message = _PROBLEMS.get(problem, Text(f"YAML 语法错误：{problem}", problem))
    return Fault(file, row + 1, column + 1, "E-YAML", message, hint, 1, lines[row])
