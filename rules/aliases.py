"""The format's keys and words in Chinese.  They are replaced before anything is checked;
faults name what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

KEYS: Final[Mapping[str, str]] = {
    "格式": "format",
    "站点": "site",
    "时段": "schedules",
    "限度": "limits",
    "每天最多报警": "max_raises_per_day",
    "规则": "rules",
    # site
    "时区": "timezone",
    "语言": "languages",
    "合并按": "group_by",
    "合并等待": "group_wait",
    "洪泛": "flood",
    "重复提醒": "repeat",
    "开始": "start",
    "结束": "end",
    "以内": "within",
    "汇总间隔": "summary_every",
    # schedule
    "每天": "daily",
    "星期": "weekdays",
    "除外": "except",
    # rule
    "编号": "id",
    "名称": "name",
    "说明": "note",
    "方式": "mode",
    "对象": "for_each",
    "条件": "when",
    "时刻": "at",
    "恢复条件": "clear_when",
    "回差": "deadband",
    "持续": "for",
    "恢复持续": "clear_after",
    "级别": "priority",
    "锁存": "latch",
    "复位": "reset",
    "搁置": "shelve",
    "故障按": "bad_counts_as",
    "缺数时": "if_no_data",
    "缺数时限": "no_data_after",
    "缺数也动作": "act_on_no_data",
    "抑制条件": "suppress_when",
    "等待上级": "wait_for_parent",
    "仅在": "only_during",
    "抖动": "chatter",
    "补传": "backlog",
    "升级": "escalate",
    "报警时": "on_alarm",
    "恢复时": "on_clear",
    "确认时": "on_ack",
    "复位时": "on_reset",
    "通知": "notify",
    "消息": "message",
    "处置": "response",
    "确认": "ack",
    "命名值": "values",
    # parts of a rule
    "类型": "type",
    "区域": "area",
    "具备": "with",
    "网格": "grid",
    "楼栋": "building",
    "单元": "unit",
    "楼层": "floor",
    "房间": "room",
    "默认": "default",
    "情形": "cases",
    "取": "use",
    "有效期": "expires_after",
    "次数": "raises",
    "平静": "calm",
    "之后": "after",
    "给": "to",
    "谁": "who",
    "原因": "reason",
    "发送": "send",
    "保持": "hold",
    "期间": "while",
    "核实": "confirm",
    "测点": "point",
    "为": "is",
    "尝试": "tries",
    "否则": "else",
    "最多": "at_most",
    "最长": "at_most_for",
    "保留": "keep",
    "可缺": "optional",
    "中文": "zh",
    "英文": "en",
}

WORDS: Final[Mapping[str, str]] = {
    "紧急": "critical",
    "高": "high",
    "中": "medium",
    "低": "low",
    "仅记录": "journal",
    "启用": "live",
    "试运行": "shadow",
    "停用": "off",
    "需要": "required",
    "自动": "auto",
    "可选": "optional",
    "维持": "hold",
    "报警": "alarm",
    "恢复": "clear",
    "忽略": "ignore",
    "记录": "record",
    "表决": "vote",
    "不计": "none",
    "从不": "never",
    "报警期间": "active",
    "未确认期间": "unack",
    "任意": "any",
}
"""Of keys that have a fixed list of words."""


_CHINESE: Final[Mapping[str, str]] = {value: key for key, value in (*WORDS.items(), *KEYS.items())}


def named_twice(word: str) -> str:
    """``type（类型）``: a word of the format with its Chinese name, if it has one, for people who write Chinese."""
    return f"{word}（{_CHINESE[word]}）" if word in _CHINESE else word


def spellings(words: Iterable[str], chinese: Mapping[str, str]) -> list[str]:
    """*words* and, after them, what they are called in *chinese* (KEYS or WORDS)."""
    listed = list(words)
    return [*listed, *(zh for zh, en in chinese.items() if en in listed)]


def english(key: object) -> object:
    return KEYS.get(key, key) if isinstance(key, str) else key


def english_word(word: object) -> object:
    return WORDS.get(word, word) if isinstance(word, str) else word
