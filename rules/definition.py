"""A rule file becomes rules that can run.

plain data ──▶ reader.py (keys, texts, durations) ──▶ Draft ──▶ binder.py (names, units; one program per kind of device)
                                                                   └──▶ RuleSet: rule.py's Rule, one Watch per device
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.model import Device
from rules.binder import Binder, Registry
from rules.faults import RuleFault, did_you_mean
from rules.plain import Reader
from rules.reader import Draft, read_file
from rules.rule import Actions, RuleSet
from rules.syntax import Name, calls


def read_rules(
    data: object, devices: Sequence[Device] | None, actions: Actions | None = None
) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    """All rules of *data* (one file, or several whose ``rules`` lists were joined), and all faults and warnings.

    devices: None when they are not known; then only what needs no devices is checked and nothing is watched.
    actions: what can be sent; None when that is not known, and then it is not checked.
    The rule set holds the rules without faults; whether to use it when there are faults is the caller's decision.
    """
    faults: list[RuleFault] = []
    reader = Reader(faults)
    file = read_file(reader, data)
    registry = None if devices is None else Registry(devices, actions)
    faults += [*cycles(file.rules), *strangers(file.rules)]
    bound = [(draft, Binder(draft, registry, faults).bind()) for draft in file.rules]
    wrong = {fault.path[:2] for fault in faults if fault.is_error}
    sound = [(draft.rule, watches) for draft, watches in bound if draft.path not in wrong]
    rules = tuple(rule for rule, _ in sound)
    watches = tuple(watch for _, watches in sound for watch in watches)
    jobs = tuple(job for path, job in file.jobs if path not in wrong)
    return RuleSet(rules, watches, file.site, jobs), tuple(map(reader.as_written, faults))


def cycles(drafts: Sequence[Draft]) -> Iterator[RuleFault]:
    """Rules that wait for each other's alarms: nobody could say which of them is on."""
    asks = {draft.rule.id: _asked(draft) for draft in drafts}
    for draft in drafts:
        chain = _way_back(draft.rule.id, asks)
        if chain:
            shown = " → ".join(chain)
            zh, en = f"规则互相等待：{shown}", f"rules wait for each other: {shown}"
            key = "suppress_when" if draft.suppress_when is not None else "when"
            yield RuleFault("E-CYCLE", (*draft.path, key), None, 1, True, zh, en)


def strangers(drafts: Sequence[Draft]) -> Iterator[RuleFault]:
    """An alarm that no rule makes is never on; it may be in a file that is not looked at here."""
    known = {draft.rule.id for draft in drafts}
    for draft in drafts:
        for asked in sorted(_asked(draft) - known):
            zh, en = (
                f'没有规则 "{asked}"，alarm({asked}) 永不成立',
                f'no rule "{asked}" here: alarm({asked}) is never true',
            )
            at = next(
                (key for key in ("when", "clear_when", "suppress_when") if asked in draft.rule.written.get(key, "")),
                "id",
            )
            yield RuleFault("W-NOMATCH", (*draft.path, at), None, 1, True, zh, en, *did_you_mean(asked, known))


def _asked(draft: Draft) -> set[str]:
    trees = [draft.when, draft.clear_when, draft.suppress_when, *(c.when for v in draft.values for c in v.cases)]
    return {
        call.arguments[0].text
        for tree in trees
        if tree is not None
        for call in calls(tree)
        if call.function in ("alarm", "报警") and len(call.arguments) == 1 and isinstance(call.arguments[0], Name)
    }


def _way_back(start: str, asks: dict[str, set[str]]) -> list[str]:
    """From *start* over what it asks for back to itself; empty when there is no such way."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for asked in sorted(asks.get(way[-1], ())):
            if asked == start:
                return [*way, start]
            if asked not in seen:
                seen.add(asked)
                ways.append([*way, asked])
    return []
