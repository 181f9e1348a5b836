"""What site.yaml says of places: the names and codes of buildings, and whether the devices' places fit them.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.config.faults import Fault, did_you_mean, one_of, quoted
from gateway.config.models import (
    CommunityModel,
    DeviceModel,
    DistrictModel,
    NamedPlaceModel,
    RoomModel,
    SiteFile,
    TextModel,
)
from gateway.config.yaml12 import Document, Steps
from gateway.model import Place, Text
from gateway.places import LEVELS, Division, Named, Places

_SHOWN = 20


def places_of(file: SiteFile) -> Places:
    site, said = file.site, file.places
    named = [_named("grid", each, Place(grid=each.id)) for each in said.grids]
    for building in said.buildings:
        place = Place(building=building.id, grid=building.grid)
        named.append(_named("building", building, place))
        named += [_room(place, room) for room in building.rooms]
        for unit in building.units:
            inside = Place(building=building.id, unit=unit.id, grid=unit.grid or building.grid)
            named.append(_named("unit", unit, inside))
            named += [_room(inside, room) for room in unit.rooms]
    return Places(_division(site.district), _division(site.community), tuple(named))


def device_place(model: DeviceModel) -> Place:
    """As it is written."""
    return Place(**{level: getattr(model.place, level) for level in LEVELS})


def place_faults(document: Document, file: SiteFile) -> Iterator[Fault]:
    """Of what is said of places; then of the places of devices."""
    yield from _code_faults(document, file)
    yield from _twice(document, ("places", "grids"), file.places.grids)
    yield from _twice(document, ("places", "buildings"), file.places.buildings)
    grids = [grid.id for grid in file.places.grids]
    for index, building in enumerate(file.places.buildings):
        path: Steps = ("places", "buildings", index)
        yield from _grid_faults(document, path, building.grid, grids)
        yield from _twice(document, (*path, "units"), building.units)
        yield from _twice(document, (*path, "rooms"), building.rooms)
        for number, unit in enumerate(building.units):
            yield from _grid_faults(document, (*path, "units", number), unit.grid, grids)
            yield from _twice(document, (*path, "units", number, "rooms"), unit.rooms)
    places = places_of(file)
    for index, device in enumerate(file.devices):
        yield from _device_faults(document, ("devices", index, "place"), device, places)


def placeless(document: Document, devices: Sequence[DeviceModel]) -> Iterator[Fault]:
    """One warning for all of them: it stands at the first."""
    lost = [index for index, device in enumerate(devices) if device_place(device) == Place() and not device.place.site]
    if not lost:
        return
    names, more = [quoted(devices[index].id) for index in lost[:_SHOWN]], len(lost) - _SHOWN
    rest = Text(f" 等 {len(lost)} 台", f" and {more} more") if more > 0 else Text("", "")
    message = Text(f"设备没有位置：{'、'.join(names)}{rest.zh}", f"no place is said for {', '.join(names)}{rest.en}")
    hint = Text(
        '写 place: {building: "3", unit: "1", room: "101"}；属于整个小区的写 place: {site: true}',
        'write place: {building: "3", unit: "1", room: "101"}; for what belongs to the whole site, place: {site: true}',
    )
    yield document.fault(("devices", lost[0], "id"), "W-PLACE", message, hint, warning=True)


def _division(model: DistrictModel | CommunityModel | None) -> Division | None:
    return None if model is None else Division(Text(model.name.zh, model.name.en), model.code)


def _named(level: str, model: NamedPlaceModel, place: Place) -> Named:
    return Named(place, level, _text(model.name), model.address_code)


def _room(inside: Place, model: RoomModel) -> Named:
    place = Place(grid=inside.grid, building=inside.building, unit=inside.unit, floor=model.floor, room=model.id)
    return _named("room", model, place)


def _text(model: TextModel | None) -> Text | None:
    return None if model is None else Text(model.zh, model.en)


def _code_faults(document: Document, file: SiteFile) -> Iterator[Fault]:
    district, community = file.site.district, file.site.community
    if district is None or community is None or district.code is None or community.code is None:
        return
    if community.code[:6] != district.code[:6]:
        message = Text(
            f"社区代码的前 6 位应与区县代码 {district.code[:6]} 相同",
            f"the first six digits of a community's code are its district's: {district.code[:6]}",
        )
        yield document.fault(("site", "community", "code"), "E-VALUE", message)


def _twice(document: Document, path: Steps, models: Sequence[NamedPlaceModel]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, model in enumerate(models):
        if first.setdefault(model.id, index) != index:
            line, _ = document.locate((*path, first[model.id], "id"))
            message = Text(f"编号 {quoted(model.id)} 重复", f"id {quoted(model.id)} is used twice")
            hint = Text(f"第 {line} 行已使用", f"it is used on line {line}")
            yield document.fault((*path, index, "id"), "E-DUP", message, hint)


def _grid_faults(document: Document, path: Steps, grid: str | None, known: Sequence[str]) -> Iterator[Fault]:
    if grid is not None and known and grid not in known:
        message = Text(f"没有网格 {quoted(grid)}", f"there is no grid cell {quoted(grid)}")
        yield document.fault((*path, "grid"), "E-REF", message, did_you_mean(grid, known))


def _device_faults(document: Document, path: Steps, model: DeviceModel, places: Places) -> Iterator[Fault]:
    place = device_place(model)
    if model.place.site and place != Place():
        message = Text("site: true 与具体位置不能并用", "site: true and a place within the site contradict each other")
        yield document.fault((*path, "site"), "E-VALUE", message, key=True)
    follows = places.completed(Place(building=place.building, unit=place.unit, room=place.room))
    for level in ("grid", "floor"):
        written, due = getattr(place, level), getattr(follows, level)
        if written is not None and due is not None and written != due:
            message = Text(
                f"places 中写的是 {LEVELS[level].zh} {quoted(due)}", f"places says {LEVELS[level].en} {quoted(due)}"
            )
            hint = Text("此处可不写，会自动补上", "it need not be said here: it follows from the rest")
            yield document.fault((*path, level), "E-VALUE", message, hint)
    for level in ("grid", "building", "unit"):
        yield from _unknown(document, path, place, level, places)


def _unknown(document: Document, path: Steps, place: Place, level: str, places: Places) -> Iterator[Fault]:
    """A place that ``places`` does not list, although it lists others of its kind: probably a slip."""
    written = getattr(place, level)
    if written is None or places.of(place, level) is not None:
        return
    known = places.listed(level, place.building if level == "unit" else None)
    if not known:
        return
    words: Mapping[str, Text] = LEVELS
    message = Text(
        f"places 中没有{words[level].zh} {quoted(written)}", f"places has no {words[level].en} {quoted(written)}"
    )
    few = one_of(known[:_SHOWN])
    hint = did_you_mean(written, known) or Text(f"已有：{few.zh}", f"there are: {few.en}")
    yield document.fault((*path, level), "W-PLACE", message, hint, warning=True)
