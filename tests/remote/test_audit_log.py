"""The audit's files: synced, continued after a power cut, full ones set aside, old ones removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.clock import ClockState
from gateway.errors import StoreError
from gateway.remote.audit_log import FILE, AuditLog, lines_of
from gateway.remote.chain import Anchor, Entry, Wrong, verify
from support.clock import ManualClock


def entry(text: str = "x") -> Entry:
    return Entry(1, "command.done", "li", "local", {"text": text}, "ok")


def written(directory: Path, *texts: str, anchor: Anchor | None = None) -> Anchor:
    log = AuditLog(directory, ManualClock())
    found = log.open(anchor)
    for text in texts:
        found = log.append([entry(text)])
    log.close()
    return found


def wrongs(directory: Path, anchor: Anchor | None) -> list[Wrong]:
    return [finding.wrong for finding in verify(lines_of(directory), anchor).findings]


def kinds(directory: Path) -> list[str]:
    return [raw.split(b'"kind":"')[1].split(b'"')[0].decode() for _, _, raw in lines_of(directory)]


def test_a_chain_goes_on_over_restarts(tmp_path: Path) -> None:
    anchor = written(tmp_path, "a", "b")
    anchor = written(tmp_path, "c", anchor=anchor)
    assert anchor.seq == 3
    assert wrongs(tmp_path, anchor) == []
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kept", range(0, 120, 7))
def test_a_torn_last_line_is_cut_off_and_said(tmp_path: Path, kept: int) -> None:
    anchor = written(tmp_path, "a", "b")
    whole = (tmp_path / FILE).read_bytes()
    written(tmp_path, "c", anchor=anchor)
    torn = (tmp_path / FILE).read_bytes()[: len(whole) + kept]
    (tmp_path / FILE).write_bytes(torn)
    after = written(tmp_path, "d", anchor=anchor)
    assert kinds(tmp_path) == ["command.done"] * 2 + ["audit.repaired"] * (kept > 0) + ["command.done"]
    assert wrongs(tmp_path, after) == []


def test_a_line_whose_anchor_was_not_saved_any_more_is_kept_and_said(tmp_path: Path) -> None:
    early = written(tmp_path, "a")
    written(tmp_path, "b", anchor=early)
    after = written(tmp_path, "c", anchor=early)
    assert kinds(tmp_path) == ["command.done", "command.done", "audit.unanchored", "command.done"]
    assert wrongs(tmp_path, after) == []


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_cut_stays_visible_when_the_daemon_has_gone_on(tmp_path: Path, left: int) -> None:
    anchor = written(tmp_path, "a", "b", "c")
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(b"".join(lines[:left]))
    after = written(tmp_path, "d", "e", anchor=anchor)
    assert "audit.tampered" in kinds(tmp_path)
    assert wrongs(tmp_path, after) == [Wrong.MISSING]


def test_a_chain_written_anew_stays_visible_too(tmp_path: Path) -> None:
    anchor = written(tmp_path, "a", "b", "c")
    for more in ("c", "longer"):
        (tmp_path / FILE).unlink()
        written(tmp_path, "a", "forged", *more)
        after = written(tmp_path, "d", anchor=anchor)
        assert "audit.tampered" in kinds(tmp_path)
        assert wrongs(tmp_path, after) == [Wrong.BROKEN]


def test_an_altered_last_line_stays_visible_too(tmp_path: Path) -> None:
    anchor = written(tmp_path, "a", "b")
    text = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(text.replace(b'"text":"b"', b'"text":"B"'))
    after = written(tmp_path, "c", anchor=anchor)
    assert Wrong.EDITED in wrongs(tmp_path, after)


def test_full_files_are_set_aside_and_the_chain_goes_through_them(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, ManualClock(), file_bytes=1000)
    log.open(None)
    for number in range(40):
        anchor = log.append([entry(str(number))])
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 5
    assert names[0] == "audit-000000000001.log"
    assert wrongs(tmp_path, anchor) == []
    assert anchor.first_seq == 1
    (tmp_path / names[2]).unlink()
    assert wrongs(tmp_path, anchor) == [Wrong.MISSING]
    (tmp_path / names[0]).unlink()
    assert wrongs(tmp_path, anchor) == [Wrong.MISSING, Wrong.MISSING]
    # between the two steps of setting a file aside the power fails
    (tmp_path / FILE).unlink()
    again = AuditLog(tmp_path, ManualClock())
    assert again.open(None).seq < anchor.seq
    again.close()


def test_only_what_is_old_enough_goes_unless_there_is_too_much(tmp_path: Path) -> None:
    now_s = tmp_path.stat().st_mtime
    clock = ManualClock(now_ms=round(now_s * 1000))
    log = AuditLog(tmp_path, clock, keep_s=86400.0, budget_bytes=100_000, file_bytes=1000, least_bytes=3000)
    log.open(None)
    for number in range(20):
        log.append([entry(str(number))])
    files = sorted(tmp_path.glob("audit-*.log"))
    for path in files:  # a day and a bit old, but for the last
        os.utime(path, (now_s - 90_000,) * 2)
    os.utime(files[-1], (now_s - 80_000,) * 2)
    clock.trust = ClockState.HOLDOVER
    for number in range(6):
        anchor = log.append([entry(str(number))])
    assert anchor.first_seq == 1, "a clock that may be wrong removes nothing"
    clock.trust = ClockState.SYNCED
    for number in range(6):
        anchor = log.append([entry(str(number))])
    assert not files[0].exists()
    assert files[-1].exists()
    assert anchor.first_seq > 1
    assert wrongs(tmp_path, anchor) == []
    assert "audit.shortened" not in kinds(tmp_path)
    log.budget_bytes = 4000
    for number in range(6):
        anchor = log.append([entry(str(number))])
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5000
    assert "audit.shortened" in kinds(tmp_path)
    assert wrongs(tmp_path, anchor) == []


def test_what_a_full_disk_has_not_taken_leaves_no_trace_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, ManualClock())
    log.open(None)
    log.append([entry("a")])
    real = os.write

    def half(number: int, data: bytes | memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(number, data[: len(data) - 50])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StoreError, match="No space left"):
        log.append([entry("b")])
    monkeypatch.undo()
    anchor = log.append([entry("c")])
    log.close()
    assert anchor.seq == 2
    assert wrongs(tmp_path, anchor) == []
    assert b'"text":"b"' not in (tmp_path / FILE).read_bytes()


def test_a_disk_that_does_not_sync_has_not_taken_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, ManualClock())
    log.open(None)

    def fails(number: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError):
        log.append([entry("a")])
    monkeypatch.undo()
    anchor = log.append([entry("b")])
    log.close()
    assert wrongs(tmp_path, anchor) == []
    assert kinds(tmp_path) == ["command.done"]
