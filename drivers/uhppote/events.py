"""What the reasons of events mean, and what becomes of one.  Pure.

The numbers are those of the maker's own program library (its table of record details, 1 to 45, as several public
integrations carry it along); 1, 6 and 44 are confirmed by captured packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

from drivers.base import Happening
from drivers.uhppote.frame import Record
from gateway.model import Value

BELIEVED_MS = 5 * 60_000
"""A controller whose clock is further off than this is not asked what time it was."""

_DENIED = "access.denied"
REASONS: Mapping[int, tuple[str, str]] = {
    1: ("access.granted", "card"),
    5: (_DENIED, "pc_control"),
    6: (_DENIED, "no_privilege"),
    7: (_DENIED, "wrong_password"),
    8: (_DENIED, "anti_passback"),
    9: (_DENIED, "more_cards_needed"),
    10: (_DENIED, "first_card_needed"),
    11: (_DENIED, "door_normally_closed"),
    12: (_DENIED, "interlock"),
    13: (_DENIED, "limited_times"),
    14: (_DENIED, "limited_persons"),
    15: (_DENIED, "invalid_time"),
    16: (_DENIED, "wrong_order"),
    17: (_DENIED, "too_soon"),
    18: (_DENIED, "unspecified"),
    19: (_DENIED, "limited_swipes"),
    20: ("access.button", "button"),
    21: ("access.button", "button_open"),
    22: ("access.button", "button_close"),
    23: ("access.opened", "contact"),
    24: ("access.closed", "contact"),
    25: ("access.granted", "super_password"),
    26: ("access.granted", "super_password_open"),
    27: ("access.granted", "super_password_close"),
    28: ("access.power_on", "power_on"),
    29: ("access.power_on", "reset"),
    30: ("access.button_refused", "disabled"),
    31: ("access.button_refused", "forced_lock"),
    32: ("access.button_refused", "offline"),
    33: ("access.button_refused", "interlock"),
    34: ("access.duress", "duress"),
    35: ("access.duress", "duress_open"),
    36: ("access.duress", "duress_close"),
    37: ("access.held", "open_too_long"),
    38: ("access.forced", "forced_open"),
    39: ("access.fire", "fire"),
    40: ("access.locked", "forced_close"),
    41: ("access.tamper", "anti_theft"),
    42: ("access.alarm", "zone_24h"),
    43: ("access.alarm", "emergency_call"),
    44: ("access.remote_open", "remote"),
    45: ("access.remote_open", "usb_reader"),
}
"""Number -> the kind of happening, and the word for the reason."""

DIRECTIONS: Mapping[int, str] = {1: "in", 2: "out"}
_CARD = 1
"""Type of an event that a card has caused."""


def happening(record: Record, time_ms: int) -> Happening:
    kind, word = REASONS.get(record.reason, ("access.other", f"reason_{record.reason}"))
    if kind == "access.other" and record.type == _CARD:
        kind = "access.granted" if record.granted else _DENIED
    attributes: dict[str, Value | None] = {
        "door": record.door,
        "direction": DIRECTIONS.get(record.direction),
        "reason": word,
        "reason_code": record.reason,
        "granted": record.granted,
        "index": record.index,
        "device_time": None if record.time is None else record.time.isoformat(),
    }
    return Happening(kind, time_ms, attributes, {"card": str(record.card)} if record.card else {})


def time_ms(local: datetime | None, zone: tzinfo, now_ms: int, offset_ms: int | None) -> int:
    """When it was, as far as the controller can be believed; else when it was heard.

    offset_ms: the controller's clock minus ours; None where it is not known.
    """
    if local is None or offset_ms is None or abs(offset_ms) > BELIEVED_MS:
        return now_ms
    said_ms = round(local.replace(tzinfo=zone).timestamp() * 1000)
    return said_ms if said_ms <= now_ms + BELIEVED_MS else now_ms


def offset_ms(local: datetime | None, zone: tzinfo, now_ms: int) -> int | None:
    """The controller's clock minus ours."""
    return None if local is None else round(local.replace(tzinfo=zone).timestamp() * 1000) - now_ms
