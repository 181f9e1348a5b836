"""Results as tables for README.md: medians, and ours to theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.peer.scenarios import Result

Results = Mapping[str, Sequence[Result]]
"""Product -> its rounds."""
UNITS = {
    "values_per_s": "values/s",
    "cpu_ms_per_1000": "ms CPU per 1000 values",
    "rss_mib": "MiB",
    "first_values_s": "s from start to a value of every device",
    "lost": "values lost",
    "repeated": "values repeated",
    "read_meanwhile": "values read meanwhile",
    "first_value_s": "s to the first value",
    "read_before_first": "values read before the first kill",
    "lost_first": "of them lost",
    "read_before_second": "values read before the second kill",
    "lost_second": "of these lost",
    "lost_before": "of all lost, read 2 s or more before the fault",
    "most_per_s": "values/s, the most at any load",
    "failed": "rounds without a result",
}

COMPARED = frozenset({"values_per_s", "most_per_s", "cpu_ms_per_1000", "rss_mib"})


def line(product: str, result: Result) -> str:
    return f"{product:<28}" + ", ".join(f"{number(value)} {UNITS[key]}" for key, value in result.items())


def tables(results: Mapping[str, Results]) -> str:
    return "\n\n".join(_table(name, rounds) for name, rounds in results.items())


def _table(name: str, rounds: Results) -> str:
    products = list(rounds)
    ours, theirs = products[:2]
    keys = dict.fromkeys(key for results in rounds.values() for result in results for key in result)
    count = len(rounds[ours])
    head = [f"{name}{f', median of {count}' if count > 1 else ''}", *products, f"{ours} / {theirs}"]
    rows = [
        [UNITS[key], *(_cell(rounds[product], key) for product in products), _ratio(rounds[ours], rounds[theirs], key)]
        for key in keys
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _ratio(ours: Sequence[Result], theirs: Sequence[Result], key: str) -> str:
    """Median over the rounds, whose products stood beside each other."""
    if key not in COMPARED:
        return ""
    pairs = [(mine[key], other[key]) for mine, other in zip(ours, theirs, strict=True) if key in mine and key in other]
    return f"{median(mine / other for mine, other in pairs):.2f}" if pairs else ""


def _cell(results: Sequence[Result], key: str) -> str:
    """The median, and between which values it lies when they differ by more than a tenth."""
    found = sorted(result[key] for result in results if key in result)
    if not found:
        return "–"
    middle = median(found)
    apart = found[-1] - found[0] > 0.1 * abs(middle)
    return number(middle) + (f" ({number(found[0])} to {number(found[-1])})" if apart else "")


def number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.1f}"
