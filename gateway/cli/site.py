"""The configuration a command was pointed at, or the same refusal from every command."""

from __future__ import annotations

from gateway.cli.common import CONFIG_INVALID, Shell
from gateway.config.faults import ConfigFaults
from gateway.config.load import Configuration, load
from gateway.remote.configuration import in_force


def configuration_of(shell: Shell) -> Configuration:
    """What a daemon with this directory runs, which may have come from afar.  Ends the command as below."""
    return in_force(local_configuration(shell))


def local_configuration(shell: Shell) -> Configuration:
    """Ends the command with every fault and exit code 78 when the configuration is not valid."""
    try:
        return load(shell.config)
    except ConfigFaults as exc:
        shell.complain(exc.render("zh"), exc.render("en"))
        shell.stop(CONFIG_INVALID)
