"""WS-Discovery: who is a camera on this network?  A question to a multicast group, answers to the asker alone.

Source: Web Services Dynamic Discovery 2005/04; ONVIF Core Specification 23.06, 7.3.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from drivers.base import Found
from drivers.hub import HostPort, UdpServer, with_port
from drivers.onvif.soap import LARGEST_ANSWER_BYTES, SoapError, body_of

GROUP: Final[HostPort] = ("239.255.255.250", 3702)
_WSD, _WSA = "http://schemas.xmlsoap.org/ws/2005/04/discovery", "http://schemas.xmlsoap.org/ws/2004/08/addressing"
MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One camera, as it describes itself."""

    address: HostPort
    path: str
    name: str
    hardware: str


def probe() -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        f'xmlns:a="{_WSA}" xmlns:d="{_WSD}" xmlns:n="http://www.onvif.org/ver10/network/wsdl"><s:Header>'
        f"<a:Action>{_WSD}/Probe</a:Action><a:MessageID>uuid:{uuid.uuid4()}</a:MessageID>"
        "<a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To></s:Header>"
        "<s:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></s:Body></s:Envelope>"
    ).encode()


def seen(datagram: bytes, peer: HostPort) -> Seen | None:
    """What a ProbeMatches or Hello says; None for anything else.  The address is the peer's, not what it claims."""
    if len(datagram) > LARGEST_ANSWER_BYTES:
        return None
    try:
        body = body_of(datagram)
    except SoapError:
        return None
    texts: dict[str, str] = {}
    for each in body.iter():
        name = each.tag.rpartition("}")[2] if isinstance(each.tag, str) else ""
        texts.setdefault(name, (each.text or "").strip()[:4096])
    addresses, scopes = texts.get("XAddrs", "").split(), texts.get("Scopes", "").split()
    if not addresses:
        return None
    try:
        parts = urlsplit(addresses[0])
        port = parts.port or 80
    except ValueError:
        return None
    return Seen((peer[0], port), parts.path[:100], _scope(scopes, "name"), _scope(scopes, "hardware"))


def _scope(scopes: list[str], kind: str) -> str:
    """``onvif://www.onvif.org/name/Front%20Gate`` -> ``Front Gate``."""
    mark = f"www.onvif.org/{kind}/"
    found = next((unquote(each.partition(mark)[2]) for each in scopes if mark in each), "")
    return "".join(each for each in found if each.isprintable())[:64]


async def search(patience_s: float, group: HostPort = GROUP) -> Mapping[HostPort, Seen]:
    """Everyone who answers within *patience_s*.  Raises LineLost when there is no network."""
    found: dict[HostPort, Seen] = {}

    def heard(datagram: bytes, peer: HostPort) -> None:
        each = seen(datagram, peer)
        if each is not None and len(found) < MOST:
            found[each.address] = each

    async with UdpServer(("0.0.0.0", 0), heard) as asking:
        asking.send(probe(), group)
        await asyncio.sleep(patience_s)
    return found


async def seek(called: str | None, timeout_s: float) -> AsyncIterator[Found]:
    """Every camera that answers (drivers/base.py: Seek).  *called*: a host, or host:port, instead of the group.

    Raises ValueError for an address that is none.
    """
    group = GROUP if called is None else with_port(called, GROUP[1])
    for each in (await search(timeout_s, group)).values():
        host, port = each.address
        entry = {"address": host if port == 80 else f"{host}:{port}"}
        yield Found(entry, " ".join(filter(None, (each.name, each.hardware))))
