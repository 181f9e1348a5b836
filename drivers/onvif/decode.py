"""Explains captured SOAP of a camera: what it notifies, or what it says of itself."""

from __future__ import annotations

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.onvif import soap


def decode(data: bytes) -> Decoded:
    """One envelope; whatever stands before its first ``<`` (HTTP's head) is passed over."""
    start = max(data.find(b"<"), 0)
    try:
        body = soap.body_of(data[start : start + soap.LARGEST_ANSWER_BYTES])
    except soap.SoapError as exc:
        if exc.code:
            frame = DecodedFrame("response", "", "Fault", (), Fault(exc.code, str(exc)))
            return Decoded((frame,))
        return Decoded((), Fault("no_frame", f"不是 SOAP 报文 / not a SOAP message: {exc}", start))
    name = next((each.tag.rpartition("}")[2] for each in body if isinstance(each.tag, str)), "")
    items: list[Field] = [Field(key, value) for key, value in soap.information_of(body).items()]
    for each in soap.notifications_of(body):
        said = {**each.source, **each.data}
        items.append(Field(each.topic, " ".join([each.time, each.operation, *(f"{k}={v}" for k, v in said.items())])))
    return Decoded((DecodedFrame("response" if name.endswith("Response") else "request", "", name, tuple(items)),))
