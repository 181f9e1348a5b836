"""Which official warnings are in force at one place.  Pure: messages and instants in, changes out.

    Alert ──────▶ in force ──▶ over: its time has come
    Update ─────▶ what it refers to ends, itself in force
    Cancel ─────▶ what it refers to ends

- *An identifier counts once.*  It is remembered after its end, so that a message that comes again, or after the Cancel
  that names it, changes nothing.
- *A message whose predecessor was missed* ends, in the national dialect, what the same sender has in force for the same
  event and the same areas: such a sender has one signal out for a place.  OASIS senders may have several; there only
  the references count, as CAP 1.2, 3.2.1 has it.
- *A Cancel that names nothing we know* ends nothing, and says so (``unmatched``); what it meant ends with its time.
- *A message without a time of expiry counts for 24 hours* from its effective time, and says so (``expires_assumed``).
- *Exercise, Test, System, Draft* are told and never in force.
- *While the box does not know the time* a warning counts for as long as it would have lasted from when it was heard.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from drivers.cap.area import Here, Site, is_here
from drivers.cap.events import OTHER, event_of
from drivers.cap.message import Alert, Colour, Info

DEFAULT_LIFE_MS: Final = 24 * 3600 * 1000
LONGEST_LIFE_MS: Final = 30 * 24 * 3600 * 1000
"""A sender who says "expires 2099" is not believed for ever."""
MOST_ACTIVE: Final = 100
MOST_KNOWN: Final = 500
"""Identifiers remembered after their end, the latest."""


class Step(enum.StrEnum):
    ISSUED = "issued"
    UPDATED = "updated"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Signal:
    """One event of one warning."""

    hazard: str
    colour: int
    """A ``Colour``."""
    code: str
    word_zh: str
    word_en: str
    until_ms: int
    life_ms: int
    """From the time it took effect to its end."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One message for this place."""

    identifier: str
    sender: str
    sender_name: str
    sent_ms: int
    heard_ms: int
    status: str
    national: bool
    headline: str
    headline_en: str
    instruction: str
    signals: tuple[Signal, ...]
    areas: tuple[str, ...]
    expires_assumed: bool = False
    area_unknown: bool = False

    @property
    def colour(self) -> Colour:
        return Colour(max((signal.colour for signal in self.signals), default=0))

    @property
    def until_ms(self) -> int:
        return max((signal.until_ms for signal in self.signals), default=self.sent_ms)

    def subject(self) -> tuple[str, frozenset[str], frozenset[str]]:
        """What a sender has one signal out for at a time."""
        return self.sender, frozenset(signal.code for signal in self.signals), frozenset(self.areas)

    def left_ms(self, signal: Signal, now_ms: int, clock_known: bool) -> int:
        """Until *signal* is over; 0 or less when it is."""
        return signal.until_ms - now_ms if clock_known else self.heard_ms + signal.life_ms - now_ms


@dataclass(frozen=True, slots=True)
class Change:
    step: Step
    warning: Issue
    references: tuple[str, ...] = ()
    exercise: bool = False
    unmatched: bool = False


