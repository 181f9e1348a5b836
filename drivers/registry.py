"""The protocols there are.  A new one is a folder beside this file and a line in ``_OURS``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from drivers.base import Decoded, ProtocolType

# protocol -> module:constant, imported only when a configuration or a command names the protocol
_OURS = {
    "modbus-tcp": "drivers.modbus.driver:TCP",
    "modbus-rtu": "drivers.modbus.driver:RTU",
    "modbus-ascii": "drivers.modbus.driver:ASCII",
    "dlt645": "drivers.dlt645.driver:DLT645",
    "cjt188": "drivers.cjt188.driver:CJT188",
    "mbus": "drivers.mbus.driver:MBUS",
    "plate-camera": "drivers.plate_camera.hub:PLATE_CAMERA",
    "snmp": "drivers.snmp.hub:SNMP",
    "ocpp16": "drivers.ocpp.hub:OCPP16",
    "onvif": "drivers.onvif.hub:ONVIF",
    "bacnet": "drivers.bacnet.hub:BACNET",
    "knx": "drivers.knx.hub:KNX",
    "uhppote": "drivers.uhppote.hub:UHPPOTE",
    "cap": "drivers.cap.hub:CAP",
    "http-speaker": "drivers.http_output.outputs:SPEAKER",
    "webhook": "drivers.http_output.outputs:WEBHOOK",
    "onbon": "drivers.led_display.driver:ONBON",
    "gb26875": "drivers.gb26875.hub:GB26875",
    "gst-printer": "drivers.gst_printer.hub:GST_PRINTER",
    "osdp": "drivers.osdp.driver:OSDP",
    "zigbee2mqtt": "drivers.mqtt_south.hub:ZIGBEE2MQTT",
    "chirpstack": "drivers.mqtt_south.hub:CHIRPSTACK",
    "mqtt-json": "drivers.mqtt_south.hub:MQTT_JSON",
    "http-json": "drivers.http_push.hub:HTTP_JSON",
}

# protocol -> module:function(bytes) -> Decoded
_DECODERS = {
    "modbus-tcp": "drivers.modbus.decode:decode_tcp",
    "modbus-rtu": "drivers.modbus.decode:decode_rtu",
    "modbus-ascii": "drivers.modbus.decode:decode_ascii",
    "dlt645": "drivers.dlt645.decode:decode",
    "cjt188": "drivers.cjt188.decode:decode",
    "mbus": "drivers.mbus.decode:decode",
    "plate": "drivers.plate_camera.decode:decode_plate",
    "plate-camera": "drivers.plate_camera.decode:decode",
    "cap": "drivers.cap.decode:decode",
    "onbon": "drivers.led_display.decode:decode",
    "snmp": "drivers.snmp.decode:decode",
    "ocpp16": "drivers.ocpp.decode:decode",
    "onvif": "drivers.onvif.decode:decode",
    "bacnet": "drivers.bacnet.decode:decode",
    "gb26875": "drivers.gb26875.decode:decode",
    "gst-printer": "drivers.gst_printer.decode:decode",
    "uhppote": "drivers.uhppote.decode:decode",
    "osdp": "drivers.osdp.decode:decode",
    "wiegand": "drivers.wiegand:decode",
    "zigbee2mqtt": "drivers.mqtt_south.decode:decode",
    "chirpstack": "drivers.mqtt_south.decode:decode",
    "mqtt-json": "drivers.mqtt_south.decode:decode",
    "http-json": "drivers.http_push.decode:decode",
}


def protocols() -> list[str]:
    """Every protocol a device may name, ours and those that installed packages register."""
    return sorted({*_OURS, *(e.name for e in entry_points(group="gateway.drivers"))})


def ours() -> list[str]:
    """The protocols that come with the product."""
    return list(_OURS)


def hub_protocols() -> list[str]:
    """What ``protocol:`` of a line may name, as far as it is ours: each hub is the ``hub.py`` of its folder, or its
    ``outputs.py`` where nothing is heard from it."""
    modules = {name: reference.partition(":")[0] for name, reference in _OURS.items()}
    return sorted(name for name, module in modules.items() if module.endswith((".hub", ".outputs")))


# protocol -> the extra of pyproject.toml that brings its libraries; the others need none
_EXTRAS: dict[str, str] = {
    "uhppote": "field",
    "cap": "field",
    "http-speaker": "field",
    "webhook": "field",
    "plate-camera": "field",
    "http-json": "field",
    "snmp": "field",
    "ocpp16": "field",
    "onvif": "field",
    "knx": "knx",
}


class PackagesMissing(Exception):
    """A protocol is known, and the libraries that it needs are not installed.  *install*: the command that does."""

    def __init__(self, protocol: str, extra: str, missing: str) -> None:
        super().__init__(f"protocol {protocol} needs the package {missing}")
        self.install = f"pip install 'compound-gateway[{extra}]'"


def protocol(name: str) -> ProtocolType:
    """Raises KeyError for a name that is not in ``protocols()``, PackagesMissing."""
    if name in _OURS:
        found = _load(_OURS[name], name)
    else:
        found = (
            next(e for e in entry_points(group="gateway.drivers", name=name)).load() if name in protocols() else None
        )
    if not isinstance(found, ProtocolType):
        raise KeyError(name)
    return found


def decoders() -> list[str]:
    return sorted(_DECODERS)


def line_decoders() -> list[str]:
    """Of what is asked on a line: frames that check themselves, so that one can be told among other bytes."""
    hubs = hub_protocols()
    return [name for name in decoders() if name in _OURS and name not in hubs]


def decoder(name: str) -> Callable[[bytes], Decoded]:
    """Raises KeyError for a name that is not in ``decoders()``, PackagesMissing."""
    return cast(Callable[[bytes], Decoded], _load(_DECODERS[name], name))


def _load(reference: str, protocol_name: str) -> object:
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as exc:
        if protocol_name not in _EXTRAS:
            raise
        raise PackagesMissing(protocol_name, _EXTRAS[protocol_name], exc.name or "") from exc
