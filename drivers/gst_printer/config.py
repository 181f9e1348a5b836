"""What a line, a device entry and a profile's point may say for a panel's printer port."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from drivers.base import SerialFormat

_FORMAT = re.compile(r"([0-9]{3,6}) ([78])([NEO])([12])")


def serial_format(written: str) -> SerialFormat:
    """``9600 8N1``.  Raises ValueError."""
    parts = _FORMAT.fullmatch(written)
    if parts is None or not 300 <= int(parts[1]) <= 115200:
        raise ValueError("串口格式写作 9600 8N1（300–115200）/ a serial format is written 9600 8N1, 300 to 115200 baud")
    return SerialFormat(int(parts[1]), parts[3], int(parts[2]), int(parts[4]))


def _checked(written: str) -> str:
    serial_format(written)
    return written


class GstPrinterHubOptions(BaseModel):
    """The serial port that the panel's printer cable goes to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: str = Field(pattern=r"^/.+")
    """A path that survives replugging: /dev/serial/by-id/..."""
    serial_format: Annotated[str, AfterValidator(_checked)] = "9600 8N1"
    """Baud rate, data bits, parity, stop bits.  In one key: those of a bus are not for this kind of line."""


class GstPrinterOptions(BaseModel):
    """A panel is known by its port: it says nothing of who it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GstPrinterPointOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal["fire", "fault", "shielded", "supervisory", "started", "feedback", "active_fires"]
