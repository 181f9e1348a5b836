"""What can be wrong with a device or a line, and what that does to an answer.  Pure: the lines ask, then speak.

Everything is drawn from the random.Random of whoever asks, so the same seed gives the same faults.  How a frame is
built is not known here: answers that lie and check all the same are made by the ``Forge`` of their protocol (forge.py).
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass, field, replace
from typing import Protocol


class Twist(enum.StrEnum):
    """One thing about an answer that is not what was asked for, while its checksum is right."""

    ADDRESS = "address"  # says it comes from another device
    FUNCTION = "function"
    REFERENCE = "reference"  # the transaction, sequence number or identifier of another question
    SHORT = "short"
    LONG = "long"
    PREAMBLE = "preamble"  # 0 to 13 bytes FE in front, where the protocol has such; a sound answer


class Forge(Protocol):
    """Knows one protocol's frames."""

    def __call__(self, answer: bytes, twist: Twist, chance: random.Random) -> bytes:
        """A whole frame that differs in *twist*; *answer* itself where the protocol has no such thing."""


def honest(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    """The forge of a protocol for which there is none."""
    return answer


@dataclass(frozen=True, slots=True)
class DeviceFault:
    """How a device misbehaves; the faults add up.  The default is a healthy device.  Shares are 0..1 of its answers."""

    silent: bool = False
    delay_s: float = 0.0
    """Before the answer, on top of the normal turnaround."""
    drop: float = 0.0
    """Share that never comes."""
    late: float = 0.0
    """Share that comes *late_s* (drawn from this range) later still."""
    late_s: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    """Share with garbage before, inside or behind.  Never inside where the protocol has no checksum."""
    noise_bytes: int = 6
    """The most of it."""
    spoil: float = 0.0
    """Share whose checksum is wrong."""
    twist: float = 0.0
    """Share with one of *twists*.  Never late as well: nobody could tell it from the other device's own answer."""
    twists: tuple[Twist, ...] = tuple(Twist)
    twice: float = 0.0
    """Share that is said a second time, *twice_s* after the first."""
    twice_s: float = 0.0
    drip: float = 0.0
    """Share that comes byte by byte, with pauses of up to *pause_s* between them."""
    pause_s: float = 0.0


HEALTHY = DeviceFault()
SILENT = DeviceFault(silent=True)


def slow(extra_s: float) -> DeviceFault:
    return DeviceFault(delay_s=extra_s)


def late(master_timeout_s: float) -> DeviceFault:
    """Answers just after the master has given up: the answer a master must not take for the next one's."""
    return DeviceFault(delay_s=master_timeout_s + 0.15)


def often_late(share: float, master_timeout_s: float, most: float = 3.0) -> DeviceFault:
    """Some answers come after the time-out, up to *most* times as late."""
    return DeviceFault(late=share, late_s=(master_timeout_s, most * master_timeout_s))


def noisy(share: float, most_bytes: int = 6) -> DeviceFault:
    return DeviceFault(noise=share, noise_bytes=most_bytes)


def wrong_checksum(share: float = 1.0) -> DeviceFault:
    return DeviceFault(spoil=share)


def lying(*twists: Twist, share: float = 1.0) -> DeviceFault:
    return DeviceFault(twist=share, twists=twists)


@dataclass(frozen=True, slots=True)
class LineFault:
    dead: bool = False
    """A cut or shorted pair: nobody answers."""
    echo: bool = False
    """The adapter hears itself: the master receives every request it sends."""
    dirty_per_s: float = 0.0
    """How often a few random bytes come out of nowhere, whether anybody speaks or not."""
    chunk_s: float | None = None
    """How long the adapter collects characters: 0 gives them one by one, much gives a whole answer, and what follows
    it, at once.  None: as long as usual."""


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


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a device says for one answer, and when."""

    after_s: float
    """On top of the turnaround."""
    pieces: tuple[tuple[float, bytes], ...]
    """Silence before it in seconds, and bytes; at least one piece."""
    clean: bool
    """Exactly the answer, once, in one piece and not late."""
    again_s: float | None = None
    """So long after its end the same is said again."""

    @property
    def data(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)


def deliver(
    answer: bytes, fault: DeviceFault, chance: random.Random, forge: Forge = honest, *, checked: bool = True
) -> Utterance | None:
    """What goes out for *answer* (at least 1 byte), or None for silence.

    forge: of the answer's protocol.
    checked: whether the protocol has a checksum.  Without one, what is changed inside could not be told by anybody.
    """
    if fault.silent or chance.random() < fault.drop:
        return None
    is_late = chance.random() < fault.late
    after_s = fault.delay_s + (chance.uniform(*fault.late_s) if is_late else 0.0)
    data = answer
    if chance.random() < fault.twist and fault.twists and not is_late:
        data = forge(data, chance.choice(fault.twists), chance)
    if chance.random() < fault.spoil and checked:
        data = _spoiled(data, chance)
    if chance.random() < fault.noise:
        data = _noised(data, fault.noise_bytes, chance, inside=checked)
    pieces: tuple[tuple[float, bytes], ...] = ((0.0, data),)
    if chance.random() < fault.drip:
        pieces = tuple((chance.uniform(0.0, fault.pause_s), data[at : at + 1]) for at in range(len(data)))
    again_s = fault.twice_s if chance.random() < fault.twice else None
    clean = after_s == 0.0 and pieces == ((0.0, answer),) and again_s is None
    return Utterance(after_s, pieces, clean, again_s)


def burst(chance: random.Random, most: int = 8) -> bytes:
    """A few random bytes."""
    return chance.randbytes(chance.randint(1, most))


def _spoiled(data: bytes, chance: random.Random) -> bytes:
    """The last byte but one belongs to the checksum in Modbus RTU (CRC, low byte) and in all that end in CS 16h; in
    Modbus ASCII it ends the frame."""
    at = max(len(data) - 2, 0)
    return data[:at] + bytes([data[at] ^ chance.randint(1, 255)]) + data[at + 1 :]


def _noised(data: bytes, most: int, chance: random.Random, *, inside: bool) -> bytes:
    places = [0, len(data)]
    if inside and len(data) > 1:
        places.append(chance.randrange(1, len(data)))
    place = chance.choice(places)
    return data[:place] + burst(chance, most) + data[place:]
