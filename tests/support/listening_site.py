"""A site whose devices speak by themselves, written down for a real daemon: ports, lines and devices as given."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.model import Lane
from gateway.sim.process import Child
from gateway.store import reader

GATEWAY = (sys.executable, "-m", "gateway.cli.main")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Nobody else takes it: the next free one is another."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class ListeningSite:
    config: Path
    store: Path
    log: Path

    def daemon(self) -> Child:
        """Enter it to start it."""
        return Child((*GATEWAY, "run", "--config", str(self.config)), self.log)

    def events(self) -> list[dict[str, Any]]:
        """All that are on disk, in their order."""
        with reader.opened(self.store) as store:
            return [item for row in store.rows(Lane.EVENT) for item in json.loads(row.items)]

    def happened(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["kind"] == kind]

    def readings(self, point: str) -> list[dict[str, Any]]:
        with reader.opened(self.store) as store:
            items = [item for row in store.rows(Lane.TELEMETRY) for item in json.loads(row.items)]
        return [item for item in items if item["p"] == point]


def listening_site(
    directory: Path,
    lines: Sequence[Mapping[str, Any]],
    devices: Sequence[Mapping[str, Any]],
    rules: str = "",
    **more: Any,
) -> ListeningSite:
    config, store = directory / "config", directory / "store"
    (config / "rules").mkdir(parents=True)
    document = {
        "format": "site/1",
        "site": {"id": "jiayuan", "name": {"zh": "佳园小区", "en": "Jiayuan Garden"}},
        "gateway": {"id": "gw1", "clock_wait": "0 s"},
        "store": {"path": str(store), "budget": "64 MiB"},
        "lines": list(lines),
        "devices": list(devices),
        **more,
    }
    (config / "site.yaml").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    if rules:
        (config / "rules" / "rules.yaml").write_text(rules, encoding="utf-8")
    return ListeningSite(config, store, directory / "log")
