"""A KNX installation that is listened to: group telegrams become readings.  Nothing is ever sent to the bus.

bus ──▶ KNXnet/IP interface ══ tunnel ══▶ xknx ──▶ group, source ──▶ data point type ──▶ Report ──▶ core
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from xknx import XKNX
from xknx.core.connection_state import XknxConnectionState
from xknx.dpt.payload import DPTArray, DPTBinary
from xknx.exceptions import XKNXException
from xknx.io import ConnectionConfig, ConnectionType
from xknx.telegram import GroupAddress, Telegram
from xknx.telegram.apci import GroupValueResponse, GroupValueWrite

from drivers.base import DeviceSpec, HubSpec, ProtocolType, Report, Unasked
from drivers.hub import InboxHub, parse_host_port
from drivers.knx.config import DeviceOptions, HubOptions, PointOptions
from drivers.knx.values import is_known, value_of
from gateway.clock import Clock
from gateway.errors import ConfigError, LineLost
from gateway.model import Reading, Reason, bad_reading


class KnxHub(InboxHub):
    """Strangers are group addresses that nobody has configured; what they are called, ETS knows."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._options: HubOptions = spec.options
        self._xknx: XKNX | None = None

    # ------------------------------------------------------------------ the hub's contract

    async def __aenter__(self) -> Self:
        self._inbox.open()
        xknx = XKNX(
            connection_config=_connection(self._options),
            telegram_received_cb=self._heard,
            connection_state_changed_cb=self._connection_changed,
        )
        try:
            await xknx.start()
        except (XKNXException, OSError) as exc:
            await xknx.stop()
            raise LineLost(
                f"KNXnet/IP: {type(exc).__name__}: {exc}",
                hint="接口的地址对吗，有空闲的隧道吗？/ check the interface's address; is one of its tunnels free?",
            ) from exc
        except BaseException:
            await xknx.stop()
            raise
        self._xknx = xknx
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("closed")
        xknx, self._xknx = self._xknx, None
        if xknx is not None:
            await xknx.stop()

    async def stored(self, reports: Sequence[Report]) -> None:
        """A bus waits for no confirmation; the interface has acknowledged already."""

    # ------------------------------------------------------------------ what comes in

    def _connection_changed(self, state: XknxConnectionState) -> None:
        if state is XknxConnectionState.DISCONNECTED and self._xknx is not None:
            self._inbox.lose("the tunnel is gone")

    def _heard(self, telegram: Telegram[Any]) -> None:
        payload = telegram.payload
        if not isinstance(payload, GroupValueWrite | GroupValueResponse):
            return
        if not isinstance(telegram.destination_address, GroupAddress):
            return
        data = _data(payload.value)
        group, source = str(telegram.destination_address), str(telegram.source_address)
        known = False
        for device, spec in self._spec.devices.items():
            readings = self._readings(spec, group, source, data)
            if readings:
                known = True
                self._inbox.offer(Report(device, readings))
        if not known:
            size = "1–6 bits" if isinstance(data, int) else f"{len(data)} bytes"
            self._strangers.met(group, f"KNX group, from {source}, {size}")

    def _readings(self, spec: DeviceSpec, group: str, source: str, data: int | Sequence[int]) -> list[Reading]:
        options: DeviceOptions = spec.options
        if options.source is not None and options.source != source:
            return []
        now = self._clock.now_ms()
        found = []
        for point in spec.points.values():
            if point.options.group != group:
                continue
            value = value_of(data, point.options, point.point.kind)
            if isinstance(value, Reason):
                found.append(bad_reading(point.point.id, value, now))
            else:
                found.append(Reading(point.point.id, value, now, now))
        return found


class KnxDevice(Unasked):
    """Some group addresses that belong together."""

    __slots__ = ()


def _connection(options: HubOptions) -> ConnectionConfig:
    """Without xknx's own reconnecting: that is the core's."""
    if options.gateway is None:
        return ConnectionConfig(connection_type=ConnectionType.ROUTING, local_ip=options.local_ip)
    host, port = parse_host_port(options.gateway)
    return ConnectionConfig(
        connection_type=ConnectionType.TUNNELING,
        gateway_ip=host,
        gateway_port=port,
        local_ip=options.local_ip,
        auto_reconnect=False,
    )


def _data(value: DPTBinary | DPTArray) -> int | Sequence[int]:
    return value.value if isinstance(value, DPTBinary) else tuple(value.value)


def _make(spec: DeviceSpec, hub: KnxHub, clock: Clock) -> KnxDevice:
    for point in spec.points.values():
        options: PointOptions = point.options
        if not is_known(options.dpt):
            raise ConfigError(
                f"{point.point.id}：未知的数据点类型 {options.dpt} / unknown data point type {options.dpt}"
            )
    return KnxDevice()


KNX = ProtocolType(
    name="knx",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=_make,
    hub=KnxHub,
    hub_options=HubOptions,
    sends=True,
)
