"""One MQTT 5 connection on the event loop: the thin bridge to paho, and the only file that imports it.

    worker thread                    event loop
    _connect() ── files, DNS, ──▶ _attach() ── add_reader ──▶ loop_read() ──▶ acks, messages, wake()
                  TCP, TLS                     call_soon  ──▶ loop_write()     (deques: no callback can raise into paho)
                                               call_later ──▶ loop_misc() once per tick, silence, progress

paho connects with blocking calls, so that part runs in a thread and is bounded: ``address_s`` per address and for the
TLS handshake.  A thread cannot be interrupted; when its caller is gone it closes what it opened and ends.
A session is used once.  Nothing is kept in paho between two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.config.models import TlsModel
from gateway.errors import UplinkError, UplinkRejected, UplinkUnavailable
from gateway.uplink.contract import SESSION_TAKEN_OVER, connack_hint
from gateway.uplink.dialect import Incoming, Outgoing

_MAX_READS = 32
"""Per call of the reader: other tasks of the loop want their turn."""
_MAX_MESSAGES = 64
"""Commands that may wait for the uplink; more than that is a flood, and the newest is dropped."""
_MAX_MESSAGE_BYTES = 1280 * 1024
"""The largest is a configuration of a whole site; commands are held to far less."""
_USER_TIMEOUT_MS = 30_000
"""tcp(7): sent data may stay unacknowledged this long before the kernel gives the connection up.  The last resort, and
not shorter: measured, Linux also ends a connection whose receiver is merely slow, when its window stays near zero."""


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int
    keepalive_s: int
    client_id: str
    will: Outgoing | None = None
    username: str | None = None
    password: str | None = None
    """Instead of the one in *password_file*."""
    password_file: Path | None = None
    tls: TlsModel | None = None
    clock_known: bool = True
    """Whether the box knows the time; while it does not, a certificate out of its dates says nothing."""
    mqtt311: bool = False
    """Speak MQTT 3.1.1, where the broker has nothing better: a message that it refuses then looks like one it took."""
    address_s: float = 8.0
    """For each address the name resolves to, and for the TLS handshake."""
    dial_s: float = 30.0
    answer_s: float = 10.0
    """For CONNACK."""
    suback_s: float = 20.0
    """Measured: a NATS cluster that has lost a node asks it for each filter in turn, 4 s each, before it refuses."""
    silence_s: float = 8.0
    """paho sends a PINGREQ after keepalive_s without traffic; a live broker has answered this much later.
    paho itself would wait for another keepalive_s."""
    tick_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker granted in its CONNACK."""

    receive_maximum: int
    maximum_packet: int | None


@dataclass(frozen=True, slots=True)
class Lost:
    """Why the connection ended.  *code*: of the broker's DISCONNECT packet, None where there was none."""

    error: UplinkError
    code: int | None = None
    planned: bool = False
    """We wanted it, and come back at once."""
    cut: bool = False
    """The broker, or the line, ended an accepted connection without a word."""


