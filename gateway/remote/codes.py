"""Why a command from afar was refused, in words.  What a carried-out command says besides is in gateway/commands.py."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from gateway.model import Text


class Code(enum.StrEnum):
    """The wording is part of the MQTT contract: add, never rename."""

    DONE = "done"
    DRY_RUN = "dry_run"
    # nothing is known of who asks
    RETAINED = "retained"
    TOO_LARGE = "too_large"
    TOO_OFTEN = "too_often"
    BUSY = "busy"
    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    # it is signed, but not to be obeyed
    WRONG_ID = "wrong_id"
    NOT_OURS = "not_ours"
    CLOCK = "clock"
    EXPIRED = "expired"
    FUTURE = "future"
    TOO_LONG = "too_long"
    COUNTER = "counter"
    # obeyed in general, but not this
    UNKNOWN_COMMAND = "unknown_command"
    NOT_PERMITTED = "not_permitted"
    BAD_ARGS = "bad_args"
    HIDDEN = "hidden"
    GAS_VALVE = "gas_valve"
    DOOR = "door"
    UNKNOWN_ALARM = "unknown_alarm"
    RULE = "rule"
    UNSUPPORTED = "unsupported"
    NOT_AUDITED = "not_audited"
    STOPPING = "stopping"
    INTERRUPTED = "interrupted"
    INVALID = "invalid"
    TROUBLE = "trouble"


WORDS: Mapping[Code, Text] = {
    Code.DONE: Text("已执行", "done"),
    Code.DRY_RUN: Text("仅试算，未执行", "a rehearsal: it would be carried out"),
    Code.RETAINED: Text("保留消息不执行", "a retained message is never a command"),
    Code.TOO_LARGE: Text("消息过大", "the message is too large"),
    Code.TOO_OFTEN: Text("过于频繁", "too many commands in this time"),
    Code.BUSY: Text("同时执行的命令过多", "too many commands are under way"),
    Code.MALFORMED: Text("消息格式不正确", "the message is not what a command looks like"),
    Code.UNSIGNED: Text("未签名", "it is not signed"),
    Code.UNKNOWN_KEY: Text("本网关没有该密钥", "this gateway does not know the key"),
    Code.BAD_SIGNATURE: Text("签名不符", "the signature does not fit"),
    Code.WRONG_ID: Text("编号与主题不一致", "its id is not that of its topic"),
    Code.NOT_OURS: Text("不是发给本网关的", "it is meant for another gateway"),
    Code.CLOCK: Text("网关时钟未同步，无法判断时效", "the gateway's clock is not known to be right"),
    Code.EXPIRED: Text("已过期", "it has expired"),
    Code.FUTURE: Text("签发时间在将来", "it was issued in the future"),
    Code.TOO_LONG: Text("有效期过长", "it is valid for too long"),
    Code.COUNTER: Text("计数器未递增，可能是重放", "its counter has been used: a replay"),
    Code.UNKNOWN_COMMAND: Text("没有这个命令", "there is no such command"),
    Code.NOT_PERMITTED: Text("该密钥无此权限", "the key may not do this"),
    Code.BAD_ARGS: Text("参数不正确", "its arguments are not what they should be"),
    Code.HIDDEN: Text("该平台不应看到此数据", "this platform is not to see these data"),
    Code.GAS_VALVE: Text(
        "燃气阀只能远程关闭，须到现场开启", "a gas valve is only closed from afar; it is opened on site"
    ),
    Code.DOOR: Text("此处不是可远程开启的门", "this is no door that may be released from afar"),
    Code.UNKNOWN_ALARM: Text("没有这个报警", "there is no such alarm"),
    Code.RULE: Text("该报警的规则不允许", "the alarm's rule does not let it be"),
    Code.UNSUPPORTED: Text("本版本不支持", "this version cannot do it"),
    Code.NOT_AUDITED: Text("审计无法写入，因此未执行", "the audit cannot be written, so nothing was done"),
    Code.STOPPING: Text("守护进程正在停止", "the daemon is stopping"),
    Code.INTERRUPTED: Text("执行中断，结果不明", "it was interrupted, and nobody knows what became of it"),
    Code.INVALID: Text("配置无效", "the configuration is not valid"),
    Code.TROUBLE: Text("执行时出错", "it could not be done"),
}
