"""gateway profile: which device profiles there are, what stands in one, is it right, what does it make of a frame."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import click

from drivers.base import Decoded, DecodedFrame, ProtocolType
from drivers.registry import decoder, decoders
from gateway.cli.common import CONFIG_INVALID, FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.cli.decode import parse_hex
from gateway.cli.trial import Findings, all_good, examine, far_end
from gateway.config.faults import Report, did_you_mean, one_of, quoted, render_all
from gateway.config.models import ProfilePoint
from gateway.config.profiles import Profile, Profiles
from gateway.errors import GatewayError
from gateway.model import Quality, Reading
from gateway.terminal import columns

_FILES = (".yaml", ".yml")


@click.group(help="设备型号文件 / Device profiles")
def command() -> None:
    pass


# ---------------------------------------------------------------------- list, show, check


@command.command("list", help="列出型号 / List the profiles: shipped ones, and the site's own in DIR/devices")
@command_options
def list_(shell: Shell) -> None:
    report = Report()
    profiles = Profiles(shell.config, report)
    found = {name: profiles.get(name) for name in profiles.names}
    if shell.json:
        rows = [_row(profiles, name, profile) for name, profile in found.items()]
        shell.document({"profiles": rows})
    else:
        for name, profile in found.items():
            print(_line(shell, profiles, name, profile))
    shell.stop(FOUND_WRONG if None in found.values() else FINE)


def _row(profiles: Profiles, name: str, profile: Profile | None) -> dict[str, Any]:
    head = {"id": name, "own": name in profiles.own, "ok": profile is not None}
    if profile is None:
        return head
    model = profile.model
    return {
        **head,
        "version": model.version,
        "kind": model.kind,
        "protocols": model.protocols,
        "confidence": model.confidence,
        "points": len(model.points),
        "name": {"zh": model.name.zh, "en": model.name.en},
    }


def _line(shell: Shell, profiles: Profiles, name: str, profile: Profile | None) -> str:
    place = shell.t("本站", "own") if name in profiles.own else ""
    if profile is None:
        return f"{name:<28} {place} " + shell.t("有误，请运行 gateway profile check", "faulty: gateway profile check")
    model = profile.model
    label = shell.t(model.name.zh, model.name.en)
    return (
        f"{name:<28} v{model.version:<3} {model.kind:<18} {','.join(model.protocols):<22} {model.confidence:<7}"
        f"{len(model.points):>3}  {label} {place}".rstrip()
    )


@command.command(help="显示一个型号 / Show one profile: a name, or a file")
@click.argument("profile")
@command_options
def show(shell: Shell, profile: str) -> None:
    loaded = _load(shell, profile)
    model = loaded.model
    if shell.json:
        shell.document({"profile": model.model_dump(mode="json", exclude_defaults=True)})
        return
    print(f"{model.id} v{model.version}  {shell.t(model.name.zh, model.name.en)}")
    shell.say(
        f"类别 {model.kind}，协议 {'、'.join(model.protocols)}，可信度 {model.confidence}，周期 {model.every:g} s",
        f"kind {model.kind}, protocols {', '.join(model.protocols)}, confidence {model.confidence}, "
        f"every {model.every:g} s",
    )
    if model.device:
        print("  ".join(f"{key}={value}" for key, value in model.device.items()))
    shell.say(f"来源：{model.source}", f"source: {model.source}")
    widest = max(len(name) for name in model.points)
    for name, point in model.points.items():
        label = shell.t(point.name.zh, point.name.en)
        print(f"  {name:<{widest}}  {label}{' ' * max(1, 26 - columns(label))}{_facts(shell, point)}".rstrip())


def _facts(shell: Shell, point: ProfilePoint) -> str:
    """Kind, unit, range and where it stands, as far as they are said."""
    span = f"{_bound(point.minimum)}…{_bound(point.maximum)}" if (point.minimum, point.maximum) != (None, None) else ""
    words = [
        "/".join(point.states) or ("" if point.kind == "number" else point.kind),
        unit_symbol(point.unit) or "",
        span,
        shell.t("可写", "writable") if point.writable else "",
        shell.t("计数", "counter") if point.counter else "",
        *(f"{key}={value}" for key, value in (point.model_extra or {}).items()),
    ]
    return "  ".join(word for word in words if word)


def _bound(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


@command.command(help="检查型号文件 / Check profiles: names or files; without any, those of the site (DIR/devices)")
@click.argument("wanted", nargs=-1)
@command_options
def check(shell: Shell, wanted: tuple[str, ...]) -> None:
    report = Report()
    profiles = Profiles(shell.config, report)
    names = [_name(shell, profiles, each) for each in wanted] or profiles.own
    sound = [name for name in names if profiles.get(name) is not None]
    if shell.json:
        shell.document(
            {"ok": len(sound) == len(names), "faults": [fault.as_json(shell.lang) for fault in report.in_order()]}
        )
    else:
        for text in render_all(report.in_order(), shell.lang):
            print(text)
        shell.say(f"{len(names)} 个型号，{len(sound)} 个正确", f"{len(names)} profiles, {len(sound)} valid")
    shell.stop(FINE if len(sound) == len(names) else FOUND_WRONG)


def _name(shell: Shell, profiles: Profiles, wanted: str) -> str:
    """Of a profile that is named, or that stands in a file.  Ends the command when there is none."""
    if wanted.endswith(_FILES):
        path = Path(wanted)
        if not path.is_file():
            _refuse(shell, f"没有文件 {quoted(wanted)}", f"there is no file {quoted(wanted)}")
        return profiles.add(path)
    if wanted not in profiles.names:
        hint = did_you_mean(wanted, profiles.names)
        zh, en = (hint.zh, hint.en) if hint else ("见 gateway profile list", "see gateway profile list")
        _refuse(shell, f"没有型号 {quoted(wanted)}；{zh}", f"there is no profile {quoted(wanted)}; {en}")
    return wanted


def _load(shell: Shell, wanted: str) -> Profile:
    report = Report()
    profiles = Profiles(shell.config, report)
    profile = profiles.get(_name(shell, profiles, wanted))
    if profile is None:
        for text in render_all(report.in_order(), shell.lang):
            shell.complain(text, text)
        shell.stop(CONFIG_INVALID)
    return profile


# ---------------------------------------------------------------------- test


@command.command(help="用一段应答报文检验型号 / Show what a profile makes of a captured answer")
@click.argument("profile")
@click.option("--hex", "answer", required=True, help='应答 / the answer: "01 04 04 …"; Modbus ASCII: ":0104…"')
@click.option("--request", help="它所应答的请求 / the request it answers (Modbus: says which registers)")
@click.option("--register", type=click.IntRange(0, 0xFFFF), help="首个寄存器地址，从 0 起 / Modbus: first address")
@click.option("--protocol", help="协议，型号支持多种时 / needed where the profile speaks several")
@command_options
def test(
    shell: Shell, profile: str, answer: str, request: str | None, register: int | None, protocol: str | None
) -> None:
    loaded = _load(shell, profile)
    capture = _bytes(shell, request) + _bytes(shell, answer) if request else _bytes(shell, answer)
    type_, decoded = _understood(shell, loaded, capture, protocol)
    frame = _response(shell, decoded)
    modbus = type_.name.startswith("modbus-")
    if modbus and register is None and (len(decoded.frames) < 2 or decoded.frames[-2].direction != "request"):
        _refuse(
            shell,
            "Modbus 应答不含寄存器地址；请用 --request 给出请求，或用 --register 给出首个地址",
            "a Modbus answer does not say which registers it holds; give the --request, or the first one: --register",
        )
    respond = far_end(type_.name, _bytes(shell, answer), frame, register)
    try:
        findings = None if respond is None else asyncio.run(examine(loaded, type_, frame.address, respond))
    except GatewayError as exc:
        shell.complain(f"型号不能用：{exc.advice()}", f"the profile cannot be used: {exc.advice()}")
        shell.stop(CONFIG_INVALID)
    if findings is None:
        _fail(shell, "报文不是读数据的应答", "the frame is not an answer to a read")
    if shell.json:
        shell.document(_as_json(loaded, type_, frame, findings))
    else:
        _tell(shell, loaded, type_, frame, findings)
    shell.stop(FINE if all_good(findings) else FOUND_WRONG)


def _bytes(shell: Shell, text: str) -> bytes:
    if text.lstrip().startswith(":"):
        return text.strip().encode("ascii", "replace") + b"\r\n"
    data = parse_hex(text.encode())
    if data is None:
        _refuse(shell, f"{quoted(text)} 不是成对的十六进制数字", f"{quoted(text)} is not pairs of hex digits")
    return data


def _understood(shell: Shell, profile: Profile, capture: bytes, protocol: str | None) -> tuple[ProtocolType, Decoded]:
    """The protocol that the caller names, or the only one of the profile's in which the capture is a frame."""
    if protocol is not None and protocol not in profile.types:
        words = one_of(list(profile.types))
        _refuse(
            shell,
            f"型号 {profile.model.id} 不使用协议 {quoted(protocol)}；可用：{words.zh}",
            f"profile {profile.model.id} does not speak {quoted(protocol)}; it speaks {words.en}",
        )
    names = [name for name in profile.types if protocol in (None, name) and name in decoders()]
    read = {name: decoder(name)(capture) for name in names}
    sound = [name for name in names if read[name].ok]
    if len(sound) > 1:
        words = one_of(sound)
        _refuse(shell, f"请用 --protocol 指明：{words.zh}", f"say which --protocol: {words.en}")
    if not sound:
        fault = next((found.fault for found in read.values() if found.fault is not None), None)
        why = fault.text if fault else ""
        _fail(shell, f"不是有效报文：{why}", f"not a valid frame: {why}")
    return profile.types[sound[0]], read[sound[0]]


