"""Explains captured SNMP messages.  A community is a password: it is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pyasn1.codec.ber import decoder
from pysnmp.proto import api, rfc1905
from pysnmp.proto.api import v1, v2c
from pysnmp.proto.mpmod.rfc3412 import SNMPv3Message

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.snmp.config import show_oid
from drivers.snmp.engine import FOREIGN_ERRORS, bound
from drivers.snmp.values import text_of
from gateway.model import Reason

_PDUS: Final = {
    v2c.GetRequestPDU.tagSet: "get",
    v2c.GetNextRequestPDU.tagSet: "get-next",
    v2c.ResponsePDU.tagSet: "response",
    v2c.SetRequestPDU.tagSet: "set",
    v1.TrapPDU.tagSet: "trap (v1)",
    v2c.GetBulkRequestPDU.tagSet: "get-bulk",
    v2c.InformRequestPDU.tagSet: "inform",
    v2c.SNMPv2TrapPDU.tagSet: "trap",
    rfc1905.ReportPDU.tagSet: "report",
}
_RESPONSES: Final = ("response", "report")
V3: Final = 3
LONGEST = 65507


def decode(data: bytes) -> Decoded:
    """Messages one after the other."""
    frames: list[DecodedFrame] = []
    rest = data[:LONGEST]
    while rest:
        offset = len(data) - len(rest)
        try:
            end = _end(rest)
            frame, rest = _message(rest[:end]), rest[end:]
        except FOREIGN_ERRORS as exc:
            text = f"不是 SNMP 报文 / not an SNMP message ({type(exc).__name__})"
            return Decoded(tuple(frames), Fault("no_frame", text, offset))
        frames.append(frame)
    return Decoded(tuple(frames), None if frames else Fault("no_frame", "没有报文 / no message"))


def _end(data: bytes) -> int:
    """Where the first message ends, by the length of its SEQUENCE (X.690, 8.1.3).  Raises ValueError, IndexError."""
    first = data[1]
    if first < 0x80:
        return 2 + first
    size = first & 0x7F
    if not 1 <= size <= 4:
        raise ValueError("length")
    return 2 + size + int.from_bytes(data[2 : 2 + size], "big")


def _message(data: bytes) -> DecodedFrame:
    version = int(api.decodeMessageVersion(data))
    if version == V3:
        return _v3(decoder.decode(data, asn1Spec=SNMPv3Message())[0])
    if version not in api.PROTOCOL_MODULES:
        raise ValueError("version")
    module = api.PROTOCOL_MODULES[version]
    message = decoder.decode(data, asn1Spec=module.Message())[0]
    pdu = module.apiMessage.get_pdu(message)
    name = _PDUS.get(pdu.tagSet, "?")
    items = [Field("version", "1" if version == 0 else "2c"), Field("community", "***"), *_pdu(module, pdu, name)]
    return DecodedFrame(_direction(name), "", name, tuple(items))


def _v3(message: Any) -> DecodedFrame:
    header = message["msgGlobalData"]
    flags = bytes(header["msgFlags"].asOctets())
    words = [word for bit, word in ((1, "auth"), (2, "priv"), (4, "reportable")) if flags and flags[0] & bit]
    items = [
        Field("version", "3"),
        Field("message", int(header["msgID"])),
        Field("flags", " ".join(words)),
        Field("security", message["msgSecurityParameters"].asOctets().hex(" ").upper()),
    ]
    name = "encrypted" if "priv" in words else "v3"
    return DecodedFrame("response" if "reportable" not in words else "request", "", name, tuple(items))


def _pdu(module: Any, pdu: Any, name: str) -> Iterator[Field]:
    interface = module.apiTrapPDU if name == "trap (v1)" else module.apiPDU
    if name == "trap (v1)":
        yield Field("enterprise", show_oid(tuple(map(int, module.apiTrapPDU.get_enterprise(pdu)))))
        yield Field("generic", int(module.apiTrapPDU.get_generic_trap(pdu)))
        yield Field("specific", int(module.apiTrapPDU.get_specific_trap(pdu)))
    elif name != "get-bulk":
        yield Field("request", int(module.apiPDU.get_request_id(pdu)))
        yield Field("error", int(module.apiPDU.get_error_status(pdu)))
    for each in bound(interface.get_varbinds(pdu)):
        yield Field(show_oid(each.oid), None if isinstance(each.raw, Reason) else _shown(each.raw))


def _shown(raw: int | bytes | tuple[int, ...]) -> int | str:
    return raw if isinstance(raw, int) else text_of(raw)


def _direction(name: str) -> str:
    return "response" if name in _RESPONSES else "request"
