"""What holds for every test: a property test has no deadline, for the machine may be busy with other things."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("house", deadline=None, print_blob=True)
if not os.environ.get(
    "CI"
):  # Hypothesis has a profile of its own for that: no deadline either, and always the same cases
    settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers: what measures real time or kills real processes takes turns in one of them.

    It begins first, because most of it is waiting.
    """
    slow = [item for item in items if item.get_closest_marker("system") or "/tests/system/" in item.path.as_posix()]
    for item in slow:
        item.add_marker(pytest.mark.xdist_group("system"))
    if os.environ.get("PYTEST_XDIST_WORKER"):
        others = set(items) - set(slow)
        items[:] = [*slow, *(item for item in items if item in others)]
