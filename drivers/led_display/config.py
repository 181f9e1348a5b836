"""What a device entry and a profile's point may say about an LED display."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODES: Final = {"still": 1, "at_once": 2, "left": 3, "right": 4, "up": 5, "down": 6}
COLOURS: Final = {"none": "", "red": "\\C1", "green": "\\C2", "yellow": "\\C3"}


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DisplayOptions(Options):
    address: int = Field(default=1, ge=1, le=0xFFFE)
    """The screen's; 65534 is any, for a line with one card."""
    area: int = Field(default=0, ge=0, le=254)
    """Number of the dynamic area; programmes stay as they are beneath or beside it."""
    x: int = Field(default=0, ge=0, le=4096, multiple_of=8)
    y: int = Field(default=0, ge=0, le=4096)
    width: int = Field(default=128, ge=8, le=4096, multiple_of=8)
    height: int = Field(default=32, ge=8, le=4096)
    """Pixels; x and width in steps of 8."""
    mode: Literal["still", "at_once", "left", "right", "up", "down"] = "left"
    speed: int = Field(default=4, ge=0, le=24)
    """0 is the fastest."""
    stay_s: float = Field(default=2.5, ge=0, le=127)
    lines: Literal["one", "wrapped"] = "one"
    colour: Literal["none", "red", "green", "yellow"] = "red"
    """``none`` for cards of one colour."""
    font: str = Field(default="", pattern=r"^([A-Z]{2}[0-9]{3})?$")
    """Of the card's fonts: ``FO000``, ``FE001``; empty: the card's first."""
    charset: Literal["gb2312", "gbk"] = "gb2312"
    """What the card's fonts hold.  A character that they lack is refused rather than shown as a hole."""
    expire_s: int = Field(default=0, ge=0, le=65535)
    """A text goes by itself when nothing new has come for so long; 0: it stays until the next."""


class DisplayPointOptions(Options):
    field: Literal["text", "notice", "online", "state"]
    """``text``: what is written is shown.  ``notice``: a state, whose words have texts.  ``online`` (boolean): the card
    has answered.  ``state`` (text): the card's state as it gives it, in hex."""
    texts: dict[str, str] = {}
    """Of ``notice``: word -> what is shown.  ``clear`` takes the area away, ``idle`` is never sent."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.texts) != (self.field == "notice"):
            raise ValueError("texts 与 field: notice 必须同时给出 / texts and field: notice go together")
        return self
