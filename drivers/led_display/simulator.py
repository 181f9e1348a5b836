"""A card that shows what it is told: it decodes its areas, and refuses what a real one refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.led_display import frame
from drivers.led_display.frame import Area, Frame, FrameError, find_frame


@dataclass
class SimCard:
    address: int = 1
    charset: str = "gbk"
    areas: dict[int, Area] = field(default_factory=dict)
    refuses: int = 0
    """Status with which it refuses every text."""
    knows_state: bool = True

    def text(self, number: int = 0) -> str | None:
        """What people read in an area, without the card's escapes; None where there is none."""
        area = self.areas.get(number)
        if area is None:
            return None
        written = area.text.decode(self.charset)
        while written.startswith("\\"):
            written = written[3:] if written[1] == "C" else written[6:]
        return written

    def answer(self, asked: Frame) -> Frame:
        if asked.command == frame.PING:
            return self._said(frame.ACK, 0)
        if asked.command == frame.STATE and self.knows_state:
            return self._said(frame.STATE, 0, bytes([1, 0, 0, 0]))
        if asked.command != frame.SHOW:
            return self._said(frame.NACK, 2)
        if self.refuses:
            return self._said(frame.NACK, self.refuses)
        try:
            areas, removed = frame.shown(asked.content)
        except FrameError:
            return self._said(frame.NACK, 4)
        for number in list(self.areas) if removed == (0xFF,) else removed:
            self.areas.pop(number, None)
        self.areas |= {area.number: area for area in areas}
        return self._said(frame.ACK, 0)

    def _said(self, command: tuple[int, int], status: int, content: bytes = b"") -> Frame:
        return Frame(frame.PC, self.address, bytes([*command, status, 0, 0]) + content)


class SimDisplayLine:
    """``feed(bytes) -> [(address, reply)]`` for any number of cards on one line."""

    def __init__(self, *cards: SimCard) -> None:
        self._cards = cards
        self._buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self._buffer = (self._buffer + data)[-4096:]
        replies: list[tuple[int, bytes]] = []
        while (found := find_frame(self._buffer)) is not None:
            asked, _, end = found
            self._buffer = self._buffer[end:]
            meant = [card for card in self._cards if asked.to in (card.address, 0xFFFE)]
            answers = [(card.address, card.answer(asked).to_bytes()) for card in meant]
            replies += answers if asked.status == frame.REPLY else []
        return replies
