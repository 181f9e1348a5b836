"""Which dialect an uplink speaks, as its configuration says."""

from __future__ import annotations

from gateway.config.models import UplinkModel
from gateway.uplink.dialect import Dialect, Subject
from gateway.uplink.dialects.native import Native
from gateway.uplink.dialects.sparkplug_b import SparkplugB


def dialect_of(config: UplinkModel, subject: Subject) -> Dialect:
    """The configuration's check has seen to it that the section of the dialect is there."""
    if config.dialect == "sparkplug_b" and config.sparkplug_b is not None:
        return SparkplugB(subject, config.sparkplug_b)
    return Native(subject, compress=config.compress)
