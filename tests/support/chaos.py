"""A line of every protocol whose values say what they are, and a judge who knows it.

    value = device (2 digits) | identifier (1 digit) | moment (5 digits of TICK_S)

So a value that belongs to another device, another register or another question is recognised, whatever the driver, the
quality gate and the supervisor make of it.  The far ends are gateway.sim's, with all their faults; the near end is the
real driver, the real exchange and the real ``Line``, over memory (virtual time), a pseudo terminal or TCP.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, SerialFormat
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter
from drivers.device_link import DeviceLink
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, SimRecord
from drivers.modbus.config import PointOptions
from drivers.modbus.simulator import AsciiLine, ModbusBank, RtuLine, SimUnit, TcpStream
from drivers.registry import protocol
from drivers.transport import ByteLine, SerialLink, TcpLink
from gateway.model import Point, PointId, Quality, Reading, Record, Text, Value, ValueKind
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.sim import forge
from gateway.sim.compound import Bus
from gateway.sim.faults import DeviceFault, FaultBoard, Forge, LineFault, Twist
from gateway.sim.line import Responder, SimLine, SimWire
from gateway.sim.tcp import ModbusUnits, SimStream, converter
from gateway.supervisor import Line
from support.clock import LoopClock
from support.copper import MemoryLink
from support.reports import untaken

TICK_S = 0.05
MOMENTS = 100_000
STALL_S = 2.0
"""A busy machine may hold a pseudo terminal's bytes back so long."""
Said = Callable[[int, int], int]
"""(device, identifier) -> the code it shows now."""


# ---------------------------------------------------------------------- what the devices show


@dataclass
class Truth:
    """What every register shows, and what it has shown so far."""

    now_s: float = 0.0
    """Of the request being answered: one answer has one moment."""
    asked: set[tuple[int, int]] = field(default_factory=set)
    """(device, moment) of the values that the answer being made holds."""

    def code(self, device: int, identifier: int) -> int:
        moment = int(self.now_s / TICK_S) % MOMENTS
        self.asked.add((device, moment))
        return (device * 10 + identifier) * MOMENTS + moment


@dataclass(frozen=True)
class Kind:
    """One protocol: how its devices are simulated, configured and read."""

    name: str
    protocol: str
    devices: Callable[[Truth, int], Responder]
    options: Callable[[int], Mapping[str, Any]]
    """Of a device entry, by the device's number (from 1)."""
    points: Mapping[str, Mapping[str, Any]]
    """Point name -> what a profile's point says; the n-th one has identifier n."""
    decimals: int = 0
    """The value is the code with so many decimals."""
    unit: str | None = None
    stale_s: float = 0.0
    """How old a value may be, in time-outs, where an answer may be the one to the same question asked before."""
    checked: bool = True
    """Whether the protocol has a checksum."""
    least_used: float = 0.95
    """Share of the undisturbed answers that must have made good readings."""
    serial: SerialFormat | None = None
    """None: TCP only."""


@dataclass(frozen=True)
class _Telling:
    """Devices whose answers are remembered with their moment."""

    inner: Responder
    truth: Truth
    made: dict[tuple[str, bytes], frozenset[tuple[int, int]]]

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        self.truth.now_s = asyncio.get_running_loop().time()
        self.truth.asked.clear()
        answers = self.inner.feed(data)
        for device, answer in answers:
            self.made[device, answer] = frozenset(self.truth.asked)
        return answers

    def silence(self) -> None:
        self.inner.silence()

    def forge(self, answer: bytes, twist: Twist, chance: random.Random) -> bytes:
        lie: Forge = self.inner.forge  # type: ignore[attr-defined]
        return lie(answer, twist, chance)


def _dlt645(truth: Truth, count: int) -> Responder:
    identifiers = {"00010000": 1, "00010100": 2, "00020000": 3}

    def values(device: int) -> Callable[[str], Decimal]:
        return lambda di: Decimal(truth.code(device, identifiers[di])).scaleb(-2)

    meters = [Dlt645SimMeter(f"{n:012d}", values(n)) for n in range(1, count + 1)]
    return Bus(Dlt645SimLine(meters).feed, {f"{n:012d}": f"d{n}" for n in range(1, count + 1)}, forge=forge.dlt645)


