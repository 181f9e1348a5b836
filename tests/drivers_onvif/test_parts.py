"""SOAP, states, RTSP and discovery: pure, and any bytes at all."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.hub import TcpServer, UdpServer, with_port
from drivers.onvif import discovery, rtsp, soap
from drivers.onvif.config import DeviceOptions, PointOptions
from drivers.onvif.decode import decode
from drivers.onvif.soap import Endpoint, Login, Notification, SoapError, body_of
from drivers.onvif.state import MOST_SOURCES, Change, State, changes, instant_ms
from drivers_onvif.hub_rig import MATCH

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z

# As a camera sends it, with its own prefixes; shape after ONVIF Core 23.06, 9.10.6
PULLED = b"""<?xml version="1.0" encoding="UTF-8"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:tt="http://www.onvif.org/ver10/schema"
 xmlns:w="http://docs.oasis-open.org/wsn/b-2" xmlns:e="http://www.onvif.org/ver10/events/wsdl"
 xmlns:tns1="http://www.onvif.org/ver10/topics"><SOAP-ENV:Body><e:PullMessagesResponse>
 <e:CurrentTime>2026-01-01T00:00:01Z</e:CurrentTime><e:TerminationTime>2026-01-01T00:02:00Z</e:TerminationTime>
 <w:NotificationMessage>
  <w:Topic Dialect="http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"
  >tns1:RuleEngine/CellMotionDetector/Motion</w:Topic>
  <w:Message><tt:Message UtcTime="2026-01-01T00:00:01Z" PropertyOperation="Changed">
   <tt:Source><tt:SimpleItem Name="VideoSourceConfigurationToken" Value="1"/>
    <tt:SimpleItem Name="Rule" Value="R1"/></tt:Source>
   <tt:Data><tt:SimpleItem Name="IsMotion" Value="true"/></tt:Data></tt:Message></w:Message>
 </w:NotificationMessage>
 <w:NotificationMessage><w:Topic>tns1:Device/Trigger/tns1:DigitalInput</w:Topic>
  <w:Message><tt:Message UtcTime="2026-01-01T00:00:01Z">
   <tt:Source><tt:SimpleItem Name="InputToken" Value="In_2"/></tt:Source>
   <tt:Data><tt:SimpleItem Name="LogicalState" Value="false"/></tt:Data></tt:Message></w:Message>
 </w:NotificationMessage></e:PullMessagesResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>"""


def wrapped(inner: str) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing">'
        f"<s:Body>{inner}</s:Body></s:Envelope>"
    ).encode()


def test_notifications_are_read_whatever_their_prefixes() -> None:
    motion, contact = soap.notifications_of(body_of(PULLED))
    assert motion == Notification(
        "RuleEngine/CellMotionDetector/Motion",
        "2026-01-01T00:00:01Z",
        "Changed",
        {"VideoSourceConfigurationToken": "1", "Rule": "R1"},
        {"IsMotion": "true"},
    )
    assert (contact.topic, contact.source) == ("Device/Trigger/DigitalInput", {"InputToken": "In_2"})
    assert [(each.kind, each.on, each.time_ms) for each in changes([motion, contact], NOW)] == [
        ("motion", True, NOW + 1000),
        ("input", False, NOW + 1000),
    ]
    shown = decode(b"HTTP/1.1 200 OK\r\n\r\n" + PULLED)
    assert shown.ok
    assert [each.id for each in shown.frames[0].items] == [motion.topic, contact.topic]


def test_addresses_are_reduced_to_paths() -> None:
    """A camera behind a router names an inside address, a hostile one anybody's: calls go where it is configured."""
    reference = (
        "<x:CreatePullPointSubscriptionResponse xmlns:x='urn:x'><x:SubscriptionReference>"
        "<a:Address>http://192.0.2.9:81/onvif/sub?Idx=7</a:Address><a:ReferenceParameters>"
        "<x:Id a:IsReferenceParameter='true'>9</x:Id></a:ReferenceParameters></x:SubscriptionReference>"
        "</x:CreatePullPointSubscriptionResponse>"
    )
    found = soap.subscription_of(body_of(wrapped(reference)))
    assert found is not None
    assert found.path == "/onvif/sub?Idx=7"
    assert ">9<" in found.reference
    assert body_of(soap.envelope(soap.RENEW, "http://10.0.0.5/onvif/sub", found.reference)) is not None
    for address in ("", "ftp:", "http://[", "http://10.0.0.5/a b", "http://10.0.0.5/" + 300 * "x"):
        events = f"<Capabilities><Events><XAddr>{address}</XAddr></Events></Capabilities>"
        assert soap.events_of(body_of(wrapped(events))) is None
    events = "<Capabilities><Events><XAddr>https://10.0.0.5:8443/onvif/event_service</XAddr></Events></Capabilities>"
    assert soap.events_of(body_of(wrapped(events))) == Endpoint("/onvif/event_service")


