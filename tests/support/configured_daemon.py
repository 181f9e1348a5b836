"""``gateway run`` that may be configured with the tests' key: DIRECTORY WINDOW_S."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.cli.common import Shell
from gateway.cli.run import serve
from gateway.config.load import load
from gateway.logs import configure
from gateway.remote.configuration import Terms
from support.sealed import KEYS


def main() -> None:
    directory, window_s = Path(sys.argv[1]), float(sys.argv[2])
    configure("json")
    asyncio.run(serve(Shell(directory, False, "en"), load(directory), lambda config: Terms(KEYS, window_s)))


if __name__ == "__main__":
    main()
