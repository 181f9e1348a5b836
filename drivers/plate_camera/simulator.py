"""A plate camera that pushes real bodies over a real connection, and repeats each until it is answered with 200."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from drivers.http_sender import Answered, HttpSender
from drivers.plate_camera.messages import Dialect

PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 16 + b"\xff\xd9"
_BOUNDARY = "------------------------caa771fe4a61f3d9"

JSON, XML = "application/json", "application/xml"
HOSTILE: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", JSON),
    "noise": (b"\x00\xff{]", JSON),
    "cut off": (b'{"AlarmInfoPlate": {"result": {"PlateRes', JSON),
    "deep list": (b"[" * 100_000, JSON),
    "deep tree": (b'{"a":' * 50_000, JSON),
    "many objects": (b'{"AlarmInfoPlate": {}, "x": [' + b"{}," * 100_000 + b"{}]}", JSON),
    "no number": (b'{"AlarmInfoPlate": NaN}', JSON),
    "long plate": (b'{"AlarmInfoPlate": {"result": {"PlateResult": {"license": "' + b"A" * 5000 + b'"}}}}', JSON),
    "plate of zeros": (b'{"AlarmInfoPlate": {"result": {"PlateResult": {"license": "A\\u0000"}}}}', JSON),
    "entities": (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<EventNotificationAlert><eventType>&b;</eventType></EventNotificationAlert>",
        XML,
    ),
    "a file of ours": (
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><EventNotificationAlert>&a;</EventNotificationAlert>',
        XML,
    ),
    "a foreign document type": (b'<!DOCTYPE x SYSTEM "http://192.0.2.1/x"><EventNotificationAlert/>', XML),
    "deep elements": (b"<a>" * 50_000, XML),
    "strange encoding": (b'<?xml version="1.0" encoding="utf-7"?><EventNotificationAlert/>', XML),
    "no boundary": (b"--x\r\n" * 1000, "multipart/form-data; boundary=y"),
    "endless headers": (b"--x\r\nA: " + b"a" * 100_000, "multipart/form-data; boundary=x"),
    "many parts": (b"--x\r\nA: b\r\n\r\nc\r\n" * 10_000, "multipart/form-data; boundary=x"),
}
"""What no camera sends: name -> body and content type.  None of them is a message."""


@dataclass
class PlateCameraSim(HttpSender):
    """``async with PlateCameraSim(url, serial) as camera``."""

    serial: str
    dialect: Dialect = Dialect.VZENITH
    next_id: int = 1

    async def passes(self, plate: str, **more: Any) -> Answered:
        """A vehicle passes.  *more*: as ``body_of`` has it."""
        number, self.next_id = self.next_id, self.next_id + 1
        body, content_type = body_of(self.dialect, self.serial, plate, number=number, **more)
        return await self.push(body, content_type)

    async def heartbeat(self) -> Answered:
        return await self.push(*heartbeat_of(self.dialect, self.serial))

    async def input(self, number: int, on: bool) -> Answered:
        """A contact at terminal *number*, from 1 (Vzenith only)."""
        tree = {
            "AlarmGioIn": {
                "deviceName": "IVS",
                "ipaddr": "192.168.109.40",
                "result": {"TriggerResult": {"source": number - 1, "value": int(on)}},
                "serialno": self.serial,
            }
        }
        return await self.push(json.dumps(tree).encode(), "application/json")

    async def hostile(self, name: str) -> Answered:
        """One of HOSTILE, once."""
        return await self.push_once(*HOSTILE[name])


def body_of(
    dialect: Dialect,
    serial: str,
    plate: str,
    *,
    number: int = 1,
    time_ms: int = 1_670_976_550_000,
    confidence: float = 96,
    late: bool = False,
    pictures: int = 0,
    **more: Any,
) -> tuple[bytes, str]:
    """A body and its content type.  *more*: Vzenith's keys of PlateResult (colorType, direction, triggerType ...)."""
    if dialect is Dialect.ISAPI:
        return _isapi(serial, plate, number, time_ms, confidence, late, pictures)
    if dialect is Dialect.ITSAPI:
        return _itsapi(serial, plate, time_ms, confidence, pictures)
    result: dict[str, Any] = {
        "bright": 0,
        "carBright": 0,
        "carColor": 0,
        "colorType": 1,
        "colorValue": 0,
        "confidence": confidence,
        "direction": 1,
        "imagePath": "",
        "isoffline": int(late),
        "license": plate,
        "location": {"RECT": {"top": 904, "left": 556, "right": 1376, "bottom": 700}},
        "plateid": number,
        "timeStamp": {"Timeval": {"sec": time_ms // 1000, "usec": time_ms % 1000 * 1000}},
        "timeUsed": 0,
        "triggerType": 8,
        "type": 1,
        **more,
    }
    if pictures:
        result["imageFile"] = base64.b64encode(PICTURE * pictures).decode()
    content = {
        "channel": 0,
        "deviceName": "ParkingCam",
        "ipaddr": "192.168.1.10",
        "result": {"PlateResult": result},
        "serialno": serial,
    }
    return json.dumps({"AlarmInfoPlate": content}, ensure_ascii=False).encode(), "application/json"


def _isapi(
    serial: str, plate: str, number: int, time_ms: int, confidence: float, late: bool, pictures: int
) -> tuple[bytes, str]:
    seconds = time_ms // 1000
    moment = f"{_utc(seconds)}Z"
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<EventNotificationAlert version="2.0" xmlns="http://www.hikvision.com/ver20/XMLSchema">\n'
        f"<ipAddress>192.168.1.64</ipAddress><channelID>1</channelID><dateTime>{moment}</dateTime>\n"
        "<eventType>ANPR</eventType><eventState>active</eventState>\n"
        f"<ANPR><licensePlate>{escape(plate)}</licensePlate><line>1</line><direction>forward</direction>"
        f"<confidenceLevel>{confidence}</confidenceLevel><plateType>unknown</plateType><plateColor>blue</plateColor>"
        "<vehicleType>vehicle</vehicleType><vehicleInfo><color>green</color></vehicleInfo></ANPR>\n"
        f"<UUID>2026-{number}</UUID><picNum>{pictures}</picNum>"
        f"<isDataRetransmission>{str(late).lower()}</isDataRetransmission><deviceUUID>{escape(serial)}</deviceUUID>\n"
        "</EventNotificationAlert>"
    )
    if not pictures:
        return xml.encode(), "application/xml"
    parts = [("anpr.xml", "text/xml", xml.encode())]
    parts += [(f"picture{each}.jpg", "image/jpeg", PICTURE) for each in range(pictures)]
    return _multipart([(name, f'; filename="{name}"', kind, content) for name, kind, content in parts])


def _itsapi(serial: str, plate: str, time_ms: int, confidence: float, pictures: int) -> tuple[bytes, str]:
    moment = f"{_utc(time_ms // 1000).replace('T', ' ')}.{time_ms % 1000:03}"
    picture: dict[str, Any] = {
        "Plate": {"PlateNumber": plate, "PlateColor": "Blue", "Confidence": confidence, "IsExist": bool(plate)},
        "SnapInfo": {"DeviceID": serial, "AccurateTime": moment, "Direction": "Obverse"},
        "Vehicle": {"VehicleType": "Car", "VehicleColor": "White"},
    }
    if pictures:
        picture["NormalPic"] = {"PicName": "normal.jpg", "Content": base64.b64encode(PICTURE * pictures).decode()}
    return json.dumps({"Picture": picture}, ensure_ascii=False).encode(), "application/json"


def heartbeat_of(dialect: Dialect, serial: str) -> tuple[bytes, str]:
    if dialect is Dialect.ISAPI:
        return (
            b"<EventNotificationAlert><eventType>videoloss</eventType><eventState>inactive</eventState><deviceUUID>"
            + escape(serial).encode()
            + b"</deviceUUID></EventNotificationAlert>",
            "application/xml",
        )
    if dialect is Dialect.ITSAPI:
        return json.dumps({"Active": "keepAlive", "DeviceID": serial}).encode(), "application/json"
    fields: Mapping[str, str] = {
        "device_name": "IVS",
        "ipaddr": "192.168.109.40",
        "port": "80",
        "user_name": "admin",
        "pass_wd": "admin",
        "serialno": serial,
        "channel_num": "1",
    }
    return _multipart([(name, "", "", value.encode()) for name, value in fields.items()])


def _multipart(parts: list[tuple[str, str, str, bytes]]) -> tuple[bytes, str]:
    """(name, rest of the disposition, content type, content) of each part."""
    body = b""
    for name, rest, kind, content in parts:
        body += f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{rest}\r\n'.encode()
        body += (f"Content-Type: {kind}\r\n" if kind else "").encode() + b"\r\n" + content + b"\r\n"
    return body + f"--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"


def _utc(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
