"""Explains captured printer bytes: every record in them."""

from __future__ import annotations

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.gst_printer.printout import Printed, Printout


def decode(data: bytes) -> Decoded:
    """Nothing could tell damage; a record that is cut off at the end is shown as far as it goes."""
    printout = Printout()
    records = [*printout.feed(data), *printout.flush()]
    if not records:
        return Decoded(fault=Fault("no_record", "没有打印记录 / no printed record in these bytes", 0))
    return Decoded(tuple(_explained(record) for record in records))


def _explained(record: Printed) -> DecodedFrame:
    return DecodedFrame(
        direction="response",
        address=record.address,
        function="1B",
        items=(
            Field("event", record.event),
            Field("over", record.over),
            Field("first", record.first),
            Field("what", record.what),
            Field("loop", record.loop),
            Field("number", record.number),
            Field("place", record.place),
            Field("component", record.component),
            Field("time", record.time),
        ),
    )