def test_a_reference_without_end_is_left_out() -> None:
    deep = 40 * "<x>" + 40 * "</x>"
    parameters = f"<ReferenceParameters>{deep}</ReferenceParameters>"
    reference = f"<SubscriptionReference><Address>/s</Address>{parameters}</SubscriptionReference>"
    assert soap.subscription_of(body_of(wrapped(reference))) == Endpoint("/s")


def test_the_digest_is_that_of_the_profile() -> None:
    """The example of ONVIF's Application Programmer's Guide 1.0, 6.1.1.3."""
    nonce = base64.b64decode("LKqI6G/AikKCQrN0zqZFlg==")
    created = "2010-09-16T07:50:45Z"
    expected = "tuOSpGlFlIXsozq4HFNeeGeFLEI="
    assert base64.b64encode(hashlib.sha1(nonce + created.encode() + b"userpassword").digest()).decode() == expected
    written = soap.token(Login("user", "userpassword"), nonce, 1_284_623_445_000)
    assert expected in written
    assert created in written
    assert "userpassword" not in written
    assert "userpassword" not in repr(Login("user", "userpassword"))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", ""),
        (b"<x/>", ""),
        (b"\xff", ""),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', ""),
        (b'<?xml version="1.0" encoding="no-such"?><x/>', ""),
        (
            wrapped(
                "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value>"
                "</s:Subcode></s:Code></s:Fault>"
            ),
            "NotAuthorized",
        ),
        (wrapped("<s:Fault><faultcode>x</faultcode></s:Fault>"), "?"),
    ],
)
def test_what_is_no_answer(answer: bytes, code: str) -> None:
    with pytest.raises(SoapError) as caught:
        body_of(answer)
    assert caught.value.code == code
    assert decode(answer).ok is (code != "")


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=100), st.tuples(st.integers(0, len(PULLED)), st.binary(max_size=6))))
def test_any_bytes_are_an_answer_or_refused(damage: bytes | tuple[int, bytes]) -> None:
    answer = damage
    if isinstance(damage, tuple):
        at, patch = damage
        answer = PULLED[:at] + patch + PULLED[at + len(patch) :]
    assert isinstance(answer, bytes)
    decode(answer)
    discovery.seen(answer, ("10.0.0.5", 3702))
    try:
        body = body_of(answer)
    except SoapError:
        return
    changes(soap.notifications_of(body), NOW)
    soap.time_ms_of(body)
    soap.information_of(body)
    soap.events_of(body)
    soap.subscription_of(body)


@pytest.mark.parametrize("hour", ["25", "x", "-1000000"])
def test_a_time_that_is_none(hour: str) -> None:
    date = "<Date><Year>2026</Year><Month>1</Month><Day>1</Day></Date>"
    written = f"<UTCDateTime><Time><Hour>{hour}</Hour><Minute>0</Minute><Second>60</Second></Time>{date}</UTCDateTime>"
    assert soap.time_ms_of(body_of(wrapped(written))) in (
        None,
        NOW + 25 * 3600_000 + 60_000,
        NOW - 10**6 * 3600_000 + 60_000,
    )
    assert soap.time_ms_of(body_of(wrapped("<x/>"))) is None


# ---------------------------------------------------------------------- states


def told(state: State, kind: str, token: str, on: bool | None, time_ms: int = NOW) -> State:
    return state.after(Change(kind, token, on, time_ms))


def test_there_is_motion_while_one_rule_says_so() -> None:
    motion = PointOptions(says="motion")
    state = State()
    assert state.of(motion) is None
    state = told(told(state, "motion", "a", True), "motion", "b", True)
    state = told(state, "motion", "a", False)
    assert state.of(motion) is True
    assert told(state, "motion", "b", False).of(motion) is False
    assert told(state, "motion", "b", None).of(motion) is False  # the rule was deleted
    assert state.cleared(NOW).of(motion) is True
    assert state.cleared(NOW + 1).of(motion) is False


def test_inputs_are_counted_in_the_order_of_their_names() -> None:
    state = State()
    for token, on in (("AlarmIn_10", True), ("AlarmIn_9", False)):
        state = told(state, "input", token, on)
    assert [state.of(PointOptions(says="input", number=number)) for number in (1, 2, 3)] == [False, True, None]
    assert state.of(PointOptions(says="input", token="AlarmIn_10")) is True
    assert state.of(PointOptions(says="input", token="AlarmIn_1")) is None


