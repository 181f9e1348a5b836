"""Secrets stand in files, never in site.yaml.  No error repeats what a file holds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gateway.errors import LineLost

SHORTEST_WORD = 8
_MOST_BYTES = 1024


def first_line(file: Path) -> bytes:
    """Without its end; empty where the file is.  Raises OSError."""
    with file.open("rb") as opened:
        lines = opened.read(_MOST_BYTES).splitlines()
    return lines[0] if lines else b""


def word_in(file: Path | None) -> str | None:
    """All that a file holds, without white space around it; None where there is no file.  Raises LineLost."""
    if file is None:
        return None
    written = ""
    with suppress(OSError, UnicodeDecodeError):
        written = file.read_text("utf-8").strip()
    if len(written) < SHORTEST_WORD:
        raise LineLost(
            f"{file}: no secret of {SHORTEST_WORD} characters or more",
            hint=f"write one into the file, readable by the gateway only / 请在文件中写入至少 {SHORTEST_WORD} 个字符，"
            "仅网关可读",
        )
    return written
