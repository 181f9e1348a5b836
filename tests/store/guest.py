"""A machine whose power can be cut: a guest of qemu that writes to a store.

    guest: store ─▶ ext4 ─▶ virtio ─▶ nbdkit, filter "cache" ─▶ image

The guest's own page cache dies with it.  nbdkit's filter is the volatile cache of a disk: what the guest has not
flushed never reaches the image.  There is no initramfs: the root is on nvme, the first process is Python.  The store is
not on nvme: there the last commit was missing after 3 of 20 cuts, with virtio after none of 20.  Why is not known;
qemu 7.2 may take a write that must reach the medium (FUA) for an ordinary one.
The kernel is the newest below $GUEST_KERNEL, as a distribution's package has it (boot/vmlinuz-*); the default is /.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import pytest

from store.bad_disk import until

TOOLS = ("qemu-system-x86_64", "nbdkit", "mkfs.ext4")
DISK = "/disk"
_TREE = Path(__file__).parent.parent.parent
_BUILT_IN = (
    "CONFIG_EXT4_FS=y",
    "CONFIG_BLK_DEV_NVME=y",
    "CONFIG_DEVTMPFS=y",
    "CONFIG_VIRTIO_BLK=m",
    "CONFIG_SERIAL_8250_CONSOLE=y",
)
_INIT = """#!{python} -u
import sys
sys.path[:] = {path!r}
import ctypes, os
sys.argv = ["init", *os.environ.get("WORDS", "").split(",")]
libc = ctypes.CDLL(None, use_errno=True)
for module in 2 * {modules!r}:  # twice, since their order differs between kernels
    with open("/" + module + ".ko", "rb") as file:
        libc.syscall(313, file.fileno(), b"", 0)  # finit_module
MOUNTS = ("proc", "/proc", "proc"), ("devtmpfs", "/dev", "devtmpfs"), ("/dev/vda", "{disk}", "ext4")
for what, where, kind in MOUNTS:
    if libc.mount(what.encode(), where.encode(), kind.encode(), 0, None) and kind != "devtmpfs":
        sys.exit("no " + where + ": " + os.strerror(ctypes.get_errno()))
exec(open("/program.py").read(), {{"__name__": "__main__"}})
"""
_MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")
_LIST = """
import ctypes, runpy, sys
program, sys.argv = sys.argv[1], sys.argv[1:]
for start in range(2):  # the second finds what the first has left
    runpy.run_path(program, run_name="__main__")
for module in list(sys.modules.values()):
    for name in ("__file__", "__cached__"):
        print(getattr(module, name, None) or "")
for line in open("/proc/self/maps"):
    print(line.split(maxsplit=5)[-1].strip())
"""


def need_guest() -> Path:
    """The kernel.  Skips, also where CI runs: no pipeline promises an emulator."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (Debian: qemu-system-x86, nbdkit, e2fsprogs)")
    boot = Path(os.environ.get("GUEST_KERNEL", "/")) / "boot"
    for kernel in sorted(boot.glob("vmlinuz-*"), reverse=True):
        config = kernel.with_name(kernel.name.replace("vmlinuz", "config"))
        if config.is_file() and set(_BUILT_IN) <= set(config.read_text().split("\n")):
            return kernel
    pytest.skip(f"no kernel in {boot} with {', '.join(_BUILT_IN)} (Debian: linux-image-cloud-amd64)")


