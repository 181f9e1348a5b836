from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gateway.sim.process import Child

SLEEPER = (sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
)


async def up(child: Child) -> None:
    while "up" not in child.last_words():
        await asyncio.sleep(0.02)


def test_a_child_ends_when_asked_and_leaves_its_words(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with Child(SLEEPER, tmp_path / "log") as child:
            await up(child)
            assert child.running
            return await child.stop()

    assert asyncio.run(scenario()) == -signal.SIGTERM
    assert (tmp_path / "log").read_text() == "up\n"


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with Child(STUBBORN, tmp_path / "log") as child:
            await up(child)
            return await child.stop(timeout_s=0.1)

    assert asyncio.run(scenario()) == -signal.SIGKILL


def test_a_child_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal, sys
from pathlib import Path
from gateway.sim.process import Child
async def main():
    async with Child({SLEEPER!r}, Path({str(tmp_path / "log")!r})) as child:
        while "up" not in child.last_words(): await asyncio.sleep(0.02)
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert parent.returncode == -signal.SIGKILL, parent.stderr
    child = Path(f"/proc/{int(parent.stdout)}/stat")
    deadline = time.monotonic() + 5
    while child.exists() and ") Z " not in child.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not child.exists() or ") Z " in child.read_text(), "still alive"


def test_no_environment_but_the_given_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        show = (sys.executable, "-I", "-S", "-c", "import os; print(sorted(os.environ))")
        async with Child(show, tmp_path / "log", env={"ONLY": "this"}) as child:
            assert await child.wait() == 0

    asyncio.run(scenario())
    assert "ONLY" in (tmp_path / "log").read_text()
    assert "HOME" not in (tmp_path / "log").read_text()
    assert "HOME" in os.environ
