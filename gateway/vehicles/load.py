"""Lists of plates from and to their files."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from gateway.config.explain import explain, parse
from gateway.config.faults import Fault
from gateway.config.yaml12 import read_yaml
from gateway.model import Text
from gateway.vehicles.lists import Entry, ListFile, Lists, entries_of, rendered
from gateway.vehicles.pseudonym import fingerprint

MOST_BYTES = 4 * 2**20


def read_list(path: Path, key: bytes) -> tuple[ListFile | None, list[Fault]]:
    """None where there are faults; a list that was made with another key than *key* is one."""
    document, _ = read_yaml(path, str(path), limit_bytes=MOST_BYTES)
    if document.broken:
        return None, list(document.faults)
    try:
        file = parse(ListFile, document.data)
    except ValidationError as exc:
        return None, [*document.faults, *explain(exc, ListFile, document)]
    faults = list(document.faults)
    if file.key != fingerprint(key):
        message = Text("此名单是用另一密钥生成的", "this list was made with another key")
        hint = Text("用现在的密钥重新登记各车牌", "enter its plates anew with the key of now")
        faults.append(document.fault(("key",), "E-VALUE", message, hint))
    return (None if faults else file), faults


def read_lists(paths: Sequence[Path], key: bytes, zone: datetime.tzinfo) -> tuple[Lists, list[Fault]]:
    """All of them together; those with faults are left out."""
    entries: list[Entry] = []
    faults: list[Fault] = []
    for path in paths:
        file, wrong = read_list(path, key)
        faults += wrong
        entries += entries_of(file, zone) if file is not None else []
    return Lists(entries), faults


def write_list(path: Path, file: ListFile) -> None:
    """Replaces the file as a whole; only the owner may read it.  Raises OSError."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(rendered(file))
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
