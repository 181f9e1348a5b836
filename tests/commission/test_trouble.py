from __future__ import annotations

import errno
import termios

import pytest
import serial

from gateway.commission.trouble import explain
from gateway.errors import LineLost


def lost(cause: BaseException, context: BaseException | None = None) -> LineLost:
    """As transport.py raises it."""
    cause.__context__ = context
    exc = LineLost(f"port: cannot open: {cause}", hint="a hint")
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("exc", "zh", "en"),
    [
        (lost(serial.SerialException(errno.ENOENT, "x")), "没有这个串口", "no such port"),
        (lost(serial.SerialException(errno.EACCES, "x")), "dialout", "dialout"),
        (lost(serial.SerialException(errno.EAGAIN, "x")), "另一程序", "another program"),
        (lost(OSError(errno.EBUSY, "x")), "另一程序", "another program"),
        (lost(termios.error(errno.EINVAL, "x")), "不支持此波特率", "cannot do this speed"),
        (lost(serial.SerialException("x"), termios.error(errno.ENOTTY, "x")), "不是串口", "not a serial port"),
        (lost(ConnectionRefusedError(errno.ECONNREFUSED, "x")), "无人监听", "nothing listens"),
        (lost(OSError(errno.EHOSTUNREACH, "x")), "连不上", "no connection"),
    ],
)
def test_what_the_system_says_becomes_what_to_do(exc: LineLost, zh: str, en: str) -> None:
    told = explain(exc, "/dev/x")
    assert told.zh.startswith("/dev/x：")
    assert told.en.startswith("/dev/x: ")
    assert zh in told.zh
    assert en in told.en


def test_anything_else_is_said_as_it_is() -> None:
    for exc in (LineLost("bus: unplugged", hint="look"), lost(serial.SerialException("odd")), lost(ValueError("odd"))):
        told = explain(exc, "/dev/x")
        assert told.zh == told.en == exc.advice()
