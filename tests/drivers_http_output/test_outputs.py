"""Loudspeakers and webhooks against real HTTP servers; templates and signatures by themselves."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.http_output.config import HubOptions, Request, SpeakerOptions, WebhookOptions, WebhookPointOptions
from drivers.http_output.message import fill, refusal, signed
from drivers.http_output.outputs import OutputHub, Speaker, Webhook
from drivers.http_output.simulator import Loudspeaker, Receiver
from gateway.config.explain import parse
from gateway.config.faults import Report
from gateway.config.profiles import Profiles
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost
from gateway.model import Point, Quality, Text, Value, ValueKind
from support.certificates import Authority
from support.clock import ManualClock
from support.descriptors import nothing_new_since, open_descriptors

CLOCK = ManualClock(1_790_000_000_000)


def speaker_spec(url: str, profile: str = "http_speaker", timeout_s: float = 5.0, **options: Any) -> DeviceSpec:
    report = Report()
    shipped = Profiles(Path("nowhere"), report).get(profile)
    assert shipped is not None, report.faults
    points = {
        f"broadcast.{name}": PointSpec(
            Point(
                f"broadcast.{name}",
                ValueKind(each.kind),
                Text(each.name.zh, each.name.en),
                60.0,
                states=tuple(each.states),
                commands=tuple(each.commands),
                writable=each.writable,
            ),
            shipped.options["http-speaker"][name],
        )
        for name, each in shipped.model.points.items()
    }
    files = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    told = {**shipped.model.device, "url": url, **files}
    return DeviceSpec("broadcast", parse(SpeakerOptions, told), points, timeout_s)


def webhook_spec(url: str, key_file: Path, timeout_s: float = 5.0, **options: Any) -> DeviceSpec:
    kinds = {"message": ValueKind.TEXT, "alert": ValueKind.BOOLEAN}
    points = {
        f"hook.{name}": PointSpec(
            Point(f"hook.{name}", kind, Text(name, name), 60.0, writable=True), WebhookPointOptions()
        )
        for name, kind in kinds.items()
    }
    return DeviceSpec("hook", WebhookOptions(url=url, key_file=key_file, **options), points, timeout_s)


def play(scenario: Callable[[OutputHub], Awaitable[None]]) -> None:
    async def main() -> None:
        before = open_descriptors()
        async with OutputHub(HubSpec("net", HubOptions(), {}), CLOCK) as hub:
            await scenario(hub)
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def shows(driver: Speaker | Webhook, point: str) -> Value | None:
    (reading,) = await driver.poll([point])
    return reading.value


def test_announcements_and_texts_leave_as_the_profile_says() -> None:
    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker() as device:
            speaker = Speaker(speaker_spec(device.url), hub, CLOCK)
            assert await shows(speaker, "broadcast.announcement") == "idle"
            await speaker.write("broadcast.announcement", "rainstorm_red")
            assert device.received[-1].path == "/api/tts"
            assert device.received[-1].said["text"].startswith("暴雨红色预警")
            assert device.received[-1].said["volume"] == 100  # a number, not a text
            await speaker.write("broadcast.text", '小"心\\{volume}')
            assert device.received[-1].said == {"text": '小"心\\{volume}', "volume": 80}
            await speaker.write("broadcast.announcement", "stop")
            assert device.received[-1].path == "/api/stop"
            assert await shows(speaker, "broadcast.announcement") == "stop"
            assert device.received[-1].path == "/api/status"
            assert await shows(speaker, "broadcast.online") is True

    play(scenario)


def test_clips_by_get_and_digest(tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("root:pass:word\n")

    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker(login="root:pass:word", digest=True) as device:
            spec = speaker_spec(device.url, "axis_speaker", credentials_file=file)
            speaker = Speaker(spec, hub, CLOCK)
            await speaker.write("broadcast.announcement", "no_ebike")
            await speaker.write("broadcast.announcement", "move_your_car")
            assert [each.target for each in device.received] == [
                "/axis-cgi/mediaclip.cgi?action=play&clip=6",
                "/axis-cgi/mediaclip.cgi?action=play&clip=7",
            ]
            assert device.refused <= 2  # a challenge, and never the request twice
            file.write_text("root:wrong\n")
            with pytest.raises(DeviceRejected, match="401"):
                await speaker.write("broadcast.announcement", "no_ebike")
            assert len(device.received) == 2
            file.unlink()
            with pytest.raises(DeviceRejected, match="login"):
                await speaker.write("broadcast.announcement", "no_ebike")

    play(scenario)


def test_basic_authorisation(tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("admin:密码")

    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker(login="admin:密码") as device:
            speaker = Speaker(speaker_spec(device.url, auth="basic", credentials_file=file), hub, CLOCK)
            await speaker.write("broadcast.announcement", "no_ebike")
            assert len(device.received) == 1

    play(scenario)


@pytest.mark.parametrize(
    ("status", "answer", "why"),
    [
        (500, b"", "HTTP 500"),
        (302, b"", "HTTP 302"),
        (200, b"", "no JSON"),
        (200, b"[]", "no JSON object"),
        (200, b'{"code":7}', "code: '7'"),
        (200, b'{"code":false}', "code: 'False'"),
    ],
)
def test_an_answer_that_is_no_yes_is_a_refusal(status: int, answer: bytes, why: str) -> None:
    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker(status, answer) as device:
            speaker = Speaker(speaker_spec(device.url), hub, CLOCK)
            with pytest.raises(DeviceRejected, match=why):
                await speaker.write("broadcast.announcement", "no_ebike")
            assert len(device.received) == 1
            assert await shows(speaker, "broadcast.announcement") == "idle"

    play(scenario)


def test_no_answer_is_silence_and_nothing_is_sent_twice() -> None:
    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker(drops=True) as device:
            speaker = Speaker(speaker_spec(device.url, "axis_speaker", auth="none"), hub, CLOCK)
            with pytest.raises(DeviceUnreachable):
                await speaker.write("broadcast.announcement", "no_ebike")  # a GET, which HTTP clients like to repeat
            assert len(device.received) == 1
            device.drops, device.hangs = False, True
            slow = Speaker(speaker_spec(device.url, timeout_s=0.1), hub, CLOCK)
            with pytest.raises(DeviceUnreachable):
                await slow.write("broadcast.announcement", "no_ebike")
            url = device.url
        speaker = Speaker(speaker_spec(url), hub, CLOCK)
        with pytest.raises(DeviceUnreachable):
            await speaker.write("broadcast.announcement", "no_ebike")
        with pytest.raises(DeviceUnreachable):
            await speaker.poll(["broadcast.announcement"])

    play(scenario)


def test_what_cannot_be_announced_is_refused_before_anything_leaves() -> None:
    async def scenario(hub: OutputHub) -> None:
        async with Loudspeaker() as device:
            speaker = Speaker(speaker_spec(device.url), hub, CLOCK)
            for point, value in (("broadcast.announcement", "idle"), ("broadcast.other", "x")):
                with pytest.raises(DeviceRejected):
                    await speaker.write(point, value)
            assert device.received == []

    play(scenario)


def test_while_the_line_is_closed_it_is_lost() -> None:
    async def scenario(hub: OutputHub) -> None:
        closed = OutputHub(HubSpec("net", HubOptions(), {}), CLOCK)
        with pytest.raises(LineLost):
            await Speaker(speaker_spec("http://127.0.0.1:9"), closed, CLOCK).poll(["broadcast.announcement"])

    play(scenario)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("speaker", "IP:127.0.0.1")

    async def scenario(hub: OutputHub) -> None:
        device = Loudspeaker()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await device._serve(reader, writer, "")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(DeviceUnreachable, match="Certificate"):
                await Speaker(speaker_spec(url), hub, CLOCK).write("broadcast.announcement", "no_ebike")
            assert device.received == []
            speaker = Speaker(speaker_spec(url, ca_file=authority.ca), hub, CLOCK)
            await speaker.write("broadcast.announcement", "no_ebike")
            assert len(device.received) == 1
            wrong = Speaker(speaker_spec(url, ca_file=tmp_path / "none"), hub, CLOCK)
            with pytest.raises(DeviceRejected, match="ca_file"):
                await wrong.write("broadcast.announcement", "no_ebike")
        await asyncio.sleep(0.05)  # the server's side of the handshakes that were broken off

    play(scenario)


# ---------------------------------------------------------------------- webhooks


def test_a_webhook_is_signed_and_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"sixteen bytes ok\n")

    async def scenario(hub: OutputHub) -> None:
        async with Receiver(key=b"sixteen bytes ok", now_s=CLOCK.now_ms() // 1000) as receiver:
            hook = Webhook(webhook_spec(receiver.url + "/in?site=1", file), hub, CLOCK)
            (before,) = await hook.poll(["hook.message"])
            assert before.quality is Quality.BAD
            await hook.write("hook.message", "水位过高")
            await hook.write("hook.alert", True)
            said = list(receiver.taken.values())
            assert [(each["device"], each["point"], each["value"]) for each in said] == [
                ("hook", "message", "水位过高"),
                ("hook", "alert", True),
            ]
            assert receiver.received[0].target == "/in?site=1"
            assert await shows(hook, "hook.alert") is True
            receiver.key = b"another key, too"
            with pytest.raises(DeviceRejected, match="401"):
                await hook.write("hook.alert", False)
            assert receiver.refused == 1
            file.write_bytes(b"short")
            with pytest.raises(DeviceRejected, match="16"):
                await hook.write("hook.alert", False)

    play(scenario)


def test_it_is_sent_again_under_the_same_id_only_where_the_site_says_so(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"k" * 16)

    async def scenario(hub: OutputHub) -> None:
        async with Receiver(key=b"k" * 16, now_s=CLOCK.now_ms() // 1000, drops=True) as receiver:
            for tries, count in ((1, 1), (3, 4)):
                hook = Webhook(webhook_spec(receiver.url, file, 5.0, tries=tries), hub, CLOCK)
                with pytest.raises(DeviceUnreachable):
                    await hook.write("hook.message", "x")
                assert len(receiver.received) == count
            ids = {each.headers["idempotency-key"] for each in receiver.received[1:]}
            assert len(ids) == 1
            receiver.drops, receiver.status = False, 503
            with pytest.raises(DeviceRejected, match="503"):
                await hook.write("hook.message", "x")
            assert len(receiver.received) == 5  # an answer is an answer

    play(scenario)


def test_the_signature_is_the_documented_one() -> None:
    """Computed here from the page's words, with the standard library's function on the whole text."""
    body = '{"value":"水"}'.encode()
    headers = signed(b"k" * 16, "id1", 1_790_000_000, body)
    right = hmac.new(b"k" * 16, b"1790000000." + body, "sha256").hexdigest()
    assert headers["X-Gateway-Signature"] == f"v1={right}"
    assert headers["X-Gateway-Timestamp"] == "1790000000"
    assert headers["Idempotency-Key"] == "id1"
    assert hashlib.sha256().digest_size * 2 == len(right)


# ---------------------------------------------------------------------- templates


@given(st.text(max_size=60), st.text(max_size=20), st.integers(0, 100))
def test_a_value_never_changes_what_is_around_it(text: str, file: str, volume: int) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text + file):
        return
    request = parse(
        Request,
        {
            "path": "/play/{file}",
            "query": {"v": "{volume}"},
            "json": {"a": ["{text}", "is {text}!"], "v": "{volume}", "n": 1, "b": None},
        },
    )
    made = fill(request, {"text": text, "file": file, "volume": volume})
    assert json.loads(made.body) == {"a": [text, f"is {text}!"], "v": volume, "n": 1, "b": None}
    assert made.target.count("/") == 2
    assert made.target.endswith(f"?v={volume}")
    assert made.target.isascii()
    assert not any(character.isspace() for character in made.target)


def test_forms_and_queries_are_encoded() -> None:
    form = fill(
        parse(Request, {"path": "/a?b=1", "query": {"t": "{text}"}, "form": {"t": "{text}"}}), {"text": "a&b=中"}
    )
    assert form.target == "/a?b=1&t=a%26b%3D%E4%B8%AD"
    assert form.body == b"t=a%26b%3D%E4%B8%AD"
    assert form.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_only_the_statuses_that_are_expected_are_a_yes() -> None:
    request = parse(Request, {"path": "/", "expect": [204]})
    assert refusal(request, 204, b"") is None
    assert refusal(request, 200, b"") == "HTTP 200"
    assert refusal(parse(Request, {"path": "/"}), 201, b"") is None


@given(st.binary(max_size=60), st.integers(0, 999))
def test_any_answer_is_judged(body: bytes, status: int) -> None:
    refusal(parse(Request, {"path": "/", "expect_json": {"code": 0}}), status, body)


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "play"},
        {"path": "/a b"},
        {"path": "/{word}"},
        {"path": "/", "json": {"a": ["{word}"]}},
        {"path": "/", "json": {}, "form": {"a": "b"}},
        {"path": "/", "method": "GET", "form": {"a": "b"}},
        {"path": "/", "headers": {"a": "b\r\nc: d"}},
        {"path": "/", "json": ["x"] * 201},
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" / "):
        parse(Request, wrong)


@pytest.mark.parametrize("url", ["ftp://a", "http://a/b", "http://u:p@a", "https://", "a"])
def test_an_address_of_a_speaker_is_scheme_host_and_port(url: str) -> None:
    with pytest.raises(ValueError, match=r" / "):
        parse(SpeakerOptions, {"url": url})


def test_a_webhook_leaves_over_https_only() -> None:
    with pytest.raises(ValueError, match=r"https only"):
        parse(WebhookOptions, {"url": "http://example.org/x", "key_file": "k"})


def test_words_without_content_and_requests_that_lack_are_found_before_the_start() -> None:
    hub = OutputHub(HubSpec("net", HubOptions(), {}), CLOCK)
    spec = speaker_spec("http://a")
    for options, lacks in (({"say": None}, "say"), ({"stop": None}, "stop")):
        with pytest.raises(ConfigError, match=lacks):
            Speaker(speaker_spec("http://a", **options), hub, CLOCK)
    point = spec.points["broadcast.announcement"]
    more = replace(point, point=replace(point.point, commands=(*point.point.commands, "fire")))
    with pytest.raises(ConfigError, match="fire"):
        Speaker(replace(spec, points={"broadcast.announcement": more}), hub, CLOCK)
    with pytest.raises(ConfigError, match="tries"):
        Webhook(webhook_spec("https://a", Path("k"), 20.0, tries=3), hub, CLOCK)
