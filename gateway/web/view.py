"""What the page shows of what the daemon tells.  Pure.

Every field is named here one by one, so a new field of the daemon's answer is not on the page until somebody has
asked whether it may be: no value of a point, no name of a person, no epoch, no path but a line's port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from gateway.envelope import place_item
from gateway.model import ANNOUNCED, Place, Priority
from gateway.places import key_of, place_of, reached
from gateway.web.catalog import Catalog

Item = dict[str, Any]

LATE = 1.2
"""A device whose median period is longer than the configured one by this factor is late."""
_URGENCY = {str(priority): rank for rank, priority in enumerate(Priority)}
_STATES = {str(state): rank for rank, state in enumerate(ANNOUNCED)}
_NAMELESS = {"zh": "", "en": ""}


def overview(catalog: Catalog, status: Mapping[str, Any], ports: Sequence[Mapping[str, Any]]) -> Item:
    """*status*, *ports*: the daemon's answers to ``status`` and ``lines``."""
    uptime_s = status["uptime_s"]
    by_id = {port["id"]: port for port in ports}
    return _head(catalog) | {
        "daemon": "running",
        "t": status["t"],
        "time": _local(catalog, status["t"]),
        **_only(status, "uptime_s", "clock", "dropped", "disk_free_bytes", "temperatures_c", "loop_lag_ms"),
        "alarms": [_alarm(catalog, each) for each in sorted(status["alarms"], key=_urgency)],
        "lines": [_line(catalog, id_, line, by_id.get(id_), uptime_s) for id_, line in status["lines"].items()],
        "uplinks": [
            _uplink(catalog, id_, uplink, status["store"]["lanes"]) for id_, uplink in status["uplinks"].items()
        ],
        "store": _store(catalog, status["store"]),
    }


def unreachable(catalog: Catalog, state: str, detail: str, silent_s: float | None) -> Item:
    """*state*: ``absent``, ``refused``.  *silent_s*: since its last answer; None when it has not given any."""
    return _head(catalog) | {
        "daemon": state,
        "detail": detail,
        "silent_s": None if silent_s is None else round(silent_s),
    }


def diagnosis(catalog: Catalog, device: str, items: Iterable[Mapping[str, Any]], now_ms: int) -> Item:
    """One device's points, without their values; *items*: the daemon's answer to ``points``."""
    shown, hidden = [], 0
    for item in items:
        point = catalog.points.get(item["p"])
        if point is None or point.personal:
            hidden += 1
            continue
        shown.append(
            {
                "id": point.name,
                "name": asdict(point.label),
                "quality": item["q"],
                "reason": item.get("r"),
                "age_s": max(round((now_ms - item["t"]) / 1000), 0),
                "interval_s": point.interval_s,
            }
        )
    return {"v": 1, "device": device, "points": shown, "hidden": hidden}


def _head(catalog: Catalog) -> Item:
    return {"v": 1, "site": asdict(catalog.site), "gateway": catalog.gateway}


def _only(source: Mapping[str, Any], *keys: str) -> Item:
    return {key: source[key] for key in keys}


def _local(catalog: Catalog, time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, catalog.zone).strftime("%m-%d %H:%M:%S")


# ---------------------------------------------------------------------- alarms


def _urgency(alarm: Mapping[str, Any]) -> tuple[int, int, int]:
    """The most urgent first, of these what nobody has seen, of these the latest."""
    return (
        _URGENCY.get(alarm["priority"], len(_URGENCY)),
        _STATES.get(alarm["state"], len(_STATES)),
        -alarm["since_ms"],
    )


def _alarm(catalog: Catalog, alarm: Mapping[str, Any]) -> Item:
    speaking = (alarm["rule"], alarm["device"]) in catalog.speaking and any(alarm["message"].values())
    return {
        **_only(alarm, "rule", "device", "place", "state", "priority", "count", "since_ms", "known", "shadow"),
        "device_name": _name(catalog, alarm["device"]),
        "group": _group(catalog, place_of(alarm["place"])),
        "name": alarm["name"],
        "message": alarm["message"] if speaking else alarm["name"],
        "response": alarm["response"],
        "since": _local(catalog, alarm["since_ms"]),
    }


