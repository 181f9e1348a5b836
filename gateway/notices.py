"""A notice as an event: so every platform and the local page learn whom the box would tell, and pass it on."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ids import uuid7
from gateway.messages import NOTICE
from gateway.model import Event, Place
from rules.output import Notice

TEXTS = 5
"""So many alarms are written out."""


def notice_event(notice: Notice, now_ms: int) -> Event:
    """The attributes are in docs/platform.md."""
    told = notice.alarms
    zh = [each.message.zh or each.name for each in told[:TEXTS]]
    en = [each.message.en or each.name for each in told[:TEXTS]]
    return Event(
        id=uuid7(now_ms),
        kind=NOTICE,
        time_ms=notice.time_ms,
        device=_device(notice),
        place=_place(notice),
        attributes={
            "why": notice.kind,
            "to": ", ".join(notice.to),
            "priority": str(notice.priority),
            "count": notice.count,
            "active": notice.active,
            "group": notice.group,
            "alarms": " ".join(each.name for each in told),
            "ids": " ".join(each.id for each in told),
            "text_zh": _joined(zh, "；", f"（共 {notice.count} 条）", notice.count),
            "text_en": _joined(en, "; ", f" ({notice.count} alarms)", notice.count),
        },
    )


def _joined(texts: Sequence[str], comma: str, in_all: str, count: int) -> str:
    return comma.join(texts) + (in_all if count > len(texts) else "")


def _device(notice: Notice) -> str | None:
    """Only where all alarms are of one device."""
    devices = {each.name.partition("@")[2] for each in notice.alarms}
    return (devices.pop() or None) if len(devices) == 1 and _is_whole(notice) else None


def _place(notice: Notice) -> Place:
    """What all alarms have in common; of those that are not named only the group is known."""
    levels: dict[str, str] = {}
    for level in ("grid", "building", "unit", "floor", "room"):
        found: set[str | None] = {getattr(each.place, level) for each in notice.alarms}
        if len(found) != 1:
            break
        value = found.pop()
        if value is not None:
            levels[level] = value
        group = " ".join(text for each, text in levels.items() if each != "grid")
        if not _is_whole(notice) and group and group == notice.group:
            return Place(**levels)
    return Place(**levels) if _is_whole(notice) else Place()


def _is_whole(notice: Notice) -> bool:
    return notice.count == len(notice.alarms)
