"""What a device entry and a profile's point may say for OSDP."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class OsdpOptions(BaseModel):
    """A reader on a line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: int = Field(ge=0, le=126)
    key_file: Path | None = None
    """The reader's own key (SCBK), 32 hexadecimal digits."""
    plaintext: bool = False
    """Without a secure channel: who taps the two wires reads every card, and can play it again."""
    commissioning: bool = False
    """The installation key, which everybody knows, may be used: to put the key of ``key_file`` into the reader."""
    card_format: Literal["auto", "26", "34", "34b", "36", "36a", "37", "38", "50", "plain"] = "auto"
    printing: Literal["joined", "facility_card", "decimal10", "hex"] = "joined"
    """How the number stands on the cards, so that it is the same as another system's."""
    reverse_bytes: bool = False
    """The reader gives the number's bytes the other way round."""

    @model_validator(mode="after")
    def _says_how_it_is_protected(self) -> Self:
        if self.key_file is None and not self.plaintext and not self.commissioning:
            raise ValueError(
                "须给出 key_file（32 位十六进制密钥），或写明 plaintext: true / say key_file (a key of 32 hexadecimal "
                "digits), or plaintext: true"
            )
        if self.plaintext and (self.key_file is not None or self.commissioning):
            raise ValueError(
                "plaintext 与 key_file、commissioning 不能同时使用 / plaintext goes with neither key_file nor "
                "commissioning"
            )
        return self


Field_ = Literal[
    "online",
    "secure",
    "tamper",
    "power",
    "card_count",
    "keypad_count",
    "vendor",
    "model",
    "serial_number",
    "firmware",
    "input",
    "output",
    "led",
    "buzzer",
]


class OsdpPointOptions(BaseModel):
    """What a point shows, or does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Field_
    number: int = Field(default=0, ge=0, le=31)
    """Of an input, output or LED; the first is 0."""
    pulse_s: float | None = Field(default=None, ge=0.1, le=60)
    """Of an output: switched on for so long by the reader itself, and off again whatever happens to the gateway."""

    @model_validator(mode="after")
    def _pulses_are_of_outputs(self) -> Self:
        if self.pulse_s is not None and self.field != "output":
            raise ValueError("pulse_s 只用于 output / pulse_s belongs to field output")
        return self
