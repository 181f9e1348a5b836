"""The audit's lines, each holding the hash of the one before.  Pure.

    {"seq":7,"t":…,"kind":"command.done","who":…,"via":…,"what":{…},"result":"ok","prev":"<hash of 6>","hash":"…"}

The hash is SHA-256 over the line's own bytes up to ``,"hash"``: no canonical form that two programs could disagree on.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from gateway.envelope import json_text
from gateway.model import Event, Value

GENESIS = "0" * 64
"""What the first line of all holds as the hash before it."""
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES = 75


class Head(NamedTuple):
    """The last line: its number and its hash."""

    seq: int
    hash: str


START = Head(0, GENESIS)


class Anchor(NamedTuple):
    """What is kept elsewhere (in the store's state), so that missing lines at either end are noticed."""

    first_seq: int
    """Of the oldest line that has not been removed for its age."""
    seq: int
    hash: str

    def to_bytes(self) -> bytes:
        return json_text(self._asdict()).encode()

    @classmethod
    def from_bytes(cls, text: bytes) -> Anchor | None:
        """None for what is no anchor."""
        try:
            found = json.loads(text)
            anchor = cls(int(found["first_seq"]), int(found["seq"]), str(found["hash"]))
        except (ValueError, TypeError, KeyError):
            return None
        return anchor


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened, before it has a place in the chain."""

    time_ms: int
    kind: str
    who: str
    via: str
    what: Mapping[str, Value | None]
    result: str = ""


def entry_of(event: Event) -> Entry:
    what = dict(event.attributes)
    who, via, result = (str(what.pop(key, None) or "") for key in ("who", "via", "result"))
    if event.device is not None:
        what["device"] = event.device
    return Entry(event.time_ms, event.kind, who, via, what, result)


def joined(entry: Entry, after: Head) -> tuple[bytes, Head]:
    """The line of *entry* behind *after*, and the head it makes."""
    body = json_text(
        {
            "seq": after.seq + 1,
            "t": entry.time_ms,
            "kind": entry.kind,
            "who": entry.who,
            "via": entry.via,
            "what": dict(entry.what),
            "result": entry.result,
            "prev": after.hash,
        }
    )[:-1].encode("utf-8", "replace")
    digest = hashlib.sha256(body).hexdigest()
    return body + b',"hash":"' + digest.encode() + b'"}\n', Head(after.seq + 1, digest)


@dataclass(frozen=True, slots=True)
class Line:
    """A line whose hash fits its text."""

    head: Head
    before: str
    """The hash of the line before, as this one says."""
    entry: Mapping[str, Any]


def read_line(raw: bytes) -> Line | None:
    """*raw*: with or without its line end.  None when the text and its hash do not fit."""
    text = raw.removesuffix(b"\n")
    body, tail = text[:-_TAIL_BYTES], _TAIL.fullmatch(text[-_TAIL_BYTES:])
    if tail is None or hashlib.sha256(body).hexdigest().encode() != tail[1]:
        return None
    try:
        entry = json.loads(body + b"}")
        return Line(Head(entry["seq"], tail[1].decode()), entry["prev"], entry)
    except (ValueError, TypeError, KeyError):
        return None


# ---------------------------------------------------------------------- verifying


class Wrong(enum.StrEnum):
    EDITED = "edited"  # a line's text does not fit its hash
    MISSING = "missing"  # numbers between two lines, or before the first
    BROKEN = "broken"  # a line does not continue the one before it
    TRUNCATED = "truncated"  # the anchor knows of later lines
    REPLACED = "replaced"  # the line of the anchor's number is another one: all was written anew


@dataclass(frozen=True, slots=True)
class Finding:
    wrong: Wrong
    file: str
    line: int
    """In the file, from 1; 0 for the whole."""
    detail: str = ""


@dataclass(slots=True)
class Verdict:
    findings: list[Finding] = field(default_factory=list)
    lines: int = 0
    first_seq: int | None = None
    last_seq: int = 0
    unanchored: int = 0
    """Lines after the anchor: written in the last moment before a power cut, or by somebody else."""
    torn: bool = False
    """The last line has no end: it is being written, or was when the power failed."""


Lines: TypeAlias = Iterable[tuple[str, int, bytes]]
"""(file, number in the file from 1, the line with its end)"""


def verify(lines: Lines, anchor: Anchor | None) -> Verdict:
    verdict = Verdict()
    verdict.findings.extend(_findings(lines, anchor, verdict))
    return verdict


def _findings(lines: Lines, anchor: Anchor | None, verdict: Verdict) -> Iterator[Finding]:
    before: tuple[int, str | None] | None = None
    """Number and hash of the line before; no hash where that line is not to be believed."""
    file = ""
    for file, number, raw in lines:
        if not raw.endswith(b"\n"):
            verdict.torn = True
            break
        verdict.lines += 1
        line = read_line(raw)
        if line is None:
            yield Finding(Wrong.EDITED, file, number)
            before = ((before or START)[0] + 1, None)
            continue
        if (fault := _misplaced(line, before, anchor)) is not None:
            yield Finding(fault[0], file, number, fault[1])
        if anchor is not None and line.head.seq == anchor.seq and line.head.hash != anchor.hash:
            yield Finding(Wrong.REPLACED, file, number, str(anchor.seq))
        if verdict.first_seq is None:
            verdict.first_seq = line.head.seq
        before = line.head
    verdict.last_seq = 0 if before is None else before[0]
    if anchor is not None and verdict.last_seq < anchor.seq:
        yield Finding(Wrong.TRUNCATED, file, 0, f"{verdict.last_seq + 1} .. {anchor.seq}")
    verdict.unanchored = 0 if anchor is None else max(0, verdict.last_seq - anchor.seq)


def _misplaced(line: Line, before: tuple[int, str | None] | None, anchor: Anchor | None) -> tuple[Wrong, str] | None:
    seq = line.head.seq
    if before is None:
        first = None if anchor is None else anchor.first_seq
        if seq == 1:
            return (Wrong.BROKEN, "1") if line.before != GENESIS else None
        return (Wrong.MISSING, f"{first} .. {seq - 1}") if first is not None and seq > first else None
    expected, hash_ = before[0] + 1, before[1]
    if seq > expected:
        return Wrong.MISSING, f"{expected} .. {seq - 1}"
    return (Wrong.BROKEN, str(seq)) if seq < expected or hash_ not in (None, line.before) else None
