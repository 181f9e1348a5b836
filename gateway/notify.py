"""Talking to systemd (sd_notify(3)): a datagram to the socket it names; nothing when it names none."""

from __future__ import annotations

import os
import socket


def notify(message: str) -> None:
    """*message*: ``READY=1``, ``STOPPING=1``, ``WATCHDOG=1``, ``STATUS=…``; several separated by newlines."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(address)
        sender.sendall(message.encode())


def watchdog_interval_s() -> float | None:
    """How often systemd wants a sign of life, or None when it does not."""
    usec = os.environ.get("WATCHDOG_USEC")
    return int(usec) / 1e6 if usec else None