def _cjt188(truth: Truth, count: int) -> Responder:
    identifiers = {"901F.volume": 1, "901F.settlement_volume": 2, "D120.volume": 3}
    rest = {"901F.clock": "20260605102233", "901F.status": "0500"}

    def values(device: int) -> Callable[[str], Decimal | str]:
        return lambda name: rest.get(name) or Decimal(truth.code(device, identifiers[name])).scaleb(-2)

    meters = [Cjt188SimMeter(f"{n:014d}", 0x10, values(n)) for n in range(1, count + 1)]
    return Bus(Cjt188SimLine(meters).feed, {f"{n:014d}": f"d{n}" for n in range(1, count + 1)}, forge=forge.cjt188)


def _mbus(split: bool) -> Callable[[Truth, int], Responder]:
    def devices(truth: Truth, count: int) -> Responder:
        meters = [_mbus_meter(truth, n, split) for n in range(1, count + 1)]
        return Bus(MbusSimLine(meters).feed, {str(n): f"d{n}" for n in range(1, count + 1)}, forge=forge.mbus)

    return devices


def _mbus_meter(truth: Truth, device: int, split: bool) -> MbusSimMeter:
    meter = MbusSimMeter(device, lambda: (), f"{device:08d}", 0x0477, 14, 0x16)

    def telegrams() -> Sequence[bytes]:
        energy = SimRecord(b"\x0c", b"\x06", truth.code(device, 1))  # kW.h
        volume = SimRecord(b"\x0c", b"\x16", truth.code(device, 2))  # m3
        last = SimRecord(b"\x4c", b"\x16", truth.code(device, 3))  # m3, storage 1
        if not split:
            return [meter.variable([energy, volume, last])]
        return [meter.variable([energy], more=True), meter.variable([volume, last])]

    meter.telegrams = telegrams
    return meter


def _units(truth: Truth, count: int, points: Mapping[str, Mapping[str, Any]]) -> ModbusBank:
    bank = ModbusBank()
    for device in range(1, count + 1):
        bank.units[device] = SimUnit()
        for identifier, options in enumerate(points.values(), 1):
            bank.units[device].place(PointOptions(**options), _shown(truth, device, identifier))
    return bank


def _shown(truth: Truth, device: int, identifier: int) -> Callable[[], Value]:
    return lambda: truth.code(device, identifier)


def _rtu(points: Mapping[str, Mapping[str, Any]]) -> Callable[[Truth, int], Responder]:
    def devices(truth: Truth, count: int) -> Responder:
        line = RtuLine(_units(truth, count, points))
        return Bus(line.feed, {n: f"d{n}" for n in range(1, count + 1)}, line.silence, forge.modbus_rtu)

    return devices


def _ascii(truth: Truth, count: int) -> Responder:
    line = AsciiLine(_units(truth, count, _MODBUS_POINTS))
    return Bus(line.feed, {n: f"d{n}" for n in range(1, count + 1)}, line.silence, forge.modbus_ascii)


def _tcp(truth: Truth, count: int) -> Responder:
    bank = _units(truth, count, _MODBUS_POINTS)
    return ModbusUnits(TcpStream(bank), {n: f"d{n}" for n in range(1, count + 1)})


