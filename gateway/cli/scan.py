"""gateway scan: who is on this line?"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from drivers.base import Discover, Found, Link, ProtocolType, Search, SerialFormat
from drivers.registry import protocol, protocols
from drivers.transport import SerialLink, TcpLink
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.durations import Duration
from gateway.cli.seek import Call, seek
from gateway.cli.wire import (
    Asked,
    Wire,
    check_wire,
    refuse,
    resolve,
    tell_failure,
    unknown_protocol,
    wire_options,
)
from gateway.clock import SystemClock
from gateway.commission.daemon import DaemonLink
from gateway.commission.entries import Finding, Place, known_device, new_line_id, short, written
from gateway.commission.fingerprint import Fingerprint, Match, Verdict, candidates
from gateway.commission.scan import Met, Named, News, Scan, Skipped, Step, all_formats, eta_s, formats_of, timeout_s
from gateway.commission.trouble import NOISE_HEARD, NOTHING_FOUND
from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles
from gateway.errors import LineLost

BAR = 24
"""Characters of the progress bar."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What the command line asks for."""

    asked: Asked
    every_format: bool
    first: int | None
    last: int | None
    timeout_s: float | None
    identify: bool
    target: Path | None
    force: bool


@dataclass(slots=True)
class _Session:
    """One scan as it goes: what has been found stays when it is cut short."""

    shell: Shell
    type_: ProtocolType
    wire: Wire
    scan: Scan
    started_s: float
    known: dict[tuple[Any, ...], str]
    verdicts: dict[tuple[Any, ...], Verdict] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    bar: bool = False
    asked: int = 0
    failed: bool = False
    interrupted: bool = False

    def findings(self) -> list[Finding]:
        return [Finding(met, self.verdicts.get(met.key), self.known.get(met.key)) for met in self.scan.devices]


@click.command(help="在线路上搜索设备 / Find the devices on a line")
@click.argument("protocol_name", metavar="PROTOCOL")
@wire_options
@click.option("--all-formats", "every_format", is_flag=True, help="试全部常用串口格式 / try every usual serial format")
@click.option("--first", type=click.IntRange(0), help="起始地址 / first address")
@click.option("--last", type=click.IntRange(0), help="末尾地址 / last address")
@click.option("--timeout", "timeout", type=Duration(), help="每次等待，如 200ms / wait so long for each answer")
@click.option("--broadcast", metavar="ADDRESS", help="呼叫自行上报的设备 / call devices that speak by themselves")
@click.option("--no-identify", is_flag=True, help="不猜型号 / do not try profiles on what is found")
@click.option(
    "--write", "target", type=click.Path(path_type=Path, dir_okay=False), help="写成设备条目 / write device entries"
)
@click.option("--force", is_flag=True, help="覆盖已有文件 / overwrite the file")
@command_options
def command(
    shell: Shell,
    protocol_name: str,
    asked: Asked,
    every_format: bool,
    first: int | None,
    last: int | None,
    timeout: float | None,
    broadcast: str | None,
    no_identify: bool,
    target: Path | None,
    force: bool,
) -> None:
    if protocol_name not in protocols():
        unknown_protocol(shell, protocol_name, protocols())
    type_ = protocol(protocol_name)
    if type_.hub is not None:
        _check_target(shell, target, force)
        seek(shell, type_, Call(broadcast, timeout, target))
    if type_.discover is None:
        refuse(shell, f"{protocol_name} 没有搜索的办法", f"{protocol_name} has no way to search")
    order = _Order(asked, every_format, first, last, timeout, not no_identify, target, force)
    _check(shell, order)
    session = asyncio.run(_prepared(shell, type_, type_.discover, order))
    try:
        asyncio.run(_run(session))
    except KeyboardInterrupt:
        session.interrupted = True
    except LineLost as exc:
        _clear(session)
        tell_failure(shell, exc, asked.name)
        session.failed = True
    _finish(session, order.target)


def _check(shell: Shell, order: _Order) -> None:
    asked = order.asked
    if order.every_format and (asked.bauds or asked.parities or asked.data_bits or asked.stop_bits):
        refuse(shell, "--all-formats 与串口参数不能同用", "--all-formats and a serial format exclude each other")
    if order.first is not None and order.last is not None and order.first > order.last:
        refuse(shell, "--first 大于 --last", "--first is more than --last")
    _check_target(shell, order.target, order.force)


def _check_target(shell: Shell, target: Path | None, force: bool) -> None:
    if target is not None and target.exists() and not force:
        refuse(shell, f"{target} 已存在；--force 覆盖", f"{target} exists; --force overwrites it")


