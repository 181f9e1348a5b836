"""The five SOAP calls that events need, and what comes back.  Pure, but for the random numbers it is given.

Sources: ONVIF Core Specification 23.06, chapters 5.9 (security), 8 (device), 9 (events); WS-BaseNotification 1.3;
WS-Security UsernameToken Profile 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError, tostring
from xml.sax.saxutils import escape

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

LARGEST_ANSWER_BYTES: Final = 256 * 1024
MOST_NOTIFICATIONS: Final = 200
LONGEST_TEXT: Final = 128
_DEEPEST_REFERENCE, _LONGEST_REFERENCE = 4, 2048

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSA = "http://www.w3.org/2005/08/addressing"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
_TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
_BASE64 = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_EVENTS = "http://www.onvif.org/ver10/events/wsdl"
_WSNT = "http://docs.oasis-open.org/wsn/b-2"
_BW2 = "http://docs.oasis-open.org/wsn/bw-2"


class SoapError(ValueError):
    """Not an answer, or a fault.  *code*: the fault's innermost, ``NotAuthorized``; empty when it is no SOAP."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ask:
    """One call: its WS-Addressing action and its body."""

    action: str
    body: str


GET_TIME = Ask(f"{_DEVICE}/GetSystemDateAndTime", f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>')
GET_INFORMATION = Ask(f"{_DEVICE}/GetDeviceInformation", f'<GetDeviceInformation xmlns="{_DEVICE}"/>')
GET_CAPABILITIES = Ask(
    f"{_DEVICE}/GetCapabilities", f'<GetCapabilities xmlns="{_DEVICE}"><Category>Events</Category></GetCapabilities>'
)
SUBSCRIBE = Ask(
    f"{_EVENTS}/EventPortType/CreatePullPointSubscriptionRequest",
    f'<CreatePullPointSubscription xmlns="{_EVENTS}"><InitialTerminationTime>PT120S</InitialTerminationTime>'
    "</CreatePullPointSubscription>",
)
UNSUBSCRIBE = Ask(f"{_BW2}/SubscriptionManager/UnsubscribeRequest", f'<Unsubscribe xmlns="{_WSNT}"/>')
RENEW = Ask(
    f"{_BW2}/SubscriptionManager/RenewRequest",
    f'<Renew xmlns="{_WSNT}"><TerminationTime>PT120S</TerminationTime></Renew>',
)


def pull(patience_s: int) -> Ask:
    return Ask(
        f"{_EVENTS}/PullPointSubscription/PullMessagesRequest",
        f'<PullMessages xmlns="{_EVENTS}"><Timeout>PT{patience_s}S</Timeout><MessageLimit>100</MessageLimit>'
        "</PullMessages>",
    )


@dataclass(frozen=True, slots=True)
class Login:
    """Its text shows no password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a call goes on the camera: path and query, and what the camera wants repeated in the header."""

    path: str
    reference: str = ""


def envelope(ask: Ask, to: str, reference: str = "", security: str = "") -> bytes:
    """*to*: the full address; *security*: of ``token``."""
    header = f'<a:Action s:mustUnderstand="1">{ask.action}</a:Action><a:To s:mustUnderstand="1">{escape(to)}</a:To>'
    reply = "<a:ReplyTo><a:Address>http://www.w3.org/2005/08/addressing/anonymous</a:Address></a:ReplyTo>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{_SOAP}" xmlns:a="{_WSA}">'
        f"<s:Header>{header}{reply}{reference}{security}</s:Header><s:Body>{ask.body}</s:Body></s:Envelope>"
    ).encode()


