"""The daemon in a process of its own, whose kernel calls the clock synchronised when a file is there.

    python -m support.clocked_daemon CONFIG_DIRECTORY FILE

Only that one question is not put to the kernel, because answering it differently would change the whole machine; what
the wall clock says is the environment's business (libfaketime).  It lives among the tests, so that no installed gateway
can be told to believe a file.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from gateway import app
from gateway.clock import GatewayClock, LinuxKernel, recall
from gateway.config.load import load
from gateway.logs import configure


class ToldKernel(LinuxKernel):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def is_synchronised(self) -> bool:
        return self._file.exists()


async def main(directory: Path, file: Path) -> None:
    config, stop = load(directory), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await app.run(config, GatewayClock(recall(config.store.path), ToldKernel(file)), stop)


if __name__ == "__main__":
    configure("json")
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
