"""Who it was, without saying who: the box's own key, and the names made with it.

A card's number, a plate or a name never reaches the store, a log or a platform.  HMAC-SHA256 with a key that is made on
this box and never leaves it: the same card has the same pseudonym for ever, and another box has another one for it.
Without the key a pseudonym cannot be undone by trying all cards or plates there are.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

KEY_FILE = "subjects.key"
"""In the store's directory: it must live as long as the data.  Deleting it makes everybody in them unknown for good."""
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class Pseudonyms:
    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) < _KEY_BYTES:
            raise ValueError(f"a pseudonym key has {_KEY_BYTES} random bytes")

    def of(self, kind: str, text: str) -> str:
        """*kind* keeps a card and a plate with the same digits apart."""
        digest = hmac.new(self.key, f"{kind}\0{text}".encode(), hashlib.sha256).hexdigest()
        return f"p-{digest[:16]}"


def box_pseudonyms(directory: Path) -> Pseudonyms:
    """With the key in *directory*; it is made the first time.  Raises OSError, ValueError for a key cut short."""
    path = directory / KEY_FILE
    try:
        return Pseudonyms(path.read_bytes())
    except FileNotFoundError:
        return Pseudonyms(_made(path))


def _made(path: Path) -> bytes:
    """On disk before it is used: a key that is lost in a power cut would name everybody anew."""
    key = os.urandom(_KEY_BYTES)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key
