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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

import pytest

TOOLS = ("nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "e2fsck", "mount", "umount")


class Fault(NamedTuple):
    kinds: tuple[str, ...]
    """Of requests: read, write."""
    rate_percent: int = 100


FAULTS = {
    "writes": Fault(("write",)),
    "reads": Fault(("read",)),
    "everything": Fault(("write", "read")),
    "some": Fault(("write", "read"), 20),
    "some reads": Fault(("read",), 20),
}


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

    def __init__(self, device: str, folder: Path, flags: Sequence[Path]) -> None:
        """*flags*: what makes requests fail while it exists."""
        self.device = device
        self.folder = folder
        """Where it is mounted."""
        self._flags = flags

    def fail(self) -> None:
        for flag in self._flags:
            flag.touch()

    def heal(self) -> None:
        for flag in self._flags:
            flag.unlink(missing_ok=True)

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
def bad_disk(folder: Path, size_bytes: int, fault: Fault) -> Iterator[BadDisk]:
    """A mounted one.  Skips the test where the kernel grants no loop device."""
    need_bad_disk()
    image, file, mounted = (folder / name for name in ("image", "blocks", "mounted"))
    mounted.mkdir()
    file.touch()
    with image.open("wb") as blocks:
        blocks.truncate(size_bytes)
    command("mkfs.ext4", "-q", "-F", image)
    with ExitStack() as stack:
        words = ["nbdfuse", str(file), "--command", "nbdkit", "--exit-with-parent", "-s", "--filter=error"]
        serving = stack.enter_context(
            subprocess.Popen([*words, "file", str(image), *_errors(folder, fault)], stderr=subprocess.DEVNULL)
        )
        stack.callback(_end, serving, file)
        assert until(lambda: file.stat().st_size == size_bytes, 10), "nbdfuse does not serve"
        device = _loop(file)
        stack.callback(command, "losetup", "-d", device)
        # Without this a write of which only a part succeeded seems to pass for a success: fuse splits what is larger
        # than 128 KiB, and pages were damaged that nobody had reported.  So nothing may be split.
        (Path("/sys/block") / Path(device).name / "queue/max_sectors_kb").write_text("4")
        disk = BadDisk(device, mounted, [folder / f"{kind}-fails" for kind in fault.kinds])
        stack.callback(_release, disk)
        yield disk.mount()


def _errors(folder: Path, fault: Fault) -> Iterator[str]:
    for request, kind in (("pread", "read"), ("pwrite", "write"), ("zero", "write"), ("trim", "write")):
        yield f"error-{request}-rate={fault.rate_percent}%"
        yield f"error-{request}-file={folder / f'{kind}-fails'}"


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
