"""JSON Schemas of the files people write, for completion and red underlines in their editor.

``python -m gateway.config.schema config/schema`` writes them anew; a test fails while they are not current.
The check itself never uses them: it gives better places and reasons.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from drivers.registry import ours, protocol
from gateway.config.models import DURATION_PATTERN, SIZE_PATTERN, ProfileFile, SiteFile


def schemas() -> dict[str, str]:
    """File name -> its text."""
    types = [protocol(name) for name in ours()]
    hubs = [each.hub_options for each in types if each.hub_options is not None]
    return {
        "site.schema.json": _schema(
            SiteFile, {"DeviceModel": [each.device_options for each in types], "LineModel": hubs}
        ),
        "profile.schema.json": _schema(ProfileFile, {"ProfilePoint": [each.point_options for each in types]}),
    }


def _schema(model: type[BaseModel], open_parts: Mapping[str, Sequence[type[BaseModel]]]) -> str:
    """An open part takes every protocol's keys beside its own; only the check knows which of them go together."""
    options = [option for each in open_parts.values() for option in each]
    places, document = models_json_schema([(each, "validation") for each in dict.fromkeys((model, *options))])
    definitions: dict[str, Any] = document["$defs"]
    root = definitions.pop(_name(places[model, "validation"]))
    for part, models in open_parts.items():
        for name in dict.fromkeys(_name(places[each, "validation"]) for each in models):
            keys = definitions[part]["properties"]
            for key, value in definitions.pop(name).get("properties", {}).items():
                keys[key] = _either(keys[key], value) if key in keys else value
    for part in (root, *definitions.values()):
        _as_written(part)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **root, "$defs": definitions}, ensure_ascii=False, indent=1, sort_keys=False) + "\n"


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Protocols use the same word for different things: an address is a number here and text there."""
    known = [{key: value for key, value in each.items() if key != "title"} for each in one.get("anyOf", [one])]
    new = [{key: value for key, value in each.items() if key != "title"} for each in other.get("anyOf", [other])]
    together = [*known, *(each for each in new if each not in known)]
    return one if len(together) == len(known) else {"anyOf": together}


def _name(place: Mapping[str, Any]) -> str:
    return str(place["$ref"]).rpartition("/")[2]


def _as_written(part: dict[str, Any]) -> None:
    """Defaults in the form that is written in the file: 60 seconds are ``60s``."""
    for value in part.get("properties", {}).values():
        if "$ref" in value:
            value.pop("default", None)
        default = value.get("default")
        if value.get("pattern") == DURATION_PATTERN and default is not None:
            value["default"] = f"{default:.10g}s"
        if value.get("pattern") == SIZE_PATTERN and default is not None:
            value["default"] = f"{default // 2**20} MiB"


def _write(directory: Path) -> None:
    for name, text in schemas().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
