"""gateway decode for access control, and what listening takes for frames."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drivers.registry import PackagesMissing, decoder, decoders, hub_protocols, line_decoders, protocols
from gateway.cli.common import USAGE
from gateway.cli.decode import command

VECTORS = {
    each["id"]: each
    for each in json.loads((Path(__file__).parents[1] / "vectors" / "access.json").read_text(encoding="utf-8"))[
        "vectors"
    ]
}


def decode(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def fields(document: dict[str, Any]) -> dict[str, Any]:
    return {item["id"]: item["value"] for item in document["frames"][0]["items"]}


def test_a_push_is_explained() -> None:
    found = fields(decode("uhppote", "--hex", VECTORS["uhppote-listen-0"]["hex"]))
    assert (found["event_index"], found["event_card"], found["what"]) == (75312, 10058400, "access.denied no_privilege")


def test_a_poll_is_explained() -> None:
    document = decode("osdp", "--hex", VECTORS["osdp-poll"]["hex"])
    assert (document["frames"][0]["address"], fields(document)["what"]) == ("101", "poll")


def test_bits_are_explained_however_they_come(tmp_path: Path) -> None:
    bits = VECTORS["w26-90-324"]["input"]
    file = tmp_path / "bits"
    file.write_text(bits + "\n", encoding="ascii")
    odd = tmp_path / "odd"
    odd.write_text(f"0{0:035b}1\n", encoding="ascii")
    for document in (decode("wiegand", "--hex", bits), decode("wiegand", str(file))):
        assert (fields(document)["facility"], fields(document)["card"]) == (90, 324)
    assert fields(decode("wiegand", str(odd)))["bits"] == "37"


def test_what_is_heard_on_a_line_is_taken_for_protocols_of_lines_only() -> None:
    """A short frame of M-Bus has five bytes, like a tag; and a box without the libraries of hubs still listens."""
    assert set(line_decoders()) == set(decoders()) & set(protocols()) - set(hub_protocols())
    assert "osdp" in line_decoders()
    assert not {"wiegand", "uhppote"} & set(line_decoders())


def test_a_decoder_whose_packages_are_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uhppoted", None)
    for module in [name for name in sys.modules if name.startswith("drivers.uhppote")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(PackagesMissing, match="uhppoted"):
        decoder("uhppote")
    result = CliRunner().invoke(command, ["uhppote", "--hex", "00"])
    assert result.exit_code == USAGE
    assert "compound-gateway[field]" in result.output
