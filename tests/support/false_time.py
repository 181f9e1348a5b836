"""A wrong wall clock for a child process, by libfaketime.  Its monotonic clocks stay true."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from support.broker import missing

_TESTS = Path(__file__).parents[1]


def libfaketime() -> Path:
    """The library; skips the test where it is missing, but fails it where CI promises it."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("faketime")
    return found[0]


class FalseTime:
    """The file says how wrong the clock is, and may say something else while the child runs."""

    def __init__(self, file: Path, off_s: float) -> None:
        self._file = file
        self._library = libfaketime()
        self.set(off_s)

    @property
    def env(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(_TESTS),
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # Else a step would move the event loop's timers too.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, off_s: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+.0f}\n")
        new.replace(self._file)
