"""What one platform may see: whole items are left out, and what is personal goes under a pseudonym.  Pure.

    log ─▶ View.items(envelope) ─▶ dialect          configuration ─▶ View.devices() ─▶ Subject
           the same seq, perhaps no items           health ─▶ View.health(snapshot)

An envelope keeps its number even when nothing of it is left: a platform proves by counting that it has everything.  A
pseudonym is HMAC-SHA256 over the id with the uplink's key, so two platforms with two keys cannot join what they have,
and only the box, which holds the key and the configuration, can go back (``original``).

What cannot be judged is not sent: a reading, an event or an alarm of a device that is no longer configured.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gateway.config.models import OnlyModel, PlaceModel
from gateway.envelope import Envelope, json_text, place_item
from gateway.messages import NOTICE
from gateway.model import PERSONAL_ATTRIBUTES, Device, Lane, Place, Point, PointId, Text, ValueKind
from gateway.places import LEVELS, Places, key_of

Item: TypeAlias = dict[str, Any]

POINT_ATTRIBUTES = frozenset({"point"})
DEVICE_ATTRIBUTES = frozenset({"device", "belongs_to"})
WORDS = frozenset(
    {"result", "code", "via", "command", "version", "boot_id", "config", "fault", "why", "priority", "ids"}
)
"""Attributes whose texts are words of the contract or ids of our own; every other text may say anything."""
NOTICE_TEXTS = frozenset({"text_zh", "text_en"})
"""Messages of alarms.  Unlike an alarm, a notice does not say which values they were made of."""

_LEVELS = ("grid", "building", "unit", "floor", "room")
_READINGS = frozenset({Lane.BILLING, Lane.TELEMETRY, Lane.BULK})
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SHORTEST_ROOM = 3  # characters; a room called "1" is no secret, and stands in every second text
_SHORTEST_PART = 4


def pseudonym(key: bytes, text: str) -> str:
    return "p-" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16]


class View:
    """*key*: 16 bytes or more; None where devices keep their names.  *points*: all that are configured."""

    def __init__(
        self, only: OnlyModel, key: bytes | None, devices: Sequence[Device], points: Mapping[PointId, Point]
    ) -> None:
        if key is not None and len(key) < 16:
            raise ValueError(f"a pseudonym key of {len(key)} bytes can be guessed; write at least 16 random ones")
        self._only = only
        self._key = key
        self._lanes: frozenset[str] | None = None if only.lanes is None else frozenset(only.lanes)
        self._open = key is None and only == OnlyModel()
        households = frozenset(point.device for point in points.values() if point.personal)
        self._homes = frozenset(device.place for device in devices if device.id in households)
        allowed = [device for device in devices if _allowed(only, device)]
        self._veiled = frozenset() if key is None else households
        kept = {device.id: self._kept(device, device.id in households) for device in allowed}
        self._shown = {device.id: self._name(device.id) for device in allowed if kept[device.id] or not device.points}
        self._points = {
            point.id: f"{self._shown[device]}.{point.name}" for device in self._shown for point in kept[device]
        }
        self._devices = tuple(self._seen(device, kept[device.id]) for device in allowed if device.id in self._shown)
        self._original = {shown: real for names in (self._shown, self._points) for real, shown in names.items()}
        plain = [device for device in devices if device.id in self._shown and device.id not in self._veiled]
        self._hidden = _Words.of([device for device in devices if device.id not in self._shown], plain)
        self._covered = _Words.of([device for device in devices if device.id in self._veiled], plain)

    # ------------------------------------------------------------------ what there is

    def devices(self) -> Sequence[Device]:
        """As this platform may see them."""
        return self._devices

    def point(self, point: PointId) -> PointId | None:
        """How the platform knows a point; None where it does not."""
        return point if self._open else self._points.get(point)

    def may_read(self, point: Point) -> bool:
        """Whether the platform may be told what *point* shows, under its own name.

        A command must get around neither what the platform is sent otherwise nor a pseudonym.
        """
        in_lane = self._lanes is None or point.lane in self._lanes
        return in_lane and self.point(point.id) == point.id

    def original(self, shown: str) -> str | None:
        """The device or point that the platform means."""
        return self._original.get(shown)

    def places(self, places: Places) -> Places:
        """Of *places* only where a device lies that this platform sees, as it sees it.

        A household's room, its name and its address code are as personal as the household: whoever is not told of the
        one is not told of the other, also where some device in the open hangs in the same room.
        """
        strict = self._key is not None or not self._only.personal
        there = {key_of(device.place, level) for device in self._devices for level in LEVELS}
        homes = {key_of(place, "room") for place in self._homes} if strict else set()
        return places.kept(lambda named: (key := key_of(named.place, named.level)) in there and key not in homes)

    def _name(self, device: str) -> str:
        return pseudonym(self._key, device) if self._key is not None and device in self._veiled else device

    def _kept(self, device: Device, household: bool) -> tuple[Point, ...]:
        """A household's bill is personal whatever its profile says.  A veiled device tells no text of its own: its
        serial number would name it."""
        veiled = device.id in self._veiled
        return tuple(
            point
            for point in device.points
            if (self._only.personal or not (point.personal or (household and point.lane is Lane.BILLING)))
            and not (veiled and (point.identity or point.kind is ValueKind.TEXT))
        )

    def _seen(self, device: Device, points: Sequence[Point]) -> Device:
        shown = self._shown[device.id]
        roles = {role: self._shown[other] for role, other in device.roles.items() if other in self._shown}
        seen = replace(device, roles=roles, points=tuple(replace(point, id=self._points[point.id]) for point in points))
        if device.id not in self._veiled:
            return seen
        place = Place(grid=device.place.grid, building=device.place.building)
        return replace(seen, id=shown, label=Text(shown, shown), place=place)

    # ------------------------------------------------------------------ envelopes

    def items(self, envelope: Envelope) -> Envelope:
        """The same envelope where nothing is to be left out, and always the same bytes for the same envelope."""
        if self._open:
            return envelope
        if self._lanes is not None and envelope.lane is not Lane.GAP and str(envelope.lane) not in self._lanes:
            return replace(envelope, items=b"[]", count=0)
        before: list[Item] = json.loads(envelope.items)
        after = [seen for item in before if (seen := self._item(envelope.lane, item)) is not None]
        if after == before:
            return envelope
        return replace(envelope, items=json_text(after).encode(), count=len(after))

    def _item(self, lane: Lane, item: Item) -> Item | None:
        if lane in _READINGS:
            return self._reading(item)
        if lane is Lane.EVENT:
            return self._event(item)
        return self._alarm(item) if lane is Lane.ALARM else self._gap(item)

    def _reading(self, item: Item) -> Item | None:
        shown = self._points.get(item["p"])
        if shown is None:
            return None
        if shown == item["p"]:
            return item
        # the frame that it was decoded from holds the meter's own address
        return {key: value for key, value in item.items() if key != "raw"} | {"p": shown}

    def _gap(self, item: Item) -> Item | None:
        if "point" not in item:
            return item
        shown = self._points.get(item["point"])
        return None if shown is None else item | {"point": shown}

    def _event(self, item: Item) -> Item | None:
        device, notice = item["device"], item["kind"] == NOTICE
        if not self._may_know(device, item["place"], own=not notice):
            return None
        attributes: Item = {}
        secret = NOTICE_TEXTS if notice and (self._key is not None or not self._only.personal) else frozenset()
        veiled = device in self._veiled
        for key, value in item["attributes"].items():
            if key in POINT_ATTRIBUTES and self._is_hidden(value):
                return None  # it speaks of a point that is not to be known
            if key in secret:
                continue
            told = self._attribute(key, value, veiled)
            if told is not None or value is None:
                attributes[key] = told
        return item | self._whereabouts(item) | {"attributes": attributes}

    def _attribute(self, key: str, value: Any, veiled: bool) -> Any:
        """None: left out."""
        if key in PERSONAL_ATTRIBUTES:
            return self._person(value)
        if key in POINT_ATTRIBUTES | DEVICE_ATTRIBUTES:
            return self._points.get(value) or self._shown.get(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        return self._text(value) if key in WORDS or not veiled else None

    def _person(self, value: Any) -> Any:
        if value is None or not self._only.personal:
            return None
        return value if self._key is None or value == "" else pseudonym(self._key, str(value))

    def _alarm(self, item: Item) -> Item | None:
        if not self._may_know(item["device"], item["place"]) or self._hidden.found(item["rule"]):
            return None
        values = {self._points[point]: value for point, value in item["values"].items() if point in self._points}
        if item["values"] and not values and item["device"] is None:
            return None  # a rule of its own, about points that are not to be known
        seen = item | self._whereabouts(item) | {"values": values}
        if self._covered.found(item["rule"]) and self._key is not None:
            seen["rule"] = pseudonym(self._key, item["rule"])
        texts = item["message"].values()
        whole = values == item["values"] and item["device"] not in self._veiled and all(map(self._text, texts))
        return seen if whole else seen | {"message": {"zh": seen["rule"], "en": seen["rule"]}}

    def _may_know(self, device: str | None, place: Mapping[str, str], *, own: bool = True) -> bool:
        """*own*: what has neither device nor place is the gateway's own."""
        if device is not None:
            return device in self._shown
        if not place and own:
            return True
        # of a place and no device: for whoever is not told by device which part of the compound is his
        return self._only.kinds is None and self._only.devices is None and _within(self._only.places, place)

    def _whereabouts(self, item: Item) -> Item:
        device, place = item["device"], item["place"]
        coarse = {level: place[level] for level in ("grid", "building") if level in place}
        if device in self._veiled:
            return {"device": self._shown[device], "place": coarse}
        secret = device is None and any(self._text(text) is None for text in place.values())
        return {"place": coarse} if secret else {}

    def _is_hidden(self, value: Any) -> bool:
        """Of a text that names a point: one of a hidden device, or a personal one of a device that is shown."""
        if not isinstance(value, str) or value in self._points:
            return False
        return value.partition(".")[0] in self._shown or self._hidden.found(value)

    def _text(self, text: str) -> str | None:
        """None where it names what is not to be known."""
        return None if self._hidden.found(text) or self._covered.found(text) else text

    # ------------------------------------------------------------------ health

    def health(self, snapshot: Mapping[str, Any]) -> Mapping[str, Any]:
        """The gateway's health without the devices and alarms that this platform does not see."""
        if self._open:
            return snapshot
        seen = dict(snapshot)
        if isinstance(lines := snapshot.get("lines"), Mapping):
            seen["lines"] = {line: self._line(stats) for line, stats in lines.items()}
        if isinstance(alarms := snapshot.get("alarms"), Sequence):
            seen["alarms"] = [known for alarm in alarms if (known := self._status(alarm)) is not None]
        return seen

    def _line(self, stats: Mapping[str, Any]) -> Mapping[str, Any]:
        devices = stats.get("devices", {})
        return {
            **stats,
            "silent": sorted(self._shown[device] for device in stats.get("silent", ()) if device in self._shown),
            "devices": {self._shown[device]: each for device, each in devices.items() if device in self._shown},
        }

    def _status(self, alarm: Mapping[str, Any]) -> Item | None:
        seen = self._alarm(dict(alarm))
        if seen is None:
            return None
        if "acked_by" in seen:
            seen["acked_by"] = self._person(seen["acked_by"])
        for key in ("name", "response"):
            texts = seen.get(key)
            if isinstance(texts, Mapping) and not all(self._text(text) == text for text in texts.values()):
                seen[key] = {"zh": seen["rule"], "en": seen["rule"]}
        return seen


