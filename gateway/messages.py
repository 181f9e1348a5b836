"""The shape of every message of the native contract, both ways.  Types only: mypy holds the builders to them.

``gateway/uplink/asyncapi.py`` turns these types into the AsyncAPI document and the JSON Schemas under config/schema/.
They change by addition only (tests/contract/): a new field is NotRequired, and receivers ignore what they do not know.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

from gateway.clock import ClockState
from gateway.model import AlarmState, Lane, Priority, Quality, Reason, Value, ValueKind


@dataclass(frozen=True, slots=True)
class Is:
    """What a type alone cannot say of a value; words and limits for the schema."""

    says: str = ""
    pattern: str | None = None
    minimum: int | None = None
    length: int | None = None
    """Of an array: exactly so many."""
    only: tuple[str, ...] = ()
    """Of an enumeration: these alone are ever sent."""
    known: tuple[str, ...] = ()
    """Words in use today; more may come, and a receiver takes any."""


class State(enum.StrEnum):
    ONLINE = "online"
    STOPPING = "stopping"  # on purpose, after the last publish
    OFFLINE = "offline"  # only ever said by the broker, as the will


GAP_REASONS = (
    "store_full",
    "store_damaged",
    "store_unavailable",
    "thinned",
    "no_answer",
    "line_lost",
)

COMMANDS = (
    "help",
    "time",
    "read",
    "write",
    "door.release",
    "alarm.acknowledge",
    "alarm.shelve",
    "alarm.reset",
    "rebirth",
    "resend",
    "reload",
)

NOTICE = "alarm.notice"
ALARM_REASONS = (
    "condition",
    "no_data",
    "ack",
    "reset",
    "again",  # a shelf, a suppression or an outage is over
    "rule_changed",
    "rule_deleted",
    "rule_off",
    "shadow",
)
ALARM_EVENTS = tuple(
    f"alarm.{what}"
    for what in (
        *("shelve", "unshelve", "out_of_service", "in_service", "suppress", "unsuppress", "chatter_on", "chatter_off"),
        *("command", "confirmed", "unconfirmed", "fallback", "reassert", "refused", "limited"),
        *("backlog", "historical", "flood_on", "flood_off", "run", "test_fire", "test_fire_end"),
    )
)
"""The event that says whom the box would tell of which alarms."""

Version: TypeAlias = Annotated[Literal[1], Is("rises only with a breaking change")]
Ms: TypeAlias = Annotated[int, Is("UTC milliseconds since 1970", minimum=0)]
Count: TypeAlias = Annotated[int, Is(minimum=0)]
Seq: TypeAlias = Annotated[int, Is("number of an envelope within its epoch and lane", minimum=1)]
Name: TypeAlias = Annotated[str, Is("an id as it stands in topics", pattern="^[A-Za-z0-9_-]{1,48}$")]
Uuid7: TypeAlias = Annotated[
    str,
    Is("UUIDv7", pattern="^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
]
Digest: TypeAlias = Annotated[str, Is("names one configuration", pattern="^sha256:[0-9a-f]{64}$")]
Point: TypeAlias = Annotated[str, Is("device id, a dot, the point's name on that device", pattern=r"^[^.]+\..+$")]
Unit: TypeAlias = Annotated[str, Is("UCUM code; absent for a pure number or a state")]
ItemClock: TypeAlias = Annotated[
    ClockState,
    Is("state of the gateway's clock when it is not synced: times may be wrong", only=("holdover", "unknown")),
]
Span: TypeAlias = Annotated[list[int], Is("first and last number, both included", length=2)]


class TextItem(TypedDict):
    """A text that people see."""

    zh: str
    en: str


class PlaceItem(TypedDict, total=False):
    """Where a device hangs, from the large to the small; any level may be unknown."""

    grid: str
    building: str
    unit: str
    floor: str
    room: str


# ---------------------------------------------------------------------- status and catalog


class StatusMessage(TypedDict):
    """Retained, and also the will: the newest word on whether the gateway is there."""

    v: Version
    state: State
    boot_id: Annotated[
        Uuid7, Is("one start of the daemon; a late will of an older boot says nothing of the present one")
    ]
    epoch: Annotated[Uuid7, Is("of the store; a new one begins only when the store was lost or restored")]
    since_ms: Annotated[int, Is("start of the daemon that boot_id names", minimum=0)]
    version: Annotated[str, Is("of the gateway's software")]
    config: Digest
    clock: ClockState


class CatalogPoint(TypedDict):
    """One measurable or controllable quantity."""

    id: Point
    kind: ValueKind
    name: TextItem
    lane: Lane
    interval_s: Annotated[float, Is("expected seconds between readings")]
    personal: Annotated[bool, Is("personal data by law")]
    counter: Annotated[bool, Is("a register that only counts up")]
    writable: Annotated[bool, Is("the site lets commands write it")]
    unit: NotRequired[Unit]
    minimum: NotRequired[float]
    maximum: NotRequired[float]
    states: NotRequired[Annotated[list[str], Is("the words a state may take")]]


class DivisionItem(TypedDict):
    """A district or a community."""

    name: TextItem
    code: NotRequired[Annotated[str, Is("statistical division: 6 or 12 digits", pattern="^[0-9]{6}([0-9]{6})?$")]]


class CatalogPlace(TypedDict):
    """What is known of one place that devices name: a grid cell, a building, an entrance, a room."""

    level: Annotated[str, Is("the smallest level of place", known=("grid", "building", "unit", "room"))]
    place: PlaceItem
    name: NotRequired[TextItem]
    address_code: NotRequired[Annotated[str, Is("of the official standard addresses, as the authority writes it")]]


class CatalogDevice(TypedDict):
    """One field device."""

    id: Name
    kind: Annotated[str, Is(known=("power_meter", "water_meter", "heat_meter", "gas_detector", "pump"))]
    name: TextItem
    place: PlaceItem
    protocol: str
    points: list[CatalogPoint]


class CatalogMessage(TypedDict):
    """Retained: what there is, where it hangs, and to whom its data goes."""

    v: Version
    site: Name
    gateway: Name
    config: Digest
    destinations: Annotated[list[str], Is("ids of the uplinks that receive the points' data")]
    devices: list[CatalogDevice]
    district: NotRequired[DivisionItem]
    community: NotRequired[DivisionItem]
    places: NotRequired[Annotated[list[CatalogPlace], Is("those of the devices above that have a name or a code")]]


# ---------------------------------------------------------------------- envelopes


class ReadingItem(TypedDict):
    """One value of one point at one instant."""

    p: Point
    t: Annotated[int, Is("when it was measured; UTC milliseconds", minimum=0)]
    v: Annotated[Value | None, Is("null exactly when q is bad")]
    q: Quality
    r: NotRequired[Annotated[str, Is("why it is not good", known=tuple(Reason))]]
    u: NotRequired[Unit]
    c: NotRequired[ItemClock]
    raw: NotRequired[Annotated[str, Is("the doubtful frame, hexadecimal", pattern="^([0-9a-f]{2})+$")]]


class EventItem(TypedDict):
    """Something that happened."""

    id: Uuid7
    kind: Annotated[
        str,
        Is(
            known=("command.requested", "command.done", NOTICE, "community.risk_changed", "care.consent", *ALARM_EVENTS)
        ),
    ]
    t: Ms
    device: str | None
    place: PlaceItem
    attributes: dict[str, Value | None]
    c: NotRequired[ItemClock]


class AlarmItem(TypedDict):
    """One step of one alarm (ISA-18.2)."""

    id: Annotated[Uuid7, Is("of the occurrence: the same from the raise to the return")]
    rule: str
    device: Annotated[str | None, Is("null for a rule that stands for the whole site")]
    place: PlaceItem
    state: Annotated[AlarmState, Is(only=("normal", "unack", "acked", "rtn_unack", "latched_unack", "latched_acked"))]
    priority: Priority
    count: Annotated[int, Is("how often it has been raised", minimum=1)]
    t: Ms
    reason: Annotated[str, Is(known=ALARM_REASONS)]
    message: TextItem
    values: Annotated[dict[str, Value | None], Is("what the rule saw")]
    c: NotRequired[ItemClock]


class GapItem(TypedDict):
    """What will never come: numbers of a lane (lane, from_seq, to_seq), or a time in which a point was not read."""

    reason: Annotated[str, Is(known=GAP_REASONS)]
    from_ms: Ms
    to_ms: Ms
    lane: NotRequired[Lane]
    from_seq: NotRequired[Seq]
    to_seq: NotRequired[Seq]
    count: NotRequired[Annotated[int, Is("items that were in them", minimum=0)]]
    point: NotRequired[Point]
    c: NotRequired[ItemClock]


class EnvelopeHead(TypedDict):
    """(gateway, epoch, lane, seq) names an envelope for ever.  Sent again, only sent_ms and replay may differ."""

    v: Version
    site: Name
    gateway: Name
    epoch: Uuid7
    lane: Annotated[Lane, Is("the same word as in the topic")]
    seq: Seq
    boot_id: Uuid7
    sent_ms: Ms
    replay: Annotated[
        bool, Is("it was committed before this connection began: it comes late, perhaps not for the first time")
    ]


class ReadingEnvelope(EnvelopeHead):
    """Readings, on the lanes billing, telemetry and bulk."""

    items: list[ReadingItem]


class EventEnvelope(EnvelopeHead):
    """Events."""

    items: list[EventItem]


class AlarmEnvelope(EnvelopeHead):
    """Steps of alarms, in order."""

    items: list[AlarmItem]


class GapEnvelope(EnvelopeHead):
    """Gap records."""

    items: list[GapItem]


# ---------------------------------------------------------------------- health


class LaneHealth(TypedDict, total=False):
    """One lane of the store."""

    envelopes: Count
    items: Count
    bytes: Count
    first_seq: Annotated[int | None, Is("null when the lane is empty")]
    last_seq: Annotated[int, Is("the last one given out; 0 before the first", minimum=0)]
    oldest_ms: int | None
    unacknowledged: Annotated[dict[str, int], Is("uplink: envelopes that wait for it")]
    waiting_since_ms: Annotated[dict[str, int], Is("uplink: time of the oldest record that waits for it")]
    evicted: Annotated[int, Is("envelopes dropped before every uplink had them", minimum=0)]
    evicted_items: Count
    damaged: Count
    thinned_items: Count


class StoreHealth(TypedDict):
    """The store on the gateway's disk."""

    epoch: Uuid7
    bytes: Count
    budget_bytes: Count
    evicted: Count
    damaged: Count
    lanes: dict[str, LaneHealth]


