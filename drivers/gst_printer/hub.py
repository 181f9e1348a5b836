"""A serial port into which a fire alarm panel prints.

    port ─Printout─▶ records ─panel.heard─▶ points, happenings ─▶ Inbox ─▶ core

Nothing is ever sent to the panel.  It cannot be asked to print again: what is read and not yet on disk when the power
fails is gone, so as little as possible is held back.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import serial

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report, Unasked
from drivers.gst_printer.config import (
    GstPrinterHubOptions,
    GstPrinterOptions,
    GstPrinterPointOptions,
    serial_format,
)
from drivers.gst_printer.panel import Panel, from_memory
from drivers.gst_printer.printout import OTHER, Printed, Printout
from drivers.hub import InboxHub
from drivers.transport import close_port, open_port
from gateway.clock import Clock
from gateway.errors import ConfigError
from gateway.model import Reading, Value

LIFE_S = 20.0
"""How often the open port is a sign of life: a panel that has nothing to say prints nothing for weeks."""
UNFINISHED_S = 3.0
"""A record whose end does not come is told after this; a printer pauses between lines, not inside a record."""


class GstPrinterHub(InboxHub):
    """Raises ConfigError for a port with more than one panel.

    A stranger is what is printed and not understood: another make, or a wrong baud rate.
    """

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        if len(spec.devices) > 1:
            raise ConfigError(
                f"{spec.id}: 一个打印口只接一台控制器 / one panel at a printer port: {', '.join(spec.devices)}"
            )
        self._options: GstPrinterHubOptions = spec.options
        self._clock = clock
        self._device: DeviceSpec | None = next(iter(spec.devices.values()), None)
        self._kept = spec.memory.get(self._device.id) if self._device else None
        self._unsent: deque[Report] = deque()
        """What found no room in the inbox; while there is any, nothing is read."""
        self._port: serial.Serial | None = None
        self._reading = False
        self._gone = False
        """The port is: nothing more will come of it."""
        self._printout = Printout()
        self._panel = Panel()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._unsent.clear()
        self._gone = False
        self._printout = Printout()
        self._panel = _remembered(self._kept)
        self._port = open_port(self._options.port, serial_format(self._options.serial_format))
        self._read(True)
        self._alive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("the hub is closed")
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        port = self._port
        if port is not None:
            self._read(False)
            self._port = None
            close_port(port)

    async def receive(self) -> Sequence[Report]:
        reports = await self._inbox.take()
        self._hand_on()
        return reports

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if report.memory is not None:
                self._kept = report.memory

    # ------------------------------------------------------------------ the port

    def _read(self, wanted: bool) -> None:
        if self._port is None or wanted == self._reading:
            return
        self._reading = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._port.fileno(), self._readable)
        else:
            loop.remove_reader(self._port.fileno())

    def _readable(self) -> None:
        assert self._port is not None
        try:
            data = os.read(self._port.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError as exc:
            self._lost(f"read failed: {exc}")
            return
        if not data:
            self._lost("the port was closed from the other side")
            return
        self._told(self._printout.feed(data))
        self._after("unfinished", UNFINISHED_S if self._printout.waiting else None, self._unfinished)

    def _lost(self, why: str) -> None:
        """Stop listening: a dead descriptor is readable for ever.  What was printed so far is told."""
        self._gone = True
        self._read(False)
        self._told(self._printout.flush())
        self._after("alive", None, self._alive)
        self._inbox.lose(f"{self._options.port}: {why}")

    def _unfinished(self) -> None:
        self._told(self._printout.flush())

    def _alive(self) -> None:
        """The port is open and can be read: that much is alive, and nothing more can be known of a silent panel."""
        if self._device is not None and self._inbox.has_room:
            self._inbox.offer(Report(self._device.id))
        self._after("alive", LIFE_S, self._alive)

    def _after(self, name: str, seconds: float | None, call: Any) -> None:
        """Call once, so long from now, and not when it was to be called before; None: not at all."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            self._timers[name] = asyncio.get_running_loop().call_later(seconds, call)

    # ------------------------------------------------------------------ what is told

    def _told(self, records: Sequence[Printed]) -> None:
        for record in records:
            if record.event == OTHER and not record.time:
                self._strangers.met(self._options.port, f"看不懂的打印内容 / not understood: {record.what[:40]}")
            elif self._device is not None:
                self._unsent.append(self._report(self._device, record))
        self._hand_on()

    def _hand_on(self) -> None:
        while self._unsent and self._inbox.offer(self._unsent[0]):
            self._unsent.popleft()
        self._read(not self._unsent and not self._gone)

    def _report(self, device: DeviceSpec, record: Printed) -> Report:
        now_ms = self._clock.now_ms()
        self._panel = self._panel.heard(record)
        known = self._panel.points()
        readings = [
            Reading(each.point.id, known[each.options.field], now_ms, now_ms)
            for each in device.points.values()
            if each.options.field in known
        ]
        memory = json.dumps(dict(self._panel.active), separators=(",", ":")).encode()
        return Report(device.id, readings, (happening(record, now_ms),), memory)


def happening(record: Printed, now_ms: int) -> Happening:
    """Its time is when it was heard: a record is printed at once, and its own time has no seconds."""
    attributes: dict[str, Value | None] = {
        "event": record.event,
        "over": record.over,
        "first": record.first,
        "what": record.what,
        "loop": record.loop,
        "number": record.number,
        "place": record.place,
        "component": record.component,
        "panel_time": record.time,
    }
    return Happening("fire.printed", now_ms, attributes)


def _remembered(kept: bytes | None) -> Panel:
    """Nothing where nothing was kept, or by another version."""
    if kept is None:
        return Panel()
    try:
        return from_memory(json.loads(kept))
    except (ValueError, TypeError, AttributeError):
        return Panel()


GST_PRINTER = ProtocolType(
    name="gst-printer",
    device_options=GstPrinterOptions,
    point_options=GstPrinterPointOptions,
    make=lambda spec, hub, clock: Unasked(),
    hub=GstPrinterHub,
    hub_options=GstPrinterHubOptions,
    sends=True,
)
