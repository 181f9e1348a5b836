"""Documents as a platform signs them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.remote.signature import seal
from gateway.remote.versions import read_files

KEY = "ops-2026"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
KEYS = {KEY: PUBLIC}
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def text_files(directory: Path) -> dict[str, str]:
    return {name: content.decode() for name, content in read_files(directory).items()}


def document(
    version: object,
    files: Mapping[str, str],
    *,
    site: str = "jiayuan",
    gateway: str = "gw1",
    private: Ed25519PrivateKey = PRIVATE,
    packed: bool = False,
    **more: Any,
) -> bytes:
    content: dict[str, Any] = {"files": dict(files)}
    if packed:
        content = {"files_zlib": base64.b64encode(zlib.compress(json.dumps(files).encode())).decode()}
    body = {"kind": "configuration", "site": site, "gateway": gateway, "version": version, **content, **more}
    return seal(body, KEY, private)
