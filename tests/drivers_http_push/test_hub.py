"""Boxes post over real connections; the test is the core."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.base import Report
from drivers.http_options import HttpHubOptions
from drivers.http_push import hub as hub_module
from drivers.http_push.config import HttpJsonOptions
from drivers.http_push.hub import BURST, HttpJsonHub
from drivers.http_push.memory import MARK_BYTES, MOST_KEPT, Mark, Memory
from drivers.http_push.simulator import HOSTILE, HttpJsonSim
from drivers.http_server import Head, Request
from drivers.registry import decoder, protocol
from drivers_http_push.site import LIFT, NOW_MS, box, hub_of
from gateway.errors import ConfigError, LineLost
from gateway.model import Reason
from support import virtual_time
from support.certificates import Authority
from support.clock import ManualClock
from support.descriptors import nothing_new_since, open_descriptors

SOS: Mapping[str, Mapping[str, Any]] = {
    "sos": {"kind": "boolean", "path": "type", "values": {"sos": True, "cancel": False}, "pulse_s": 60}
}
SOS_EVENT = {"kind": "care.sos", "when": {"type": "sos"}, "attributes": {"button": "b"}, "personal": {"user": "tel"}}


def at_end(test: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        before = open_descriptors()
        await test
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


def sim(hub: HttpJsonHub, path: str = "", **more: Any) -> HttpJsonSim:
    more.setdefault("tries", 1)
    return HttpJsonSim(f"{more.pop('scheme', 'http')}://127.0.0.1:{hub.port}{path}", **more)


@asynccontextmanager
async def storing(hub: HttpJsonHub) -> AsyncIterator[list[Report]]:
    """A core that stores everything at once."""
    kept: list[Report] = []

    async def store() -> None:
        while True:
            reports = await hub.receive()
            kept.extend(reports)
            await hub.stored(reports)

    task = asyncio.ensure_future(store())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def values(reports: list[Report]) -> list[tuple[str, object]]:
    return [(reading.point, reading.value) for report in reports for reading in report.readings]


def test_a_message_is_readings_and_events_and_is_answered_as_the_profile_says() -> None:
    async def test() -> None:
        lift = box(
            "lift-1",
            topic="/lift/{address}/+",
            time={"path": "t"},
            events=[SOS_EVENT | {"topic": "event"}],
            answer={"code": 200, "msg": "成功"},
        )
        async with (hub := hub_of(lift)), sim(hub, "/lift/lift-1") as said, storing(hub) as kept:
            status = {"floor": "B1", "runs": 7, "passenger": True, "t": NOW_MS - 60_000, "driver": "not asked for"}
            answered = await said.say(status, "/status")
            event = {"type": "sos", "b": 2, "tel": "13800000000", "t": NOW_MS + 3_600_000}
            assert (await said.say(event, "/event")).status == 200
        assert (answered.status, json.loads(answered.body)) == (200, {"code": 200, "msg": "成功"})
        first, second = kept
        assert values([first]) == [("lift-1.floor", "B1"), ("lift-1.runs", 7), ("lift-1.passenger", True)]
        assert {reading.source_time_ms for reading in first.readings} == {NOW_MS - 60_000}
        [happening] = second.happenings
        assert (happening.kind, happening.time_ms) == ("care.sos", NOW_MS), "an hour ahead is not believed"
        assert (happening.attributes, happening.personal) == ({"button": 2}, {"user": "13800000000"})

    at_end(test())


def test_a_code_that_nobody_knows_is_a_bad_reading() -> None:
    async def test() -> None:
        points = {"code": {"kind": "number", "path": "c", "values": "lift/platform_b"}}
        async with (hub := hub_of(box("lift-1", points))), sim(hub, "/lift-1") as said, storing(hub) as kept:
            for code in ("0203", "0317", "0313"):
                await said.say({"c": code})
        assert [reading.value for report in kept for reading in report.readings] == [4, 0, None]
        assert kept[2].readings[0].reason is Reason.OUT_OF_RANGE

    at_end(test())


def test_it_is_answered_only_when_it_is_on_disk_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "ANSWER_S", 0.05)

    async def test() -> None:
        hub = hub_of(box("lift-1", message_id="n"))
        async with hub, sim(hub, "/lift-1") as said:
            first = await said.say({"n": 1, "runs": 1})
            [report] = await hub.receive()
            again = await said.say({"n": 1, "runs": 1})
            await hub.stored([report])
            late = await said.say({"n": 1, "runs": 1})
            await said.say({"n": 2, "runs": 1})
            assert values(list(await hub.receive())) == [("lift-1.runs", 1)], "another number is another message"
        assert [answered.status for answered in (first, again, late)] == [503, 503, 200]

    at_end(test())


def test_nothing_is_lost_or_doubled_over_a_start() -> None:
    async def test() -> None:
        devices = [box("lift-1", message_id="n")]
        async with (hub := hub_of(*devices)), sim(hub, "/lift-1") as said, storing(hub) as kept:
            assert (await said.say({"n": 1, "runs": 1})).status == 200
        memory = kept[-1].memory
        assert memory is not None
        async with (hub := hub_of(*devices, memory={"lift-1": memory})), sim(hub, "/lift-1") as said:
            async with storing(hub) as more:
                assert (await said.say({"n": 1, "runs": 1})).status == 200, "the answer had got lost"
                assert (await said.say({"n": 2, "runs": 2})).status == 200
            assert values(more) == [("lift-1.runs", 2)]

    at_end(test())


def test_what_was_not_stored_when_the_hub_closed_is_told_again() -> None:
    async def test() -> None:
        hub = hub_of(box("lift-1", message_id="n"))
        async with hub, sim(hub, "/lift-1") as said:
            asking = asyncio.ensure_future(said.say({"n": 1, "runs": 1}))
            await hub.receive()
        assert (await asking).status == 0
        async with hub, sim(hub, "/lift-1") as said, storing(hub) as kept:
            assert (await said.say({"n": 1, "runs": 1})).status == 200
        assert values(kept) == [("lift-1.runs", 1)]
        assert len(Memory.from_bytes(kept[0].memory or b"").marks) == 1, "what never got to the disk is not known"

    at_end(test())


@pytest.mark.parametrize(("later_ms", "reports"), [(30_000, 1), (61_000, 2)])
def test_without_number_and_time_only_what_comes_soon_is_a_repetition(later_ms: int, reports: int) -> None:
    """Over a start, where the clock on the wall has to tell."""

    async def test() -> None:
        clock, device = ManualClock(NOW_MS), box("lift-1")
        async with (hub := hub_of(device, clock=clock)), sim(hub, "/lift-1") as said, storing(hub) as kept:
            await said.say({"runs": 1})
            await said.say({"runs": 1})
        assert len(kept) == 1
        clock = ManualClock(NOW_MS + later_ms)
        memory = {"lift-1": kept[0].memory or b""}
        hub = hub_of(device, clock=clock, memory=memory)
        async with hub, sim(hub, "/lift-1") as said, storing(hub) as more:
            await said.say({"runs": 1})
        assert len(kept) + len(more) == reports

    at_end(test())


def test_a_message_with_its_own_time_is_the_same_for_ever() -> None:
    async def test() -> None:
        clock, device = ManualClock(NOW_MS), box("lift-1", time={"path": "t"})
        async with (hub := hub_of(device, clock=clock)), sim(hub, "/lift-1") as said, storing(hub) as kept:
            await said.say({"runs": 1, "t": NOW_MS})
        clock = ManualClock(NOW_MS + 86_400_000)
        memory = {"lift-1": kept[0].memory or b""}
        hub = hub_of(device, clock=clock, memory=memory)
        async with hub, sim(hub, "/lift-1") as said, storing(hub) as more:
            await said.say({"runs": 1, "t": NOW_MS})
            await said.say({"runs": 1, "t": NOW_MS + 1})
        assert (len(kept), len(more)) == (1, 1)

    at_end(test())


def test_what_says_nothing_of_a_point_is_a_sign_of_life_and_few() -> None:
    async def test() -> None:
        async with (hub := hub_of(box("lift-1"))), sim(hub, "/lift-1") as said:
            for _ in range(3):
                assert (await said.say({"heartbeat": 1})).status == 200, "no disk to wait for"
            [report] = await hub.receive()
        assert (report.device, report.readings, report.happenings, report.memory) == ("lift-1", (), (), None)

    at_end(test())


def test_a_button_is_released_after_its_pulse_also_over_a_restart() -> None:
    """Virtual time has no sockets: the request is handed in."""

    async def press(hub: HttpJsonHub, number: int) -> Report:
        request = Request(Head("POST", "/sos-1", "", {}, "127.0.0.1"), b'{"type": "sos", "n": %d}' % number)
        asking = asyncio.ensure_future(hub._handle(request))
        [report] = await hub.receive()
        await hub.stored([report])
        assert (await asking).status == 200
        return report

    async def test() -> None:
        device = box("sos-1", SOS, message_id="n")
        hub = hub_of(device)
        hub._inbox.open()
        pressed = await press(hub, 1)
        await asyncio.sleep(50)
        await press(hub, 2)
        began_s = asyncio.get_running_loop().time()
        [released] = await hub.receive()
        assert 59 < asyncio.get_running_loop().time() - began_s < 61, "pressed again, it lasts anew"
        assert values([released]) == [("sos-1.sos", False)]
        hub._pulses.close()

        clock = ManualClock(NOW_MS + 40_000)
        hub = hub_of(device, memory={"sos-1": pressed.memory or b""}, clock=clock)
        hub._inbox.open()
        hub._pulses.resume("sos-1", hub._boxes["sos-1"].memory.pulses, clock.now_ms())
        began_s = asyncio.get_running_loop().time()
        assert values(list(await hub.receive())) == [("sos-1.sos", False)]
        assert 19 < asyncio.get_running_loop().time() - began_s < 21
        hub._pulses.close()

    virtual_time.run(test())


def test_one_path_for_all_boxes_that_name_themselves() -> None:
    async def test() -> None:
        one, two = (box(name, topic="/push", identity="dev.sn") for name in ("L1", "L2"))
        async with (hub := hub_of(one, two)), sim(hub, "/push") as said, storing(hub) as kept:
            statuses = [(await said.say({"dev": {"sn": name}, "runs": 1})).status for name in ("L2", "L1", "L3")]
            assert (await said.say({"runs": 1})).status == 403
        assert statuses == [200, 200, 403]
        assert [report.device for report in kept] == ["L2", "L1"]
        assert list(hub.strangers) == ["L3", "127.0.0.1"]

    at_end(test())


def test_a_path_and_a_payload_that_name_two_boxes_are_refused() -> None:
    async def test() -> None:
        boxes = [box(name, identity="sn") for name in ("L1", "L2")]
        async with (hub := hub_of(*boxes)), sim(hub) as said:
            assert (await said.say({"sn": "L2", "runs": 1}, "/L1")).status == 403
            assert (await said.say({"sn": "L1", "runs": 1}, "/elsewhere/L1")).status == 404
            assert (await said.say({"sn": "L9", "runs": 1}, "/L9")).status == 404
        assert set(hub.strangers) == {"L2", "127.0.0.1", "L9"}

    at_end(test())


@pytest.mark.parametrize("way", ["path", "bearer", "query"])
def test_a_token(way: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret-word\n")

    async def test() -> None:
        topic = "/{token}/{address}" if way == "path" else "/{address}"
        device = box("L1", topic=topic, token_file=tmp_path / "token")
        async with (hub := hub_of(device)), storing(hub) as kept:
            for token, status in (("s3cret-word", 200), ("s3cret-wor", 401), ("", 404 if way == "path" else 401)):
                path = {"path": f"/{token}/L1", "query": f"/L1?token={token}"}.get(way, "/L1")
                headers = {"Authorization": f"Bearer {token}"} if way == "bearer" and token else {}
                async with sim(hub, path, headers=headers) as said:
                    assert (await said.say({"runs": 1})).status == status, token
        assert len(kept) == 1
        assert all("s3cret" not in f"{name}{what}" for name, what in hub.strangers.items())

    at_end(test())


def test_user_and_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse")

    async def test() -> None:
        device = box("L1", user="lift", password_file=tmp_path / "password")
        async with (hub := hub_of(device)), storing(hub) as kept:
            for credentials, status in ((("lift", "correct horse"), 200), (("lift", "wrong"), 401), (None, 401)):
                async with sim(hub, "/L1", credentials=credentials) as said:
                    assert (await said.say({"runs": 1})).status == status
        assert len(kept) == 1

    at_end(test())


def test_only_a_known_peer() -> None:
    async def test() -> None:
        async with (hub := hub_of(box("L1", peer="192.0.2.7"))), sim(hub, "/L1") as said:
            assert (await said.say({"runs": 1})).status == 404

    at_end(test())


def test_hostile_messages_end_nothing_and_are_not_repeated() -> None:
    async def test() -> None:
        async with (hub := hub_of(box("L1"))), sim(hub, "/L1") as said, storing(hub) as kept:
            for name, body in HOSTILE.items():
                answered = await said.post(body)
                assert answered.status in (400, 413), name
                assert len(answered.body) < 100
            assert (await said.say({"runs": 3})).status == 200
        assert values(kept) == [("L1.runs", 3)]
        assert len(HOSTILE) == 8

    at_end(test())


def test_who_says_too_much_is_told_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        hub = hub_of(box("L1", message_id="n"), box("L2"))
        async with hub, sim(hub, "/L1") as said, sim(hub, "/L2") as other, storing(hub):
            hub._boxes["L1"].left = 1.0
            monkeypatch.setattr(hub_module, "RATE_PER_S", 0.0)
            assert (await said.say({"n": 1, "runs": 1})).status == 200
            assert (await said.say({"n": 2, "runs": 1})).status == 429
            assert (await said.say({"n": 1, "runs": 1})).status == 200, "a repetition costs nothing"
            assert (await other.say({"runs": 1})).status == 200

    at_end(test())
    assert BURST >= 1000


def test_a_full_queue_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with (hub := hub_of(box("L1", message_id="n"))), sim(hub, "/L1", tries=50, retry_s=0.01) as said:
            monkeypatch.setattr(hub._inbox, "_most", 0)
            assert (await hub_answer(hub)).status == 503
            monkeypatch.setattr(hub._inbox, "_most", 1)
            async with storing(hub) as kept:
                assert (await said.say({"n": 1, "runs": 1})).status == 200
        assert values(kept) == [("L1.runs", 1)]

    async def hub_answer(hub: HttpJsonHub) -> Any:
        return await hub._handle(Request(Head("POST", "/L1", "", {}, "127.0.0.1"), b'{"n": 1, "runs": 1}'))

    at_end(test())


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("box", "IP:127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(authority.ca))

    async def test() -> None:
        hub = hub_of(box("L1"), certificate=pair.certificate, key=pair.key)
        async with hub, sim(hub, "/L1", scheme="https", ssl=trusting) as said, storing(hub) as kept:
            assert (await said.say({"runs": 1})).status == 200
        assert len(kept) == 1

    at_end(test())


def test_a_secret_that_is_missing_or_short_stops_the_line(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "short").write_text("1234567")
        for name in ("short", "missing"):
            with pytest.raises(LineLost, match=name):
                async with hub_of(box("L1", token_file=tmp_path / name)):
                    pass

    at_end(test())


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"topic": "/push"}, "needs identity"),
        ({"topic": "/{token}/{address}"}, "needs token_file"),
        ({"topic": "/{address}/{address}"}, "once at most"),
        ({"topic": "/a{address}"}, "whole levels"),
        ({"topic": "/{address}?x=1"}, "whole levels"),
        ({"topic": "/#/{address}"}, "only last"),
        ({"topic": "//{address}"}, "a path is like"),
        ({"user": "lift"}, "go together"),
        ({"user": "a", "password_file": "p", "token_file": "t"}, "no room"),
        ({"answer": "x" * 5000}, "at most 4096 bytes"),
        ({"answer": float("nan")}, "JSON, or a text"),
        ({"peer": "gate"}, "not an IP address"),
        ({"address": "a/b"}, "no / in it"),
        ({"again_s": -1}, "greater than or equal"),
    ],
)
def test_what_a_device_entry_may_not_say(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        HttpJsonOptions.model_validate({"address": "L1", **options})


def test_certificate_and_key_go_together() -> None:
    with pytest.raises(ValidationError, match="go together"):
        HttpHubOptions.model_validate({"listen": "127.0.0.1:1", "key": "k"})


def test_two_boxes_of_one_address_are_refused() -> None:
    twin = box("lift-2", address="lift-1")
    with pytest.raises(ConfigError, match="lift-1 and lift-2"):
        hub_of(box("lift-1"), twin)


def test_the_protocol_is_registered() -> None:
    type_ = protocol("http-json")
    assert (type_.sends, type_.hub_options) == (True, HttpHubOptions)
    request = b"POST /lift/L1?token=s3cret HTTP/1.1\r\nHost: x\r\n\r\n" + b'{"a": {"b": 1}}'
    for data, address in ((request, "/lift/L1"), (b'{"a": {"b": 1}}', "")):
        [frame] = decoder("http-json")(data).frames
        assert (frame.address, [(item.id, item.value) for item in frame.items]) == (address, [("a.b", 1)])
    assert decoder("http-json")(b"POST /x").fault is not None


# ---------------------------------------------------------------------- whatever comes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner))
BODIES = st.binary(max_size=64) | st.builds(
    lambda known, rest: json.dumps(rest | known).encode(),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("floor", "runs", "passenger", "n", "t", "sn"), DOCUMENTS)),
    st.dictionaries(st.text(max_size=4), DOCUMENTS, max_size=2),
)


@given(body=BODIES, path=st.text(max_size=12) | st.just("/L1"), query=st.text(max_size=12), bearer=st.text(max_size=8))
def test_any_request_gets_an_answer_and_no_report_of_another(body: bytes, path: str, query: str, bearer: str) -> None:
    async def test() -> None:
        whole = {"said": {"kind": "text", "path": "$"}}
        boxes = (
            box("L1", {**LIFT, **SOS}, time={"path": "t"}, message_id="n", events=[SOS_EVENT]),
            box("L2", whole, topic="/{address}/#"),
            box("L3", topic="/push", identity="sn"),
        )
        hub = hub_of(*boxes)
        hub._inbox.open()
        head = Head("POST", path, query, {"authorization": f"Bearer {bearer}"}, "192.0.2.1")
        refused = hub._admit(head)
        asking = asyncio.ensure_future(hub._handle(Request(head, body)))
        async with storing(hub) as kept:
            answered = await asking
        hub._pulses.close()
        assert answered.status in (200, 400, 403)
        assert {report.device for report in kept} <= {"L1", "L2", "L3"}
        assert not (kept and hasattr(refused, "status")), "what is not admitted is not reported"
        for report in kept:
            assert all(reading.point.startswith(f"{report.device}.") for reading in report.readings)

    asyncio.run(test())


MARKS = st.builds(
    Mark, st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES).map(bytes.hex), st.integers(), st.booleans()
)


@given(marks=st.lists(MARKS, max_size=2 * MOST_KEPT), pulses=st.dictionaries(st.text(max_size=8), st.integers()))
def test_the_memory_comes_back_and_is_bounded(marks: list[Mark], pulses: dict[str, int]) -> None:
    memory = Memory(pulses=pulses)
    for mark in marks:
        memory = memory.with_mark(mark)
    again = Memory.from_bytes(memory.to_bytes())
    assert (again.marks, again.pulses) == (tuple(marks[-MOST_KEPT:]), pulses)


@given(kept=st.binary(max_size=64) | DOCUMENTS.map(lambda each: json.dumps(each).encode()))
def test_a_memory_that_cannot_be_read_is_empty(kept: bytes) -> None:
    assert isinstance(Memory.from_bytes(kept), Memory)
