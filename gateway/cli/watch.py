"""gateway watch: the running daemon, live: lines, devices, alarms, store, uplinks; and one device's points."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.cli.picture import History, Scene, cut, picture
from gateway.cli.places import by_option
from gateway.cli.site import configuration_of
from gateway.config.faults import did_you_mean
from gateway.config.load import Configuration
from gateway.config.models import parse_duration
from gateway.errors import GatewayError
from gateway.model import Text

SHORTEST_S = 0.2
ANSWER_S = 5.0
_ENTER = "\x1b[?1049h\x1b[?25l"
"""The alternate screen, without a cursor (xterm's control sequences)."""
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command(help="实时查看：线路、设备、报警、存储、上行 / Live view of the running daemon; q ends it")
@click.option("--device", default=None, help="设备编号：只看它及其测点 / device id: it alone, with its points")
@by_option()
@click.option("--interval", default="1s", show_default=True, help="刷新间隔 / time between two looks")
@click.option("--once", is_flag=True, help="只看一次 / one picture")
@command_options
def command(shell: Shell, device: str | None, by: str | None, interval: str, once: bool) -> None:
    config = configuration_of(shell)
    name = config.site.name
    where = {each.id: each.place for each in config.watched}
    scene = Scene(
        Text(name.zh, name.en), config.points, _device(shell, config, device), shell.lang, where, config.places, by
    )
    watch = Watch(shell, config, scene, _interval_s(shell, interval), once)
    live = sys.stdout.isatty() and not shell.json and not once
    with full_screen(sys.stdin, sys.stdout) if live else _nothing():
        asyncio.run(watch.run(live=live))
    if watch.fault is not None:
        advice = watch.fault.advice()
        stopped = isinstance(watch.fault, local_api.NotRunning)
        shell.complain(
            "守护进程未运行" if stopped else f"守护进程没有应答：{advice}",
            "the daemon is not running" if stopped else f"the daemon does not answer: {advice}",
        )
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


def _device(shell: Shell, config: Configuration, id_: str | None) -> str | None:
    known = {device.id for device in config.devices}
    if id_ is not None and id_ not in known:
        hint = did_you_mean(id_, known) or Text("", "")
        shell.complain(f"没有这样的设备：{id_} {hint.zh}".rstrip(), f"no such device: {id_} {hint.en}".rstrip())
        shell.stop(USAGE)
    return id_


def _interval_s(shell: Shell, written: str) -> float:
    try:
        seconds = parse_duration(written)
    except ValueError:
        seconds = 0.0
    if seconds < SHORTEST_S:
        shell.complain(
            f"--interval {written}：应为不短于 {SHORTEST_S:g}s 的时长，如 1s",
            f"--interval {written}: a duration of at least {SHORTEST_S:g}s is needed, like 1s",
        )
        shell.stop(USAGE)
    return seconds


@dataclass(slots=True)
class Watch:
    """Looks at the daemon again and again.  On a screen it waits for one that is restarted; elsewhere it ends."""

    shell: Shell
    config: Configuration
    scene: Scene
    interval_s: float
    once: bool
    fault: GatewayError | None = None
    """Why it ended, if nobody wanted it to."""
    _history: History = field(init=False, default_factory=History)
    _shown: list[str] = field(init=False, default_factory=list)

    async def run(self, *, live: bool) -> None:
        stop = asyncio.Event()
        with _told(stop.set, self._redraw if live else None):
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._look(stop, live=live))
                await stop.wait()
                looking.cancel()

    async def _look(self, stop: asyncio.Event, *, live: bool) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            try:
                await self._show(live=live)
            except GatewayError as exc:
                if not live or not self._shown:
                    self.fault = exc
                    break
                self._draw([self.shell.t("守护进程没有应答", "the daemon does not answer"), *self._shown[1:]])
            except BrokenPipeError:  # whoever read our lines has had enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                break
            if self.once:
                break
            due_s = max(due_s + self.interval_s, loop.time())
            await asyncio.sleep(due_s - loop.time())
        stop.set()

    async def _show(self, *, live: bool) -> None:
        """One look.  Raises GatewayError when the daemon does not answer."""
        snapshot: dict[str, Any] = await local_api.ask(self.config.store.path, {"op": "status"}, timeout_s=ANSWER_S)
        points = await self._points() if self.scene.device is not None else None
        if self.shell.json:
            self.shell.document({"status": snapshot, "points": points})
            return
        self._history.add(snapshot)
        lines = picture(self.scene, self._history, snapshot, points)
        if live:
            self._draw(lines)
        else:
            print("\n".join(lines if self.once else [*lines, ""]), flush=True)

    async def _points(self) -> list[dict[str, Any]] | None:
        """The latest readings; None from a daemon that does not know the question."""
        request = {"op": "points", "device": self.scene.device}
        try:
            items: list[dict[str, Any]] = await local_api.ask(self.config.store.path, request, timeout_s=ANSWER_S)
        except local_api.Refused:
            return None
        return items

    def _draw(self, lines: list[str]) -> None:
        self._shown = lines
        self._redraw()

    def _redraw(self) -> None:
        """From the top left corner, over what stands there: nothing is wiped that is written again."""
        screen = shutil.get_terminal_size()
        print(drawn(self._shown, screen.columns, screen.lines), end="", flush=True)


def drawn(lines: Sequence[str], width: int, height: int) -> str:
    """The characters that put *lines* on a terminal of that size; its last column and line break stay unused."""
    shown = cut(lines, width - 1, height)
    return _HOME + "\n".join(line + _END_OF_LINE for line in shown) + _REST


@contextmanager
def full_screen(keys: TextIO, screen: TextIO) -> Iterator[None]:
    """The alternate screen, keys as they are pressed; everything as it was before when the context ends."""
    before = termios.tcgetattr(keys) if keys.isatty() else None
    if before is not None:
        tty.setcbreak(keys)
    screen.write(_ENTER)
    screen.flush()
    try:
        yield
    finally:
        screen.write(_LEAVE)
        screen.flush()
        if before is not None:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _told(stop: Callable[[], None], resized: Callable[[], None] | None) -> Iterator[None]:
    """Ctrl-C and the other ways to say stop; on a screen, also the key q and the end of the input."""
    loop = asyncio.get_running_loop()
    keys = sys.stdin.fileno() if resized is not None and sys.stdin.isatty() else None
    signals = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), stop)
    if resized is not None:
        signals[signal.SIGWINCH] = resized
    for number, act in signals.items():
        loop.add_signal_handler(number, act)

    def pressed() -> None:
        assert keys is not None
        with suppress(BlockingIOError):
            typed = os.read(keys, 64)
            if not typed or b"q" in typed.lower():
                stop()

    if keys is not None:
        loop.add_reader(keys, pressed)
    try:
        yield
    finally:
        if keys is not None:
            loop.remove_reader(keys)
        for number in signals:
            loop.remove_signal_handler(number)
