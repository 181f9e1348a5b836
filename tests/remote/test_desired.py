from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.remote.desired import LONGEST_BYTES, UNPACKED_BYTES, Desired, NotDesired, digest_of, read
from support.sealed import KEY, KEYS, PRIVATE, STRANGER, document

FILES = {"site.yaml": "format: site/1\nname: 佳园\n", "rules/night.yaml": "rules: []\n", "devices/m.yaml": "id: m\n"}
NAMES = st.from_regex(r"(rules|devices)/[A-Za-z0-9_-]{1,20}\.yaml", fullmatch=True)


def opened(body: bytes) -> Desired:
    return read(body, KEYS, "jiayuan", "gw1")


def refusal(body: bytes) -> NotDesired:
    with pytest.raises(NotDesired) as caught:
        opened(body)
    return caught.value


@pytest.mark.parametrize("packed", [False, True])
def test_every_file_arrives_as_it_was_signed(packed: bool) -> None:
    found = opened(document(7, FILES, packed=packed, issued_ms=5))
    assert found.files == {name: text.encode() for name, text in FILES.items()}
    assert (found.version, found.key, found.issued_ms) == (7, KEY, 5)


def test_the_digest_can_be_worked_out_by_anybody() -> None:
    by_hand = hashlib.sha256(b"rules/a.yaml\x003\x00abcsite.yaml\x001\x00x").hexdigest()
    assert digest_of({"site.yaml": b"x", "rules/a.yaml": b"abc"}) == f"sha256:{by_hand}"


@given(st.dictionaries(NAMES, st.text(max_size=40)), st.booleans())
def test_any_files_come_through_and_packing_changes_nothing(files: dict[str, str], packed: bool) -> None:
    found = opened(document(1, files, packed=packed))
    assert {name: content.decode() for name, content in found.files.items()} == files
    assert found.digest == digest_of({name: text.encode() for name, text in files.items()})


@pytest.mark.parametrize(
    "name",
    [
        "/etc/gateway/site.yaml",
        "../site.yaml",
        "rules/../../x.yaml",
        "rules/.hidden.yaml",
        "rules/a/b.yaml",
        "rules/a.yml",
        "devices/m.yaml\n",
        "password",
        "tls/key.pem",
        "rules/\x00.yaml",
        "rules\\a.yaml",
        "",
    ],
)
def test_only_files_that_a_configuration_has_are_taken(name: str) -> None:
    found = refusal(document(1, {**FILES, name: "x"}))
    assert (found.code, found.signed, found.version) == ("file_name", True, 1)


def test_who_did_not_sign_is_told_from_who_signed_nonsense() -> None:
    assert (refusal(document(1, FILES, private=STRANGER)).code, refusal(b"{}").code) == ("bad_signature", "unsigned")
    unknown = json.dumps({**json.loads(document(1, FILES)), "key": "other"}).encode()
    assert (refusal(unknown).code, refusal(unknown).signed) == ("unknown_key", False)
    changed = json.loads(document(1, FILES))
    changed["signed"] = changed["signed"].replace("佳园", "别园")
    assert refusal(json.dumps(changed).encode()).code == "bad_signature"
    assert refusal(document(1, FILES, site="other")).code == "addressee"
    assert refusal(document(1, FILES, gateway="gw2")).code == "addressee"
    assert refusal(b"x" * (LONGEST_BYTES + 1)).code == "malformed"


CASES: list[dict[str, Any]] = [
    {"version": 0},
    {"version": -1},
    {"version": True},
    {"version": 1.0},
    {"version": "7"},
    {"version": None},
    {"version": 2**53},
    {"issued_ms": "now"},
    {"kind": "command"},
    {"files": ["site.yaml"]},
    {"files": {"site.yaml": 1}},
    {"files": {"site.yaml": "\ud800"}},
    {"files": {f"rules/{number}.yaml": "" for number in range(1001)}},
    {"files_zlib": "not base64"},
    {"files_zlib": base64.b64encode(b"not zlib").decode()},
    {"files_zlib": base64.b64encode(zlib.compress(b"[]")).decode()},
    {"files_zlib": base64.b64encode(zlib.compress(b'{"site.yaml": ""}')[:-1]).decode()},
    {"files_zlib": base64.b64encode(zlib.compress(b'{"site.yaml": ""}') + b"x").decode()},
    {"files_zlib": base64.b64encode(zlib.compress(b" " * (3 * UNPACKED_BYTES), 9)).decode()},
    {
        "files_zlib": base64.b64encode(
            zlib.compress(json.dumps({"site.yaml": "x" * (UNPACKED_BYTES + 1)}).encode())
        ).decode()
    },
    {"files_zlib": 5},
]


def test_what_is_signed_may_still_be_malformed() -> None:
    whole = {"kind": "configuration", "site": "jiayuan", "gateway": "gw1", "version": 3, "files": FILES}
    assert opened(_sealed(whole)).version == 3
    for case in CASES:
        assert refusal(_sealed({**whole, **case})).code == "malformed", case
    assert len(CASES) == 21


def _sealed(document: dict[str, Any]) -> bytes:
    """In ASCII: a lone surrogate can be written so, and not in UTF-8."""
    text = json.dumps(document)
    sig = base64.b64encode(PRIVATE.sign(text.encode())).decode()
    return json.dumps({"signed": text, "key": KEY, "sig": sig}).encode()