# ---------------------------------------------------------------------- lines and devices


def _line(catalog: Catalog, id_: str, line: Mapping[str, Any], port: Mapping[str, Any] | None, uptime_s: float) -> Item:
    devices = [_device(catalog, device, figures, uptime_s) for device, figures in line["devices"].items()]
    return {
        "id": id_,
        "port": _port(port),
        **_only(line, "open", "polls", "failures", "busy", "busy_1m", "skipped", "opened", "rebuilt", "members"),
        "silent": len(line["silent"]),
        "late": sum(device["late"] for device in devices),
        "wasted": _share(sum(figures["wasted_s"] for figures in line["devices"].values()), uptime_s),
        "devices": sorted(devices, key=lambda device: (device["silent_s"] is None, not device["late"])),
    }


def _port(port: Mapping[str, Any] | None) -> str:
    """``/dev/ttyS1 2400 8E1``, ``192.0.2.1:502``."""
    if port is None:
        return ""
    if port["format"] is None:
        return str(port["where"])
    baud, parity, data_bits, stop_bits = port["format"]
    return f"{port['serial'] or port['tcp']} {baud} {data_bits}{parity}{stop_bits}"


def _device(catalog: Catalog, id_: str, figures: Mapping[str, Any], uptime_s: float) -> Item:
    silent, achieved_s = figures["silent_s"] is not None, figures["p50_s"]
    place = catalog.devices[id_].place if id_ in catalog.devices else Place()
    return {
        "id": id_,
        "name": _name(catalog, id_),
        "place": place_item(place),
        "group": _group(catalog, place),
        **_only(figures, "period_s", "p50_s", "p95_s", "polls", "failures", "cost_s", "wasted_s", "silent_s"),
        "late": bool(not silent and achieved_s and achieved_s > LATE * figures["period_s"]),
        "cost": _share(figures["cost_s"], uptime_s),
        "wasted": _share(figures["wasted_s"], uptime_s),
        "in_vain_s": round(figures["wasted_s"] / figures["failures"], 3) if figures["failures"] else None,
    }


def _group(catalog: Catalog, place: Place) -> Item:
    """Building and entrance, under which the page lists it; the grid cell of what lies in no building."""
    key = key_of(place, reached(place, "unit") or "unit")
    return {"id": "/".join(each or "" for each in key or ()), "name": asdict(catalog.places.text(place, "unit"))}


def _share(seconds: float, uptime_s: float) -> float:
    """Of the line's time since the start, 0..1."""
    return round(min(seconds / uptime_s, 1.0), 4) if uptime_s > 0 else 0.0


def _name(catalog: Catalog, device: str | None) -> Mapping[str, str]:
    known = catalog.devices.get(device or "")
    return _NAMELESS if known is None else asdict(known.label)


# ---------------------------------------------------------------------- upwards


def _uplink(catalog: Catalog, id_: str, uplink: Mapping[str, Any], lanes: Mapping[str, Any]) -> Item:
    since_ms = uplink["since_ms"]
    return {
        "id": id_,
        **_only(uplink, "connected", "error", "hint", "needs_person", "in_flight", "oldest_in_flight_s"),
        **_only(uplink, "sent", "acknowledged", "unheard", "quarantined", "reconnects", "since_ms"),
        "since": None if since_ms is None else _local(catalog, since_ms),
        "faults": list(uplink["faults"]),
        "waiting": sum(lane["unacknowledged"].get(id_, 0) for lane in lanes.values()),
        "waiting_since_ms": min(
            (lane["waiting_since_ms"][id_] for lane in lanes.values() if id_ in lane["waiting_since_ms"]), default=None
        ),
    }


def _store(catalog: Catalog, store: Mapping[str, Any]) -> Item:
    return {
        **_only(store, "bytes", "budget_bytes", "evicted", "damaged"),
        "lanes": [
            {
                "id": id_,
                **_only(lane, "envelopes", "items", "bytes", "evicted", "damaged", "oldest_ms"),
                "oldest": None if lane["oldest_ms"] is None else _local(catalog, lane["oldest_ms"]),
                "waiting": max(lane["unacknowledged"].values(), default=0),
            }
            for id_, lane in store["lanes"].items()
        ],
    }
