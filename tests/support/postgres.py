"""A private PostgreSQL: in a temporary directory, on a Unix socket, gone with the test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from support.broker import missing

_READY_S = 60.0
_USER = "postgres"  # the role; where we are root also the account, because the server refuses to run as root
# The server asks the kernel to be told when we die (prctl(2), PR_SET_PDEATHSIG = 1; signal 3, SIGQUIT: stop at once).
# After setuid, which would cancel that.
_LAUNCHER = """
import ctypes, os, sys
gid, uid = int(sys.argv[1]), int(sys.argv[2])
if os.geteuid() == 0: os.setgroups([]); os.setgid(gid); os.setuid(uid)
ctypes.CDLL(None).prctl(1, 3)
os.execv(sys.argv[3], sys.argv[3:])
"""
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # these tests kill the ingester, never this machine
    "shared_buffers": "16MB",
    "max_connections": "20",
    "dynamic_shared_memory_type": "mmap",
    "autovacuum": "off",
}


def program(name: str) -> str:
    """Of PostgreSQL 14 or newer; skips the test where there is none, but fails it where CI promises it."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, debian)]))
    if found is None:
        missing("postgresql")
    return os.path.realpath(found)


class Postgres:
    """Use ``postgres()``."""

    def __init__(self, folder: Path, owner: tuple[int, int], settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._owner = owner
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        return f"postgresql://{_USER}@/{database}?host={self.folder}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = [word for key, value in self._settings.items() for word in ("-c", f"{key}={value}")]
        self._process = self._run(program("postgres"), "-D", str(self.data), "-k", str(self.folder), *options)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def initialise(self) -> None:
        options = ("-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        process = self._run(program("initdb"), "-D", str(self.data), *options)
        assert process.wait() == 0, self.log

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", errors="replace")

    def ready(self) -> None:
        """Returns when it answers: it says so in the eighth line of its pid file."""
        end_s = time.monotonic() + _READY_S
        while not self._says_ready():
            assert self._process is not None
            assert self._process.poll() is None, f"PostgreSQL ended: {self.log}"
            assert time.monotonic() < end_s, f"PostgreSQL is not ready: {self.log}"
            time.sleep(0.02)

    def _says_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    @contextlib.asynccontextmanager
    async def database(self, name: str, options: str = "") -> AsyncIterator[str]:
        """An empty one; its DSN."""
        await self._administer(f'CREATE DATABASE "{name}" {options}')
        try:
            yield self.dsn(name)
        finally:
            await self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _administer(self, command: str) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            await connection.execute(command)
        finally:
            await connection.close()

    def _run(self, *argv: str) -> subprocess.Popen[bytes]:
        uid, gid = self._owner
        launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(gid), str(uid))
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*launcher, *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )


def _owner() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        account = pwd.getpwnam(_USER)
    except KeyError:
        account = pwd.getpwnam("nobody")
    return account.pw_uid, account.pw_gid


@contextlib.contextmanager
def postgres(**settings: str) -> Iterator[Postgres]:
    """*settings*: that differ from those above.

    Not in pytest's folder, whose parents only root may enter; and a socket's path must be short."""
    program("postgres"), program("initdb")
    owner = _owner()
    with tempfile.TemporaryDirectory(prefix="gw-pg-") as name:
        os.chown(name, *owner)
        server = Postgres(Path(name), owner, {**_SETTINGS, **settings})
        server.initialise()
        server.start()
        try:
            server.ready()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running
