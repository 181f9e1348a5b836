"""What every command shares: the three common options, two languages, and output for people or for programs."""

from __future__ import annotations

import functools
import json
import locale
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from rules import units

FINE, FOUND_WRONG, USAGE, CONFIG_INVALID = 0, 1, 2, 78
"""Exit codes (docs: the contract's table of commands)."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shell:
    """How this call of a command speaks: language, and whether to a person or to a program."""

    config: Path
    json: bool
    lang: str

    def t(self, zh: str, en: str) -> str:
        """The text in the caller's language."""
        return zh if self.lang == "zh" else en

    def say(self, zh: str, en: str) -> None:
        """A line for people on stdout; with --json stdout belongs to the document, so nothing."""
        if not self.json:
            print(self.t(zh, en))

    def complain(self, zh: str, en: str) -> None:
        """A line for people on stderr, always."""
        print(self.t(zh, en), file=sys.stderr)

    def document(self, value: object) -> None:
        """One JSON document (or one line of a stream) on stdout."""
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def stop(self, code: int) -> NoReturn:
        sys.exit(code)


def command_options(function: F) -> F:
    """Adds --config, --json and --lang, and passes them as one ``shell: Shell`` argument."""

    @click.option("--config", type=click.Path(path_type=Path), default=None, help="配置目录 / configuration directory")
    @click.option("--json", "as_json", is_flag=True, help="输出 JSON / machine-readable output")
    @click.option("--lang", type=click.Choice(["zh", "en"]), default=None, help="语言 / language")
    @functools.wraps(function)
    def wrapper(*args: Any, config: Path | None, as_json: bool, lang: str | None, **kwargs: Any) -> Any:
        directory = config or Path(os.environ.get("GATEWAY_CONFIG") or "/etc/gateway")
        shell = Shell(directory, as_json, lang or language_of_the_user())
        return function(*args, shell=shell, **kwargs)

    return wrapper  # type: ignore[return-value]


def language_of_the_user() -> str:
    spoken = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.normalize(spoken).startswith("zh") else "en"


def unit_symbol(code: str | None) -> str | None:
    """A UCUM code as people write the unit: ``kW.h`` -> ``kWh``; the code itself where there is no other word."""
    unit = units.of_point(code)
    return unit.symbol if code is not None and unit is not None and unit.symbol else code
