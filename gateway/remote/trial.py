"""Whether a new configuration is as good as the one before: judged by what the devices say and who is connected.  Pure.

    before the switch: who is good, who is connected ─────┐
    after it: who has been good, asked, connected since ──▶ judge ──▶ wait | confirm | go back

| a device that was good … | at the end of the window |
|---|---|
| has been good once | fine |
| was asked, and is not good | go back |
| was not asked yet (a slow line) | speaks neither for nor against; it is waited for, up to WAIT_WINDOWS |
| is not in the new configuration, or is read rarely there | not judged |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import Enum

from gateway.model import Device, Point, PointId, Quality, Reading, Text

INTERVALS = 3.0
"""A device is good while the latest good reading of one of its points is no older than so many of its intervals."""
LEAST_SHARE = 0.25
"""Of the window: it is never over sooner.  A daemon that dies after ten seconds was not healthy, whatever its devices
said."""
WAIT_WINDOWS = 3.0
_NAMED = 20


_NO_TEXT = Text("", "")


class Verdict(Enum):
    WAIT = "wait"
    CONFIRM = "confirm"
    GO_BACK = "go_back"


@dataclass(frozen=True, slots=True)
class Before:
    """What was well when the old configuration ended."""

    devices: frozenset[str] = frozenset()
    uplinks: frozenset[str] = frozenset()

    def within(self, devices: Iterable[str], uplinks: Iterable[str]) -> Before:
        """Without those that the new configuration does not have, or does not read regularly."""
        return Before(self.devices.intersection(devices), self.uplinks.intersection(uplinks))


@dataclass(frozen=True, slots=True)
class Since:
    """What has been seen since the new configuration began."""

    good: Set[str]
    """Devices that have been good at least once."""
    heard: Set[str]
    """Devices that have been asked, whatever came of it."""
    connected: Set[str]
    """Uplinks that have been, at least once: what takes a broker away again is not the configuration's fault."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    code: str = ""
    """Of GO_BACK: ``devices``, ``uplink``, or both with a comma."""
    reason: Text = _NO_TEXT


_WAIT = Judgement(Verdict.WAIT)


def judge(before: Before, since: Since, elapsed_s: float, window_s: float) -> Judgement:
    """*before*: already ``within`` the new configuration."""
    if elapsed_s < LEAST_SHARE * window_s:
        return _WAIT
    missing, away = before.devices - since.good, before.uplinks - since.connected
    if not missing and not away:
        return Judgement(Verdict.CONFIRM)
    if elapsed_s < window_s:
        return _WAIT
    silent = missing & since.heard
    if silent or away:
        return _go_back(silent, away)
    return _WAIT if elapsed_s < WAIT_WINDOWS * window_s else Judgement(Verdict.CONFIRM)


def _go_back(silent: Set[str], away: Set[str]) -> Judgement:
    zh, en, codes = [], [], []
    if silent:
        codes.append("devices")
        zh.append(f"此前正常的设备不再正常：{_names(silent, '、')}")
        en.append(f"devices that were good are not: {_names(silent, ', ')}")
    if away:
        codes.append("uplink")
        zh.append(f"上行未恢复连接：{_names(away, '、')}")
        en.append(f"the uplink is not back: {_names(away, ', ')}")
    return Judgement(Verdict.GO_BACK, ",".join(codes), Text("；".join(zh), "; ".join(en)))


def _names(names: Set[str], between: str) -> str:
    shown = sorted(names)[:_NAMED]
    rest = len(names) - len(shown)
    return between.join(shown) + (f" … +{rest}" if rest else "")


def good_devices(
    devices: Iterable[Device], latest: Mapping[PointId, Reading], now_ms: int | None = None
) -> frozenset[str]:
    """Those with a good reading; with *now_ms* only with one that is recent (UTC milliseconds)."""
    return frozenset(
        device.id for device in devices if any(_is_good(point, latest.get(point.id), now_ms) for point in device.points)
    )


def heard_devices(devices: Iterable[Device], latest: Mapping[PointId, Reading]) -> frozenset[str]:
    return frozenset(device.id for device in devices if any(point.id in latest for point in device.points))


def _is_good(point: Point, reading: Reading | None, now_ms: int | None) -> bool:
    if reading is None or reading.quality is not Quality.GOOD:
        return False
    return now_ms is None or abs(now_ms - reading.gateway_time_ms) <= INTERVALS * point.interval_s * 1000
