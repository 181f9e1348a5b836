"""Who may import whom.  One table; the test reads the source, so it cannot be talked out of it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("gateway", "drivers", "rules")
VOCABULARY = ("gateway.model", "gateway.errors", "gateway.clock")
SELF_CONTAINED = (*VOCABULARY, "gateway.plates")  # standard library only: facts that drivers may share
ALLOWED = {  # module prefix -> prefixes of ours it may import; the longest key wins
    "gateway.model": (),
    "gateway.errors": (),
    "gateway.clock": (),
    "gateway.plates": (),
    "rules": ("gateway.model", "rules"),
    "drivers.base": VOCABULARY,
    "drivers.transport": (*VOCABULARY, "drivers.base"),
    "drivers.device_link": (*VOCABULARY, "drivers.base", "drivers.transport"),
    "drivers.registry": ("drivers",),
    "drivers.summed_frames": (*VOCABULARY, "drivers.base"),
    "drivers.local_time": VOCABULARY,
    "drivers.hub": (*VOCABULARY, "drivers.base"),
    "drivers.http_options": ("drivers.hub",),
    "drivers.http_sender": (),
    "drivers.repetitions": (),
    "drivers.secret_files": VOCABULARY,
    "drivers.http_server": (*VOCABULARY, "drivers.base", "drivers.hub"),
    "drivers.wiegand": (*VOCABULARY, "drivers.base"),
    "drivers.code_tables": VOCABULARY,
    "drivers.mqtt_client": (*VOCABULARY, "drivers.base", "drivers.hub", "drivers.secrets", "drivers.mqtt_client"),
    "drivers.json_mapping": (*VOCABULARY, "drivers.base", "drivers.code_tables", "drivers.json_mapping"),
    # plus the driver's own folder, see below
    "drivers": (
        *VOCABULARY,
        "drivers.base",
        "drivers.transport",
        "drivers.summed_frames",
        "drivers.local_time",
        "drivers.hub",
        "drivers.http_options",
        "drivers.http_sender",
        "drivers.http_server",
        "drivers.repetitions",
        "drivers.secret_files",
        "gateway.plates",
        "drivers.wiegand",
        "drivers.code_tables",
        "drivers.json_mapping",
        "drivers.mqtt_client",
    ),
    # inside gateway/, downward only: each line may use those above it
    "gateway.ids": (),
    "gateway.bucket": (),
    "gateway.spans": (),
    "gateway.notify": (),
    "gateway.logs": (),
    "gateway.terminal": (),
    "gateway.places": VOCABULARY,
    "gateway.consent": (),
    "gateway.messages": VOCABULARY,
    "gateway.envelope": (*VOCABULARY, "gateway.messages"),
    "gateway.notices": (*VOCABULARY, "gateway.ids", "gateway.messages", "rules.output"),
    "gateway.identity": VOCABULARY,
    "gateway.quality": (*VOCABULARY, "gateway.identity"),
    "gateway.schedule": VOCABULARY,
    "gateway.self_watch": VOCABULARY,
    "gateway.line_stats": (),
    "gateway.hearing": VOCABULARY,
    "gateway.pseudonyms": (),
    "gateway.intake": (*VOCABULARY, "drivers.base", "gateway.ids", "gateway.pseudonyms"),
    "gateway.listener": (*VOCABULARY, "drivers.base", "gateway.hearing", "gateway.line_stats", "gateway.quality"),
    "gateway.local_api": VOCABULARY,
    "gateway.config": (
        *VOCABULARY,
        "gateway.actions",
        "gateway.commands",
        "drivers.base",
        "drivers.registry",
        "drivers.transport",
        "rules",
        "gateway.hearing",
        "gateway.consent",
        "gateway.identity",
        "gateway.places",
        "gateway.schedule",
        "gateway.self_watch",
        "gateway.terminal",
        "gateway.vehicles.config",
        "gateway.vehicles.points",
        "gateway.config",
    ),
    "gateway.store": (*VOCABULARY, "gateway.envelope", "gateway.ids", "gateway.store"),
    "gateway.uplink": (
        *VOCABULARY,
        "gateway.bucket",
        "gateway.spans",
        "gateway.messages",
        "gateway.envelope",
        "gateway.ids",
        "gateway.places",
        "gateway.config.models",
        "gateway.uplink",
    ),
    "gateway.meters": (
        *VOCABULARY,
        "gateway.identity",
        "gateway.local_api",
        "gateway.places",
        "gateway.quality",
        "gateway.remote.chain",
        "gateway.store",
        "gateway.meters",
    ),
    "gateway.remote": (
        *VOCABULARY,
        "gateway.bucket",
        "drivers.base",
        "gateway.commands",
        "gateway.config",
        "gateway.envelope",
        "gateway.ids",
        "gateway.pipeline",
        "gateway.remote",
        "gateway.store",
        "gateway.uplink.dialect",
        "rules.engine",
    ),
    "gateway.supervisor": (
        *VOCABULARY,
        "drivers.base",
        "drivers.device_link",
        "gateway.hearing",
        "gateway.line_stats",
        "gateway.listener",
        "gateway.schedule",
        "gateway.quality",
    ),
    "gateway.field": (
        *VOCABULARY,
        "drivers.base",
        "drivers.device_link",
        "drivers.transport",
        "gateway.config.load",
        "gateway.config.plan",
        "gateway.envelope",
        "gateway.quality",
    ),
    "gateway.commission": (
        *VOCABULARY,
        "drivers.base",
        "drivers.registry",
        "drivers.transport",
        "gateway.local_api",
        "gateway.config",
        "gateway.commission",
    ),
    "gateway.pipeline": (*VOCABULARY, "rules", "gateway.envelope", "gateway.ids", "gateway.notices"),
    "gateway.timekeeper": (*VOCABULARY, "gateway.ids", "gateway.pipeline", "gateway.store"),
    "gateway.commands": (*VOCABULARY, "drivers.base", "gateway.ids"),
    "gateway.past": (*VOCABULARY, "gateway.store", "rules.engine"),
    "gateway.actions": VOCABULARY,
    "gateway.actuators": (
        *VOCABULARY,
        "gateway.actions",
        "gateway.commands",
        "gateway.ids",
        "rules.effects",
        "rules.output",
    ),
    "gateway.risk_watch": (*VOCABULARY, "rules.alarm", "rules.risk", "gateway.ids", "gateway.local_api"),
    "gateway.vehicles": (*VOCABULARY, "gateway.plates", "gateway.vehicles"),
    "gateway.vehicles.watch": (*VOCABULARY, "drivers.base", "gateway.ids", "gateway.plates", "gateway.vehicles"),
    "gateway.vehicles.service": (*VOCABULARY, "drivers.base", "gateway.vehicles"),
    "gateway.vehicles.load": (*VOCABULARY, "gateway.config", "gateway.vehicles"),
    "gateway.consent_watch": (
        *VOCABULARY,
        "gateway.config.load",
        "gateway.consent",
        "gateway.ids",
        "gateway.remote.chain",
    ),
    "gateway.tap": (*VOCABULARY, "drivers.transport"),
    "gateway.answers": (
        *VOCABULARY,
        "drivers.base",
        "drivers.transport",
        "gateway.commands",
        "gateway.config.load",
        "gateway.envelope",
        "gateway.field",
        "gateway.health",
        "gateway.ids",
        "gateway.local_api",
        "gateway.messages",
        "gateway.pipeline",
        "gateway.remote.chain",
        "gateway.remote.trail",
        "gateway.supervisor",
        "gateway.tap",
        "rules.engine",
        "rules.runner",
    ),
    "gateway.health": (
        *VOCABULARY,
        "rules",
        "gateway.envelope",
        "gateway.line_stats",
        "gateway.messages",
        "gateway.pipeline",
        "gateway.store.log",
        "gateway.supervisor",
        "gateway.timekeeper",
        "gateway.uplink.mqtt",
    ),
    "gateway.web": (  # talks to the daemon over its socket only
        *VOCABULARY,
        "gateway.config.faults",
        "gateway.config.load",
        "gateway.envelope",
        "gateway.local_api",
        "gateway.places",
        "gateway.web",
    ),
    "gateway.sim": OURS,  # the virtual compound stands outside the product and may look at all of it
    "gateway.cli": OURS,
    "gateway.registers": (*VOCABULARY, "gateway.pipeline", "gateway.supervisor"),
    "gateway.assembly": OURS,  # makes the parts; only the composition root uses it
    "gateway.app": OURS,  # the composition root knows everything; nothing but the CLI knows it
}
UPPERMOST = ("gateway.app", "gateway.assembly", "gateway.cli", "gateway.sim")
PURE = ("rules",)
FORBIDDEN_IN_PURE = {
    "asyncio",
    "time",
    "socket",
    "sqlite3",
    "threading",
    "subprocess",
    "yaml",
    "pydantic",
    "os",
    "random",
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any((name + ".").startswith(prefix + ".") for prefix in prefixes)


def key_of(module: str) -> str | None:
    return max((key for key in ALLOWED if within(module, (key,))), key=len, default=None)


MODULES = [(name, file) for name, file in modules() if name not in OURS]


@pytest.mark.parametrize(("module", "file"), MODULES, ids=[name for name, _ in MODULES])
def test_imports(module: str, file: Path) -> None:
    key = key_of(module)
    assert key is not None, f"{module} has no line in the table: where does it belong?"
    allowed = ALLOWED[key]
    if key == "drivers":
        allowed = (*allowed, ".".join(module.split(".")[:2]))
    for name in imports(file):
        top = name.split(".")[0]
        if top in OURS and name != top:
            assert within(name, allowed), f"{module} may not import {name}"
            assert key in UPPERMOST or not within(name, UPPERMOST), f"{module} may not look upward at {name}"
        elif key in SELF_CONTAINED or key in PURE:
            assert top in sys.stdlib_module_names, f"{module} may use only the standard library, not {name}"
        if key in PURE:
            assert top not in FORBIDDEN_IN_PURE, f"{module} must stay pure: it imports {name}"


def test_no_import_cycle() -> None:
    names = {name for name, _ in modules()}
    graph = {
        name: {found for wanted in imports(file) for found in (wanted, wanted.rpartition(".")[0]) if found in names}
        for name, file in modules()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
        if name in done:
            return
        for other in graph[name] - {name} - set(OURS):
            visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())
    assert done == set(graph)


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Catches bugs too, and does not hand them on (cleaning up and raising again is fine)."""
    broad = handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    )
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def test_exactly_one_broad_except() -> None:
    """Around a driver, in the supervisor; everywhere else a bug must end the process."""
    found = [
        name
        for name, file in modules()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]
    assert found == ["gateway.supervisor"]
