"""An event loop whose clock jumps to the next timer as soon as every task is blocked: a week runs in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for a moment of real time (threads, sockets), then pretends the rest of the waiting happened."""

    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self.grace_s = grace_s
        self.skipped_s = 0.0
        self.working = 0
        """Threads whose end the loop waits for: time stands still meanwhile."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.working:
            return super().select(None)
        events = super().select(min(timeout, self.grace_s))
        if not events:
            self.skipped_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self, grace_s: float = 0.002) -> None:
        self._jumping = _JumpingSelector(grace_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.skipped_s


class PatientLoop(VirtualTimeLoop):
    """Time stands still while an executor works, so that connecting in a thread takes no time."""

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jumping.working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _future: object) -> None:
        self._jumping.working -= 1


def run(coroutine: Coroutine[Any, Any, T], *, grace_s: float = 0.002, patient: bool = False) -> T:
    """Run in virtual time.  A task left running at the end is a fault of the code under test.

    grace_s: real time given to threads and sockets before each jump; 0 where there are none.
    *patient*: no jump while an executor works.
    """
    kind = PatientLoop if patient else VirtualTimeLoop
    with asyncio.Runner(loop_factory=lambda: kind(grace_s)) as runner:
        result = runner.run(coroutine)
        left = asyncio.all_tasks(runner.get_loop())
        assert not left, f"tasks left running: {left}"
        return result