def token(login: Login, nonce: bytes, camera_ms: int) -> str:
    """WS-Security UsernameToken with a digest over *nonce*, the camera's own time and the password."""
    created = datetime.fromtimestamp(camera_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha1(nonce + created.encode() + login.password.encode(), usedforsecurity=False).digest()
    return (
        f'<wsse:Security s:mustUnderstand="1" xmlns:wsse="{_WSSE}" xmlns:wsu="{_WSU}"><wsse:UsernameToken>'
        f"<wsse:Username>{escape(login.user)}</wsse:Username>"
        f'<wsse:Password Type="{_TOKEN}">{base64.b64encode(digest).decode()}</wsse:Password>'
        f'<wsse:Nonce EncodingType="{_BASE64}">{base64.b64encode(nonce).decode()}</wsse:Nonce>'
        f"<wsu:Created>{created}</wsu:Created></wsse:UsernameToken></wsse:Security>"
    )


# ---------------------------------------------------------------------- answers


def body_of(answer: bytes) -> Element:
    """Raises SoapError: not XML, not SOAP, or a fault."""
    try:
        root: Element = fromstring(answer, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as exc:
        raise SoapError(f"no XML ({type(exc).__name__})") from exc
    body = next((each for each in root if _name(each) == "Body"), None)
    if _name(root) != "Envelope" or body is None:
        raise SoapError("no SOAP envelope")
    fault = next((each for each in body if _name(each) == "Fault"), None)
    if fault is not None:
        codes = [text.rpartition(":")[2] for each in fault.iter() if _name(each) == "Value" and (text := _text(each))]
        raise SoapError(f"fault {codes[-1] if codes else '?'}", codes[-1] if codes else "?")
    return body


def time_ms_of(body: Element) -> int | None:
    """The camera's UTC; None when it does not say."""
    found = next((each for each in body.iter() if _name(each) == "UTCDateTime"), None)
    if found is None:
        return None
    parts = {_name(each): _text(each) for each in found.iter()}
    try:
        date = [int(parts[name]) for name in ("Year", "Month", "Day")]
        clock = [int(parts[name]) for name in ("Hour", "Minute", "Second")]
        base = datetime(*date, tzinfo=UTC)  # type: ignore[arg-type, misc]
        return round((base + timedelta(hours=clock[0], minutes=clock[1], seconds=clock[2])).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return None


def information_of(body: Element) -> Mapping[str, str]:
    """``model`` (with its maker), ``firmware``, ``serial``: those that are there."""
    said = {_name(each): _text(each) for each in body.iter()}
    model = f"{said.get('Manufacturer', '')} {said.get('Model', '')}".strip()
    named = {"model": model, "firmware": said.get("FirmwareVersion", ""), "serial": said.get("SerialNumber", "")}
    return {name: text for name, text in named.items() if text}


def events_of(body: Element) -> Endpoint | None:
    """Where the event service is."""
    events = next((each for each in body.iter() if _name(each) == "Events"), None)
    address = None if events is None else next((_text(each) for each in events if _name(each) == "XAddr"), None)
    return _endpoint(address or "")


def subscription_of(body: Element) -> Endpoint | None:
    """Where messages are pulled."""
    found = next((each for each in body.iter() if _name(each) == "SubscriptionReference"), None)
    if found is None:
        return None
    endpoint = _endpoint(next((_text(each) for each in found if _name(each) == "Address"), ""))
    return None if endpoint is None else Endpoint(endpoint.path, _reference(found))


def _endpoint(address: str) -> Endpoint | None:
    """Path and query alone: calls go to the address that is configured, whatever a camera names."""
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return None
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Endpoint(path) if re.fullmatch(r"/[\x21-\x7e]{0,200}", path) else None


def _reference(found: Element) -> str:
    """The reference parameters as XML, for the header (WS-Addressing 1.0 SOAP binding, 3.3)."""
    parameters = next((each for each in found if _name(each) == "ReferenceParameters"), None)
    if parameters is None or _depth(parameters) > _DEEPEST_REFERENCE:
        return ""
    for each in parameters:
        each.tail = None
    written = "".join(tostring(each, encoding="unicode") for each in parameters)
    return written if len(written) <= _LONGEST_REFERENCE else ""


def _depth(element: Element) -> int:
    depth, layer = 0, [element]
    while layer and depth <= _DEEPEST_REFERENCE:
        layer = [inner for each in layer for inner in each]
        depth += 1
    return depth


@dataclass(frozen=True, slots=True)
class Notification:
    """One message: what of, where, how it is."""

    topic: str
    """Without namespaces: ``RuleEngine/CellMotionDetector/Motion``."""
    time: str
    operation: str
    """``Initialized``, ``Changed``, ``Deleted`` or empty."""
    source: Mapping[str, str]
    data: Mapping[str, str]


def notifications_of(body: Element) -> list[Notification]:
    found = (each for each in body.iter() if _name(each) == "NotificationMessage")
    return [notification for _, each in zip(range(MOST_NOTIFICATIONS), found) if (notification := _notification(each))]  # noqa: B905


def _notification(element: Element) -> Notification | None:
    topic = next((_text(each) for each in element.iter() if _name(each) == "Topic"), "")
    message = next((each for each in element.iter() if _name(each) == "Message" and "UtcTime" in each.attrib), None)
    if not topic or message is None:
        return None
    parts = {name: dict(_items(each)) for each in message if (name := _name(each)) in ("Source", "Data")}
    path = "/".join(part.rpartition(":")[2] for part in topic.split("/"))
    operation = message.attrib.get("PropertyOperation", "")
    return Notification(path, message.attrib["UtcTime"], operation, parts.get("Source", {}), parts.get("Data", {}))


def _items(part: Element) -> Iterator[tuple[str, str]]:
    for each in part:
        if _name(each) == "SimpleItem":
            yield each.attrib.get("Name", "")[:LONGEST_TEXT], each.attrib.get("Value", "")[:LONGEST_TEXT]


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _text(element: Element) -> str:
    written = "".join(each if each.isprintable() else " " for each in (element.text or "")[: 4 * LONGEST_TEXT])
    return written.strip()[: 2 * LONGEST_TEXT]
