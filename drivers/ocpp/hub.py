"""The central system of the compound's own chargers.

charger ══ WebSocket ══▶ HttpServer: limits ─▶ password ──▶ message, schema ──▶ meaning, ledger ──▶ Report ──▶ core
charger ◀══ the answer ══ stored(): it is on disk           Heartbeat, Boot, Authorize: answered at once
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import WSCloseCode, WSMsgType, web

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report
from drivers.http_server import Answer, HttpServer, Limits, Request, Tls
from drivers.hub import InboxHub, parse_host_port
from drivers.ocpp import schema
from drivers.ocpp.config import UNITS, DeviceOptions, HubOptions, PointOptions
from drivers.ocpp.connector import Connector
from drivers.ocpp.ledger import CONNECTORS, Ledger, key_of
from drivers.ocpp.meaning import instant_ms, measured, said, samples, word_of
from drivers.ocpp.message import Call, Error, FrameError, Message, Result, parse
from drivers.secret_files import first_line
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Reading, Value

SUBPROTOCOL: Final = "ocpp1.6"
LIMITS: Final = Limits(
    connections=128,
    connections_of_one=16,
    head_s=10.0,  # with TLS a slow charger needs some seconds
    idle_s=10.0,
    body_bytes=1024,
    requests=1,
)
"""Until a connection is a WebSocket; none has a body."""
LARGEST_MESSAGE_BYTES: Final = 64 * 1024
MOST_MESSAGES_PER_S: Final = 50
MOST_BROKEN: Final = 5
"""Messages that are none, before a connection is closed."""
PING_S, SEND_S = 30.0, 5.0
MOST_METER_VALUES: Final = 200


@dataclass(slots=True, eq=False)
class Session:
    """One charger's connection."""

    charge_point: str
    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """A question is sent when the one before is answered (OCPP-J 1.6, 4.1.1)."""
    asked: dict[str, asyncio.Future[Result | Error]] = field(default_factory=dict)
    broken: int = 0
    greeted: bool = False
    second: int = 0
    messages: int = 0

    async def send(self, message: Message) -> None:
        """Nothing is raised for a charger that has gone: it will ask again."""
        try:
            async with asyncio.timeout(SEND_S):
                await self.socket.send_str(message.to_text())
        except (OSError, RuntimeError, TimeoutError):
            self.drop()

    def drop(self) -> None:
        if self.transport is not None:
            self.transport.abort()


@dataclass(slots=True, eq=False)
class _Receipt:
    """Whom to answer when a report is on disk.  A repetition meanwhile changes whom."""

    session: Session
    answer: Result
    key: tuple[str, str]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class _News:
    """What a message says about one connector."""

    key: str
    readings: Sequence[Reading] = ()
    happenings: Sequence[Happening] = ()


