"""The one seam with pysnmp: its message processing and security, on our own sockets and our own sense of time.

ask() ──▶ pysnmp: PDU, version, security ──▶ Wire ──▶ UdpServer ──▶ agents
future ◀── its callback ◀── pysnmp ◀── Wire.heard ◀── the datagram, if an agent's address sent it

pysnmp's own dispatcher keeps a task that counts time-outs by the wall clock: a clock that is set would end all waiting,
or none.  Here elapsed time is the loop's, a question's patience is the asker's, and what pysnmp still remembers of
questions nobody waits for is swept out with the next one.  Object identifiers are numbers throughout, so that no MIB is
looked up; the few modules pysnmp keeps its own tables in are read once, in a thread, before anything is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.carrier.base import AbstractTransportDispatcher
from pysnmp.entity import config as lcd
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen, ntfrcv
from pysnmp.error import PySnmpError
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from drivers.hub import HostPort
from drivers.snmp.config import Oid
from drivers.snmp.values import Bound, Raw
from gateway.model import Reason

ASKING: Final = udp.DOMAIN_NAME
TRAPPING: Final = (*udp.DOMAIN_NAME, 162)
"""pysnmp's transport domains: which of the two sockets."""
TICK_S = 1.0
FORGET_PEERS_TICKS: Final = 300
"""After so many ticks pysnmp forgets which engine it has met at an address."""
FORGET_S = 60
"""How long pysnmp keeps a question that nobody waits for any more."""

AUTH: Final = {
    None: lcd.USM_AUTH_NONE,
    "md5": lcd.USM_AUTH_HMAC96_MD5,
    "sha": lcd.USM_AUTH_HMAC96_SHA,
    "sha224": lcd.USM_AUTH_HMAC128_SHA224,
    "sha256": lcd.USM_AUTH_HMAC192_SHA256,
    "sha384": lcd.USM_AUTH_HMAC256_SHA384,
    "sha512": lcd.USM_AUTH_HMAC384_SHA512,
}
PRIV: Final = {
    None: lcd.USM_PRIV_NONE,
    "des": lcd.USM_PRIV_CBC56_DES,
    "aes": lcd.USM_PRIV_CFB128_AES,
    "aes192": lcd.USM_PRIV_CFB192_AES,
    "aes256": lcd.USM_PRIV_CFB256_AES,
}
MODEL: Final = {"1": 0, "2c": 1, "3": 3}
_NOTHING: Final = {
    rfc1905.NoSuchObject: Reason.REFUSED,
    rfc1905.NoSuchInstance: Reason.NO_VALUE,
    rfc1905.EndOfMibView: Reason.NO_VALUE,
    rfc1905.UnSpecified: Reason.NO_VALUE,
}

