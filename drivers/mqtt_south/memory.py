"""What must be known of a device over a restart, so that nothing is doubled and nothing lasts for ever.  Pure.

It goes to disk together with the report that it stands behind (``Report.memory``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from drivers.mqtt_south.packet import Message

MOST_TAKEN = 40
"""mosquitto has 20 messages unacknowledged at most, unless it is told otherwise."""

Notes: TypeAlias = Mapping[str, Any]
"""What a dialect keeps; JSON."""


@dataclass(frozen=True, slots=True)
class Memory:
    taken: tuple[tuple[int, str], ...] = ()
    """Packet id and digest of the latest messages.  The broker repeats one under the same id (MQTT 3.1.1, 4.4.0-1)
    when it has not seen our acknowledgement; a new message of the same words has another id, or no DUP."""
    pulses: Mapping[str, int] = field(default_factory=dict)
    """Point -> when it is false again, UTC milliseconds."""
    notes: Notes = field(default_factory=dict)

    def has_taken(self, message: Message) -> bool:
        return message.again and message.packet_id is not None and (message.packet_id, digest(message)) in self.taken

    def with_taken(self, message: Message) -> Memory:
        if message.packet_id is None:
            return self
        key = (message.packet_id, digest(message))
        return replace(self, taken=(*self.taken, key)[-MOST_TAKEN:])

    def to_bytes(self) -> bytes:
        document = {"taken": self.taken, "pulses": self.pulses, "notes": self.notes}
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def digest(message: Message) -> str:
    return hashlib.blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=6).hexdigest()


def from_bytes(data: bytes) -> Memory:
    """What cannot be read (another version wrote it) is forgotten: at worst something is said twice."""
    try:
        document = json.loads(data)
        taken = tuple((int(number), str(key)) for number, key in document["taken"])
        pulses = {str(point): int(until_ms) for point, until_ms in document["pulses"].items()}
        return Memory(taken[-MOST_TAKEN:], pulses, dict(document["notes"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Memory()
