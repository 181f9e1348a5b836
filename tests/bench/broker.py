"""A mosquitto that costs as little as it can: it saves what it holds when it is stopped, not after every change."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import GatewayError
from gateway.sim.broker import Broker, mosquitto

_SAVE_ALWAYS = "autosave_on_changes true\nautosave_interval 1\n"


class QuietBroker(Broker):
    def __init__(self, directory: Path) -> None:
        """Raises GatewayError where there is no mosquitto: another broker would be measured instead of us."""
        kind = mosquitto()
        if kind is None:
            raise GatewayError("mosquitto is not installed", hint="apt install mosquitto")
        super().__init__(kind, directory)

    def _mosquitto_conf(self) -> str:
        usual = super()._mosquitto_conf()
        assert _SAVE_ALWAYS in usual
        return usual.replace(_SAVE_ALWAYS, "autosave_interval 0\n")