class Session:
    """``async with`` it; then read ``acks`` and ``messages`` whenever *wake* is called, until ``lost`` is set.

    Entering raises UplinkUnavailable or UplinkRejected.  Leaving closes the socket; without a ``disconnect()``
    before, the broker publishes the will.
    """

    def __init__(self, options: Options, wake: Callable[[], None]) -> None:
        self._options = options
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._client: mqtt.Client | None = None
        self._gate = threading.Lock()  # guards the two below: the worker thread and the loop may end at the same time
        self._dialled = False
        self._abandoned = False
        self._connack: asyncio.Future[Accepted] = self._loop.create_future()
        self._subacks: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._gone = asyncio.Event()
        self._socket: Any = None
        self._writer_on = False
        self._flush_due = False
        self._ticker: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self._queued_bytes = 0
        self._paho_said = ""
        self._parting: Lost | None = None
        self.progress_s = 0.0
        """loop.time() at which bytes last left for the network although some were still waiting: a slow line."""
        self.acks: deque[tuple[int, int]] = deque()
        """(message id, reason code) of each PUBACK."""
        self.messages: deque[Incoming] = deque()
        self.dropped_messages = 0
        self.lost: Lost | None = None
        self.accepted = Accepted(1, None)

    async def __aenter__(self) -> Self:
        try:
            await self._dial()
            self._attach()
            async with asyncio.timeout(self._options.answer_s):
                self.accepted = await self._connack
        except TimeoutError as exc:
            self._close()
            raise UplinkUnavailable(
                f"{self._where}: the broker did not answer in time", hint="check the address, the port and the firewall"
            ) from exc
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._close()

    def publish(self, message: Outgoing) -> int:
        """Queue one message and return its id; the answer appears in ``acks``, for QoS 0 as soon as it has left."""
        properties = None
        if message.correlation is not None:
            properties = _properties(PacketTypes.PUBLISH)
            properties.CorrelationData = message.correlation
        info = self._paho.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(Lost(UplinkUnavailable(f"{self._where}: cannot publish: {info.rc.name}")))
        return info.mid

    async def subscribe(self, topics: Sequence[tuple[str, bool]]) -> list[tuple[int, str]]:
        """(reason code, its name) for each topic, in order; a code of 0x80 or more is a refusal.

        topics: (topic filter, whether a retained message is wanted).  MQTT 3.1.1 sends it in any case.
        """
        if self._options.mqtt311:
            _, mid = self._paho.subscribe([(topic, 1) for topic, _ in topics])
        else:
            never, once = SubscribeOptions.RETAIN_DO_NOT_SEND, SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            wishes = [
                (topic, SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=once if retained else never))
                for topic, retained in topics
            ]
            _, mid = self._paho.subscribe(wishes)
        if mid is None or self.lost is not None:
            raise self._lost_error()
        answer = self._subacks[mid] = self._loop.create_future()
        try:
            async with asyncio.timeout(self._options.suback_s):
                codes = await answer
        except TimeoutError as exc:
            raise UplinkUnavailable(f"{self._where}: the broker does not answer SUBSCRIBE") from exc
        finally:
            del self._subacks[mid]
        return [(code.value, str(code)) for code in codes]

    def give_up(self, reason: str, *, planned: bool = False) -> None:
        """The caller has lost patience with this connection, or (planned) wants another one."""
        hint = "" if planned else "the line or the broker hangs"
        self._end(Lost(UplinkUnavailable(f"{self._where}: {reason}", hint=hint), planned=planned))

    async def disconnect(self, timeout_s: float, *, reason: str = "") -> None:
        """Say goodbye, so that the broker drops the will.  Gives up silently when the line does not take it.

        *reason*: why, where the caller comes back at once.
        """
        if self.lost is not None:
            return
        if reason:
            self._parting = Lost(UplinkUnavailable(f"{self._where}: {reason}"), planned=True)
        self._paho.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._gone.wait()
        if self._parting is not None:
            self._end(self._parting)

    # --- connecting ---

    @property
    def _where(self) -> str:
        return f"{self._options.host}:{self._options.port}"

    @property
    def _paho(self) -> mqtt.Client:
        if self._client is None:
            raise RuntimeError("the session is not open")
        return self._client

    async def _dial(self) -> None:
        async with asyncio.timeout(self._options.dial_s):
            await asyncio.to_thread(self._connect)

    def _connect(self) -> None:
        """In a worker thread: everything that may block."""
        options = self._options
        client = self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            protocol=mqtt.MQTTv311 if options.mqtt311 else mqtt.MQTTv5,
            reconnect_on_failure=False,  # paho would fall back to MQTT 3.1 with a blocking connect on the event loop
        )
        client.max_inflight_messages = 0  # no second window inside paho: what is published is sent
        client.connect_timeout = options.address_s
        if options.will is not None:
            client.will_set(options.will.topic, options.will.payload, qos=options.will.qos, retain=options.will.retain)
        client.on_log = self._on_log
        # Set already here, so that the CONNECT waits for the loop.  Written from this thread it would often meet a
        # socket that a broker without our certificate has closed, and paho would drop the alert that says why.
        client.on_socket_register_write = self._on_register_write
        try:
            _set_credentials(client, options)
            _open(client, options)
        finally:
            with self._gate:
                self._dialled = True
                if self._abandoned:
                    _close_socket(client)

    def _attach(self) -> None:
        client = self._paho
        sock = client.socket()
        if sock is None:
            raise UplinkUnavailable(f"{self._where}: the broker closed the connection at once")
        self._socket = sock
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_close = self._on_socket_close
        self._heard_s = self.progress_s = self._loop.time()
        self._loop.add_reader(sock, self._readable)
        self._loop.call_soon(self._readable)  # bytes that TLS has already decrypted do not make the socket readable
        self._loop.call_soon(self._flush)
        self._ticker = self._loop.call_later(self._options.tick_s, self._tick)

    def _close(self) -> None:
        """At once and without a word to the broker.  May be called at any point, and again."""
        with self._gate:
            self._abandoned = True
            dialled = self._dialled
        if not dialled or self._client is None:
            return  # the worker thread closes what it opens
        self._detach()
        client, self._client = self._client, None
        client.on_connect = client.on_disconnect = client.on_publish = client.on_subscribe = None
        client.on_message = client.on_socket_register_write = client.on_socket_close = client.on_log = None
        _close_socket(client)
        self._end(Lost(UplinkUnavailable(f"{self._where}: closed")))

    def _detach(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = None

    # --- the event loop's side ---

    def _readable(self) -> None:
        self._heard_s = self._loop.time()
        for _ in range(_MAX_READS):
            if self._socket is None:
                return
            self._paho.loop_read()
            self._refuse_the_endless()
            if self._socket is None or not _pending(self._socket):
                return
        self._loop.call_soon(self._readable)

    def _refuse_the_endless(self) -> None:
        """paho would collect up to 256 MiB of one packet, whatever size we have asked the broker to keep to."""
        announced = self._paho._in_packet["remaining_length"]  # paho has no public word for it
        if self._socket is not None and announced > _MAX_MESSAGE_BYTES:
            self._detach()
            text = f"{self._where}: the broker sends a packet of {announced} bytes, more than it may"
            self._end(Lost(UplinkUnavailable(text, hint="is this an MQTT broker?")))

    def _on_register_write(self, *_: object) -> None:
        # Not add_writer: what one turn of the loop publishes is written together, usually without asking epoll.
        # Without a socket this is the worker thread; _attach flushes.
        if self._socket is not None and not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._socket is None:
            return
        self._paho.loop_write()
        if self._socket is None:
            return
        waiting = self._paho.want_write()
        if waiting and not self._writer_on:
            self._loop.add_writer(self._socket, self._writable)
        elif self._writer_on and not waiting:
            self._loop.remove_writer(self._socket)
        self._writer_on = waiting

    def _writable(self) -> None:
        self.progress_s = self._loop.time()
        self._flush()

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(self._options.tick_s, self._tick)
        if self._socket is None:
            return
        self._paho.loop_misc()
        self._note_progress()
        if self._loop.time() - self._heard_s > self._paho.keepalive + self._options.silence_s:
            self._end(Lost(UplinkUnavailable(f"{self._where}: the broker fell silent", hint="check the line")))
        self._wake()

    def _note_progress(self) -> None:
        if self._socket is None:
            return
        queued = _unsent_bytes(self._socket)
        if queued < self._queued_bytes:
            self.progress_s = self._loop.time()
        self._queued_bytes = queued

    def _end(self, lost: Lost) -> None:
        """The first reason counts."""
        if self.lost is not None:
            return
        self.lost = lost
        if not self._connack.done():
            self._connack.set_exception(lost.error)
            self._connack.exception()  # seen: nobody may be waiting for it
        for answer in self._subacks.values():
            if not answer.done():
                answer.set_exception(lost.error)
        self._wake()

    def _lost_error(self) -> UplinkError:
        return self.lost.error if self.lost else UplinkUnavailable(f"{self._where}: not connected")

    # --- paho's callbacks: they note and wake, nothing else ---

    def _on_log(self, _client: mqtt.Client, _userdata: Any, level: int, text: str) -> None:
        # paho swallows the reason of a broken read; only its log line tells a refused client certificate.
        if level == LogLevel.MQTT_LOG_ERR:
            self._paho_said = text

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, granted: Any) -> None:
        client.on_log = None  # it would format every later message
        if self._connack.done():
            return
        if code.value >= 0x80:
            self._end(Lost(_refused(self._where, code)))
            return
        if getattr(granted, "MaximumQoS", 2) < 1:
            hint = "the gateway needs QoS 1; allow it on the broker"
            self._end(Lost(UplinkRejected(f"{self._where}: the broker does not accept QoS 1", hint=hint)))
            return
        self._connack.set_result(
            Accepted(getattr(granted, "ReceiveMaximum", 65_535), getattr(granted, "MaximumPacketSize", None))
        )

    def _on_disconnect(self, _client: Any, _userdata: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
        self._gone.set()
        if not flags.is_disconnect_packet_from_server:
            self._end(self._parting or Lost(self._broken(), cut=self._connack.done()))
            return
        said = getattr(properties, "ReasonString", "")
        hint = "another client uses this client id" if code.value == SESSION_TAKEN_OVER else ""
        text = f"{self._where}: the broker disconnected: {code}" + (f" ({said})" if said else "")
        self._end(Lost(UplinkUnavailable(text, hint=hint), code.value))

    def _broken(self) -> UplinkError:
        if self._connack.done():
            return UplinkUnavailable(f"{self._where}: the connection broke")
        if "ALERT" in self._paho_said and "INTERNAL_ERROR" not in self._paho_said:
            hint = "check tls.certificate and tls.key of this uplink; the platform must have issued them"
            return UplinkRejected(f"{self._where}: the broker refused our certificate: {self._paho_said}", hint=hint)
        hint = "is this an MQTT 5 port, and does it expect TLS?"
        return UplinkUnavailable(f"{self._where}: the broker closed the connection before answering", hint=hint)

    def _on_publish(self, _client: Any, _userdata: Any, mid: int, code: ReasonCode, _properties: Any) -> None:
        self.acks.append((mid, code.value))
        self._wake()

    def _on_subscribe(self, _client: Any, _userdata: Any, mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        answer = self._subacks.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if len(self.messages) >= _MAX_MESSAGES:
            self.dropped_messages += 1
            return
        with contextlib.suppress(UnicodeDecodeError):  # a topic that is not UTF-8 is none of ours
            self.messages.append(
                Incoming(
                    message.topic,
                    bytes(message.payload),
                    message.retain,
                    getattr(message.properties, "ResponseTopic", None),
                    getattr(message.properties, "CorrelationData", None),
                )
            )
            self._wake()

    def _on_socket_close(self, *_: object) -> None:
        self._detach()


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho types all but this constructor


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _set_credentials(client: mqtt.Client, options: Options) -> None:
    """Read afresh for every connection, so that a renewed password or certificate is used on the next one."""
    try:
        if options.username is not None:
            password = options.password
            if password is None and options.password_file is not None:
                password = options.password_file.read_text("utf-8").strip()
            client.username_pw_set(options.username, password)
    except OSError as exc:
        raise _unreadable(exc) from exc
    except UnicodeDecodeError as exc:
        raise UplinkRejected(f"{options.password_file}: not UTF-8 text", hint="write the password again") from exc
    if options.tls is not None:
        client.tls_set_context(tls_context(options.tls))


def tls_context(tls: TlsModel) -> ssl.SSLContext:
    """Raises UplinkRejected when the files cannot be used."""
    try:
        return _tls_context(tls)
    except ssl.SSLError as exc:
        hint = "tls.ca, tls.certificate and tls.key must be PEM files, and the key must belong to the certificate"
        raise UplinkRejected(f"TLS files of the uplink cannot be used: {exc.reason or exc}", hint=hint) from exc
    except OSError as exc:
        raise _unreadable(exc) from exc


def _unreadable(exc: OSError) -> UplinkRejected:
    hint = "the file must exist and be readable by the gateway's user"
    return UplinkRejected(f"{exc.filename or 'a file of the uplink'}: {exc.strerror}", hint=hint)


def _tls_context(tls: TlsModel) -> ssl.SSLContext:
    for path in (tls.ca, tls.certificate, tls.key):
        if path is not None:
            path.open("rb").close()  # ssl's own error does not say which file it means
    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    if tls.certificate is not None:
        context.load_cert_chain(str(tls.certificate), str(tls.key) if tls.key else None, password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    """Without this OpenSSL would ask on the terminal and wait for ever."""
    return ""


def _send_connect(client: mqtt.Client, options: Options) -> None:
    if options.mqtt311:
        client.connect(options.host, options.port, options.keepalive_s)
        return
    properties = _properties(PacketTypes.CONNECT)
    properties.ReceiveMaximum = _MAX_MESSAGES
    properties.MaximumPacketSize = _MAX_MESSAGE_BYTES
    client.connect(options.host, options.port, options.keepalive_s, clean_start=True, properties=properties)


_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION"}
)


def _open(client: mqtt.Client, options: Options) -> None:
    where = f"{options.host}:{options.port}"
    try:
        _send_connect(client, options)
        _tune(client.socket())
    except ssl.SSLCertVerificationError as exc:
        raise _untrusted(where, exc, clock_known=options.clock_known) from exc
    except ssl.SSLError as exc:
        if exc.reason in _NO_TLS:
            hint = "the port does not speak TLS 1.2 or later; the usual TLS port of MQTT is 8883"
            raise UplinkRejected(f"{where}: no TLS: {exc.reason}", hint=hint) from exc
        hint = "does the port expect TLS 1.2 or later, and does anything on the way interfere?"
        raise UplinkUnavailable(f"{where}: TLS handshake failed: {exc.reason or exc}", hint=hint) from exc
    except socket.gaierror as exc:
        hint = "check uplink host, the DNS server and the line"
        raise UplinkUnavailable(f"{options.host}: the name cannot be resolved: {exc.strerror}", hint=hint) from exc
    except OSError as exc:
        hint = "check the address, the port, the firewall and the line"
        raise UplinkUnavailable(f"{where}: cannot connect: {exc.strerror or exc}", hint=hint) from exc
    except ValueError as exc:
        raise UplinkRejected(f"{options.host!r} is not a host name: {exc}", hint="check uplink host") from exc


_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64  # X509_V_ERR_* of OpenSSL
_KEY_TOO_SMALL, _CA_KEY_TOO_SMALL, _WEAK_DIGEST = 66, 67, 68


def _untrusted(where: str, exc: ssl.SSLCertVerificationError, *, clock_known: bool) -> UplinkError:
    """A clock that is wrong makes any certificate look wrong; that passes by itself once the clock is synchronised."""
    text = f"{where}: the broker's certificate is not accepted: {exc.verify_message}"
    if not clock_known and exc.verify_code in (_NOT_YET_VALID, _EXPIRED):
        return UplinkUnavailable(text, hint="the box does not know the time yet; this waits for its synchronisation")
    if exc.verify_code == _NOT_YET_VALID:
        return UplinkUnavailable(text, hint="the box's clock is behind; check its time synchronisation")
    name = "uplink host must be the name that stands in the certificate"
    weak = "the certificate is too weak (SHA-1, or a short key); the platform must issue another one"
    hints = {
        _EXPIRED: "the certificate has expired (or the box's clock is wrong); the platform must renew it",
        _WRONG_NAME: name,
        _WRONG_ADDRESS: name,
        _KEY_TOO_SMALL: weak,
        _CA_KEY_TOO_SMALL: weak,
        _WEAK_DIGEST: weak,
    }
    default = "tls.ca must be the authority that issued the broker's certificate"
    return UplinkRejected(text, hint=hints.get(exc.verify_code, default))


def _refused(where: str, code: ReasonCode) -> UplinkError:
    text = f"{where}: the broker refused the connection: {code}"
    hint = connack_hint(code.value)
    return UplinkUnavailable(text) if hint is None else UplinkRejected(text, hint=hint)


def _tune(sock: Any) -> None:
    if sock is None:
        return  # the CONNECT could not be written; _attach says so
    # Each packet is one send(); with Nagle's algorithm the second waits for the first one's TCP acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def _pending(sock: Any) -> bool:
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def _unsent_bytes(sock: Any) -> int:
    """What the kernel holds because the other side has not acknowledged it (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * struct.calcsize("i"))
    return int(struct.unpack("i", answer)[0])


def _close_socket(client: mqtt.Client) -> None:
    sock = client.socket()
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
