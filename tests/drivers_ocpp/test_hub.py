"""The central system against chargers on real WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drivers.base import HubSpec, Report
from drivers.hub import Inbox
from drivers.ocpp import hub as central_system
from drivers.ocpp.config import DeviceOptions, HubOptions
from drivers.ocpp.connector import Connector
from drivers.ocpp.hub import MOST_BROKEN, OCPP16, OcppHub
from drivers.ocpp.simulator import Refused, SimCharger
from drivers_ocpp.net import PASSWORD, Central, central, connector
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost
from support.certificates import Authority
from support.clock import ManualClock

CARD = "04A2B3C4"
Scene = Callable[[], Coroutine[Any, Any, None]]


def play(scene: Scene) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scene()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def everything_written(made: Central) -> str:
    """All that could reach a disk or a screen, but for what is declared personal."""
    shown = [(each.device, each.readings, each.memory) for each in made.reports]
    shown += [(h.kind, h.attributes) for each in made.reports for h in each.happenings]  # type: ignore[misc]
    return repr((shown, made.hub.strangers))


# ---------------------------------------------------------------------- a charge


def test_a_charge_from_the_card_to_the_end() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            booted = await charger.boot()
            assert booted == {"status": "Accepted", "currentTime": "2026-01-01T00:00:00.000Z", "interval": 60}
            assert await charger.heartbeat() == {"currentTime": "2026-01-01T00:00:00.000Z"}
            assert await charger.authorize(CARD) == "Accepted"
            await charger.status(1, "Preparing")
            transaction = await charger.start(1, CARD, 12_000)
            await charger.status(1, "Charging")
            currents = {"measurand": "Current.Import", "unit": "A"}
            await charger.meter(1, [{"value": "12500"}, {"value": "15.2", **currents}], transaction)
            assert await charger.stop(transaction, 13_500, idTag=CARD, reason="EVDisconnected") == {
                "idTagInfo": {"status": "Accepted"}
            }
            await charger.status(1, "Available")

            assert made.values("p1.state") == ["preparing", "charging", "available"]
            assert made.values("p1.charging") == [True, False]
            assert made.values("p1.energy") == [12.0, 12.5, 13.5]
            assert made.values("p1.current") == [15.2]
            assert made.values("p2.state") == []
            assert made.happenings("charger.boot") == [
                {"vendor": "Sim", "model": "S1", "serial": "0001", "firmware": None}
            ]
            assert made.happenings("charging.started") == [
                {"connector": 1, "transaction": transaction, "meter": 12.0, "accepted": True}
            ]
            assert made.happenings("charging.stopped") == [
                {"transaction": transaction, "meter": 13.5, "energy": 1.5, "reason": "evdisconnected"}
            ]
            personal = [h.personal for r in made.reports for h in r.happenings if h.personal]
            assert personal == [{"card": CARD}, {"card": CARD}]
            assert CARD not in everything_written(made)

    play(scene)


def test_a_heartbeat_is_a_sign_of_life_of_every_connector() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            await charger.heartbeat()
            await until(lambda: len(made.reports) == 2)
            assert made.reports == [Report("p1"), Report("p2")]

    play(scene)


def test_a_fault_is_a_point_and_an_event() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            await charger.status(2, "Faulted", "GroundFailure", vendorErrorCode="E7", info=f"card {CARD}")
            assert made.values("p2.fault") == ["ground_failure"]
            assert made.happenings("charging.fault") == [
                {"connector": 2, "state": "faulted", "fault": "ground_failure", "vendor_error": "E7"}
            ]
            await charger.status(0, "Faulted", "InternalError")  # the charger as a whole, which is no device here
            assert made.values("p1.fault") == []
            assert made.happenings("charging.fault")[1]["connector"] == 0
            assert CARD not in everything_written(made)

    play(scene)


# ---------------------------------------------------------------------- nothing lost, nothing doubled


def test_answers_wait_for_the_disk_and_repetitions_are_no_second_report() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = Central(Path(folder))
            async with made.hub, made.charger() as charger:
                first = asyncio.ensure_future(charger.start(1, CARD, 500))
                (report,) = await made.hub.receive()
                assert not first.done()
                assert report.memory is not None
                # the connection breaks before the answer: the charger says it again, the disk is still busy
                await charger.disconnect()
                await charger.connect()
                again = asyncio.ensure_future(charger.start(1, CARD, 500))
                await asyncio.sleep(0)
                waiting = asyncio.ensure_future(made.hub.receive())
                assert await charger.heartbeat()  # what comes behind it has been heard: so has the repetition
                assert all(each.receipt is None for each in await waiting)
                assert not again.done()
                await made.store([report])
                transaction = await again
                # and once more, when all is on disk
                assert await charger.start(1, CARD, 500) == transaction
                assert len(made.happenings("charging.started")) == 1

    play(scene)


def test_a_power_cut_before_the_disk_forgets_and_after_it_remembers() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cut = Central(Path(folder))
            async with cut.hub, cut.charger() as charger:
                task = asyncio.ensure_future(charger.start(1, CARD, 500))
                (report,) = await cut.hub.receive()
                task.cancel()
            assert report.memory is not None

            forgot = Central(Path(folder))
            async with forgot.hub, forgot.charger() as charger:
                core = asyncio.create_task(forgot.core())
                transaction = await charger.start(1, CARD, 500)
                assert len(forgot.happenings("charging.started")) == 1
                core.cancel()
                await asyncio.wait([core])

            remembers = Central(Path(folder), forgot.memory)
            async with remembers.hub, remembers.charger() as charger:
                core = asyncio.create_task(remembers.core())
                assert await charger.start(1, CARD, 500) == transaction
                assert remembers.happenings("charging.started") == []
                await charger.stop(transaction, 1500)
                await charger.stop(transaction, 1500)
                assert [each["energy"] for each in remembers.happenings("charging.stopped")] == [1.0]
                await charger.meter(1, [{"value": "7"}], transaction)
                await charger.meter(1, [{"value": "7"}], transaction)
                assert remembers.values("p1.energy") == [1.5, 0.007]
                another = await charger.start(1, CARD, 1500)
                assert another != transaction
                core.cancel()
                await asyncio.wait([core])

    play(scene)


def test_what_a_hub_that_opens_anew_has_not_stored_is_heard_again() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = Central(Path(folder))
            async with made.hub, made.charger() as charger:
                lost = asyncio.ensure_future(charger.start(1, CARD, 500))
                await made.hub.receive()  # and the core never stores it
                lost.cancel()
            async with made.hub, made.charger() as charger:
                core = asyncio.create_task(made.core())
                transaction = await charger.start(1, CARD, 500)
                assert len(made.happenings("charging.started")) == 1
                core.cancel()
                await asyncio.wait([core])
            async with made.hub, made.charger() as charger:  # what was stored is known
                assert await charger.start(1, CARD, 500) == transaction

    play(scene)


def test_a_charge_that_began_without_us_ends_at_the_connector_of_its_number() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            await charger.stop(64 * 9 + 2, 8_000)
            await charger.stop(-1, 9_000)
            assert [each.device for each in made.reports if each.receipt is not None] == ["p2", "p1"]
            assert [each["energy"] for each in made.happenings("charging.stopped")] == [None, None]

    play(scene)


def test_memory_of_another_version_begins_anew() -> None:
    async def scene() -> None:
        async with central(memory={"p1": b"\xff", "p2": b'[2,"x"]'}) as made, made.charger() as charger:
            assert await charger.start(1, CARD, 0) == 65

    play(scene)


# ---------------------------------------------------------------------- who may


@pytest.mark.parametrize(("authorize", "status"), [("all", "Accepted"), ("none", "Blocked"), ("listed", "Invalid")])
def test_who_may_charge_is_configured(authorize: str, status: str) -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cards = Path(folder) / "cards"
            hashed = hashlib.sha256(b"beef").hexdigest()
            cards.write_text(f"# gate\nAB12CD34\nsha256:{hashed}\n", encoding="ascii")
            options: dict[str, Any] = {"authorize": authorize}
            if authorize == "listed":
                options["cards_file"] = cards
            async with central(**options) as made, made.charger() as charger:
                assert await charger.authorize(CARD) == status
                if authorize == "listed":
                    assert await charger.authorize("ab12cd34") == "Accepted"
                    assert await charger.authorize("BEEF") == "Accepted"
                answer = await charger.call(
                    "StartTransaction", {"connectorId": 1, "idTag": CARD, "meterStart": 0, "timestamp": charger.now}
                )
                assert answer["idTagInfo"]["status"] == status
                refused = [each for each in made.reports if [h.kind for h in each.happenings] == ["charging.refused"]]
                assert len(refused) == (status != "Accepted")
                assert CARD not in everything_written(made)

    play(scene)


@pytest.mark.parametrize(
    ("keys", "status", "met"),
    [
        ({"password": "another-one"}, 401, "wrong password"),
        ({"password": None}, 401, "wrong password"),
        ({"charge_point": "CP-99"}, 404, "CP-99"),
        ({"subprotocol": "ocpp2.0.1"}, 400, "ocpp2.0.1"),
    ],
)
def test_whoever_is_not_configured_is_turned_away(keys: dict[str, Any], status: int, met: str) -> None:
    async def scene() -> None:
        async with central() as made:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with made.charger(**keys):
                    pass
            assert caught.value.status == status
            assert met in made.hub.strangers["127.0.0.1"]
            assert PASSWORD not in repr(made.hub.strangers)

    play(scene)


def test_a_plain_request_finds_nothing() -> None:
    async def scene() -> None:
        async with central() as made, aiohttp.ClientSession() as http:
            for path in ("/", "/ocpp/CP-1", "/ocpp/../etc/passwd"):
                async with http.get(f"http://127.0.0.1:{made.port}{path}") as answer:
                    assert answer.status == 404
                    assert await answer.text() == ""

    play(scene)


def test_a_connector_that_is_not_configured_is_a_stranger() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            answer = await charger.call(
                "StartTransaction", {"connectorId": 3, "idTag": CARD, "meterStart": 0, "timestamp": charger.now}
            )
            assert answer["idTagInfo"]["status"] == "Invalid"
            await charger.status(3, "Available")
            await charger.meter(3, [{"value": "1"}])
            assert made.hub.strangers == {"CP-1/3": "OCPP connector that is not configured"}
            assert [each for each in made.reports if each.receipt is not None] == []

    play(scene)


def test_over_tls() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            authority = Authority(Path(folder))
            issued = authority.issue("server", "IP:127.0.0.1")
            async with central(certificate_file=issued.certificate, key_file=issued.key) as made:
                trusting = ssl.create_default_context(cafile=str(authority.ca))
                async with aiohttp.ClientSession(headers=SimCharger("", "CP-1", PASSWORD)._headers) as http:
                    url = made.url.replace("ws:", "wss:") + "/CP-1"
                    async with http.ws_connect(url, protocols=("ocpp1.6",), ssl=trusting) as socket:
                        await socket.send_str('[2,"1","Heartbeat",{}]')
                        assert json.loads((await socket.receive()).data)[:2] == [3, "1"]

    play(scene)


# ---------------------------------------------------------------------- commands


@contextlib.asynccontextmanager
async def charging():  # type: ignore[no-untyped-def]
    async with central() as made, made.charger() as charger:
        await charger.boot()
        transaction = await charger.start(1, CARD, 0)
        device = OCPP16.make(made.devices["p1"], made.hub, ManualClock())
        assert isinstance(device, Connector)
        yield made, charger, device, transaction


def test_a_charge_can_be_stopped() -> None:
    async def scene() -> None:
        async with charging() as (_made, charger, device, transaction):
            await device.write("p1.charging", False)
            assert charger.commands == [("RemoteStopTransaction", {"transactionId": transaction})]
            await charger.stop(transaction, 10)
            with pytest.raises(DeviceRejected, match="no charge"):
                await device.write("p1.charging", False)

    play(scene)


def test_a_charge_cannot_be_started_and_a_reading_not_written() -> None:
    async def scene() -> None:
        async with charging() as (_made, charger, device, _transaction):
            for point in ("p1.charging", "p1.energy"):
                with pytest.raises(DeviceRejected):
                    await device.write(point, True)
            assert charger.commands == []

    play(scene)


@pytest.mark.parametrize(
    ("obeys", "error"), [("Scheduled", None), ("Rejected", DeviceRejected), ("error", DeviceRejected)]
)
def test_a_connector_can_be_taken_out_of_service(obeys: str, error: type[Exception] | None) -> None:
    async def scene() -> None:
        async with charging() as (_made, charger, device, _transaction):
            charger.obeys = obeys
            with pytest.raises(error) if error else contextlib.nullcontext():
                await device.write("p1.available", False)
            assert charger.commands == [("ChangeAvailability", {"connectorId": 1, "type": "Inoperative"})]

    play(scene)


def test_a_charger_that_does_not_answer_a_command_is_unreachable() -> None:
    async def scene() -> None:
        async with charging() as (made, charger, _device, _transaction):
            charger.obeys = ""
            spec = replace(made.devices["p1"], timeout_s=0.1)
            with pytest.raises(DeviceUnreachable, match="no answer"):
                await Connector(spec, made.hub).write("p1.charging", False)
            assert len(charger.commands) == 1  # once
            await charger.disconnect()
            await until(lambda: not made.hub._sessions)
            with pytest.raises(DeviceUnreachable, match="not connected"):
                await Connector(spec, made.hub).write("p1.available", False)

    play(scene)


def test_a_charger_that_comes_back_is_asked_how_things_are() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            await charger.heartbeat()
            await charger.heartbeat()
            await until(lambda: charger.commands)
            assert charger.commands == [("TriggerMessage", {"requestedMessage": "StatusNotification"})]

    play(scene)


# ---------------------------------------------------------------------- hostile peers


def test_what_is_not_understood_is_refused_by_name() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            for action, payload, code in (
                ("Reset", {}, "NotImplemented"),
                ("Heartbeat", {"x": 1}, "FormationViolation"),
                ("Authorize", {"idTag": 5}, "TypeConstraintViolation"),
            ):
                with pytest.raises(Refused, match=code):
                    await charger.call(action, payload)
            assert await charger.call("DataTransfer", {"vendorId": "x"}) == {"status": "Rejected"}
            assert await charger.heartbeat()

    play(scene)


def test_a_peer_that_never_says_a_message_is_cut_off() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            for _ in range(MOST_BROKEN):
                await charger.say("[")
            await until(lambda: not charger.connected)
            await until(lambda: not made.hub._sessions)

    play(scene)


def test_a_message_that_is_too_large_ends_its_connection_alone() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as charger:
            await charger.say('[2,"1","DataTransfer",{"vendorId":"x","data":"' + 70_000 * "x" + '"}]')
            await until(lambda: not charger.connected)
            async with made.charger() as other:
                assert await other.heartbeat()

    play(scene)


def test_a_second_connection_of_a_charger_replaces_the_first() -> None:
    async def scene() -> None:
        async with central() as made, made.charger() as first:
            await first.heartbeat()
            async with made.charger() as second:
                await until(lambda: not first.connected)
                assert await second.heartbeat()

    play(scene)


def test_a_charger_that_leaves_while_the_core_is_busy_is_heard_to_the_end() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = Central(Path(folder))
            made.hub._inbox = Inbox(1)
            async with made.hub, made.charger() as charger:
                said = [asyncio.ensure_future(charger.start(connector, CARD, 500)) for connector in (1, 2)]
                await until(lambda: len(made.hub._pending) == 2)
                await charger.disconnect()
                await until(lambda: made.hub._server is not None and made.hub._server.connections == 0)
                core = asyncio.create_task(made.core())
                await charger.connect()
                transactions = [await charger.start(connector, CARD, 500) for connector in (1, 2)]
                assert len(set(transactions)) == len(made.happenings("charging.started")) == 2
                core.cancel()
                await asyncio.wait([core, *said])

    play(scene)


def test_connections_are_limited_and_silent_ones_end(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(central_system.LIMITS, head_s=0.2)
    monkeypatch.setattr(central_system, "LIMITS", limits)

    async def scene() -> None:
        async with central() as made:
            many = limits.connections_of_one + 4
            silent = [await asyncio.open_connection("127.0.0.1", made.port) for _ in range(many)]
            ends = await asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True)
            assert len(ends) == many
            assert made.hub._server is not None
            assert made.hub._server.turned_away == 4
            for _, writer in silent:
                writer.close()
            async with made.charger() as charger:
                assert await charger.heartbeat()
                await asyncio.sleep(0.3)  # a WebSocket is not cut off by the handshake's clock
                assert await charger.heartbeat()

    play(scene)


# ---------------------------------------------------------------------- opening


def test_a_port_in_use_and_a_missing_file_are_lost_lines() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            first = Central(Path(folder))
            second = Central(Path(folder), port=first.port)
            async with first.hub:
                with pytest.raises(LineLost, match="cannot listen"):
                    await second.hub.__aenter__()
            (Path(folder) / "password").write_text("short\n", encoding="ascii")
            with pytest.raises(LineLost, match="8") as caught:
                await second.hub.__aenter__()
            assert "short" not in str(caught.value).removeprefix("a short")
            (Path(folder) / "password").write_text("hex:000102030405060708090a0b0c0d0e0f10111213\n", encoding="ascii")
            async with second.hub:
                assert second.hub.port == first.port

    play(scene)


def test_one_charge_point_has_one_password_and_each_connector_once() -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, same = connector("a", 1, Path(folder)), connector("b", 1, Path(folder))
        options = DeviceOptions(charge_point="CP-1", connector=2, without_password=True)
        for other, wrong in ((same, "one connector"), (replace(same, options=options), "one password")):
            with pytest.raises(ConfigError, match=wrong):
                OcppHub(
                    HubSpec("c", HubOptions(listen="127.0.0.1:1", authorize="all"), {"a": one, "b": other}),
                    ManualClock(),
                )


def test_a_unit_that_no_charger_measures_in_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        spec = connector("a", 1, Path(folder))
        point = spec.points["a.energy"]
        wrong = replace(spec, points={"a.energy": replace(point, point=replace(point.point, unit="MJ"))})
        with pytest.raises(ConfigError, match=r"kW\.h"):
            OCPP16.make(wrong, None, ManualClock())
