"""multipart/form-data without its pictures.  Pure.

a piece ─▶ Thinned.feed ─▶ headers and texts are kept, what stands in a picture's part is dropped as it comes
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

MOST_BYTES = 256 * 1024
"""Of all that is kept."""
MOST_PARTS = 64
_HEADERS_BYTES = 4096
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(r'\bname="?([^";\r\n]{0,64})"?')
_PICTURE_NAME = re.compile(rb'content-type:\s*image/|filename="?[^"\r\n]*\.(?:jpe?g|png|bmp|gif)"?', re.IGNORECASE)
_PICTURE_BYTES = (b"\xff\xd8", b"\x89PNG", b"BM", b"GIF8")
_END = b"\r\n\r\n"


def boundary_of(content_type: str) -> bytes | None:
    """The line between parts, without a line break; None when it is not multipart."""
    found = _BOUNDARY.search(content_type) if content_type.lower().lstrip().startswith("multipart/") else None
    return None if found is None else b"--" + found[1].encode("utf-8", "replace")


class Thinned:
    """A ``Body`` of drivers/http_server.py: the same multipart message, its pictures empty."""

    def __init__(self, boundary: bytes, most_bytes: int = MOST_BYTES) -> None:
        self._boundary = boundary
        self._most_bytes = most_bytes
        self._kept = bytearray()
        self._rest = b""
        self._in_headers = False
        self._dropping = False

    @property
    def kept_bytes(self) -> int:
        return len(self._kept) + len(self._rest)

    def feed(self, data: bytes) -> bool:
        """False when too much is to be kept."""
        self._rest += data
        while self.kept_bytes - len(data) <= self._most_bytes:
            if not (self._headers() if self._in_headers else self._content()):
                break
        return len(self._kept) <= self._most_bytes and (not self._in_headers or len(self._rest) <= _HEADERS_BYTES)

    def kept(self) -> bytes:
        return bytes(self._kept) + (b"" if self._dropping and not self._in_headers else self._rest)

    def _content(self) -> bool:
        """False when more bytes are needed."""
        at = self._rest.find(self._boundary)
        if at < 0:
            self._pass(max(0, len(self._rest) - len(self._boundary) + 1))
            return False
        self._pass(at)
        self._keep(len(self._boundary))
        self._in_headers = True
        return True

    def _headers(self) -> bool:
        end, boundary = self._rest.find(_END), self._rest.find(self._boundary)
        if 0 <= boundary < end or (end < 0 <= boundary):
            self._keep(boundary + len(self._boundary))
            return True
        if end < 0:
            return False
        first = self._rest[end + len(_END) : end + len(_END) + 4]
        if len(first) < 4:
            return False
        self._dropping = bool(_PICTURE_NAME.search(self._rest[:end])) or first.startswith(_PICTURE_BYTES)
        self._keep(end + len(_END))
        self._in_headers = False
        return True

    def _pass(self, length: int) -> None:
        if self._dropping:
            self._rest = self._rest[length:]
        else:
            self._keep(length)

    def _keep(self, length: int) -> None:
        self._kept += self._rest[:length]
        self._rest = self._rest[length:]


def parts(body: bytes, boundary: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """(``{"name": ...}``, content) of each part that has headers; at most MOST_PARTS."""
    for piece in body.split(boundary, MOST_PARTS + 1)[1 : MOST_PARTS + 1]:
        headers, end, content = piece.partition(_END)
        if end:
            name = _NAME.search(headers.decode("utf-8", "replace"))
            yield {"name": name[1] if name else ""}, content.removesuffix(b"\r\n")
