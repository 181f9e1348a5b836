"""gateway read --raw: the answer's bytes, the frame they are, and every way in which they can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.field import METER_TEXT, call, configured
from commission.test_stream import METER
from commission.toy import MEANT, answers_of, meter
from drivers_contract.wire import pty_wire
from gateway import local_api
from gateway.cli.read import command

EN = ("--lang", "en")
ITEM = {"p": "m1.voltage", "t": 1, "v": 224.4, "q": "good", "u": "V"}


def test_directly_when_the_daemon_is_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        async with pty_wire(answers_of(meter(MEANT))) as wire:
            config = configured(tmp_path, str(wire.path), baud=2400, parity="even", devices=METER_TEXT)
            result = await call(command, "--raw", "m1.voltage", "m1.power_factor", "--config", config, "--json", *EN)
            assert result.exit_code == 0, result.output
            voltage, factor = json.loads(result.stdout)["readings"]
            assert (voltage["p"], voltage["v"], voltage["raw"]) == ("m1.voltage", 224.4, METER.hex())
            assert voltage["decoded"]["frames"][0]["items"] == [{"id": "02010100", "value": 224.4, "unit": "V"}]
            assert factor["decoded"]["frames"][0]["items"][0]["value"] == 0.998
            assert all(len(each) == 3 for each in voltage["interpretations"])
            shown = await call(command, "--raw", "--device", "m1", "--config", config, *EN)
            assert METER.hex(" ") in shown.stdout
            assert "response  000000190101  91  02010100=224.4V" in shown.stdout

    asyncio.run(main())


def test_a_silent_device_has_no_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with pty_wire(lambda data: []) as wire:
            config = configured(tmp_path, str(wire.path), baud=2400, parity="even", devices=METER_TEXT)
            result = await call(command, "--raw", "m1.voltage", "--config", config, *EN)
            assert result.exit_code == 1
            assert "no_answer" in result.stdout
            assert "no bytes came" in result.stdout

    asyncio.run(main())


def test_through_the_daemon_with_all_its_interpretations_side_by_side(tmp_path: Path) -> None:
    asked: list[Mapping[str, Any]] = []

    async def read(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        asked.append(request)
        told = [["02010100 XXX.X", 224.4, "V"], ["bytes", "44 22", None], ["NN.NN", None, None]]
        return [{**ITEM, "raw": METER.hex(), "interpretations": told}]

    async def main() -> None:
        config = configured(tmp_path, "/dev/no-such-port", baud=2400, parity="even", devices=METER_TEXT)
        async with local_api.serve(config / "store", {"read": read}):
            result = await call(command, "--raw", "m1.voltage", "--config", config, *EN)
            assert (result.exit_code, result.stderr) == (0, "")
            value, raw, frame, *told = result.stdout.splitlines()
            assert value.split()[:3] == ["m1.voltage", "224.4", "V"]
            assert (raw.strip(), frame.strip()) == (METER.hex(" "), "response  000000190101  91  02010100=224.4V")
            assert told == [
                "    224.4 V  02010100 XXX.X",
                "      44 22  bytes",
                "          —  NN.NN",
            ]
            document = json.loads((await call(command, "--raw", "m1.voltage", "--config", config, "--json")).stdout)
            assert document["readings"][0]["interpretations"][0] == ["02010100 XXX.X", 224.4, "V"]
        assert asked[0] == {"op": "read", "points": ["m1.voltage"], "raw": True}

    asyncio.run(main())


def test_a_daemon_that_is_older_than_the_command_is_said_so(tmp_path: Path) -> None:
    async def read(request: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [dict(ITEM)]

    async def main() -> None:
        config = configured(tmp_path, "/dev/no-such-port", baud=2400, parity="even", devices=METER_TEXT)
        async with local_api.serve(config / "store", {"read": read}):
            result = await call(command, "--raw", "m1.voltage", "--config", config, *EN)
        assert result.exit_code == 1
        assert "the running daemon gives no bytes" in result.stderr

    asyncio.run(main())
