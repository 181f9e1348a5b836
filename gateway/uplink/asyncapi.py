"""The native contract as an AsyncAPI 3 document and as JSON Schemas, for those who write the other end.

``python -m gateway.uplink.asyncapi config/schema`` writes them anew; a test fails while they are not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from gateway import messages
from gateway.envelope import VERSION
from gateway.model import Lane
from gateway.uplink.json_schema import Definitions

FILE = "contract.asyncapi.yaml"
FOLDER = "messages"


@dataclass(frozen=True, slots=True)
class Message:
    """*shape*: a TypedDict; None for bytes that are not JSON."""

    shape: type | None
    title: str
    content_type: str = "application/json"


MESSAGES: Mapping[str, Message] = {
    "status": Message(messages.StatusMessage, "Whether the gateway is there"),
    "catalog": Message(messages.CatalogMessage, "What there is, and to whom its data goes"),
    "alarm": Message(messages.AlarmEnvelope, "Envelope of alarm steps"),
    "event": Message(messages.EventEnvelope, "Envelope of events"),
    "gap": Message(messages.GapEnvelope, "Envelope of gap records"),
    "readings": Message(messages.ReadingEnvelope, "Envelope of readings"),
    "compressed": Message(None, "The same envelope as a zlib stream (RFC 1950)", "application/zlib"),
    "health": Message(messages.HealthMessage, "How the gateway itself is"),
    "receipt": Message(messages.ReceiptMessage, "What the platform has stored"),
    "command": Message(messages.SignedMessage, "A signed command"),
    "rebirth": Message(None, "Anything: the payload is not looked at", "application/octet-stream"),
    "reply": Message(messages.ReplyMessage, "What became of a command"),
    "config_desired": Message(messages.SignedMessage, "A signed configuration"),
    "config_reported": Message(messages.ConfigReport, "What became of it"),
}
DOCUMENTS: Mapping[str, type] = {
    "command_document": messages.CommandDocument,
    "config_document": messages.ConfigDocument,
}
"""What stands inside a signed message, as text."""


@dataclass(frozen=True, slots=True)
class Channel:
    """*direction*: as the gateway sees it."""

    tail: str
    message: str
    says: str
    direction: Literal["send", "receive"] = "send"
    retain: bool = False


def _channels() -> Mapping[str, Channel]:
    lanes = {lane: lane if lane in MESSAGES else "readings" for lane in map(str, Lane)}
    told = {
        lane: Channel(lane, message, f"The lane {lane}; its numbers begin with 1.") for lane, message in lanes.items()
    }
    compressed = {
        f"{lane}_zlib": Channel(f"{lane}/zlib", "compressed", f"The lane {lane} where compression is agreed upon.")
        for lane in lanes
    }
    return {
        "status": Channel("status", "status", "The newest word; also the will of the connection.", retain=True),
        "catalog": Channel("catalog", "catalog", "Anew after every change of the configuration.", retain=True),
        **told,
        **compressed,
        "health": Channel("health", "health", "Once a minute."),
        "receipt": Channel("receipt", "receipt", "After COMMIT, not before.", "receive"),
        "command": Channel("command/{id}", "command", "One act, once. Never retained.", "receive"),
        "rebirth": Channel("command/rebirth", "rebirth", "Status and catalog, please, once more.", "receive"),
        "reply": Channel("reply/{id}", "reply", "The answer to the command of the same id."),
        "config_desired": Channel("config/desired", "config_desired", "What shall be in use.", "receive", True),
        "config_reported": Channel("config/reported", "config_reported", "What is in use.", retain=True),
    }


CHANNELS = _channels()
_ROOT = "compound/v1/{site}/{gateway}/"
_QOS = 1
_BINDING = "0.2.0"
_ABOUT = """\
One gateway of a residential compound. QoS 1 throughout. MQTT 5 is preferred; 3.1.1 carries everything.
An envelope is named for ever by (gateway, epoch, lane, seq). seq rises by 1 without a hole within an epoch and lane,
so the receiver removes duplicates by that name and proves completeness by counting. What will never come is announced
on gap.
Fields that are not described here must be ignored; v rises only with a breaking change."""
_PARAMETERS = {
    "site": "The compound.",
    "gateway": "The box in it.",
    "id": "Names one command and its reply.",
}


def files() -> dict[str, str]:
    """Path below the schema folder -> its text."""
    shapes = {**{name: message.shape for name, message in MESSAGES.items() if message.shape}, **DOCUMENTS}
    found = {f"{FOLDER}/{name}.schema.json": _alone(shape) for name, shape in shapes.items()}
    plain = json.loads(json.dumps(document()))  # no enumerations, and no object twice: YAML would make aliases of it
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return {FILE: f"# Generated: python -m gateway.uplink.asyncapi config/schema\n{text}", **found}


def schema(shape: type) -> dict[str, Any]:
    """One message by itself, draft 2020-12."""
    definitions = Definitions("#/$defs/")
    root = definitions.ref(shape)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions.schemas}


def _alone(shape: type) -> str:
    return json.dumps(schema(shape), ensure_ascii=False, indent=1) + "\n"


def document() -> dict[str, Any]:
    """The AsyncAPI document, self-contained."""
    definitions = Definitions("#/components/schemas/")
    spoken = {name: _message(name, message, definitions) for name, message in MESSAGES.items()}
    for shape in DOCUMENTS.values():
        definitions.ref(shape)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Compound Gateway",
            "version": f"{VERSION}.0.0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": {name: _channel(channel) for name, channel in CHANNELS.items()},
        "operations": {name: _operation(name, channel) for name, channel in CHANNELS.items()},
        "components": {
            "messages": spoken,
            "schemas": definitions.schemas,
            "parameters": {name: {"description": says} for name, says in _PARAMETERS.items()},
            "securitySchemes": {"account": {"type": "userPassword", "description": "One account a gateway."}},
        },
    }


def _server() -> dict[str, Any]:
    will = {"topic": _ROOT + "status", "qos": _QOS, "retain": True, "message": "a status with state: offline"}
    return {
        "host": "{broker}",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": "The platform's broker.",
        "variables": {"broker": {"description": "host:port"}},
        "security": [{"$ref": "#/components/securitySchemes/account"}],
        "bindings": {"mqtt": {"cleanSession": True, "lastWill": will, "bindingVersion": _BINDING}},
    }


def _message(name: str, message: Message, definitions: Definitions) -> dict[str, Any]:
    item: dict[str, Any] = {"name": name, "title": message.title, "contentType": message.content_type}
    if message.shape is not None:
        item["payload"] = definitions.ref(message.shape)
    return item


def _channel(channel: Channel) -> dict[str, Any]:
    address = _ROOT + channel.tail
    return {
        "address": address,
        "description": channel.says,
        "messages": {channel.message: {"$ref": f"#/components/messages/{channel.message}"}},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if f"{{{name}}}" in address
        },
    }


def _operation(name: str, channel: Channel) -> dict[str, Any]:
    item: dict[str, Any] = {
        "action": channel.direction,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{channel.message}"}],
        "bindings": {"mqtt": {"qos": _QOS, "retain": channel.retain, "bindingVersion": _BINDING}},
    }
    if channel.tail.startswith("command/"):
        reply = {"$ref": "#/channels/reply"}
        item["reply"] = {"channel": reply, "messages": [{"$ref": "#/channels/reply/messages/reply"}]}
    return item


def _write(directory: Path) -> None:
    (directory / FOLDER).mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
