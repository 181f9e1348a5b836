"""The README says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from gateway.config.models import UplinkModel
from gateway.uplink import privacy
from gateway.uplink.dialects import common, iotda, thingsboard

README = (Path(privacy.__file__).parent / "dialects" / "README.md").read_text("utf-8")


def test_every_example_of_a_configuration_is_one() -> None:
    uplinks = [
        UplinkModel(**each)
        for block in re.findall(r"```yaml\n(.*?)```", README, re.S)
        for each in yaml.safe_load(block)
    ]
    assert {"thingsboard", "home_assistant", "iotda"} <= {uplink.dialect for uplink in uplinks}
    (huawei,) = (uplink for uplink in uplinks if uplink.dialect == "iotda")
    assert huawei.keepalive >= 30
    assert huawei.replay_rate <= 20


def test_limits_and_names_are_those_of_the_code() -> None:
    assert f"{thingsboard.LIMIT_BYTES:,} B" in README
    assert f"{iotda.LIMIT_BYTES // 1024} KiB, {iotda.MOST_DEVICES} devices" in README
    assert f"`{common.CUT}: true`" in README
    assert "`unknown`" in README
    for attribute in privacy.PERSONAL_ATTRIBUTES:
        assert f"`{attribute}`" in README
    for word, code in iotda._RESULT_CODES.items():
        assert f"{code} {word}" in README
