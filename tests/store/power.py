"""Power cuts by replay: one process is recorded under strace, and what a disk may hold after a cut at any moment of it
is worked out from the calls: what was synced is there, of the rest any part may be.

Stricter than ext4: a name in a directory is certain only after the directory itself was synced.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from support.broker import missing

CALLS = "openat,pwrite64,write,fdatasync,fsync,ftruncate,rename,unlink"
WAYS = ("none", "prefix", "subset", "torn")
"""What becomes of writes that were not synced."""
_SECTOR = 512
_LINE = re.compile(rb"\d+ +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))")
_TEXT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(rb"\d+<((?:\\x[0-9a-f]{2})*)>")


class Call(NamedTuple):
    """One call that succeeded: its path (or None), its texts, and everything it was given."""

    name: str
    path: str
    texts: tuple[bytes, ...]
    arguments: str


def need_strace() -> None:
    """Skips the test where it is missing or may not trace, but fails it where CI promises it."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-qq", "-o", "/dev/null", "true"], check=False).returncode:
        missing("strace, or the right to trace,")


def record(program: str, directory: Path, log: Path) -> list[Call]:
    """Run *program* (Python, its argument the directory) to its end; every call on files, in order."""
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    strace = ["strace", "-f", "-qq", "-xx", "-y", "-s", str(2**24), "-e", f"trace={CALLS}", "-o", str(log)]
    subprocess.run([*strace, sys.executable, "-c", program, str(directory)], env=environment, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return list(_calls(log.read_bytes().splitlines()))


def _calls(lines: Sequence[bytes]) -> Iterator[Call]:
    begun: dict[bytes, bytes] = {}
    for line in lines:
        thread, match = line.split(b" ", 1)[0], _LINE.match(line)
        if match is None:
            continue
        name, rest = match[1] or match[3], match[2] or match[4] or b""
        if rest.endswith(b"<unfinished ...>"):
            begun[thread + name] = rest.removesuffix(b"<unfinished ...>")
            continue
        rest = begun.pop(thread + name, b"") + rest
        arguments, _, result = rest.rpartition(b" = ")
        if result.startswith(b"-"):
            continue
        texts = tuple(_plain(text) for text in _TEXT.findall(arguments))
        file = _FILE.match(arguments)
        path = _plain(file[1]) if file else texts[0]
        yield Call(name.decode(), path.decode(), texts, arguments.decode())


def _plain(escaped: bytes) -> bytes:
    return bytes.fromhex(escaped.replace(b"\\x", b"").decode())


@dataclass(slots=True)
class File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and data; data None cuts the file off there."""

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.synced, *change)
        self.pending.clear()

    def after_cut(self, way: str, chance: random.Random) -> bytes:
        content = bytearray(self.synced)
        upto = chance.randint(0, len(self.pending))
        for number, (offset, data) in enumerate(self.pending):
            if way == "none" or (way == "prefix" and number >= upto) or (way != "prefix" and chance.random() < 0.5):
                continue
            pieces = [(offset, data)]
            if way == "torn" and data is not None:
                sectors = range(0, len(data), _SECTOR)
                pieces = [(offset + at, data[at : at + _SECTOR]) for at in sectors if chance.random() < 0.5]
            for piece in pieces:
                _apply(content, *piece)
        return bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class Disk:
    """A directory, as it is and as it is certain to be."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._names: dict[str, File] = {}
        self._certain: dict[str, File] = {}
        self._changes: list[tuple[str, File | None]] = []
        """Names whose fate is open: what they stand for now, None when for nothing."""
        self._said = b""

    def acknowledged(self) -> int:
        return self._said.count(b"ack\n")

    def see(self, call: Call) -> None:
        if call.name == "write" and call.arguments.startswith("1<"):
            self._said += call.texts[-1]
        elif call.path == self._directory and call.name in ("fsync", "fdatasync"):
            self._settle(self._certain, self._changes)
            self._changes.clear()
        elif call.path.startswith(self._directory + "/"):
            self._see_file(call, call.path.removeprefix(self._directory + "/"))

    def _see_file(self, call: Call, name: str) -> None:
        known = self._names.get(name)
        match call.name:
            case "openat" if "O_CREAT" in call.arguments and known is None:
                self._change(name, File())
            case "rename":
                self._change(call.texts[1].decode().removeprefix(self._directory + "/"), known)
                self._change(name, None)
            case "unlink":
                self._change(name, None)
            case "fsync" | "fdatasync" if known:
                known.sync()
            case "ftruncate" if known:
                known.pending.append((int(call.arguments.rpartition(", ")[2].rstrip(")")), None))
            case "pwrite64" if known:
                known.pending.append((int(call.arguments.rpartition(", ")[2].rstrip(")")), call.texts[-1]))

    def _change(self, name: str, file: File | None) -> None:
        self._changes.append((name, file))
        self._settle(self._names, self._changes[-1:])

    @staticmethod
    def _settle(names: dict[str, File], changes: Sequence[tuple[str, File | None]]) -> None:
        for name, file in changes:
            names.pop(name, None)
            if file is not None:
                names[name] = file

    def after_cut(self, way: str, chance: random.Random) -> Mapping[str, bytes]:
        names = dict(self._certain)
        self._settle(names, self._changes[: chance.randint(0, len(self._changes))])
        return {name: file.after_cut(way, chance) for name, file in names.items()}


class Cut(NamedTuple):
    way: str
    files: Mapping[str, bytes]
    acknowledged: int
    """How many lines ``ack`` the process had printed before."""


def cuts(calls: Sequence[Call], directory: Path, count: int, chance: random.Random) -> Iterator[Cut]:
    """*count* states that the disk may be in after a power cut, at random moments of the recording."""
    moments = sorted(chance.randrange(len(calls)) for _ in range(count))
    disk = Disk(directory)
    for number, call in enumerate(calls):
        disk.see(call)
        while moments and moments[0] == number:
            moments.pop(0)
            way = WAYS[len(moments) % len(WAYS)]
            yield Cut(way, disk.after_cut(way, chance), disk.acknowledged())
