"""Everything that reads bytes from a wire, each as a function of bytes that fails when a promise is broken.

decode:P    the decoder of `gateway decode P` never raises and answers with frames or a fault
frame:P     find_frame finds only what builds the same bytes again; from_bytes raises nothing but ProtocolError
records     M-Bus records from any data behind any CI
answer:P    the answer to a Modbus request has just as many registers as were asked for
driver:P    a real driver whose line gives these bytes for every question: DriverError, or one reading per point
sim:P       the simulators hear anything without falling over
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import drivers_led_display.rig
from drivers.base import Decoded, DeviceSpec, PointSpec, SerialFormat
from drivers.mbus import records
from drivers.mbus.frame import ACK
from drivers.modbus import codec
from drivers.modbus.framing import ASCII, RTU, TCP, Framing
from drivers.registry import decoder, decoders, protocol
from gateway.errors import DriverError, ProtocolError
from gateway.model import Point, Reading, Text, ValueKind
from support.chaos import KINDS, Kind, Truth, point_spec
from support.clock import ManualClock

T = TypeVar("T")
Target = Callable[[bytes], None]
DRIVERS = Path(__file__).parent.parent.parent / "drivers"
VECTORS = Path(__file__).parent.parent / "vectors"


def targets() -> Mapping[str, Target]:
    found: dict[str, Target] = {f"decode:{name}": _decode(name) for name in decoders()}
    for file in sorted(DRIVERS.glob("*/frame.py")):
        found[f"frame:{file.parent.name}"] = _frame(importlib.import_module(f"drivers.{file.parent.name}.frame"))
    found["records"] = _records
    for name, framing in (("rtu", RTU), ("ascii", ASCII), ("tcp", TCP)):
        found[f"answer:modbus-{name}"] = _answer(framing)
    for kind in KINDS.values():
        found[f"driver:{kind.name}"] = _driver(kind)
        found[f"sim:{kind.name}"] = _simulator(kind)
    found["driver:onbon"] = _display
    found["driver:osdp"] = _osdp_reader
    return found


def corpus() -> list[bytes]:
    """Every published frame there is."""
    return [raw for file in sorted(VECTORS.glob("*.json")) for raw in _vectors(file)]


def _vectors(file: Path) -> Iterator[bytes]:
    for vector in json.loads(file.read_text("utf-8"))["vectors"]:
        written = vector.get("hex")
        if written:
            try:
                yield bytes.fromhex(written)
            except ValueError:
                yield written.encode()  # Modbus ASCII
        elif "input" in vector:  # JSON, XML or a text
            said = vector["input"]
            yield (said if isinstance(said, str) else json.dumps(said)).encode()


# ---------------------------------------------------------------------- what is promised


def _decode(name: str) -> Target:
    decode = decoder(name)

    def check(data: bytes) -> None:
        result = decode(data)
        assert isinstance(result, Decoded)
        assert result.frames or result.fault or not data
        if result.fault is not None and result.fault.offset is not None:
            assert 0 <= result.fault.offset <= len(data)

    return check


def _frame(module: Any) -> Target:
    def check(data: bytes) -> None:
        at = 0
        found = module.find_frame(data, at)
        while found is not None:
            frame, begin, end = found
            assert at <= begin < end <= len(data)
            assert frame.to_bytes() == data[begin:end]
            at = end
            found = module.find_frame(data, at)
        try:
            module.Frame.from_bytes(data)
        except ProtocolError:
            return

    return check


def _records(data: bytes) -> None:
    ci, rest = (data[0], data[1:]) if data else (0x72, b"")
    for code in {ci, 0x72, 0x76, 0x73, 0x77}:
        telegram = records.parse(code, rest)
        assert len(telegram.records) <= len(rest)
        records.identification(code, rest)


_REQUESTS = (
    *(codec.read_request(7, function, 0, 10) for function in (1, 2, 3, 4)),
    codec.write_request(7, 6, 1, [5]),
    codec.write_request(7, 16, 1, [5, 6]),
    codec.mask_request(7, 1, 2, 2),
    *codec.identity_requests(7),
)


def _answer(framing: Framing) -> Target:
    def check(data: bytes) -> None:
        for request in _REQUESTS:
            _check_answer(request, framing.answer(request, framing.frame(request, 1), data))
            framing.captured(request, data[:64])  # tries every number: for captures, not for lines

    return check


def _check_answer(request: codec.Request, answer: codec.Answer | None) -> None:
    if answer is not None and request.answer_size is None:
        codec.identity(answer)
    if answer is None or answer.exception is not None or request.function > 4:
        return
    assert len(answer.registers if request.function > 2 else answer.bits) == request.count


class _OneAnswer:
    """A line (drivers/base.py: Link) that answers every question with the same bytes, at once.

    What can be acknowledged is, so that an M-Bus meter gets as far as its answer.
    """

    def __init__(self) -> None:
        self.data = self.last_answer = b""

    async def exchange(
        self,
        request: bytes,
        parse: Callable[[bytes], T | None],
        *,
        peer: Hashable,
        timeout_s: float,
        embargo_s: float = 0.0,
        gap_characters: float = 0.0,
        serial: SerialFormat | None = None,
        once: bool = False,
    ) -> T:
        frame = parse(self.data) or parse(ACK)
        if frame is None:
            raise ProtocolError("no valid answer in what was received", self.data)
        return frame


def _driver(kind: Kind) -> Target:
    type_ = protocol(kind.protocol)
    specs = {f"d1.{name}": point_spec(kind, f"d1.{name}", options) for name, options in kind.points.items()}
    options = type_.device_options.model_validate(kind.options(1))

    def check(data: bytes) -> None:
        line: Any = _OneAnswer()
        line.data = data
        driver = type_.make(DeviceSpec("d1", options, specs, 0.5), line, ManualClock())
        for batch in driver.batches(list(specs)):
            try:
                readings = _finished(driver.poll(batch))
            except DriverError:
                continue
            assert [reading.point for reading in readings] == list(batch)

    return check


def _display(data: bytes) -> None:
    """Its readings are words, so it is no ``Kind``."""
    line: Any = _OneAnswer()
    line.data = data
    display = drivers_led_display.rig.display(line)
    for batch in display.batches(["d.online", "d.notice", "d.state"]):
        try:
            readings = _finished(display.poll(batch))
        except DriverError:
            continue
        assert [reading.point for reading in readings] == list(batch)


def _osdp_reader(data: bytes) -> None:
    """Its values are no codes that say what they are, so it is no Kind; one that is busy waits, and is let go."""
    type_ = protocol("osdp")
    options = type_.device_options.model_validate(
        {"address": data[1] & 0x7E if len(data) > 1 else 1, "plaintext": True}
    )
    point = Point("d1.cards", ValueKind.NUMBER, Text("", ""), 1.0)
    spec = PointSpec(point, type_.point_options.model_validate({"field": "card_count"}))
    line: Any = _OneAnswer()
    line.data = data
    driver = type_.make(DeviceSpec("d1", options, {point.id: spec}, 0.5), line, ManualClock())
    poll: Any = driver.poll([point.id])
    with suppress(StopIteration, DriverError):
        poll.send(None)
    poll.close()


def _finished(poll: Any) -> list[Reading]:
    """Run a coroutine that waits for nothing."""
    try:
        poll.send(None)
    except StopIteration as done:
        readings: list[Reading] = done.value
        return readings
    raise AssertionError("the driver waited")


def _simulator(kind: Kind) -> Target:
    def check(data: bytes) -> None:
        devices = kind.devices(Truth(), 3)
        try:
            devices.feed(data)
            devices.feed(data[::-1])
        except ProtocolError:
            return

    return check
