"""The ``gateway`` command on a machine whose clock nobody disciplines: this one takes it as synchronised.

A container's kernel says "not synchronised", and a daemon that does not know the time obeys nothing from afar.
"""

from __future__ import annotations

from gateway.cli.main import main
from gateway.clock import LinuxKernel

LinuxKernel.is_synchronised = lambda self: True  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
