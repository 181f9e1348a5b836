"""The Payload codec against bytes of Google's own encoder, itself, and rubbish."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.dialects.sparkplug_payload import DataType, Metric, NotAPayload, Payload, Property, decode, encode

VECTORS = json.loads((Path(__file__).parent / "sparkplug_vectors.json").read_text("utf-8"))["vectors"]
U64 = 2**64 - 1


def from_item(item: dict[str, Any]) -> Payload:
    return Payload(item["timestamp"], tuple(metric_of(metric) for metric in item["metrics"]), item["seq"])


def metric_of(item: dict[str, Any]) -> Metric:
    properties = {key: Property(*pair) for key, pair in item["properties"].items()}
    value = bytes.fromhex(item["value"]["hex"]) if isinstance(item["value"], dict) else item["value"]
    return Metric(**{**item, "properties": properties, "value": value})


def test_how_many_vectors_there_are() -> None:
    assert len(VECTORS) == 45
    assert sum(vector["written"] for vector in VECTORS) == 36


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_bytes_of_another_encoder(vector: dict[str, Any]) -> None:
    wanted = from_item(vector["payload"])
    assert decode(bytes.fromhex(vector["hex"])) == wanted
    if vector["written"]:
        assert encode(wanted).hex() == vector["hex"]


def test_written_by_hand_from_the_wire_format() -> None:
    quality = "0a 07 51 75 61 6c 69 74 79  12 05 08 03 18 f4 03"  # key "Quality"; type 3, int 500 = 11 1110100
    metric = (
        "10 05"  # alias 5
        "18 e8 07"  # timestamp 1000 = 111 1101000
        "28 01"  # is_historical
        f"4a 10 {quality}"
        "69 00 00 00 00 00 00 f0 3f"  # double 1.0
    )
    whole = bytes.fromhex(f"08 e8 07  12 22 {metric}  18 ff 01")
    wanted = Metric(alias=5, timestamp=1000, is_historical=True, properties={"Quality": Property(3, 500)}, value=1.0)
    assert encode(Payload(1000, (wanted,), 255)) == whole
    assert decode(whole) == Payload(1000, (wanted,), 255)


# ---------------------------------------------------------------------- round trips

_BITS = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 2**8 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, U64),
    DataType.DATETIME: (0, U64),
}
u64 = st.none() | st.integers(0, U64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@st.composite
def typed(draw: st.DrawFn) -> tuple[int, Any]:
    kind = draw(st.sampled_from(DataType))
    if kind in _BITS:
        return kind, draw(st.integers(*_BITS[kind]))
    return kind, draw(
        {
            DataType.FLOAT: st.floats(width=32, allow_nan=False),
            DataType.DOUBLE: st.floats(allow_nan=False),
            DataType.BOOLEAN: st.booleans(),
            DataType.STRING: texts,
            DataType.TEXT: texts,
        }[kind]
    )


@st.composite
def metrics(draw: st.DrawFn) -> Metric:
    datatype, value = draw(typed())
    properties = {
        key: Property(kind, draw(st.sampled_from([found, None])))
        for key, (kind, found) in draw(st.dictionaries(texts, typed(), max_size=3)).items()
    }
    return Metric(
        draw(st.none() | texts),
        draw(u64),
        draw(u64),
        datatype,
        draw(st.booleans()),
        properties,
        draw(st.sampled_from([value, None])),
    )


payloads = st.builds(Payload, u64, st.lists(metrics(), max_size=4).map(tuple), u64)


@given(payloads)
def test_what_is_written_is_read(payload: Payload) -> None:
    assert decode(encode(payload)) == payload


@given(st.floats(), st.floats(width=32))
def test_floats_keep_their_bits(double: float, single: float) -> None:
    wanted = (Metric(datatype=DataType.DOUBLE, value=double), Metric(datatype=DataType.FLOAT, value=single))
    first, second = (metric.value for metric in decode(encode(Payload(None, wanted))).metrics)
    assert isinstance(first, float)
    assert isinstance(second, float)
    assert struct.pack("<d", first) == struct.pack("<d", double) or (math.isnan(first) and math.isnan(double))
    assert struct.pack("<f", second) == struct.pack("<f", single) or (math.isnan(second) and math.isnan(single))


@given(payloads)
def test_unknown_fields_are_skipped_wherever_they_stand(payload: Payload) -> None:
    unknown = bytes.fromhex("f801 ac028202 03 616263f901 0102030405060708fd01 01020304")
    assert decode(unknown + encode(payload) + unknown) == payload


# ---------------------------------------------------------------------- rubbish


@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_read(data: bytes) -> None:
    try:
        found = decode(data)
    except NotAPayload:
        return
    assert decode(encode(found)) == found or any(
        isinstance(metric.value, float) and math.isnan(metric.value) for metric in found.metrics
    )


@given(payloads.map(encode).filter(bool), st.data())
def test_a_payload_that_was_cut_off(data: bytes, draw: st.DataObject) -> None:
    cut = data[: draw.draw(st.integers(0, len(data) - 1))]
    try:
        found = decode(cut)
    except NotAPayload:
        return
    assert encode(found) == cut  # it ended between two fields


REFUSED = {
    "a tag without its number": "08",
    "a number without an end": "08 ff ff",
    "a number of eleven bytes": "08 ff ff ff ff ff ff ff ff ff ff 01",
    "bytes longer than what is there": "12 05 0a 01",
    "a huge length": "12 ff ff ff ff ff ff ff ff ff 01",
    "a length without bytes": "12 7f",
    "a double of seven bytes": "12 08 69 00 00 00 00 00 00 00",
    "a float of three bytes": "12 04 65 00 00 00",
    "field number 0": "00 01",
    "a group": "0b 0c",
    "wire type 7": "0f 01",
    "a name that is not UTF-8": "12 03 0a 01 ff",
    "a text that is not UTF-8": "12 03 7a 01 ff",
    "a key without a value": "12 05 4a 03 0a 01 61",
    "a value without a key": "12 04 4a 02 12 00",
    "two values for one key": "12 09 4a 07 0a 01 61 12 00 12 00",
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why: str) -> None:
    with pytest.raises(NotAPayload):
        decode(bytes.fromhex(REFUSED[why]))


def test_a_known_field_of_another_wire_type_is_skipped() -> None:
    assert decode(bytes.fromhex("0a 01 61  18 07")) == Payload(seq=7)


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert decode(bytes.fromhex("18 07 18 08")).seq == 8
    assert decode(bytes.fromhex("12 0b 70 01 69 00 00 00 00 00 00 f0 3f")).metrics[0].value == 1.0


def test_numbers_beyond_64_bits_lose_their_top_as_everywhere() -> None:
    assert decode(bytes.fromhex("18 ff ff ff ff ff ff ff ff ff 7f")).seq == U64
    assert decode(bytes.fromhex("12 0b 50 ff ff ff ff ff ff ff ff ff 01")).metrics[0].value == 2**32 - 1
    assert decode(bytes.fromhex("12 06 20 8a 80 80 80 10")).metrics[0].datatype == 10
