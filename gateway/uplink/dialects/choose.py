"""Which dialect an uplink speaks and what it may see, as its configuration says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gateway.config.models import UplinkModel
from gateway.errors import UplinkRejected
from gateway.model import Device
from gateway.uplink.dialect import Dialect, Subject
from gateway.uplink.dialects.home_assistant import HomeAssistant
from gateway.uplink.dialects.iotda import Iotda
from gateway.uplink.dialects.native import Native
from gateway.uplink.dialects.sparkplug_b import SparkplugB
from gateway.uplink.dialects.thingsboard import ThingsBoard
from gateway.uplink.privacy import View


def dialect_of(config: UplinkModel, subject: Subject) -> Dialect:
    """Raises UplinkRejected when a section or a secret of this dialect is missing."""
    match config.dialect:
        case "native":
            return Native(subject, compress=config.compress)
        case "thingsboard":
            return ThingsBoard(subject)
        case "home_assistant":
            return HomeAssistant(subject, config.home_assistant)
        case "sparkplug_b" if config.sparkplug_b is not None:
            return SparkplugB(subject, config.sparkplug_b)
        case "iotda" if config.iotda is not None:
            return Iotda(subject, config.iotda, partial(_secret, config.iotda.secret_file))
    raise UplinkRejected(f"uplink {config.id}: dialect {config.dialect} needs a section {config.dialect}")


def view_of(config: UplinkModel, devices: Sequence[Device]) -> View:
    """What this platform may see of *devices*.  Raises UplinkRejected when its key cannot be read: then nothing may."""
    points = {point.id: point for device in devices for point in device.points}
    file = config.pseudonym_key_file
    try:
        return View(config.only, None if file is None else file.read_bytes().strip(), devices, points)
    except (OSError, ValueError) as exc:
        hint = "pseudonym_key_file must hold at least 16 random bytes: head -c 32 /dev/urandom | base64 > FILE"
        raise UplinkRejected(f"uplink {config.id}: {exc}", hint=hint) from exc


def _secret(file: Path) -> str:
    """Read afresh for every connection."""
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise UplinkRejected(
            f"{file}: {exc}", hint="write the gateway's secret into it, as the platform shows it"
        ) from exc
