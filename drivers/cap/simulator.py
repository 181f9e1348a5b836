"""An office that issues warnings in both dialects, and the two ways it publishes them: files, and a small HTTP server.

The server is the real thing on a real socket: ETag and If-None-Match, and faults on demand.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from xml.sax.saxutils import escape

from drivers.hub import TcpServer

_BEIJING = timezone(timedelta(hours=8))
_ZH = {"Blue": "蓝", "Yellow": "黄", "Orange": "橙", "Red": "红"}
_OASIS = {"Blue": "Minor", "Yellow": "Moderate", "Orange": "Severe", "Red": "Extreme"}


@dataclass
class Office:
    """Writes messages.  *now_ms* is its clock."""

    now_ms: Callable[[], int]
    national: bool = True
    sender: str = "41010541600000"
    geocode: str = "410105000000"
    number: int = 0
    published: list[tuple[str, bytes]] = field(default_factory=list)
    """Identifier and message, in order."""

    def issue(self, code: str, word: str, colour: str, *, geocode: str = "", status: str = "Actual") -> str:
        """*colour*: Blue, Yellow, Orange, Red.  The identifier."""
        return self._publish("Alert", (), code, word, colour, geocode, status)

    def update(self, references: str, code: str, word: str, colour: str) -> str:
        return self._publish("Update", (references,), code, word, colour, "", "Actual")

    def cancel(self, references: str, code: str, word: str, colour: str) -> str:
        return self._publish("Cancel", (references,), code, word, colour, "", "Actual")

    @property
    def feed(self) -> bytes:
        """All messages in one document."""
        bodies = [message.partition(b"?>\n")[2] for _, message in self.published]
        return b'<?xml version="1.0" encoding="UTF-8"?>\n<alerts>\n' + b"\n".join(bodies) + b"\n</alerts>\n"

    def _publish(
        self, kind: str, references: tuple[str, ...], code: str, word: str, colour: str, geocode: str, status: str
    ) -> str:
        self.number += 1
        moment = datetime.fromtimestamp(self.now_ms() / 1000, UTC).astimezone(_BEIJING)
        identifier = f"{self.sender}_{moment:%Y%m%d%H%M%S}_{self.number}"
        place = geocode or self.geocode
        draft = Draft(identifier, self.sender, moment, kind, status, references, code, word, colour, place)
        self.published.append((identifier, (draft.national() if self.national else draft.oasis()).encode()))
        return identifier


@dataclass(frozen=True)
class Draft:
    """What a message says, before a dialect is chosen."""

    identifier: str
    sender: str
    moment: datetime
    kind: str
    status: str
    references: tuple[str, ...]
    code: str
    word: str
    colour: str
    geocode: str

    @property
    def headline(self) -> str:
        return escape(f"模拟气象台{'解除' if self.kind == 'Cancel' else '发布'}{self.word}{_ZH[self.colour]}色预警")

    def national(self) -> str:
        time = f"{self.moment:%Y-%m-%d %H:%M:%S}+08:00"
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<alert><identifier>{self.identifier}</identifier><sender>模拟气象台</sender><senderCode>{self.sender}</senderCode>
<sendTime>{time}</sendTime><status>{self.status}</status><msgType>{self.kind}</msgType><scope>Public</scope>
<secClassification>None</secClassification><note/><references>{" ".join(self.references)}</references>
<info><language>zh-CN</language><eventType>{self.code}</eventType><urgency>Unknown</urgency>
<severity>{self.colour}</severity><certainty>Unknown</certainty><effective>{time}</effective><onset/><expires/>
<headline>{self.headline}</headline><description>{self.headline}</description>
<area><areaDesc>模拟区</areaDesc><polygon/><circle/><geocode>{self.geocode}</geocode></area></info></alert>
"""

    def oasis(self) -> str:
        sent = self.moment.isoformat(timespec="seconds")
        expires = (self.moment + timedelta(hours=6)).isoformat(timespec="seconds")
        named = " ".join(f"{self.sender},{reference},{sent}" for reference in self.references)
        return f"""<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>{self.identifier}</identifier>
<sender>{self.sender}</sender><sent>{sent}</sent><status>{self.status}</status><msgType>{self.kind}</msgType>
<scope>Public</scope><references>{named}</references><info><language>zh-CN</language><category>Met</category>
<event>{escape(self.word)}</event><urgency>Expected</urgency><severity>{_OASIS[self.colour]}</severity>
<certainty>Likely</certainty><eventCode><valueName>national</valueName><value>{self.code}</value></eventCode>
<effective>{sent}</effective><expires>{expires}</expires><headline>{self.headline}</headline>
<area><areaDesc>模拟区</areaDesc><geocode><valueName>GB/T 2260</valueName><value>{self.geocode}</value></geocode></area>
</info></alert>
"""


def drop(directory: Path, name: str, message: bytes) -> None:
    """As a careful feeder does it: written beside, renamed into place."""
    part = directory / f".{name}.part"
    part.write_bytes(message)
    part.replace(directory / f"{name}.xml")


class WarningServer(TcpServer):
    """Answers every GET with *body*, until told otherwise."""

    def __init__(self, body: bytes, token: str = "") -> None:
        super().__init__(("127.0.0.1", 0), self._talk)
        self.body = body
        self.status = 200
        self.token = token
        self.asked = 0
        self.unchanged = 0
        """Questions answered with 304."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/warnings"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked += 1
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            status, body = self._answer({name.lower(): value for name, value in fields.items()})
            self.unchanged += status == 304
            tag = hashlib.sha256(self.body).hexdigest()[:16]
            lines = (
                f'HTTP/1.1 {status} x\r\nETag: "{tag}"\r\nLocation: /elsewhere\r\nContent-Length: {len(body)}\r\n\r\n'
            )
            writer.write(lines.encode() + body)
            await writer.drain()

    def _answer(self, fields: dict[str, str]) -> tuple[int, bytes]:
        if self.token and fields.get("authorization") != f"Bearer {self.token}":
            return 401, b""
        if self.status != 200:
            return self.status, b""
        tag = f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'
        return (304, b"") if fields.get("if-none-match") == tag else (200, self.body)