_MODBUS_POINTS = {f"p{at}": {"table": "holding", "address": at, "type": "u32"} for at in (0, 100, 200)}
"""So far apart that each is a question of its own, and all of one length."""
_BLOCK = {f"p{at}": {"table": "holding", "address": at, "type": "u32"} for at in range(0, 20, 2)}
_CJT188_POINTS = {
    "volume": {"field": "volume"},
    "settlement": {"field": "settlement_volume"},
    "month": {"field": "volume", "di": "D120"},
}
_MBUS_POINTS = {
    "energy": {"quantity": "energy"},
    "volume": {"quantity": "volume"},
    "last": {"quantity": "volume", "storage": 1},
}
FAST, METER = SerialFormat(9600), SerialFormat(9600, "E")
MOST_LATE = 3.0
"""Time-outs."""
STALE = MOST_LATE + 0.2
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "modbus-rtu",
            "modbus-rtu",
            _rtu(_MODBUS_POINTS),
            lambda n: {"unit_id": n},
            _MODBUS_POINTS,
            stale_s=STALE,
            serial=FAST,
        ),
        Kind(
            "modbus-ascii",
            "modbus-ascii",
            _ascii,
            lambda n: {"unit_id": n},
            _MODBUS_POINTS,
            stale_s=STALE,
            serial=SerialFormat(9600, "E", data_bits=7),
        ),
        Kind("modbus-tcp", "modbus-tcp", _tcp, lambda n: {"unit_id": n}, _MODBUS_POINTS, checked=False),
        Kind(
            "dlt645",
            "dlt645",
            _dlt645,
            lambda n: {"address": f"{n:012d}"},
            {"total": {"di": "00010000"}, "t1": {"di": "00010100"}, "reverse": {"di": "00020000"}},
            decimals=2,
            stale_s=STALE,
            serial=METER,
        ),
        Kind(
            "cjt188",
            "cjt188",
            _cjt188,
            lambda n: {"address": f"{n:014d}", "type": "10"},
            _CJT188_POINTS,
            decimals=2,
            unit="m3",
            serial=METER,
        ),
        Kind(
            "mbus",
            "mbus",
            _mbus(split=False),
            lambda n: {"primary": n},
            _MBUS_POINTS,
            stale_s=STALE,
            serial=METER,
        ),
        Kind(
            "mbus-two-telegrams",
            "mbus",
            _mbus(split=True),
            lambda n: {"primary": n},
            _MBUS_POINTS,
            stale_s=STALE,
            least_used=0.5,  # a sound first telegram is worth nothing where the second one is lost
            serial=METER,
        ),
        Kind(
            "mbus-secondary",
            "mbus",
            _mbus(split=False),
            lambda n: {"secondary": f"{n:08d}"},
            _MBUS_POINTS,
            stale_s=STALE,
            serial=METER,
        ),
    )
}


RTU_BLOCK = replace(KINDS["modbus-rtu"], name="20 registers in a block", devices=_rtu(_BLOCK), points=_BLOCK)
"""One question for all of a device's registers."""


# ---------------------------------------------------------------------- the judge


@dataclass
class Verdict:
    """What has been read, and what was wrong with it."""

    seed: int
    polls: int = 0
    qualities: dict[Quality, int] = field(default_factory=lambda: dict.fromkeys(Quality, 0))
    wrong: list[str] = field(default_factory=list)
    """Readings that were called good and are not what the register showed."""
    caught: list[str] = field(default_factory=list)
    """Wrong readings of a driver that the quality gate has kept from being called good."""
    clean: set[tuple[int, int]] = field(default_factory=set)
    """(device, moment) of the answers that nothing had disturbed."""
    used: set[tuple[int, int]] = field(default_factory=set)
    """The same of good readings."""
    good_at_s: dict[str, list[float]] = field(default_factory=dict)
    """Device -> when a good reading was published."""

    def lost(self) -> set[tuple[int, int]]:
        """Answers that came undisturbed and made no reading."""
        return self.clean - self.used

    def used_share(self) -> float:
        return 1 - len(self.lost()) / max(len(self.clean), 1)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {quality}" for quality, count in self.qualities.items())
        return (
            f"seed {self.seed}: {self.polls} reads; readings: {counts}; {len(self.wrong)} wrong and called good, "
            f"{len(self.caught)} wrong and doubted; {self.used_share():.1%} of {len(self.clean)} clean answers used"
        )


@dataclass
class _Judged:
    """A driver whose every reading is held against the truth (drivers/base.py: Driver)."""

    inner: Driver
    number: int
    identifiers: Mapping[PointId, int]
    scale: int
    stale_s: float
    verdict: Verdict
    false: set[tuple[PointId, Value | None, int]]

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return self.inner.batches(points)

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self.verdict.polls += 1
        readings = await self.inner.poll(points)
        for reading in readings:
            if reading.value is not None and not self._is_true(reading, started_s, loop.time()):
                self.false.add((reading.point, reading.value, reading.gateway_time_ms))
        return readings

    def _is_true(self, reading: Reading, started_s: float, now_s: float) -> bool:
        who, moment = self.parts(reading)
        earliest, latest = int((started_s - self.stale_s) / TICK_S), int(now_s / TICK_S)
        fits = any(moment == each % MOMENTS for each in range(earliest, latest + 1))
        return fits and who == self.number * 10 + self.identifiers[reading.point]

    def parts(self, reading: Reading) -> tuple[int, int]:
        assert isinstance(reading.value, (int, float))
        return divmod(round(reading.value * self.scale), MOMENTS)


