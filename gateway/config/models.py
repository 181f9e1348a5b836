"""The shape of site.yaml and of device profiles: what may be written, in which units, with which defaults.

These models know nothing of files or of each other's cross references; load.py does.
"""

from __future__ import annotations

import base64
import re
import zoneinfo
from contextlib import suppress
from datetime import date, time, tzinfo
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.model import Lane
from gateway.vehicles.config import VehiclesModel

ID_PATTERN = r"^[A-Za-z0-9_-]{1,48}$"
DURATION_PATTERN = r"^(\s*[0-9]+(\.[0-9]+)?\s*(ms|s|min|h|d))+\s*$"
QUANTITY_PATTERN = r"^\s*[-+]?[0-9]+(\.[0-9]+)?\s*[^\s0-9]*\S*\s*$"
SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KiB|MB|MiB|GB|GiB)\s*$"
_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|KiB|MB|MiB|GB|GiB)")
_BYTES = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
TIME_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"
_CLOCK = re.compile(TIME_PATTERN[1:-1])
_QUANTITY = re.compile(QUANTITY_PATTERN[1:-1])
DAY_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DAY = re.compile(DAY_PATTERN[1:-1])
_LONGEST = 50  # characters of a duration or size; keeps the numbers finite


def parse_duration(text: object) -> float:
    """``90s``, ``1.5 h``, ``1 min 30 s`` -> seconds.  Raises ValueError."""
    if isinstance(text, str) and len(text) < _LONGEST:
        rest = _DURATION.sub("", text).strip()
        parts = _DURATION.findall(text)
        if parts and not rest:
            return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise ValueError("duration")


def parse_size(text: object) -> int:
    """``512 MiB`` -> bytes.  Raises ValueError."""
    if isinstance(text, str) and len(text) < _LONGEST and (match := _SIZE.fullmatch(text.strip())):
        return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError("size")


def parse_times(value: object) -> tuple[time, ...]:
    """``00:05`` or a list of such -> local times of day, in order.  Raises ValueError."""
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    if not texts or (isinstance(value, list) and len(texts) < len(value)) or not all(map(_CLOCK.fullmatch, texts)):
        raise ValueError("times")
    return tuple(sorted({time.fromisoformat(text) for text in texts}))


def parse_day(value: object) -> date:
    """``2026-10-01``.  Raises ValueError."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise ValueError("day")


def on_this_machine(host: str) -> bool:
    """Whether a connection to *host* never leaves the machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("id")
    return text


# What the editor is told where the Python type says nothing of the text in the file.
_DURATION_TEXT = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "15 min", "2 h"]})
_TIME_TEXT = {"type": "string", "pattern": TIME_PATTERN, "examples": ["00:05"]}
_TIMES_TEXT = WithJsonSchema({"anyOf": [_TIME_TEXT, {"type": "array", "items": _TIME_TEXT, "minItems": 1}]})
_SIZE_TEXT = WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["512 MiB"]})

Id = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": ID_PATTERN})]
Seconds = Annotated[float, BeforeValidator(parse_duration), _DURATION_TEXT]
Interval = Annotated[float, Field(ge=0.1, le=7 * 86400), BeforeValidator(parse_duration), _DURATION_TEXT]
Timeout = Annotated[float, Field(ge=0.01, le=60), BeforeValidator(parse_duration), _DURATION_TEXT]
Latency = Annotated[float, Field(ge=0, le=5), BeforeValidator(parse_duration), _DURATION_TEXT]
Patience = Annotated[float, Field(ge=0, le=86400), BeforeValidator(parse_duration), _DURATION_TEXT]
Silence = Annotated[float, Field(ge=1, le=31 * 86400), BeforeValidator(parse_duration), _DURATION_TEXT]
Times = Annotated[tuple[time, ...], BeforeValidator(parse_times), _TIMES_TEXT]
Bytes = Annotated[int, BeforeValidator(parse_size), _SIZE_TEXT]
Day = Annotated[
    date,
    BeforeValidator(parse_day),
    WithJsonSchema({"type": "string", "pattern": DAY_PATTERN, "examples": ["2026-10-01"]}),
]
Percent = Annotated[int, Field(ge=0, le=100)]
Kind = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,48}$")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TextModel(Model):
    zh: str
    en: str


class PlaceModel(Model):
    grid: str | None = None
    building: str | None = None
    unit: str | None = None
    floor: str | None = None
    room: str | None = None


class DevicePlaceModel(PlaceModel):
    """What ``places`` says of the building, the entrance and the room need not be said again."""

    site: bool = False
    """It belongs to the site as a whole: a weather station, the main switch."""