def _allowed(only: OnlyModel, device: Device) -> bool:
    return (
        (only.kinds is None or device.kind in only.kinds)
        and (only.devices is None or device.id in only.devices)
        and _within(only.places, place_item(device.place))
    )


def _within(places: Sequence[PlaceModel] | None, place: Mapping[str, object]) -> bool:
    """In one of *places*: every level that is written there agrees."""
    return places is None or any(
        all((wanted := getattr(each, level)) is None or place.get(level) == wanted for level in _LEVELS)
        for each in places
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What gives devices away when it stands in a text: ids, names and rooms that no device in the open shares."""

    whole: Set[str]
    """Short ones of letters, digits, _ and -: only a whole word counts, or ``m1`` would be found everywhere."""
    parts: Sequence[str]

    @classmethod
    def of(cls, secret: Iterable[Device], plain: Iterable[Device]) -> _Words:
        tokens = {token for device in secret for token in _tokens(device)}
        tokens -= {token for device in plain for token in _tokens(device)}
        whole = {token for token in tokens if len(token) < _SHORTEST_PART and _WORD.fullmatch(token)}
        return cls(frozenset(whole), tuple(sorted(tokens - whole)))

    def found(self, text: str) -> bool:
        return any(word in self.whole for word in _WORD.findall(text)) or any(part in text for part in self.parts)


def _tokens(device: Device) -> Iterable[str]:
    yield device.id
    yield from (text for text in (device.label.zh, device.label.en) if text)
    if device.place.room is not None and len(device.place.room) >= _SHORTEST_ROOM:
        yield device.place.room
