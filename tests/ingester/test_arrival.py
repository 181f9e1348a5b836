"""What a platform makes of a message; above all, of one that is no envelope."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Lane
from gateway.sim.platform.arrival import LARGEST_BYTES, Malformed, read, receipt_topic, topic_filters
from ingester.samples import BILLING, BOOT, NOW_MS, ROOT, announcement, message, reading

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def test_an_envelope() -> None:
    found = read(*message(7, [reading(3), reading(None, q="bad", r="no_answer", c="holdover"), reading("open")]))
    assert (found.stream, found.seq, found.boot_id, found.sent_ms) == (BILLING, 7, BOOT, NOW_MS)
    assert [row.number for row in found.readings] == [3.0, None, None]
    assert [row.text for row in found.readings] == [None, None, "open"]
    assert found.readings[1][4:] == (None, "bad", "no_answer", "kW.h", "holdover")
    assert [row.place for row in found.readings] == [0, 1, 2]
    assert receipt_topic(found.stream) == f"{ROOT}/receipt"


def test_a_compressed_envelope_is_the_same_envelope() -> None:
    topic, body = message(7)
    assert read(f"{topic}/zlib", zlib.compress(body)) == read(topic, body)


def test_the_digest_is_of_the_items_not_of_their_spelling() -> None:
    topic, body = message(7)
    spaced = json.dumps(json.loads(body), indent=3).encode()
    assert read(topic, body).digest == read(topic, spaced).digest != read(*message(8)).digest


def test_gap_records_announce_numbers_of_other_lanes() -> None:
    found = read(*announcement(1, Lane.BILLING, 3, 9))
    assert found.announced == ((BILLING, (3, 9)),)
    assert read(*message(1, [{"reason": "no_answer", "point": "m-1.energy"}], Lane.GAP)).announced == ()
    assert read(*message(1, [{"lane": "billing", "from_seq": 1, "to_seq": 2}])).announced == (), "only on that lane"


def test_what_no_database_can_keep_is_mended_and_what_is_no_reading_stays_with_the_envelope() -> None:
    items = [{"p": "a\0b", "t": 1, "v": "\ud800", "q": "good"}, 5, {"p": "x.y"}, reading(10**400), reading(True)]
    found = read(*message(1, items))
    assert [(row.place, row.point, row.number, row.text) for row in found.readings] == [
        (0, "a\ufffdb", None, "?"),
        (3, "m-1.energy", None, None),
        (4, "m-1.energy", 1.0, None),
    ]
    assert found.items.isascii()
    assert json.loads(found.items) == items


def changed(**change: Any) -> bytes:
    return json.dumps({**json.loads(message(1)[1]), **change}).encode()


TOPIC = f"{ROOT}/billing"
BAD: list[tuple[str, bytes]] = [
    (f"{ROOT}/status", b"{}"),
    ("compound/v1/site-1/billing", b"{}"),
    ("other/v1/site-1/gw-1/billing", changed()),
    (f"{TOPIC}/gzip", changed()),
    (f"{TOPIC}/zlib", changed()),
    (f"{TOPIC}/zlib", zlib.compress(changed())[:-3]),
    (f"{TOPIC}/zlib", zlib.compress(b" " * (LARGEST_BYTES + 1))),
    ("compound/v1/si.te/gw-1/billing", changed(site="si.te")),
    (TOPIC, b"{"),
    (TOPIC, b"[]"),
    (TOPIC, b"\xff"),
    (TOPIC, b"[" * 100_000),
    (TOPIC, b" " * (LARGEST_BYTES + 1)),
    (TOPIC, changed(items=[float("nan")])),
    (TOPIC, message(1)[1].replace(b"1.0", b"1e999").replace(b'"v": 1,', b'"v": 1e999,')),
    (TOPIC, changed(lane="telemetry")),
    (TOPIC, changed(gateway="gw-2")),
    (TOPIC, changed(site="site-2")),
    (TOPIC, changed(epoch="a\0b")),
    (TOPIC, changed(epoch=None)),
    (TOPIC, changed(boot_id="x" * 65)),
    (TOPIC, changed(seq=0)),
    (TOPIC, changed(seq=True)),
    (TOPIC, changed(seq=1.0)),
    (TOPIC, changed(seq=2**63)),
    (TOPIC, changed(sent_ms=-1)),
    (TOPIC, changed(items={})),
    (f"{ROOT}/gap", changed(lane="gap", items=[{"lane": "billing", "from_seq": 3, "to_seq": 2}])),
    (f"{ROOT}/gap", changed(lane="gap", items=[{"lane": "billing", "from_seq": "3", "to_seq": 2}])),
]


@pytest.mark.parametrize(("topic", "payload"), BAD)
def test_what_is_no_envelope_is_malformed(topic: str, payload: bytes) -> None:
    with pytest.raises(Malformed):
        read(topic, payload)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("v", "seq", "items", "epoch", "boot_id", "sent_ms"), JSON)))
def test_anything_is_an_envelope_or_malformed(change: dict[str, Any]) -> None:
    try:
        found = read(TOPIC, changed(**change))
    except Malformed:
        return
    assert found.stream._replace(epoch="") == BILLING._replace(epoch="")
    assert json.loads(found.items) == change.get("items", json.loads(message(1)[1])["items"])


def test_the_filters_bring_every_lane_plain_and_compressed() -> None:
    assert set(topic_filters("site-1")) == {
        f"compound/v1/site-1/+/{tail}" for lane in Lane for tail in (lane, f"{lane}/zlib")
    }
