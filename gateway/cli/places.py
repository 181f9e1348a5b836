"""The options by which lists are narrowed to a place and grouped by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from gateway.model import Place
from gateway.places import LEVELS, Places, grouped, lies_in, parse_place

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class PlaceType(click.ParamType):  # type: ignore[type-arg]
    """``building=3,unit=1``"""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place):
            return value
        try:
            return parse_place(value)
        except ValueError:
            known = ", ".join(LEVELS)
            self.fail(f"{value!r}: 写法如 building=3,unit=1 / write building=3,unit=1 ({known})", param, ctx)


PLACE = click.option(
    "--place",
    "wanted",
    type=PlaceType(),
    multiple=True,
    help="只看此处，如 building=3,unit=1；可重复 / only there, such as building=3,unit=1; may be repeated",
)


def by_option(*more: str, default: str | None = None) -> Callable[[F], F]:
    return click.option(
        "--by",
        type=click.Choice([*LEVELS, *more]),
        default=default,
        show_default=default is not None,
        help="按此分组 / group by it",
    )


def within(place: Place, wanted: Sequence[Place]) -> bool:
    """Anywhere, where nothing is wanted."""
    return not wanted or any(lies_in(place, each) for each in wanted)


def sections(
    t: Callable[[str, str], str], items: Sequence[T], by: str | None, place: Callable[[T], Place], places: Places
) -> Iterator[tuple[str | None, Sequence[T]]]:
    """(heading, items) in the order of the places; one without a heading where nothing is grouped.

    t: gives one of a Chinese and an English text.
    """
    if by is None:
        yield None, items
        return
    for where, found in grouped(items, by, place):
        text = places.text(where, by)
        yield t(text.zh, text.en), found
