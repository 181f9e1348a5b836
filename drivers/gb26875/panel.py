"""What is known of a fire alarm system, from everything that it has said.  Pure.

A fire begins in three ways and ends only where somebody says so:

    a component in fire ─────────┐          the same component without fire
    the system's state: fire ────┼─▶ fire ─▶ the system's state without fire, unless it is older than the component's
    a manual alarm was pressed ──┘          the panel was reset, or "alarm cleared" was pressed

- Silence ends nothing, nor does a new connection: this is kept over starts (``to_memory``).
- A reset of the *panel* (type 4, or bit 13 of the state) ends what its components have said, but for what is shielded;
  the panel says anew what is still wrong.  A reset of the *transmission device* (type 24) ends only the alarm that was
  pressed on it: it knows nothing of the detectors.
- A point is told once it is known: false needs a state of a system (or, of fire and fault, of the transmission device),
  true may come from one component alone.
- ``fault`` is true, too, where the transmission device is at fault or has lost the line to the panel: then the panel's
  own state is not known, and somebody must look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from drivers.gb26875.records import ComponentState, DeviceState, Operation, Record, SystemState
from drivers.gb26875.tables import DEVICE_BITS, OPERATION_BITS, SYSTEM_BITS

SystemKey: TypeAlias = tuple[int, int]
ComponentKey: TypeAlias = tuple[int, int, int, int]

MOST_COMPONENTS = 1000
"""More that are not normal at the same time are remembered together, as one of their system."""
_OTHERS = -1

_FIRE, _FAULT, _SHIELDED = (1 << SYSTEM_BITS.index(name) for name in ("fire", "fault", "shielded"))
_ACTIVE = 0xFE
"""The bits of a component that the system has, too: fire to delayed."""
_POWER_FAULT = 1 << 8
_RESET = 1 << SYSTEM_BITS.index("reset")
_KEPT_BY_RESET = ~(0xF2 | _RESET)
"""Of a system's state: all but fire, supervisory, started, feedback, delayed."""
_OF_PANEL = SYSTEM_BITS[1:12]
_OF_DEVICE = {
    "transmitter_fault": "fault",
    "transmitter_main_power_fault": "main_power_fault",
    "transmitter_backup_power_fault": "backup_power_fault",
    "link_fault": "link_fault",
    "line_fault": "line_fault",
    "monitoring": "normal",
}
_PRESSED_RESET, _PRESSED_ALARM, _PRESSED_CLEARED = (
    1 << OPERATION_BITS.index(name) for name in ("reset", "manual_alarm", "alarm_cleared")
)
_DEVICE_FIRE, _DEVICE_FAULT, _LINE_FAULT = (1 << DEVICE_BITS.index(name) for name in ("fire", "fault", "line_fault"))
_ON_DEVICE: SystemKey = (-1, -1)
_GENERAL: SystemKey = (0, 0)


@dataclass(frozen=True, slots=True)
class Component:
    bits: int
    stamp: int = 0
    """Its own time as a number that rises with it; 0 where it has none."""