def test_sources_are_bounded() -> None:
    state = State()
    for number in range(2 * MOST_SOURCES):
        state = told(state, "motion", str(number), True)
    assert len(state.held) == MOST_SOURCES


@pytest.mark.parametrize(
    ("topic", "data", "kind"),
    [
        ("VideoSource/MotionAlarm", {"State": "1"}, "motion"),
        ("RuleEngine/TamperDetector/Tamper", {"IsTamper": "true"}, "tamper"),
        ("VideoSource/GlobalSceneChange/AnalyticsService", {"State": "true"}, "tamper"),
        ("VideoSource/ImageTooDark/ImagingService", {"State": "true"}, None),  # every night
        ("RuleEngine/LineDetector/Crossed", {"ObjectId": "7"}, None),
        ("VideoSource/MotionAlarm", {"State": "perhaps"}, None),
        ("VideoSource/MotionAlarm", {}, None),
    ],
)
def test_which_topics_count(topic: str, data: dict[str, str], kind: str | None) -> None:
    found = changes([Notification(topic, "", "Changed", {}, data)], NOW)
    assert [each.kind for each in found] == ([] if kind is None else [kind])


def test_a_time_far_from_ours_is_not_believed() -> None:
    assert instant_ms("2026-01-01T00:04:00Z", NOW) == NOW + 240_000
    assert instant_ms("2026-01-01T08:00:00+08:00", NOW) == NOW
    for written in ("2026-01-01T01:00:00Z", "1970-01-01T00:00:00Z", "", "9999-99-99"):
        assert instant_ms(written, NOW) == NOW


# ---------------------------------------------------------------------- RTSP


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"RTSP/1.0 200 OK\r\n", 200),
        (b"RTSP/1.0 401 Unauthorized\r\n", 401),
        (b"RTSP/1.0 200\r\n", 200),
        (b"HTTP/1.1 400 Bad Request\r\n", None),
        (b"RTSP/1.0 2000\r\n", None),
        (b"", None),
    ],
)
def test_who_speaks_rtsp(line: bytes, status: int | None) -> None:
    assert rtsp.status_of(line) == status


@given(st.binary(max_size=60))
def test_any_line_has_a_status_or_none(line: bytes) -> None:
    rtsp.status_of(line)


@pytest.mark.parametrize(
    ("said", "alive"),
    [(b"RTSP/1.0 401 Unauthorized\r\n", True), (b"SSH-2.0\r\n", False), (b"x" * 5000, False), (b"", False)],
)
def test_alive_over_a_real_connection(said: bytes, alive: bool) -> None:
    asked: list[bytes] = []

    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _peer: str) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(said)
            await writer.drain()

        async with TcpServer(("127.0.0.1", 0), serve) as server:
            assert await rtsp.is_alive(("127.0.0.1", server.port), 10) is alive
        assert await rtsp.is_alive(("127.0.0.1", 1), 10) is False

    asyncio.run(scene())
    assert asked[0].startswith(b"OPTIONS rtsp://127.0.0.1:")


# ---------------------------------------------------------------------- discovery


def test_a_camera_describes_itself_and_its_address_is_the_peers() -> None:
    found = discovery.seen(MATCH, ("10.0.0.5", 3702))
    assert found == discovery.Seen(("10.0.0.5", 8000), "/onvif/device_service", "Back Gate", "X9")
    assert discovery.seen(PULLED, ("10.0.0.5", 3702)) is None


def test_a_search_hears_whoever_answers() -> None:
    async def scene() -> None:
        def answer(datagram: bytes, peer: tuple[str, int]) -> None:
            assert body_of(datagram) is not None
            camera.send(MATCH, peer)
            camera.send(b"noise", peer)

        camera = UdpServer(("127.0.0.1", 0), answer)
        async with camera:
            found = await discovery.search(0.2, ("127.0.0.1", camera.port))
        assert [each.name for each in found.values()] == ["Back Gate"]

    asyncio.run(scene())


# ---------------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"address": "10.0.0.5", "user": "a"}, "password_file"),
        ({"address": "10.0.0.5", "password": "a"}, "Extra inputs"),
        ({"address": "http://10.0.0.5"}, "host:port"),
        ({"address": "10.0.0.5", "path": "onvif"}, "path"),
    ],
)
def test_a_camera_that_cannot_be_meant(keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        DeviceOptions.model_validate(keys)


def test_points_and_ports() -> None:
    assert with_port("10.0.0.5", 80) == ("10.0.0.5", 80)
    with pytest.raises(ValidationError, match="input"):
        PointOptions(says="motion", number=2)
