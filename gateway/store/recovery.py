"""A store that cannot be trusted never keeps the gateway from starting: it is set aside and replaced.

    store.db ──examine──▶ fine                          used as it is
                     └──▶ damaged    copy what checks ──▶ store.db.corrupt-<ms>, a new store.db with a new epoch
                     └──▶ too new    (nothing copied) ──▶ store.db.newer-<ms>,   a new store.db with a new epoch

What is copied gets new sequence numbers, since the old ones can no longer be proved complete; the platform may see an
envelope again under its new name, which is a duplicate and no loss.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.errors import StoreCorrupt
from gateway.store.database import (
    APPLICATION_ID,
    code_of,
    connect,
    means_damage,
    migrate,
    pragma,
    scripts,
    translated,
    understood,
)
from gateway.store.disk import Limits, coax, sync_directory
from gateway.store.lanes import load_cursors, load_epoch, load_lanes
from gateway.store.salvage import Salvage, copy_intact
from gateway.store.wal import lost_commits

log = structlog.get_logger()

FILE = "store.db"
_KEPT = 2
COAX_S = 1.0
"""How long a disk that refuses to read is asked again, for each file, before what it gave is all there is."""
_FULL_CHECK_BYTES = 64 * 2**20
"""Up to this size every page is checked at the start; larger files would make the start wait.  Their rows are checked
when they are read, and damage found then is remembered for the next start."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What happened to a store that could not be used."""

    fault: str
    moved_to: Path | None
    """Where it is kept; None when there was nothing left of it."""
    salvage: Salvage


@dataclass(frozen=True, slots=True)
class Fault:
    text: str
    newer: bool = False


def prepare(directory: Path, limits: Limits, uplinks: Sequence[str], clock: Clock) -> Recovery | None:
    """Leave behind a store that can be opened.  Raises StoreError when the disk or the rights do not allow it."""
    path = directory / FILE
    _finish_interrupted(path)
    try:
        fault = _examine(path, limits, clock)
        if fault is None:
            return None
        return _replace(path, fault, limits, uplinks, clock)
    except sqlite3.Error as exc:
        raise translated(exc) from exc


def remember_damage(directory: Path, text: str) -> None:
    """Have the next start replace the store, even if a quick look at it finds nothing."""
    with suppress(OSError):
        directory.mkdir(mode=0o700, exist_ok=True)  # it may be what was removed
        _marker(directory / FILE).write_text(text)


def _marker(path: Path) -> Path:
    return path.with_name("store.damaged")


def _replacement(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _finish_interrupted(path: Path) -> None:
    """A replacement is complete when the old file has left its place."""
    new = _replacement(path)
    if not path.exists() and new.exists():
        new.rename(path)
        _marker(path).unlink(missing_ok=True)
        sync_directory(path.parent)
    for leftover in path.parent.glob(new.name + "*"):
        leftover.unlink()


def _examine(path: Path, limits: Limits, clock: Clock) -> Fault | None:
    """Raises sqlite3.Error for what is not the file's fault."""
    with suppress(OSError):
        return Fault(_marker(path).read_text() or "marked as damaged")
    try:
        wal = path.with_name(path.name + "-wal").read_bytes()
    except OSError:
        wal = b""
    try:
        with closing(connect(path, limits)) as connection:
            return _examine_content(connection, wal, path.stat().st_size, clock)
    except sqlite3.Error as exc:
        if not means_damage(exc) and not _refuses_writing(exc, path):
            raise
        return Fault(str(exc))
    except StoreCorrupt as exc:
        return Fault(str(exc))


def _refuses_writing(error: sqlite3.Error, path: Path) -> bool:
    """SQLite takes a file whose header names an unknown format for read-only, though everything else could write it."""
    return code_of(error) & 0xFF == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)


def _examine_content(connection: sqlite3.Connection, wal: bytes, size: int, clock: Clock) -> Fault | None:
    version = pragma(connection, "user_version")
    if version < 0:
        return Fault(f"schema version {version}")
    if not understood(connection):
        return Fault(f"the store has schema version {version}, this program knows {len(scripts())}", newer=True)
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        return Fault("a database, but not a store")
    if version > 0 and pragma(connection, "application_id") != APPLICATION_ID:
        return Fault("a database, but not a store")
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if lost_commits(wal, max(frames, 0)) > 1:
        return Fault("the write-ahead log is damaged: transactions are missing")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if size <= _FULL_CHECK_BYTES:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            return Fault(str(found).strip())
    migrate(connection, clock)
    connection.execute("BEGIN")
    connection.execute("UPDATE meta SET value = value")  # fails where the file cannot be written
    connection.rollback()
    epoch = load_epoch(connection)
    lanes = load_lanes(connection, epoch)
    for (uplink, lane), seq in load_cursors(connection, epoch).items():
        if seq > lanes[lane].last.seq:
            return Fault(f"{uplink} has acknowledged {lane} {seq}, the store ends at {lanes[lane].last.seq}")
    return None


def _replace(path: Path, fault: Fault, limits: Limits, uplinks: Sequence[str], clock: Clock) -> Recovery:
    aside = path.with_name(f"{path.name}.{'newer' if fault.newer else 'corrupt'}-{clock.now_ms()}")
    unread = [each for each in (path, path.with_name(path.name + "-wal")) if not coax(each, COAX_S)]
    new = _replacement(path)
    with closing(connect(new, limits)) as target:
        migrate(target, clock)
        salvage = Salvage({}, True) if fault.newer else copy_intact(path, target, limits, uplinks, clock)
    if unread:
        salvage = replace(salvage, complete=False)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        path.with_name(path.name + "-wal").rename(aside.with_name(aside.name + "-wal"))
    kept = path.exists()
    if kept:
        path.rename(aside)
    new.rename(path)
    _marker(path).unlink(missing_ok=True)
    sync_directory(path.parent)
    _forget_oldest(path)
    log.error(
        "store replaced",
        fault=fault.text,
        moved_to=str(aside) if kept else None,
        salvaged=sum(salvage.envelopes.values()),
        complete=salvage.complete,
    )
    return Recovery(fault.text, aside if kept else None, salvage)


def _forget_oldest(path: Path) -> None:
    for label in ("corrupt", "newer"):
        kept = sorted(file for file in path.parent.glob(f"{path.name}.{label}-*") if file.suffix[-4:] != "-wal")
        for file in kept[:-_KEPT]:
            file.unlink()
            file.with_name(file.name + "-wal").unlink(missing_ok=True)
