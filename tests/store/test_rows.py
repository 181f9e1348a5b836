from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import Draft
from gateway.model import Lane
from gateway.store.rows import PAGE_BYTES, Row, footprint, intact, pages_for, sealed

ROW = sealed("epoch", Lane.BILLING, Row(7, "boot", b"[1]", 1, 10, 20, 70, 700, 0))


def test_a_seal_holds_for_its_own_row_only() -> None:
    assert intact("epoch", Lane.BILLING, ROW)
    assert not intact("epoch2", Lane.BILLING, ROW)
    assert not intact("epoch", Lane.ALARM, ROW)


@given(
    field=st.sampled_from([name for name in Row._fields if name not in ("boot_id", "items")]), bit=st.integers(0, 31)
)
def test_a_flipped_bit_in_a_number_breaks_the_seal(field: str, bit: int) -> None:
    assert not intact("epoch", Lane.BILLING, ROW._replace(**{field: getattr(ROW, field) ^ (1 << bit)}))


@given(st.integers(0, 23))
def test_a_flipped_bit_in_the_items_breaks_the_seal(bit: int) -> None:
    items = bytearray(ROW.items)
    items[bit // 8] ^= 1 << bit % 8
    assert not intact("epoch", Lane.BILLING, ROW._replace(items=bytes(items)))
    assert not intact("epoch", Lane.BILLING, ROW._replace(items="[1]"))  # type: ignore[arg-type]  # what SQLite may return


@given(st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(2, 61_440)), min_size=1, max_size=30))
def test_pages_for_is_an_upper_bound_and_footprint_is_near(sizes: list[tuple[Lane, int]]) -> None:
    """Against SQLite itself: the pages that the same rows really take."""
    connection = sqlite3.connect(":memory:")
    for lane in Lane:
        connection.execute(f"CREATE TABLE {lane} (seq INTEGER PRIMARY KEY, boot_id, items, a, b, c, d, e, f)")
    before = connection.execute("PRAGMA page_count").fetchone()[0]
    for number, (lane, size) in enumerate(sizes):
        row = (number, "b" * 36, b"x" * size, 2**15, 2**41, 2**41, 2**40, 2**47, 2**32)
        connection.execute(f"INSERT INTO {lane} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    taken = connection.execute("PRAGMA page_count").fetchone()[0] - before
    connection.close()
    assert taken <= pages_for([Draft(lane, b"x" * size, 1, 0, 0) for lane, size in sizes], "b" * 36)
    estimate = sum(footprint("b" * 36, b"x" * size) for _, size in sizes)
    assert taken * PAGE_BYTES <= 2 * estimate + len(Lane) * PAGE_BYTES
