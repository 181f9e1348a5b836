"""Whether what a profile or a device entry says under ``actions`` could ever be carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.commands import Refusal, checked
from gateway.config.faults import Fault, one_of, quoted
from gateway.config.models import ActionModel, ProfilePoint
from gateway.config.yaml12 import Document, Steps
from gateway.model import Point, Text, ValueKind


def action_faults(
    document: Document, path: Steps, actions: Mapping[str, ActionModel], points: Mapping[str, ProfilePoint]
) -> Iterable[Fault]:
    """*path*: of the key ``actions`` in *document*."""
    for name, action in actions.items():
        point = points.get(action.point)
        if point is None or not point.writable:
            yield _not_writable(document, (*path, name, "point"), action.point, points)
        elif isinstance(refusal := checked(_point(action.point, point), action.value), Refusal):
            expected = Text("true、false", "true, false") if point.kind == "boolean" else Text(*[refusal.detail] * 2)
            message = Text(
                f"测点 {quoted(action.point)} 不能写成这个值", f"point {quoted(action.point)} cannot be set to this"
            )
            hint = Text(f"可写：{expected.zh}", f"it takes: {expected.en}")
            yield document.fault((*path, name, "value"), "E-VALUE", message, hint)


def _not_writable(document: Document, path: Steps, name: str, points: Mapping[str, ProfilePoint]) -> Fault:
    able = sorted(each for each, point in points.items() if point.writable)
    words = one_of(able)
    message = Text(f"没有可写的测点 {quoted(name)}", f"there is no writable point {quoted(name)}")
    hint = Text(f"可写：{words.zh}", f"it can write: {words.en}") if able else None
    return document.fault(path, "E-POINT", message, hint)


def _point(name: str, point: ProfilePoint) -> Point:
    return Point(
        name,
        ValueKind(point.kind),
        Text(point.name.zh, point.name.en),
        1.0,
        point.unit,
        states=tuple(point.states),
        minimum=point.minimum,
        maximum=point.maximum,
        commands=tuple(point.commands),
    )
