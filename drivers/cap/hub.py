"""Official warnings as a device: what is in force here, until when, and whether anybody would tell.

    source ──fetch──▶ documents ──parse──▶ alerts, by time of sending ──Warnings.heard──▶ changes ──▶ Report
                                                                        Warnings.expired ▲ when the time has come

There is no task beside ``receive``: it sleeps until the next look or the next end, so a ``receive`` that is cancelled
in the middle of a fetch has changed nothing, and what it has made stays in ``_waiting``.

- A look that succeeds is a sign of life; one that fails is none: the core's silence rule (``silent_after``) and the
  rules' ``silent()`` must see that nobody would tell us.  ``source_ok`` says it once, at the first failure.
- What is in force is told again at each interval of the points, with its end; all else is held by the core.
- What was in force before a restart is told at once, before the source is heard; that nothing is, only after.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from drivers.base import DeviceSpec, Happening, HubSpec, PointSpec, ProtocolType, Report, Unasked
from drivers.cap.config import CapHubOptions, CapOptions, CapPointOptions
from drivers.cap.message import Alert, CapError, Colour, parse
from drivers.cap.source import Document, SourceFailed, source_of
from drivers.cap.warnings import Change, Warnings
from drivers.hub import Strangers
from gateway.clock import Clock, ClockState
from gateway.errors import ConfigError
from gateway.model import PointId, Reading, Value, ValueKind

_BELIEVED_MS: Final = 10 * 60 * 1000
"""A sender's time is taken for the time of a happening when it is not farther from the gateway's."""
_AT_ONCE: Final = 100
"""Reports that one ``receive`` gives."""


class Place(Unasked):
    """One device: the warnings of one place."""

    def __init__(self, spec: DeviceSpec, warnings: Warnings) -> None:
        """Raises ConfigError where a point's kind does not suit what it shows."""
        options: CapOptions = spec.options
        self.id = spec.id
        self.site = options.site
        self.warnings = warnings
        self.points = {point: (each, _options(each)) for point, each in sorted(spec.points.items(), key=_order)}
        self.interval_s = min((each.point.interval_s for each in spec.points.values()), default=600.0)
        self.told: dict[PointId, Value] = {}
        """What was last said of each point since the hub was opened."""
        self.spoke_s = float("-inf")
        self.repeated_s = float("-inf")

    def values(self, source_ok: bool, latest_ms: int | None, now_ms: int) -> Mapping[PointId, Value]:
        found: dict[PointId, Value] = {}
        for point, (spec, options) in self.points.items():
            value = self._value(spec, options, source_ok, latest_ms, now_ms)
            if value is not None:
                found[point] = value
        return found

    def in_force(self) -> Iterator[PointId]:
        """The points of what is in force."""
        for point, (_, options) in self.points.items():
            if options.hazard is not None and self.warnings.in_force(options.hazard)[0] is not Colour.NONE:
                yield point

    def _value(
        self, spec: PointSpec, options: CapPointOptions, source_ok: bool, latest_ms: int | None, now_ms: int
    ) -> Value | None:
        if options.hazard is not None:
            colour, until_ms = self.warnings.in_force(options.hazard)
            return _word(colour, spec.point.states) if options.tells == "colour" else (until_ms or 0) / 1000
        if options.source == "age":
            return None if latest_ms is None else max(now_ms - latest_ms, 0) / 1000
        worst = self.warnings.worst
        shown: Mapping[str | None, Value] = {
            "ok": source_ok,
            "count": len(self.warnings.active),
            "headline": "" if worst is None else worst.headline,
        }
        return shown[options.source]


