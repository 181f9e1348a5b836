"""Ed25519 over JSON documents: how a command or a configuration proves who has written it.  Pure.

What is signed are bytes, not a parsed document: the sender puts the JSON text into ``signed`` exactly as it was signed,
so that no two programs can disagree about a canonical form.

    {"signed": "{\\"kind\\": …}", "key": "ops-2026", "sig": "base64 of 64 bytes"}
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.envelope import json_text
from gateway.errors import GatewayError

if TYPE_CHECKING:
    # Loaded when a document comes: 7 MiB, which a box without keys has no use for.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES = 32
DEEPEST = 16
"""Levels of nesting of a document; Python's own parser has no limit but the stack."""


class NotSigned(GatewayError):
    """The document proves nothing.  *code*: ``malformed``, ``unsigned``, ``unknown_key`` or ``bad_signature``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Signed(NamedTuple):
    """What was signed, and by which key."""

    document: Mapping[str, Any]
    key: str


def opened(body: bytes, keys: Mapping[str, bytes], longest: int) -> Signed:
    """The document inside *body*, its signature checked.

    keys: key id -> 32 bytes of a public key.  longest: bytes that *body* may have.  Raises NotSigned.
    """
    if len(body) > longest:
        raise NotSigned("malformed", f"{len(body)} bytes, at most {longest} are read")
    outer = _object(body)
    text, key, sig = outer.get("signed"), outer.get("key"), outer.get("sig")
    if text is None and sig is None:
        raise NotSigned("unsigned", "the document is not signed")
    if not isinstance(text, str) or not isinstance(key, str) or not isinstance(sig, str):
        raise NotSigned("malformed", "signed, key and sig must be texts")
    if key not in keys:
        raise NotSigned("unknown_key", f"there is no key {key[:48]!r} here")
    if not _fits(text, sig, keys[key]):
        raise NotSigned("bad_signature", "the signature does not fit the text and the key")
    return Signed(_object(text.encode()), key)


def _fits(text: str, sig: str, public: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(sig, validate=True)
        if base64.b64encode(signature).decode() != sig:  # spare bits of the last letter: one signature, one spelling
            return False
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key in base64.  Raises ValueError."""
    found = base64.b64decode(text, validate=True)
    if len(found) != KEY_BYTES:
        raise ValueError(f"{len(found)} bytes instead of {KEY_BYTES}")
    return found


def seal(document: Mapping[str, Any], key: str, private: Ed25519PrivateKey) -> bytes:
    """For the platform's side, the simulator and the tests: *document*, signed."""
    text = json_text(document)
    sig = base64.b64encode(private.sign(text.encode())).decode()
    return json.dumps({"signed": text, "key": key, "sig": sig}, ensure_ascii=False).encode()


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
        deep = _depth(found) > DEEPEST
    except (ValueError, RecursionError) as exc:
        raise NotSigned("malformed", f"not JSON: {exc}") from None
    if not isinstance(found, dict) or deep:
        raise NotSigned("malformed", f"not a JSON object of at most {DEEPEST} levels")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, children), default=0)
