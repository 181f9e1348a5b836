"""docs/reports.md names every note of a report and every option of the command."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.cli.report import meters_command
from gateway.meters import account, closing

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "reports.md").read_text("utf-8")


def test_every_note_is_explained() -> None:
    source = Path(account.__file__).read_text("utf-8")
    codes = set(re.findall(r'(?:Note\(|\()"([a-z_]+)", ', source)) - set(account.SUPPLIES)
    codes |= {closing.ROLLED_OVER, closing.REPLACED, closing.DEVICE_REPLACED}
    assert len(codes) == 12
    assert codes <= set(re.findall(r"`([a-z_]+)`", DOC))


def test_every_option_is_named() -> None:
    options = {option for each in meters_command.params for option in each.opts} - {"--config", "--lang"}
    assert len(options) == 9
    assert {option for option in options if option not in DOC} == set()