async def _prepared(shell: Shell, type_: ProtocolType, discover: Discover, order: _Order) -> _Session:
    wire = await resolve(shell, order.asked)
    check_wire(shell, type_, wire)
    formats = _formats(type_, wire, order)
    search = Search(order.timeout_s or timeout_s(type_, formats), order.first, order.last)
    scan = Scan(lambda serial: _link(wire, serial), discover, formats, search)
    session = _Session(shell, type_, wire, scan, asyncio.get_running_loop().time(), {})
    session.bar = sys.stderr.isatty() and not shell.json
    if order.identify:
        session.profiles = _profiles(shell, type_)
        zone = ZoneInfo(wire.config.site.timezone) if wire.config else UTC
        fingerprint = Fingerprint(type_, list(session.profiles.values()), SystemClock(), zone)
        scan.identify = partial(_identify, session, fingerprint)
    _announce(session, search)
    return session


async def _identify(session: _Session, fingerprint: Fingerprint, link: Link, found: Found) -> Verdict | None:
    """A device that is configured has its profile already."""
    known = known_device(Met(found, None), session.type_, session.wire.plan)
    return None if known is not None else await fingerprint.identify(link, found)


def _formats(type_: ProtocolType, wire: Wire, order: _Order) -> Sequence[SerialFormat | None]:
    if wire.port is None:
        return [None]
    if order.every_format:
        return all_formats(type_, wire.format)
    asked = order.asked
    return formats_of(type_, wire.format, asked.bauds, asked.parities, asked.data_bits, asked.stop_bits)


def _link(wire: Wire, serial: SerialFormat | None) -> Link:
    if wire.owner is not None:
        return DaemonLink(wire.store, wire.owner.id, serial)
    if wire.tcp is not None:
        return TcpLink(*wire.tcp)
    assert wire.port is not None
    assert serial is not None
    return SerialLink(wire.port, serial)


def _profiles(shell: Shell, type_: ProtocolType) -> dict[str, Profile]:
    report = Report()
    found = {each.model.id: each for each in candidates(Profiles(shell.config, report), type_)}
    if report.failed:
        shell.complain("有型号文件有误，未采用", "some profiles have faults and are not tried")
    return found


async def _run(session: _Session) -> None:
    session.started_s = asyncio.get_running_loop().time()
    async with aclosing(session.scan.run()) as news:
        async for each in news:
            _tell(session, each)


def _tell(session: _Session, news: News) -> None:
    shell = session.shell
    _clear(session)
    match news:
        case Met():
            known = known_device(news, session.type_, session.wire.plan)
            if known is not None:
                session.known[news.key] = known
            _tell_met(session, Finding(news, None, known))
        case Named():
            session.verdicts[news.met.key] = news.verdict
            _tell_named(shell, news)
        case Skipped():
            format_ = short(news.serial) if news.serial else "?"
            shell.complain(f"跳过 {format_}：{news.why}", f"{format_} left out: {news.why}")
        case Step():
            session.asked = news.asked
            _draw(session, news)


def _announce(session: _Session, search: Search) -> None:
    formats = ", ".join(short(each) for each in session.scan.formats if each is not None)
    at = f" ({formats})" if formats else ""
    through = session.wire.owner is not None
    session.shell.complain(
        f"在 {session.wire.name} 上搜索 {session.type_.name}{at}，每次等 {search.timeout_s * 1000:.0f} ms"
        + ("；经守护进程，不停止抄表" if through else ""),
        f"searching {session.wire.name} for {session.type_.name}{at}, {search.timeout_s * 1000:.0f} ms a question"
        + ("; through the daemon, which goes on polling" if through else ""),
    )


def _tell_met(session: _Session, finding: Finding) -> None:
    shell, met = session.shell, finding.met
    if shell.json:
        shell.document({"type": "found", **finding.as_json()})
        return
    serial = f"  [{short(met.serial)}]" if met.serial else ""
    identity = f"  {_one_line(met.found.identity)}" if met.found.identity else ""
    known = shell.t(f"  已配置为 {finding.known}", f"  known as {finding.known}") if finding.known else ""
    print(f"{_entry_text(met)}{serial}{identity}{known}", flush=True)
    if met.found.trouble:
        print(f"  ! {_one_line(met.found.trouble)}", flush=True)


