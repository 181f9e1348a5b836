"""Whatever is done to a configuration, the answer is a plan or faults with a place, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.load import examine

HERE = Path(__file__).parent
GOOD = """format: site/1
site: {id: jiayuan, name: {zh: 佳园小区, en: Jiayuan Garden}, timezone: Asia/Shanghai}
places: {grids: [{id: G1}], buildings: [{id: "3", grid: G1, units: [{id: "1", rooms: [{id: "101", floor: "1"}]}]}]}
gateway: {id: gw1}
store: {path: data, budget: 512 MiB}
uplinks:
- {id: a, host: localhost, port: 1883, keepalive: 20s, username: gw, password_file: pw, tls: {ca: ca.pem}}
lines:
- {id: bus1, serial: /dev/ttyS1, baud: 9600, parity: none}
- {id: plc, tcp: "192.168.1.20:502"}
devices:
- {id: m1, profile: meter, line: bus1, address: "1", every: 5 min, place: {building: "3"}, roles: {pump: p1}}
- {id: p1, profile: pump, line: plc, place: {site: true}, protocol: modbus-tcp, unit_id: 5,
   points: {level: {every: 10s}}}
"""
RULES = """format: rules/1
rules:
- {id: low, name: {zh: 低, en: Low}, for_each: {type: power_meter}, when: voltage < 180 V, for: 3s, priority: low}
"""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "60s",
            "0s",
            "-1s",
            "1:30",
            "on",
            "9" * 60 + "d",
            "9" * 400 + " GB",
            "../" * 9,
            "/",
            "%s/x",
            "\u202e",
            "bus1",
            "m1",
            "/dev/x",
            ":",
            "a:1",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
KEYS = st.sampled_from(
    ["id", "line", "lines", "profile", "address", "unit_id", "tls", "points", "x", "", "every", "protocol"]
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    tree = {"root": yaml.safe_load(text)}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([place for place in places(tree) if place]))
        holder: Any = tree
        for step in path[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "delete", "add", "rename"])):
            case "replace":
                holder[path[-1]] = draw(VALUES)
            case "add" if isinstance(holder, dict):
                holder[draw(KEYS)] = draw(VALUES)
            case "rename" if isinstance(holder, dict) and path[-1] != "root":
                holder[draw(KEYS)] = holder.pop(path[-1])
            case "delete" if path[-1] != "root":
                del holder[path[-1]]
    return yaml.safe_dump(tree.get("root"), allow_unicode=True)


@st.composite
def scribbled(draw: st.DrawFn, text: str) -> str:
    """A few characters of the file itself changed, as by a slip of the hand."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 4))
        text = (
            text[:at]
            + draw(st.sampled_from(["", ":", "- ", "\t", "{", "]", '"', "'", "&a ", "*a", "\n", "：", "#"]))
            + text[at + cut :]
        )
    return text


def prove(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_bytes(text.encode(errors="surrogatepass"))
    config, faults = examine(directory)
    assert (config is None) == any(not fault.warning for fault in faults)
    known = {str(file): file.read_bytes().decode("utf-8", "replace").splitlines() for file in directory.rglob("*.yaml")}
    for fault in faults:
        assert fault.file in known
        assert 1 <= fault.line <= max(1, len(known[fault.file]) + 1)
        assert fault.column >= 1
        assert fault.message.zh
        assert fault.message.en


def directory() -> tempfile.TemporaryDirectory[str]:
    place = tempfile.TemporaryDirectory()
    root = Path(place.name)
    (root / "devices").mkdir()
    (root / "rules").mkdir()
    for profile in (HERE / "profiles").glob("*.yaml"):
        (root / "devices" / profile.name).write_bytes(profile.read_bytes())
    (root / "site.yaml").write_text(GOOD, encoding="utf-8")
    (root / "rules" / "a.yaml").write_text(RULES, encoding="utf-8")
    return place


FILES = {
    "site.yaml": GOOD,
    "rules/a.yaml": RULES,
    "devices/meter.yaml": (HERE / "profiles" / "meter.yaml").read_text(encoding="utf-8"),
    "devices/pump.yaml": (HERE / "profiles" / "pump.yaml").read_text(encoding="utf-8"),
}


def test_what_is_mutated_is_good_before() -> None:
    with directory() as place:
        config, faults = examine(Path(place))
        assert config is not None
        assert {fault.code for fault in faults} == {"W-FILE"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_other_values_and_keys(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    with directory() as place:
        prove(Path(place), name, data.draw(mutated(FILES[name])))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_slips_of_the_hand(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    with directory() as place:
        prove(Path(place), name, data.draw(scribbled(FILES[name])))
