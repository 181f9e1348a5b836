from __future__ import annotations

import asyncio

from drivers_onvif.hub_rig import hub_rigs
from support.hub_scene import play


def test_the_rig_plays() -> None:
    for _name, factory in hub_rigs():
        asyncio.run(play(factory))
