"""What begins and what ends a fire, and what is known of a system."""

from __future__ import annotations

import datetime
import json

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from drivers.gb26875.panel import MOST_COMPONENTS, Panel, from_memory
from drivers.gb26875.records import ComponentState, DeviceState, Info, Operation, Raw, Record, SystemState

NORMAL, FIRE, FAULT, SHIELDED, POWER, RESET = 1, 2, 4, 8, 1 << 8, 1 << 13
EARLY, LATE = datetime.datetime(2026, 11, 28, 3, 0), datetime.datetime(2026, 11, 28, 3, 1)  # noqa: DTZ001


def component(state: int, number: int = 1, time: datetime.datetime | None = None, system: int = 1) -> ComponentState:
    return ComponentState(system, 1, 42, 1 << 16 | number, state, time=time)


def system(state: int, time: datetime.datetime | None = None, kind: int = 1) -> SystemState:
    return SystemState(kind, 1, state, time)


def after(*records: Record, panel: Panel | None = None) -> Panel:
    known = panel or Panel()
    for record in records:
        known = known.heard(record)
    return known


def fire(*records: Record) -> object:
    return after(*records).points().get("fire")


def test_nothing_is_known_before_it_is_said() -> None:
    assert after().points() == {}
    assert after(Raw(b"\x01"), Info("version", "1.0")).points() == {}
    assert after(component(NORMAL)).points() == {}
    assert after(component(FIRE)).points() == {"fire": True, "active_fires": 1}
    assert fire(DeviceState(1)) is False
    assert "shielded" not in after(DeviceState(1)).points()
    assert set(after(system(NORMAL)).points().values()) == {False}
    assert len(after(system(NORMAL)).points()) == 12


def test_what_ends_a_fire() -> None:
    assert fire(component(FIRE), component(NORMAL)) is None  # of others nothing is known yet
    assert fire(component(FIRE), system(NORMAL)) is False
    assert fire(component(FIRE), Operation(1, 0, 1, 1)) is None
    assert fire(system(FIRE), Operation(1, 0, 1, 1)) is False
    assert fire(component(FIRE), system(FIRE), component(NORMAL)) is True  # the system says so itself
    assert fire(component(FIRE), system(NORMAL | RESET)) is False
    assert fire(system(FIRE), component(FIRE), Operation(1, 0, 0, 0)) is False  # "general": all of them


def test_what_does_not_end_a_fire() -> None:
    for record in (
        component(NORMAL, number=2),
        component(FAULT, number=2),
        system(NORMAL, kind=11),
        Operation(2, 0, 1, 1),  # mute
        Operation(1, 0, 11, 1),  # another system was reset
        Operation(1, 0),  # the transmission device was: it knows nothing of detectors
        Operation(8, 0),
        DeviceState(1),
        Raw(b""),
    ):
        assert fire(component(FIRE), record) is True, record
    assert fire(component(FIRE, time=LATE), system(NORMAL, time=EARLY)) is True
    assert fire(component(FIRE, time=EARLY), system(NORMAL, time=LATE)) is False
    assert after(component(FIRE), system(NORMAL), panel=Panel(system_clears=False)).points()["fire"] is True


def test_a_manual_alarm_is_a_fire_until_it_is_cleared() -> None:
    assert fire(Operation(4, 1)) is True
    assert fire(Operation(4, 1), DeviceState(1)) is True  # not every device tells it in its heartbeat
    assert fire(Operation(4, 1), DeviceState(2), DeviceState(1)) is False
    assert fire(Operation(4, 1), DeviceState(2)) is True
    assert fire(DeviceState(1), Operation(4, 1), Operation(8, 1)) is False
    assert fire(DeviceState(3), Operation(1, 1)) is False
    assert fire(Operation(4, 1, 1, 1), Operation(8, 1, 1, 1), system(NORMAL)) is False
    assert fire(Operation(4, 1, 1, 1), DeviceState(1)) is True  # it was pressed on the panel
    assert fire(Operation(4, 1, 1, 1), system(NORMAL)) is False
    assert after(Operation(4, 1, 1, 1), system(NORMAL), panel=Panel(system_clears=False)).points()["fire"] is True


