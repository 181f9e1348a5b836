"""What site.yaml says of places, and where its devices are in the end; who is told of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from gateway import local_api
from gateway.cli.alarms import command as alarms_command
from gateway.cli.picture import History, Scene, picture
from gateway.config.load import Configuration, check, load
from gateway.config.models import OnlyModel
from gateway.model import Place, Text
from gateway.uplink.contract import Identity, catalog_payload
from gateway.uplink.privacy import View
from gateway.web import view
from gateway.web.catalog import Catalog
from tests.web.rig import alarm, device, line, status

SITE = """format: site/1
site:
  id: jiayuan
  name: {zh: 佳园小区, en: Jiayuan Garden}
  district: {name: {zh: 示例区, en: Example District}, code: "110199"}
  community: {name: {zh: 佳园社区, en: Jiayuan Community}, code: "110199001001"}
store: {path: store}
places:
  grids: [{id: G1, name: {zh: 第一网格, en: Grid cell 1}}, {id: G2}]
  buildings:
  - id: "3"
    name: {zh: 3号楼, en: Block 3}
    grid: G1
    address_code: "1101990010010000003"
    units: [{id: "1", rooms: [{id: "101", floor: "1", address_code: "110199001001000000301101"}]}, {id: "2", grid: G2}]
  - {id: "5", grid: G2}
gateway: {id: gw1}
lines: [{id: bus1, serial: /dev/ttyS1}]
devices:
- {id: m1, profile: dlt645_single_phase, line: bus1, address: "1", place: {building: "3", unit: "1", room: "101"}}
- {id: m2, profile: dlt645_single_phase, line: bus1, address: "2", place: {building: "3", unit: "2", room: "201"}}
- {id: p5, profile: eastron_sdm630, line: bus1, unit_id: 3, place: {building: "5"}}
- {id: main, profile: eastron_sdm630, line: bus1, unit_id: 4, place: {site: true}}
"""
IDENTITY = Identity("jiayuan", "gw1", "1", "sha256:" + "0" * 64, "boot")


def site(directory: Path) -> Configuration:
    (directory / "site.yaml").write_text(SITE, encoding="utf-8")
    return load(directory)


def seen(config: Configuration, key: bytes | None = None, **only: Any) -> dict[str, Any]:
    """The catalog of a platform."""
    told = View(OnlyModel(**only), key, config.watched, config.points)
    body: dict[str, Any] = json.loads(
        catalog_payload(IDENTITY, told.devices(), ["main"], places=told.places(config.places))
    )
    return body


def test_devices_inherit_the_grid_cell_and_the_floor(tmp_path: Path) -> None:
    config = site(tmp_path)
    assert config.device("m1").place == Place("G1", "3", "1", "1", "101")
    assert config.device("m2").place == Place("G2", "3", "2", None, "201")
    assert config.device("p5").place == Place("G2", "5")
    assert config.device("main").place == Place()
    assert [fault for fault in check(tmp_path) if fault.code == "W-PLACE"] == []


def test_the_catalog_tells_district_community_and_places(tmp_path: Path) -> None:
    body = seen(site(tmp_path))
    assert body["district"] == {"name": {"zh": "示例区", "en": "Example District"}, "code": "110199"}
    assert body["community"]["code"] == "110199001001"
    by_level = [(each["level"], each["place"]) for each in body["places"]]
    assert ("building", {"grid": "G2", "building": "5"}) in by_level
    rooms = [each for each in body["places"] if each["level"] == "room"]
    assert rooms == [
        {
            "level": "room",
            "place": {"grid": "G1", "building": "3", "unit": "1", "floor": "1", "room": "101"},
            "address_code": "110199001001000000301101",
        }
    ]


def test_who_is_not_told_of_a_household_is_not_told_of_its_room(tmp_path: Path) -> None:
    config = site(tmp_path)
    for told in (seen(config, b"k" * 16), seen(config, personal=False), seen(config, kinds=["pump"])):
        assert "301101" not in json.dumps(told)
        assert not any(each["level"] == "room" for each in told.get("places", []))
    veiled = {each["level"] for each in seen(config, b"k" * 16)["places"]}
    assert veiled == {"grid", "building"}, "of a veiled household its building is known, not its entrance"
    there = seen(config, places=[{"building": "5"}])["places"]
    assert [each["place"] for each in there] == [{"grid": "G2"}, {"grid": "G2", "building": "5"}]
    assert len(seen(config, places=[{"grid": "G2"}])["devices"]) == 2, "the inherited grid cell counts"


def test_the_page_names_the_building_and_the_entrance(tmp_path: Path) -> None:
    config = site(tmp_path)
    seen_alarm = alarm("voltage_low", place={"building": "3", "unit": "1"})
    lines = {"bus1": line(devices={name: device() for name in ("m1", "p5", "main")})}
    shown = view.overview(Catalog.of(config), status(alarms=[seen_alarm], lines=lines), [])
    assert shown["alarms"][0]["group"] == {"id": "unit/3/1", "name": {"zh": "3号楼 1单元", "en": "Block 3 entrance 1"}}
    groups = {each["id"]: each["group"]["name"]["en"] for each in shown["lines"][0]["devices"]}
    assert groups == {"m1": "Block 3 entrance 1", "p5": "building 5", "main": "no place"}


def test_watch_groups_alarms_and_devices(tmp_path: Path) -> None:
    config = site(tmp_path)
    snapshot = status(
        alarms=[alarm("low", place={"building": "5"}), alarm("high", place={"building": "3", "unit": "1"})],
        lines={"bus1": line(devices={name: device() for name in ("m1", "p5", "main")})},
        uplinks={},
    )
    history = History()
    history.add(snapshot)
    where = {each.id: each.place for each in config.watched}
    scene = Scene(Text("佳", "J"), config.points, None, "en", where, config.places, "building")
    lines = picture(scene, history, snapshot, None)
    assert [each for each in lines if each in (" Block 3", " building 5")] == [" Block 3", " building 5"]
    table = lines[lines.index("Block 3") :]
    assert [
        each.split()[0] for each in table if each.startswith(("m1", "p5", "main", "Block", "building", "no pl"))
    ] == [*("Block", "m1", "building", "p5", "no", "main")]


def test_alarms_are_listed_by_place(tmp_path: Path) -> None:
    config = site(tmp_path)
    config.store.path.mkdir()
    told = [
        alarm("low", place={"grid": "G2", "building": "5"}) | {"shelved": None, "out_of_service": None},
        alarm("high", place={"grid": "G1", "building": "3", "unit": "1"}) | {"shelved": None, "out_of_service": None},
    ]
    for each in told:
        each |= {"suppressed": False, "chattering": False}

    async def answer(request: Any) -> Any:
        return told

    async def call(*words: str) -> str:
        async with local_api.serve(config.store.path, {"alarms": answer}):
            arguments = ["list", "--config", str(tmp_path), "--lang", "en", *words]
            result = await asyncio.to_thread(CliRunner().invoke, alarms_command, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    grouped = asyncio.run(call("--by", "building"))
    assert [each for each in grouped.splitlines() if each.startswith("==")] == ["== Block 3 (1)", "== building 5 (1)"]
    assert "low@m-1" not in asyncio.run(call("--place", "building=3"))
    both = json.loads(asyncio.run(call("--place", "building=3,unit=1", "--place", "grid=G2", "--json")))
    assert [each["rule"] for each in both["alarms"]] == ["low", "high"]
    shutil.rmtree(config.store.path)
    wrong = CliRunner().invoke(alarms_command, ["list", "--config", str(tmp_path), "--place", "street=1"])
    assert wrong.exit_code == 2
