"""Which dialect an uplink speaks, as its configuration says."""

from __future__ import annotations

from gateway.config.models import UplinkModel
from gateway.uplink.dialect import Dialect, Subject
from gateway.uplink.dialects.native import Native


def dialect_of(config: UplinkModel, subject: Subject) -> Dialect:
    return Native(subject, compress=config.compress)
