"""A plate as the site's lists and its memory know it: never the plate.  Pure, but for ``new_key`` and ``read_key``.

A plain hash would be no veil: there are some 10^10 plates, tried in hours.  HMAC with a key of the site's own is one
for everybody who has not got the key; with another key every pseudonym is another one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from pathlib import Path

from gateway.errors import ConfigError
from gateway.plates import LONGEST, PlateClass, classify, normalise, variants

KEY_BYTES = 32
PATTERN = r"^v-[0-9a-f]{20}$"
_PLATE = b"compound-gateway vehicles plate 1\0"  # so that no other pseudonym of the same key is ever the same
_KEY = b"compound-gateway vehicles key 1\0"
_PSEUDONYM = re.compile(PATTERN)


def pseudonym_of(key: bytes, plate: str) -> str | None:
    """*plate* as anybody writes it.  None for what is no plate: empty, ``_无_``, too long."""
    plain = normalise(plate)
    if classify(plain) is PlateClass.UNLICENSED or len(plain) > LONGEST:
        return None
    return "v-" + hmac.new(key, _PLATE + plain.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:20]


def alike_of(key: bytes, plate: str) -> list[str]:
    """Pseudonyms of what *plate* may have been, should the camera have mixed up one character; at most 51."""
    found = (pseudonym_of(key, each) for each in variants(normalise(plate)))
    return [each for each in found if each is not None]


def is_pseudonym(text: str) -> bool:
    return _PSEUDONYM.fullmatch(text) is not None


def fingerprint(key: bytes) -> str:
    """By which a list says with which key it was made."""
    return hmac.new(key, _KEY, hashlib.sha256).hexdigest()[:12]


def new_key(path: Path) -> bytes:
    """Write 32 random bytes that only the owner may read.

    Raises FileExistsError: the lists depend on the old key; OSError.
    """
    key = os.urandom(KEY_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)  # half a key would be taken for one
        raise
    return key


def read_key(path: Path) -> bytes:
    """Raises ConfigError."""
    try:
        key = path.read_bytes()
        others = path.stat().st_mode & 0o077
    except OSError as exc:
        raise ConfigError(
            f"{path}: {exc.strerror}", hint=f"make it with gateway plates key {path} / 用该命令生成密钥"
        ) from exc
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path}: {len(key)} bytes, not {KEY_BYTES}", hint="is it another file? / 是否为其他文件？")
    if others:
        raise ConfigError(f"{path}: others may read it", hint=f"chmod 600 {path}")
    return key