def test_a_reset_leaves_what_is_shielded_and_the_power_as_it_was() -> None:
    panel = after(
        system(FIRE | FAULT | SHIELDED | POWER),
        component(FIRE),
        component(SHIELDED | FAULT, number=2),
        Operation(1, 0, 1, 1),
    )
    points = panel.points()
    assert (points["fire"], points["shielded"], points["main_power_fault"], points["fault"]) == (
        False,
        True,
        True,
        True,
    )
    assert [each.bits for each in panel.components.values()] == [SHIELDED]


def test_a_fault_of_the_way_to_the_panel_is_a_fault() -> None:
    assert after(DeviceState(1)).points()["fault"] is False
    line = after(DeviceState(1 | 1 << 6)).points()
    assert (line["fault"], line["line_fault"], line["link_fault"]) == (True, True, False)
    own = after(DeviceState(1 | 1 << 2 | 1 << 3)).points()
    assert (own["fault"], own["transmitter_fault"], own["transmitter_main_power_fault"]) == (True, True, True)
    assert "main_power_fault" not in own  # that is the panel's
    assert after(component(1 << 8)).points() == {"fault": True}


def test_more_components_than_are_counted_are_still_in_fire() -> None:
    panel = after(*(component(FIRE, number) for number in range(MOST_COMPONENTS + 50)))
    panel = after(component(FAULT, MOST_COMPONENTS + 50), panel=panel)
    assert len(panel.components) == MOST_COMPONENTS + 1
    panel = after(*(component(NORMAL, number) for number in range(MOST_COMPONENTS)), panel=panel)
    assert panel.points()["fire"] is True
    assert after(system(NORMAL), panel=panel).points()["fire"] is False


STATES = st.integers(0, 0xFFFF)
TIMES = st.sampled_from((None, EARLY, LATE))
RECORDS = st.one_of(
    st.builds(system, STATES, TIMES, st.sampled_from((1, 11))),
    st.builds(component, STATES, st.integers(1, 3), TIMES, st.sampled_from((1, 11))),
    st.builds(Operation, st.integers(0, 255), st.just(1), st.sampled_from((1, 11, 0)), st.sampled_from((0, 1))),
    st.builds(Operation, st.integers(0, 255), st.just(1)),
    st.builds(DeviceState, st.integers(0, 255)),
)


@given(st.lists(RECORDS, max_size=12))
def test_what_is_known_survives_a_start(records: list[Record]) -> None:
    panel = after(*records)
    again = from_memory(json.loads(json.dumps(panel.to_memory())), True)
    assert again == panel
    assert again.points() == panel.points()


@given(st.lists(RECORDS, max_size=12))
def test_hearing_the_last_thing_twice_changes_nothing_more(records: list[Record]) -> None:
    panel = after(*records)
    if records:
        assert after(records[-1], panel=panel).points() == panel.points()


class FireIsAsTheRulesSay(RuleBasedStateMachine):
    """A second, trivial bookkeeping of one system without times: who is in fire."""

    def __init__(self) -> None:
        super().__init__()
        self.panel = Panel()
        self.burning: set[int] = set()
        self.system = False
        self.pressed = False

    @rule(number=st.integers(1, 4), burns=st.booleans(), others=st.sampled_from((0, FAULT, SHIELDED)))
    def component_says(self, number: int, burns: bool, others: int) -> None:
        self.panel = self.panel.heard(component(FIRE * burns | others, number))
        (self.burning.add if burns else self.burning.discard)(number)

    @rule(burns=st.booleans())
    def system_says(self, burns: bool) -> None:
        self.panel = self.panel.heard(system(FIRE * burns | NORMAL))
        self.system = burns
        if not burns:
            self.burning.clear()
            self.pressed = False

    @rule()
    def is_reset(self) -> None:
        self.panel = self.panel.heard(Operation(1, 0, 1, 1))
        self.burning.clear()
        self.system = self.pressed = False

    @rule()
    def is_pressed(self) -> None:
        self.panel = self.panel.heard(Operation(4, 0, 1, 1))
        self.pressed = True

    @rule()
    def starts_anew(self) -> None:
        self.panel = from_memory(json.loads(json.dumps(self.panel.to_memory())), True)

    @invariant()
    def agrees(self) -> None:
        assert bool(self.panel.points().get("fire")) == bool(self.burning or self.system or self.pressed)
        assert self.panel.active_fires == len(self.burning)


TestFireIsAsTheRulesSay = FireIsAsTheRulesSay.TestCase