@dataclass(frozen=True, slots=True)
class Warnings:
    """The state of one place."""

    active: tuple[Issue, ...] = ()
    known: Mapping[str, int] = field(default_factory=dict)
    """Identifiers that must not come into force (again) -> when they were heard of, the oldest first."""

    def heard(
        self, alert: Alert, site: Site, now_ms: int, *, clock_known: bool = True
    ) -> tuple[Warnings, tuple[Change, ...]]:
        """The state after *alert*, and what is to be told of it; nothing where it changes nothing."""
        if any(each.identifier == alert.identifier for each in self.active):
            return self, ()
        if alert.identifier in self.known:
            return self._late(alert, now_ms)
        warning = _warning(alert, site, now_ms, clock_known)
        if alert.status != "Actual" or alert.kind in ("Ack", "Error"):
            return self._told_only(alert, warning, now_ms)
        ended = tuple(each for each in self.active if self._is_ended_by(each, alert, warning))
        if not warning.signals and not ended and not (alert.kind == "Cancel" and not alert.infos):
            return self, ()  # of another place
        known = {**dict.fromkeys(alert.references, now_ms), **{each.identifier: now_ms for each in ended}}
        if alert.kind == "Cancel":
            state = self._without(ended, {**known, alert.identifier: now_ms})
            told = ended or ((warning,) if warning.signals else ())
            return state, tuple(
                Change(Step.CANCELLED, each, (alert.identifier, *alert.references), unmatched=not ended)
                for each in told
            )
        if any(
            each.subject() == warning.subject() and each.sent_ms > alert.sent_ms for each in self._national(warning)
        ):
            return self._without((), {alert.identifier: now_ms}), ()  # it has come late: a newer one is in force
        over = all(warning.left_ms(signal, now_ms, clock_known) <= 0 for signal in warning.signals)
        if over:  # long ended when it was heard of, or its new version is for another place
            state = self._without(ended, {**known, alert.identifier: now_ms})
            return state, tuple(Change(Step.CANCELLED, each, (alert.identifier,)) for each in ended)
        state = self._without(ended, known)
        step = Step.UPDATED if ended or alert.kind == "Update" else Step.ISSUED
        return state._with(warning, now_ms), (Change(step, warning, alert.references),)

    def expired(self, now_ms: int, *, clock_known: bool = True) -> tuple[Warnings, tuple[Change, ...]]:
        """The state at *now_ms*, and the warnings that are over by it."""
        kept: list[Issue] = []
        over: list[Issue] = []
        for warning in self.active:
            signals = tuple(each for each in warning.signals if warning.left_ms(each, now_ms, clock_known) > 0)
            if signals:
                kept.append(warning if len(signals) == len(warning.signals) else replace(warning, signals=signals))
            else:
                over.append(warning)
        if not over and tuple(kept) == self.active:
            return self, ()
        state = replace(self, active=tuple(kept))._without((), {each.identifier: now_ms for each in over})
        return state, tuple(Change(Step.EXPIRED, each) for each in over)

    def next_end_ms(self, now_ms: int, *, clock_known: bool = True) -> int | None:
        """Milliseconds until something is over; None when nothing is in force."""
        left = [each.left_ms(signal, now_ms, clock_known) for each in self.active for signal in each.signals]
        return min(left, default=None)

    def in_force(self, hazard: str) -> tuple[Colour, int | None]:
        """The worst colour of *hazard*, and until when it counts; NONE and None."""
        signals = [signal for each in self.active for signal in each.signals if signal.hazard == hazard]
        worst = max((signal.colour for signal in signals), default=0)
        return Colour(worst), max((each.until_ms for each in signals if each.colour == worst), default=None)

    @property
    def worst(self) -> Issue | None:
        """Of those in force: the highest colour, the latest of these."""
        return max(self.active, key=lambda each: (each.colour, each.sent_ms, each.identifier), default=None)

    # ------------------------------------------------------------------ inside

    def _late(self, alert: Alert, now_ms: int) -> tuple[Warnings, tuple[Change, ...]]:
        """A message that a later one has ended already: what it ends itself is over all the same."""
        if alert.status != "Actual" or alert.kind not in ("Update", "Cancel"):
            return self, ()
        ended = tuple(each for each in self.active if each.identifier in alert.references)
        if not ended and all(name in self.known for name in alert.references):
            return self, ()
        state = self._without(ended, dict.fromkeys(alert.references, now_ms))
        return state, tuple(Change(Step.CANCELLED, each, (alert.identifier,)) for each in ended)

    def _told_only(self, alert: Alert, warning: Issue, now_ms: int) -> tuple[Warnings, tuple[Change, ...]]:
        state = self._without((), {alert.identifier: now_ms})
        if not warning.signals or alert.kind in ("Ack", "Error"):
            return state, ()
        step = {"Update": Step.UPDATED, "Cancel": Step.CANCELLED}.get(alert.kind, Step.ISSUED)
        return state, (Change(step, warning, alert.references, exercise=True),)

    def _is_ended_by(self, each: Issue, alert: Alert, by: Issue) -> bool:
        if alert.kind in ("Update", "Cancel") and each.identifier in alert.references:
            return True
        same = each in self._national(by) and each.subject() == by.subject()
        return same and each.sent_ms <= alert.sent_ms

    def _national(self, by: Issue) -> Sequence[Issue]:
        """Those that *by* may replace without naming them."""
        return [each for each in self.active if each.national] if by.national and by.signals else []

    def _with(self, warning: Issue, now_ms: int) -> Warnings:
        """When there is no room, the least severe makes it: an overflow must not hide a red."""
        active = (*self.active, warning)
        if len(active) <= MOST_ACTIVE:
            return replace(self, active=active)
        least = min(active, key=lambda each: (each.colour, each.sent_ms))
        return self._put(tuple(each for each in active if each is not least), {least.identifier: now_ms})

    def _without(self, ended: Sequence[Issue], known: Mapping[str, int]) -> Warnings:
        return self._put(tuple(each for each in self.active if each not in ended), known)

    def _put(self, active: tuple[Issue, ...], known: Mapping[str, int]) -> Warnings:
        kept = {name: at for name, at in self.known.items() if name not in known}
        names = [*kept.items(), *known.items()]
        return Warnings(active, dict(names[-MOST_KNOWN:]))

    # ------------------------------------------------------------------ over a start

    def to_bytes(self) -> bytes:
        record = {"v": 1, "active": [asdict(each) for each in self.active], "known": dict(self.known)}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Warnings:
        """What cannot be read is as if nothing had been kept: the source says it again."""
        try:
            record = json.loads(data)
            if record["v"] != 1:
                return cls()
            active = tuple(_restored(each) for each in record["active"])
            known = {str(name): int(at) for name, at in record["known"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return cls()
        return cls(active[:MOST_ACTIVE], dict(list(known.items())[-MOST_KNOWN:]))


def _restored(record: dict[str, Any]) -> Issue:
    """Raises TypeError, KeyError."""
    signals = tuple(Signal(**each) for each in record["signals"])
    if any(type(each.until_ms) is not int or each.colour not in list(Colour) for each in signals):
        raise TypeError("signal")
    return Issue(**{**record, "signals": signals, "areas": tuple(record["areas"])})


# ---------------------------------------------------------------------- message -> warning


def _warning(alert: Alert, site: Site, now_ms: int, clock_known: bool) -> Issue:
    """Without signals when it is not for this place."""
    verdicts = [(info, is_here(info.areas, site)) for info in alert.infos]
    infos = [info for info, here in verdicts if here is not Here.NO]
    zh = next((info for info in infos if info.language.lower().startswith("zh")), None)
    en = next((info for info in infos if info.language.lower().startswith("en")), None)
    shown = zh or next(iter(infos), Info())
    return Issue(
        identifier=alert.identifier,
        sender=alert.sender,
        sender_name=alert.sender_name or shown.sender_name,
        sent_ms=alert.sent_ms,
        heard_ms=now_ms,
        status=alert.status,
        national=alert.national,
        headline=shown.headline or shown.event,
        headline_en=en.headline if en is not None and en is not shown else "",
        instruction=shown.instruction or shown.description,
        signals=_signals(alert, infos, now_ms + LONGEST_LIFE_MS if clock_known else None),
        areas=tuple(sorted({code for info in infos for area in info.areas for code in area.geocodes})),
        expires_assumed=any(info.expires_ms is None for info in infos),
        area_unknown=bool(infos) and all(here is Here.UNKNOWN for _, here in verdicts if here is not Here.NO),
    )


def _signals(alert: Alert, infos: Sequence[Info], latest_ms: int | None) -> tuple[Signal, ...]:
    """One for each hazard: what two languages say is one thing, and of two colours the worse counts."""
    found: dict[str, Signal] = {}
    for info in infos:
        signal = _signal(alert, info, latest_ms)
        other = found.get(signal.hazard)
        if other is None or (signal.colour, signal.until_ms) > (other.colour, other.until_ms):
            found[signal.hazard] = signal
    named = {hazard for hazard in found if hazard != OTHER}
    translated = len({info.language.lower() for info in infos}) > 1
    if OTHER in found and named and translated and not found[OTHER].code:
        del found[OTHER]  # the same event in a language whose words are not known here
    return tuple(found.values())


def _signal(alert: Alert, info: Info, latest_ms: int | None) -> Signal:
    code, event = event_of(info.codes, info.event, info.headline)
    begin_ms = max(alert.sent_ms, info.effective_ms or 0)
    end_ms = begin_ms + DEFAULT_LIFE_MS if info.expires_ms is None else info.expires_ms
    life_ms = min(end_ms - begin_ms, LONGEST_LIFE_MS)
    colour = Colour.BLUE if info.colour is None else info.colour  # of unknown severity, and no less official
    return Signal(
        hazard=OTHER if event is None else event.hazard,
        colour=int(colour),
        code=code,
        word_zh=info.event if event is None else event.word.zh,
        word_en="" if event is None else event.word.en,
        until_ms=begin_ms + life_ms if latest_ms is None else min(begin_ms + life_ms, latest_ms),
        life_ms=life_ms,
    )
