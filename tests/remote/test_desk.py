"""What comes from afar: what is obeyed, what is refused and why, and that nothing is obeyed twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.commands import Code as CommandCode
from gateway.config.models import Command
from gateway.errors import DeviceUnreachable
from gateway.model import Lane
from gateway.remote.acts import ACTS
from gateway.remote.codes import WORDS, Code
from gateway.remote.desk import ARRIVALS, COMMAND_BYTES, CONFIG_BYTES, REMEMBERED, UNDER_WAY, Desk
from gateway.remote.order import LONGEST_MS, TOLERANCE_MS
from gateway.remote.rights import Right
from gateway.remote.signature import public_key, seal
from gateway.sim.operator import Operator, private_key
from gateway.uplink.dialect import Reply, Request
from remote.rig import ALL, DOOR, FLAP, GATEWAY, LAMP, LEVEL, LOCK, SITE, UPLINK, VALVE, Rig
from support.virtual_time import run


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def play(rig: Rig, script: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig.daemon() as desk:
            await script(desk)

    run(main(), grace_s=0.0)


def said(reply: Reply) -> tuple[str, str]:
    return reply.status, reply.code


# ---------------------------------------------------------------------- what is obeyed


def test_a_signed_write_is_on_disk_before_it_is_done_and_audited_with_its_result(rig: Rig) -> None:
    at_write: list[tuple[bytes, list[str]]] = []
    rig.wire.on_write = lambda: at_write.append(
        (rig.disk.state["remote/counter/ops-2026"], [entry["kind"] for entry in rig.audited()])
    )

    async def script(desk: Desk) -> None:
        request = rig.write()
        assert await desk.handle(request) == Reply("ok", "confirmed", "", {"read_back": True})
        assert [each[1:] for each in rig.wire.writes] == [(LAMP.id, True)]
        assert at_write == [(b"1", ["remote.accepted", "command.requested"])]
        assert rig.disk.kinds() == ["remote.accepted", "command.requested", "command.done", "remote.done"]
        last = rig.audited()[-1]
        assert (last["who"], last["via"], last["result"]) == ("ops-2026", UPLINK, "ok")
        assert last["what"]["command"] == request.id
        assert (rig.disk.events[1]["attributes"]["who"], rig.disk.events[1]["attributes"]["via"]) == (
            "ops-2026",
            UPLINK,
        )

    play(rig, script)


OBEYED: list[tuple[str, dict[str, Any], Any, Any]] = [
    ("read", {"points": [LAMP.id, LEVEL.id]}, [{"p": LAMP.id, "v": 1}, {"p": LEVEL.id, "v": 1}], None),
    ("alarm.acknowledge", {"rule": "gas_leak", "device": "gas"}, {"state": "acked"},
     ("acknowledge", "gas_leak", "gas", "ops-2026", UPLINK)),
    ("alarm.shelve", {"rule": "gas_leak", "device": "gas", "minutes": 30, "reason": "calibration"}, {"state": "normal"},
     ("shelve", "gas_leak", "gas", "ops-2026", UPLINK, "calibration", 1800.0)),
    ("alarm.reset", {"rule": "gas_leak", "device": "gas", "reason": "aired"}, {"state": "normal"},
     ("reset", "gas_leak", "gas", "ops-2026", UPLINK, "aired")),
    ("rebirth", {}, None, ("rebirth", UPLINK)),
    ("resend", {"lane": "billing", "from_seq": 3, "to_seq": 9}, {"held_from": 1},
     ("resend", UPLINK, Lane.BILLING, 3, 9)),
    ("reload", {}, None, ("reload",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "result", "asked"), OBEYED, ids=[case[0] for case in OBEYED])
def test_what_is_permitted_is_done_once(rig: Rig, name: str, args: dict[str, Any], result: Any, asked: Any) -> None:
    async def script(desk: Desk) -> None:
        assert await desk.handle(rig.request(name, args)) == Reply("ok", "done", "", result)
        assert rig.done == ([] if asked is None else [asked])
        rehearsal = await desk.handle(rig.request(name, {**args, "dry_run": True}))
        assert said(rehearsal) == ("ok", "dry_run")
        assert len(rig.done) == (asked is not None), "a rehearsal does nothing"

    play(rig, script)


def test_time_tells_how_far_the_clocks_are_apart_and_help_what_the_key_may_do(rig: Rig) -> None:
    right = rig.rights["ops-2026"]
    rig.rights["ops-2026"] = replace(right, commands=frozenset({"help", "time", "write"}))

    async def script(desk: Desk) -> None:
        reply = await desk.handle(rig.request("time", issued_ms=rig.now_ms() - 700, expires_ms=rig.now_ms()))
        assert reply.result["state"] == "synced"
        assert 700 <= reply.result["shift_ms"] < 1000, "it took a moment on the disk"
        reply = await desk.handle(rig.request("help"))
        assert reply.result == {
            "help": ["dry_run?"], "time": ["dry_run?"], "write": ["dry_run?", "point", "value", "reason"]
        }  # fmt: skip

    play(rig, script)


def test_a_rehearsed_write_decides_and_sends_nothing(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        args = {"point": LAMP.id, "value": True, "reason": "x", "dry_run": True}
        assert said(await desk.handle(rig.request("write", args))) == ("ok", "dry_run")
        args["value"] = "on"
        assert said(await desk.handle(rig.request("write", args))) == ("rejected", "bad_value")
        args = {"point": DOOR.id, "reason": "x", "dry_run": True}
        assert said(await desk.handle(rig.request("door.release", args))) == ("ok", "dry_run")
        assert rig.wire.writes == []

    play(rig, script)


def test_what_cannot_be_done_yet_says_so(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        reply = await desk.handle(rig.request("bundle", {}))
        assert said(reply) == ("rejected", "unsupported")
        assert "yet" in reply.detail

    play(rig, script)


def test_what_the_rule_of_an_alarm_refuses_is_refused(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        args = {"rule": "gas_leak", "device": "gas", "minutes": 90, "reason": "calibration"}
        reply = await desk.handle(rig.request("alarm.shelve", args))
        assert said(reply) == ("rejected", "rule")
        assert "1 h at most" in reply.detail
        assert rig.done == []

    play(rig, script)


def test_an_alarm_that_is_not_there_is_not_acknowledged(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        reply = await desk.handle(rig.request("alarm.acknowledge", {"rule": "gas_lek", "device": "gas"}))
        assert said(reply) == ("rejected", "unknown_alarm")

    play(rig, script)


def test_a_daemon_without_the_means_says_so(rig: Rig) -> None:
    rig.able = False
    cases: list[tuple[str, dict[str, Any]]] = [
        ("rebirth", {}), ("resend", {"lane": "event", "from_seq": 1, "to_seq": 2}), ("reload", {}),
        ("config.apply", {"document": "x"}),
    ]  # fmt: skip

    async def script(desk: Desk) -> None:
        for name, args in cases:
            assert said(await desk.handle(rig.request(name, args))) == ("rejected", "unsupported")
        assert said(await desk.handle(Request(UPLINK, "rebirth", b""))) == ("rejected", "unsupported")

    play(rig, script)


def test_a_configuration_may_be_large_and_a_command_not(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        document = rig.operator.document("", {"document": "x" * 100_000}, rig.now_ms(), kind="config")
        body = seal(document, rig.operator.key, rig.operator.private)
        assert said(await desk.handle(Request(UPLINK, document["id"], body))) == ("ok", "")
        assert rig.done == [("apply", b"x" * 100_000, UPLINK)]
        large = rig.request("read", {"points": [LAMP.id], "fill": "x" * COMMAND_BYTES})
        assert said(await desk.handle(large)) == ("rejected", "too_large")
        huge = Request(UPLINK, "big", b"x" * (CONFIG_BYTES + 1))
        assert said(await desk.handle(huge)) == ("rejected", "too_large")
        assert desk.stats.verified == 2, "what is far too large is not even read"

    play(rig, script)


def test_a_configuration_that_is_not_valid_is_not_reloaded(rig: Rig) -> None:
    rig.faults = "site.yaml:1:1: E-KEY"

    async def script(desk: Desk) -> None:
        assert await desk.handle(rig.request("reload")) == Reply("failed", "invalid", "site.yaml:1:1: E-KEY")

    play(rig, script)


# ---------------------------------------------------------------------- G2, G3: what is no command of ours

STRANGER = Operator(SITE, GATEWAY)
SKEWED: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("other gateway", {"gateway": "gw2"}, ("rejected", "not_ours")),
    ("other site", {"site": "elsewhere"}, ("rejected", "not_ours")),
    ("other id", {"id": "another"}, ("rejected", "wrong_id")),
    ("no id", {"id": 7}, ("rejected", "malformed")),
    ("other kind", {"kind": "receipt"}, ("rejected", "malformed")),
    ("args are no object", {"args": []}, ("rejected", "malformed")),
    ("counter is true", {"counter": True}, ("rejected", "malformed")),
    ("counter is a fraction", {"counter": 1.5}, ("rejected", "malformed")),
    ("counter is too large", {"counter": 2**53}, ("rejected", "malformed")),
    ("counter is zero", {"counter": 0}, ("rejected", "malformed")),
    ("no such command", {"command": "shell"}, ("rejected", "unknown_command")),
]


@pytest.mark.parametrize(("other", "expected"), [case[1:] for case in SKEWED], ids=[case[0] for case in SKEWED])
def test_a_signed_document_that_is_not_meant_for_us_does_nothing(
    rig: Rig, other: dict[str, Any], expected: tuple[str, str]
) -> None:
    async def script(desk: Desk) -> None:
        document = rig.operator.document("write", {"point": LAMP.id, "value": True, "reason": "x"}, rig.now_ms())
        topic = document["id"]
        body = seal({**document, **other}, rig.operator.key, rig.operator.private)
        assert said(await desk.handle(Request(UPLINK, topic, body))) == expected
        assert rig.wire.writes == []

    play(rig, script)


TIMES: list[tuple[str, int, int, tuple[str, str]]] = [
    # (name, issued and expires relative to now in ms, expected)
    ("now", 0, 60_000, ("ok", "confirmed")),
    ("just expired, within tolerance", -60_000, -TOLERANCE_MS + 100, ("ok", "confirmed")),
    ("expired", -60_000, -TOLERANCE_MS - 1, ("expired", "expired")),
    ("long expired", -10 * 60_000, -9 * 60_000, ("expired", "expired")),
    ("of a clock a little ahead", TOLERANCE_MS, 60_000, ("ok", "confirmed")),
    ("from the future", TOLERANCE_MS + 1, 60_000, ("rejected", "future")),
    ("from the far future", 10 * 60_000, 10 * 60_000 + 1000, ("rejected", "future")),
    ("valid for too long", 0, LONGEST_MS + 1, ("rejected", "too_long")),
    ("expires before it is issued", 0, 0, ("rejected", "too_long")),
]


@pytest.mark.parametrize(("issued", "expires", "expected"), [case[1:] for case in TIMES], ids=[c[0] for c in TIMES])
def test_only_what_is_fresh_is_obeyed(rig: Rig, issued: int, expires: int, expected: tuple[str, str]) -> None:
    async def script(desk: Desk) -> None:
        now_ms = rig.now_ms()
        reply = await desk.handle(rig.write(issued_ms=now_ms + issued, expires_ms=now_ms + expires))
        assert said(reply) == expected
        assert len(rig.wire.writes) == (expected[0] == "ok")

    play(rig, script)


def test_without_a_known_time_nothing_signed_is_obeyed(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.clock.trust = ClockState.UNKNOWN
        request = rig.write()
        reply = await desk.handle(request)
        assert said(reply) == ("rejected", "clock")
        assert str(rig.now_ms()) in reply.detail
        rig.clock.trust = ClockState.HOLDOVER
        assert said(await desk.handle(request)) == ("ok", "confirmed"), "its counter was not used up"

    play(rig, script)


def test_every_bit_of_an_envelope_counts(rig: Rig) -> None:
    """Each of them flipped, one at a time; and in the end the envelope itself is obeyed."""

    async def script(desk: Desk) -> None:
        request = rig.write()
        codes: set[str] = set()
        for bit in range(8 * len(request.body)):
            body = bytearray(request.body)
            body[bit // 8] ^= 1 << bit % 8
            reply = await desk.handle(replace(request, body=bytes(body)))
            assert reply.status == "rejected", f"bit {bit}"
            codes.add(reply.code)
            if bit % 90 == 89:
                await asyncio.sleep(2.0)  # floods are not what is tested here
                rig.clock.wall_ms -= 2000  # nor is its age
        assert "too_often" not in codes
        assert codes >= {"malformed", "bad_signature", "unknown_key"}
        assert rig.wire.writes == []
        assert said(await desk.handle(request)) == ("ok", "confirmed")

    play(rig, script)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_done_to_an_envelope_it_is_answered_and_not_obeyed(tmp_path: Path, data: st.DataObject) -> None:
    rig = Rig(tmp_path)

    async def script(desk: Desk) -> None:
        request = rig.write()
        body = bytearray(request.body)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(body)))
            gone = data.draw(st.integers(0, 3))
            body[place : place + gone] = data.draw(st.binary(max_size=3))
        if bytes(body) == request.body:
            return
        try:  # spaces between the outer keys are nobody's business
            same = json.loads(bytes(body)) == json.loads(request.body)
        except ValueError:
            same = False
        reply = await desk.handle(replace(request, body=bytes(body)))
        assert (reply.status == "ok") <= same
        assert len(rig.wire.writes) <= same

    play(rig, script)


JUNK = [b"", b"\xff\xfe", b"null", b"[]", b"{}", b'{"command":"write"}', b"[" * 4000,
        b'{"a":' * 600 + b"1" + b"}" * 600, b'{"signed":"{}","key":"ops-2026","sig":"' + b"A" * 3000 + b'"}',
        b'{"signed":1,"sig":2,"key":3}',
        b'{"signed":"\\ud800","key":"ops-2026","sig":"AAAA"}',
        b'{"signed":"1e999","key":"nobody","sig":""}']  # fmt: skip


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
def test_junk_is_answered(rig: Rig, body: bytes) -> None:
    async def script(desk: Desk) -> None:
        reply = await desk.handle(Request(UPLINK, "x", body))
        assert reply.status == "rejected"
        assert reply.code in {"malformed", "unsigned", "bad_signature", "unknown_key"}

    play(rig, script)


def test_another_key_under_a_known_name_is_a_bad_signature(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        id_, body = STRANGER.order("write", {"point": LAMP.id, "value": True, "reason": "x"}, rig.now_ms())
        assert said(await desk.handle(Request(UPLINK, id_, body))) == ("rejected", "bad_signature")
        STRANGER.key = "nobody"
        id_, body = STRANGER.order("write", {}, rig.now_ms())
        assert said(await desk.handle(Request(UPLINK, id_, body))) == ("rejected", "unknown_key")

    play(rig, script)


# ---------------------------------------------------------------------- G1: nothing twice


def test_the_same_command_a_thousand_times_and_after_a_restart_is_done_once(rig: Rig) -> None:
    kept: list[Request] = []

    async def first(desk: Desk) -> None:
        request = rig.write()
        kept.append(request)
        answers = await asyncio.gather(*(desk.handle(request) for _ in range(10)))
        assert {said(each) for each in answers} == {("ok", "confirmed")}
        other = replace(request, uplink="elsewhere")
        assert said(await desk.handle(other)) == ("rejected", "counter"), "another uplink learns nothing"
        for _ in range(990):
            await asyncio.sleep(0.02)
            assert said(await desk.handle(request)) == ("ok", "confirmed")
        assert desk.stats.repeated == 999
        assert len(rig.wire.writes) == 1

    async def second(desk: Desk) -> None:
        for _ in range(1000):
            reply = await desk.handle(kept[0])
            assert said(reply) in {("rejected", "counter"), ("rejected", "too_often"), ("expired", "expired")}
        assert len(rig.wire.writes) == 1
        assert said(await desk.handle(replace(rig.write(), uplink="other"))) == ("ok", "confirmed")

    play(rig, first)
    play(rig, second)


def test_a_counter_never_goes_back_also_when_the_command_was_refused(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        refused = rig.request("write", {"point": LAMP.id}, counter=10)
        assert said(await desk.handle(refused)) == ("rejected", "bad_args")
        for counter in (1, 9, 10):
            assert said(await desk.handle(rig.write(counter=counter))) == ("rejected", "counter")
        assert said(await desk.handle(rig.write(counter=11))) == ("ok", "confirmed")
        await asyncio.sleep(1.0)
        assert rig.disk.state["remote/counter/ops-2026"] == b"11"

    play(rig, script)


def test_a_command_that_met_a_full_disk_is_not_done_and_not_done_later_either(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.disk.refusing = True
        request = rig.write()
        assert said(await desk.handle(request)) == ("rejected", "not_audited")
        rig.disk.refusing = False
        await asyncio.sleep(5.0)
        assert said(await desk.handle(request)) == ("rejected", "not_audited"), "the first answer again"
        rig.disk.refusing = True
        assert said(await desk.handle(rig.request("reload"))) == ("rejected", "not_audited")
        assert (rig.wire.writes, rig.done) == ([], [])

    play(rig, script)


def test_without_an_audit_nothing_is_done(rig: Rig) -> None:
    (rig.directory / "audit.log").mkdir()  # so that it cannot be opened

    async def script(desk: Desk) -> None:
        assert said(await desk.handle(rig.write())) == ("rejected", "not_audited")
        assert rig.wire.writes == []
        (rig.directory / "audit.log").rmdir()
        assert said(await desk.handle(rig.write())) == ("ok", "confirmed"), "and it goes on when it can"

    play(rig, script)


def test_what_was_interrupted_is_unknown_and_stays_so(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        request = rig.write()
        asking = asyncio.ensure_future(desk.handle(request))
        while not rig.wire.writes:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert said(await desk.handle(request)) == ("unknown", "interrupted")
        assert len(rig.wire.writes) == 1
        await asyncio.sleep(1.0)
        assert rig.audited()[-1]["result"] == "unknown"

    play(rig, script)


def test_the_last_outcomes_are_remembered_and_older_ones_are_replays(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        desk.commands_per_minute = 10_000
        first = rig.request("time")
        await desk.handle(first)
        for _ in range(REMEMBERED):
            await asyncio.sleep(0.05)
            assert (await desk.handle(rig.request("time"))).status == "ok"
        assert said(await desk.handle(first)) in {("rejected", "counter"), ("expired", "expired")}
        assert len(desk._outcomes) == REMEMBERED

    play(rig, script)


# ---------------------------------------------------------------------- G4: floods


def test_ten_thousand_at_once_cost_a_hundred_looks_and_two_lines_of_the_audit(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        request = rig.write()
        junk = [replace(request, id=f"j{number}", body=request.body + b" " * (number % 9)) for number in range(10_000)]
        for each in junk:
            reply = await desk.handle(each)
            assert reply.status == "rejected"
        assert desk.stats.verified <= ARRIVALS[0]
        assert sum(desk.stats.refused.values()) == 10_000
        retained = replace(request, retained=True)
        assert said(await desk.handle(retained)) == ("rejected", "retained")
        assert said(await desk.handle(Request(UPLINK, "m", b"x" * 1_000_000))) == ("rejected", "too_large")
        await asyncio.sleep(3.0)
        told = [entry for entry in rig.audited() if entry["kind"] == "remote.refused"]
        assert 1 <= len(told) <= 2
        assert sum(count for entry in told for code, count in entry["what"].items()) == 10_002
        assert rig.wire.writes == []
        assert said(await desk.handle(request)) == ("ok", "confirmed"), "and afterwards it is as before"

    play(rig, script)


def test_a_flood_that_lasts_gets_ever_fewer_lines(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        for _ in range(600):
            await desk.handle(Request(UPLINK, "x", b"junk"))
            await asyncio.sleep(1.0)
        assert len([entry for entry in rig.audited() if entry["kind"] == "remote.refused"]) < 15

    play(rig, script)


def test_a_flood_on_one_uplink_does_not_silence_the_other(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        for number in range(1000):
            await desk.handle(Request("noisy", f"j{number}", b"{}"))
        assert said(await desk.handle(rig.write())) == ("ok", "confirmed")

    play(rig, script)


def test_only_so_many_a_minute_and_fewer_outputs(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        answers = [said(await desk.handle(rig.write(value=bool(number % 2)))) for number in range(4)]
        assert answers == [("ok", "confirmed")] * 2 + [("rejected", "too_often")] * 2
        answers = [said(await desk.handle(rig.request("time"))) for number in range(8)]
        assert answers == [("ok", "done")] * 6 + [("rejected", "too_often")] * 2
        await asyncio.sleep(60.0)
        assert said(await desk.handle(rig.write())) == ("ok", "confirmed")

    play(rig, script)


def test_only_so_many_at_the_same_time(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        asking = [asyncio.ensure_future(desk.handle(rig.request("time"))) for _ in range(UNDER_WAY + 1)]
        answers = [said(each) for each in await asyncio.gather(*asking)]
        assert answers == [("ok", "done")] * UNDER_WAY + [("rejected", "busy")]

    play(rig, script)


def test_a_rebirth_needs_no_signature_and_comes_at_most_every_ten_seconds(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        assert said(await desk.handle(Request(UPLINK, "rebirth", b""))) == ("ok", "done")
        assert said(await desk.handle(Request(UPLINK, "x", b'{"command": "rebirth"}'))) == ("rejected", "too_often")
        assert said(await desk.handle(Request("second", "x", b'{"command": "rebirth"}'))) == ("ok", "done")
        await asyncio.sleep(10.1)
        assert said(await desk.handle(Request(UPLINK, "rebirth", b"{}"))) == ("ok", "done")
        assert rig.done == [("rebirth", UPLINK), ("rebirth", "second"), ("rebirth", UPLINK)]
        for command in ALL:
            if command != "rebirth":
                body = json.dumps({"command": command}).encode()
                assert said(await desk.handle(Request(UPLINK, "y", body))) == ("rejected", "unsigned")

    play(rig, script)


def test_nothing_is_begun_while_stopping(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.handle(rig.write()))
        while not rig.wire.writes:
            await asyncio.sleep(0.01)
        desk.stop()
        assert said(await desk.handle(rig.request("time"))) == ("rejected", "stopping")
        await desk.ended()
        assert said(await asking) == ("ok", "confirmed")

    play(rig, script)


# ---------------------------------------------------------------------- G5, G10: rights

BAD_ARGS: list[tuple[str, dict[str, Any]]] = [
    ("write", {}), ("write", {"point": LAMP.id, "value": True}), ("write", {"point": 1, "value": True, "reason": "x"}),
    ("write", {"point": LAMP.id, "value": True, "reason": ""}),
    ("write", {"point": LAMP.id, "value": None, "reason": "x"}),
    ("write", {"point": LAMP.id, "value": [True], "reason": "x"}),
    ("write", {"point": LAMP.id, "value": True, "reason": "x", "force": True}),
    ("write", {"point": LAMP.id, "value": True, "reason": "x" * 201}),
    ("write", {"point": LAMP.id, "value": True, "reason": "x", "dry_run": 1}),
    ("read", {"points": []}), ("read", {"points": LAMP.id}), ("read", {"points": ["x"] * 51}),
    ("door.release", {"point": DOOR.id}), ("door.release", {"point": DOOR.id, "reason": "x", "pulse": 60}),
    ("resend", {"lane": "alarms", "from_seq": 1, "to_seq": 2}),
    ("resend", {"lane": "alarm", "from_seq": 0, "to_seq": 2}),
    ("resend", {"lane": "alarm", "from_seq": 3, "to_seq": 2}),
    ("alarm.acknowledge", {"device": "gas"}), ("rebirth", {"now": True}), ("time", {"set": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), BAD_ARGS)
def test_arguments_out_of_their_schema_are_refused_and_audited(rig: Rig, name: str, args: dict[str, Any]) -> None:
    async def script(desk: Desk) -> None:
        reply = await desk.handle(rig.request(name, args))
        assert said(reply) == ("rejected", "bad_args")
        assert reply.detail
        assert rig.wire.writes == []
        assert (rig.audited()[-1]["kind"], rig.audited()[-1]["result"]) == ("remote.done", "rejected")
        assert rig.disk.kinds()[-1] == "remote.done"

    play(rig, script)


GAS_AND_DOORS: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("write", {"point": VALVE.id, "value": "open"}, ("rejected", "gas_valve")),
    ("write", {"point": VALVE.id, "value": "half"}, ("rejected", "gas_valve")),
    ("write", {"point": VALVE.id, "value": True}, ("rejected", "gas_valve")),
    ("write", {"point": VALVE.id, "value": "open", "dry_run": True}, ("rejected", "gas_valve")),
    ("write", {"point": VALVE.id, "value": "closed"}, ("ok", "confirmed")),
    ("write", {"point": FLAP.id, "value": "open"}, ("ok", "confirmed")),
    ("write", {"point": DOOR.id, "value": True}, ("rejected", "door")),
    ("write", {"point": DOOR.id, "value": False}, ("rejected", "door")),
    ("write", {"point": LOCK.id, "value": True}, ("rejected", "door")),
    ("door.release", {"point": LOCK.id}, ("rejected", "door")),
    ("door.release", {"point": LAMP.id}, ("rejected", "door")),
    ("door.release", {"point": VALVE.id}, ("rejected", "door")),
    ("write", {"point": LEVEL.id, "value": 1.0}, ("rejected", "not_writable")),
    ("write", {"point": "nobody.nothing", "value": 1.0}, ("rejected", "unknown_point")),
    ("write", {"point": LAMP.id, "value": "on"}, ("rejected", "bad_value")),
]


@pytest.mark.parametrize(("name", "args", "expected"), GAS_AND_DOORS)
def test_gas_is_only_cut_off_and_a_door_only_released_where_the_site_says_so(
    rig: Rig, name: str, args: dict[str, Any], expected: tuple[str, str]
) -> None:
    async def script(desk: Desk) -> None:
        assert said(await desk.handle(rig.request(name, {**args, "reason": "x"}))) == expected
        assert len(rig.wire.writes) == (expected[0] == "ok")
        assert rig.audited()[-1]["result"] == expected[0]

    play(rig, script)


def test_a_key_does_only_what_it_may_on_the_devices_it_may(rig: Rig) -> None:
    right = Right(
        rig.rights["ops-2026"].public, frozenset({"write", "read", "alarm.acknowledge"}), frozenset({"board"})
    )
    rig.rights["ops-2026"] = right
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("read", {"points": [LAMP.id, FLAP.id]}, "not_permitted"), ("read", {"points": [LAMP.id]}, "done"),
        ("write", {"point": FLAP.id, "value": "closed", "reason": "x"}, "not_permitted"),
        ("alarm.acknowledge", {"rule": "gas_leak", "device": "gas"}, "not_permitted"),
        ("alarm.acknowledge", {"rule": "gas_leak"}, "not_permitted"),
        ("alarm.acknowledge", {"rule": "gas_leak", "device": "board"}, "done"),
        ("help", {}, "not_permitted"), ("rebirth", {}, "not_permitted"),
    ]  # fmt: skip

    async def script(desk: Desk) -> None:
        for name, args, code in cases:
            assert (await desk.handle(rig.request(name, args))).code == code, (name, args)
        assert rig.wire.writes == []

    play(rig, script)


def test_a_platform_reads_nothing_that_it_is_not_to_see(rig: Rig) -> None:
    rig.hidden = frozenset({FLAP.id})

    async def script(desk: Desk) -> None:
        assert said(await desk.handle(rig.request("read", {"points": [LAMP.id, FLAP.id]}))) == ("rejected", "hidden")
        unknown = await desk.handle(rig.request("read", {"points": ["no.thing"]}))
        assert (unknown.status, unknown.code, unknown.detail) == ("failed", "trouble", "unknown point: no.thing")

    play(rig, script)


def test_keys_rotate_old_new_and_revoked(rig: Rig) -> None:
    old, new = rig.operator, Operator(SITE, GATEWAY, key="ops-2027")
    revoked: list[Request] = []

    def with_key(operator: Operator) -> Request:
        id_, body = operator.order("time", {}, rig.now_ms())
        return Request(UPLINK, id_, body)

    async def both(desk: Desk) -> None:
        assert said(await desk.handle(with_key(old))) == ("ok", "done")
        assert said(await desk.handle(with_key(new))) == ("ok", "done"), "each key has its own counter"
        revoked.append(with_key(old))

    async def only_new(desk: Desk) -> None:
        assert said(await desk.handle(revoked[0])) == ("rejected", "unknown_key")
        assert said(await desk.handle(with_key(old))) == ("rejected", "unknown_key")
        assert said(await desk.handle(with_key(new))) == ("ok", "done")

    rig.rights["ops-2027"] = Right(public_key(new.public), frozenset({"time"}), frozenset())
    play(rig, both)
    del rig.rights["ops-2026"]
    play(rig, only_new)


# ---------------------------------------------------------------------- G7: what became of it


def test_what_is_sent_and_not_confirmed_is_unknown_and_not_sent_again(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.wire.fails[True] = DeviceUnreachable("silent")
        assert said(await desk.handle(rig.write())) == ("unknown", "no_answer")
        rig.wire.fails.clear()
        rig.wire.deaf = True
        reply = await desk.handle(rig.write())
        assert said(reply) == ("failed", "differs")
        assert reply.result == {"read_back": False}
        await asyncio.sleep(60.0)
        assert len(rig.wire.writes) == 2

    play(rig, script)


def test_what_waits_for_the_line_until_it_has_expired_is_not_sent(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.wire.busy_s = 64.0
        assert said(await desk.handle(rig.write())) == ("ok", "confirmed"), "60 s, and 5 for the clocks"
        rig.wire.busy_s = 66.0
        assert said(await desk.handle(rig.write(value=False))) == ("expired", "expired")
        door = await desk.handle(rig.request("door.release", {"point": DOOR.id, "reason": "x"}))
        assert said(door) == ("expired", "expired")
        await asyncio.sleep(200.0)
        assert [each[1:] for each in rig.wire.writes] == [(LAMP.id, True)]
        assert rig.audited()[-1]["result"] == "expired"

    play(rig, script)


# ---------------------------------------------------------------------- nothing undocumented


def test_the_table_the_configuration_and_the_words_agree() -> None:
    assert set(ACTS) == set(get_args(Command)) == set(ALL)
    assert set(WORDS) == set(Code)
    for words in WORDS.values():
        assert words.zh
        assert words.en
        assert not any("\u4e00" <= char <= "\u9fff" for char in words.en)
    readme = (Path(__file__).parents[2] / "gateway" / "remote" / "README.md").read_text(encoding="utf-8")
    assert [code for code in Code if f"`{code}`" not in readme] == []
    assert [name for name in ACTS if f"`{name}`" not in readme] == []
    assert CommandCode.NOT_AT_REST in readme


def test_a_key_is_kept_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    made = Operator(SITE, GATEWAY, private=private_key(tmp_path / "ops.key"))
    again = Operator(SITE, GATEWAY, private=private_key(tmp_path / "ops.key"))
    assert made.public == again.public
    assert (tmp_path / "ops.key").stat().st_mode & 0o777 == 0o600
    assert len(public_key(made.public)) == 32