# ---------------------------------------------------------------------- lines


@dataclass
class Field:
    """A running line, its knobs and what has come of it."""

    kind: Kind
    names: Sequence[str]
    faults: FaultBoard
    line: Line
    verdict: Verdict
    timeout_s: float
    link: ByteLine
    wire: SimLine | None = None
    """Of a pseudo terminal."""

    def misbehave(self, fault: DeviceFault, line: LineFault | None = None) -> None:
        """All devices alike."""
        self.faults.devices = dict.fromkeys(self.names, fault)
        if line is not None:
            self.faults.lines["l"] = line


@asynccontextmanager
async def field_of(
    kind: Kind,
    *,
    seed: int,
    over: str = "memory",
    devices: int = 6,
    interval_s: float = 1.0,
    timeout_s: float = 0.5,
    serial: SerialFormat | None = None,
    turnaround_s: tuple[float, float] = (0.005, 0.02),
    by_id: Path | None = None,
    points: Sequence[str] | None = None,
) -> AsyncIterator[Field]:
    """*devices* of *kind* polled by the real supervisor while the context is open.

    over: ``memory``, ``pty`` or ``tcp``.  serial: instead of the kind's own; over TCP it does not matter.
    points: those that are polled; all where none are named.
    """
    serial = serial or kind.serial
    truth, board, verdict = Truth(), FaultBoard(), Verdict(seed)
    made: dict[tuple[str, bytes], frozenset[tuple[int, int]]] = {}

    def told(device: str, answer: bytes, clean: bool) -> None:
        if clean:
            verdict.clean.update(made.get((device, answer), ()))

    def far_devices() -> Responder:
        return _Telling(kind.devices(truth, devices), truth, made)

    link: ByteLine
    async with _far_end(kind, over, serial, far_devices, board, seed, turnaround_s, by_id, told) as (link, wire):
        stale_s = kind.stale_s * timeout_s
        if stale_s and over != "memory":
            stale_s += STALL_S
        field_ = _near_end(kind, link, board, verdict, devices, interval_s, timeout_s, stale_s)
        if points is not None:
            field_.line.jobs = [Job(job.device, tuple(_of(job, points)), job.interval_s) for job in field_.line.jobs]
        field_.wire = wire
        async with asyncio.TaskGroup() as group:
            polling = group.create_task(field_.line.run())
            try:
                yield field_
            finally:
                polling.cancel()
                with suppress(asyncio.CancelledError):
                    await polling


@asynccontextmanager
async def _far_end(
    kind: Kind,
    over: str,
    serial: SerialFormat | None,
    devices: Callable[[], Responder],
    board: FaultBoard,
    seed: int,
    turnaround_s: tuple[float, float],
    by_id: Path | None,
    told: Callable[[str, bytes, bool], None],
) -> AsyncIterator[tuple[ByteLine, SimLine | None]]:
    if over == "tcp":
        async with converter(devices, "l", board, seed=seed, checked=kind.checked, told=told) as port:
            yield TcpLink("127.0.0.1", port), None
    elif over == "pty":
        assert serial is not None
        async with SimLine(
            "l", serial, [devices()], board, seed=seed, turnaround_s=turnaround_s, by_id=by_id, told=told
        ) as wire:
            yield SerialLink(wire.path, serial), wire
    else:
        link = MemoryLink(serial)
        far: SimWire | SimStream
        if serial is None:
            chance = random.Random(f"{seed} l")
            far = SimStream("l", devices(), board, link._received, chance=chance, checked=kind.checked, told=told)
        else:
            far = SimWire(
                "l", serial, [devices()], board, link._received, seed=seed, turnaround_s=turnaround_s, told=told
            )
        link.far_end = far
        yield link, None
        far.close()