class CapHub:
    """One source, for any number of places (drivers/base.py: Hub)."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        options: CapHubOptions = spec.options
        self._clock = clock
        self._poll_s = options.pace_s
        self._source = source_of(options, spec.id)
        self._strangers = Strangers()
        self.places = {
            device: Place(each, Warnings.from_bytes(spec.memory[device]) if device in spec.memory else Warnings())
            for device, each in spec.devices.items()
        }
        self._waiting: deque[Report] = deque()
        self._next_s = 0.0
        self._ok: bool | None = None
        """None while nobody has looked since it was opened."""
        self._latest_ms: int | None = None
        self.failure = ""
        """Why the last look failed."""

    async def __aenter__(self) -> Self:
        await self._source.__aenter__()
        self._next_s, self._ok = asyncio.get_running_loop().time(), None
        for place in self.places.values():
            place.told, place.spoke_s, place.repeated_s = {}, float("-inf"), float("-inf")
        self._end_what_is_over()
        for place in self.places.values():
            self._repeat(place)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._source.__aexit__(kind, exc, tb)

    @property
    def strangers(self) -> Mapping[str, str]:
        return self._strangers.listed()

    async def receive(self) -> Sequence[Report]:
        loop = asyncio.get_running_loop()
        while not self._waiting:
            await asyncio.sleep(max(min(self._next_s - loop.time(), self._until_end_s()), 0.0))
            self._end_what_is_over()
            if loop.time() >= self._next_s:
                await self._look()
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), _AT_ONCE))]

    async def stored(self, reports: Sequence[Report]) -> None:
        return

    # ------------------------------------------------------------------ the source

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            documents = await self._source.fetch(self._clock.now_ms())
            alerts = self._alerts(documents)
        except SourceFailed as exc:
            self.failure = str(exc)
            self._failed()
        else:
            self.failure = ""
            self._heard(alerts)
        self._next_s = max(self._next_s + self._poll_s, loop.time())

    def _alerts(self, documents: Sequence[Document]) -> Sequence[Alert]:
        """By time of sending.  Raises SourceFailed when all that the source has to say cannot be read."""
        alerts: list[Alert] = []
        faults: list[str] = []
        for document in documents:
            try:
                alerts += parse(document.data)
            except CapError as exc:
                faults.append(f"{document.name}: {exc}"[:200])
                self._strangers.met(document.name[:100], str(exc)[:200])
        if faults:
            self._source.again()
        if faults and any(document.whole for document in documents):
            raise SourceFailed(faults[0])
        return sorted(alerts, key=lambda alert: alert.sent_ms)

    def _heard(self, alerts: Sequence[Alert]) -> None:
        if alerts:
            self._latest_ms = max(alerts[-1].sent_ms, self._latest_ms or 0)
        recovered, self._ok = self._ok is not True, True
        for alert in alerts:
            self._place(alert)
        now_s = asyncio.get_running_loop().time()
        for place in self.places.values():
            if recovered:
                self._tell(place, list(place.points))
            elif now_s - place.repeated_s >= place.interval_s:
                self._repeat(place)
            elif now_s - place.spoke_s >= place.interval_s / 2:
                self._say(Report(place.id), place)

    def _place(self, alert: Alert) -> None:
        """Give *alert* to all places; of one that is for none of them a note is kept."""
        now_ms, known = self._clock.now_ms(), self._clock_known()
        concerned = False
        for place in self.places.values():
            before = place.warnings
            place.warnings, changes = before.heard(alert, place.site, now_ms, clock_known=known)
            concerned = concerned or place.warnings is not before or _is_known(before, alert)
            self._changed(place, changes, before)
        if not concerned:
            where = next((area for info in alert.infos for area in info.areas), None)
            name = alert.identifier if where is None else (where.geocodes or (where.description,))[0]
            shown = next((info.headline or info.event for info in alert.infos), alert.kind)
            self._strangers.met((name or alert.identifier)[:60], shown[:100])

    def _failed(self) -> None:
        first, self._ok = self._ok is not False, False
        for place in self.places.values() if first else ():
            points = [point for point, (_, options) in place.points.items() if options.source == "ok"]
            if points:
                self._tell(place, points)

    # ------------------------------------------------------------------ the end of a warning

    def _clock_known(self) -> bool:
        return self._clock.state() is not ClockState.UNKNOWN

    def _until_end_s(self) -> float:
        now_ms, known = self._clock.now_ms(), self._clock_known()
        left = [place.warnings.next_end_ms(now_ms, clock_known=known) for place in self.places.values()]
        return min((each for each in left if each is not None), default=float(3600_000)) / 1000

    def _end_what_is_over(self) -> None:
        now_ms, known = self._clock.now_ms(), self._clock_known()
        for place in self.places.values():
            before = place.warnings
            place.warnings, changes = before.expired(now_ms, clock_known=known)
            self._changed(place, changes, before)

    # ------------------------------------------------------------------ reports

    def _changed(self, place: Place, changes: Sequence[Change], before: Warnings) -> None:
        """Readings of what is different, one happening a change, and the memory of it, in one report."""
        if place.warnings is before:
            return
        happenings = [_happening(change, self._clock.now_ms()) for change in changes]
        self._tell(place, None, happenings, place.warnings.to_bytes())

    def _repeat(self, place: Place) -> None:
        """What is in force, and how the source is."""
        points = [*place.in_force()]
        if self._ok is not None:
            points += [point for point, (_, options) in place.points.items() if options.source is not None]
        if points:
            self._tell(place, points)
            place.repeated_s = asyncio.get_running_loop().time()

    def _tell(
        self,
        place: Place,
        points: Sequence[PointId] | None,
        happenings: Sequence[Happening] = (),
        memory: bytes | None = None,
    ) -> None:
        """*points*: None for those that say something else than they last did."""
        now_ms = self._clock.now_ms()
        values = place.values(self._ok is True, self._latest_ms, now_ms)
        if points is None:
            points = [
                point for point in values if place.told.get(point) != values[point] and self._may_say(place, point)
            ]
        readings = [Reading(point, values[point], now_ms, now_ms) for point in points if point in values]
        place.told.update((reading.point, values[reading.point]) for reading in readings)
        self._say(Report(place.id, readings, happenings, memory), place)

    def _may_say(self, place: Place, point: PointId) -> bool:
        """Before the source was heard nothing is known but what is in force, and what has been told."""
        options = place.points[point][1]
        if self._ok is not None or point in place.told:
            return options.source != "age"
        return options.hazard is not None and point in set(place.in_force())

    def _say(self, report: Report, place: Place) -> None:
        self._waiting.append(report)
        place.spoke_s = asyncio.get_running_loop().time()


# ---------------------------------------------------------------------- words


def _options(spec: PointSpec) -> CapPointOptions:
    options: CapPointOptions = spec.options
    if spec.point.kind is not ValueKind(options.kind):
        raise ConfigError(
            f"{spec.point.id}: 应为 kind: {options.kind} / must be of kind: {options.kind}",
            hint="see config/devices/cap_warnings.yaml",
        )
    return options


def _order(item: tuple[PointId, PointSpec]) -> tuple[bool, PointId]:
    """The end of a warning is told before its colour: who counts it until then must not find an old end."""
    return item[1].options.tells != "until", item[0]


def _word(colour: Colour, states: Sequence[str]) -> str:
    """The point's word for *colour*; where it has none (no blue for heat), the next worse one that it has."""
    words = [each.word for each in Colour if each.word in states and each >= colour]
    return words[0] if words else states[-1]


