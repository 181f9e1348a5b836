"""What a line, a device entry and a profile's point may say for plate cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from drivers.http_options import HttpSenderOptions


class PlateCameraOptions(HttpSenderOptions):
    """How one camera is recognised: everything that is written here must agree."""

    serial: str | None = Field(default=None, min_length=1, max_length=64)
    """What it calls itself (``serialno``, ``deviceUUID``, ``deviceID``, ``DeviceID``).  Who knows it can claim it."""
    token_file: Path | None = None
    """A file with a word that must be one part of the path the camera posts to."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """A plate below it is marked ``low_confidence``."""

    @model_validator(mode="after")
    def _recognisable(self) -> Self:
        if self.serial is None and self.peer is None and self.token_file is None:
            # as if the key were required: a profile may leave open what only the device knows
            missing = InitErrorDetails(type="missing", loc=("serial",), input={})
            raise ValidationError.from_exception_data(type(self).__name__, [missing])
        self.check_login()
        return self


class PlateCameraPointOptions(BaseModel):
    """Which of the things a camera tells a point is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Literal[
        "seen_count",
        "vehicle",
        "emergency_vehicle",
        "confidence",
        "plate_class",
        "colour",
        "direction",
        "input1",
        "input2",
        "input3",
        "input4",
    ]
