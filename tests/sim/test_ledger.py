from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.ledger import Ledger

ROOT = "compound/v1/s/g/"


def envelope(seq: int, items: list[dict[str, Any]], lane: str = "telemetry", epoch: str = "e1") -> tuple[str, bytes]:
    message = {"v": 1, "epoch": epoch, "lane": lane, "seq": seq, "items": items, "sent_ms": 5, "replay": False}
    return ROOT + lane, json.dumps(message).encode()


def reading(t: int = 1, value: float = 1.0, point: str = "d.p") -> dict[str, Any]:
    return {"p": point, "t": t, "v": value, "q": "good"}


def gap(lane: str, first: int, last: int) -> dict[str, Any]:
    return {"reason": "full", "from_ms": 1, "to_ms": 2, "lane": lane, "from_seq": first, "to_seq": last, "count": 1}


def alarm(state: str, id_: str = "a1") -> dict[str, Any]:
    return {
        "id": id_,
        "rule": "gas_high",
        "device": "gas-1",
        "state": state,
        "priority": "critical",
        "t": 3,
        "message": {"zh": "燃气", "en": "gas"},
    }


@given(st.integers(1, 40), st.data())
def test_exactly_what_is_withheld_and_not_announced_is_lost(count: int, data: st.DataObject) -> None:
    """Against the plainest model there is: sets."""
    numbers = set(range(1, count + 1))
    delivered = data.draw(st.sets(st.sampled_from(sorted(numbers))))
    announced = data.draw(st.sets(st.sampled_from(sorted(numbers))))
    order = [*delivered, *data.draw(st.lists(st.sampled_from(sorted(delivered)), max_size=5))] if delivered else []
    random.Random(count).shuffle(order)
    ledger = Ledger()
    for seq in order:
        ledger.receive(*envelope(seq, [reading(seq)]))
    for number, seq in enumerate(sorted(announced), 1):
        ledger.receive(*envelope(number, [gap("telemetry", seq, seq)], lane="gap"))
    assert ledger.lost(last={("e1", "telemetry"): count}) == len(numbers - delivered - announced)
    assert ledger.readings == len(delivered)
    assert ledger.duplicates == len(order) - len(delivered)
    assert not ledger.contradictions
    assert ledger.envelopes == len(delivered) + len(announced)


def test_without_the_stores_word_the_highest_number_that_came_counts() -> None:
    ledger = Ledger()
    for seq in (1, 2, 5):
        ledger.receive(*envelope(seq, [reading()]))
    assert ledger.missing() == [("e1", "telemetry", 3), ("e1", "telemetry", 4)]
    assert ledger.lost() == 2


def test_the_last_number_the_store_gave_out_shows_a_loss_at_the_end() -> None:
    ledger = Ledger()
    ledger.receive(*envelope(1, [reading()]))
    assert ledger.lost() == 0
    assert ledger.lost({("e1", "telemetry"): 3, ("e1", "alarm"): 1, ("e1", "bulk"): 0}) == 3


def test_a_lane_or_epoch_has_its_own_numbers() -> None:
    ledger = Ledger()
    for epoch in ("e1", "e2"):
        for lane in ("telemetry", "billing", "event"):
            ledger.receive(*envelope(1, [reading()], lane, epoch))
    assert ledger.envelopes == 6
    assert (ledger.lost(), ledger.duplicates) == (0, 0)


def test_a_number_that_comes_twice_must_say_the_same() -> None:
    ledger = Ledger()
    ledger.receive(*envelope(1, [reading(value=1)]))
    ledger.receive(*envelope(1, [reading(value=1)]))
    assert (ledger.duplicates, ledger.contradictions) == (1, [])
    ledger.receive(*envelope(1, [reading(value=2)]))
    assert (ledger.duplicates, ledger.contradictions) == (2, [("e1", "telemetry", 1)])
    assert ledger.latest["d.p"]["v"] == 1


def test_an_alarm_counts_when_it_is_raised_and_is_active_until_it_is_normal() -> None:
    ledger = Ledger()
    for seq, state in enumerate(("pending", "unack", "acked"), 1):
        ledger.receive(*envelope(seq, [alarm(state)], "alarm"))
    ledger.receive(*envelope(4, [alarm("unack", "a2")], "alarm"))
    assert list(ledger.alarms) == ["a1", "a2"]
    assert ledger.active == {"a1": "acked", "a2": "unack"}
    assert (ledger.alarms["a1"].zh, ledger.alarms["a1"].en) == ("燃气", "gas")
    ledger.receive(*envelope(5, [alarm("rtn_unack"), alarm("normal", "a2")], "alarm"))
    assert ledger.active == {"a1": "rtn_unack"}
    assert len(ledger.alarms) == 2


def test_the_newest_reading_is_shown_even_when_an_old_one_comes_later() -> None:
    ledger = Ledger()
    ledger.receive(*envelope(1, [reading(t=20, value=2.0)]))
    ledger.receive(*envelope(2, [reading(t=10, value=1.0)], "billing"))
    assert ledger.latest["d.p"]["v"] == 2.0


def test_status_and_health_are_kept_and_unknown_topics_ignored() -> None:
    ledger = Ledger()
    ledger.receive(ROOT + "status", b'{"state": "online"}')
    ledger.receive(ROOT + "health", b'{"lanes": {}}')
    ledger.receive(ROOT + "catalog", b"anything")
    ledger.receive(ROOT + "reply/17", b"anything")
    assert ledger.status["state"] == "online"
    assert ledger.health == {"lanes": {}}
    assert not ledger.malformed


def test_what_breaks_the_contract_is_noted() -> None:
    ledger = Ledger()
    ledger.receive(ROOT + "telemetry", b"{")
    ledger.receive(ROOT + "telemetry", b'{"lane": "telemetry"}')
    topic, payload = envelope(1, [reading()], "billing")
    ledger.receive(topic.replace("billing", "telemetry"), payload)
    assert ledger.malformed == [ROOT + "telemetry"] * 3
    assert ledger.envelopes == 0