def _files(program: Path, words: Sequence[str]) -> Iterator[Path]:
    """What Python has opened when it has run *program* with these arguments on this machine."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", _LIST, str(program), *words], env=environment, capture_output=True, text=True, check=True
    )
    for name in sorted(set(found.stdout.splitlines())):
        if name.startswith("/") and os.path.isfile(name):
            yield Path(name)
            # A library is asked for by a name that leads to the file.
            yield from (other for other in Path(name).parent.glob(f"{Path(name).name.partition('.so')[0]}.so*"))


class Power:
    def __init__(self, disk: subprocess.Popen[bytes], machine: subprocess.Popen[str]) -> None:
        self._disk = disk
        self._machine = machine
        self.said = cast(IO[str], machine.stdout)
        """Line by line; ends some time after the cut."""

    def cut(self) -> None:
        # Frozen first: a disk that dies before its machine gives it errors, and that is no power cut.
        self._disk.send_signal(signal.SIGSTOP)
        self._machine.kill()
        self._disk.kill()


class Guest:
    """Use one for all cuts: the data disk stays."""

    def __init__(self, folder: Path, program: str, *trial: str) -> None:
        """*program*: Python, run by the guest at each start with the arguments of ``powered``.

        *trial*: arguments with which it ends, here, having needed everything that it needs there.
        """
        self._kernel = need_guest()
        self._folder = folder
        (folder / "program.py").write_text(program)
        self._image("root", 256, self._root(folder / "tree", trial))
        self._image("data", 64, None)

    def _root(self, tree: Path, trial: Sequence[str]) -> Path:
        python = Path(sys.executable).resolve()
        interpreter = Path("/lib64/ld-linux-x86-64.so.2")  # named in each program, whatever it points to
        for name in ("proc", "dev", "tmp", DISK[1:]):
            (tree / name).mkdir(parents=True)
        for file in (*_files(self._folder / "program.py", trial), python):
            _copy(file, tree, file)
        _copy(interpreter, tree, interpreter)
        shutil.copytree(_TREE / "gateway", tree / str(_TREE / "gateway")[1:], dirs_exist_ok=True)
        shutil.copy(self._folder / "program.py", tree / "program.py")
        version = self._kernel.name.removeprefix("vmlinuz-")
        for module in _MODULES:
            (found,) = (self._kernel.parent.parent / "lib/modules" / version).rglob(f"{module}.ko")
            shutil.copy(found, tree)
        init = tree / "init"
        init.write_text(
            _INIT.format(python=python, path=[path for path in sys.path if path], disk=DISK, modules=_MODULES)
        )
        init.chmod(0o755)
        return tree

    def _image(self, name: str, size_mib: int, tree: Path | None) -> None:
        content = [] if tree is None else ["-d", str(tree)]
        image = str(self._folder / name)
        subprocess.run(["mkfs.ext4", "-q", *content, image, f"{size_mib}M"], check=True, capture_output=True)

    @contextmanager
    def powered(self, *words: str) -> Iterator[Power]:
        """Started; its power is cut at the end, unless it has been before."""
        socket = self._folder / "disk.sock"
        socket.unlink(missing_ok=True)
        cache = ["nbdkit", "-f", "-U", str(socket), "--filter=cache", "file", str(self._folder / "data")]
        with ExitStack() as stack:
            disk = stack.enter_context(subprocess.Popen([*cache, "cache=writeback"]))
            stack.callback(disk.kill)
            assert until(socket.exists, 10), "nbdkit does not serve"
            command, pipe = self._qemu(socket, words), subprocess.PIPE
            machine = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, text=True, errors="replace")
            )
            stack.callback(machine.kill)
            yield Power(disk, machine)

    def _qemu(self, socket: Path, words: tuple[str, ...]) -> list[str]:
        drives = {
            "root": f"file={self._folder / 'root'},format=raw,snapshot=on",
            "data": f"file=nbd+unix:///?socket={socket},format=raw,cache=writeback",
        }
        disks = [
            word
            for (name, drive), device in zip(drives.items(), ("nvme", "virtio-blk-pci"), strict=True)
            for word in ("-drive", f"id={name},if=none,{drive}", "-device", f"{device},serial={name},drive={name}")
        ]
        # When the program ends, so does the first process, the kernel panics, and qemu ends.
        line = f"console=ttyS0 quiet loglevel=1 root=/dev/nvme0n1 rw init=/init panic=1 WORDS={','.join(words)}"
        return [
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "384", "-nodefaults", "-no-user-config"),
            *("-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(self._kernel), "-append", line),
            *disks,
        ]  # fmt: skip


def _copy(file: Path, tree: Path, name: Path) -> None:
    target = tree / str(name)[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file.resolve(), target)
