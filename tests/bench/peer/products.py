"""The two products, configured for the same work, each as well as its documentation allows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.bench.daemon import write_configuration

Reading = Literal["block", "tags"]
"""One request per device, or one per value."""
Storage = Literal["sqlite", "file", "memory"]
KEEPALIVE_S = 120
"""The peer's own."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be read: every device once a period."""

    ports: Sequence[int]
    values: int
    period_ms: int
    reading: Reading

    @property
    def offered(self) -> float:
        """Values a second."""
        return len(self.ports) * self.values * 1000 / self.period_ms


@dataclass(frozen=True, slots=True)
class Program:
    argv: Sequence[str]
    env: Mapping[str, str]


class Product(Protocol):
    @property
    def name(self) -> str: ...

    def configured(self, directory: Path, work: Work, broker_port: int) -> Program:
        """Write its files into *directory*, which is empty and its own."""


@dataclass(frozen=True, slots=True)
class Ours:
    name: str = "compound-gateway"

    def configured(self, directory: Path, work: Work, broker_port: int) -> Program:
        every, at_once = f"{work.period_ms}ms", 125 if work.reading == "block" else 1
        write_configuration(directory, work.ports, work.values, every, broker_port, max_registers=at_once)
        argv = [sys.executable, "-m", "gateway.cli.main", "run", "--config", str(directory)]
        return Program(argv, os.environ)


@dataclass(frozen=True, slots=True)
class ThingsBoard:
    """Departures from the files that it ships with, all of them in its favour:

    - packs of 1000 records leave its storage, as its code has by default; its sample file says 10 and 100
    - MQTT keep-alive 20 s, as ours; without the entry it is *KEEPALIVE_S*, and a dead connection is noticed later
    - no remote configuration, statistics or remote shell; its log takes errors only
    - Modbus: no retry, a time-out of 3 s instead of 35, so that nothing waits for a device that is gone
    """

    program: Path
    storage: Storage
    keepalive_s: int = 20

    @property
    def name(self) -> str:
        as_shipped = f", keep-alive {KEEPALIVE_S} s" if self.keepalive_s == KEEPALIVE_S else ""
        return f"thingsboard-gateway, {self.storage}{as_shipped}"

    def configured(self, directory: Path, work: Work, broker_port: int) -> Program:
        (directory / "logs").mkdir(parents=True)
        _write(directory / "tb_gateway.json", self._main(directory, broker_port))
        slaves = [_slave(port, work) for port in work.ports]
        _write(directory / "modbus.json", {"logLevel": "ERROR", "master": {"slaves": slaves}})
        _write(directory / "logs.json", _LOGGING)
        env = {**os.environ, "TB_GW_CONFIG_DIR": str(directory)}
        # It writes logs where it is started.
        return Program(["/bin/sh", "-c", 'cd "$0" && exec "$1"', str(directory), str(self.program)], env)

    def _main(self, directory: Path, broker_port: int) -> Mapping[str, Any]:
        return {
            "thingsboard": {
                "host": "127.0.0.1",
                "port": broker_port,
                "keep_alive": self.keepalive_s,
                "remoteShell": False,
                "remoteConfiguration": False,
                "statistics": {"enable": False},
                "deviceFiltering": {"enable": False},
                "checkConnectorsConfigurationInSeconds": 3600,
                "minPackSendDelayMS": 50,
                "security": {"type": "accessToken", "accessToken": "gateway"},
                "qos": 1,
                "reportStrategy": {"type": "ON_RECEIVED"},
                "checkingDeviceActivity": {"checkDeviceInactivity": False},
            },
            "storage": _STORAGE[self.storage](f"{directory}/data/"),
            "grpc": {"enabled": False},
            "connectors": [{"type": "modbus", "name": "field", "configuration": "modbus.json"}],
        }


_STORAGE: Mapping[Storage, Callable[[str], Mapping[str, Any]]] = {
    "memory": lambda _: {"type": "memory", "read_records_count": 1000, "max_records_count": 100_000},
    "file": lambda folder: {
        "type": "file",
        "data_folder_path": folder,
        "max_file_count": 10,
        "max_records_per_file": 10_000,
        "max_read_records_count": 1000,
    },
    "sqlite": lambda folder: {
        "type": "sqlite",
        "data_file_path": folder,
        "messages_ttl_check_in_hours": 1,
        "messages_ttl_in_days": 7,
        "max_read_records_count": 1000,
        "writing_batch_size": 1000,
    },
}
_LOGGERS = ("service", "tb_connection", "connector", "converter", "extension", "storage", "database", "tb_gateway")
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}},
    "loggers": {name: {"handlers": ["out"], "level": "ERROR", "propagate": False} for name in _LOGGERS},
    "root": {"handlers": ["out"], "level": "ERROR"},
}


def _slave(port: int, work: Work) -> Mapping[str, Any]:
    register = {"type": "16uint", "functionCode": 4, "objectsCount": 1}
    if work.reading == "block":
        block = {"tag": "v${address}", "address": f"0-{work.values - 1}", "maxRegistersPerRequest": 125}
        series = [{**register, **block}]
    else:
        series = [{**register, "tag": f"v{n}", "address": n} for n in range(work.values)]
    return {
        "host": "127.0.0.1",
        "port": port,
        "type": "tcp",
        "method": "socket",
        "unitId": 1,
        "deviceName": f"d{port}",
        "deviceType": "default",
        "timeout": 3,
        "byteOrder": "BIG",
        "wordOrder": "BIG",
        "retries": 0,
        "pollPeriod": work.period_ms,
        "connectAttemptTimeMs": 500,
        "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 30000,
        "attributes": [],
        "timeseries": series,
        "attributeUpdates": [],
        "rpc": [],
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1), "utf-8")
