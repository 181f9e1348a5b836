"""What holds for every test: a property test has no deadline, for the machine may be busy with other things."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("house", deadline=None, print_blob=True)
if not os.environ.get(
    "CI"
):  # Hypothesis has a profile of its own for that: no deadline either, and always the same cases
    settings.load_profile("house")
