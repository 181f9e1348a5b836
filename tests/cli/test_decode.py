from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from drivers.registry import decoders
from gateway.cli.decode import command, parse_file, parse_hex

READ = "01 03 00 00 00 01 84 0A"  # Modbus over Serial Line V1.02: unit 1, one holding register from 0
ANSWER = bytes.fromhex("01 03 02 00 2A 39 9B")


def decode(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, list(arguments), input=stdin)


SPELLINGS = [
    "01 03 00 00 00 01 84 0A",
    "010300000001840a",
    "01:03:00:00:00:01:84:0A",
    "0x01 0x03 0x00 0x00 0x00 0x01 0x84 0x0A",
    "0x01,0x03,0x00,0x00,0x00,0x01,0x84,0x0A",
    "01-03-00-00-00-01-84-0a",
    "01 03 00 00\r\n00 01\t84 0A\n",
]


def test_hex_may_be_written_in_many_ways() -> None:
    for spelling in SPELLINGS:
        assert parse_hex(spelling.encode()) == bytes.fromhex(READ), spelling
    for wrong in ("", "   ", "0", "01 0", "01 0g", "68H", "０１"):
        assert parse_hex(wrong.encode()) is None, wrong


def test_a_file_is_hex_text_when_all_of_it_is_and_bytes_otherwise() -> None:
    assert parse_file(READ.encode() + b"\n") == bytes.fromhex(READ)
    assert parse_file(b"\xef\xbb\xbf" + READ.encode()) == bytes.fromhex(READ)
    assert parse_file(ANSWER) == ANSWER
    assert parse_file(b"") == b""


def test_json_is_the_document_of_the_contract() -> None:
    result = decode("modbus-rtu", "--hex", READ, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert list(document) == ["protocol", "ok", "frames", "fault"]
    assert (document["protocol"], document["ok"], document["fault"]) == ("modbus-rtu", True, None)
    [frame] = document["frames"]
    assert list(frame) == ["direction", "address", "function", "items", "error"]
    assert (frame["direction"], frame["function"], frame["error"]) == ("request", "03", None)
    assert all(list(item) == ["id", "value", "unit"] for item in frame["items"])


def test_bytes_that_are_no_frame_exit_1() -> None:
    result = decode("modbus-rtu", "--hex", READ[:-1] + "B", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert list(document["fault"]) == ["code", "text", "offset"]
    for language, words in (("zh", "不是有效报文"), ("en", "not a valid frame")):
        result = decode("modbus-rtu", "--hex", READ[:-1] + "B", "--lang", language)
        assert result.exit_code == 1
        assert words in result.output


def test_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "frame.hex").write_text(READ)
    (tmp_path / "frame.bin").write_bytes(bytes.fromhex(READ))
    wanted = json.loads(decode("modbus-rtu", "--hex", READ, "--json").stdout)
    for result in (
        decode("modbus-rtu", str(tmp_path / "frame.hex"), "--json"),
        decode("modbus-rtu", str(tmp_path / "frame.bin"), "--json"),
        decode("modbus-rtu", "-", "--json", stdin=READ.encode()),
        decode("modbus-rtu", "-", "--json", stdin=bytes.fromhex(READ)),
    ):
        assert json.loads(result.stdout) == wanted


def test_people_get_one_block_a_frame() -> None:
    result = decode("modbus-rtu", "--hex", READ, "--lang", "zh")
    assert result.output.startswith("报文 1：请求，地址 1，功能码 03\n  ")
    assert decode("modbus-rtu", "--hex", READ, "--lang", "en").output.startswith(
        "frame 1: request, address 1, function 03"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("modbs-rtu", "--hex", READ),
        ("modbus-rtu",),
        ("modbus-rtu", "x", "--hex", READ),
        ("modbus-rtu", "--hex", "01 0g"),
        ("modbus-rtu", "/nowhere/frame.hex"),
        (),
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing_to_stdout(arguments: tuple[str, ...]) -> None:
    result = decode(*arguments, "--json")
    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_unknown_protocol_is_guessed() -> None:
    assert 'did you mean "modbus-rtu"?' in decode("modbs-rtu", "--hex", READ, "--lang", "en").stderr
    assert "可用：" in decode("x", "--hex", READ, "--lang", "zh").stderr


def test_every_decoder_takes_any_bytes() -> None:
    ran = 0
    for protocol in decoders():
        for data in ("00", "68", "ff" * 300, READ, "68 11 11 11 11 11 11 68"):
            result = decode(protocol, "--hex", data, "--json")
            assert result.exit_code in (0, 1)
            assert json.loads(result.stdout)["protocol"] == protocol
            ran += 1
    assert ran == 5 * len(decoders()) >= 15


def test_a_modbus_ascii_capture_is_not_taken_for_hex_text(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_bytes(b":0003007C00027F\r\n")
    result = decode("modbus-ascii", str(tmp_path / "line.txt"), "--json")
    assert result.exit_code == 0, result.output
    (frame,) = json.loads(result.stdout)["frames"]
    assert (frame["direction"], frame["function"]) == ("request", "03")
    assert [item["value"] for item in frame["items"]] == [124, 2]
