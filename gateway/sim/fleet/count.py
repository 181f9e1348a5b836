"""The other end of a fleet: who counts what arrived, by (site, gateway, epoch, lane, seq), and confirms it.

It is the reference platform (../platform/) with a storage that keeps the numbers only, so that an hour of a thousand
gateways fits into memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.sim.account import Account, Stream
from gateway.sim.fleet.fleet import Plan
from gateway.sim.platform.arrival import Arrival, topic_filters
from gateway.sim.platform.link import Options
from gateway.sim.platform.storage import Stored, sort, summed

_FORGET_S = 5.0


class Tally:
    """A storage (../platform/storage.py).  Contents are not kept, so it cannot see contradictions."""

    def __init__(self) -> None:
        self.kept: dict[Stream, Account] = {}

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        work = sort(batch)
        fresh = {name for name in work.envelopes if name[1] not in self._account(name[0]).stored}
        for stream, seq in fresh:
            self._account(stream).stored.add(seq)
        for stream, spans in work.announced.items():
            for span in spans:
                self._account(stream).announced.add(*span)
        return summed(work, fresh, {stream: self._account(stream) for stream in work.streams}, 0)

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        return {stream: self._account(stream) for stream in streams}

    async def close(self) -> None:
        pass

    def _account(self, stream: Stream) -> Account:
        return self.kept.setdefault(stream, Account())


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of every envelope a fleet has made."""

    made: int
    arrived: int
    """At least once."""
    waiting: int
    """Not arrived, and the gateway still has it: it will be sent again."""
    lost: int
    """Not arrived, and the gateway has forgotten it."""


def balance(given_out: Mapping[Stream, tuple[int, int]], kept: Mapping[Stream, Account]) -> Balance:
    """given_out: of each stream the last number, and the last one the gateway has forgotten."""
    lost = waiting = 0
    for stream, (last, forgotten) in given_out.items():
        for first, end in kept.get(stream, Account()).missing(last):
            gone = max(0, min(end, forgotten) - first + 1)
            lost += gone
            waiting += end - first + 1 - gone
    made = sum(last for last, _ in given_out.values())
    return Balance(made, made - lost - waiting, waiting, lost)


def options(plan: Plan, name: str) -> Options:
    """For an ingester at the first broker that hears the fleet's own sites and no others: it confirms what it hears."""
    sites = sorted({plan.site(number) for number in range(plan.first, plan.first + plan.gateways)})
    filters = tuple(each for site in sites for each in topic_filters(site))
    password = plan.password_file.read_text("utf-8").strip() if plan.password_file is not None else None
    host, port = plan.brokers[0]
    return Options(host, port, name, filters, username=plan.username, password=password, cafile=plan.cafile)


async def forget_session(options: Options) -> None:
    """The broker would otherwise keep it, and everything that comes, for days.  Gives up silently."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2 * _FORGET_S):
            await asyncio.to_thread(_forget_session, options)


def _forget_session(options: Options) -> None:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=options.name, protocol=paho.MQTTv311, clean_session=True
    )
    client.connect_timeout = _FORGET_S
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.cafile is not None:
        client.tls_set(str(options.cafile))
    client.connect(options.host, options.port)
    for _ in range(round(_FORGET_S / 0.1)):
        client.loop(0.1)
        if client.is_connected():
            break
    client.disconnect()
