"""What can be wrong with a device or a line, and what that does to an answer.  Pure: the lines ask, then speak."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """How a device misbehaves; the faults add up.  The default is a healthy device."""

    silent: bool = False
    delay_s: float = 0.0
    """Before the answer, on top of the normal turnaround."""
    noise: float = 0.0
    """Share of answers (0..1) that come with garbage before, inside or behind them.  Serial lines only."""
    spoil: float = 0.0
    """Share of answers (0..1) whose checksum is wrong.  Serial lines only."""


HEALTHY = DeviceFault()
SILENT = DeviceFault(silent=True)


def slow(extra_s: float) -> DeviceFault:
    return DeviceFault(delay_s=extra_s)


def late(master_timeout_s: float) -> DeviceFault:
    """Answers just after the master has given up: the answer a master must not take for the next one's."""
    return DeviceFault(delay_s=master_timeout_s + 0.15)


def noisy(share: float) -> DeviceFault:
    return DeviceFault(noise=share)


def wrong_checksum(share: float = 1.0) -> DeviceFault:
    return DeviceFault(spoil=share)


@dataclass(frozen=True, slots=True)
class LineFault:
    dead: bool = False
    """A cut or shorted pair: nobody answers."""
    echo: bool = False
    """The adapter hears itself: the master receives every request it sends."""


@dataclass(slots=True)
class FaultBoard:
    """What is wrong at this moment; scenarios and tests turn the knobs while the field runs."""

    devices: dict[str, DeviceFault] = field(default_factory=dict)
    lines: dict[str, LineFault] = field(default_factory=dict)

    def device(self, device: str) -> DeviceFault:
        return self.devices.get(device, HEALTHY)

    def line(self, line: str) -> LineFault:
        return self.lines.get(line, LineFault())

    def kill_line(self, line: str, *, dead: bool) -> None:
        self.lines[line] = replace(self.line(line), dead=dead)


def deliver(answer: bytes, fault: DeviceFault, chance: random.Random) -> bytes | None:
    """The bytes that go out for *answer* (at least 2 bytes), or None for silence."""
    if fault.silent:
        return None
    if chance.random() < fault.spoil:
        # The last byte but one belongs to the checksum in Modbus RTU (CRC, low byte) and in DL/T 645 (CS before 16h).
        answer = answer[:-2] + bytes([answer[-2] ^ chance.randint(1, 255)]) + answer[-1:]
    if chance.random() < fault.noise:
        garbage = chance.randbytes(chance.randint(1, 6))
        place = chance.choice((0, len(answer), chance.randrange(1, len(answer))))
        answer = answer[:place] + garbage + answer[place:]
    return answer
