"""Which messages are understood, checked against the OCPP 1.6 schemas that the ocpp package brings."""

from __future__ import annotations

from typing import Any, Final

from jsonschema.exceptions import best_match
from ocpp.messages import MessageType, get_validator

FROM_CHARGER: Final = (
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "MeterValues",
    "SecurityEventNotification",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
)
TO_CHARGER: Final = ("ChangeAvailability", "RemoteStopTransaction", "TriggerMessage")
_VERSION: Final = "1.6"
_CODES: Final = {
    "type": "TypeConstraintViolation",
    "maxLength": "TypeConstraintViolation",
    "required": "OccurenceConstraintViolation",  # so it is spelled in OCPP-J 1.6
    "enum": "PropertyConstraintViolation",
}


def load() -> None:
    """Read all schemas, so that no message waits for the disk.  Blocks some milliseconds."""
    for action in FROM_CHARGER:
        get_validator(MessageType.Call, action, _VERSION)
    for action in TO_CHARGER:
        get_validator(MessageType.CallResult, action, _VERSION)


def fault_of_call(action: str, payload: dict[str, Any]) -> tuple[str, str] | None:
    """Error code and description, without any value of the message; None when it is right."""
    if action not in FROM_CHARGER:
        return "NotImplemented", ""
    return _fault(get_validator(MessageType.Call, action, _VERSION), payload)


def fault_of_result(action: str, payload: dict[str, Any]) -> tuple[str, str] | None:
    return _fault(get_validator(MessageType.CallResult, action, _VERSION), payload)


def _fault(validator: Any, payload: dict[str, Any]) -> tuple[str, str] | None:
    error = best_match(validator.iter_errors(payload))
    if error is None:
        return None
    known = validator.schema.get("properties", {})
    path = [str(part) for part in error.absolute_path if isinstance(part, int) or part in known]
    return _CODES.get(str(error.validator), "FormationViolation"), f"{error.validator}: {'/'.join(path)}"
