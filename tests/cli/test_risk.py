"""gateway risk, as it is typed: what it would be, and what the running daemon says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway import local_api
from gateway.cli.main import main
from gateway.config.load import load
from gateway.risk_watch import RiskWatch, model_of
from support.clock import ManualClock
from tests.gateway.test_risk_watch import Kept

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "jiayuan"


def risk(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["risk", *words, "--config", str(directory)])


def test_what_if() -> None:
    result = risk(
        EXAMPLE,
        "--what-if",
        "pumps-2.level=105",
        "pumps-1.high_water=true",
        "gas-boiler.concentration=",
        "--lang",
        "en",
    )
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "community risk: orange; 4 blind"
    assert "  flooding: orange" in lines
    assert "  because Sump water level pumps-2.level = 105 cm (orange); without it: yellow" in lines
    assert "  because High water float switch pumps-1.high_water = yes (yellow); without it: orange" in lines
    assert "  blind: gas-kitchen.concentration (gas), never heard" in lines
    assert "  would raise it: gas_detector.concentration ≥ 10 %LEL → red" in lines
    chinese = risk(EXAMPLE, "--what-if", "pumps-2.level=105", "--lang", "zh").output
    assert "  依据 集水坑水位 pumps-2.level = 105 cm（橙色）；若无此项：无" in chinese


def test_what_if_for_programs() -> None:
    found = json.loads(risk(EXAMPLE, "--what-if", "pumps-2.level=131", "--json").stdout)
    assert (found["level"], found["drivers"][0]["point"], found["drivers"][0]["without"]) == (
        "red",
        "pumps-2.level",
        "none",
    )
    assert {each["hazard"]: each["level"] for each in found["hazards"]} == {"flood": "red", "gas": "none"}
    assert found["would_raise"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pumps-2.level"], "must be POINT=VALUE"),
        (["pumps-2.levl=3"], 'does not read point "pumps-2.levl"; did you mean "pumps-2.level"?'),
        (["pumps-2.level=deep"], "is a number"),
        (["pumps-2.high_water=7"], "must be true or false"),
    ],
)
def test_wrong_assumptions(words: list[str], said: str) -> None:
    result = risk(EXAMPLE, "--what-if", *words, "--lang", "en")
    assert result.exit_code == 2
    assert said in result.output


def test_values_are_for_what_if_only() -> None:
    result = risk(EXAMPLE, "pumps-2.level=3", "--lang", "en")
    assert (result.exit_code, result.output) == (2, "values of points need --what-if\n")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    text = (EXAMPLE / "site.yaml").read_text(encoding="utf-8").replace("path: /var/lib/gateway ", "path: store ")
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "store").mkdir()
    return tmp_path


def test_without_a_daemon_or_a_section(site: Path) -> None:
    result = risk(site, "--lang", "en")
    assert result.exit_code == 1
    assert "the daemon is not running" in result.output
    text = (site / "site.yaml").read_text(encoding="utf-8")
    (site / "site.yaml").write_text(text[: text.index("\nrisk:")], encoding="utf-8")
    result = risk(site, "--lang", "en")
    assert result.exit_code == 1
    assert "has no section risk" in result.output


def test_what_the_daemon_says(site: Path) -> None:
    config = load(site)
    assert config.risk is not None
    clock = ManualClock()
    watch = RiskWatch(config.device("community"), model_of(config.risk, {}, clock), Kept(), clock)

    async def main() -> Result:
        async with local_api.serve(config.store.path, watch.handlers()):
            return await asyncio.to_thread(risk, site, "--lang", "en")

    result = asyncio.run(main())
    assert result.exit_code == 0
    assert result.output.startswith("community risk: none; 6 blind\n  flooding: none\n")
