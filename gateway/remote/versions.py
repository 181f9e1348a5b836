"""Configurations on disk, below the store's directory.  A power cut at any point leaves the old one or the new one.

config/record.json                which one runs, and all that is remembered (record.py)
config/versions/7-1f2e3d4c5b6a/   site.yaml, rules/, devices/; written once, never changed
config/versions/.new-…/           being written; swept away at the next start

files, synced ──▶ their directories, synced ──▶ rename to 7-… ──▶ record.json.new, synced ──▶ rename: from here on
                                                                                            it is version 7
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path

import structlog

from gateway.errors import StoreError
from gateway.remote.desired import digest_of
from gateway.remote.record import LOCAL, Record, Version
from gateway.store import lock
from gateway.store.disk import sync_directory

log = structlog.get_logger()

KEPT = 3
"""Versions on disk, the running one and the one before among them."""
_RECORD = "record.json"
_NEW = ".new-"


def read_files(directory: Path) -> dict[str, bytes]:
    """What a configuration consists of, by the names a document gives them.  Raises OSError."""
    found = {"site.yaml": (directory / "site.yaml").read_bytes()}
    for folder in ("rules", "devices"):
        for path in sorted((directory / folder).glob("*.yaml")):
            found[f"{folder}/{path.name}"] = path.read_bytes()
    return found


class Versions:
    """*store*: the store's directory.  Whoever changes anything holds the store's lock."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._root = store / "config"

    @property
    def used(self) -> bool:
        """Whether this gateway has ever been configured from afar."""
        return (self._root / _RECORD).exists()

    # ------------------------------------------------------------------ the record

    def record(self) -> Record:
        """A damaged one counts as none: the local configuration runs, and no number in sight is taken again."""
        path = self._root / _RECORD
        try:
            return Record.from_bytes(path.read_bytes())
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError) as exc:
            log.error(
                "the record of configurations cannot be read, the local one counts", file=str(path), error=str(exc)
            )
            return Record(highest=max(map(_number, self._names()), default=0))

    def save(self, record: Record) -> None:
        """Raises OSError; the old record is whole then."""
        self._root.mkdir(mode=0o700, exist_ok=True)
        new = self._root / f"{_RECORD}.new"
        _write(new, record.to_bytes())
        os.replace(new, self._root / _RECORD)
        sync_directory(self._root)

    # ------------------------------------------------------------------ the files

    @contextmanager
    def staged(self, files: Mapping[str, bytes]) -> Iterator[Path]:
        """*files* in a directory of their own, gone afterwards unless kept.  Raises OSError."""
        versions = self._root / "versions"
        for folder in (self._root, versions):
            folder.mkdir(mode=0o700, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=_NEW, dir=versions))
        try:
            for name, content in files.items():
                path = directory / name
                path.parent.mkdir(mode=0o700, exist_ok=True)
                _write(path, content)
            for folder in {(directory / name).parent for name in files} | {directory}:
                sync_directory(folder)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def keep(self, staged: Path, version: Version) -> None:
        """Raises OSError.  The record may name it afterwards."""
        shutil.rmtree(self.path(version), ignore_errors=True)  # of an attempt that never came into the record
        os.rename(staged, self.path(version))
        for directory in (self._root / "versions", self._root, self._store):
            sync_directory(directory)

    def path(self, version: Version) -> Path:
        return self._root / "versions" / version.name

    def intact(self, version: Version) -> bool:
        """Whether the files are, byte for byte, those that were signed."""
        try:
            return digest_of(read_files(self.path(version))) == version.digest
        except OSError:
            return False

    def tidy(self, record: Record) -> None:
        """Sweep away what a power cut has left, and the oldest versions.  What cannot be removed stays."""
        names = self._names()
        wanted: Set[str] = {version.name for version in (record.running, record.previous) if version != LOCAL}
        spare = sorted((name for name in names if _number(name) and name not in wanted), key=_number, reverse=True)
        kept = wanted | set(spare[: max(0, KEPT - len(wanted))])
        for name in set(names) - kept:
            shutil.rmtree(self._root / "versions" / name, ignore_errors=True)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._root / "versions")
        except OSError:
            return []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one daemon at a time may change anything.  Raises StoreLocked, StoreError."""
        try:
            handle = lock.acquire(self._store)
        except OSError as exc:
            raise StoreError(f"the store's directory cannot be used: {exc}") from exc
        try:
            yield
        finally:
            os.close(handle)


def _number(name: str) -> int:
    """Of a version's directory; 0 for what is none."""
    number = name.partition("-")[0]
    return int(number) if number.isascii() and number.isdigit() else 0


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
