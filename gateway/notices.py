"""Notices of the rules as events."""

from __future__ import annotations

from gateway.ids import uuid7
from gateway.model import Event, Place
from rules.output import Notice


def notice_event(notice: Notice) -> Event:
    return Event(uuid7(notice.time_ms), "alarm.notice", notice.time_ms, None, Place(), {"why": notice.kind})
