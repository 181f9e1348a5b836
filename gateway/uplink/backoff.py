"""How long to wait before the next connection.  Pure."""

from __future__ import annotations


class Backoff:
    """Full jitter: a random part of a ceiling that doubles from 1 s to 120 s, so that a thousand gateways spread.

    Refusals that need a person are repeated too (the person acts on the platform, not here), but after five in a
    row at most once a minute: brokers lock out clients that hammer with a wrong password.
    """

    FIRST_S = 1.0
    CEILING_S = 120.0
    PATIENT_REJECTIONS = 5
    REJECTED_S = 60.0

    def __init__(self) -> None:
        self._failures = 0
        self._rejections = 0

    def reset(self) -> None:
        self._failures = self._rejections = 0

    def delay_s(self, *, rejected: bool, jitter: float) -> float:
        """Count one failure and say how long to wait.  *jitter*: random, 0 <= jitter < 1."""
        ceiling = min(self.CEILING_S, self.FIRST_S * (1 << min(self._failures, 10)))
        self._failures += 1
        self._rejections = self._rejections + 1 if rejected else 0
        if self._rejections > self.PATIENT_REJECTIONS:
            return self.REJECTED_S * (1 + jitter)
        return ceiling * jitter