def _tell_named(shell: Shell, named: Named) -> None:
    verdict = named.verdict
    if shell.json:
        matches = [match.as_json() for match in verdict.matches]
        shell.document(
            {
                "type": "identified",
                "entry": dict(named.met.found.entry),
                "sure": verdict.sure,
                "requests": verdict.requests,
                "profiles": matches,
            }
        )
        return
    about = _entry_text(named.met)
    if verdict.best is None:
        shell.say(f"  {about}：没有相符的型号", f"  {about}: no profile fits")
        return
    first, *others = [_match_text(shell, match) for match in verdict.matches]
    word = shell.t("像是", "likely") if verdict.sure else shell.t("不确定，也许是", "unsure, perhaps")
    print(f"  {about}: {word} {first}", flush=True)
    for other in others:
        print(shell.t(f"      其次 {other}", f"      then {other}"), flush=True)


def _match_text(shell: Shell, match: Match) -> str:
    return shell.t(
        f"{match.profile}（{match.name.zh}），得分 {match.score:.1f}，{match.answered}/{match.asked} 点合理",
        f"{match.profile} ({match.name.en}), score {match.score:.1f}, {match.answered} of {match.asked} points fit",
    )


def _entry_text(met: Met) -> str:
    return " ".join(f"{key} {value}" for key, value in met.found.entry.items())


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


# ---------------------------------------------------------------------- the bar


def bar(step: Step, left_s: float | None, found: int, shell: Shell) -> str:
    """One line: how far, what is asked just now, how long it will still take."""
    done = min(1.0, step.asked / step.expected) if step.expected else 0.0
    filled = round(BAR * done)
    left = "" if left_s is None else shell.t(f"还需 {_clock(left_s)}", f"{_clock(left_s)} left")
    serial = short(step.serial) if step.serial else ""
    count = shell.t(f"已找到 {found}", f"{found} found")
    parts = [f"{step.asked}/{step.expected}", serial, step.where, count, left]
    return f"[{'#' * filled}{'.' * (BAR - filled)}] " + "  ".join(part for part in parts if part)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _draw(session: _Session, step: Step) -> None:
    if session.bar:
        left_s = eta_s(step, asyncio.get_running_loop().time() - session.started_s)
        text = bar(step, left_s, len(session.scan.devices), session.shell)
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _clear(session: _Session) -> None:
    if session.bar:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------- the end


def _finish(session: _Session, target: Path | None) -> None:
    _clear(session)
    shell, findings = session.shell, session.findings()
    known = sum(finding.known is not None for finding in findings)
    if target is not None and findings and not _write(session, findings, target):
        shell.stop(FOUND_WRONG)
    if shell.json:
        summary = {
            "type": "summary",
            "devices": len(findings),
            "known": known,
            "asked": session.asked,
            "complete": not (session.interrupted or session.failed),
        }
        shell.document(summary)
    _sum_up(session, len(findings), known)
    shell.stop(FINE if findings else FOUND_WRONG)


def _sum_up(session: _Session, devices: int, known: int) -> None:
    shell = session.shell
    if session.interrupted:
        shell.complain("已中断", "interrupted")
    shell.say(
        f"找到 {devices} 台设备，其中 {known} 台已配置；问了 {session.asked} 次",
        f"{devices} devices found, {known} of them known; {session.asked} questions asked",
    )
    if devices or session.failed or session.interrupted:
        return
    if session.scan.heard_bytes:
        shell.complain(NOISE_HEARD.zh, NOISE_HEARD.en)
    shell.complain("没有找到设备。请依次检查：", "nothing was found.  What to check, in this order:")
    for number, advice in enumerate(NOTHING_FOUND, 1):
        shell.complain(f"  {number}. {advice.zh}", f"  {number}. {advice.en}")


def _write(session: _Session, findings: Sequence[Finding], target: Path) -> bool:
    shell, wire = session.shell, session.wire
    tcp = f"{wire.tcp[0]}:{wire.tcp[1]}" if wire.tcp else None
    line = wire.line or new_line_id(wire.port, tcp)
    place = Place(line, wire.port, tcp, wire.format, configured=wire.line is not None)
    taken = [device.id for device in wire.config.devices] if wire.config else []
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    heading = f"gateway scan {session.type_.name}, {wire.name}, {stamp}"
    text = written(findings, place, session.type_, session.profiles, taken, heading)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as exc:
        shell.complain(f"写不了 {target}：{exc.strerror}", f"cannot write {target}: {exc.strerror}")
        return False
    shell.complain(
        f"已写入 {target}；并入 site.yaml 后运行 gateway check",
        f"written to {target}; add it to site.yaml, then run gateway check",
    )
    return True