PlaceWord = Annotated[str, Field(min_length=1, max_length=48)]
AddressCode = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{6,40}$")]
"""Of the official standard addresses.  Length and letters differ between authorities, so only the form is checked."""


class DistrictModel(Model):
    name: TextModel
    code: Annotated[str, Field(pattern=r"^[0-9]{6}([0-9]{6})?$")] | None = None
    """Statistical division: 6 digits, or the 12 of which the last six are 0."""


class CommunityModel(Model):
    name: TextModel
    code: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    """Statistical division of the residents' committee: 12 digits."""


class NamedPlaceModel(Model):
    id: PlaceWord
    """As the devices write it."""
    name: TextModel | None = None
    address_code: AddressCode | None = None


class RoomModel(NamedPlaceModel):
    floor: PlaceWord | None = None


class EntranceModel(NamedPlaceModel):
    grid: PlaceWord | None = None
    """Where it is not the building's."""
    rooms: list[RoomModel] = []


class BuildingModel(NamedPlaceModel):
    grid: PlaceWord | None = None
    units: list[EntranceModel] = []
    rooms: list[RoomModel] = []
    """Of a building without entrances."""


class PlacesModel(Model):
    """What the places that devices name are called, and where they lie."""

    grids: list[NamedPlaceModel] = []
    buildings: list[BuildingModel] = []


class SiteModel(Model):
    id: Id
    name: TextModel
    timezone: str = "Asia/Shanghai"
    district: DistrictModel | None = None
    community: CommunityModel | None = None

    @property
    def zone(self) -> tzinfo:
        """Raises ZoneInfoNotFoundError, ValueError; the check has seen to it that it does not."""
        return zoneinfo.ZoneInfo(self.timezone)


class GatewayModel(Model):
    id: Id
    clock_wait: Patience = 600.0
    """So long after the box's start data that is not urgent waits for the time, where the kernel does not call it
    synchronised; then it leaves, marked.  ``0 s`` where nothing sets the clock."""


class SharesModel(Model):
    """Per cent of the budget that a lane's delivered history may keep when room is needed.

    What some platform still waits for may take all of it.
    """

    alarm: Percent = 10
    event: Percent = 20
    gap: Percent = 5
    billing: Percent = 30
    telemetry: Percent = 25
    bulk: Percent = 10

    @property
    def total(self) -> int:
        return sum(self.model_dump().values())

    def parts(self) -> dict[Lane, float]:
        """Each as a part of one."""
        return {Lane(lane): percent / 100 for lane, percent in self.model_dump().items()}


class StoreModel(Model):
    path: Path = Path("/var/lib/gateway")
    """Directory, writable by the gateway's user."""
    budget: Bytes = 512 * 2**20
    shares: SharesModel = SharesModel()
    """Together at most 100."""
    keep: Annotated[float, Field(ge=86400), BeforeValidator(parse_duration), _DURATION_TEXT] = 90 * 86400.0
    """What every platform has is deleted when it is older."""


class TlsModel(Model):
    ca: Path | None = None
    """PEM file; None means the system's own authorities."""
    certificate: Path | None = None
    key: Path | None = None


class OnlyModel(Model):
    """What this platform is sent; everything where a key is absent."""

    lanes: list[Literal["alarm", "event", "billing", "telemetry", "bulk"]] | None = None
    """Announced gaps always come along."""
    kinds: list[Kind] | None = None
    """Kinds of devices."""
    devices: list[Id] | None = None
    places: list[PlaceModel] | None = None
    """A device must lie in one of them: every level that is written must agree."""
    personal: bool = True
    """Whether personal data may go there at all."""


class SparkplugModel(Model):
    group: Id
    """Group of the edge node; by custom the compound or the city."""
    primary_host: Id | None = None
    """Data wait in the store until this host application says that it is there."""


class HomeAssistantModel(Model):
    prefix: Id = "homeassistant"
    """Discovery prefix, as Home Assistant's MQTT integration has it."""


class IotdaModel(Model):
    device_id: Annotated[str, Field(min_length=1, max_length=128)]
    """Of the gateway itself, as the platform has registered it."""
    secret_file: Path
    """A file with nothing but the gateway's secret."""
    sub_devices: dict[Id, Annotated[str, Field(min_length=1, max_length=128)]] = {}
    """Our device id -> the platform's; without an entry ``{device_id}_{our id}`` is used."""


