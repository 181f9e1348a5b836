"""The hub on real sockets: what is confirmed, when, and what the core is told."""

from __future__ import annotations

import asyncio

from drivers.gb26875.frame import CONFIRM
from drivers.gb26875.simulator import (
    Transmitter,
    component,
)
from drivers_gb26875.plant import Core, running

NORMAL, FIRE, FAULT, RESET = 1, 2, 4, 1 << 13


def connected(core: Core, **how: object) -> Transmitter:
    udp = bool(how.get("udp"))
    return Transmitter("127.0.0.1", core.hub.udp_port if udp else core.hub.port, **how)  # type: ignore[arg-type]


def test_a_component_in_fire_is_told_stored_and_confirmed() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            assert await panel.send(component(FIRE, loop=6, number=217, kind=42, text="1层走廊"))
            assert [(command, adu) for command, _, adu in panel.received] == [(CONFIRM, b"")]
            (happening,) = core.happenings
            assert happening.kind == "fire.component"
            wanted = {
                "component": "optical smoke detector",
                "loop": 6,
                "number": 217,
                "state": "fire",
                "text": "1层走廊",
            }
            assert {name: happening.attributes[name] for name in wanted} == wanted
            assert core.values() == {"fire": True, "active_fires": 1}

    asyncio.run(scenario())