@dataclass(frozen=True, slots=True)
class Panel:
    systems: Mapping[SystemKey, int] = field(default_factory=dict)
    components: Mapping[ComponentKey, Component] = field(default_factory=dict)
    """Those that are not normal."""
    device: int | None = None
    pressed: frozenset[SystemKey] = frozenset()
    """Where a manual alarm was pressed."""
    system_clears: bool = True

    def heard(self, record: Record) -> Panel:
        """What is known once *record* is."""
        if isinstance(record, SystemState):
            return self._system(record)
        if isinstance(record, ComponentState):
            return self._component(record)
        if isinstance(record, Operation):
            return self._operation(record)
        if isinstance(record, DeviceState):
            return self._device(record)
        return self

    # ------------------------------------------------------------------ what is told

    def points(self) -> Mapping[str, bool | int]:
        """Whatever is known, under the names of config.Field26875."""
        word = 0
        for state in self.systems.values():
            word |= state
        of_components = 0
        for component in self.components.values():
            of_components |= component.bits
        word |= of_components & _ACTIVE
        if of_components & _POWER_FAULT or (self.device or 0) & (_DEVICE_FAULT | _LINE_FAULT):
            word |= _FAULT
        if self.pressed or (self.device or 0) & _DEVICE_FIRE:
            word |= _FIRE
        told: dict[str, bool | int] = {}
        for name in _OF_PANEL:
            bit = 1 << SYSTEM_BITS.index(name)
            known = self.systems or (self.device is not None and bit & (_FIRE | _FAULT))
            if known or word & bit:
                told[name] = bool(word & bit)
        if "fire" in told:
            told["active_fires"] = self.active_fires
        if self.device is not None:
            told |= {name: bool(self.device >> DEVICE_BITS.index(bit) & 1) for name, bit in _OF_DEVICE.items()}
        return told

    @property
    def active_fires(self) -> int:
        """Components in fire; more than MOST_COMPONENTS are not counted."""
        return sum(1 for component in self.components.values() if component.bits & _FIRE)

    # ------------------------------------------------------------------ what is heard

    def _system(self, record: SystemState) -> Panel:
        key = (record.system_type, record.system_address)
        after = self._reset(key) if record.state & _RESET else self
        components, pressed = after.components, after.pressed
        if self.system_clears:
            pressed = pressed if record.state & _FIRE else pressed - {key}
            components = {
                each: kept
                for each, component in components.items()
                if (kept := _under(record, component) if each[:2] == key else component).bits
            }
        systems = {**after.systems, key: record.state & ~_RESET}
        return replace(after, systems=systems, components=components, pressed=pressed)

    def _component(self, record: ComponentState) -> Panel:
        key = (record.system_type, record.system_address, record.component_type, record.address)
        bits = record.state & (_ACTIVE | _POWER_FAULT)
        components = dict(self.components)
        components.pop(key, None)
        if bits:
            if len(components) >= MOST_COMPONENTS:
                key = (record.system_type, record.system_address, _OTHERS, 0)
                bits |= components.get(key, Component(0)).bits
            components[key] = Component(bits, _stamp(record.time))
        return replace(self, components=components)

    def _device(self, record: DeviceState) -> Panel:
        """A heartbeat that never said fire does not end the alarm that was pressed: not every device tells it there."""
        over = (self.device or 0) & ~record.state & _DEVICE_FIRE
        return replace(self, device=record.state, pressed=self.pressed - {_ON_DEVICE} if over else self.pressed)

    def _operation(self, record: Operation) -> Panel:
        on_device = record.system_type is None or record.system_address is None
        key = _ON_DEVICE if on_device else (record.system_type or 0, record.system_address or 0)
        after = self
        if record.bits & (_PRESSED_RESET | _PRESSED_CLEARED):
            device = self.device if self.device is None or not on_device else self.device & ~_DEVICE_FIRE
            after = replace(self, pressed=self.pressed - {key}, device=device)
        if record.bits & _PRESSED_RESET:
            after = after._reset(key)
        if record.bits & _PRESSED_ALARM:
            after = replace(after, pressed=after.pressed | {key})
        return after

    def _reset(self, key: SystemKey) -> Panel:
        """System 0 at address 0 stands for all of them."""

        def concerned(system: SystemKey) -> bool:
            return system == key or (key == _GENERAL and system != _ON_DEVICE)

        return replace(
            self,
            systems={each: word & _KEPT_BY_RESET if concerned(each) else word for each, word in self.systems.items()},
            components={
                each: kept
                for each, component in self.components.items()
                if (
                    kept := replace(component, bits=component.bits & _SHIELDED) if concerned(each[:2]) else component
                ).bits
            },
            pressed=frozenset(each for each in self.pressed if not concerned(each)),
        )

    # ------------------------------------------------------------------ over starts

    def to_memory(self) -> dict[str, object]:
        return {
            "systems": [[*key, word] for key, word in self.systems.items()],
            "components": [[*key, each.bits, each.stamp] for key, each in self.components.items()],
            "device": self.device,
            "pressed": [list(key) for key in sorted(self.pressed)],
        }


def from_memory(written: Mapping[str, Any], system_clears: bool) -> Panel:
    """Raises ValueError, KeyError, TypeError for what ``to_memory`` has not made."""
    return Panel(
        systems={(kind, address): word for kind, address, word in written["systems"]},
        components={
            (kind, address, component, number): Component(bits, stamp)
            for kind, address, component, number, bits, stamp in written["components"]
        },
        device=written["device"],
        pressed=frozenset((kind, address) for kind, address in written["pressed"]),
        system_clears=system_clears,
    )


def _under(record: SystemState, component: Component) -> Component:
    """*component* once its system has said its state: what the system does not have, it has no more."""
    stamp = _stamp(record.time)
    if stamp and component.stamp > stamp:
        return component
    bits = component.bits & record.state & _ACTIVE
    return replace(component, bits=bits | (component.bits & _POWER_FAULT if record.state & _FAULT else 0))


def _stamp(time: datetime | None) -> int:
    return 0 if time is None else int(time.strftime("%Y%m%d%H%M%S"))
