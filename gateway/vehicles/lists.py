"""Who is known at the gates.  Pure.

``lists/residents.yaml``:

    format: plates/1
    list: allow                 # allow, visitor or deny
    key: 0a1b2c3d4e5f           # of the key the pseudonyms were made with
    entries:
    - {plate: v-0123456789abcdef0123, label: 3-2-502, from: "2026-01-01", until: "2026-12-31"}
"""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from gateway.vehicles.pseudonym import PATTERN, is_pseudonym

MOST_ENTRIES = 20_000


class Word(enum.StrEnum):
    """What a list says of a vehicle."""

    ALLOW = "allow"
    VISITOR = "visitor"
    DENY = "deny"
    EXPIRED = "expired"  # on a list, not now
    UNKNOWN = "unknown"  # on none
    UNLICENSED = "unlicensed"


def _plate(text: str) -> str:
    if not is_pseudonym(text):
        raise ValueError(
            "化名（gateway plates pseudonym），不是车牌 / a pseudonym (gateway plates pseudonym), no plate"
        )
    return text


def _moment(text: str) -> str:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError('日期如 "2026-12-31" / a date like "2026-12-31", or "2026-12-31T18:00"') from None
    return text


Moment = Annotated[str, AfterValidator(_moment), WithJsonSchema({"type": "string", "examples": ["2026-12-31"]})]


class ListEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    plate: Annotated[str, AfterValidator(_plate), WithJsonSchema({"type": "string", "pattern": PATTERN})]
    label: str = Field(default="", max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]*$")
    """For people; it stays in this file."""
    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = None
    """A date includes its day."""


class ListFile(BaseModel):
    """lists/*.yaml"""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    format: Literal["plates/1"]
    word: Literal["allow", "visitor", "deny"] = Field(alias="list")
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    entries: Annotated[list[ListEntry], Field(max_length=MOST_ENTRIES)] = []

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({entry.plate for entry in self.entries}) < len(self.entries):
            raise ValueError("同一化名出现两次 / the same pseudonym twice")
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    pseudonym: str
    word: Word
    since_ms: int | None = None
    until_ms: int | None = None
    """Excluded."""

    def is_valid(self, time_ms: int) -> bool:
        begun = self.since_ms is None or self.since_ms <= time_ms
        return begun and (self.until_ms is None or time_ms < self.until_ms)


def entries_of(file: ListFile, zone: datetime.tzinfo) -> list[Entry]:
    word = Word(file.word)
    return [
        Entry(each.plate, word, _ms(each.since, zone, end=False), _ms(each.until, zone, end=True))
        for each in file.entries
    ]


def _ms(text: str | None, zone: datetime.tzinfo, *, end: bool) -> int | None:
    if text is None:
        return None
    moment = datetime.datetime.fromisoformat(text)
    if end and len(text) <= len("2026-12-31"):
        moment += datetime.timedelta(days=1)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
    return round(moment.timestamp() * 1000)


def rendered(file: ListFile) -> str:
    """The file as people edit it: one line an entry."""
    lines = [f"format: {file.format}", f"list: {file.word}", f'key: "{file.key}"']
    lines.append("entries:" if file.entries else "entries: []")
    for entry in file.entries:
        said = {"label": entry.label, "from": entry.since or "", "until": entry.until or ""}
        more = "".join(f", {name}: {json.dumps(text, ensure_ascii=False)}" for name, text in said.items() if text)
        lines.append(f"- {{plate: {entry.plate}{more}}}")
    return "\n".join([*lines, ""])


class Lists:
    """All lists together.  Of several valid entries of one vehicle deny counts before allow, allow before visitor."""

    _ORDER = (Word.DENY, Word.ALLOW, Word.VISITOR)

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.pseudonym, []).append(entry)

    def word(self, pseudonym: str, time_ms: int) -> Word:
        """Only the very same pseudonym is on a list."""
        entries = self._entries.get(pseudonym, ())
        if not entries:
            return Word.UNKNOWN
        valid = {entry.word for entry in entries if entry.is_valid(time_ms)}
        return next((word for word in self._ORDER if word in valid), Word.EXPIRED)
