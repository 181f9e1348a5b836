"""What each billing counter rose by between two moments, how far that may be believed, and the sums.  Pure.

closings, changes ──▶ Row (one a counter) ──▶ Section (one a place) with sums per kind of supply

Values are added as decimal numbers: 0.1 + 0.2 kWh is 0.3 kWh on a bill.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.meters.closing import DEVICE_REPLACED, ROLLED_OVER, Batch, Change, Closing, Mark, is_billed
from gateway.model import Device, Place, Point, PointId, Text
from gateway.places import Places, grouped

FAR_S = 3600.0
"""A reading further from the boundary than this and than two intervals of its point is worth a note."""
SAME_CHANGE_S = 900.0
"""Two reports of one change of a register are no further apart."""

NEAR_MS = 2 * 86_400_000
"""So near to its ends a report looks for another reading, where the closing itself is damaged."""

SUPPLIES: Mapping[str, Text] = {
    "electricity": Text("电", "electricity"),
    "water": Text("水", "water"),
    "gas": Text("燃气", "gas"),
    "heat": Text("热", "heat"),
    "other": Text("其他", "other"),
}
_BY_KIND = {"water_meter": "water", "gas_meter": "gas", "heat_meter": "heat", "power_meter": "electricity"}
_ENERGY = frozenset({"W.h", "kW.h", "MW.h", "J", "kJ", "MJ", "GJ"})


@dataclass(frozen=True, slots=True)
class Note:
    """*code*: for programs.  *number*: how often, or how many seconds."""

    code: str
    text: Text
    number: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    device: Device
    point: Point
    supply: str
    counted: bool
    """Whether it is the counter of its device that the sums are made of: tariffs and reverse registers are not."""
    start: Mark | None
    end: Mark | None
    consumption: float | None
    """None where nobody can say."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    supply: str
    unit: str | None
    total: float
    meters: int
    unknown: int
    """Of these, how many are not in the total because nobody can say."""


@dataclass(frozen=True, slots=True)
class Section:
    place: Place
    name: Text
    rows: Sequence[Row]
    sums: Sequence[Sum]


@dataclass(frozen=True, slots=True)
class Period:
    """From one moment (included) to another, UTC milliseconds."""

    from_ms: int
    to_ms: int
    now_ms: int

    @property
    def running(self) -> bool:
        """Not over yet."""
        return self.now_ms < self.to_ms


def supply_of(device: Device, point: Point) -> str:
    known = _BY_KIND.get(device.kind)
    if known is not None:
        return known
    return "electricity" if point.unit in _ENERGY else "other"


def rows_of(devices: Iterable[Device], found: Batch, latest: Mapping[PointId, Mark], period: Period) -> list[Row]:
    """One for each billing counter, in the order of the devices and of their points."""
    closings: dict[PointId, list[Closing]] = defaultdict(list)
    for closing in found.closings:
        closings[closing.point].append(closing)
    changes: dict[PointId, list[Change]] = defaultdict(list)
    for change in found.changes:
        changes[change.point].append(change)
    rows = []
    for device in devices:
        main = next((point for point in device.points if is_billed(point)), None)
        for point in device.points:
            if is_billed(point):
                about = _known(point.id, closings[point.id], latest.get(point.id))
                said = _once(changes[point.id])
                rows.append(_row(device, point, point is main, about, said, period))
    return rows


def boundaries(devices: Iterable[Device], found: Batch, period: Period) -> Mapping[int, frozenset[PointId]]:
    """The boundaries at which no closing of some counters is on record: the store may still know."""
    wanted = {point.id for device in devices for point in device.points if is_billed(point)}
    missing = {}
    for instant_ms in (period.from_ms, period.to_ms):
        there = {each.point for each in found.closings if not each.provisional and each.brackets(instant_ms)}
        if instant_ms <= period.now_ms and wanted - there:
            missing[instant_ms] = frozenset(wanted - there)
    return missing