FOREIGN_ERRORS: Final = (
    PySnmpError,
    PyAsn1Error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What pysnmp raises on bytes that are no message, found by feeding it such: mostly its own, sometimes not."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one agent is spoken to.  Its text names no secret."""

    version: str
    community: bytes = b""
    user: str = ""
    auth: str | None = None
    auth_key: bytes = b""
    priv: str | None = None
    priv_key: bytes = b""
    context: str = ""

    def __repr__(self) -> str:
        return f"Credentials(version={self.version}, user={self.user})"

    @property
    def level(self) -> str:
        if self.auth is None:
            return "noAuthNoPriv"
        return "authPriv" if self.priv else "authNoPriv"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: an error of the whole (0: none) and which binding it is about (1 is the first), or bindings."""

    status: int
    index: int
    bindings: tuple[Bound, ...]


class EngineError(Exception):
    """pysnmp gives a reason and no answer: a wrong key, an unknown user, a message that does not check."""


Send: TypeAlias = Callable[[bytes, HostPort], None]
Heard: TypeAlias = Callable[[str, str, str, int, Sequence[Bound]], None]
"""A notification: the host it came from, security name and level, request id, bindings."""


class Engine:
    """Made in a thread (it reads pysnmp's own tables, 50 ms on a fast machine); used in the loop."""

    def __init__(self, agents: Mapping[str, Credentials]) -> None:
        self._engine = SnmpEngine()
        self._wire = Wire()
        self._engine.register_transport_dispatcher(self._wire)
        self._agents = dict(agents)
        self._names = _security_names(agents)
        self._numbers = {agent: number for number, agent in enumerate(agents)}
        for agent, name in self._names.items():
            who = self._agents[agent]
            _admit(self._engine, name, who)
            lcd.add_target_parameters(self._engine, f"p{self._numbers[agent]}", name, who.level, MODEL[who.version])
            self.place(agent, ("127.0.0.1", 9))  # loads the tables an address needs; replaced before the first question
        self._get, self._bulk = cmdgen.GetCommandGenerator(), cmdgen.BulkCommandGeneratorSingleRun()
        self._next = cmdgen.NextCommandGeneratorSingleRun()
        self._traps: Heard | None = None

    def name_of(self, agent: str) -> tuple[str, str]:
        """Security name and level that its notifications must carry."""
        return self._names[agent], self._agents[agent].level

    def place(self, agent: str, address: HostPort) -> None:
        """Where the agent is."""
        timeout_centiseconds = FORGET_S * 100
        number = self._numbers[agent]
        lcd.add_target_address(self._engine, f"a{number}", ASKING, address, f"p{number}", timeout_centiseconds, 0)

    def send_with(self, ask: Send, trap: Send | None = None) -> None:
        self._wire.senders = {ASKING: ask} | ({TRAPPING: trap} if trap else {})

    def listen(self, heard: Heard) -> None:
        """Tell *heard* of every notification that has passed pysnmp's checks."""
        self._traps = heard
        ntfrcv.NotificationReceiver(self._engine, self._notified)

    def heard(self, domain: tuple[int, ...], data: bytes, peer: HostPort) -> None:
        """Bytes of whoever; never raises for what they are."""
        try:
            self._wire.heard(domain, peer, data)
        except FOREIGN_ERRORS:
            return

    def get(self, agent: str, oids: Sequence[Oid]) -> asyncio.Future[Answer]:
        """The answer, or EngineError; whoever asks waits no longer than it likes."""
        place, context = self._place(agent), self._context(agent)
        return self._ask(lambda done: self._get.send_varbinds(self._engine, place, *context, _nulls(oids), done))

    def rows(self, agent: str, after: Oid, most: int) -> asyncio.Future[Answer]:
        """The objects behind *after*: up to *most*, of version 1 a single one."""
        place, context = self._place(agent), self._context(agent)
        if self._agents[agent].version == "1":
            return self._ask(
                lambda done: self._next.send_varbinds(self._engine, place, *context, _nulls([after]), done)
            )
        return self._ask(
            lambda done: self._bulk.send_varbinds(self._engine, place, *context, 0, most, _nulls([after]), done)
        )

    def rediscover(self) -> None:
        """Forget which engine is at which address: a card was exchanged, or has lost its identity."""
        self._wire.age(FORGET_PEERS_TICKS + 1)

    def _place(self, agent: str) -> str:
        return f"a{self._numbers[agent]}"

    def _context(self, agent: str) -> tuple[None, str]:
        return None, self._agents[agent].context

    def _ask(self, send: Callable[[Callable[..., None]], object]) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        self._wire.tick(loop.time())
        future: asyncio.Future[Answer] = loop.create_future()

        def done(
            _engine: object, _handle: object, trouble: object, status: Any, index: Any, bindings: Any, _context: object
        ) -> None:
            if future.done():
                return
            if trouble:
                future.set_exception(EngineError(str(trouble)))
            else:
                future.set_result(Answer(int(status), int(index), bound(bindings)))

        try:
            send(done)
        except PySnmpError as exc:
            future.set_exception(EngineError(str(exc)))
        return future

    def _notified(
        self, engine: Any, _reference: object, _context_id: object, _context: object, bindings: Any, _own: object
    ) -> None:
        said = engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        level = {1: "noAuthNoPriv", 2: "authNoPriv", 3: "authPriv"}[int(said["securityLevel"])]
        request_id = int(v2c.apiPDU.get_request_id(said["pdu"])) if said["messageProcessingModel"] else 0
        if self._traps is not None:
            self._traps(str(said["transportAddress"][0]), str(said["securityName"]), level, request_id, bound(bindings))


class Wire(AbstractTransportDispatcher):  # type: ignore[misc]  # pysnmp is untyped
    """pysnmp's way to the network: two sockets that are ours, and ticks of the loop's time."""

    def __init__(self) -> None:
        super().__init__()
        self.senders: Mapping[tuple[int, ...], Send] = {}
        self._receive: Callable[..., None] | None = None
        self._timers: list[Callable[[float], None]] = []
        self._ticks = 0

    def register_recv_callback(self, recvCb: Callable[..., None], recvId: object = None) -> None:  # noqa: N803
        self._receive = recvCb

    def register_timer_callback(self, timerCbFun: Callable[[float], None], tickInterval: object = None) -> None:  # noqa: N803
        self._timers.append(timerCbFun)

    def get_transport(self, transportDomain: object) -> Any:  # noqa: N803
        """Asked only for the class that an address is to have."""
        return udp.UdpAsyncioTransport

    def get_timer_ticks(self) -> int:
        return self._ticks

    def get_timer_resolution(self) -> float:
        return TICK_S

    def tick(self, now_s: float) -> None:
        """pysnmp counts the calls, so it is called for every tick that has passed."""
        ticks = int(now_s / TICK_S)
        passed, self._ticks = ticks - (self._ticks or ticks), ticks
        self.age(min(max(passed, 0), FORGET_PEERS_TICKS + 1))

    def age(self, ticks: int) -> None:
        for _ in range(ticks):
            for timer in self._timers:
                timer(0.0)

    def send_message(self, outgoingMessage: Any, transportDomain: tuple[int, ...], transportAddress: Any) -> None:  # noqa: N803
        sender = self.senders.get(tuple(transportDomain))
        if sender is not None:
            sender(bytes(outgoingMessage), (str(transportAddress[0]), int(transportAddress[1])))

    def heard(self, domain: tuple[int, ...], peer: HostPort, data: bytes) -> None:
        if self._receive is not None:
            self._receive(self, domain, udp.UdpTransportAddress(peer), data)


def _security_names(agents: Mapping[str, Credentials]) -> Mapping[str, str]:
    """Agents with the same community have the same name, because pysnmp finds a name by its community."""
    communities: dict[bytes, str] = {}
    return {
        agent: each.user or communities.setdefault(each.community, f"community-{len(communities)}")
        for agent, each in agents.items()
    }


def _admit(engine: Any, name: str, who: Credentials) -> None:
    if who.version != "3":
        lcd.add_v1_system(engine, name, who.community, securityName=name)
        return
    lcd.add_v3_user(engine, who.user, AUTH[who.auth], who.auth_key or None, PRIV[who.priv], who.priv_key or None)


def _nulls(oids: Sequence[Oid]) -> list[tuple[Any, Any]]:
    return [(rfc1902.ObjectName(oid), v2c.null) for oid in oids]


def bound(bindings: Any) -> tuple[Bound, ...]:
    return tuple(Bound(tuple(map(int, name)), _raw(value)) for name, value in bindings)


def _raw(value: Any) -> Raw:
    for kind, reason in _NOTHING.items():
        if isinstance(value, kind):
            return reason
    if isinstance(value, univ.ObjectIdentifier):
        return tuple(map(int, value))
    if isinstance(value, rfc1902.IpAddress):
        return ".".join(map(str, value.asOctets())).encode()
    if isinstance(value, univ.OctetString):
        return bytes(value.asOctets())
    return int(value) if hasattr(value, "__int__") else Reason.NO_VALUE
