"""The peer's own virtual environment, in build/peer, so that neither product's dependencies touch the other's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.errors import GatewayError

ROOT = Path(__file__).parents[3]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def installed() -> Path:
    """The program; installs it when it is missing or the list has changed.  Raises GatewayError."""
    environment = ROOT / "build" / "peer" / ".venv"
    program, stamp = environment / "bin" / "thingsboard-gateway", environment / "installed"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text('utf-8')}"
    if program.exists() and stamp.exists() and stamp.read_text("utf-8") == wanted:
        return program
    print(f"installing the peer into {environment.relative_to(ROOT)} ...", file=sys.stderr)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        subprocess.run([*pip, "setuptools", "-r", str(REQUIREMENTS)], check=True, stderr=subprocess.PIPE, text=True)
    except subprocess.CalledProcessError as exc:
        raise GatewayError(
            f"the peer cannot be installed: {exc}\n{exc.stderr or ''}",
            hint=f"it needs a package index, and a Python for which the versions in {REQUIREMENTS.name} exist",
        ) from exc
    stamp.write_text(wanted, "utf-8")
    return program


def peer_version() -> str:
    return next(line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line.startswith("thingsboard-gateway"))
