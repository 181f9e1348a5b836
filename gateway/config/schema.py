"""JSON Schemas of the files people write, for completion and red underlines in their editor.

``python -m gateway.config.schema config/schema`` writes them anew; a test fails while they are not current.
The check itself never uses them: it gives better places and reasons.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from drivers.registry import protocol
from gateway.config.models import DURATION_PATTERN, SIZE_PATTERN, ProfileFile, SiteFile

_OURS = ("dlt645", "cjt188", "mbus", "modbus-rtu", "modbus-ascii", "modbus-tcp")


def schemas() -> dict[str, str]:
    """File name -> its text."""
    types = [protocol(name) for name in _OURS]
    return {
        "site.schema.json": _schema(SiteFile, "DeviceModel", [each.device_options for each in types]),
        "profile.schema.json": _schema(ProfileFile, "ProfilePoint", [each.point_options for each in types]),
    }


def _schema(model: type[BaseModel], open_part: str, options: list[type[BaseModel]]) -> str:
    """*open_part* takes every protocol's keys beside its own; only the check knows which of them go together."""
    places, document = models_json_schema([(each, "validation") for each in dict.fromkeys((model, *options))])
    definitions: dict[str, Any] = document["$defs"]
    names = [places[each, "validation"]["$ref"].rpartition("/")[2] for each in dict.fromkeys((model, *options))]
    root = definitions.pop(names[0])
    for name in names[1:]:
        for key, value in definitions.pop(name)["properties"].items():
            definitions[open_part]["properties"].setdefault(key, value)
    for part in (root, *definitions.values()):
        _as_written(part)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**head, **root, "$defs": definitions}, ensure_ascii=False, indent=1, sort_keys=False) + "\n"


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
