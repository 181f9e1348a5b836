"""A hub against a simulated camera over HTTP and RTSP; and the simulated camera against another's client."""

from __future__ import annotations

import asyncio
import logging
import warnings
from typing import Any

import pytest

from drivers.onvif import camera as conversation
from drivers.onvif import hub as hub_module
from drivers.onvif.simulator import USER, SimCamera
from drivers_onvif.net import PASSWORD, until, watching
from gateway.model import Reason


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(hub_module, "REFUSED_PAUSE_S", 0.05)


def test_a_camera_is_alive_and_says_what_it_is_and_sees() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera) as made:
            camera.motion(True)
            camera.input("AlarmIn_10", True)
            camera.input("AlarmIn_9", False)
            await until(lambda: made.values("c.gate"))
            camera.motion(False)
            await until(lambda: made.values("c.motion") == [True, False])
            await until(lambda: made.values("c.online"))
            assert made.values("c.model") == ["Sim C1"]
            assert made.values("c.serial") == ["S-0001"]
            assert made.values("c.gate") == [True]
            assert made.values("c.input1")[-1] is False
            assert made.values("c.input2") == [True]
            assert made.values("c.online") == [True]
            assert made.values("c.tamper") == []
            assert made.happenings("camera.no_events") == []

    asyncio.run(scene())


@pytest.mark.parametrize(("references", "http_digest"), [(False, False), (True, False), (False, True)])
def test_tampering_is_an_event_once(references: bool, http_digest: bool) -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera) as made:
            camera.references, camera.http_digest = references, http_digest
            camera.tamper(True)
            await until(lambda: made.values("c.tamper"))
            camera.tamper(True)
            camera.tamper(False)
            await until(lambda: made.values("c.tamper") == [True, False])
            assert made.happenings("camera.tamper") == [{"source": "VideoSource/GlobalSceneChange/ImagingService/0"}]

    asyncio.run(scene())


def test_a_camera_that_starts_again_is_subscribed_to_again() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera) as made:
            camera.motion(True)
            await until(lambda: made.values("c.motion"))
            camera.reboot()
            await until(lambda: len(made.values("c.motion")) == 3)
            assert made.values("c.motion") == [True, Reason.NO_ANSWER, True]  # unknown meanwhile, then told anew
            assert made.values("c.input1") == [Reason.NO_ANSWER]
            assert camera.subscriptions == 1

    asyncio.run(scene())


def test_a_wrong_password_is_told_once_and_nobody_is_locked_out() -> None:
    async def scene() -> None:
        async with SimCamera("another") as camera, watching(camera) as made:
            await until(lambda: camera.calls.count("GetDeviceInformation") >= 3)
            await until(lambda: made.values("c.online"))
            (told,) = made.happenings("camera.no_events")
            assert "NotAuthorized" in told["reason"]
            assert PASSWORD not in repr(made.reports)

    asyncio.run(scene())


def test_a_missing_password_file_concerns_events_alone() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera, password_file="/nowhere/password") as made:
            await until(lambda: made.values("c.online"))
            await until(lambda: made.happenings("camera.no_events"))
            assert "/nowhere/password" in made.happenings("camera.no_events")[0]["reason"]
            assert camera.calls == []

    asyncio.run(scene())


def test_without_an_account_a_camera_is_alive_or_not() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera, user="", password_file=None) as made:
            await until(lambda: made.values("c.online"))
            assert camera.calls == []

    asyncio.run(scene())


def test_a_camera_that_is_gone_is_off_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        camera = SimCamera(PASSWORD)
        async with camera:
            address, port = camera.address, camera.rtsp_port
        gone: Any = type("Gone", (), {"address": address, "rtsp_port": port})
        async with watching(gone) as made:
            await until(lambda: made.values("c.online"))
            assert made.values("c.online") == [False]
            assert made.happenings("camera.no_events") == []  # off line says it

    asyncio.run(scene())


def test_motion_that_is_never_ended_ends() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera, clear_after_s=10) as made:
            camera.motion(True)
            await until(lambda: made.values("c.motion"))
            made.clock.advance(11)
            camera.input("AlarmIn_1", True)  # anything that ends a pull
            await until(lambda: made.values("c.motion") == [True, False])

    asyncio.run(scene())


def test_a_camera_with_a_wrong_clock_is_spoken_to_in_its_time() -> None:
    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera:
            camera.now = "2019-03-01T12:00:00Z"
            async with watching(camera) as made:
                camera.motion(True)
                await until(lambda: made.values("c.motion"))
                times = [r.source_time_ms for each in made.reports for r in each.readings if r.point == "c.motion"]
                assert times == [made.clock.now_ms()]  # heard, not said

    asyncio.run(scene())


def test_subscriptions_are_renewed_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "RENEW_S", 0.0)

    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera:
            async with watching(camera) as made:
                camera.motion(True)
                await until(lambda: "Renew" in camera.calls)
                assert made.values("c.motion") == [True]
            assert camera.calls[-1] == "Unsubscribe"
            assert camera.subscriptions == 0

    asyncio.run(scene())


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation.soap, "LARGEST_ANSWER_BYTES", 500)

    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera, watching(camera) as made:
            await until(lambda: camera.calls.count("GetSystemDateAndTime") >= 2)
            assert made.values("c.model") == []

    asyncio.run(scene())


def test_the_simulated_camera_is_one_for_another_client() -> None:
    """onvif-zeep-async checks every answer of ours against ONVIF's own WSDL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onvif = pytest.importorskip("onvif")

    async def scene() -> None:
        async with SimCamera(PASSWORD) as camera:
            camera.foreign = f"http://{camera.address}"
            host, _, port = camera.address.partition(":")
            camera.now = _now()
            camera.motion(True)
            client = onvif.ONVIFCamera(host, int(port), USER, PASSWORD)
            try:
                await client.update_xaddrs()
                told = await (await client.create_devicemgmt_service()).GetDeviceInformation()
                assert (told.Manufacturer, told.SerialNumber) == ("Sim", "S-0001")
                events = await client.create_events_service()
                created = await events.CreatePullPointSubscription({"InitialTerminationTime": "PT60S"})
                assert created.SubscriptionReference.Address._value_1.endswith("/onvif/subscription/1")
            finally:
                await client.close()

    logging.getLogger("zeep").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(scene())


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