def _near_end(
    kind: Kind,
    link: ByteLine,
    board: FaultBoard,
    verdict: Verdict,
    count: int,
    interval_s: float,
    timeout_s: float,
    stale_s: float,
) -> Field:
    clock = LoopClock()
    type_ = protocol(kind.protocol)
    links = {f"d{n}": DeviceLink(link) for n in range(1, count + 1)}
    drivers: dict[str, _Judged] = {}
    points: dict[PointId, Point] = {}
    false: set[tuple[PointId, Value | None, int]] = set()
    for n in range(1, count + 1):
        specs = {f"d{n}.{name}": point_spec(kind, f"d{n}.{name}", options) for name, options in kind.points.items()}
        options = type_.device_options.model_validate(kind.options(n))
        driver = type_.make(DeviceSpec(f"d{n}", options, specs, timeout_s), links[f"d{n}"], clock)
        identifiers = {point: identifier for identifier, point in enumerate(specs, 1)}
        drivers[f"d{n}"] = _Judged(driver, n, identifiers, 10**kind.decimals, stale_s, verdict, false)
        points |= {id_: spec.point for id_, spec in specs.items()}

    async def publish(records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Reading):
                _judge(record, drivers[record.point.partition(".")[0]], false, verdict)

    jobs = [Job(name, tuple(driver.identifiers), interval_s) for name, driver in drivers.items()]
    line = Line(
        "l",
        link,
        drivers,
        jobs,
        publish,
        clock,
        random.Random(verdict.seed),
        QualityGate(points),
        lambda change: None,
        untaken,
        links=links,
    )
    return Field(kind, list(drivers), board, line, verdict, timeout_s, link)


def _of(job: Job, names: Sequence[str]) -> Sequence[PointId]:
    return [point for point in job.points if point.partition(".")[2] in names]


def _judge(reading: Reading, driver: _Judged, false: set[tuple[PointId, Value | None, int]], verdict: Verdict) -> None:
    verdict.qualities[reading.quality] += 1
    if reading.value is None:
        return
    if (reading.point, reading.value, reading.gateway_time_ms) in false:
        (verdict.wrong if reading.quality is Quality.GOOD else verdict.caught).append(str(reading))
    elif reading.quality is Quality.GOOD:
        verdict.used.add((driver.number, driver.parts(reading)[1]))
        verdict.good_at_s.setdefault(f"d{driver.number}", []).append(asyncio.get_running_loop().time())


def driver_of(kind: Kind, number: int, link: Link, timeout_s: float) -> Driver:
    """The driver of one device, without the rest."""
    type_ = protocol(kind.protocol)
    specs = {f"d{number}.{name}": point_spec(kind, f"d{number}.{name}", each) for name, each in kind.points.items()}
    options = type_.device_options.model_validate(kind.options(number))
    return type_.make(DeviceSpec(f"d{number}", options, specs, timeout_s), link, LoopClock())


def point_spec(kind: Kind, point: PointId, options: Mapping[str, Any]) -> PointSpec:
    model = protocol(kind.protocol).point_options.model_validate(options)
    per_hour = 3600 / TICK_S / 10**kind.decimals
    text = Text(point, point)
    made = Point(point, ValueKind.NUMBER, text, 1.0, kind.unit, counter=True, max_per_hour=1.1 * per_hour)
    return PointSpec(made, model)


# ---------------------------------------------------------------------- faults


def random_fault(chance: random.Random, timeout_s: float, kind: Kind) -> DeviceFault:
    """Anything that faults.py knows, in shares of up to a fifth."""

    def share(most: float = 0.2) -> float:
        return chance.choice((0.0, 0.0, chance.uniform(0.0, most)))

    return DeviceFault(
        silent=chance.random() < 0.03,
        drop=share(0.1),
        late=share(0.3),
        late_s=(timeout_s, MOST_LATE * timeout_s),
        noise=share(),
        noise_bytes=64,
        spoil=share(),
        twist=share(),
        twice=share(),
        # an RTU answer says nothing of the question: repeated after a pause it is the answer to the next one
        twice_s=0.0 if kind.protocol in ("modbus-rtu", "modbus-ascii") else chance.choice((0.0, 0.01, 0.2)),
        drip=share(0.1),
        pause_s=chance.choice((0.002, 0.01)),
    )


def random_line_fault(chance: random.Random) -> LineFault:
    return LineFault(
        echo=chance.random() < 0.2,
        dirty_per_s=chance.choice((0.0, 0.0, 0.5, 3.0)),
        chunk_s=chance.choice((None, 0.0, 0.002, 0.1)),
    )
