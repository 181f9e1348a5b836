"""What people see and hear: an LED display at the fire lane, and the compound's loudspeaker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gateway.sim.faults import FaultBoard
from gateway.sim.tcp import converter

if TYPE_CHECKING:
    from drivers.http_output.simulator import Loudspeaker
    from drivers.led_display.simulator import SimCard, SimDisplayLine

_SPEAKS = "/api/tts"


class _Display:
    """One card on its line (line.py: Responder)."""

    def __init__(self, line: SimDisplayLine) -> None:
        self._line = line

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return [("sign-1", reply) for _, reply in self._line.feed(data)]

    def silence(self) -> None:
        """Frames have an end of their own."""


class Signs:
    protocols = ("http-speaker", "onbon")
    packs = ()
    """Nobody watches them: other systems' rules make them speak."""

    def __init__(self) -> None:
        self._speaker: Loudspeaker | None = None
        self._card: SimCard | None = None
        self._port = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from drivers.http_output.simulator import Loudspeaker
        from drivers.led_display.simulator import SimCard, SimDisplayLine

        async with AsyncExitStack() as stack:
            self._speaker = await stack.enter_async_context(Loudspeaker())
            self._card = card = SimCard()
            display = converter(lambda: _Display(SimDisplayLine(card)), "display", FaultBoard())
            self._port = await stack.enter_async_context(display)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def lines(self) -> Sequence[dict[str, Any]]:
        return [
            {"id": "speakers", "protocol": "http-speaker"},
            {"id": "display", "tcp": f"127.0.0.1:{self._port}"},
        ]

    def devices(self) -> Sequence[dict[str, Any]]:
        assert self._speaker is not None
        return [
            {
                "id": "speaker-1",
                "profile": "http_speaker",
                "line": "speakers",
                "url": self._speaker.url,
                "name": {"zh": "小区广播", "en": "Loudspeaker"},
                "place": {"site": True},
                "every": "10s",
                "allow_write": ["announcement"],
            },
            {
                "id": "sign-1",
                "profile": "onbon_bx_5k",
                "line": "display",
                "name": {"zh": "消防车道显示屏", "en": "Display at the fire lane"},
                "place": {"building": "1#"},
                "every": "10s",
                "allow_write": ["notice", "text"],
            },
        ]

    def announced(self) -> Sequence[str]:
        """What the loudspeaker has said, in order."""
        heard = self._speaker.received if self._speaker is not None else ()
        return [str(request.said["text"]) for request in heard if request.path == _SPEAKS]

    def shown(self) -> str:
        """What stands on the display; empty while it is dark."""
        return (self._card.text() if self._card is not None else None) or ""
