"""What is remembered of configurations: which one runs, which is on trial, what became of the last one.  Pure.

    tried ──▶ on trial ──┬─ confirmed ──▶ runs
                         └─ went_back ──▶ the one before runs     (a bad verdict, or two starts without a verdict)

Everything is one value, so that one rename of one file decides (versions.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from gateway.model import Text
from gateway.remote.trial import Before

MOST_STARTS = 2
"""So often a version may be started without having been confirmed."""
MOST_HISTORY = 20


class Fate(StrEnum):
    """What became of a document.  The wording is part of the MQTT contract: add, never rename."""

    RUNNING = "running"
    ON_TRIAL = "on_trial"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Version:
    """One configuration.  Number 0 is the local one: the directory given with ``--config``."""

    number: int
    digest: str
    """Of its files; empty for the local one, which may be edited at any time."""
    key: str = ""
    issued_ms: int | None = None

    @property
    def local(self) -> bool:
        return self.number == 0

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.number}-{self.digest.removeprefix('sha256:')[:12]}"


LOCAL = Version(0, "")
NO_TEXT = Text("", "")


@dataclass(frozen=True, slots=True)
class Fault:
    """As ``gateway check --json`` has it, in both languages; *file* is the document's own name of it."""

    file: str
    line: int
    column: int
    code: str
    message: Text
    hint: Text | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the latest document."""

    fate: Fate
    since_ms: int
    version: int | None
    """None where it was too broken, or from too unknown a hand, to say."""
    digest: str = ""
    key: str = ""
    code: str = ""
    """Why, for programs."""
    reason: Text = NO_TEXT
    faults: tuple[Fault, ...] = ()

    def as_item(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "digest": self.digest,
            "state": str(self.fate),
            "code": self.code,
            "reason": asdict(self.reason),
            "faults": [asdict(fault) for fault in self.faults],
            "key": self.key,
            "since_ms": self.since_ms,
        }


@dataclass(frozen=True, slots=True)
class Trial:
    devices: tuple[str, ...]
    uplinks: tuple[str, ...]
    starts: int = 0

    @property
    def before(self) -> Before:
        return Before(frozenset(self.devices), frozenset(self.uplinks))


@dataclass(frozen=True, slots=True)
class Record:
    running: Version = LOCAL
    previous: Version = LOCAL
    """What is gone back to."""
    highest: int = 0
    """The largest number that was ever put on trial: nothing at or below it is taken again."""
    local_digest: str = ""
    """Of the local files when *running* was put on trial: where they have been edited since, they count."""
    trial: Trial | None = None
    outcome: Outcome | None = None
    untold: bool = False
    """The outcome is not an event in the store yet."""
    history: tuple[Outcome, ...] = ()
    """What became of documents, the oldest first."""
    format: Literal["configurations/1"] = "configurations/1"

    # ------------------------------------------------------------------ what happens to it

    def tried(self, version: Version, before: Before, local_digest: str, now_ms: int) -> Record:
        """*version* runs from the next start on.  ValueError: it is no newer than what was tried before."""
        if version.number <= self.highest or self.trial is not None:
            raise ValueError(f"version {version.number} cannot be tried now")
        outcome = Outcome(Fate.ON_TRIAL, now_ms, version.number, version.digest, version.key)
        return self._with(
            outcome,
            running=version,
            previous=self.running,
            highest=version.number,
            local_digest=local_digest,
            trial=Trial(tuple(sorted(before.devices)), tuple(sorted(before.uplinks))),
        )

    def begun(self, local_digest: str, now_ms: int) -> Record:
        """The daemon starts, for whatever reason."""
        if not self.running.local and local_digest != self.local_digest:
            return self.went_back("local_edit", _LOCAL_EDIT, now_ms, to=LOCAL)
        if self.trial is None:
            return self
        if self.trial.starts >= MOST_STARTS:
            return self.went_back("crash", _CRASH, now_ms)
        return replace(self, trial=replace(self.trial, starts=self.trial.starts + 1))

    def confirmed(self, now_ms: int) -> Record:
        """ValueError: nothing is on trial."""
        if self.trial is None:
            raise ValueError("nothing is on trial")
        version = self.running
        outcome = Outcome(Fate.RUNNING, now_ms, version.number, version.digest, version.key)
        return self._with(outcome, trial=None)

    def went_back(self, code: str, reason: Text, now_ms: int, *, to: Version | None = None) -> Record:
        """ValueError: the local configuration runs, there is nothing to go back to."""
        if self.running.local:
            raise ValueError("the local configuration is running")
        version = self.running
        outcome = Outcome(Fate.ROLLED_BACK, now_ms, version.number, version.digest, version.key, code, reason)
        return self._with(outcome, running=to or self.previous, previous=LOCAL, trial=None)

    def rejected(self, outcome: Outcome) -> Record:
        return self._with(outcome)

    def _with(self, outcome: Outcome, **changes: Any) -> Record:
        history = _shortened((*self.history, replace(outcome, faults=outcome.faults[:1])))
        return replace(self, outcome=outcome, untold=True, history=history, **changes)

    # ------------------------------------------------------------------ on disk

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """Raises ValueError."""
        try:
            found = _adapter().validate_json(data)
        except ValidationError as exc:
            raise ValueError(f"not a record of configurations: {exc.error_count()} faults") from None
        if b'"format"' not in data:
            raise ValueError("not a record of configurations: no format")
        return found

    def as_item(self, local_digest: str) -> Mapping[str, Any]:
        """The message ``config/reported``.  *local_digest*: of the local files, as they were read at the start."""
        running = {
            "version": self.running.number,
            "digest": local_digest if self.running.local else self.running.digest,
            "source": "local" if self.running.local else "remote",
        }
        outcome = self.outcome or Outcome(Fate.RUNNING, 0, 0, local_digest)
        return {"v": 1, **outcome.as_item(), "running": running, "highest": self.highest}


@cache
def _adapter() -> TypeAdapter[Record]:
    """Made once; it takes longer than reading."""
    return TypeAdapter(Record)


def _shortened(history: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """The latest; however many rejected ones come, what became of the last one that was tried stays known."""
    older, kept = history[:-MOST_HISTORY], history[-MOST_HISTORY:]
    tried = [outcome for outcome in older if outcome.fate is not Fate.REJECTED]
    if not tried or any(outcome.fate is not Fate.REJECTED for outcome in kept):
        return kept
    return (tried[-1], *kept[1:])


_LOCAL_EDIT = Text(
    "此版本应用之后本机配置被修改，以本机为准",
    "the local configuration has been edited since it was applied, and counts",
)
_CRASH = Text(
    f"确认之前守护进程结束了 {MOST_STARTS} 次", f"the daemon ended {MOST_STARTS} times before it could be confirmed"
)
