"""Every published packet, bit string and key in tests/vectors/access.json: what its source says of it comes out."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers import wiegand
from drivers.base import DecodedFrame
from drivers.osdp import decode as osdp_decode
from drivers.osdp import frame as osdp
from drivers.osdp import secure
from drivers.uhppote import frame
from drivers.uhppote.decode import decode
from drivers.uhppote.frame import Frame
from gateway.model import Value

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "access.json").read_text(encoding="utf-8")
)["vectors"]
BELIEVED_WRONG: Mapping[str, str] = {}
"""id -> why.  None."""
SERIAL = 405419896
_MOMENT = datetime.datetime(2021, 5, 28, 14, 56, 14)  # noqa: DTZ001 - a controller's clock has no zone


def sort(vector: Mapping[str, Any]) -> str:
    return next(
        head
        for head in ("uhppote-rx", "uhppote-tx", "uhppote-pair", "uhppote-listen", "osdp", "w", "em")
        if vector["id"].startswith(head)
    )


def of(*sorts: str) -> pytest.MarkDecorator:
    chosen = [vector for vector in VECTORS if sort(vector) in sorts]
    return pytest.mark.parametrize("vector", chosen, ids=[vector["id"] for vector in chosen])


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def test_none_is_missing() -> None:
    assert Counter(sort(vector) for vector in VECTORS) == {
        "uhppote-rx": 10,
        "uhppote-tx": 7,
        "uhppote-pair": 31,
        "uhppote-listen": 2,
        "osdp": 4,
        "w": 5,
        "em": 1,
    }
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS) == 60
    assert all(vector["source"] for vector in VECTORS)
    assert not BELIEVED_WRONG


def says(found: DecodedFrame, expected: Mapping[str, Any]) -> None:
    fields = {field.id: field.value for field in found.items}
    assert found.error is None
    assert found.address == str(expected["controller"])
    for name, value in expected.items():
        if name != "controller":
            assert fields[name] == value, name


@of("uhppote-rx", "uhppote-listen")
def test_what_a_controller_says(vector: dict[str, Any]) -> None:
    data = raw(vector["hex"])
    if "error" in vector["expected"]:
        assert decode(data).fault is not None
        assert Frame.from_bytes(data).function != frame.STATUS
        return
    (found,) = decode(data).frames
    assert found.direction == "response"
    says(found, vector["expected"])


@of("uhppote-tx")
def test_what_others_send(vector: dict[str, Any]) -> None:
    data = raw(vector["hex"])
    assert Frame.from_bytes(data).controller == SERIAL
    assert Frame.from_bytes(data).to_bytes() == data
    assert frame.find_frame(b"\0" + data) == (Frame.from_bytes(data), 1, 65)


@of("uhppote-pair")
def test_questions_and_answers(vector: dict[str, Any]) -> None:
    answers = vector["response_hex"]
    request = raw(vector["hex"])
    for answer in answers if isinstance(answers, list) else [answers]:
        asked, answered = (
            decode(request + raw(answer)).frames
            if not isinstance(answers, list)
            else (
                decode(request).frames[0],
                decode(raw(answer)).frames[0],
            )
        )
        assert (asked.direction, answered.direction) == ("request", "response")
        assert asked.function == answered.function
        assert answered.error is None
        if isinstance(vector["expected"], dict):
            says(answered, vector["expected"])


OURS: Mapping[str, Callable[[], bytes]] = {
    "uhppote-tx-set_listener_request": lambda: frame.tell_listener(SERIAL, "192.168.1.100", 60001, 15),
    "uhppote-tx-set_listener_request_without_interval": lambda: frame.tell_listener(SERIAL, "192.168.1.100", 60001, 0),
    "uhppote-pair-get-status": lambda: frame.ask_status(SERIAL),
    "uhppote-pair-get-event-valid": lambda: frame.ask_event(SERIAL, 29),
    "uhppote-pair-open-door": lambda: frame.open_door(SERIAL, 3),
    "uhppote-pair-set-time": lambda: frame.tell_time(SERIAL, _MOMENT),
    "uhppote-pair-get-controller": lambda: frame.ask_controller(SERIAL),
    "uhppote-pair-get-all-controllers": frame.ask_controller,
}


@pytest.mark.parametrize("name", OURS)
def test_what_we_send_is_what_was_published(name: str) -> None:
    (vector,) = [each for each in VECTORS if each["id"] == name]
    assert OURS[name]() == raw(vector["hex"])


def answer(name: str) -> Frame:
    (vector,) = [each for each in VECTORS if each["id"] == name]
    return Frame.from_bytes(raw(vector.get("response_hex", vector["hex"])))


def test_what_the_hub_makes_of_a_push() -> None:
    status = frame.status(answer("uhppote-listen-0"))
    assert (status.controller, status.index, status.sequence) == (SERIAL, 75312, 21987)
    assert status.open == (True, False, True, True)
    assert status.buttons == (True, True, False, True)
    assert status.relays == (True, True, True, False)
    assert (status.inputs, status.system_error, status.special) == (9, 27, 154)
    assert str(status.clock) == "2024-11-13 14:37:53"


def test_what_the_hub_makes_of_events() -> None:
    found = frame.record(answer("uhppote-pair-get-event-valid"))
    assert (found.index, found.type, found.granted, found.door, found.reason) == (29, 2, True, 1, 0)
    assert str(found.time) == "2019-08-03 10:34:29"
    assert frame.record(answer("uhppote-pair-get-event-missing")).type == frame.NO_EVENT
    broken = frame.record(answer("uhppote-rx-get_event_response_with_invalid_timestamp"))
    assert (broken.index, broken.card, broken.time, broken.reason) == (10001, 3922570474, None, 44)
    assert "3922570474" not in repr(broken)


@of("osdp")
def test_osdp(vector: dict[str, Any]) -> None:
    if vector["id"] == "osdp-sc-annexE":
        _annex_e({key: raw(value) for key, value in {**vector["input"], **vector["expected"]}.items()})
        return
    data = raw(vector["hex"])
    (found,) = osdp_decode.decode(data).frames
    assert found.direction == "request"
    assert (found.address, found.function) == {
        "osdp-sum-2": ("0", "61"),
        "osdp-poll": ("101", "60"),
        "osdp-id": ("101", "61"),
    }[vector["id"]]
    parsed = osdp.find_frame(data)
    assert parsed is not None
    assert parsed[0].to_bytes() == data.removeprefix(b"\xff")


def _annex_e(known: Mapping[str, bytes]) -> None:
    keys = secure.derived(known["scbk_d"], known["cp_random"])
    assert (keys.enc, keys.mac1, keys.mac2) == (known["s_enc"], known["s_mac1"], known["s_mac2"])
    assert secure.client_cryptogram(keys, known["cp_random"], known["pd_random"]) == known["client_cryptogram"]
    server = secure.server_cryptogram(keys, known["cp_random"], known["pd_random"])
    assert server == known["server_cryptogram"]
    assert secure.first_mac(keys, server) == known["r_mac_i"]
    assert known["scbk_d"] == secure.INSTALLATION_KEY


@of("w", "em")
def test_wiegand(vector: dict[str, Any]) -> None:
    said, expected = vector["input"], vector["expected"]
    if sort(vector) == "em":
        card = wiegand.em41xx(raw(said.split(" (", 1)[0]), mirrored=True)
        assert (card.raw, card.facility, card.card) == (expected["number"], *expected["w26"].values())
    elif vector["id"] == "w26-parity-0":
        assert wiegand.with_parity(0, 0) == expected
    else:
        read = wiegand.read(said)
        assert read is not None
        assert {"facility": read.facility, "card": read.card} == expected
        assert wiegand.with_parity(read.facility, read.card, read.layout) == said


def test_values_are_compared_and_not_only_names() -> None:
    """The comparison itself can fail."""
    (vector,) = [each for each in VECTORS if each["id"] == "uhppote-rx-listen_event"]
    (found,) = decode(raw(vector["hex"])).frames
    wrong: Sequence[tuple[str, Value]] = [("event_card", 1), ("system_date", "2024-02-23"), ("door_1_open", False)]
    for name, value in wrong:
        with pytest.raises(AssertionError):
            says(found, vector["expected"] | {name: value})
