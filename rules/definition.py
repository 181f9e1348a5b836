"""A rule file becomes rules that can run.

plain data ──▶ reader.py (keys, texts, durations) ──▶ Draft ──▶ binder.py (names, units; one program per kind of device)
                                                                   └──▶ RuleSet: rule.py's Rule, one Watch per device
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import Device
from rules.binder import Binder, Registry
from rules.faults import RuleFault
from rules.plain import Reader
from rules.reader import read_file
from rules.rule import Actions, RuleSet


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
    bound = [(draft, Binder(draft, registry, faults).bind()) for draft in file.rules]
    wrong = {fault.path[:2] for fault in faults if fault.is_error}
    sound = [(draft.rule, watches) for draft, watches in bound if draft.path not in wrong]
    rules = tuple(rule for rule, _ in sound)
    watches = tuple(watch for _, watches in sound for watch in watches)
    jobs = tuple(job for path, job in file.jobs if path not in wrong)
    return RuleSet(rules, watches, file.site, jobs), tuple(map(reader.as_written, faults))
