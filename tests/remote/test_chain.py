"""The audit's chain: every edit, deletion and truncation is found, and nothing else is complained about."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.remote.chain import START, Anchor, Entry, Finding, Wrong, joined, read_line, verify

LINES = 30


def entry(number: int, text: str = "") -> Entry:
    return Entry(1_767_225_600_000 + number, "command.done", "李", "city", {"n": number, "text": text}, "ok")


def chain(count: int = LINES) -> tuple[list[bytes], Anchor]:
    head, lines = START, []
    for number in range(count):
        line, head = joined(entry(number), head)
        lines.append(line)
    return lines, Anchor(1, *head)


def numbered(text: bytes) -> Iterator[tuple[str, int, bytes]]:
    """As reading the file does."""
    for number, line in enumerate(text.splitlines(keepends=True) if b"\r" not in text else _split(text), 1):
        yield "audit.log", number, line


def _split(text: bytes) -> list[bytes]:
    return [line + b"\n" for line in text.split(b"\n")[:-1]] + ([text.split(b"\n")[-1]] if text[-1:] != b"\n" else [])


def wrongs(lines: list[bytes] | bytes, anchor: Anchor | None) -> set[Wrong]:
    text = lines if isinstance(lines, bytes) else b"".join(lines)
    return {finding.wrong for finding in verify(numbered(text), anchor).findings}


def test_a_chain_as_it_was_written_is_whole() -> None:
    lines, anchor = chain()
    verdict = verify(numbered(b"".join(lines)), anchor)
    assert (verdict.findings, verdict.lines, verdict.first_seq, verdict.last_seq) == ([], LINES, 1, LINES)
    assert verify(iter(()), None).findings == []


def test_a_changed_byte_is_found_wherever_it_is() -> None:
    """Every byte of the file, each changed in one bit."""
    lines, anchor = chain(8)
    text, tried = b"".join(lines), 0
    for place in range(len(text)):
        changed = bytearray(text)
        changed[place] ^= 1 << place % 8
        assert wrongs(bytes(changed), anchor), f"byte {place}"
        tried += 1
    assert tried == len(text) > 1500


def test_a_deleted_or_moved_line_is_found_wherever_it_was() -> None:
    lines, anchor = chain()
    for number in range(LINES):
        rest = lines[:number] + lines[number + 1 :]
        assert wrongs(rest, anchor) == {Wrong.TRUNCATED if number == LINES - 1 else Wrong.MISSING}, number
        doubled = lines[: number + 1] + lines[number:]
        assert wrongs(doubled, anchor) >= {Wrong.BROKEN}
    for first in range(LINES - 1):
        swapped = [*lines]
        swapped[first : first + 2] = reversed(swapped[first : first + 2])
        assert wrongs(swapped, anchor)


def test_a_cut_at_any_byte_is_found_thanks_to_the_anchor() -> None:
    lines, anchor = chain(8)
    text = b"".join(lines)
    for size in range(len(text)):
        assert wrongs(text[:size], anchor) == {Wrong.TRUNCATED}, size
    assert not wrongs(text[: -len(lines[-1])], None), "without one it cannot be: said in the README"


@given(st.integers(0, LINES - 1), st.text(max_size=20), st.booleans())
def test_an_edit_is_found_also_when_its_hash_was_made_to_fit(number: int, text: str, to_the_end: bool) -> None:
    """An intruder who knows how the chain is made: one line joined anew, or all from there on."""
    lines, anchor = chain()
    head = START if number == 0 else read_line(lines[number - 1]).head  # type: ignore[union-attr]
    forged, head = joined(entry(999, text), head)
    changed = [*lines[:number], forged]
    for later in range(number + 1, LINES):
        line, head = joined(entry(later), head)
        changed.append(line if to_the_end else lines[later])
    found = wrongs(changed, anchor)
    assert found >= ({Wrong.REPLACED} if to_the_end or number == LINES - 1 else {Wrong.BROKEN})


def test_the_place_is_named() -> None:
    lines, anchor = chain()
    lines[4] = lines[4].replace(b'"ok"', b'"no"')
    del lines[20]
    assert verify(numbered(b"".join(lines)), anchor).findings == [
        Finding(Wrong.EDITED, "audit.log", 5),
        Finding(Wrong.MISSING, "audit.log", 21, "21 .. 21"),
    ]


def test_what_rotated_out_is_not_missing_and_what_was_taken_from_the_front_is() -> None:
    lines, anchor = chain()
    assert not wrongs(lines[10:], anchor._replace(first_seq=11))
    assert wrongs(lines[11:], anchor._replace(first_seq=11)) == {Wrong.MISSING}


def test_lines_after_the_anchor_and_a_torn_one_are_told_and_not_held_against_anybody() -> None:
    lines, _ = chain()
    early = read_line(lines[27])
    assert early is not None
    verdict = verify(numbered(b"".join(lines) + b'{"seq":31,"t"'), Anchor(1, *early.head))
    assert (verdict.findings, verdict.unanchored, verdict.torn) == ([], 2, True)


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_mischief_is_found(seed: int) -> None:
    rng = random.Random(seed)
    lines, anchor = chain()
    mixed = [*lines]
    for _ in range(rng.randint(1, 5)):
        place = rng.randrange(len(mixed))
        match rng.randrange(3):
            case 0:
                del mixed[place]
            case 1:
                mixed[place] = mixed[place].replace(b"city", b"town")
            case _:
                mixed.insert(place, mixed[rng.randrange(len(mixed))])
    assert mixed == lines or wrongs(mixed, anchor), seed


def test_what_is_no_anchor_is_none() -> None:
    anchor = Anchor(3, 7, "ab")
    assert Anchor.from_bytes(anchor.to_bytes()) == anchor
    for text in (b"", b"[]", b"{}", b"null", b'{"first_seq": "x", "seq": 1, "hash": ""}', b"\xff"):
        assert Anchor.from_bytes(text) is None


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.booleans() | st.none(), max_size=4)
)
def test_whatever_is_written_reads_back(what: dict[str, str | int | bool | None]) -> None:
    line, head = joined(Entry(1, "kind", "a\n\u2028\x85b", "via", what, ""), START)
    read = read_line(line)
    assert read is not None
    assert (read.head, read.entry["what"]) == (head, what)
    assert line.count(b"\n") == 1
