"""What went wrong with a line, and what to look at next, in the words of whoever stands in front of it."""

from __future__ import annotations

import errno
import termios

import serial

from gateway.errors import GatewayError
from gateway.model import Text

_PORT = {
    errno.ENOENT: Text(
        "没有这个串口；适配器未插好，或名字变了：ls -l /dev/serial/by-id",
        "there is no such port; the adapter is not plugged in, or has another name: ls -l /dev/serial/by-id",
    ),
    errno.EACCES: Text(
        "没有权限；把用户加入串口所属的组（通常是 dialout）后重新登录，或用 root 运行",
        "no permission; put the user into the group that owns the port (usually dialout) and log in again, or be root",
    ),
    errno.EINVAL: Text(
        "适配器不支持此波特率、校验或位数", "the adapter cannot do this speed, parity or number of bits"
    ),
    errno.ENOTTY: Text("这不是串口", "this is not a serial port"),
    errno.EIO: Text("串口读写出错；适配器可能被拔下", "the port fails; the adapter may have been pulled out"),
}
_BUSY = Text(
    "另一程序正占用此串口：fuser -v 串口；若是网关守护进程，用 --config 指明它的配置目录",
    "another program has the port open: fuser -v PORT; if that is the gateway's daemon, name its --config",
)
_PORT |= dict.fromkeys((errno.EAGAIN, errno.EBUSY), _BUSY)
_REFUSED = Text(
    "主机在，但此端口无人监听；串口服务器须设为 TCP 服务器模式",
    "the host is there, but nothing listens on this port; a converter must be in TCP server mode",
)
_NO_HOST = Text(
    "连不上；检查地址、网线、设备电源：ping 主机", "no connection; check address, cable and power: ping HOST"
)


def explain(exc: GatewayError, wire: str) -> Text:
    """Why *wire* could not be opened or was lost, with what to do about it."""
    advice = _advice(exc.__cause__)
    if advice is not None:
        return Text(f"{wire}：{advice.zh}", f"{wire}: {advice.en}")
    return Text(exc.advice(), exc.advice())


def _advice(cause: BaseException | None) -> Text | None:
    if isinstance(cause, ConnectionRefusedError):
        return _REFUSED
    while cause is not None:
        number = cause.args[0] if isinstance(cause, termios.error) else getattr(cause, "errno", None)
        if number in _PORT:
            return _PORT[number]
        if not isinstance(cause, serial.SerialException):
            return _NO_HOST if isinstance(cause, OSError) else None
        cause = cause.__context__  # pyserial wraps the system's error and drops its number
    return None


NOTHING_FOUND = (
    Text(
        "设备通电了吗？屏幕或指示灯亮吗（水表、气表可能要先按键唤醒）",
        "is the device powered: display or lamp lit (water and gas meters may have to be woken by a key)?",
    ),
    Text("A、B 线是否接反：对调后再试一次", "are A and B swapped? exchange them and try again"),
    Text(
        "线路两端各一只 120 Ω 终端电阻，中间没有；所有设备共地",
        "one 120 ohm termination at each end of the line and none between; a common ground",
    ),
    Text(
        "速率、校验与设备设置是否一致：加 --all-formats 全部试一遍",
        "do speed and parity agree with the device's settings? --all-formats tries them all",
    ),
    Text(
        "响应慢的设备：加大 --timeout；地址范围：--first、--last",
        "slow devices: a longer --timeout; the range of addresses: --first, --last",
    ),
)
NOISE_HEARD = Text(
    "线上有字节，但没有有效应答：多半速率或校验不符，或 A、B 接反，或另有主站在发话（gateway sniff 可看）",
    "bytes came, but no valid answer: speed or parity is probably wrong, or A and B are swapped, or another master "
    "speaks on the line (gateway sniff shows it)",
)
NOTHING_HEARD = Text(
    "什么也没听到：线路空闲，或 A、B 接反、未接好、速率不符",
    "nothing was heard: the line is idle, or A and B are swapped, or not connected, or the speed is wrong",
)
