"""Reads one OSDP reader: who is it, is it there, has somebody opened it, which cards were held to it.

    poll ──▶ Session.begin ──▶ POLL ──▶ ACK, a card, digits, a status … ──▶ readings, and happenings for ``take``
    write ─▶ Session.ask, once ─▶ LED, BUZ, OUT

All points of one POLL are one batch.  Inputs and outputs are asked for by themselves, once for all of them.  Digits of
a keypad are secrets: they are counted and forgotten.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from drivers import wiegand
from drivers.base import DeviceSpec, Happening, Link, ProtocolType, Report, SerialFormat
from drivers.osdp import frame
from drivers.osdp.config import OsdpOptions, OsdpPointOptions
from drivers.osdp.session import Answer, Session
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable
from gateway.model import PointId, Reading, Reason, Value, ValueKind, bad_reading

STATUS_EVERY_S = 5.0
"""Readers should say by themselves that they were opened; not all do."""
_MOST_REPORTS = 1000
_COLOURS = ("off", "red", "green", "amber", "blue")
_POLLED = ("online", "secure", "tamper", "power", "card_count", "keypad_count")
_IDENTITY = ("vendor", "model", "serial_number", "firmware")
_SET = ("led", "buzzer")
_KINDS: Mapping[str, tuple[ValueKind, ...]] = {
    **dict.fromkeys(("online", "secure", "tamper", "input", "output", "buzzer"), (ValueKind.BOOLEAN,)),
    "power": (ValueKind.BOOLEAN, ValueKind.STATE),
    **dict.fromkeys(("card_count", "keypad_count"), (ValueKind.NUMBER,)),
    **dict.fromkeys(_IDENTITY, (ValueKind.TEXT,)),
    "led": (ValueKind.STATE,),
}
_ON, _OFF, _ON_FOR = 0x02, 0x01, 0x05
"""Of an output, source SIA OSDP 2.2, table 16: for good, ending what was timed; for a time."""


class OsdpReader:
    """drivers/base.py: Driver, Reporting, Writable, Budgeted."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError for a point whose kind does not suit what it shows."""
        self._spec = spec
        self._options: OsdpOptions = spec.options
        self._clock = clock
        self._points: Mapping[PointId, OsdpPointOptions] = {id_: each.options for id_, each in spec.points.items()}
        for id_, each in spec.points.items():
            _check(id_, each.point.kind, each.point.states, each.options)
        self._session = Session(link, spec.options, spec.timeout_s, clock)
        self._reports: deque[Report] = deque(maxlen=_MOST_REPORTS)
        self._cards = self._keys = 0
        self._status: tuple[bool, bool] | None = None
        """Opened, power failed; None where it was not said."""
        self._status_s = -math.inf
        self._flags: dict[str, bytes] = {}
        """What was said of all inputs and all outputs last."""
        self._set: dict[PointId, Value] = {}
        self._offline = False

    # ------------------------------------------------------------------ Driver

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        groups: dict[str, list[PointId]] = {}
        for point in points:
            groups.setdefault(_group(self._points[point].field), []).append(point)
        return list(groups.values())

    def characters(self, points: Sequence[PointId]) -> float:
        """Request and answer, each with a MAC."""
        return 40.0

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: dict[PointId, Reading] = {}
        for group in self.batches(points):
            readings |= await self._read(group)
        return [readings[point] for point in points]

    def take(self) -> Sequence[Report]:
        taken = list(self._reports)
        self._reports.clear()
        return taken

    # ------------------------------------------------------------------ Writable

    async def write(self, point: PointId, value: Value) -> None:
        options = self._points.get(point)
        if options is None or options.field not in (*_SET, "output"):
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0, hint="field: output, led, buzzer")
        await self._begin()
        code, data = _command(options, value)
        self._heard(await self._session.ask(code, data, once=True))
        self._set[point] = value

    def settle_s(self, point: PointId) -> float:
        return 0.0

    # ------------------------------------------------------------------ inside

    async def _begin(self) -> None:
        """Raises DriverError, and says once that the reader is gone."""
        try:
            late = await self._session.begin()
        except DeviceUnreachable:
            silence_s = self._session.silence_s()
            if not self._offline and silence_s is not None and self._session.silent:
                self._offline = True
                self._happened("access.offline", {"silent_s": silence_s})
            raise
        if late is not None:
            self._heard(late)
        if self._offline:
            self._offline = False
            self._happened("access.online", {"secure": self._session.secure})

    async def _read(self, group: Sequence[PointId]) -> Mapping[PointId, Reading]:
        await self._begin()
        field = _group(self._points[group[0]].field)
        if field in ("input", "output"):
            return await self._read_flags(field, group)
        if field == "poll":
            self._heard(await self._session.ask(frame.POLL))
            if any(self._points[point].field in ("tamper", "power") for point in group):
                await self._refresh_status()
        now_ms = self._clock.now_ms()
        return {point: self._reading(point, self._value(point), now_ms) for point in group}

    async def _refresh_status(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._status_s < STATUS_EVERY_S:
            return
        self._status_s = now_s
        try:
            self._heard(await self._session.ask(frame.LOCAL_STATUS))
        except DeviceRejected:
            self._status = None

    async def _read_flags(self, field: str, group: Sequence[PointId]) -> Mapping[PointId, Reading]:
        code = frame.INPUT_STATUS if field == "input" else frame.OUTPUT_STATUS
        now_ms = self._clock.now_ms()
        self._flags.pop(field, None)
        try:
            self._heard(await self._session.ask(code))
        except DeviceRejected:
            return {point: bad_reading(point, Reason.REFUSED, now_ms) for point in group}
        flags = self._flags.get(field, b"")
        return {point: self._reading(point, _flag(flags, self._points[point].number), now_ms) for point in group}

    def _reading(self, point: PointId, value: Value | Reason, now_ms: int) -> Reading:
        if isinstance(value, Reason):
            return bad_reading(point, value, now_ms)
        return Reading(point, value, now_ms, now_ms)

    def _value(self, point: PointId) -> Value | Reason:
        field = self._points[point].field
        who = self._session.identity
        match field:
            case "online":
                return True
            case "secure":
                return self._session.secure
            case "card_count":
                return self._cards
            case "keypad_count":
                return self._keys
            case "tamper" | "power":
                return self._said_of_itself(point, field == "power")
            case "led" | "buzzer":
                return self._set.get(point, "off" if field == "led" else False)
        if who is None:
            return Reason.NO_VALUE
        return {
            "vendor": who.vendor,
            "model": f"{who.model}.{who.version}",
            "serial_number": f"{who.serial:08X}",
            "firmware": who.firmware,
        }[field]

    def _said_of_itself(self, point: PointId, of_power: bool) -> Value | Reason:
        if self._status is None:
            return Reason.REFUSED
        failed = self._status[of_power]
        about = self._spec.points[point].point
        return about.states[failed] if about.kind is ValueKind.STATE else failed

    # ------------------------------------------------------------------ what answers say

    def _heard(self, answer: Answer) -> None:
        data = answer.data
        match answer.code:
            case frame.RAW_CARD if len(data) >= 4:
                self._card(data)
            case frame.TEXT_CARD if len(data) >= 3:
                self._cards += 1
                text = data[3 : 3 + data[2]].decode("ascii", "replace")
                self._happened("access.card", {"reader": data[0], "format": "text", "valid": True}, {"card": text})
            case frame.KEYPAD if len(data) >= 2:
                self._keys += data[1]
                self._happened("access.keypad", {"reader": data[0], "keys": data[1]})
            case frame.LSTATR if len(data) >= 2:
                self._status = data[0] != 0, data[1] != 0
                self._status_s = self._clock.monotonic_s()
            case frame.ISTATR:
                self._flags["input"] = data
            case frame.OSTATR:
                self._flags["output"] = data

    def _card(self, data: bytes) -> None:
        options = self._options
        size = int.from_bytes(data[2:4], "little")
        bits = "".join(f"{byte:08b}" for byte in data[4:])[:size]
        self._cards += 1
        about: dict[str, Value | None] = {"reader": data[0], "bits": size}
        card = None
        if len(bits) == size and 0 < size <= wiegand.LONGEST:
            if options.card_format == "plain":
                card = wiegand.plain(bits, reverse_bytes=options.reverse_bytes)
            else:
                card = wiegand.read(bits, options.card_format, reverse_bytes=options.reverse_bytes)
        if card is None:
            self._happened("access.card", about | {"format": None, "valid": False})
        else:
            about |= {"format": card.layout, "valid": True}
            self._happened("access.card", about, {"card": card.printed(options.printing)})

    def _happened(
        self, kind: str, about: Mapping[str, Value | None], personal: Mapping[str, str] | None = None
    ) -> None:
        happening = Happening(kind, self._clock.now_ms(), about, personal or {})
        self._reports.append(Report(self._spec.id, (), (happening,)))


def _group(field: str) -> str:
    """Points of one group are read by one exchange, or by none."""
    if field in _POLLED:
        return "poll"
    if field in _IDENTITY:
        return "identity"
    return "set" if field in _SET else field


def _flag(flags: bytes, number: int) -> Value | Reason:
    return flags[number] != 0 if number < len(flags) else Reason.NO_VALUE


def _command(options: OsdpPointOptions, value: Value) -> tuple[int, bytes]:
    """Code and data.  Source: SIA OSDP 2.2, 6.9 to 6.11."""
    number = options.number
    if options.field == "output":
        pulse = 0 if options.pulse_s is None else round(options.pulse_s * 10)
        how = (_ON_FOR if pulse else _ON) if value is True else _OFF
        return frame.OUTPUT, bytes((number, how)) + (pulse if how == _ON_FOR else 0).to_bytes(2, "little")
    if options.field == "buzzer":
        return frame.BUZZER, bytes((0, 2 if value is True else 1, 2, 2, 3))
    colour = _COLOURS.index(str(value))
    steady = bytes((1, 10, 0, colour, colour))
    return frame.LED, bytes((0, number)) + bytes((1, 0, 0, 0, 0, 0, 0)) + steady


def _check(id_: PointId, kind: ValueKind, states: Sequence[str], options: OsdpPointOptions) -> None:
    """Raises ConfigError."""
    suits = kind in _KINDS[options.field]
    if options.field == "led":
        suits = suits and set(states) <= set(_COLOURS)
    elif kind is ValueKind.STATE:
        suits = suits and len(states) == 2
    if not suits:
        raise ConfigError(
            f"{id_}: 类型与 {options.field} 不符 / kind {kind} does not suit {options.field}",
            hint=f"led: {', '.join(_COLOURS)}; power: 布尔或两个状态 boolean or two states",
        )


OSDP = ProtocolType(
    name="osdp",
    device_options=OsdpOptions,
    point_options=OsdpPointOptions,
    make=OsdpReader,
    serial=SerialFormat(baud=9600),
    tcp=True,
    scan_formats=tuple(SerialFormat(baud) for baud in (9600, 19200, 38400, 57600, 115200, 230400)),
    default_timeout_s=0.3,  # an answer begins within 200 ms
)
