"""What must be known of a device over a restart, so that nothing is doubled and nothing lasts for ever.  Pure.

It goes to disk together with the report that it stands behind (``Report.memory``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from drivers.mqtt_client.packet import Message

FEWEST_TAKEN, MOST_TAKEN = 20, 1000
"""The latest are remembered in any case, and nobody has a thousand messages on the way."""

Key: TypeAlias = tuple[int, str]
"""Packet id and digest of a message."""

Notes: TypeAlias = Mapping[str, Any]
"""What a dialect keeps; JSON."""


@dataclass(frozen=True, slots=True)
class Memory:
    taken: tuple[Key, ...] = ()
    """Of the messages that the broker may say again.  It repeats one under the same id (MQTT 3.1.1, 4.4.0-1) when it
    has not seen our acknowledgement; a new message of the same words has another id, or no DUP."""
    pulses: Mapping[str, int] = field(default_factory=dict)
    """Point -> when it is false again, UTC milliseconds."""
    notes: Notes = field(default_factory=dict)

    def has_taken(self, message: Message) -> bool:
        return message.again and key_of(message) in self.taken

    def with_taken(self, message: Message, settled: Callable[[Key], bool]) -> Memory:
        """*settled*: whether the broker will not say one again; such are forgotten, but for the latest."""
        key = key_of(message)
        if key is None:
            return self
        before = (*self.taken, key)
        latest = len(before) - FEWEST_TAKEN
        kept = tuple(each for at, each in enumerate(before) if at >= latest or not settled(each))
        return replace(self, taken=kept[-MOST_TAKEN:])

    def to_bytes(self) -> bytes:
        document = {"taken": self.taken, "pulses": self.pulses, "notes": self.notes}
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def key_of(message: Message) -> Key | None:
    if message.packet_id is None:
        return None
    digest = hashlib.blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=6)
    return message.packet_id, digest.hexdigest()


def from_bytes(data: bytes) -> Memory:
    """What cannot be read (another version wrote it) is forgotten: at worst something is said twice."""
    try:
        document = json.loads(data)
        taken = tuple((int(number), str(key)) for number, key in document["taken"])
        pulses = {str(point): int(until_ms) for point, until_ms in document["pulses"].items()}
        return Memory(taken[-MOST_TAKEN:], pulses, dict(document["notes"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Memory()
