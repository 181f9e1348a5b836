"""A camera that is heard and never seen: ONVIF's device and event services over HTTP, OPTIONS over RTSP.

async with SimCamera(password="secret") as camera:
    camera.motion(True)
    camera.input("AlarmIn_1", True)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import re
from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from xml.sax.saxutils import quoteattr

from aiohttp import web
from defusedxml.ElementTree import fromstring

from drivers.hub import TcpServer

USER: Final = "gateway"
_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_NAMES = (
    f'xmlns:s="{_SOAP}" xmlns:wsa="http://www.w3.org/2005/08/addressing" '
    'xmlns:tds="http://www.onvif.org/ver10/device/wsdl" '
    'xmlns:tev="http://www.onvif.org/ver10/events/wsdl" xmlns:wsnt="http://docs.oasis-open.org/wsn/b-2" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:tns1="http://www.onvif.org/ver10/topics" '
    'xmlns:ter="http://www.onvif.org/ver10/error"'
)
_DIALECT = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
_OPEN = ("GetSystemDateAndTime",)


class SimCamera:
    def __init__(self, password: str = "camera-password", user: str = USER) -> None:
        self._user, self._password = user, password
        self._stack = AsyncExitStack()
        self._rtsp: TcpServer | None = None
        self._port = 0
        self._queues: dict[str, deque[str]] = {}
        self._states: dict[tuple[str, str, str], tuple[str, bool]] = {}
        self._some = asyncio.Event()
        self._numbers = itertools.count(1)
        self.now = "2026-01-01T00:00:00Z"
        self.calls: list[str] = []
        self.broken = False
        """Every call is answered with a fault."""
        self.references = False
        """The pull point is told by reference parameters, as some makers do."""
        self.http_digest = False
        """It wants HTTP's digest and does not look at the message's."""
        self.foreign = "http://192.0.2.1:8080"
        """The address it believes to have: behind a router, another one."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def rtsp_port(self) -> int:
        assert self._rtsp is not None
        return self._rtsp.port

    @property
    def subscriptions(self) -> int:
        return len(self._queues)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            self._rtsp = await opening.enter_async_context(TcpServer(("127.0.0.1", 0), self._answer_rtsp))
            server = web.Server(self._serve, access_log=None)
            listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
            opening.push_async_callback(server.shutdown, 0.1)
            opening.callback(listening.close)
            self._port = int(listening.sockets[0].getsockname()[1])
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.broken = True
        self._some.set()
        await self._stack.aclose()

    # ------------------------------------------------------------------ what happens before it

    def motion(self, on: bool) -> None:
        self.tell("tns1:RuleEngine/CellMotionDetector/Motion", "Rule", "MyMotion", "IsMotion", on)

    def tamper(self, on: bool) -> None:
        self.tell("tns1:VideoSource/GlobalSceneChange/ImagingService", "Source", "0", "State", on)

    def input(self, name: str, on: bool) -> None:
        self.tell("tns1:Device/Trigger/DigitalInput", "InputToken", name, "LogicalState", on)

    def tell(self, topic: str, source: str, token: str, data: str, on: bool) -> None:
        self._states[(topic, source, token)] = (data, on)
        self._say(self._message("Changed", topic, source, token, data, on))

    def reboot(self) -> None:
        """All subscriptions are forgotten."""
        self._queues.clear()
        self._some.set()

    def _say(self, message: str) -> None:
        for queue in self._queues.values():
            queue.append(message)
        self._some.set()

    def _message(self, operation: str, topic: str, source: str, token: str, data: str, on: bool) -> str:
        return (
            f'<wsnt:NotificationMessage><wsnt:Topic Dialect="{_DIALECT}">{topic}</wsnt:Topic><wsnt:Message>'
            f'<tt:Message UtcTime="{self.now}" PropertyOperation="{operation}"><tt:Source>'
            f"<tt:SimpleItem Name={quoteattr(source)} Value={quoteattr(token)}/></tt:Source><tt:Data>"
            f'<tt:SimpleItem Name="{data}" Value="{str(on).lower()}"/></tt:Data></tt:Message></wsnt:Message>'
            "</wsnt:NotificationMessage>"
        )

    # ------------------------------------------------------------------ its services

    async def _answer_rtsp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _peer: str) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm="sim"\r\n\r\n')
        await writer.drain()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        root = fromstring(await request.read())
        body = next(each for each in root if each.tag == f"{{{_SOAP}}}Body")
        name = body[0].tag.rpartition("}")[2]
        self.calls.append(name)
        if self.broken:
            return _fault("s:Receiver", "ter:Action")
        if self.http_digest and not self._admits_http(request):
            challenge = 'Digest realm="sim", nonce="0123456789abcdef", qop="auth", algorithm=MD5'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if not self.http_digest and name not in _OPEN and not self._admits(root):
            return _fault("s:Sender", "ter:NotAuthorized")
        answer = await self._answer(name, self._pull_point(request, root))
        return _fault("s:Sender", "ter:InvalidArgVal") if answer is None else _response(answer)

    def _admits(self, root: Any) -> bool:
        said = {each.tag.rpartition("}")[2]: each.text or "" for each in root.iter()}
        nonce, created = base64.b64decode(said.get("Nonce", "")), said.get("Created", "")
        right = base64.b64encode(hashlib.sha1(nonce + created.encode() + self._password.encode()).digest()).decode()
        fresh = created[:16] == self.now[:16]
        return said.get("Username") == self._user and said.get("Password") == right and fresh

    def _admits_http(self, request: web.BaseRequest) -> bool:
        """RFC 7616, 3.4.1, with MD5 and qop=auth."""
        header = request.headers.get("Authorization", "")
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', header))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        first = md5(f"{self._user}:sim:{self._password}")
        second = md5(f"{request.method}:{said.get('uri', '')}")
        parts = (first, said.get("nonce"), said.get("nc"), said.get("cnonce"), said.get("qop"), second)
        return said.get("response") == md5(":".join(map(str, parts)))

    def _pull_point(self, request: web.BaseRequest, root: Any) -> str:
        said = next((each.text for each in root.iter() if each.tag.endswith("}SubscriptionId")), None)
        return said or request.path.rpartition("/")[2]

    async def _answer(self, name: str, point: str) -> str | None:
        match name:
            case "GetSystemDateAndTime":
                return self._time()
            case "GetDeviceInformation":
                return (
                    "<tds:GetDeviceInformationResponse><tds:Manufacturer>Sim</tds:Manufacturer><tds:Model>C1</tds:Model>"
                    "<tds:FirmwareVersion>1.0</tds:FirmwareVersion><tds:SerialNumber>S-0001</tds:SerialNumber>"
                    "<tds:HardwareId>1</tds:HardwareId></tds:GetDeviceInformationResponse>"
                )
            case "GetCapabilities":
                return (
                    f"<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Events><tt:XAddr>{self.foreign}/onvif/events"
                    "</tt:XAddr><tt:WSSubscriptionPolicySupport>false</tt:WSSubscriptionPolicySupport>"
                    "<tt:WSPullPointSupport>true</tt:WSPullPointSupport><tt:WSPausableSubscriptionManagerInterfaceSupport>"
                    "false</tt:WSPausableSubscriptionManagerInterfaceSupport></tt:Events></tds:Capabilities>"
                    "</tds:GetCapabilitiesResponse>"
                )
            case "CreatePullPointSubscription":
                return self._subscribe()
            case "PullMessages":
                return await self._pull(point)
            case "Renew" if point in self._queues:
                return (
                    f"<wsnt:RenewResponse><wsnt:TerminationTime>{self.now}</wsnt:TerminationTime></wsnt:RenewResponse>"
                )
            case "Unsubscribe" if self._queues.pop(point, None) is not None:
                self._some.set()
                return "<wsnt:UnsubscribeResponse/>"
        return None

    def _time(self) -> str:
        date, clock = self.now.rstrip("Z").split("T")
        year, month, day = map(int, date.split("-"))
        hour, minute, second = map(int, clock.split(":"))
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime><tt:Time>"
            f"<tt:Hour>{hour}</tt:Hour><tt:Minute>{minute}</tt:Minute><tt:Second>{second}</tt:Second></tt:Time><tt:Date>"
            f"<tt:Year>{year}</tt:Year><tt:Month>{month}</tt:Month><tt:Day>{day}</tt:Day></tt:Date></tt:UTCDateTime>"
            "</tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )

    def _subscribe(self) -> str:
        point = str(next(self._numbers))
        self._queues[point] = deque(
            self._message("Initialized", topic, source, token, data, on)
            for (topic, source, token), (data, on) in self._states.items()
        )
        parameters = ""
        if self.references:
            parameters = (
                '<wsa:ReferenceParameters><m:SubscriptionId xmlns:m="http://sim.example/">'
                f"{point}</m:SubscriptionId></wsa:ReferenceParameters>"
            )
        path = "services" if self.references else f"subscription/{point}"
        return (
            "<tev:CreatePullPointSubscriptionResponse><tev:SubscriptionReference>"
            f"<wsa:Address>{self.foreign}/onvif/{path}</wsa:Address>{parameters}</tev:SubscriptionReference>"
            f"<wsnt:CurrentTime>{self.now}</wsnt:CurrentTime><wsnt:TerminationTime>{self.now}</wsnt:TerminationTime>"
            "</tev:CreatePullPointSubscriptionResponse>"
        )

    async def _pull(self, point: str) -> str | None:
        while point in self._queues and not self._queues[point] and not self.broken:
            self._some.clear()
            await self._some.wait()
        if point not in self._queues:
            return None
        messages = "".join(self._queues[point])
        self._queues[point].clear()
        return (
            f"<tev:PullMessagesResponse><tev:CurrentTime>{self.now}</tev:CurrentTime>"
            f"<tev:TerminationTime>{self.now}</tev:TerminationTime>{messages}</tev:PullMessagesResponse>"
        )


def _response(body: str, status: int = 200) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><s:Envelope {_NAMES}><s:Body>{body}</s:Body></s:Envelope>'
    return web.Response(text=text, status=status, content_type="application/soap+xml")


def _fault(code: str, subcode: str) -> web.Response:
    body = (
        f"<s:Fault><s:Code><s:Value>{code}</s:Value><s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code>"
        '<s:Reason><s:Text xml:lang="en">refused</s:Text></s:Reason></s:Fault>'
    )
    return _response(body, 400 if code == "s:Sender" else 500)