class UplinkModel(Model):
    id: Id
    dialect: Literal["native", "thingsboard", "sparkplug_b", "home_assistant", "iotda"] = "native"
    sparkplug_b: SparkplugModel | None = None
    home_assistant: HomeAssistantModel = HomeAssistantModel()
    iotda: IotdaModel | None = None
    only: OnlyModel = OnlyModel()
    pseudonym_key_file: Path | None = None
    """With it, devices of personal data appear on this platform under pseudonyms made with the key in this file."""
    compress: bool = False
    """Native dialect: envelopes that zlib makes a good deal smaller go to ``{lane}/zlib``."""
    replay_rate: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Late envelopes a second at most, after an outage; what happens now always goes first."""
    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=8883, ge=1, le=65535)
    tls: TlsModel | None = None
    """Absent means plain TCP, which is refused unless the broker is on this machine or allow_plaintext says so."""
    allow_plaintext: bool = False
    username: str | None = None
    password_file: Path | None = None
    """A file with nothing but the password; the password itself never stands in site.yaml."""
    protocol: Literal["mqtt5", "mqtt311"] = "mqtt5"
    """mqtt311 only for a broker that has nothing better: in 3.1.1 a message that the broker refuses (no right to the
    topic, quota) is acknowledged like one that it took, so what it throws away counts as delivered."""
    delivery: Literal["puback", "receipt"] = "puback"
    """receipt: an envelope may be forgotten only when the platform itself says that it has stored it; puback: when the
    broker has taken it, which brokers have been seen to lose."""
    window: int = Field(default=20, ge=1, le=100)
    """Envelopes on their way at the same time; the broker's Receive Maximum may lower it."""
    keepalive: Annotated[Seconds, Field(ge=1, le=600)] = 20.0


Baud = Annotated[int, Field(ge=300, le=921600)]
Parity = Literal["none", "even", "odd"]
DataBits = Literal[7, 8]
StopBits = Literal[1, 2]


class LineModel(BaseModel):
    """One way to the field: a wire (*serial*, *tcp*) that is asked, or a *protocol* whose devices speak by themselves.

    Exactly one of the three.  Keys beyond these belong to the protocol (listen, broker ...), whose model checks them.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    id: Id
    protocol: str | None = None
    """Of a line that is listened to: what all devices on it speak."""
    serial: str | None = None
    """Path of the port, best under /dev/serial/by-id."""
    baud: Baud | None = None
    parity: Parity | None = None
    data_bits: DataBits | None = None
    """7 is usual for Modbus ASCII only."""
    stop_bits: StopBits | None = None
    tcp: str | None = None
    """host:port of the device or of the converter."""


class PointOverride(Model):
    """What a device entry may change of its profile's points."""

    every: Interval | None = None
    at: Times | None = None
    """Local times of day, instead of an interval."""
    spare: bool | None = None
    """Read only while the line would otherwise be idle."""
    on_demand: bool | None = None
    """Not read by schedule; ``gateway read`` and rules' commands still can."""
    max_per_hour: Annotated[float, Field(gt=0)] | None = None
    """This very meter's rating, where it differs from the profile's."""
    sent: bool | None = None
    """The device sends it by itself; it is not asked for."""
    hold: bool | None = None
    """Of what is sent: the last value counts, and is told again every interval, while the device is heard."""
    skip: bool = False


class ActionModel(Model):
    """What an action that rules can send (``valve.close``) writes."""

    point: str
    value: Annotated[Any, WithJsonSchema({"type": ["boolean", "number", "string"]})]
    """One that the point can take."""


ActionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]


class ConsentModel(Model):
    """What a household has agreed to, in writing; the paper itself is kept elsewhere."""

    by: Literal["resident", "guardian"]
    """A role and never a name: this file is copied and mailed, and who has signed stands on the paper."""
    date: Day
    """From this day on."""
    until: Day | None = None
    """The last day.  After it the device is at rest, whether or not anybody edits this file."""
    record: Annotated[str, Field(min_length=1, max_length=200)]
    """Where the paper is: its number, or the path of a scan."""


