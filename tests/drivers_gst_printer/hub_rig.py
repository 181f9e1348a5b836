"""What the contract of hubs is tried on.  A serial port has no peers: everything comes in over the one wire."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.gst_printer.config import GstPrinterHubOptions, GstPrinterOptions
from drivers.gst_printer.hub import GstPrinterHub
from drivers.gst_printer.simulator import Gst9000
from gateway.clock import Clock
from gateway.config.faults import Report as Faults
from gateway.config.profiles import Profiles
from gateway.model import Point, Text, ValueKind
from support.clock import LoopClock

PANEL = "panel"


def hub_spec(port: Path, *devices: str, memory: bytes | None = None) -> HubSpec:
    faults = Faults()
    profile = Profiles(Path("nowhere"), faults).get("gst9000_printer")
    assert profile is not None, faults.faults
    specs = {
        device: DeviceSpec(
            device,
            GstPrinterOptions(),
            {
                f"{device}.{name}": PointSpec(
                    Point(f"{device}.{name}", ValueKind(model.kind), Text("", ""), 60.0),
                    profile.options["gst-printer"][name],
                )
                for name, model in profile.model.points.items()
            },
            1.0,
        )
        for device in devices or (PANEL,)
    }
    options = GstPrinterHubOptions(port=str(port))
    return HubSpec("printer", options, specs, {} if memory is None else {PANEL: memory})


class HubRig:
    def __init__(self, printer: Gst9000, clock: Clock) -> None:
        self.hub = GstPrinterHub(hub_spec(printer.path), clock)
        self.device = PANEL
        self.devices = (PANEL,)
        self.printer = printer

    async def say(self, number: int) -> None:
        self.printer.fire(number >> 8, number & 0xFF, "1层走廊", first=number == 0)

    async def garbage(self) -> None:
        self.printer.say(b"\x00\xff" * 100 + bytes(range(32, 127)) + b"\n\n")

    async def stranger(self) -> None:
        """Another make of panel: no date in front."""
        self.printer.say("NO.0012 FLOOR 3 TEST\n\n".encode("gbk"))


@asynccontextmanager
async def _rig() -> AsyncIterator[HubRig]:
    with tempfile.TemporaryDirectory() as folder:
        async with Gst9000(Path(folder) / "printer") as printer:
            yield HubRig(printer, LoopClock())


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[HubRig]]]]:
    yield "gst-printer", _rig
