"""The example in docs/risk.md is one, and the README's promises are kept."""

from __future__ import annotations

from pathlib import Path

from gateway.config.explain import parse
from gateway.config.faults import Report
from gateway.config.models import RiskModel
from gateway.config.risk import community, read_risk
from gateway.config.yaml12 import load_yaml
from rules.casefile import read_plant
from rules.plain import Reader
from rules.risk.definition import Level
from rules.risk.explain import what_if
from tests.rules.test_risk import DATA

DOC = Path(__file__).parents[2] / "docs" / "risk.md"


def test_the_example_is_right() -> None:
    text = DOC.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    document, report, devices = load_yaml(text, "risk.md"), Report(), read_plant(Reader([]), DATA).devices()
    section = parse(RiskModel, document.data["risk"])
    definition = read_risk(document, section, devices, {each.id for each in devices}, report)
    assert report.faults == []
    assert (section.hold, section.raise_when, section.raise_from) == (7200.0, 2, "yellow"), "the defaults"
    assert [point.name for point in community(definition).points] == [
        "risk",
        "risk_flood",
        "risk_wind",
        "risk_fire",
        "risk_gas",
        "risk_blind",
    ]
    assert what_if(definition, {"weather.rainstorm": "orange"}).level is Level.RED, "it lies low"
    assert what_if(definition, {"mast.gust": 21.0}).level is Level.YELLOW
