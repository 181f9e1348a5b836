"""What may be written in a line, a device entry and a profile, and what is said when it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from drivers.gb26875.config import Gb26875HubOptions, Gb26875Options, Gb26875PointOptions
from drivers.gb26875.panel import Panel
from drivers.gb26875.records import DeviceState, SystemState
from drivers.registry import decoder, protocol
from drivers_gb26875.plant import shipped_points

WRONG: list[tuple[type[BaseModel], dict[str, Any], str]] = [
    (Gb26875HubOptions, {}, "listen"),
    (Gb26875HubOptions, {"listen": "26875"}, "host:port"),
    (Gb26875HubOptions, {"listen": "0.0.0.0:26875", "port": 1}, "port"),
    (Gb26875Options, {"source": "B2239660400"}, "six bytes"),
    (Gb26875Options, {"source": "B2239660400G"}, "six bytes"),
    (Gb26875Options, {"source": "B22396604001", "peer": "panel.local"}, "IP address"),
    (Gb26875Options, {"source": "B22396604001", "system_type": 1}, "go together"),
    (Gb26875Options, {"source": "B22396604001", "ask": True}, "ask needs"),
    (Gb26875Options, {"source": "B22396604001", "component_like": [2]}, "greater than"),
    (Gb26875PointOptions, {}, "give field"),
    (Gb26875PointOptions, {"field": "smoke"}, "fire"),
    (Gb26875PointOptions, {"field": "fire", "component": "1-2", "analog": 3}, "give field"),
    (Gb26875PointOptions, {"component": "1-2"}, "give field"),
    (Gb26875PointOptions, {"component": "1.2", "analog": 3}, "loop-number"),
    (Gb26875PointOptions, {"component": "1-70000", "analog": 3}, "loop-number"),
    (Gb26875PointOptions, {"field": "fire", "scale": 2}, "analog values"),
]


def test_what_is_wrong_is_said() -> None:
    ran = 0
    for model, said, words in WRONG:
        with pytest.raises(ValidationError, match=words):
            model.model_validate(said)
        ran += 1
    assert ran == 16


def test_addresses_may_be_written_as_people_do() -> None:
    for written in ("b2 23 96 60 40 01", "B2:23:96:60:40:01", "B2-23-96-60-40-01", "b22396604001"):
        assert Gb26875Options(source=written).source == "B22396604001"
    assert Gb26875PointOptions(component="006-017", analog=3).component == "6-17"


def test_the_profile_tells_all_that_a_panel_can() -> None:
    known = Panel().heard(SystemState(1, 1, 1)).heard(DeviceState(1)).points()
    assert {each.options.field for each in shipped_points("p").values()} == set(known)


def test_the_protocol_is_registered() -> None:
    type_ = protocol("gb26875")
    assert type_.sends
    assert type_.hub is not None
    assert decoder("gb26875")(b"").fault is not None
