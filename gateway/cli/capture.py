"""gateway capture: the raw bytes of a line with their times, for whoever has to look at them later."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import IO

import click

from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.durations import Duration
from gateway.cli.sniff import announce
from gateway.cli.wire import Asked, hearing, one_format, refuse, resolve, tell_failure, wire_options
from gateway.clock import SystemClock
from gateway.commission.record import Header, Recorder
from gateway.commission.trouble import NOTHING_HEARD
from gateway.errors import GatewayError

MOST_CHARACTERS = 256 * 2**20
"""A recording that was forgotten must not fill the disk that the store lives on."""


@click.command(help="录制线路上的原始字节，只听不发 / Record the raw bytes of a line without sending one")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@wire_options
@click.option("--duration", type=Duration(), help="录多久，如 5min / so long; default: until Ctrl-C")
@click.option("--force", is_flag=True, help="覆盖已有文件 / overwrite the file")
@command_options
def command(shell: Shell, file: Path, asked: Asked, duration: float | None, force: bool) -> None:
    recorders: list[Recorder] = []
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            asyncio.run(_record(shell, asked, stream, duration, recorders))
    except KeyboardInterrupt:
        pass
    except FileExistsError:
        refuse(shell, f"{file} 已存在；--force 覆盖", f"{file} exists; --force overwrites it")
    except OSError as exc:
        shell.complain(f"写不了 {file}：{exc.strerror}", f"cannot write {file}: {exc.strerror}")
        shell.stop(FOUND_WRONG)
    except GatewayError as exc:
        tell_failure(shell, exc, asked.name)
    _sum_up(shell, file, recorders[0] if recorders else None)


def _sum_up(shell: Shell, file: Path, recorder: Recorder | None) -> None:
    chunks, data = (recorder.chunks, recorder.data_bytes) if recorder else (0, 0)
    if recorder is None:
        file.unlink()  # the line never opened: an empty file would be mistaken for a capture
    if shell.json:
        shell.document({"file": str(file), "chunks": chunks, "bytes": data})
    shell.say(f"{file}：{chunks} 段，{data} 字节", f"{file}: {chunks} pieces, {data} bytes")
    if recorder is not None and not data:
        shell.complain(NOTHING_HEARD.zh, NOTHING_HEARD.en)
    shell.stop(FINE if data else FOUND_WRONG)


async def _record(
    shell: Shell, asked: Asked, stream: IO[str], duration_s: float | None, recorders: list[Recorder]
) -> None:
    wire = await resolve(shell, asked)
    usual = one_format(shell, asked, wire, None)
    serial = None if wire.port is None else usual
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    until = None if duration_s is None else loop.time() + duration_s
    async with hearing(wire, usual, clock) as heard:
        header = Header(version("compound-gateway"), wire.line, wire.name, serial, clock.now_ms())
        recorder = Recorder(stream, header)
        recorder.begin()
        recorders.append(recorder)
        announce(shell, wire, usual)
        async for each in heard:
            recorder.take(each)
            if recorder.written > MOST_CHARACTERS:
                shell.complain("文件已满 256 MiB，停止", "the file has 256 MiB, that is enough")
                return
            if until is not None and loop.time() >= until:
                return