class DeviceHealth(TypedDict):
    """What one device costs its line."""

    period_s: float
    p50_s: Annotated[float | None, Is("achieved period that half of the latest ones do not exceed")]
    p95_s: float | None
    polls: Count
    failures: Count
    cost_s: float
    wasted_s: Annotated[float, Is("of cost_s, on questions without an answer")]
    silent_s: Annotated[float | None, Is("null while it answers")]


class LineHealth(TypedDict):
    """One line of the field."""

    open: bool
    polls: Count
    failures: Count
    busy: Annotated[float, Is("share of the time since the start, 0 to 1")]
    busy_1m: Annotated[float, Is("share of the last minute, 0 to 1")]
    skipped: Count
    opened: Count
    rebuilt: Count
    members: Count
    silent: Annotated[list[str], Is("ids of the devices that do not answer")]
    devices: Annotated[dict[str, DeviceHealth], Is("of the whole gateway, the few that cost most for nothing")]


class UplinkHealth(TypedDict):
    """One way out.  What else it tells is for people."""

    connected: bool
    since_ms: Annotated[int | None, Is("of the connection, or of the end of the last one")]
    error: str
    hint: str
    needs_person: bool


class PauseItem(TypedDict):
    """Who has put an alarm aside, and until when."""

    by: str
    reason: str
    until_ms: Annotated[int | None, Is("null: until somebody ends it")]


