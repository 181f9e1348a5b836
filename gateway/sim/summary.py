"""What the demonstration shows while it runs: facts in, lines of text out.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model import Text
from gateway.terminal import columns, padded

_UNITS = {"kW.h": "kWh", "kV.A": "kVA", "Cel": "°C", "%[LEL]": "%LEL", "m3": "m³", "1": ""}
"""UCUM codes that people write otherwise."""
_STATES = {
    "unack": Text("未确认", "not acknowledged"),
    "acked": Text("已确认", "acknowledged"),
    "rtn_unack": Text("已恢复，未确认", "over, not acknowledged"),
    "latched_unack": Text("已恢复，锁存，未确认", "over, latched, not acknowledged"),
    "latched_acked": Text("已恢复，锁存，待复位", "over, latched, to be reset"),
}
_PRIORITIES = {"critical": "紧急", "high": "高", "medium": "中", "low": "低", "journal": "记录"}
_MOST_ALARMS = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """One point worth looking at; *value* is None while nothing (good) has come."""

    label: Text
    value: float | int | bool | str | None
    unit: str | None


@dataclass(frozen=True, slots=True)
class ActiveAlarm:
    priority: str
    state: str
    message: Text


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compound, the gateway and the platform at one moment; None where nobody could be asked."""

    elapsed_s: float
    duration_s: float | None
    devices: int
    answering: int | None
    """Devices of which the platform has readings and that are not silent now."""
    readings: int
    readings_per_s: float
    envelopes: int
    samples: Sequence[Sample]
    alarms: Sequence[ActiveAlarm]
    waiting: int | None
    """Envelopes in the store that the platform has not acknowledged."""
    connected: bool | None
    note: Text
    """What the scenario did last."""


def render(now: Snapshot, lang: str, rows: int | None = None) -> list[str]:
    """The whole picture for a terminal; where it has more than *rows*, the last samples are left out."""
    zh = lang == "zh"
    label = _labels(zh)
    of = "" if now.duration_s is None else f" / {now.duration_s:.0f}"
    lines = [
        f"{label['time']} {now.elapsed_s:.0f}{of} s   {label['scene']} {_say(now.note, zh)}",
        f"{label['devices']} {_answering(now)}   {label['readings']} {now.readings} ({now.readings_per_s:.1f}/s)   "
        f"{label['envelopes']} {now.envelopes}",
        f"{label['uplink']} {_uplink(now, zh)}   {label['waiting']} {'?' if now.waiting is None else now.waiting}",
        "",
    ]
    alarms = _alarms(now, zh)
    room = None if rows is None else max(0, rows - len(lines) - len(alarms))
    widest = max((columns(_say(sample.label, zh)) for sample in now.samples), default=0)
    for sample in now.samples[:room]:
        name = _say(sample.label, zh)
        lines.append(f"  {padded(name, widest)}  {_value(sample)}")
    return lines + alarms


def _alarms(now: Snapshot, zh: bool) -> list[str]:
    lines = ["", f"{_labels(zh)['alarms']} {len(now.alarms)}"]
    for alarm in now.alarms[:_MOST_ALARMS]:
        state = _say(_STATES.get(alarm.state, Text(alarm.state, alarm.state)), zh)
        priority = _PRIORITIES.get(alarm.priority, alarm.priority) if zh else alarm.priority
        lines.append(f"  [{priority}] {_say(alarm.message, zh)} ({state})")
    if len(now.alarms) > _MOST_ALARMS:
        lines.append(f"  … +{len(now.alarms) - _MOST_ALARMS}")
    return lines


def one_line(now: Snapshot, lang: str) -> str:
    """The same for a log: no samples, newest alarm only."""
    zh = lang == "zh"
    label = _labels(zh)
    parts = [
        f"{now.elapsed_s:5.0f} s",
        f"{label['devices']} {_answering(now)}",
        f"{label['readings']} {now.readings} ({now.readings_per_s:.1f}/s)",
        f"{label['uplink']} {_uplink(now, zh)}",
        f"{label['waiting']} {'?' if now.waiting is None else now.waiting}",
        f"{label['alarms']} {len(now.alarms)}",
    ]
    if now.alarms:
        parts.append(_say(now.alarms[-1].message, zh))
    return "  ".join(parts)


def _labels(zh: bool) -> dict[str, str]:
    if zh:
        return {
            "time": "已运行",
            "scene": "情景",
            "devices": "应答设备",
            "readings": "平台收到读数",
            "envelopes": "报文",
            "uplink": "上行",
            "waiting": "待发报文",
            "alarms": "当前报警",
        }
    return {
        "time": "running",
        "scene": "scenario:",
        "devices": "devices answering",
        "readings": "readings at the platform",
        "envelopes": "envelopes",
        "uplink": "uplink",
        "waiting": "envelopes waiting",
        "alarms": "active alarms",
    }


def _answering(now: Snapshot) -> str:
    return f"{'?' if now.answering is None else now.answering}/{now.devices}"


def _uplink(now: Snapshot, zh: bool) -> str:
    if now.connected is None:
        return "?"
    if now.connected:
        return "已连接" if zh else "connected"
    return "已断开（数据留在本地）" if zh else "disconnected (data wait in the store)"


def _value(sample: Sample) -> str:
    if sample.value is None:
        return "-"
    unit = _UNITS.get(sample.unit or "", sample.unit or "")
    number = f"{sample.value:.2f}" if isinstance(sample.value, float) else str(sample.value)
    return f"{number} {unit}".rstrip()


def _say(text: Text, zh: bool) -> str:
    return text.zh if zh else text.en
