"""What ``gateway watch`` shows: the daemon's account of itself in, lines of text out.  Pure.

What a daemon of another version does not say is a dash, never an error and never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from gateway.cli.alarms import PRIORITIES, STATES
from gateway.cli.common import unit_symbol
from gateway.cli.places import sections
from gateway.cli.store import LANES
from gateway.model import Lane, Place, Point, PointId, Text
from gateway.places import NO_PLACES, Places, place_of
from gateway.terminal import age, aligned, fit, size

T = TypeVar("T")

Item: TypeAlias = Mapping[str, Any]
WINDOW_S = 60.0
MOST_ALARMS = 6
_NOTHING: Item = {}


@dataclass(slots=True)
class History:
    """Snapshots of the last minute, for rates; before there are two, the daemon's whole life counts."""

    _kept: list[Item] = field(default_factory=list)

    def add(self, snapshot: Item) -> None:
        if self._kept and snapshot["uptime_s"] < self._kept[-1]["uptime_s"]:
            self._kept.clear()  # it was started anew, and its counters with it
        self._kept.append(snapshot)
        self._kept = [each for each in self._kept if each["uptime_s"] >= snapshot["uptime_s"] - WINDOW_S]

    def per_s(self, counter: Callable[[Item], float | None]) -> float | None:
        """How fast *counter* rises; None where the snapshot has no such counter."""
        newest, oldest = self._kept[-1], self._kept[0]
        now, before = counter(newest), counter(oldest)
        life_s: float = newest["uptime_s"]
        span_s: float = life_s - oldest["uptime_s"]
        if now is None:
            return None
        if before is not None and span_s > 0:
            return (now - before) / span_s
        return now / life_s if life_s > 0 else None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is looked at."""

    site: Text
    points: Mapping[PointId, Point]
    device: str | None
    """Only this one, with its points."""
    lang: str
    where: Mapping[str, Place] = field(default_factory=dict)
    """Of the devices."""
    places: Places = NO_PLACES
    by: str | None = None
    """The level by which alarms and devices are grouped."""

    def t(self, zh: str, en: str) -> str:
        return zh if self.lang == "zh" else en

    def sections(self, items: Sequence[T], place: Callable[[T], Place]) -> Iterator[tuple[str | None, Sequence[T]]]:
        return sections(self.t, items, self.by, place, self.places)


def picture(scene: Scene, history: History, snapshot: Item, points: Sequence[Item] | None) -> list[str]:
    """The whole picture.  points: the latest readings of the scene's device; None where nobody could be asked."""
    sections = (
        _head(scene, snapshot),
        _uplinks(scene, snapshot),
        _store(scene, snapshot),
        _alarms(scene, snapshot),
        _lines(scene, history, snapshot),
        _devices(scene, history, snapshot),
        _points(scene, snapshot, points),
    )
    return [line for section in sections for line in section]


def cut(lines: Sequence[str], width: int, height: int) -> list[str]:
    """What a screen of that size has room for; the last line says how much more there is."""
    if len(lines) > height > 0:
        lines = [*lines[: height - 1], f"… +{len(lines) - height + 1}"]
    return [fit(line, width) for line in lines]