class AlarmHealth(TypedDict):
    """One alarm that is not normal, as it stands."""

    rule: str
    device: str | None
    name: TextItem
    place: PlaceItem
    state: AlarmState
    priority: Priority
    count: Count
    since_ms: Ms
    reason: str
    known: Annotated[bool, Is("false: for want of data nobody knows whether it still holds")]
    shadow: Annotated[bool, Is("a rule on trial: nobody is told")]
    acked_by: Annotated[str, Is("empty: nobody yet")]
    message: TextItem
    response: TextItem
    values: dict[str, Value | None]
    suppressed: Annotated[bool, Is("explained by something else: nobody is told, nothing is moved")]
    chattering: Annotated[bool, Is("it comes and goes; held on until it is calm")]
    shelved: Annotated[PauseItem | None, Is("put aside: nobody is told")]
    out_of_service: Annotated[PauseItem | None, Is("nobody is told, nothing is moved")]


class HealthMessage(TypedDict):
    """Once a minute: how the gateway itself is.  Not stored and not numbered; the newest one counts."""

    v: Version
    t: Ms
    uptime_s: float
    clock: ClockState
    clock_shift_ms: NotRequired[Annotated[int | None, Is("by how much held times were corrected; null: not yet")]]
    held: NotRequired[Annotated[dict[str, int], Is("lane: envelopes that wait for the right time")]]
    store: StoreHealth
    accepted: Annotated[int, Is("records committed since the start", minimum=0)]
    dropped: Annotated[int, Is("records that found no room since the start", minimum=0)]
    lines: dict[str, LineHealth]
    uplinks: dict[str, UplinkHealth]
    alarms: list[AlarmHealth]
    left_out: NotRequired[Annotated[int, Is("lines that are well, and what else did not fit", minimum=1)]]
    disk_free_bytes: Count
    temperatures_c: Annotated[list[float], Is("of the box; empty where it cannot measure")]
    loop_lag_ms: Annotated[float, Is("the worst of the last minute")]


