"""What a line, a device entry and a profile's point may say for a panel's printer port."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class GstPrinterHubOptions(BaseModel):
    """The serial port that the panel's printer cable goes to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: str = Field(pattern=r"^/.+")
    """A path that survives replugging: /dev/serial/by-id/..."""
    baud: int = Field(default=9600, ge=300, le=115200)
    parity: Literal["none", "even", "odd"] = "none"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1


class GstPrinterOptions(BaseModel):
    """A panel is known by its port: it says nothing of who it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GstPrinterPointOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal["fire", "fault", "shielded", "supervisory", "started", "feedback", "active_fires"]
