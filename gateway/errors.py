"""Every error the gateway raises on purpose.  The class says who must act; anything else that escapes is a bug."""

from __future__ import annotations


class GatewayError(Exception):
    """Base class.  *hint*: what the person who reads the message can do about it, or an empty string."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def advice(self) -> str:
        """Message and hint in one line."""
        return f"{self}; {self.hint}" if self.hint else str(self)


class ConfigError(GatewayError):
    """A person must edit a file.  Exit code 78, never retried."""


class DriverError(GatewayError):
    """A field device could not be read or written."""


class DeviceUnreachable(DriverError):
    """The device did not answer.  Ask again later."""


class LineLost(DeviceUnreachable):
    """The port or connection itself is gone: nobody on it can be reached until it is opened again."""


class ProtocolError(DriverError):
    """Bytes came that are not a valid answer.  *frame* holds them."""

    def __init__(self, message: str, frame: bytes = b"", *, hint: str = "") -> None:
        super().__init__(f"{message} [{frame.hex(' ')}]" if frame else message, hint=hint)
        self.frame = frame


class DeviceRejected(DriverError):
    """The device answered with a refusal.  The connection stays up; asking again changes nothing."""

    def __init__(self, message: str, code: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class StoreError(GatewayError):
    """The store cannot do what was asked."""


class StoreFull(StoreError):
    """No room left inside the budget or on the disk, and nothing that may be dropped."""


class StoreCorrupt(StoreError):
    """The file is damaged."""


class StoreLocked(StoreError):
    """Another daemon owns this store."""


class UplinkError(GatewayError):
    """The platform could not be reached or refused."""


class UplinkUnavailable(UplinkError):
    """Not now.  Retried for ever, with back-off."""


class UplinkRejected(UplinkError):
    """Refused for a reason that only a person can mend: credentials, rights, certificate."""
