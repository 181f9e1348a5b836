"""Rewrites the expectations of a test file that differ, and nothing else: the rest stays byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.config.yaml12 import Document, Steps, load_yaml
from rules.caseplay import Difference

_BOM = "\ufeff"
UPDATED = ("states", "flags", "events", "totals", "commands", "value", "all_states", "run_at", "changes")
"""What is said of faults in rules stays as its author wrote it: it describes them loosely on purpose."""


def updated(text: str, document: Document, differences: Sequence[Difference]) -> tuple[str, int]:
    """*text*, of which *document* was made, with what was got where something else was expected; how often."""
    wanted = {each.path: each.got for each in differences if _can_be_written(document, each)}
    body = text.removeprefix(_BOM)
    edits = sorted((_edit(document, path, got) for path, got in wanted.items()), reverse=True)
    for start, end, new in edits:
        body = body[:start] + new + body[end:]
    _check(document, body, wanted)
    return text[: len(text) - len(text.removeprefix(_BOM))] + body, len(edits)


def replace_file(path: Path, text: str) -> None:
    """All or nothing, with the rights that the file had."""
    target = path.resolve()
    new = target.with_name(f".{target.name}.new")
    new.write_bytes(text.encode())
    shutil.copymode(target, new)
    os.replace(new, target)


def _can_be_written(document: Document, difference: Difference) -> bool:
    keys, path = difference.keys, difference.path
    return keys[0] in UPDATED and difference.got is not None and bool(path) and document.known(path) == path


def _edit(document: Document, path: Steps, got: Any) -> tuple[int, int, str]:
    start, end = document.span(path)
    if document.is_flow(path):
        return start, end, _flow(got)
    if not got:
        return document.key_end(path), end, f": {_flow(got)}"
    indent = "\n" + " " * (document.locate(path)[1] - 1)
    if isinstance(got, Mapping):
        return start, end, indent.join(f"{_flow(key)}: {_flow(each)}" for key, each in got.items())
    return start, end, indent.join(f"- {_flow(each)}" for each in got)


def _flow(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(_flow(each) for each in value)}]"
        case dict():
            return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
        case str():
            return _word(value)
    return f"{value!r}"


def _word(text: str) -> str:
    """Plain where it can be read back, in quotes elsewhere."""
    plain = load_yaml(f"[{text}]", "")
    if not plain.faults and plain.data == [text]:
        return text
    return "'" + text.replace("'", "''") + "'"


def _check(before: Document, body: str, wanted: Mapping[Steps, Any]) -> None:
    """The file still says what it said, but for what was to be changed."""
    after = load_yaml(body, before.file, limit_bytes=len(body.encode()))
    expected = _replaced(before.data, (), wanted)
    if after.faults or after.data != expected:
        raise AssertionError(f"{before.file}: rewriting would change more than the expectations")


def _replaced(data: Any, path: Steps, wanted: Mapping[Steps, Any]) -> Any:
    if path in wanted:
        return wanted[path]
    match data:
        case dict():
            return {key: _replaced(value, (*path, key), wanted) for key, value in data.items()}
        case list():
            return [_replaced(value, (*path, index), wanted) for index, value in enumerate(data)]
    return data
