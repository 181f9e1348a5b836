"""The platform's side of commands: keys, counters and signed envelopes, for tests and for trying it out.

now_ms = SystemClock().now_ms()
operator = Operator("jiayuan", "gw1", counter=now_ms, private=private_key(Path("ops-2026.key")))
print(operator.entry(["write"], ["*"]))                     # what site.yaml needs under remote.keys
id_, body = operator.order("write", {"point": "board.relay1", "value": True, "reason": "trial"}, now_ms)
# publish body on compound/v1/jiayuan/gw1/command/{id_}, and hear compound/v1/jiayuan/gw1/reply/{id_}
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ids import uuid7
from gateway.remote.signature import seal

VALID_MS = 60_000


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key in the file; a new one where there is no file."""
    with suppress(FileExistsError):
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(number, "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


@dataclass(slots=True)
class Operator:
    """One key of one platform.  A real one keeps *counter* on disk, or begins with its time in milliseconds."""

    site: str
    gateway: str
    key: str = "ops-2026"
    counter: int = 0
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        """As site.yaml wants it."""
        return base64.b64encode(self.private.public_key().public_bytes_raw()).decode()

    def entry(self, commands: Sequence[str], devices: Sequence[str]) -> dict[str, Any]:
        """For ``remote.keys`` of site.yaml."""
        return {"id": self.key, "public": self.public, "commands": list(commands), "devices": list(devices)}

    def document(self, command: str, args: Mapping[str, Any], now_ms: int, **other: Any) -> dict[str, Any]:
        """*other*: fields that are to differ from what is right."""
        self.counter += 1
        return {
            "kind": "command",
            "site": self.site,
            "gateway": self.gateway,
            "command": command,
            "args": dict(args),
            "id": uuid7(now_ms),
            "issued_ms": now_ms,
            "expires_ms": now_ms + VALID_MS,
            "counter": self.counter,
            **other,
        }

    def order(self, command: str, args: Mapping[str, Any], now_ms: int, **other: Any) -> tuple[str, bytes]:
        """Id and envelope of a command."""
        document = self.document(command, args, now_ms, **other)
        return document["id"], seal(document, self.key, self.private)
