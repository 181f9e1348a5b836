"""A small compound of six devices, what it says in a day, and random ones like it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.config.models import HomeAssistantModel, IotdaModel
from gateway.envelope import Encoder, Envelope
from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Event,
    Gap,
    Lane,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Record,
    Text,
    Value,
    ValueKind,
    bad_reading,
)
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Dialect, Outgoing, Subject
from gateway.uplink.dialects.home_assistant import HomeAssistant
from gateway.uplink.dialects.iotda import Iotda
from gateway.uplink.dialects.thingsboard import ThingsBoard
from support.clock import ManualClock

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
IDENTITY = Identity("jiayuan", "gw1", "0.1.0", "sha256:" + "0" * 64, "boot-1")
SECRET = "gateway-secret"
IOTDA = IotdaModel(device_id="64a1_gw1", secret_file="secret", sub_devices={"gas-1": "64a1_kitchen"})  # type: ignore[arg-type]


def number(device: str, name: str, zh: str, en: str, unit: str | None, **more: Any) -> Point:
    return Point(f"{device}.{name}", ValueKind.NUMBER, Text(zh, en), 60.0, unit, **more)


def state(device: str, name: str, zh: str, en: str, *states: str, **more: Any) -> Point:
    return Point(f"{device}.{name}", ValueKind.STATE, Text(zh, en), 60.0, states=states, **more)


DEVICES = (
    Device(
        "m-1-1-101",
        "power_meter",
        Text("1栋1单元101 电表", "Meter of flat 1-1-101"),
        Place(building="1", unit="1", floor="1", room="101"),
        "dlt645",
        (
            number(
                "m-1-1-101",
                "energy",
                "电能",
                "Energy",
                "kW.h",
                lane=Lane.BILLING,
                minimum=0.0,
                counter=True,
                personal=True,
            ),
            number("m-1-1-101", "power", "功率", "Power", "kW", personal=True),
            number("m-1-1-101", "voltage", "电压", "Voltage", "V"),
            state("m-1-1-101", "relay", "继电器", "Relay", "closed", "open", writable=True),
            Point("m-1-1-101.serial", ValueKind.TEXT, Text("出厂编号", "Serial number"), 86400.0, identity=True),
        ),
    ),
    Device(
        "w-1-1-101",
        "water_meter",
        Text("1栋1单元101 水表", "Water meter of flat 1-1-101"),
        Place(building="1", unit="1", floor="1", room="101"),
        "cjt188",
        (number("w-1-1-101", "volume", "水量", "Volume", "m3", lane=Lane.BILLING, counter=True, personal=True),),
    ),
    Device(
        "gas-1",
        "gas_detector",
        Text("厨房燃气", "Kitchen gas"),
        Place(grid="B1", room="厨房"),
        "modbus-tcp",
        (
            number("gas-1", "concentration", "浓度", "Concentration", "%[LEL]", minimum=0.0, maximum=100.0),
            state("gas-1", "status", "状态", "Status", "normal", "alarm", "fault"),
        ),
    ),
    Device(
        "pump-1",
        "pump",
        Text("水泵房", "Pump room"),
        Place(building="2", floor="-1"),
        "modbus-rtu",
        (
            number("pump-1", "level", "水位", "Level", "cm"),
            Point("pump-1.high_water", ValueKind.BOOLEAN, Text("高水位", "High water"), 5.0),
            Point("pump-1.pump1_running", ValueKind.BOOLEAN, Text("1号泵", "Pump 1"), 5.0),
            number("pump-1", "hours", "运行时间", "Hours run", "h", lane=Lane.BULK, counter=True),
        ),
        roles={"meter": "lift-1"},
    ),
    Device(
        "lift-1",
        "power_meter",
        Text("电梯电表", "Lift meter"),
        Place(building="1"),
        "modbus-rtu",
        (
            number("lift-1", "energy", "电能", "Energy", "kW.h", lane=Lane.BILLING, counter=True),
            number("lift-1", "reactive", "无功功率", "Reactive power", "kV.A{reactive}"),
        ),
    ),
    Device(
        "soil-1",
        "soil_sensor",
        Text("花园土壤", "Garden soil"),
        Place(grid="C3"),
        "modbus-rtu",
        (
            number("soil-1", "moisture", "湿度", "Moisture", "%"),
            number("soil-1", "temperature", "温度", "Temperature", "Cel"),
            number("soil-1", "households", "户数", "Households", "{households}"),
        ),
    ),
)
POINTS = {point.id: point for device in DEVICES for point in device.points}


def subject(
    devices: Sequence[Device] = DEVICES,
    commandable: Iterable[str] = ("m-1-1-101.relay",),
    clock: ManualClock | None = None,
) -> Subject:
    return Subject(
        "main",
        IDENTITY,
        devices,
        frozenset(commandable),
        ("main",),
        lambda: "epoch-1",
        clock or ManualClock(NOW_MS),
        lambda: NOW_MS - 60_000,
    )


def dialects(of: Subject) -> dict[str, Dialect]:
    return {
        "thingsboard": ThingsBoard(of),
        "home_assistant": HomeAssistant(of, HomeAssistantModel()),
        "iotda": Iotda(of, IOTDA, lambda: SECRET),
    }


@dataclass
class Log:
    """Envelopes as the store would number them."""

    points: Mapping[str, Point]
    seq: int = 0

    def envelope(self, lane: Lane, *records: Record, clock: ClockState = ClockState.SYNCED) -> Envelope:
        """One, of records that fit into one; with no records an empty one."""
        drafts = list(Encoder(self.points).drafts(lane, records, clock))
        self.seq += 1
        if not drafts:
            return Envelope("epoch-1", lane, self.seq, "boot-1", b"[]", 0, NOW_MS, NOW_MS)
        (draft,) = drafts
        return Envelope("epoch-1", lane, self.seq, "boot-1", draft.items, draft.count, draft.from_ms, draft.to_ms)


def reading(point: str, value: Value, after_ms: int = 0) -> Reading:
    return Reading(point, value, NOW_MS + after_ms, NOW_MS + after_ms)


def alarm(
    state: AlarmState, after_ms: int, device: str | None = "gas-1", rule: str = "gas_high", **more: Any
) -> AlarmChange:
    place = next((each.place for each in DEVICES if each.id == device), Place())
    values = more.pop("values", {"gas-1.concentration": 12.5})
    message = more.pop("message", Text("厨房燃气 12.5 %LEL", "Kitchen gas 12.5 %LEL"))
    priority = more.pop("priority", Priority.CRITICAL)
    return AlarmChange(
        "01900000-0000-7000-8000-000000000001", rule, device, place, state, priority, 1, NOW_MS + after_ms, "condition",
        message, values,
    )  # fmt: skip


def day() -> list[Envelope]:
    """A little of everything, in the order in which it might be sent."""
    log = Log(POINTS)
    household = next(device for device in DEVICES if device.id == "m-1-1-101")
    return [
        log.envelope(
            Lane.BILLING,
            reading("m-1-1-101.energy", 1042.17),
            reading("w-1-1-101.volume", 88.4),
            reading("lift-1.energy", 25_000),
        ),
        log.envelope(
            Lane.TELEMETRY,
            reading("m-1-1-101.voltage", 229.8),
            reading("m-1-1-101.relay", "closed"),
            reading("gas-1.concentration", 1.5),
            reading("gas-1.concentration", 1.6, 5000),
            reading("pump-1.high_water", False),
            reading("pump-1.pump1_running", True),
            reading("m-1-1-101.serial", "202301000101"),
            Reading("soil-1.moisture", 41.0, NOW_MS, NOW_MS, Quality.UNCERTAIN, Reason.OUT_OF_RANGE, b"\x01\x02"),
        ),
        log.envelope(
            Lane.TELEMETRY,
            bad_reading("gas-1.concentration", Reason.NO_ANSWER, NOW_MS + 60_000),
            bad_reading("gas-1.status", Reason.NO_ANSWER, NOW_MS + 60_000),
            clock=ClockState.HOLDOVER,
        ),
        log.envelope(Lane.BULK, reading("pump-1.hours", 12_345.5)),
        log.envelope(Lane.ALARM, alarm(AlarmState.UNACK, 6000), alarm(AlarmState.ACKED, 7000)),
        log.envelope(
            Lane.ALARM,
            alarm(
                AlarmState.UNACK,
                8000,
                None,
                "水电异常",
                values={"pump-1.level": 25.0, "m-1-1-101.power": 0.0},
                message=Text("水位 25 cm", "level 25 cm"),
                priority=Priority.HIGH,
            ),
        ),
        log.envelope(
            Lane.EVENT,
            Event(
                "01900000-0000-7000-8000-000000000002", "gateway.started", NOW_MS, None, Place(), {"version": "0.1.0"}
            ),
            Event(
                "01900000-0000-7000-8000-000000000003",
                "command.done",
                NOW_MS + 9000,
                household.id,
                household.place,
                {
                    "command": "c-1",
                    "point": "m-1-1-101.relay",
                    "value": "open",
                    "who": "operator-7",
                    "reason": "bill of 101 not paid",
                    "via": "cli",
                    "result": "ok",
                },
            ),
        ),
        log.envelope(
            Lane.GAP,
            Gap("evicted", NOW_MS - 9000, NOW_MS - 8000, Lane.TELEMETRY, 4, 6, 30),
            Gap("no_answer", NOW_MS - 7000, NOW_MS - 6000, point="gas-1.concentration"),
        ),
    ]


HEALTH: Mapping[str, Any] = {
    "v": 1,
    "t": NOW_MS + 10_000,
    "uptime_s": 70.0,
    "clock": "synced",
    "store": {
        "epoch": "epoch-1",
        "bytes": 4096,
        "budget_bytes": 512 * 2**20,
        "evicted": 0,
        "damaged": 0,
        "lanes": {"alarm": {"envelopes": 3, "unacknowledged": {"main": 1}}},
    },
    "accepted": 21,
    "dropped": 0,
    "lines": {
        "meters-1": {
            "open": True,
            "busy_1m": 0.31,
            "failures": 2,
            "silent": ["gas-1", "m-1-1-101"],
            "devices": {"gas-1": {"polls": 3}, "m-1-1-101": {"polls": 4}},
        }
    },
    "uplinks": {},
    "alarms": [
        {
            "rule": "gas_high",
            "device": "gas-1",
            "name": {"zh": "燃气浓度高", "en": "Gas concentration high"},
            "place": {"grid": "B1", "room": "厨房"},
            "state": "unack",
            "message": {"zh": "厨房燃气 12.5 %LEL", "en": "Kitchen gas 12.5 %LEL"},
            "response": {"zh": "开窗", "en": "Ventilate"},
            "values": {"gas-1.concentration": 12.5},
            "acked_by": None,
        }
    ],
    "disk_free_bytes": 10**10,
    "temperatures_c": [41.0, 47.5],
    "loop_lag_ms": 3.2,
}


def everything(dialect: Dialect, envelopes: Iterable[Envelope], health: Mapping[str, Any] = HEALTH) -> list[Outgoing]:
    """All that a dialect says in one connection."""
    hello = dialect.hello()
    said = [hello.will] if hello.will is not None else []
    said += [*dialect.introduce(), *dialect.catalog()]
    for envelope in envelopes:
        said += dialect.encode(envelope, sent_ms=NOW_MS, replay=False)
    return [*said, *dialect.health(health), *dialect.introduce(), *dialect.catalog(), *dialect.farewell()]


def shown(messages: Iterable[Outgoing]) -> list[str]:
    """For people who read what changed: one line for each."""
    return [f"{'retained ' if each.retain else ''}{each.topic}\n    {each.payload.decode()}" for each in messages]


def documents(messages: Iterable[Outgoing]) -> list[Any]:
    return [json.loads(each.payload) for each in messages]


# ---------------------------------------------------------------------- random ones

values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63), st.booleans(), st.text(max_size=40)
)
times = st.integers(NOW_MS - 10**9, NOW_MS)


@st.composite
def good_or_not(draw: st.DrawFn, point: str) -> Reading:
    time_ms = draw(times)
    quality = draw(st.sampled_from(Quality))
    if quality is Quality.BAD:
        return bad_reading(point, draw(st.sampled_from(Reason)), time_ms, draw(st.binary(max_size=8)))
    reason = None if quality is Quality.GOOD else draw(st.sampled_from(Reason))
    return Reading(point, draw(values), time_ms, time_ms, quality, reason)


@st.composite
def readings(draw: st.DrawFn, points: Sequence[str] = tuple(POINTS), most: int = 60) -> list[Reading]:
    """No two of one point at one time: such a pair has no order, and a platform keeps one of them."""
    found = draw(st.lists(st.sampled_from(points).flatmap(good_or_not), max_size=most))
    return list({(each.point, each.source_time_ms): each for each in found}.values())
