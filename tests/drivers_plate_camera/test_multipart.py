from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.plate_camera.messages import Dialect
from drivers.plate_camera.multipart import MOST_PARTS, Thinned, boundary_of, parts
from drivers.plate_camera.simulator import PICTURE, body_of

BODY, CONTENT_TYPE = body_of(Dialect.ISAPI, "cam-1", "皖A16552", pictures=3)
BOUNDARY = boundary_of(CONTENT_TYPE) or b""


def thinned(body: bytes, sizes: list[int], most_bytes: int = 65536) -> bytes | None:
    sieve = Thinned(BOUNDARY, most_bytes)
    at = 0
    for size in [*sizes, len(body)]:
        if not sieve.feed(body[at : at + size]):
            return None
        assert sieve.kept_bytes <= most_bytes + size + 4096
        at += size
    return sieve.kept()


WHOLE = thinned(BODY, []) or b""


def test_pictures_are_dropped_and_texts_kept() -> None:
    assert PICTURE in BODY
    assert PICTURE[:50] not in WHOLE
    [(headers, xml), *pictures] = parts(WHOLE, BOUNDARY)
    assert headers["name"] == "anpr.xml"
    assert xml in BODY
    assert xml.endswith(b"</EventNotificationAlert>")
    assert [content for _, content in pictures] == [b"", b"", b""]
    assert len(WHOLE) < 2500 < len(BODY)


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_it_does_not_matter_in_which_pieces_it_comes(sizes: list[int]) -> None:
    assert thinned(BODY, sizes) == WHOLE


def test_byte_by_byte() -> None:
    assert thinned(BODY, [1] * len(BODY)) == WHOLE


def test_a_picture_that_does_not_say_so_is_known_by_its_bytes() -> None:
    body = BODY.replace(b"Content-Type: image/jpeg", b"Content-Type: application/octet-stream").replace(
        b".jpg", b".bin"
    )
    assert PICTURE[:50] not in (thinned(body, []) or b"")


def test_pictures_cost_nothing_and_long_texts_are_refused() -> None:
    picture = BODY.replace(PICTURE, PICTURE * 100)
    assert len(picture) > 1_000_000
    assert thinned(picture, [4096] * 300) == WHOLE
    long_text = BODY.replace(b"</EventNotificationAlert>", b" " * 70_000 + b"</EventNotificationAlert>")
    assert thinned(long_text, [4096] * 300) is None
    endless_headers = b"--" + BOUNDARY[2:] + b"\r\nX: " + b"x" * 5000
    assert thinned(endless_headers, []) is None


def test_many_parts_are_not_all_looked_at() -> None:
    many = (BOUNDARY + b"\r\nA: b\r\n\r\nx\r\n") * 1000
    assert len(list(parts(many, BOUNDARY))) == MOST_PARTS


@given(
    st.lists(
        st.sampled_from([BOUNDARY, b"--", b"\r\n\r\n", b"\r\n", b"\xff\xd8", b"a", b"{}", b"Content-Type: image/x"])
    )
)
def test_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    sieve = Thinned(BOUNDARY)
    for piece in pieces:
        assert sieve.feed(piece)
    assert sieve.kept() == thinned(body, [])
    assert len(sieve.kept()) <= len(body)


def test_boundaries() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == b"--abc"
    assert boundary_of('Multipart/Form-Data; charset=utf-8; boundary="a-b"') == b"--a-b"
    for wrong in (
        "",
        "application/json; boundary=a",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "x" * 80,
    ):
        assert boundary_of(wrong) in (None, b"--" + b"x" * 70)
