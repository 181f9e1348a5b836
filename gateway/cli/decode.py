"""gateway decode: any captured frame, explained."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from drivers.base import Decoded, DecodedFrame
from drivers.registry import PackagesMissing, decoder, decoders
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.config.faults import did_you_mean, one_of, quoted

MAX_BYTES = 1024 * 1024
_HEX_TEXT = re.compile(rb"(?:0[xX]|[0-9a-fA-F]|[\s:,;-])*")
_DIGITS = re.compile(rb"0[xX]|[\s:,;-]+")


@click.command(
    help="解释一段报文；FILE 可为十六进制文本或二进制 / Explain captured frames; FILE is hex text or binary, - is stdin"
)
@click.argument("protocol")
@click.argument("file", required=False)
@click.option("--hex", "hex_text", help='十六进制 / hex: "68 11 22 …"')
@command_options
def command(shell: Shell, protocol: str, file: str | None, hex_text: str | None) -> None:
    if protocol not in decoders():
        _refuse(shell, *_unknown(protocol))
    if (file is None) == (hex_text is None):
        _refuse(
            shell, "请给出 --hex 或文件（- 为标准输入），二者择一", "give either --hex or a file (- is standard input)"
        )
    data = _from_hex(shell, hex_text) if hex_text is not None else _from_file(shell, str(file))
    try:
        found = decoder(protocol)(data)
    except PackagesMissing as exc:
        _refuse(shell, f"协议 {quoted(protocol)} 所需的程序包未安装：{exc.install}", f"{exc}: {exc.install}")
    if shell.json:
        shell.document(as_json(protocol, found))
    else:
        _explain(shell, found)
    shell.stop(FINE if found.ok else FOUND_WRONG)


def parse_hex(text: bytes) -> bytes | None:
    """The bytes that *text* spells, with or without spaces, line breaks, colons, commas, dashes and 0x; else None."""
    if not _HEX_TEXT.fullmatch(text):
        return None
    digits = _DIGITS.sub(b"", text)
    return bytes.fromhex(digits.decode("ascii")) if digits and len(digits) % 2 == 0 else None


def parse_file(content: bytes) -> bytes:
    """A capture as it was saved: hex text if every character of it is, the bytes themselves otherwise.

    No frame of a protocol here consists of hex digits and white space alone, so the two cannot be confused; a frame of
    Modbus ASCII nearly does, and begins with a colon, as no hex text would.
    """
    if content.lstrip().startswith(b":"):
        return content.lstrip()
    spelled = parse_hex(content.removeprefix(b"\xef\xbb\xbf"))
    return content if spelled is None else spelled


def as_json(protocol: str, found: Decoded) -> dict[str, Any]:
    """The document of the contract.  Units as the protocols' own documents print them (kWh, kvarh), not as UCUM."""
    fault = found.fault
    return {
        "protocol": protocol,
        "ok": found.ok,
        "frames": [
            {
                "direction": frame.direction,
                "address": frame.address,
                "function": frame.function,
                "items": [{"id": item.id, "value": item.value, "unit": unit_symbol(item.unit)} for item in frame.items],
                "error": {"code": frame.error.code, "text": frame.error.text} if frame.error else None,
            }
            for frame in found.frames
        ],
        "fault": {"code": fault.code, "text": fault.text, "offset": fault.offset} if fault else None,
    }


def _from_hex(shell: Shell, text: str) -> bytes:
    data = parse_hex(text.encode())
    if data is None:
        _refuse(shell, f"{quoted(text)} 不是成对的十六进制数字", f"{quoted(text)} is not pairs of hex digits")
    return data


def _from_file(shell: Shell, file: str) -> bytes:
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1) if file == "-" else _head(Path(file))
    except OSError as exc:
        _refuse(shell, f"读不到 {file}：{exc.strerror}", f"cannot read {file}: {exc.strerror}")
    if len(content) > MAX_BYTES:
        _refuse(shell, f"{file} 大于 1 MiB", f"{file} is larger than 1 MiB")
    return parse_file(content)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _explain(shell: Shell, found: Decoded) -> None:
    for number, frame in enumerate(found.frames, 1):
        _explain_frame(shell, number, frame)
    if found.fault:
        fault = found.fault
        zh, en = ("", "") if fault.offset is None else (f"，第 {fault.offset} 字节", f", at byte {fault.offset}")
        shell.say(
            f"不是有效报文：{fault.text}（{fault.code}{zh}）", f"not a valid frame: {fault.text} ({fault.code}{en})"
        )
    elif not found.frames:
        shell.say("没有报文", "no frame")


def _explain_frame(shell: Shell, number: int, frame: DecodedFrame) -> None:
    direction = {"request": shell.t("请求", "request"), "response": shell.t("应答", "response")}
    what = direction.get(frame.direction, frame.direction)
    shell.say(
        f"报文 {number}：{what}，地址 {frame.address}，功能码 {frame.function}",
        f"frame {number}: {what}, address {frame.address}, function {frame.function}",
    )
    widest = max((len(item.id) for item in frame.items), default=0)
    for item in frame.items:
        unit = unit_symbol(item.unit) or ""
        value = shell.t("无值", "no value") if item.value is None else f"{item.value} {unit}".rstrip()
        print(f"  {item.id:{widest}}  {value}")
    if frame.error:
        shell.say(
            f"  设备拒绝：{frame.error.text}（{frame.error.code}）",
            f"  refused: {frame.error.text} ({frame.error.code})",
        )


def frame_line(shell: Shell, frame: DecodedFrame) -> str:
    """A frame in one line: who, which function, what."""
    what = {"request": shell.t("请求", "request"), "response": shell.t("应答", "response")}
    items = ", ".join(_item(item.id, item.value, item.unit) for item in frame.items)
    error = shell.t(f"拒绝 {frame.error.text}", f"refused: {frame.error.text}") if frame.error else ""
    parts = (what.get(frame.direction, frame.direction), frame.address, frame.function, items, error)
    return "  ".join(part for part in parts if part)


def _item(name: str, value: object, unit: str | None) -> str:
    return name if value is None else f"{name}={value}{unit_symbol(unit) or ''}"


def _unknown(protocol: str) -> tuple[str, str]:
    words = one_of(decoders())
    hint = did_you_mean(protocol, decoders())
    zh, en = (hint.zh, hint.en) if hint else (f"可用：{words.zh}", f"there are: {words.en}")
    return f"未知的协议 {quoted(protocol)}；{zh}", f"unknown protocol {quoted(protocol)}; {en}"


def _refuse(shell: Shell, zh: str, en: str) -> NoReturn:
    shell.complain(zh, en)
    shell.stop(USAGE)
