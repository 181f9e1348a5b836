"""A configuration as the platform sends it: one signed document with every file of the directory.  Pure.

    {"kind": "configuration", "site", "gateway", "version": 7, "issued_ms",
     "files": {"site.yaml": "…", "rules/night.yaml": "…", "devices/own_meter.yaml": "…"}}

Instead of ``files`` there may be ``files_zlib``: the JSON text of the same object, compressed (RFC 1950), in base64.
Ten thousand devices take 2 MiB of YAML, which no broker needs to carry as it is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.model import Text
from gateway.remote.signature import NotSigned, opened

LONGEST_BYTES = 2**20
"""Of a document as it arrives."""
UNPACKED_BYTES = 8 * 2**20
MOST_FILES = 1000
_LAST_VERSION = 2**53 - 1  # what every JSON library keeps exactly
_FILE = re.compile(r"site\.yaml|(?:rules|devices)/[A-Za-z0-9_-]{1,64}\.yaml")


class NotDesired(GatewayError):
    """The document is not one that this gateway may be configured with.

    *code*: ``malformed``, ``unknown_key``, ``bad_signature``, ``addressee``, ``file_name``.  *signed*: whether it came
    from somebody who may configure.
    """

    def __init__(self, code: str, text: Text, *, signed: bool = True, version: int | None = None) -> None:
        super().__init__(text.en)
        self.code = code
        self.text = text
        self.signed = signed
        self.version = version


@dataclass(frozen=True, slots=True)
class Desired:
    version: int
    digest: str
    """``sha256:…`` of the files, see ``digest_of``."""
    files: Mapping[str, bytes]
    key: str
    """Id of the key that signed it."""
    issued_ms: int | None


def digest_of(files: Mapping[str, bytes]) -> str:
    """``sha256:…`` over ``name NUL length NUL content`` of each file, in the order of the names' bytes.

    Unlike ``Configuration.digest`` it leaves out the profiles that come with the product, so that the platform can work
    it out and a new release does not look like somebody's edit.
    """
    digest = hashlib.sha256()
    for name in sorted(files, key=str.encode):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return f"sha256:{digest.hexdigest()}"


def read(body: bytes, keys: Mapping[str, bytes], site: str, gateway: str) -> Desired:
    """keys: key id -> 32 bytes of a public key.  Raises NotDesired."""
    try:
        document, key = opened(body, keys, LONGEST_BYTES)
    except NotSigned as exc:
        raise NotDesired(exc.code, _UNSIGNED.get(exc.code, _text(str(exc))), signed=False) from None
    if document.get("kind") != "configuration":
        raise NotDesired("malformed", Text("文件不是配置（kind）", "its kind is not configuration"))
    if (document.get("site"), document.get("gateway")) != (site, gateway):
        raise NotDesired("addressee", Text(f"不是发给 {site}/{gateway} 的", f"it is not addressed to {site}/{gateway}"))
    version = document.get("version")
    if type(version) is not int or not 1 <= version <= _LAST_VERSION:
        raise NotDesired("malformed", Text("version 应为正整数", "version must be a whole number from 1"))
    issued_ms = document.get("issued_ms")
    if issued_ms is not None and type(issued_ms) is not int:
        raise NotDesired("malformed", Text("issued_ms 应为整数", "issued_ms must be a whole number"), version=version)
    files = _files(document, version)
    return Desired(version, digest_of(files), files, key, issued_ms)


def _files(document: Mapping[str, Any], version: int) -> Mapping[str, bytes]:
    found = document.get("files")
    if "files_zlib" in document:
        found = _unpacked(document["files_zlib"], version)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise NotDesired("malformed", Text("files 应为 文件名: 文本", "files must be texts by name"), version=version)
    if len(found) > MOST_FILES:
        message = Text(f"最多 {MOST_FILES} 个文件", f"more than {MOST_FILES} files")
        raise NotDesired("malformed", message, version=version)
    for name in found:
        if not _FILE.fullmatch(name):
            message = Text(f"不接受的文件名：{name[:80]!a}", f"not a file that a configuration has: {name[:80]!a}")
            raise NotDesired("file_name", message, version=version)
    try:
        files = {name: text.encode() for name, text in found.items()}
    except UnicodeEncodeError:
        raise NotDesired("malformed", Text("文件不是 UTF-8", "a file is not UTF-8"), version=version) from None
    if sum(map(len, files.values())) > UNPACKED_BYTES:
        raise NotDesired("malformed", _TOO_LARGE, version=version)
    return files


def _unpacked(packed: object, version: int) -> object:
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(base64.b64decode(str(packed), validate=True), 2 * UNPACKED_BYTES)
        whole = stream.eof and not stream.unused_data
        found: object = json.loads(text) if whole else None
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        whole = False
    if not whole:
        message = Text("files_zlib 无法解开", "files_zlib cannot be unpacked, or is too large")
        raise NotDesired("malformed", message, version=version)
    return found


_TOO_LARGE = Text(f"超过 {UNPACKED_BYTES} 字节", f"more than {UNPACKED_BYTES} bytes of files")
_UNSIGNED: Mapping[str, Text] = {
    "unknown_key": Text(
        "签名密钥不在本机允许的密钥之中", "it is signed with a key that may not configure this gateway"
    ),
    "bad_signature": Text("签名不符", "the signature does not fit"),
}


def _text(both: str) -> Text:
    return Text(both, both)
