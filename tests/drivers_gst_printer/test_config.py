"""What may be written for a printer port."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from drivers.base import SerialFormat
from drivers.gst_printer.config import GstPrinterHubOptions, GstPrinterOptions, GstPrinterPointOptions, serial_format
from drivers.gst_printer.hub import GST_PRINTER
from drivers.registry import decoder, protocol


def test_serial_formats() -> None:
    assert serial_format("9600 8N1") == SerialFormat(9600)
    assert serial_format("2400 7E2") == SerialFormat(2400, "E", 7, 2)
    for wrong in ("9600", "8N1", "9600 8n1", "96 8N1", "921600 8N1", "9600 8N1 "):
        with pytest.raises(ValidationError, match="9600 8N1"):
            GstPrinterHubOptions(port="/dev/x", serial_format=wrong)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(ValidationError, match="port"):
        GstPrinterHubOptions.model_validate({"port": "COM1"})
    with pytest.raises(ValidationError, match="unit_id"):
        GstPrinterOptions.model_validate({"unit_id": 1})
    with pytest.raises(ValidationError, match="fire"):
        GstPrinterPointOptions.model_validate({"field": "smoke"})


def test_the_protocol_is_registered() -> None:
    assert protocol("gst-printer") is GST_PRINTER
    assert GST_PRINTER.sends
    assert decoder("gst-printer")(b"").fault is not None
