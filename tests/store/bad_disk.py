"""A disk whose blocks fail on demand, under a real ext4.

    store ─▶ ext4 ─▶ /dev/loopN ─▶ file of nbdfuse ─▶ nbdkit, filter "error" ─▶ image

nbdkit's filter refuses requests for as long as a certain file exists.  Nothing here needs a module of the kernel
beyond loop and fuse; device mapper could do the same, where there is one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

TOOLS = ("nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "e2fsck", "mount", "umount")
FAULTS = {"writes": ("write",), "reads": ("read",), "everything": ("write", "read")}


def need_bad_disk() -> None:
    """Skips, also where CI runs: no pipeline promises loop devices."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (Debian: nbdkit, libnbd-bin, e2fsprogs, mount)")
    if os.geteuid():
        pytest.skip("needs root: it sets up a loop device and mounts it")
    for device in ("/dev/loop-control", "/dev/fuse"):
        if not os.access(device, os.R_OK | os.W_OK):
            pytest.skip(f"the kernel offers no {device}")


def command(*words: str | Path, good: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in good, f"{words}: {done.returncode}, {done.stderr}"
    return done.stdout.strip()


def until(true: Callable[[], bool], limit_s: float) -> bool:
    """Whether it became true."""
    end_s = time.monotonic() + limit_s
    while not (found := true()) and time.monotonic() < end_s:
        time.sleep(0.02)
    return found


class BadDisk:
    """Use ``bad_disk()``."""

    def __init__(self, device: str, folder: Path, flags: Path) -> None:
        self.device = device
        self.folder = folder
        """Where it is mounted."""
        self._flags = flags

    def fail(self, fault: str) -> None:
        for kind in FAULTS[fault]:
            (self._flags / kind).touch()

    def heal(self) -> None:
        for flag in self._flags.iterdir():
            flag.unlink()

    def mount(self) -> Self:
        """As a box does at its start: what the file system's own check repairs is repaired."""
        command("e2fsck", "-p", self.device, good=(0, 1))
        command("mount", "-o", "errors=remount-ro", self.device, self.folder)
        return self

    def unmount(self) -> None:
        """Everything the kernel kept of it in memory is gone afterwards."""
        command("umount", self.folder)

    def gave_up(self) -> bool:
        """Whether ext4 has stopped writing, as it does when its journal could not be written: until mounted anew."""
        try:
            (self.folder / "probe").write_bytes(b"")
        except OSError:
            return True
        return False


@contextmanager
def bad_disk(folder: Path, size_bytes: int) -> Iterator[BadDisk]:
    """A mounted one.  Skips the test where the kernel grants no loop device."""
    need_bad_disk()
    flags, image, file, mounted = (folder / name for name in ("flags", "image", "blocks", "mounted"))
    for directory in (flags, mounted):
        directory.mkdir()
    file.touch()
    with image.open("wb") as blocks:
        blocks.truncate(size_bytes)
    command("mkfs.ext4", "-q", "-F", image)
    kinds = {"pread": "read", "pwrite": "write", "zero": "write", "trim": "write"}
    faults = [
        word
        for kind, flag in kinds.items()
        for word in (f"error-{kind}-rate=100%", f"error-{kind}-file={flags / flag}")
    ]
    nbdkit = ["nbdkit", "--exit-with-parent", "-s", "--filter=error", "file", str(image), *faults]
    with ExitStack() as stack:
        serving = stack.enter_context(
            subprocess.Popen(["nbdfuse", str(file), "--command", *nbdkit], stderr=subprocess.DEVNULL)
        )
        stack.callback(_end, serving, file)
        assert until(lambda: file.stat().st_size == size_bytes, 10), "nbdfuse does not serve"
        device = _loop(file)
        stack.callback(command, "losetup", "-d", device)
        disk = BadDisk(device, mounted, flags)
        stack.callback(_release, disk)
        yield disk.mount()


def _loop(file: Path) -> str:
    # Direct, since what the kernel kept of the file in memory would hide the faults.
    words = ["losetup", "--find", "--show", "--direct-io=on", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    return done.stdout.strip()


def _release(disk: BadDisk) -> None:
    disk.heal()
    if os.path.ismount(disk.folder):
        command("umount", "--lazy", disk.folder)


def _end(serving: subprocess.Popen[bytes], file: Path) -> None:
    with suppress(AssertionError):
        command("umount", file)
    serving.terminate()
    serving.wait(10)