def wanted_for(devices: Iterable[Device], period: Period) -> Callable[[Closing], bool]:
    """Which closings a report needs: those about its ends and near them, and those that tell of doubts between."""
    points = {point.id for device in devices for point in device.points if is_billed(point)}
    ends = period.from_ms, period.to_ms

    def wanted(closing: Closing) -> bool:
        if closing.point not in points:
            return False
        if closing.uncertain or closing.bad or closing.hole_s or closing.before is None:
            return closing.after.time_ms > period.from_ms - NEAR_MS
        return any(closing.brackets(end) or abs(closing.after.time_ms - end) <= NEAR_MS for end in ends)

    return wanted


def sections_of(rows: Sequence[Row], by: str, places: Places) -> list[Section]:
    """*by*: a level of places, or ``device``: then each device is a section of its own."""
    if by == "device":
        groups: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            groups[row.device.id].append(row)
        return [Section(some[0].device.place, _called(some[0].device), some, sums_of(some)) for some in groups.values()]
    return [
        Section(place, places.text(place, by), some, sums_of(some))
        for place, some in grouped(rows, by, lambda row: row.device.place)
    ]


def sums_of(rows: Iterable[Row]) -> list[Sum]:
    by_supply: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        if row.counted:
            by_supply[row.supply, row.point.unit].append(row)
    order = list(SUPPLIES)
    return [
        _sum(supply, unit, by_supply[supply, unit])
        for supply, unit in sorted(by_supply, key=lambda key: (order.index(key[0]), key[1] or ""))
    ]


def _sum(supply: str, unit: str | None, rows: Sequence[Row]) -> Sum:
    known = [row.consumption for row in rows if row.consumption is not None]
    return Sum(supply, unit, float(sum(map(_decimal, known), Decimal(0))), len(rows), len(rows) - len(known))


def _called(device: Device) -> Text:
    return Text(f"{device.label.zh}（{device.id}）", f"{device.label.en} ({device.id})")


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


# ---------------------------------------------------------------------- one counter


def _known(point: PointId, closings: Sequence[Closing], latest: Mark | None) -> Sequence[Closing]:
    """The latest reading closes, too, what nothing else has closed."""
    return closings if latest is None else [*closings, Closing(point, None, latest)]


def _once(changes: Sequence[Change]) -> list[Change]:
    """Without those that the journal and the store both tell, in order."""
    kept: list[Change] = []
    for change in sorted(changes, key=lambda each: each.time_ms):
        twice = any(
            (each.before, each.after) == (change.before, change.after)
            and change.time_ms - each.time_ms <= SAME_CHANGE_S * 1000
            for each in kept
        )
        if not twice:
            kept.append(change)
    return kept


def _row(
    device: Device, point: Point, counted: bool, closings: Sequence[Closing], changes: Sequence[Change], period: Period
) -> Row:
    start, unsure = _at(closings, period.from_ms)
    end, unsure_too = _at(closings, min(period.to_ms, period.now_ms))
    within = [] if start is None or end is None else [c for c in changes if start.time_ms < c.time_ms <= end.time_ms]
    consumption = _consumption(start, end, within, point)
    notes = [
        *_ends(start, end, point, period),
        *_changed(within),
        *_doubts([e for e in closings if e.before and period.from_ms <= e.before.time_ms < period.to_ms]),
    ]
    if consumption is None and start is not None and end is not None and start.time_ms < end.time_ms:
        notes.append(Note("backwards", Text("读数倒退且无换表记录", "it went back, and no replacement is on record")))
    if unsure or unsure_too:
        notes.append(Note("clock", Text("时钟不可信时的读数", "read while the clock was not to be trusted")))
    return Row(device, point, supply_of(device, point), counted, start, end, consumption, tuple(notes))


