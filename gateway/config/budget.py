"""How much of a serial line's time its polling takes, before anything is installed.  Pure.

    one exchange = characters x time of a character + the device's latency
    load         = sum over all devices and intervals of exchanges / interval

A line above 100 % cannot keep its schedule: readings come late, and later ones never.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.base import Budgeted, Driver, SerialFormat
from gateway.model import Text
from gateway.schedule import Job

FULL = 1.0
TIGHT = 0.8
"""Above this nothing is left for repetitions, silent devices and commands."""


@dataclass(frozen=True, slots=True)
class Demand:
    """One device read at one interval."""

    exchanges: int
    characters: float
    latency_s: float
    interval_s: float
    format: SerialFormat | None = None
    """The device's own, where it does not speak the line's."""

    def busy_s(self, format_: SerialFormat) -> float:
        return self.characters * (self.format or format_).character_s + self.exchanges * self.latency_s


def demand(driver: Driver, job: Job, latency_s: float, format_: SerialFormat | None) -> Demand | None:
    """None when the driver cannot say."""
    if not isinstance(driver, Budgeted):
        return None
    batches = driver.batches(job.points)
    return Demand(len(batches), sum(map(driver.characters, batches)), latency_s, job.interval_s, format_)


@dataclass(frozen=True, slots=True)
class Load:
    share: float
    """Of the line's time, 0.0 upward; above 1.0 it is impossible."""
    arithmetic: Text
    """How it comes about, largest part first."""

    @property
    def stretch(self) -> float:
        """By what every interval would have to be multiplied to bring the line down to 80 %."""
        return self.share / TIGHT


_MOST_PARTS = 3


def line_load(demands: Sequence[Demand], format_: SerialFormat) -> Load:
    groups = Counter(demands)
    parts = sorted(
        ((count * each.busy_s(format_) / each.interval_s, count, each) for each, count in groups.items()),
        key=lambda part: -part[0],
    )
    share = sum(part for part, _, _ in parts)
    shown = [_part(part, count, each, format_) for part, count, each in parts[:_MOST_PARTS]]
    rest = sum(part for part, _, _ in parts[_MOST_PARTS:])
    zh, en = [text.zh for text in shown], [text.en for text in shown]
    if rest:
        zh.append(f"其余 {rest:.0%}")
        en.append(f"others {rest:.0%}")
    return Load(share, Text(" + ".join(zh), " + ".join(en)))


def _part(share: float, count: int, each: Demand, format_: SerialFormat) -> Text:
    exchange_s = each.busy_s(format_) / each.exchanges if each.exchanges else 0.0
    return Text(
        f"{count} 台 x {each.exchanges} 次 x {exchange_s:.3f} s / {each.interval_s:g} s = {share:.0%}",
        f"{count} devices x {each.exchanges} exchanges x {exchange_s:.3f} s / {each.interval_s:g} s = {share:.0%}",
    )