class DeviceModel(BaseModel):
    """One device entry.  Keys beyond these belong to the protocol (address, unit_id ...), whose model checks them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    id: Id
    profile: str
    line: Id
    protocol: str | None = None
    """Only needed where the profile allows several and the line does not decide."""
    name: TextModel | None = None
    kind: Kind | None = None
    place: DevicePlaceModel = DevicePlaceModel()
    every: Interval | None = None
    silent_after: Silence | None = None
    """Of a device that speaks by itself: out of reach when nothing has come for so long; else three intervals."""
    timeout: Timeout | None = None
    baud: Baud | None = None
    """On a serial line that carries several speeds: this device's own format, where it is not the line's."""
    parity: Parity | None = None
    data_bits: DataBits | None = None
    stop_bits: StopBits | None = None
    serial_number: str | None = Field(default=None, min_length=1, max_length=48)
    """What the device must say of itself: where it says something else, another device has taken its place."""
    roles: dict[str, Id] = {}
    consent: ConsentModel | None = None
    """Of the household; needed for kind care_home, and where private_home is true."""
    private_home: bool = False
    """A terminal in somebody's own home (a smart-home hub, a camera indoors): only with that household's consent."""
    area: str | None = Field(default=None, min_length=1, max_length=48)
    """To what part of the compound's life it belongs (``common``, ``shops``): rules select by it."""
    points: dict[str, PointOverride] = {}
    allow_write: list[str] = []
    """Points of this device that commands may write; everything else is refused, whatever the profile says."""
    actions: dict[ActionName, ActionModel] = {}
    """What rules can send to this device, beside and before what its profile says."""


Command = Literal[
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
    "config.apply",
    "bundle",
]


def _public_key(text: str) -> str:
    with suppress(ValueError):
        if len(base64.b64decode(text, validate=True)) == 32:
            return text
    raise ValueError("public key")


class RemoteKeyModel(Model):
    """Somebody who may command this gateway from afar.  Taken out here, the key is refused from the next reload on."""

    id: Id
    public: Annotated[str, AfterValidator(_public_key)]
    """Ed25519 public key, base64 of its 32 bytes."""
    commands: list[Command]
    devices: list[Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9_-]{1,48})$")]] = []
    """Devices it may read and command; ``"*"`` for all of them."""


class DoorModel(Model):
    """A door that may be released from afar: a relay that is on for a moment."""

    point: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}\.[a-z][a-z0-9_]{0,47}$")]
    """The relay; its device's allow_write must name it."""
    pulse: Annotated[float, Field(ge=0.2, le=5), BeforeValidator(parse_duration), _DURATION_TEXT] = 3.0


class RemoteModel(Model):
    """Commands from afar.  Without a key there are none."""

    keys: list[RemoteKeyModel] = []
    doors: list[DoorModel] = []
    commands_per_minute: Annotated[int, Field(ge=1, le=600)] = 10
    """Of each key."""
    outputs_per_minute: Annotated[int, Field(ge=1, le=60)] = 2
    """Of each key: what moves something."""
    window: Annotated[Seconds, Field(ge=10, le=3600)] = 120.0
    """How long a configuration from afar (a key with ``config.apply``) is on trial before it counts."""


class AuditModel(Model):
    keep: Annotated[Seconds, Field(ge=86400)] = 180 * 86400.0
    """The law asks for six months of logs."""
    budget: Bytes = 64 * 2**20
    """Beyond it the oldest goes before its time, which is said; 4 MiB are kept in any case."""


class PrivacyModel(Model):
    """Cards and plates are kept under pseudonyms that only this box can make."""

    keep: list[Literal["card", "holder", "plate"]] = []
    """What is kept as it is all the same: the community's own decision, with a ground in law that it can name."""


def _quantity(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("quantity")
    text = str(value)
    if len(text) > _LONGEST or not _QUANTITY.fullmatch(text):
        raise ValueError("quantity")
    return text


Calm = Annotated[float, Field(ge=1, le=86400), BeforeValidator(parse_duration), _DURATION_TEXT]
Colour = Literal["blue", "yellow", "orange", "red"]
PointName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}\.[a-z][a-z0-9_]{0,47}$")]
Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": QUANTITY_PATTERN, "examples": ["20 cm"]}, {"type": "number"}]}
    ),
]


class ColoursModel(Model):
    """Where each colour begins; one that is not written is not reached."""

    blue: Quantity | None = None
    yellow: Quantity | None = None
    orange: Quantity | None = None
    red: Quantity | None = None


class CalmModel(Model):
    """So long without reason for a colour, and the next one below takes over."""

    blue: Calm | None = None
    yellow: Calm | None = None
    orange: Calm | None = None
    red: Calm | None = None


