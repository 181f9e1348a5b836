"""The daemon as a process whose clock is wrong, or that is stopped for a while; a real broker, TLS included."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway import local_api
from gateway.clock import SystemClock
from gateway.sim.process import Child
from support.broker import broker, free_port
from support.certificates import Authority
from support.counting_device import CountingDevice, counting_device, write_site
from support.false_time import FalseTime
from support.mqtt_subscriber import Subscriber, subscriber

pytestmark = pytest.mark.system

CLOCK = SystemClock()

AHEAD_S = 90 * 86400.0
"""The truth of the test lies so far after the machine's own time, so that what the box believes first is far off."""


async def answer(daemon: Child, store: Path) -> dict[str, Any]:
    assert daemon.running, daemon.last_words()
    try:
        found: dict[str, Any] = await local_api.ask(store, {"op": "status"}, timeout_s=5.0)
    except local_api.NotRunning:
        return {}
    return found


async def until_held(daemon: Child, store: Path, envelopes: int) -> None:
    async with asyncio.timeout(60):
        while (await answer(daemon, store)).get("held", {}).get("billing", 0) < envelopes:
            await asyncio.sleep(0.1)


async def listening(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


def told_of(seen: Subscriber) -> int:
    return sum(item["kind"] == "clock.synchronised" for item in items(seen, "event"))


def items(seen: Subscriber, lane: str) -> Iterator[dict[str, Any]]:
    for message in seen.on(lane):
        yield from message.json["items"]


def test_a_box_that_boots_in_1970_collects_from_second_0_and_delivers_it_with_the_right_times(tmp_path: Path) -> None:
    """kill -9 included, and a certificate that is not valid before the box knows the time."""
    told, false_time = tmp_path / "synchronised", FalseTime(tmp_path / "faketime", 10 - CLOCK.now_ms() / 1000)
    authority = Authority(tmp_path / "ca", starts_s=AHEAD_S - 86400)
    server = authority.issue("server", "DNS:localhost")
    tls = [f"cafile {authority.ca}", f"certfile {server.certificate}", f"keyfile {server.key}"]

    async def main() -> tuple[Subscriber, CountingDevice]:
        plain = free_port()
        async with (
            counting_device() as device,
            broker(tmp_path / "b", f"listener {plain} 127.0.0.1", tls=tls) as running,
            AsyncExitStack() as stack,
        ):
            await listening(plain)  # the broker opens its ports one after the other
            seen = await stack.enter_async_context(subscriber(plain))
            uplink = f"{{id: up, host: localhost, port: {running.port}, tls: {{ca: {authority.ca}}}}}"
            write_site(tmp_path, device, uplink, clock_wait="1 h")
            command = (sys.executable, "-m", "support.clocked_daemon", str(tmp_path / "config"), str(told))
            async with Child(command, tmp_path / "log", env=false_time.env) as daemon:
                await until_held(daemon, tmp_path / "store", 10)
                await daemon.kill()
            async with Child(command, tmp_path / "log", env=false_time.env) as daemon:
                await until_held(daemon, tmp_path / "store", 20)
                status = await answer(daemon, tmp_path / "store")
                assert status["clock"] == "unknown"
                assert not status["uplinks"]["up"]["connected"]
                assert seen.received == []
                false_time.set(AHEAD_S)
                await asyncio.sleep(1.5)
                told.touch()
                before = len(device.served_ms)
                await seen.until(lambda: any(i["v"] > before for i in items(seen, "billing")), "new values", 90)
                await seen.until(lambda: told_of(seen) == 2, "one event for each start")
                status = await answer(daemon, tmp_path / "store")
                assert (status["clock"], status["held"]) == ("synced", {})
                assert await daemon.stop() == 0
            return seen, device

    seen, device = asyncio.run(main())
    errors_ms = {}
    for lane in ("billing", "telemetry"):
        for item in items(seen, lane):
            assert "c" not in item
            if item["p"].startswith("gw1."):
                continue  # what the gateway says of itself
            # taken after this answer and before the next question, however long the machine stood still in between
            early_ms = device.served_ms[item["v"]] + round(1000 * AHEAD_S) - item["t"]
            late_ms = item["t"] - [*device.served_ms, 2**62][item["v"] + 1] - round(1000 * AHEAD_S)
            errors_ms[lane, item["v"]] = max(0, early_ms, late_ms)
    assert len(errors_ms) > 80
    assert {lane for lane, _ in errors_ms} == {"billing", "telemetry"}
    assert min(value for _, value in errors_ms) == 0, "from the first answer on"
    assert not {key: error for key, error in errors_ms.items() if error > 2000}
    for lane in ("billing", "telemetry"):
        seqs = seen.seqs(lane)
        assert seqs == list(range(1, len(seqs) + 1))
    (shift_ms,) = {i["attributes"]["shift_ms"] for i in items(seen, "event") if i["kind"] == "clock.synchronised"}
    for item in items(seen, "event"):
        # What the first start said of itself may have left before the kill, for all that is known; it stays marked.
        right_ms = item["t"] + (shift_ms if item.get("c") == "unknown" else 0)
        assert abs(right_ms - 1000 * AHEAD_S - CLOCK.now_ms()) < 600_000
    assert {"gateway.started", "clock.synchronised"} <= {item["kind"] for item in items(seen, "event")}
    assert shift_ms > 60 * 86400 * 1000, "it could only guess"


def test_a_process_that_was_stopped_goes_on_without_a_burst_and_without_lying_to_the_watchdog(tmp_path: Path) -> None:
    stopped_s, watchdog_s = 4.0, 3.0

    async def main() -> tuple[CountingDevice, int, list[int]]:
        beats: list[int] = []
        async with counting_device() as device, broker(tmp_path / "b") as running, subscriber(running.port) as seen:
            write_site(tmp_path, device, f"{{id: up, host: 127.0.0.1, port: {running.port}}}")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.bind(str(tmp_path / "notify"))
                listener.setblocking(False)
                asyncio.get_running_loop().add_reader(
                    listener, lambda: beats.append(CLOCK.now_ms()) if listener.recv(99) == b"WATCHDOG=1" else None
                )
                env = {
                    **os.environ,
                    "NOTIFY_SOCKET": str(tmp_path / "notify"),
                    "WATCHDOG_USEC": str(round(watchdog_s * 1e6)),
                }
                command = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(tmp_path / "config"))
                async with Child(command, tmp_path / "log", env=env) as daemon:
                    await seen.until(lambda: len(seen.on("billing")) > 5 and len(beats) >= 2, "a start", 60)
                    os.kill(daemon.pid, signal.SIGSTOP)
                    await asyncio.sleep(stopped_s)
                    before, resumed_ms, beaten = len(device.served_ms), CLOCK.now_ms(), len(beats)
                    os.kill(daemon.pid, signal.SIGCONT)
                    await seen.until(
                        lambda: len(beats) > beaten and any(i["v"] >= before + 15 for i in items(seen, "billing")),
                        "going on",
                        60,
                    )
                    assert await daemon.stop() == 0
                asyncio.get_running_loop().remove_reader(listener)
            values = [item["v"] for item in items(seen, "billing")]
            assert values == sorted(values)
            return device, resumed_ms, beats[beaten:]

    device, resumed_ms, beats = asyncio.run(main())
    after = [(each - resumed_ms) / 1000 for each in device.served_ms if each >= resumed_ms]
    assert after[0] < 10.0
    # The grid goes on: every 0.2 s, and not 20 questions that were missed, at once.
    assert all(len([t for t in after if begin <= t < begin + 1.0]) <= 8 for begin in after)
    assert beats[0] - resumed_ms > 300, "who has stood still for 4 s has not been alive"
