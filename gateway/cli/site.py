"""The configuration a command was pointed at, or the same refusal from every command."""

from __future__ import annotations

from gateway.cli.common import CONFIG_INVALID, Shell
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, load


def configuration_of(shell: Shell) -> Configuration:
    """Ends the command with every fault and exit code 78 when the configuration is not valid."""
    try:
        return load(shell.config)
    except ConfigFaults as exc:
        shell.complain(exc.render("zh"), exc.render("en"))
        shell.stop(CONFIG_INVALID)
