"""Opening the file: pragmas, schema, and what an error of SQLite means to us."""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import StoreCorrupt, StoreError, StoreFull
from gateway.ids import uuid7
from gateway.model import Lane
from gateway.store.disk import Limits
from gateway.store.rows import PAGE_BYTES

APPLICATION_ID = 0x43475753
_CACHE_KIB = 1024

_ABOUT_THE_DISK = {
    sqlite3.SQLITE_IOERR: "the disk reports errors: look at the kernel log, replace the disk",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and belongs to the gateway's user",
    sqlite3.SQLITE_PERM: "check that the directory and the file belong to the gateway's user",
    sqlite3.SQLITE_READONLY: "the disk is mounted read-only or the file belongs to another user",
    sqlite3.SQLITE_BUSY: "another program holds the file: close it",
    sqlite3.SQLITE_LOCKED: "another program holds the file: close it",
    sqlite3.SQLITE_NOMEM: "the machine is out of memory",
}
_UNREADABLE = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
)


def scripts() -> list[str]:
    """The schema, one script per version, the first being version 1."""
    found = {
        int(match[1]): file.read_text("utf-8")
        for file in (files("gateway.store") / "schema").iterdir()
        if (match := re.fullmatch(r"(\d{3})\.sql", file.name))
    }
    return [found[number + 1] for number in range(len(found))]


def connect(path: Path, limits: Limits) -> sqlite3.Connection:
    """The one writing connection.  Raises sqlite3.Error."""
    with suppress(OSError):
        path.touch(0o600)  # SQLite gives its side files the same rights
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    # A damaged text must come back as a wrong text, which its checksum reveals, not as an exception.
    connection.text_factory = lenient_text
    try:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {limits.checkpoint_pages}",
            f"journal_size_limit = {limits.wal_bytes // 2}",
            f"max_page_count = {limits.file_pages}",
            f"cache_size = -{_CACHE_KIB}",
            "mmap_size = 0",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            # Some distributions overwrite freed pages with zeros: an eviction would write as much as it frees.
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def understood(connection: sqlite3.Connection) -> bool:
    """Whether this program may work on the file, which may be older or, after a rollback, newer than itself."""
    version = pragma(connection, "user_version")
    if version <= len(scripts()):
        return version >= 0
    found = connection.execute("SELECT value FROM meta WHERE key = 'readable_from'").fetchone()
    return found is not None and str(found[0]).isdecimal() and int(found[0]) <= len(scripts())


def migrate(connection: sqlite3.Connection, clock: Clock) -> None:
    """Bring the schema to our version, each step in one transaction.  A newer file stays as it is."""
    version = pragma(connection, "user_version")
    for number, script in enumerate(scripts()[version:], start=version + 1):
        first = _founding(uuid7(clock.now_ms())) if number == 1 else ""
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n{first}\nPRAGMA user_version = {number};\nCOMMIT;")


def _founding(epoch: str) -> str:
    lanes = "".join(f"INSERT INTO lane VALUES ('{lane}', 0, 0, 0, 0, 0, 0);\n" for lane in Lane)
    return (
        f"{lanes}INSERT INTO meta (key, value) VALUES ('epoch', '{epoch}');\nPRAGMA application_id = {APPLICATION_ID};"
    )


def pragma(connection: sqlite3.Connection, name: str) -> int:
    number: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return number


def means_damage(error: sqlite3.Error) -> bool:
    """Whether the file's content is to blame rather than the disk, the rights or the memory."""
    code = code_of(error)
    return code in _UNREADABLE or (code & 0xFF != sqlite3.SQLITE_FULL and code & 0xFF not in _ABOUT_THE_DISK)


def translated(error: sqlite3.Error) -> StoreError:
    code = code_of(error)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StoreFull(f"no room on the disk: {error}", hint="free space on the disk or lower store.budget")
    if code in _UNREADABLE or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"the store is damaged: {error}", hint="start the daemon again: it salvages what it can")
    return StoreError(f"the store failed: {error}", hint=_ABOUT_THE_DISK.get(code & 0xFF, ""))


def code_of(error: sqlite3.Error) -> int:
    """The extended result code; errors that Python's module itself raises carry none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def lenient_text(text: bytes) -> str:
    return text.decode("utf-8", "replace")
