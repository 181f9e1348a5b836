"""Explains a captured message: a body, or a whole request as it was on the wire."""

from __future__ import annotations

from drivers.base import Decoded
from drivers.json_mapping.decode import decode_payload

_METHODS = (b"POST ", b"PUT ")


def decode(data: bytes) -> Decoded:
    if not data.startswith(_METHODS):
        return decode_payload("", data)
    head, _, body = data.partition(b"\r\n\r\n")
    path = head.split(b" ", 2)[1].partition(b"?")[0]  # a query may hold a token
    return decode_payload(path.decode("ascii", "replace")[:256], body)
