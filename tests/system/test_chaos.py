"""The promise of billing, tried on every protocol: faults at the wire, and no wrong value is ever called good.

Every value says which device, which register and which moment it belongs to (support/chaos.py).  10,000 reads of each
protocol in virtual time; the same over real pseudo terminals and TCP for a few seconds.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from drivers.base import SerialFormat
from drivers.modbus import framing
from drivers.transport import SerialLink, TcpLink
from drivers_contract.wire import tcp_wire
from gateway.errors import DeviceUnreachable, ProtocolError
from gateway.model import Quality
from gateway.sim import faults
from gateway.sim.faults import DeviceFault, LineFault, Twist
from support import virtual_time
from support.chaos import (
    KINDS,
    MOMENTS,
    MOST_LATE,
    Field,
    Kind,
    Truth,
    Verdict,
    driver_of,
    field_of,
    random_fault,
    random_line_fault,
)
from support.copper import MemoryLink

SEED = 20261122
READS = {kind: 2_500 if kind in ("modbus-ascii", "mbus-two-telegrams", "mbus-secondary") else 10_000 for kind in KINDS}
TIMEOUT_S = 0.5
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


async def weather(field_: Field, chance: random.Random, pause_s: float) -> None:
    """Other faults for everybody, and then time for them to be felt."""
    field_.faults.devices = {name: random_fault(chance, field_.timeout_s, field_.kind) for name in field_.names}
    field_.faults.lines["l"] = random_line_fault(chance)
    await asyncio.sleep(pause_s)


def hold(verdict: Verdict, kind: Kind) -> None:
    print(f"{kind.name}: {verdict}")
    assert not verdict.wrong, f"{verdict}: {verdict.wrong[:3]}"
    assert verdict.used_share() >= kind.least_used, f"{verdict}: {sorted(verdict.lost())[:3]}"


@every_kind
def test_random_faults_never_make_a_wrong_value_good(kind: Kind) -> None:
    async def main() -> Verdict:
        chance = random.Random(SEED)
        async with field_of(kind, seed=SEED, timeout_s=TIMEOUT_S) as running:
            while running.verdict.polls < READS[kind.name]:
                await weather(running, chance, 10.0)
            return running.verdict

    verdict = virtual_time.run(main(), grace_s=0.0)
    hold(verdict, kind)
    assert verdict.polls >= READS[kind.name]
    assert len(verdict.clean) > verdict.polls / 10, "some answers must have come undisturbed"
    assert verdict.qualities[Quality.GOOD] > verdict.polls / 2
    assert verdict.qualities[Quality.BAD] > verdict.polls / 50, "the faults must have been felt"


def test_the_judge_would_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its embargo the RTU driver takes late answers for the next ones."""
    monkeypatch.setattr(framing, "EMBARGO_TIMEOUTS", 0.0)
    verdict = _reads(KINDS["modbus-rtu"], faults.often_late(0.3, TIMEOUT_S, MOST_LATE), LineFault(), 1000)
    assert len(verdict.wrong) + len(verdict.caught) >= 5, verdict


# ---------------------------------------------------------------------- one fault at a time


class Trial(NamedTuple):
    fault: DeviceFault
    line: LineFault = LineFault()
    least_good: float = 0.0
    """Good readings per read that must come of it; every readout has at least one point."""
    most_good: float = 100.0


TRIALS = {
    "healthy": Trial(DeviceFault(), least_good=1.0),
    "C1 30 % late": Trial(faults.often_late(0.3, TIMEOUT_S, MOST_LATE), least_good=0.3),
    "C3 noise of up to 64 bytes": Trial(faults.noisy(0.5, 64), least_good=0.3),
    "C4 20 % wrong checksums": Trial(faults.wrong_checksum(0.2), least_good=0.5),
    "C5 wrong address": Trial(faults.lying(Twist.ADDRESS), most_good=0.0),
    "C5 wrong function": Trial(faults.lying(Twist.FUNCTION), most_good=0.0),
    "C5 too short": Trial(faults.lying(Twist.SHORT)),
    "C5 too long": Trial(faults.lying(Twist.LONG)),
    "C5 answers another question": Trial(faults.lying(Twist.REFERENCE)),
    "C5 often lies": Trial(faults.lying(share=0.5), least_good=0.2),
    "C6 echo": Trial(DeviceFault(), LineFault(echo=True), least_good=1.0),
    "C7 one byte at a time": Trial(DeviceFault(), LineFault(chunk_s=0.0), least_good=1.0),
    "C7 all at once": Trial(DeviceFault(), LineFault(chunk_s=1.0), least_good=1.0),
    "C7 pauses of more than 3.5 characters": Trial(DeviceFault(drip=1.0, pause_s=0.01), least_good=0.9),
    "C8 half of it twice": Trial(DeviceFault(twice=0.5), least_good=0.05),
    "0 to 13 FE": Trial(faults.lying(Twist.PREAMBLE), least_good=1.0),
    "dirty": Trial(DeviceFault(), LineFault(dirty_per_s=10.0), least_good=0.2),
    "mostly silent": Trial(DeviceFault(drop=0.7), least_good=0.05),
}


@every_kind
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS.keys())
def test_one_fault_at_a_time(trial: Trial, kind: Kind) -> None:
    verdict = _reads(kind, trial.fault, trial.line, 150)
    hold(verdict, kind)
    good = verdict.qualities[Quality.GOOD] / verdict.polls
    assert trial.least_good <= good <= trial.most_good, verdict


