"""gateway scan, for protocols whose devices speak by themselves: who has spoken already, who answers a call to all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from drivers.base import Found, ProtocolType
from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, Shell
from gateway.cli.wire import configuration_if_any, tell_failure
from gateway.config.faults import Report
from gateway.config.load import Configuration
from gateway.config.profiles import Profiles
from gateway.errors import GatewayError, LineLost

USUAL_WAIT_S = 3.0


@dataclass(frozen=True, slots=True)
class Call:
    """What the command line asks for."""

    address: str | None
    """Whom to call; None for the usual broadcast."""
    timeout_s: float | None
    target: Path | None
    """Where device entries are written."""


def seek(shell: Shell, type_: ProtocolType, call: Call) -> NoReturn:
    config = configuration_if_any(shell)
    spoken = asyncio.run(_spoken(config, type_))
    for line, address, what in spoken or ():
        _tell_stranger(shell, line, address, what)
    if spoken is None and type_.seek is None:
        shell.complain(
            f"{type_.name} 的设备自己上报；配置一条 protocol: {type_.name} 的线路并启动守护进程，再看谁在说话",
            f"devices of {type_.name} come by themselves: configure a line with protocol: {type_.name}, start the "
            "daemon, and look again who speaks",
        )
    found: list[Found] = []
    failed = False
    try:
        asyncio.run(_called(shell, type_, call, config, found))
    except (LineLost, ValueError) as exc:
        tell_failure(shell, exc if isinstance(exc, GatewayError) else LineLost(str(exc)), call.address or type_.name)
        failed = True
    if call.target is not None and found:
        _write(shell, type_, call.target, found)
    count = len(found) + len(spoken or ())
    if shell.json:
        shell.document({"type": "summary", "devices": count, "complete": not failed})
    shell.say(f"共 {count} 台", f"{count} found")
    shell.stop(FINE if count and not failed else FOUND_WRONG)


async def _spoken(config: Configuration | None, type_: ProtocolType) -> list[tuple[str, str, str]] | None:
    """Line, address and what is known of everybody whom the running daemon does not know; None without a daemon."""
    if config is None:
        return None
    try:
        lines = await local_api.ask(config.store.path, {"op": "lines"})
    except GatewayError:
        return None
    mine = [line for line in lines if line.get("protocol") == type_.name]
    return [(line["id"], address, what) for line in mine for address, what in line.get("strangers", {}).items()]


async def _called(
    shell: Shell, type_: ProtocolType, call: Call, config: Configuration | None, found: list[Found]
) -> None:
    if type_.seek is None:
        return
    shell.complain(f"呼叫网络上的 {type_.name} 设备……", f"calling {type_.name} devices on the network ...")
    async for each in type_.seek(call.address, call.timeout_s or USUAL_WAIT_S):
        found.append(each)
        _tell(shell, each, _known(config, type_, each))


def _known(config: Configuration | None, type_: ProtocolType, found: Found) -> str | None:
    """The configured device with the same identity: the first key of an entry is what tells devices apart."""
    key, value = next(iter(found.entry.items()))
    plans = [plan for line in (config.lines if config else ()) for plan in line.devices if plan.protocol is type_]
    return next((plan.device.id for plan in plans if getattr(plan.spec.options, key, None) == value), None)


def _tell(shell: Shell, found: Found, known: str | None) -> None:
    if shell.json:
        entry = {"entry": dict(found.entry), "identity": found.identity, "trouble": found.trouble, "known": known}
        shell.document({"type": "found", **entry})
        return
    words = "  ".join(f"{key}: {value}" for key, value in found.entry.items())
    as_ = shell.t(f"已配置为 {known}", f"known as {known}") if known else shell.t("未配置", "not configured")
    print(f"{words}  {_printable(found.identity)}  {as_}", flush=True)
    if found.trouble:
        print(f"  ! {_printable(found.trouble)}", flush=True)


def _tell_stranger(shell: Shell, line: str, address: str, what: str) -> None:
    if shell.json:
        shell.document({"type": "stranger", "line": line, "address": address, "what": what})
    else:
        print(f"{_printable(address)}  {_printable(what)}  [{line}]", flush=True)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


# ---------------------------------------------------------------------- entries


def _write(shell: Shell, type_: ProtocolType, target: Path, found: Sequence[Found]) -> None:
    report = Report()
    profiles = Profiles(shell.config, report)
    names = [name for name in sorted(profiles.names) if _speaks(profiles, name, type_)]
    text = "\n".join(_entries(type_, found, names)) + "\n"
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as exc:
        shell.complain(f"写不了 {target}：{exc.strerror}", f"cannot write {target}: {exc.strerror}")
        shell.stop(FOUND_WRONG)
    shell.complain(
        f"已写入 {target}；补上 line 与 place，并入 site.yaml 后运行 gateway check",
        f"written to {target}; say line and place, add it to site.yaml, then run gateway check",
    )


def _speaks(profiles: Profiles, name: str, type_: ProtocolType) -> bool:
    profile = profiles.get(name)
    return profile is not None and type_.name in profile.types


def _entries(type_: ProtocolType, found: Sequence[Found], profiles: Sequence[str]) -> Iterator[str]:
    yield f"# {type_.name}: 可选型号 / profiles: {', '.join(profiles) or '-'}"
    for each in found:
        value = next(iter(each.entry.values()))
        id_ = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in f"{type_.name}-{value}")[:48]
        yield f"# {_printable(each.identity)}"
        yield f"- id: {id_}"
        yield f"  profile: {profiles[0] if profiles else ''}"
        yield "  line: "
        for key, said in each.entry.items():
            yield f"  {key}: {json.dumps(said, ensure_ascii=False)}"