# ---------------------------------------------------------------------- from the platform


class ReceiptMessage(TypedDict):
    """The platform's own acknowledgement: up to *upto* everything is stored or announced on gap, but *missing*."""

    epoch: Uuid7
    lane: Lane
    upto: Annotated[int, Is("0: nothing yet", minimum=0)]
    missing: NotRequired[Annotated[list[Span], Is("numbers up to upto that never came: please send them again")]]
    rate: NotRequired[Annotated[float, Is("envelopes a second of late and repeated data that are wanted at most")]]


class SignedMessage(TypedDict):
    """Ed25519 over the bytes of *signed*, exactly as they stand there."""

    signed: Annotated[str, Is("a JSON document, as text")]
    key: Annotated[str, Is("id of the key; the gateway knows the public half")]
    sig: Annotated[str, Is("64 bytes in base64", pattern="^[A-Za-z0-9+/]{86}==$")]


class CommandDocument(TypedDict):
    """What stands in *signed* of a command."""

    kind: Literal["command"]
    site: Name
    gateway: Name
    command: Annotated[str, Is("what to do", known=COMMANDS)]
    args: NotRequired[dict[str, Any]]
    id: Annotated[Name, Is("the last level of the topic, and of the reply's")]
    issued_ms: Ms
    expires_ms: Annotated[int, Is("60 s after issued_ms at most; not carried out later", minimum=0)]
    counter: Annotated[int, Is("rises with every command of the key; its time in milliseconds will do", minimum=1)]


class ReplyMessage(TypedDict):
    """What became of a command."""

    id: Name
    status: Annotated[str, Is(only=("ok", "rejected", "failed", "expired", "unknown"))]
    code: Annotated[str, Is("for programs; empty when there is nothing to add")]
    detail: Annotated[str, Is("for people")]
    result: NotRequired[Annotated[Any, Is("what was asked for, where there is any")]]


class FaultItem(TypedDict, total=False):
    """One fault of a configuration."""

    file: str
    line: Annotated[int | None, Is("from 1, like column")]
    column: int | None
    code: str
    message: TextItem
    hint: TextItem | None


class ConfigDocument(TypedDict):
    """What stands in *signed* of a configuration: every file of the directory, in files or in files_zlib."""

    kind: Literal["configuration"]
    site: Name
    gateway: Name
    version: Annotated[int, Is("higher than any that was sent before", minimum=1)]
    issued_ms: NotRequired[int]
    files: NotRequired[Annotated[dict[str, str], Is("site.yaml, rules/NAME.yaml, devices/NAME.yaml: its text")]]
    files_zlib: NotRequired[Annotated[str, Is("the JSON text of files, compressed (RFC 1950), in base64")]]


class RunningConfig(TypedDict, total=False):
    """The configuration in use."""

    version: Annotated[int, Is("0: none that came from the platform", minimum=0)]
    digest: str
    source: Annotated[str, Is(known=("local", "remote"))]


class ConfigReport(TypedDict):
    """Retained: what became of the configuration that came last."""

    v: NotRequired[Version]
    version: Annotated[int | None, Is("as the platform numbered it")]
    digest: Annotated[str | None, Is("sha256 over name NUL length NUL content of each file, in the order of the names")]
    state: Annotated[str, Is(known=("running", "on_trial", "rejected", "rolled_back"))]
    code: NotRequired[Annotated[str, Is("why, for programs")]]
    reason: TextItem | None
    faults: list[FaultItem]
    key: NotRequired[Annotated[str, Is("id of the key that signed it")]]
    since_ms: int | None
    running: NotRequired[RunningConfig]
    highest: NotRequired[Annotated[int, Is("the highest version that was ever accepted", minimum=0)]]
