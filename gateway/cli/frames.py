"""How the commands that listen show what they hear: one line a frame, rubbish as hex with its fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from drivers.base import Decoded
from drivers.registry import decoder, decoders, line_decoders
from gateway.cli.common import Shell
from gateway.cli.decode import as_json, frame_line
from gateway.cli.wire import unknown_protocol
from gateway.commission.record import RX, TX, Heard
from gateway.commission.stream import Cut, Cutter, Decode, Reader, other_protocols
from gateway.commission.trouble import NOTHING_HEARD

AUTO = "auto"
_ARROWS = {TX: "→", RX: "←"}
_OVER_TCP_ONLY = ("modbus-tcp",)
_SHOWN_BYTES = 64
"""Of rubbish, on one line for people."""
_KEPT = 50
"""Pieces of rubbish that are shown to the other protocols at the end."""


def reader_for(shell: Shell, protocol: str, *, over_tcp: bool) -> Reader:
    """Ends the command for a protocol that nobody can decode."""
    known = decoders()
    if protocol not in (AUTO, *known):
        unknown_protocol(shell, protocol, [AUTO, *known])
    names = [name for name in line_decoders() if over_tcp or name not in _OVER_TCP_ONLY]
    names = names if protocol == AUTO else [protocol]
    return Reader({name: decoder(name) for name in names})


@dataclass(slots=True)
class Screen:
    """Shows a stream as it comes."""

    shell: Shell
    reader: Reader
    heard_bytes: int = 0
    lost: int = 0
    good: int = 0
    """Frames."""
    _rubbish: list[Cut] = field(default_factory=list)
    _settled: str | None = None
    _cutter: Cutter = field(init=False)

    def __post_init__(self) -> None:
        self._cutter = Cutter(self.reader)

    def take(self, heard: Heard) -> None:
        if heard.lost:
            self.lost += heard.lost
            self.shell.complain(f"漏听 {heard.lost} 段", f"{heard.lost} pieces were missed")
        for chunk in heard.chunks:
            self.heard_bytes += len(chunk.data)
            self._show_all(self._cutter.feed(chunk))
        self._show_all(self._cutter.tick(heard.now_ms))

    def end(self) -> None:
        """The stream is over: what was held back, then what can be said of the whole."""
        self._show_all(self._cutter.flush())
        shell = self.shell
        if not self.heard_bytes:
            shell.complain(NOTHING_HEARD.zh, NOTHING_HEARD.en)
            return
        shell.complain(
            f"{self.heard_bytes} 字节，{self.good} 帧，{self.reader.refused} 段无法解读",
            f"{self.heard_bytes} bytes, {self.good} frames, {self.reader.refused} pieces that are none",
        )
        if not self.good:
            self._advise()

    def _advise(self) -> None:
        everything: Mapping[str, Decode] = {name: decoder(name) for name in line_decoders()}
        others = other_protocols(self._rubbish, everything).most_common(1)
        if others:
            self.shell.complain(
                f"看起来是 {others[0][0]}：加 --protocol", f"this looks like {others[0][0]}: --protocol"
            )
        else:
            self.shell.complain(
                "没有一帧校验正确：换 --baud、--parity，检查 A、B 线",
                "not one frame checks: try another --baud and --parity, and look at A and B",
            )

    def _show_all(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            self._show(cut)
        settled = self.reader.settled
        if settled != self._settled:
            self._settled = settled
            if len(self.reader.decoders) > 1 and settled is not None:
                self.shell.complain(f"协议：{settled}", f"protocol: {settled}")

    def _show(self, cut: Cut) -> None:
        self.good += len(cut.frames)
        if not cut.ok:
            self._rubbish = [*self._rubbish[-_KEPT:], cut]
        if self.shell.json:
            self.shell.document(_json(cut))
            return
        stamp = datetime.fromtimestamp(cut.at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        lead = f"{stamp} {_ARROWS.get(cut.direction, ' ')}"
        for frame in cut.frames:
            print(f"{lead} {cut.protocol}  {frame_line(self.shell, frame)}", flush=True)
        if cut.fault is not None:
            shown = cut.data[:_SHOWN_BYTES].hex(" ") + (" …" if len(cut.data) > _SHOWN_BYTES else "")
            print(f"{lead} ? {cut.fault.text} [{shown}]", flush=True)


def _json(cut: Cut) -> dict[str, Any]:
    decoded = as_json(cut.protocol or "", Decoded(cut.frames, cut.fault))
    head = {"t": cut.at_ms, "direction": cut.direction, "protocol": cut.protocol, "hex": cut.data.hex()}
    return {**head, "frames": decoded["frames"], "fault": decoded["fault"]}