def _is_known(warnings: Warnings, alert: Alert) -> bool:
    return alert.identifier in warnings.known or any(each.identifier == alert.identifier for each in warnings.active)


def _happening(change: Change, now_ms: int) -> Happening:
    warning = change.warning
    main = max(warning.signals, key=lambda signal: signal.colour, default=None)
    attributes: dict[str, Value | None] = {
        "identifier": warning.identifier,
        "headline": warning.headline,
        "headline_en": warning.headline_en or None,
        "severity": warning.colour.word,
        "hazard": ",".join(signal.hazard for signal in warning.signals),
        "event_code": main.code if main else "",
        "event": main.word_zh if main else "",
        "event_en": main.word_en if main else "",
        "sender": warning.sender_name or warning.sender,
        "sender_code": warning.sender,
        "sent": _iso(warning.sent_ms),
        "expires": _iso(warning.until_ms),
        "expires_assumed": warning.expires_assumed,
        "area_unknown": warning.area_unknown,
        "areas": ",".join(warning.areas[:20]),
        "instruction": warning.instruction,
        "status": warning.status,
        "exercise": change.exercise,
        "references": ",".join(change.references[:5]) or None,
        "unmatched": change.unmatched or None,
    }
    believed = change.step in ("issued", "updated") and abs(warning.sent_ms - now_ms) <= _BELIEVED_MS
    said = {name: value for name, value in attributes.items() if value is not None}
    return Happening(f"warning.{change.step}", warning.sent_ms if believed else now_ms, said)


def _iso(time_ms: int) -> str:
    """UTC; empty for what no calendar has."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


CAP = ProtocolType(
    name="cap",
    device_options=CapOptions,
    point_options=CapPointOptions,
    make=lambda spec, hub, clock: hub.places[spec.id],
    hub=CapHub,
    hub_options=CapHubOptions,
    sends=True,
)