def test_what_says_which_question_it_answers_is_never_taken_for_another() -> None:
    """Transaction id, sequence number, identifier: with a wrong one nothing is believed."""
    for name in ("modbus-tcp", "dlt645", "cjt188"):
        verdict = _reads(KINDS[name], faults.lying(Twist.REFERENCE), LineFault(), 100)
        assert verdict.qualities[Quality.GOOD] == 0, verdict


def test_a_wrong_length_is_never_believed_where_the_length_is_known() -> None:
    for name in ("modbus-rtu", "modbus-ascii", "modbus-tcp", "cjt188"):
        for twist in (Twist.SHORT, Twist.LONG):
            verdict = _reads(KINDS[name], faults.lying(twist), LineFault(), 100)
            assert verdict.qualities[Quality.GOOD] == 0, verdict


def _reads(kind: Kind, fault: DeviceFault, line: LineFault, reads: int) -> Verdict:
    async def main() -> Verdict:
        async with field_of(kind, seed=SEED, timeout_s=TIMEOUT_S) as running:
            running.misbehave(fault, line)
            while running.verdict.polls < reads:
                await asyncio.sleep(1.0)
            return running.verdict

    return virtual_time.run(main(), grace_s=0.0)


# ---------------------------------------------------------------------- C8: what a TCP peer may send

PEERS = {
    "a length of 65535": lambda frame, chance: frame[:4] + b"\xff\xff" + frame[6:] + chance.randbytes(300),
    "300 random bytes": lambda frame, chance: chance.randbytes(300),
    "300 random bytes, then the answer": lambda frame, chance: chance.randbytes(300) + frame,
    "another transaction": lambda frame, chance: bytes((frame[0] ^ 1,)) + frame[1:],
    "another unit": lambda frame, chance: frame[:6] + b"\x02" + frame[7:],
    "everything twice": lambda frame, chance: 2 * frame,
    "another protocol": lambda frame, chance: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a megabyte": lambda frame, chance: chance.randbytes(2**20),
}
BELIEVED = ("300 random bytes, then the answer", "everything twice")


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS.keys())
def test_whatever_a_tcp_peer_sends_nothing_wrong_is_believed_and_the_next_answer_is(
    peer: Callable[[bytes, random.Random], bytes],
) -> None:
    kind, chance = KINDS["modbus-tcp"], random.Random(SEED)
    answers = peer in [PEERS[name] for name in BELIEVED]
    hostile = True

    async def main() -> None:
        nonlocal hostile
        far_end = kind.devices(Truth(), 1)

        def respond(data: bytes) -> list[bytes]:
            return [peer(frame, chance) if hostile else frame for _, frame in far_end.feed(data)]

        async with tcp_wire(respond) as wire, TcpLink("127.0.0.1", wire.port) as link:
            device = driver_of(kind, 1, link, timeout_s=0.3)
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(2):
                if answers:
                    assert (await device.poll(["d1.p0"]))[0].quality is Quality.GOOD
                else:
                    with pytest.raises((ProtocolError, DeviceUnreachable)):
                        await device.poll(["d1.p0"])
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 8 * 1024, "KiB"
            hostile = False
            reading = (await device.poll(["d1.p0"]))[0]
            assert (reading.quality, reading.value) == (Quality.GOOD, 11 * MOMENTS)

    asyncio.run(main())


# ---------------------------------------------------------------------- the same on real wires


@pytest.mark.system
def test_random_faults_over_pseudo_terminals_and_tcp() -> None:
    """Every protocol on a port of its own, all at once, for some seconds of real time."""

    async def one(kind: Kind, over: str) -> tuple[str, Verdict, int]:
        chance = random.Random(SEED)
        fast = replace(kind.serial, baud=115200) if kind.serial else None
        async with field_of(kind, seed=SEED, over=over, interval_s=0.05, timeout_s=0.06, serial=fast) as running:
            async with asyncio.timeout(60):
                for _ in range(24):
                    await weather(running, chance, 0.25)
                while not (running.verdict.used and running.line.stats.failures):
                    await weather(running, chance, 0.25)
            return f"{kind.name} over {over}", running.verdict, running.line.stats.failures

    async def main() -> list[tuple[str, Verdict, int]]:
        runs: list[Coroutine[Any, Any, tuple[str, Verdict, int]]] = []
        for kind in KINDS.values():
            runs += [one(kind, over) for over in (("pty", "tcp") if kind.serial else ("tcp",))]
        return await asyncio.gather(*runs)

    results = asyncio.run(main())
    assert len(results) == 2 * len(KINDS) - 1
    for name, verdict, _ in results:
        print(f"{name}: {verdict}")
        assert not verdict.wrong, f"{name}: {verdict}: {verdict.wrong[:3]}"
    assert sum(verdict.qualities[Quality.GOOD] for _, verdict, _ in results) > 500, "they must have worked all the same"
    assert sum(failures for _, _, failures in results) > 50, "the faults must have been felt"


def test_a_line_in_memory_is_as_patient_as_a_port() -> None:
    for form in (SerialFormat(9600), SerialFormat(2400, "E"), SerialFormat(115200)):
        port, memory = SerialLink("/dev/null", form), MemoryLink(form)
        assert memory._quiet_s() == port._quiet_s()
        assert memory._gap_s(3.5) == port._gap_s(3.5)
        assert memory._gap_s(0.0) == port._gap_s(0.0)
    assert MemoryLink(None)._quiet_s() == TcpLink("127.0.0.1", 1)._quiet_s()
    assert MemoryLink(None)._gap_s(3.5) == TcpLink("127.0.0.1", 1)._gap_s(3.5)