def _response(shell: Shell, decoded: Decoded) -> DecodedFrame:
    answers = [frame for frame in decoded.frames if frame.direction == "response"]
    if not answers:
        _fail(shell, "这是请求，不是应答", "this is a request and not an answer")
    error = answers[-1].error
    if error is not None:
        _fail(shell, f"设备拒绝：{error.text}（{error.code}）", f"the device refused: {error.text} ({error.code})")
    return answers[-1]


def _as_json(profile: Profile, type_: ProtocolType, frame: DecodedFrame, findings: Findings) -> dict[str, Any]:
    return {
        "profile": profile.model.id,
        "version": profile.model.version,
        "protocol": type_.name,
        "address": frame.address,
        "ok": all_good(findings),
        "points": [_item(reading, findings) for reading in findings.readings],
        "missing": list(findings.missing),
    }


def _item(reading: Reading, findings: Findings) -> dict[str, Any]:
    point = findings.points[reading.point]
    item: dict[str, Any] = {"p": point.name, "v": reading.value, "q": reading.quality}
    if reading.reason is not None:
        item["r"] = reading.reason
    return item | ({"u": point.unit} if point.unit else {})


def _tell(shell: Shell, profile: Profile, type_: ProtocolType, frame: DecodedFrame, findings: Findings) -> None:
    name = f"{profile.model.id} v{profile.model.version}"
    shell.say(
        f"{name}，{type_.name}，地址 {frame.address}：报文含 {len(findings.readings)} 个测点，"
        f"不含 {len(findings.missing)} 个",
        f"{name}, {type_.name}, address {frame.address}: {len(findings.readings)} points in the frame, "
        f"{len(findings.missing)} not",
    )
    if not findings.readings:
        shell.say("报文中没有该型号的任何测点", "the frame holds none of the profile's points")
    widest = max((len(findings.points[reading.point].name) for reading in findings.readings), default=0)
    for reading in findings.readings:
        point = findings.points[reading.point]
        value = "—" if reading.value is None else f"{reading.value}"
        quality = "" if reading.quality is Quality.GOOD else f"  {reading.quality}: {reading.reason}"
        label = shell.t(point.label.zh, point.label.en)
        print(f"  {point.name:<{widest}}  {value:>14} {unit_symbol(point.unit) or '':<6} {label}{quality}")
    if findings.missing:
        shell.say(f"  不在报文中：{'、'.join(findings.missing)}", f"  not in the frame: {', '.join(findings.missing)}")


def _fail(shell: Shell, zh: str, en: str) -> NoReturn:
    """The frame is wrong, not the call."""
    if shell.json:
        shell.document({"ok": False, "points": [], "missing": [], "fault": shell.t(zh, en)})
    else:
        print(shell.t(zh, en))
    shell.stop(FOUND_WRONG)


def _refuse(shell: Shell, zh: str, en: str) -> NoReturn:
    shell.complain(zh, en)
    shell.stop(USAGE)