class RiskInputModel(Model):
    """What a hazard is judged by: exactly one of *warning* (official), *point*, and *kind* with *measures*."""

    name: TextModel | None = None
    warning: PointName | None = None
    """A state point that follows an official warning."""
    until: PointName | None = None
    """Of a warning: the point that says when it expires, in UTC seconds since 1970."""
    expires_after: Annotated[Seconds, Field(ge=600, le=7 * 86400)] = 86400.0
    """Of a warning whose source says no time: so long after the source was last heard."""
    point: PointName | None = None
    kind: Kind | None = None
    """All devices of this kind; the worst counts."""
    measures: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")] | None = None
    """Of a kind: the name of its point."""
    place: PlaceModel = PlaceModel()
    """Of a kind: only the devices there."""
    above: ColoursModel | None = None
    below: ColoursModel | None = None
    states: dict[str, Colour] = {}
    when_true: Colour | None = None
    exposure: Literal["lower", "same", "higher"] = "same"
    """Whether this compound is more exposed than the colour says: one colour up or down; a red stays red."""
    delay: Patience = 0.0
    """So long a colour must last before it counts."""
    stale_after: Interval | None = None
    """When a value is too old to be evidence; else three of its intervals."""


class HazardModel(Model):
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    name: TextModel
    inputs: list[RiskInputModel] = Field(min_length=1, max_length=50)
    calm: CalmModel = CalmModel()
    """Where it differs from the others'."""


class RiskModel(Model):
    """The community's disaster risk, see docs/risk.md."""

    hazards: list[HazardModel] = Field(min_length=1, max_length=12)
    raise_when: Annotated[int, Field(ge=0, le=12)] = 2
    """So many independent hazards of the highest colour raise it by one; 0 for never."""
    raise_from: Colour = "yellow"
    """Below it nothing is raised."""
    calm: CalmModel = CalmModel()
    """30 minutes where nothing is said."""
    hold: Annotated[Seconds, Field(ge=0, le=7 * 86400)] = 7200.0
    """So long a sensor that has gone silent keeps the level from falling."""


class SiteFile(Model):
    """site.yaml"""

    format: Literal["site/1"]
    site: SiteModel
    places: PlacesModel = PlacesModel()
    gateway: GatewayModel
    store: StoreModel = StoreModel()
    uplinks: list[UplinkModel] = []
    lines: list[LineModel] = []
    devices: list[DeviceModel] = []
    remote: RemoteModel = RemoteModel()
    audit: AuditModel = AuditModel()
    privacy: PrivacyModel = PrivacyModel()
    vehicles: VehiclesModel | None = None
    risk: RiskModel | None = None


class ProfilePoint(BaseModel):
    """One point of a profile.  Keys beyond these belong to the protocol (register, di, scale ...)."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: TextModel
    kind: Literal["number", "boolean", "state", "text"] = "number"
    unit: str | None = None
    """UCUM"""
    lane: Literal["billing", "telemetry", "bulk"] = "telemetry"
    states: list[str] = []
    minimum: float | None = None
    maximum: float | None = None
    counter: bool = False
    max_per_hour: Annotated[float, Field(gt=0)] | None = None
    """Of a counter: what the meter's rating allows it to rise in an hour, in the point's unit."""
    writable: bool = False
    commands: list[str] = []
    """Of *states*, those that a command may set; all when empty.  A gas valve is closed from afar, never opened."""
    personal: bool = False
    identity: bool = False
    """The device's own serial number: read after every start, compared with what it was."""
    every: Interval | None = None
    at: Times | None = None
    spare: bool = False
    on_demand: bool = False
    sent: bool | None = None
    """The device sends it by itself; so do all points of protocols that are only listened to."""
    hold: bool | None = None
    """Of what is sent: the last value counts until another comes or the device goes silent.  States, texts and booleans
    do where nothing is said; numbers do not."""


class ProfileFile(Model):
    """config/devices/<vendor>_<model>.yaml"""

    format: Literal["profile/1"]
    id: str = Field(pattern=r"^[a-z0-9_]{1,48}$")
    protocols: list[str] = Field(min_length=1)
    kind: Kind
    name: TextModel
    manufacturer: str | None = None
    source: str
    """Where the map comes from: document and page."""
    confidence: Literal["high", "medium", "low"]
    version: int = Field(default=1, ge=1)
    """Rises with every change of the file, so that a report can say which one a device was read with."""
    every: Interval = 60.0
    silent_after: Silence | None = None
    latency: Latency | None = None
    """Usual time between a request and the begin of its answer; for the estimate of a serial line's load."""
    device: dict[str, Any] = {}
    """Defaults for the protocol's device options (word_order, max_registers ...)."""
    actions: dict[ActionName, ActionModel] = {}
    """What rules can send to the device, beside what its writable points offer by themselves (open, close, on, off)."""
    points: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")], ProfilePoint] = Field(min_length=1)