def _head(scene: Scene, snapshot: Item) -> Iterator[str]:
    t = scene.t
    yield "   ".join(
        (
            t(scene.site.zh, scene.site.en),
            datetime.fromtimestamp(snapshot["t"] / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            t("已运行 ", "up ") + age(snapshot["uptime_s"], scene.lang),
            t("时钟 ", "clock ") + _clock(scene, snapshot.get("clock")),
        )
    )
    yield "   ".join(
        (
            t("已入库 ", "stored ") + str(snapshot.get("accepted", "-")),
            t("丢弃 ", "dropped ") + str(snapshot.get("dropped", "-")),
            t("循环延迟 ", "loop lag ") + f"{snapshot.get('loop_lag_ms', '-')} ms",
            t("磁盘剩余 ", "disk free ") + size(snapshot.get("disk_free_bytes", 0)),
        )
    )


def _clock(scene: Scene, state: str | None) -> str:
    words = {"synced": ("已同步", "synced"), "holdover": ("守时", "holdover"), "unknown": ("未同步", "unknown")}
    return scene.t(*words.get(state or "", ("-", "-")))


def _uplinks(scene: Scene, snapshot: Item) -> Iterator[str]:
    t, now_ms = scene.t, snapshot["t"]
    rows = []
    faults = []
    for name, uplink in snapshot.get("uplinks", _NOTHING).items():
        since = "" if uplink.get("since_ms") is None else f" {age((now_ms - uplink['since_ms']) / 1000, scene.lang)}"
        state = t("已连接", "connected") if uplink["connected"] else t("已断开", "disconnected")
        counts = [str(uplink.get(key, "-")) for key in ("in_flight", "sent", "acknowledged", "quarantined")]
        rows.append([name, state + since, *counts])
        said = [uplink.get("error", ""), uplink.get("hint", ""), *uplink.get("faults", ())]
        faults += [f"  {name}: {word}" for word in said if word]
    yield from _table(t("上行 状态 在途 已发 已确认 隔离", "uplink state in-flight sent acked quarantined"), rows)
    yield from faults


def _store(scene: Scene, snapshot: Item) -> Iterator[str]:
    store = snapshot.get("store", _NOTHING)
    rows = []
    for lane, held in store.get("lanes", _NOTHING).items():
        if not held["envelopes"]:
            continue
        waiting = max(held["unacknowledged"].values(), default=0)
        since_ms = min(held["waiting_since_ms"].values(), default=None)
        since = "-" if since_ms is None else age((snapshot["t"] - since_ms) / 1000, scene.lang)
        name = LANES[Lane(lane)]
        counts = [str(held["envelopes"]), size(held["bytes"]), str(waiting), since, str(held["evicted"])]
        rows.append([scene.t(name.zh, name.en), *counts])
    yield from _table(scene.t("存储 信封 大小 待送 最早 丢弃", "store envelopes size waiting oldest dropped"), rows)


def _alarms(scene: Scene, snapshot: Item) -> Iterator[str]:
    alarms = snapshot.get("alarms", ())
    yield ""
    yield f"{scene.t('报警', 'alarms')} {len(alarms)}"
    order = list(PRIORITIES)
    worst_first = sorted(alarms, key=lambda alarm: (order.index(alarm["priority"]), -alarm["since_ms"]))
    for heading, found in scene.sections(
        worst_first[:MOST_ALARMS], lambda alarm: place_of(alarm.get("place", _NOTHING))
    ):
        if heading is not None:
            yield f" {heading}"
        yield from (_alarm(scene, snapshot, alarm) for alarm in found)
    if len(alarms) > MOST_ALARMS:
        yield f"  … +{len(alarms) - MOST_ALARMS}"


def _alarm(scene: Scene, snapshot: Item, alarm: Item) -> str:
    state = scene.t(*STATES.get(alarm["state"], (alarm["state"],) * 2))
    name = alarm["rule"] + (f"@{alarm['device']}" if alarm["device"] else "")
    message = scene.t(alarm["message"]["zh"], alarm["message"]["en"])
    since = age((snapshot["t"] - alarm["since_ms"]) / 1000, scene.lang)
    return f"  [{scene.t(*PRIORITIES[alarm['priority']])}] {name}  {message} ({state}, {since})"


def _lines(scene: Scene, history: History, snapshot: Item) -> Iterator[str]:
    """The closed ones first, then the busiest."""
    lines = {
        name: line
        for name, line in snapshot.get("lines", _NOTHING).items()
        if scene.device is None or scene.device in _of_line(line) or not isinstance(line.get("devices"), Mapping)
    }
    rows = []
    for name, line in sorted(lines.items(), key=lambda each: (each[1]["open"], -_busy(each[1]))):
        polls = history.per_s(lambda each, name=name: _counter(each, name, "polls"))  # type: ignore[misc]
        rows.append(
            [
                name,
                scene.t("通", "open") if line["open"] else scene.t("断", "closed"),
                f"{_busy(line):.0%}",
                "-" if polls is None else f"{polls:.2f}",
                str(line["failures"]),
                str(line.get("skipped", "-")),
                ", ".join(line["silent"]) or "-",
            ]
        )
    head = scene.t("线路 状态 占用 请求/s 失败 跳过 静默", "line state busy polls/s failures skipped silent")
    yield from _table(head, rows)


def _busy(line: Item) -> float:
    """Of the last minute, where the daemon says it."""
    share: float = line.get("busy_1m", line["busy"])
    return share


def _of_line(line: Item) -> Mapping[str, Item]:
    """The devices of a line; a daemon that only counts them tells nothing of each."""
    devices = line.get("devices")
    return devices if isinstance(devices, Mapping) else _NOTHING


def _counter(snapshot: Item, line: str, key: str) -> float | None:
    value: float | None = snapshot["lines"].get(line, _NOTHING).get(key)
    return value


def _devices(scene: Scene, history: History, snapshot: Item) -> Iterator[str]:
    """The dead ones first, those that cost most at the top; then those that fall behind their period."""
    found = [
        (device, name, line)
        for line, about in snapshot.get("lines", _NOTHING).items()
        for name, device in _of_line(about).items()
        if scene.device in (None, name)
    ]
    worst_first = sorted(found, key=lambda each: (*_health(each[0]), each[1]))
    for heading, some in scene.sections(worst_first, lambda each: scene.where.get(each[1], Place())):
        if heading is not None:
            yield from ("", heading)
        yield from _device_table(scene, history, some)


def _device_table(scene: Scene, history: History, found: Sequence[tuple[Item, str, str]]) -> Iterator[str]:
    rows = []
    for device, name, line in found:
        cost = history.per_s(lambda each, line=line, name=name: _cost(each, line, name))  # type: ignore[misc]
        silent = device.get("silent_s")
        rows.append(
            [
                name,
                _seconds(device.get("period_s")),
                _seconds(device.get("p50_s")),
                _seconds(device.get("p95_s")),
                str(device.get("polls", "-")),
                str(device.get("failures", "-")),
                "-" if silent is None else age(silent, scene.lang),
                "-" if cost is None else f"{60 * cost:.1f} s",
            ]
        )
    head = scene.t(
        "设备 周期 实际p50 实际p95 请求 失败 静默 线路时间/分钟",
        "device period actual-p50 actual-p95 polls failures silent line-time/min",
    )
    yield from _table(head, rows)


def _health(device: Item) -> tuple[bool, float]:
    """Sorts the dead before the living, and by cost or by lateness, the worst first."""
    if device.get("silent_s") is not None:
        return False, -float(device.get("cost_s") or 0.0)
    period_s, p95_s = device.get("period_s"), device.get("p95_s")
    return True, -(p95_s / period_s) if period_s and p95_s else 0.0


def _cost(snapshot: Item, line: str, device: str) -> float | None:
    value: float | None = _of_line(snapshot["lines"].get(line, _NOTHING)).get(device, _NOTHING).get("cost_s")
    return value


def _points(scene: Scene, snapshot: Item, items: Sequence[Item] | None) -> Iterator[str]:
    if scene.device is None:
        return
    if items is None:
        yield ""
        yield scene.t("测点：这个守护进程不提供最新值", "points: this daemon does not tell the latest values")
        return
    rows = []
    for item in items:
        point = scene.points.get(item["p"])
        rows.append(
            [
                item["p"],
                "-" if item["v"] is None else _value(item),
                item["q"] + (f": {item['r']}" if "r" in item else ""),
                age((snapshot["t"] - item["t"]) / 1000, scene.lang),
                "" if point is None else scene.t(point.label.zh, point.label.en),
            ]
        )
    yield from _table(scene.t("测点 值 质量 多久前 名称", "point value quality age name"), rows)


def _value(item: Item) -> str:
    value = item["v"]
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{f'{value:.6g}' if isinstance(value, float) else value} {unit_symbol(item.get('u')) or ''}".rstrip()


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} s"


def _table(head: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Nothing where there are no rows."""
    if rows:
        yield ""
        yield from aligned([head.split(), *rows])
