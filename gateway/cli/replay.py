"""gateway replay: a capture again, explained frame by frame, or as a port that answers as the field did."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from pathlib import Path

import click

from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.durations import Duration
from gateway.cli.frames import AUTO, Screen, reader_for
from gateway.cli.wire import refuse
from gateway.commission.player import Conversation, Player, exchanges_of, played
from gateway.commission.record import Capture, read_capture
from gateway.errors import GatewayError


@click.command(help="重放录制的文件 / Replay a capture")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--protocol", default=AUTO, show_default=True, help="协议 / protocol; auto finds out")
@click.option(
    "--speed", type=click.FloatRange(0.01, 1000), help="1 为原速；不给则一次放完 / 1 is as recorded; default: at once"
)
@click.option("--pty", is_flag=True, help="作为串口应答 / be a serial port that answers as recorded")
@click.option(
    "--link", type=click.Path(path_type=Path), help="--pty：再给串口一个固定的名字 / a fixed name for the port"
)
@click.option("--duration", type=Duration(), help="--pty：应答多久 / answer so long; default: until Ctrl-C")
@command_options
def command(
    shell: Shell,
    file: Path,
    protocol: str,
    speed: float | None,
    pty: bool,
    link: Path | None,
    duration: float | None,
) -> None:
    if not pty and (link is not None or duration is not None):
        refuse(shell, "--link 和 --duration 只与 --pty 同用", "--link and --duration go with --pty only")
    try:
        capture = read_capture(file)
        if capture.cut_off:
            shell.complain("文件末尾不完整，已略去", "the end of the file is missing; the rest is used")
        if pty:
            _answer(shell, capture, protocol, speed or 1.0, link, duration)
        _explain(shell, capture, protocol, speed)
    except GatewayError as exc:
        zh, _, en = str(exc).partition(" / ")
        hint_zh, _, hint_en = exc.hint.partition(" / ")
        shell.complain(f"{zh}；{hint_zh}" if hint_zh else zh, f"{en or zh}; {hint_en}" if hint_en else en or zh)
        shell.stop(FOUND_WRONG)


def _explain(shell: Shell, capture: Capture, protocol: str, speed: float | None) -> None:
    screen = Screen(shell, reader_for(shell, protocol, over_tcp=capture.header.serial is None))
    with suppress(KeyboardInterrupt):
        asyncio.run(_play(capture, speed, screen))
    screen.end()
    shell.stop(FINE if screen.good else FOUND_WRONG)


async def _play(capture: Capture, speed: float | None, screen: Screen) -> None:
    async with aclosing(played(capture, speed)) as heard:
        async for each in heard:
            screen.take(each)


def _answer(
    shell: Shell, capture: Capture, protocol: str, speed: float, link: Path | None, duration_s: float | None
) -> None:
    reader = reader_for(shell, protocol, over_tcp=capture.header.serial is None)
    conversation = Conversation.of(exchanges_of(capture, reader))
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(shell, conversation, speed, link, duration_s))
    asked = sum(conversation.asked.values())
    if shell.json:
        shell.document({"type": "summary", "asked": asked, "unknown": [each.hex() for each in conversation.unknown]})
    shell.say(
        f"应答了 {asked} 次请求；{len(conversation.unknown)} 次不在录制中",
        f"{asked} requests answered; {len(conversation.unknown)} were not in the capture",
    )
    shell.stop(FINE if asked else FOUND_WRONG)


async def _serve(
    shell: Shell, conversation: Conversation, speed: float, link: Path | None, duration_s: float | None
) -> None:
    def puzzled(heard: bytes) -> None:
        text = heard[:64].hex(" ")
        shell.complain(f"录制中没有此请求：{text}", f"not in the capture: {text}")

    async with Player(conversation, speed=speed, link=link, puzzled=puzzled) as player:
        port = str(link or player.path)
        if shell.json:
            shell.document({"type": "port", "path": port, "requests": len(conversation.answers)})
        shell.say(
            f"串口 {port}：{len(conversation.answers)} 种请求可应答，Ctrl-C 结束",
            f"port {port}: answers {len(conversation.answers)} different requests; Ctrl-C ends it",
        )
        try:
            async with asyncio.timeout(duration_s):
                await asyncio.Event().wait()
        except TimeoutError:
            return