class OcppHub(InboxHub):
    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._options: HubOptions = spec.options
        self._connectors = _connectors(spec.devices)
        self._on_disk = {device: _ledger(spec.memory.get(device)) for device in spec.devices}
        self._ledgers = dict(self._on_disk)
        self._pending: dict[tuple[str, str], _Receipt] = {}
        self._sessions: dict[str, Session] = {}
        self._secrets = _Secrets({}, frozenset())
        self._server: HttpServer | None = None

    # ------------------------------------------------------------------ the hub's contract

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._pending.clear()
        self._ledgers = dict(self._on_disk)  # what was not stored is not known: it will be repeated
        self._secrets = await asyncio.to_thread(self._read_files)
        tls = Tls.of(self._options.certificate_file, self._options.key_file)
        address = parse_host_port(self._options.listen)
        server = HttpServer(address, _no_page, limits=LIMITS, tls=tls, upgrade=self._serve)
        self._server = await server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("closed")
        for session in list(self._sessions.values()):
            session.drop()
        server, self._server = self._server, None
        if server is not None:
            await server.__aexit__(kind, exc, tb)
        self._sessions.clear()

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            receipt = report.receipt
            if isinstance(receipt, _Receipt):
                self._on_disk[report.device] = receipt.ledger
                self._pending.pop(receipt.key, None)
                await receipt.session.send(receipt.answer)

    @property
    def port(self) -> int:
        """Where it listens, when port 0 was asked for."""
        assert self._server is not None
        return self._server.port

    # ------------------------------------------------------------------ for its devices

    async def ask(self, charge_point: str, action: str, payload: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a command once.  Raises DeviceUnreachable, DeviceRejected, ProtocolError, LineLost."""
        if self._server is None:
            raise LineLost("the line is closed")
        session = self._sessions.get(charge_point)
        if session is None:
            raise DeviceUnreachable(
                f"charge point {charge_point} is not connected",
                hint="充电桩的服务器地址、名称和密码对吗？/ check the charger's server address, name and password",
            )
        call = Call(str(uuid.uuid4()), action, payload)
        answer = await self._answered(session, call, timeout_s)
        if isinstance(answer, Error):
            raise DeviceRejected(f"{action}: {answer.code}", 0)
        fault = schema.fault_of_result(action, answer.payload)
        if fault is not None:
            raise ProtocolError(f"the answer to {action} is not one: {fault[1]}")
        return answer.payload

    def transaction(self, device: str) -> int | None:
        """The id of the charge that goes on there."""
        opened = self._ledgers[device].open
        return None if opened is None else opened.id

    async def _answered(self, session: Session, call: Call, timeout_s: float) -> Result | Error:
        future: asyncio.Future[Result | Error] = asyncio.get_running_loop().create_future()
        session.asked[call.id] = future
        try:
            async with asyncio.timeout(timeout_s), session.lock:
                await session.send(call)
                return await future
        except TimeoutError as exc:
            raise DeviceUnreachable(f"no answer to {call.action} within {timeout_s:g} s") from exc
        finally:
            session.asked.pop(call.id, None)

    # ------------------------------------------------------------------ opening

    def _read_files(self) -> _Secrets:
        """Raises LineLost for a file that cannot be used; what it holds is never repeated."""
        schema.load()
        try:
            cards = frozenset(_cards(self._options.cards_file))
            passwords = _passwords(self._spec.devices)
            return _Secrets(passwords, cards)
        except (OSError, ValueError) as exc:
            raise LineLost(
                str(exc), hint="文件是否存在、可读、内容正确？/ does the file exist, is it readable and right?"
            ) from exc

    # ------------------------------------------------------------------ connections

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        charge_point = request.path.rpartition("/")[2]
        refusal = self._refusal(request, charge_point)
        if refusal is not None:
            refusal.force_close()
            return refusal
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            heartbeat=PING_S,
            max_msg_size=LARGEST_MESSAGE_BYTES,
            compress=False,
            timeout=SEND_S,
        )
        await socket.prepare(request)
        session = Session(charge_point, socket, request.transport)
        before = self._sessions.get(charge_point)
        self._sessions[charge_point] = session
        if before is not None:
            before.drop()  # half open: the charger has begun anew
        try:
            await self._listen(session)
        except LineLost:
            pass  # the hub is being closed
        except asyncio.CancelledError:
            await socket.close()  # its connection is gone already: this ends its timers
            raise
        except Exception:
            self._inbox.lose("a fault in the handling of a charger's message")
            raise
        finally:
            self._leave(session)
        return socket

    def _leave(self, session: Session) -> None:
        if self._sessions.get(session.charge_point) is session:
            del self._sessions[session.charge_point]
        for future in session.asked.values():
            future.cancel()

    def _refusal(self, request: web.BaseRequest, charge_point: str) -> web.Response | None:
        peer = str(request.remote or "")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=404)
        if charge_point not in self._connectors:
            self._strangers.met(peer, f"OCPP charge point {_shown(charge_point)}")
            return web.Response(status=404)
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if SUBPROTOCOL not in [each.strip() for each in offered.split(",")]:
            self._strangers.met(peer, f"OCPP charge point {charge_point} speaks {_shown(offered) or 'no subprotocol'}")
            return web.Response(status=400)
        if not self._secrets.admit(charge_point, request.headers.get("Authorization", "")):
            self._strangers.met(peer, f"OCPP charge point {charge_point} with a wrong password")
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="OCPP"'})
        return None

    async def _listen(self, session: Session) -> None:
        async for message in session.socket:
            if message.type is not WSMsgType.TEXT:
                return
            await self._pace(session)
            try:
                heard = parse(message.data)
            except FrameError:
                session.broken += 1
                if session.broken >= MOST_BROKEN:
                    await session.socket.close(code=WSCloseCode.UNSUPPORTED_DATA)
                    return
                continue
            await self._heard(session, heard)

    async def _pace(self, session: Session) -> None:
        """A charger that says more than anybody needs waits for the next second."""
        now_s = self._clock.monotonic_s()
        if int(now_s) != session.second:
            session.second, session.messages = int(now_s), 0
        session.messages += 1
        if session.messages > MOST_MESSAGES_PER_S:
            await asyncio.sleep(1.0)

    async def _heard(self, session: Session, message: Message) -> None:
        if isinstance(message, Call):
            fault = schema.fault_of_call(message.action, message.payload)
            if fault is not None:
                await session.send(Error(message.id, *fault))
                return
            await self._called(session, message)
            return
        future = session.asked.get(message.id)
        if future is not None and not future.done():
            future.set_result(message)

    # ------------------------------------------------------------------ messages

    async def _called(self, session: Session, call: Call) -> None:
        match call.action:
            case "StartTransaction":
                await self._start(session, call)
            case "StopTransaction":
                await self._stop(session, call)
            case "MeterValues":
                await self._values(session, call)
            case "StatusNotification":
                await self._status(session, call)
            case "BootNotification":
                await self._boot(session, call)
            case _:
                await self._at_once(session, call)
        if not session.greeted:
            session.greeted = True
            if call.action != "BootNotification":  # it goes on after a broken connection: how are things now?
                await session.send(
                    Call(str(uuid.uuid4()), "TriggerMessage", {"requestedMessage": "StatusNotification"})
                )

    async def _at_once(self, session: Session, call: Call) -> None:
        """Nothing in these that must not be lost."""
        answer: dict[str, Any] = {}
        happenings: list[Happening] = []
        if call.action == "Heartbeat":
            answer = {"currentTime": self._time()}
        elif call.action == "DataTransfer":
            answer = {"status": "Rejected"}
        elif call.action == "Authorize":
            status = self._judge(call.payload["idTag"])
            answer = {"idTagInfo": {"status": status}}
            if status != "Accepted":
                happenings.append(self._happening("charging.refused", None, {}, call.payload["idTag"]))
        elif call.action == "SecurityEventNotification":
            happenings.append(self._happening("charger.security", call, {"type": call.payload["type"]}))
        devices = self._connectors[session.charge_point]
        main = devices[min(devices)]
        for device in devices.values():
            await self._inbox.put(Report(device, happenings=tuple(happenings) if device == main else ()))
        await session.send(Result(call.id, answer))

    async def _boot(self, session: Session, call: Call) -> None:
        told = call.payload
        attributes: dict[str, Value | None] = {
            "vendor": told["chargePointVendor"],
            "model": told["chargePointModel"],
            "serial": told.get("chargePointSerialNumber"),
            "firmware": told.get("firmwareVersion"),
        }
        devices = self._connectors[session.charge_point]
        happening = self._happening("charger.boot", None, attributes)
        for number, device in devices.items():
            await self._inbox.put(Report(device, happenings=[happening] if number == min(devices) else ()))
        answer = {"status": "Accepted", "currentTime": self._time(), "interval": self._options.heartbeat_s}
        await session.send(Result(call.id, answer))

    async def _start(self, session: Session, call: Call) -> None:
        told, now = call.payload, self._clock.now_ms()
        connector, meter_wh = told["connectorId"], told["meterStart"]
        device = self._device(session, connector)
        status = self._judge(told["idTag"])
        if device is None:
            await session.send(Result(call.id, {"transactionId": 0, "idTagInfo": {"status": "Invalid"}}))
            return
        key = key_of("start", connector, meter_wh, told["timestamp"])
        ledger = self._ledgers[device]
        known = ledger.id_of(key)
        if known is not None:
            await self._repeated(session, device, key, _started(call.id, known, status))
            return
        ledger = ledger.started(key, connector, meter_wh)
        assert ledger.open is not None
        spec, at = self._spec.devices[device], instant_ms(told["timestamp"], now)
        readings = [*said(spec, "transaction", True, at, now), *self._energy(spec, meter_wh, at)]
        attributes: dict[str, Value | None] = {
            "connector": connector,
            "transaction": ledger.open.id,
            "meter": meter_wh / 1000,
            "accepted": status == "Accepted",
        }
        happening = self._happening("charging.started", call, attributes, told["idTag"])
        await self._take(
            session, device, ledger, _News(key, readings, [happening]), _started(call.id, ledger.open.id, status)
        )

    async def _stop(self, session: Session, call: Call) -> None:
        told, now = call.payload, self._clock.now_ms()
        transaction, meter_wh = told["transactionId"], told["meterStop"]
        device = self._device_of_transaction(session, transaction)
        key = key_of("stop", transaction, meter_wh, told["timestamp"])
        answer = Result(call.id, {"idTagInfo": {"status": self._judge(told["idTag"])}} if "idTag" in told else {})
        ledger = self._ledgers[device]
        if ledger.has(key):
            await self._repeated(session, device, key, answer)
            return
        spec, at = self._spec.devices[device], instant_ms(told["timestamp"], now)
        readings = self._sampled(spec, told.get("transactionData", ()), now)
        readings += [*self._energy(spec, meter_wh, at), *said(spec, "transaction", False, at, now)]
        began = ledger.open if ledger.open is not None and ledger.open.id == transaction else None
        attributes: dict[str, Value | None] = {
            "transaction": transaction,
            "meter": meter_wh / 1000,
            "energy": None if began is None else (meter_wh - began.meter_start_wh) / 1000,
            "reason": word_of(told.get("reason", "Local")),
        }
        happening = self._happening("charging.stopped", call, attributes, told.get("idTag"))
        await self._take(
            session, device, ledger.stopped(transaction).saw(key), _News(key, readings, [happening]), answer
        )

    async def _values(self, session: Session, call: Call) -> None:
        told, now = call.payload, self._clock.now_ms()
        device = self._device(session, told["connectorId"])
        answer = Result(call.id, {})
        if device is None:
            await session.send(answer)
            return
        times = [each["timestamp"] for each in told["meterValue"]]
        key = key_of("values", told["connectorId"], told.get("transactionId"), times)
        ledger = self._ledgers[device]
        if ledger.has(key):
            await self._repeated(session, device, key, answer)
            return
        readings = self._sampled(self._spec.devices[device], told["meterValue"], now)
        await self._take(session, device, ledger.saw(key), _News(key, readings), answer)

    async def _status(self, session: Session, call: Call) -> None:
        told, now = call.payload, self._clock.now_ms()
        connector = told["connectorId"]
        devices = self._connectors[session.charge_point]
        own = devices.get(connector) or (devices[min(devices)] if connector == 0 else self._device(session, connector))
        answer = Result(call.id, {})
        if own is None:
            await session.send(answer)
            return
        spec, at = self._spec.devices[own], instant_ms(told.get("timestamp"), now)
        state, fault = word_of(told["status"]), word_of(told["errorCode"])
        readings: list[Reading] = []
        if connector in devices:
            readings += [*said(spec, "state", state, at, now), *said(spec, "fault", fault, at, now)]
            readings += said(spec, "available", state != "unavailable", at, now)
        happenings = []
        if fault != "no_error":
            attributes: dict[str, Value | None] = {
                "connector": connector,
                "state": state,
                "fault": fault,
                "vendor_error": told.get("vendorErrorCode"),
            }
            happenings.append(self._happening("charging.fault", call, attributes))
        key = key_of("status", connector, state, fault, told.get("timestamp"), call.id)
        ledger = self._ledgers[own]
        await self._take(session, own, ledger, _News(key, readings, happenings), answer)

    # ------------------------------------------------------------------ what becomes of them

    async def _take(self, session: Session, device: str, ledger: Ledger, news: _News, answer: Result) -> None:
        """Hand it to the core; the answer waits for the disk."""
        receipt = _Receipt(session, answer, (device, news.key), ledger)
        memory = ledger.to_bytes() if ledger != self._ledgers[device] else None
        self._ledgers[device] = ledger
        self._pending[receipt.key] = receipt
        await self._inbox.put(Report(device, news.readings, news.happenings, memory, receipt))

    async def _repeated(self, session: Session, device: str, key: str, answer: Result) -> None:
        """It is on disk, or on its way there: answered when it is."""
        pending = self._pending.get((device, key))
        if pending is None:
            await session.send(answer)
        else:
            pending.session, pending.answer = session, answer

    def _device(self, session: Session, connector: int) -> str | None:
        device = self._connectors[session.charge_point].get(connector)
        if device is None:
            self._strangers.met(f"{session.charge_point}/{connector}", "OCPP connector that is not configured")
        return device

    def _device_of_transaction(self, session: Session, transaction: int) -> str:
        """Where it began; of a transaction we have given no id, the connector its id would be of, or the first."""
        devices = self._connectors[session.charge_point]
        began = next((each for each in devices.values() if self.transaction(each) == transaction), None)
        return began or devices.get(transaction % CONNECTORS) or devices[min(devices)]

    def _sampled(self, spec: DeviceSpec, values: Iterable[Mapping[str, Any]], now_ms: int) -> list[Reading]:
        readings: list[Reading] = []
        for each in list(values)[:MOST_METER_VALUES]:
            at = instant_ms(each["timestamp"], now_ms)
            readings += measured(spec, samples(each["sampledValue"]), at, now_ms)
        return readings

    def _energy(self, spec: DeviceSpec, meter_wh: int, at_ms: int) -> list[Reading]:
        """The register at the beginning or end of a charge."""
        return measured(spec, samples([{"value": str(meter_wh)}]), at_ms, self._clock.now_ms())

    def _happening(
        self, kind: str, call: Call | None, attributes: Mapping[str, Value | None], card: str | None = None
    ) -> Happening:
        now = self._clock.now_ms()
        at = now if call is None else instant_ms(call.payload.get("timestamp"), now)
        return Happening(kind, at, attributes, {} if card is None else {"card": card})

    def _judge(self, card: str) -> str:
        if self._options.authorize == "listed":
            return "Accepted" if self._secrets.knows(card) else "Invalid"
        return "Accepted" if self._options.authorize == "all" else "Blocked"

    def _time(self) -> str:
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Secrets:
    """Passwords and cards; shows neither."""

    def __init__(self, passwords: Mapping[str, bytes | None], cards: frozenset[str]) -> None:
        self._passwords = passwords
        self._cards = cards

    def admit(self, charge_point: str, header: str) -> bool:
        expected = self._passwords.get(charge_point)
        if expected is None:
            return charge_point in self._passwords
        try:
            given = base64.b64decode(header.removeprefix("Basic ").strip(), validate=True)
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(given, charge_point.encode() + b":" + expected)

    def knows(self, card: str) -> bool:
        return _digest(card) in self._cards


def _digest(card: str) -> str:
    """An idTag is not case sensitive (CiString20Type)."""
    return hashlib.sha256(card.casefold().encode()).hexdigest()


def _cards(file: Path | None) -> Iterable[str]:
    for line in file.read_text(encoding="utf-8").splitlines() if file is not None else ():
        written = line.strip()
        if written.startswith("sha256:"):
            yield written.removeprefix("sha256:").lower()
        elif written and not written.startswith("#"):
            yield _digest(written)


def _passwords(devices: Mapping[str, DeviceSpec]) -> Mapping[str, bytes | None]:
    """Raises OSError, ValueError."""
    found: dict[str, bytes | None] = {}
    for spec in devices.values():
        options: DeviceOptions = spec.options
        found[options.charge_point] = None if options.password_file is None else _password(options.password_file)
    return found


def _password(file: Path) -> bytes:
    line = first_line(file).strip()
    try:
        secret = bytes.fromhex(line.removeprefix(b"hex:").decode("ascii")) if line.startswith(b"hex:") else line
    except ValueError:
        secret = b""
    if not 8 <= len(secret) <= 64:
        raise ValueError(
            f"{file}: 首行应为 8 至 64 个字节的密码 / its first line must hold a password of 8 to 64 bytes"
        )
    return secret


async def _no_page(request: Request) -> Answer:
    """Whoever wants no WebSocket."""
    return Answer(404)


def _connectors(devices: Mapping[str, DeviceSpec]) -> Mapping[str, Mapping[int, str]]:
    """Charge point -> connector -> device.  Raises ConfigError."""
    found: dict[str, dict[int, str]] = {}
    passwords: dict[str, tuple[Path | None, str]] = {}
    for device, spec in devices.items():
        options: DeviceOptions = spec.options
        same = found.setdefault(options.charge_point, {})
        if options.connector in same:
            raise ConfigError(
                f"{same[options.connector]}、{device}：同一充电桩的同一枪"
                f" / {same[options.connector]} and {device} are one connector of one charge point"
            )
        same[options.connector] = device
        file, other = passwords.setdefault(options.charge_point, (options.password_file, device))
        if file != options.password_file:
            raise ConfigError(
                f"{other}、{device}：同一充电桩只有一个密码 / {other} and {device}: one charge point has one password",
                hint="两个设备条目写同一 password_file / give both entries the same password_file",
            )
    return found


def _ledger(memory: bytes | None) -> Ledger:
    """Memory that cannot be read is of another version: transactions begin anew."""
    try:
        return Ledger() if memory is None else Ledger.from_bytes(memory)
    except ValueError:
        return Ledger()


def _started(id_: str, transaction: int, status: str) -> Result:
    return Result(id_, {"transactionId": transaction, "idTagInfo": {"status": status}})


def _shown(text: str) -> str:
    """What a stranger says, for a technician's eyes."""
    return "".join(each if each.isprintable() else "?" for each in text[:48])


def _make(spec: DeviceSpec, hub: OcppHub, clock: Clock) -> Connector:
    for point in spec.points.values():
        options: PointOptions = point.options
        units = UNITS.get(options.says)
        if units is not None and point.point.unit not in units:
            raise ConfigError(
                f"{point.point.id}：says: {options.says} 的单位应为 {' / '.join(units)}"
                f" / the unit of says: {options.says} is {' or '.join(units)}"
            )
    return Connector(spec, hub)


OCPP16 = ProtocolType(
    name="ocpp16",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=_make,
    hub=OcppHub,
    hub_options=HubOptions,
    sends=True,
    default_timeout_s=15.0,
)
