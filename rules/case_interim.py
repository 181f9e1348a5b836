"""To be deleted when ``Engine`` has ``value``."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rules.engine import Engine


@runtime_checkable
class _Valued(Protocol):
    def value(self, text: str) -> float | bool | None: ...


def value(engine: Engine, text: str) -> float | bool | None:
    """What an expression gives at the engine's latest instant; None while unknown."""
    return engine.value(text) if isinstance(engine, _Valued) else None
