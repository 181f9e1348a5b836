"""Explains a captured payload under the words a profile must use: the path of every value, and the records inside.

Give it the payload itself, or a whole MQTT PUBLISH packet as it was on the wire.
"""

from __future__ import annotations

from drivers.base import Decoded
from drivers.json_mapping.decode import decode_payload
from drivers.mqtt_client import packet
from drivers.mqtt_client.packet import Kind, Malformed, Message


def decode(data: bytes) -> Decoded:
    message = _message(data)
    return decode_payload(message.topic, message.payload)


def _message(data: bytes) -> Message:
    """The PUBLISH that the bytes are, exactly; else a message that has them as its payload."""
    try:
        if data[:1] and data[0] >> 4 == Kind.PUBLISH:
            length = packet.remaining_length(data[1 : 1 + packet.MOST_LENGTH_BYTES])
            if length is not None and length <= len(data):
                return packet.parse_publish(data[0], data[len(data) - length :])
    except Malformed:
        pass
    return Message("", data)
