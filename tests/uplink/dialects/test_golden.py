"""What each dialect says of one small compound, as files that people can read.

``GOLDEN=write pytest tests/uplink/dialects/test_golden.py`` writes them anew; read the difference before keeping it.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.uplink.dialect import Asked, Dialect, Incoming, Reply
from uplink.dialects.small_site import HEALTH, NOW_MS, day, dialects, shown, subject

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "thingsboard": Incoming(
        "v1/gateway/rpc",
        b'{"device":"jiayuan.gw1.m-1-1-101","data":{"id":7,"method":"command","params":'
        b'{"signed":"{}","key":"ops","sig":"AA=="}}}',
    ),
    "home_assistant": Incoming("homeassistant/status", b"online"),
    "iotda": Incoming(
        "$oc/devices/64a1_gw1/sys/commands/request_id=4f1a-7",
        b'{"object_device_id":"64a1_gw1_m-1-1-101","service_id":"power_meter","command_name":"command","paras":'
        b'{"document":"{\\"signed\\":\\"{}\\",\\"key\\":\\"ops\\",\\"sig\\":\\"AA==\\"}"}}',
    ),
}


def told(name: str, dialect: Dialect) -> str:
    hello = dialect.hello()
    lines = ["# hello", f"{hello.client_id} {hello.username} {hello.password}", *hello.subscriptions]
    if hello.will is not None:
        lines += ["# will", *shown([hello.will])]
    lines += ["# introduce", *shown(dialect.introduce()), "# catalog", *shown(dialect.catalog())]
    for envelope in day():
        lines += [f"# {envelope.lane} {envelope.seq}", *shown(dialect.encode(envelope, sent_ms=NOW_MS, replay=False))]
    lines += ["# health", *shown(dialect.health(HEALTH)), "# heard"]
    for heard in dialect.hear(COMMANDS[name]):
        lines.append(repr(heard))
        if isinstance(heard, Asked):
            lines += shown(dialect.answer(heard, Reply("rejected", "unknown_key", "there is no key 'ops' here")))
    return "\n".join([*lines, "# farewell", *shown(dialect.farewell()), ""])


def test_every_dialect_says_what_it_should() -> None:
    ran = 0
    for name, dialect in dialects(subject()).items():
        said = told(name, dialect)
        file = GOLDEN / f"{name}.txt"
        if os.environ.get("GOLDEN") == "write":
            file.write_text(said, encoding="utf-8")
        assert said == file.read_text(encoding="utf-8"), name
        ran += 1
    assert ran == len(COMMANDS) == 3
