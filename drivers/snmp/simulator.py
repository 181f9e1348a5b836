"""An SNMP agent on a real UDP port, with pysnmp's own engine: versions 1, 2c and 3, notifications and informs.

async with SimAgent({"1.3.6.1.2.1.33.1.2.4.0": 87}) as ups:
    ups.values["1.3.6.1.2.1.33.1.4.1.0"] = 5
    ups.notify("1.3.6.1.2.1.33.2.1", to=("127.0.0.1", 162))
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from pysnmp.entity import config as lcd
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context, ntforg
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c
from pysnmp.smi.error import TooBigError
from pysnmp.smi.instrum import AbstractMibInstrumController

from drivers.hub import HostPort, UdpServer
from drivers.snmp.config import Oid, parse_oid
from drivers.snmp.engine import ASKING, AUTH, FOREIGN_ERRORS, MODEL, PRIV, Credentials, Wire
from drivers.snmp.traps import TRAP_OID, UPTIME

COMMUNITY: Final = b"compound"


class SimAgent:
    """*values*: object identifier -> int (Integer32; from 2^31 Counter64), bytes or text (octets), tuple (an OID)."""

    def __init__(
        self,
        values: Mapping[str, Any],
        who: Credentials | None = None,
        address: HostPort = ("127.0.0.1", 0),
        engine_id: bytes | None = None,
    ) -> None:
        self.values = dict(values)
        self.who = who or Credentials("2c", community=COMMUNITY)
        self.silent = False
        self.most_bindings = 64
        """An answer that would hold more is tooBig."""
        self.questions = 0
        self._engine_id = engine_id
        self._socket = UdpServer(address, self._heard)
        self._wire = Wire()
        self._engine: Any = None
        self._notifications = 0
        self._notifier = ntforg.NotificationOriginator()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.port}"

    async def __aenter__(self) -> Self:
        self._engine = await asyncio.to_thread(self._make)
        await self._socket.__aenter__()
        self._wire.senders = {ASKING: self._socket.send}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._engine = None
        await self._socket.__aexit__(kind, exc, tb)

    def notify(
        self,
        trap: str,
        to: HostPort,
        bindings: Mapping[str, Any] | None = None,
        *,
        inform: bool = False,
        who: Credentials | None = None,
    ) -> None:
        """Send one notification; *who*: with other credentials than the agent's own."""
        self._notifications += 1
        number, who = self._notifications, who or self.who
        name = self._admit(who, f"n{number}") if who != self.who else self._name(who, "own")
        lcd.add_target_parameters(self._engine, f"p{number}", name, who.level, MODEL[who.version])
        lcd.add_target_address(self._engine, f"a{number}", ASKING, to, f"p{number}", 100, 0)
        pdu = v2c.InformRequestPDU() if inform else v2c.SNMPv2TrapPDU()
        v2c.apiPDU.set_defaults(pdu)
        held = [(UPTIME, rfc1902.TimeTicks(100 * number)), (TRAP_OID, rfc1902.ObjectIdentifier(parse_oid(trap)))]
        held += [(parse_oid(oid), _encoded(value)) for oid, value in (bindings or {}).items()]
        v2c.apiPDU.set_varbinds(pdu, held)
        self._wire.tick(asyncio.get_running_loop().time())
        self._notifier.send_pdu(self._engine, f"a{number}", None, "", pdu, lambda *_: None)

    # ------------------------------------------------------------------ the agent's side

    def _make(self) -> Any:
        engine = SnmpEngine(rfc1902.OctetString(self._engine_id)) if self._engine_id else SnmpEngine()
        self._engine = engine
        engine.register_transport_dispatcher(self._wire)
        name = self._admit(self.who, "own")
        lcd.add_vacm_user(engine, MODEL[self.who.version] or 1, name, self.who.level, (1,), (1,))
        held = context.SnmpContext(engine)
        held.unregister_context_name(rfc1902.OctetString(b""))
        held.register_context_name(rfc1902.OctetString(b""), _Instrument(self))
        for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
            responder(engine, held)
        return engine

    def _admit(self, who: Credentials, name: str) -> str:
        if who.version != "3":
            lcd.add_v1_system(self._engine, name, who.community, securityName=name)
        else:
            lcd.add_v3_user(
                self._engine, who.user, AUTH[who.auth], who.auth_key or None, PRIV[who.priv], who.priv_key or None
            )
        return self._name(who, name)

    @staticmethod
    def _name(who: Credentials, name: str) -> str:
        return who.user or name

    def _heard(self, data: bytes, peer: HostPort) -> None:
        if self.silent:
            return
        self.questions += 1
        self._wire.tick(asyncio.get_running_loop().time())
        try:
            self._wire.heard(ASKING, peer, data)
        except FOREIGN_ERRORS:
            return


class _Instrument(AbstractMibInstrumController):  # type: ignore[misc]  # pysnmp is untyped
    def __init__(self, agent: SimAgent) -> None:
        super().__init__()
        self._agent = agent

    def read_variables(self, *bindings: Any, **_: Any) -> list[tuple[Any, Any]]:
        held = self._held()
        if len(bindings) > self._agent.most_bindings:
            raise TooBigError
        return [
            (name, _encoded(held[key]) if (key := tuple(name)) in held else self._absent(key)) for name, _ in bindings
        ]

    def read_next_variables(self, *bindings: Any, **_: Any) -> list[tuple[Any, Any]]:
        held = self._held()
        found = []
        for name, _nothing in bindings:
            after = min((oid for oid in held if oid > tuple(name)), default=None)
            found.append((name, rfc1905.endOfMibView) if after is None else (after, _encoded(held[after])))
        return found

    def _held(self) -> dict[Oid, Any]:
        return {parse_oid(oid): value for oid, value in self._agent.values.items()}

    def _absent(self, _oid: Oid) -> Any:
        return rfc1905.noSuchObject


def _encoded(value: Any) -> Any:
    if isinstance(value, int):
        return rfc1902.Counter64(value) if value >= 1 << 31 else rfc1902.Integer32(value)
    if isinstance(value, tuple):
        return rfc1902.ObjectIdentifier(value)
    return rfc1902.OctetString(value if isinstance(value, bytes) else str(value).encode())
