"""A site with a relay board and a heating controller on one simulated Modbus line, written down for the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.base import SerialFormat
from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from gateway.sim.faults import SILENT, FaultBoard
from gateway.sim.line import SimLine

BOARD, HEATER, DEAF = 1, 2, 9
"""Unit ids; nobody has the last one."""
WRITES = (5, 6, 15, 16)
SERIAL_NUMBER = "4711"
_HEATER = """format: profile/1
id: heater
protocols: [modbus-rtu]
kind: heating
name: {zh: 温控器, en: Heating controller}
source: made up for tests
confidence: low
every: 200ms
points:
  setpoint:
    {name: {zh: 设定温度, en: Set point}, unit: Cel, minimum: 5, maximum: 30, writable: true,
     table: holding, address: 0, scale: 0.1}
  number: {name: {zh: 出厂编号, en: Serial number}, identity: true, every: 1 h, table: holding, address: 20}
"""
_SITE = """format: site/1
site: {{id: jiayuan, name: {{zh: 佳园小区, en: Jiayuan Garden}}}}
gateway: {{id: gw1, clock_wait: 0 s}}
store: {{path: {store}, budget: 64 MiB}}
lines: [{{id: bus, serial: {port}, baud: 9600, parity: none}}]
devices:
- id: board
  profile: waveshare_modbus_relay_8ch
  line: bus
  unit_id: 1
  every: 1s
  name: {{zh: 3 号楼继电器, en: Relays of building 3}}
  place: {{building: 3#, room: "101"}}
  allow_write: [relay1]
- {{id: heat, profile: heater, line: bus, unit_id: 2, allow_write: [setpoint], serial_number: "{number}"}}
"""
SILENT_DEVICE = "- {id: deaf, profile: heater, line: bus, unit_id: 9, timeout: 20s}\n"


@dataclass(slots=True)
class RelaySite:
    config: Path
    store: Path
    wire: SimLine
    faults: FaultBoard
    bank: ModbusBank
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    """Unit id and PDU of everything that has been asked."""
    dies_of_writes: bool = False
    """Whoever is written to does it and never answers again."""

    def heard(self, unit: int, pdu: bytes) -> None:
        self.requests.append((unit, pdu))
        if self.dies_of_writes and pdu[0] in WRITES:
            self.faults.devices[_name(unit)] = SILENT

    def writes(self) -> list[tuple[int, bytes]]:
        return [(unit, pdu) for unit, pdu in self.requests if pdu[0] in WRITES]

    def coil(self, address: int) -> object:
        return self.bank.units[BOARD].tables[Table.COIL][address]

    def setpoint(self) -> object:
        return self.bank.units[HEATER].tables[Table.HOLDING][0]


class _Heard:
    """The bank as the simulated wire wants it."""

    def __init__(self, bank: ModbusBank) -> None:
        self._line = RtuLine(bank)

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return [(_name(unit), frame) for unit, frame in self._line.feed(data)]

    def silence(self) -> None:
        self._line.silence()


def _name(unit: Hashable) -> str:
    return {BOARD: "board", HEATER: "heat"}[unit]  # type: ignore[index]


@asynccontextmanager
async def relay_site(
    directory: Path, more_devices: str = "", *, number: str = SERIAL_NUMBER
) -> AsyncIterator[RelaySite]:
    """*number*: what the site's configuration says of the heating controller."""
    board, heater = SimUnit(), SimUnit()
    board.tables[Table.COIL].update(dict.fromkeys(range(8), 0))
    heater.tables[Table.HOLDING].update({0: 205, 20: int(SERIAL_NUMBER)})
    bank = ModbusBank({BOARD: board, HEATER: heater})
    faults = FaultBoard()
    async with SimLine("bus", SerialFormat(9600), [_Heard(bank)], faults, turnaround_s=(0.002, 0.005)) as wire:
        site = RelaySite(directory / "config", directory / "store", wire, faults, bank)
        bank.on_request = site.heard
        (site.config / "devices").mkdir(parents=True)
        (site.config / "devices" / "heater.yaml").write_text(_HEATER, encoding="utf-8")
        text = _SITE.format(store=site.store, port=wire.path, number=number) + more_devices
        (site.config / "site.yaml").write_text(text, encoding="utf-8")
        yield site