def _at(closings: Sequence[Closing], instant_ms: int) -> tuple[Mark | None, bool]:
    """The reading nearest to the moment, of the tightest bracket; and whether its time is not to be trusted.

    Both periods that meet at the moment get the same one, so nothing is billed twice or not at all.
    """
    around = [each for each in closings if each.brackets(instant_ms)]
    if around:
        tightest = min(around, key=lambda each: (each.provisional, each.span_ms))
        return _nearer(tightest, instant_ms), tightest.provisional
    # it is new, has never been read since, or the journal has a hole
    sure = [each for each in closings if not each.provisional] or closings
    marks = [mark for each in sure for mark in (each.before, each.after) if mark is not None]
    nearest = min(marks, key=lambda mark: abs(mark.time_ms - instant_ms), default=None)
    return nearest, nearest is not None and sure[0].provisional


def _nearer(closing: Closing, instant_ms: int) -> Mark:
    before, after = closing.before, closing.after
    if before is None or after.time_ms - instant_ms < instant_ms - before.time_ms:
        return after
    return before


def _consumption(start: Mark | None, end: Mark | None, changes: Sequence[Change], point: Point) -> float | None:
    if start is None or end is None or end.time_ms <= start.time_ms:
        return None
    total, value = Decimal(0), _decimal(start.value)
    for change in changes:
        risen = _decimal(change.before) - value
        if change.kind == ROLLED_OVER:
            risen += _decimal(point.maximum or change.before) - _decimal(change.before) + _decimal(change.after)
        if risen < 0:
            return None
        total, value = total + risen, _decimal(change.after)
    last = _decimal(end.value) - value
    return None if last < 0 else float(total + last)


# ---------------------------------------------------------------------- notes


def _ends(start: Mark | None, end: Mark | None, point: Point, period: Period) -> Iterable[Note]:
    if start is None or end is None:
        yield Note("no_reading", Text("没有读数", "no reading"))
        return
    if end.time_ms <= start.time_ms:
        yield Note("no_reading", Text("期间没有读数", "no reading in this time"))
    far_s = max(FAR_S, 2 * point.interval_s)
    ends: tuple[tuple[str, Text, Mark, int], ...] = (
        ("start_far", Text("起始读数", "start reading"), start, period.from_ms),
        ("end_far", Text("结束读数", "end reading"), end, min(period.to_ms, period.now_ms)),
    )
    for code, words, mark, instant_ms in ends:
        off_s = (mark.time_ms - instant_ms) / 1000
        if abs(off_s) > far_s:
            hours = f"{abs(off_s) / 3600:.1f}"
            side = Text("晚", "late") if off_s > 0 else Text("早", "early")
            yield Note(code, Text(f"{words.zh}{side.zh} {hours} h", f"{words.en} {hours} h {side.en}"), off_s)
    if period.running:
        yield Note("running", Text("期间未结束", "this time is not over yet"))


def _changed(changes: Sequence[Change]) -> Iterable[Note]:
    words = {
        ROLLED_OVER: Text("计数器翻转", "register rolled over"),
        DEVICE_REPLACED: Text("换表", "meter replaced"),
    }
    for change in changes:
        text = words.get(change.kind, Text("换表或清零", "register replaced or set anew"))
        shown = f"{change.before:g} → {change.after:g}"
        yield Note(change.kind, Text(f"{text.zh} {shown}", f"{text.en} {shown}"))


def _doubts(closings: Sequence[Closing]) -> Iterable[Note]:
    counted: tuple[tuple[str, Callable[[str], Text], int], ...] = (
        ("uncertain", lambda n: Text(f"存疑读数 {n} 次", f"{n} doubtful readings"), sum(e.uncertain for e in closings)),
        ("bad", lambda n: Text(f"读不到 {n} 次", f"not read {n} times"), sum(e.bad for e in closings)),
    )
    for code, words, number in counted:
        if number:
            yield Note(code, words(str(number)), number)
    hole_s = max((each.hole_s for each in closings), default=0)
    if hole_s:
        hours = f"{hole_s / 3600:.1f}"
        yield Note("hole", Text(f"最长 {hours} h 无读数", f"no reading for {hours} h at the longest"), hole_s)
