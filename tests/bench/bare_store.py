"""The named reference: batches as blobs into SQLite (WAL, FULL), one commit each, and out again by paho, QoS 1.

Nothing is numbered, checked, grouped by lane or remembered; what is sent is encoded once.

python -m tests.bench.bare_store READINGS PER_BATCH DIRECTORY PORT   prints one line of JSON
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.bench.uplink_path import VALUES, measured

WINDOW = 100


def main(count: int, per_batch: int, directory: Path, port: int) -> dict[str, float]:
    directory.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(directory / "bare.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE batch (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)")
    room, acknowledged = threading.Semaphore(WINDOW), threading.Semaphore(0)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(WINDOW)

    def published(*_: object) -> None:
        room.release()
        acknowledged.release()

    client.on_publish = published
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    connected.wait(10)
    table = measured()
    begun, cpu_s = time.monotonic(), time.process_time()
    batches = count // per_batch
    for number in range(batches):
        body = _batch(table, number, per_batch)
        database.execute("INSERT INTO batch (body) VALUES (?)", (body,))
        room.acquire()
        client.publish("bench/telemetry", body, qos=1)
    stored_s = time.monotonic() - begun
    for _ in range(batches):
        acknowledged.acquire()
    used = {
        "readings": batches * per_batch,
        "seconds": time.monotonic() - begun,
        "stored_s": stored_s,
        "cpu_s": time.process_time() - cpu_s,
        "commits": batches,
        "envelopes": batches,
    }
    client.disconnect()
    client.loop_stop()
    database.close()
    return {**used, "disk_bytes": sum(file.stat().st_blocks * 512 for file in directory.iterdir())}


def _batch(table: Sequence[float], number: int, readings: int) -> bytes:
    """The same facts as in an envelope of ours."""
    now_ms, start = time.time_ns() // 1_000_000, number * readings % len(table)
    items: list[dict[str, Any]] = [
        {"p": f"d{n // VALUES}.v{n % VALUES}", "u": "V", "t": now_ms, "v": value, "q": "good"}
        for n, value in enumerate(itertools.islice(itertools.cycle(table), start, start + readings))
    ]
    return json.dumps({"seq": number, "items": items}, separators=(",", ":")).encode()


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))))
