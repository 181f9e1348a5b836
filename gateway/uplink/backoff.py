"""How long to wait before the next connection.  Pure."""

from __future__ import annotations


class Backoff:
    """Full jitter: a random part of a ceiling that grows with the outage, from 1 s to 120 s.

    The ceiling is a thirtieth of the time the uplink has been down: after a minute's outage data flow again within
    2 s of the broker's return, after an hour's a thousand gateways come back spread over two minutes.  (Doubling the
    ceiling with every attempt kept a gateway away for up to a minute after an outage of half a minute.)

    Refusals that need a person are repeated too (the person acts on the platform, not here), but after five in a
    row at most once a minute: brokers lock out clients that hammer with a wrong password.
    """

    FIRST_S = 1.0
    CEILING_S = 120.0
    SHARE = 1 / 30
    PATIENT_REJECTIONS = 5
    REJECTED_S = 60.0

    def __init__(self) -> None:
        self._rejections = 0

    def reset(self) -> None:
        self._rejections = 0

    def delay_s(self, down_s: float, *, rejected: bool, jitter: float) -> float:
        """Count one failure and say how long to wait.

        down_s: since the last connection that held.  *jitter*: random, 0 <= jitter < 1.
        """
        self._rejections = self._rejections + 1 if rejected else 0
        if self._rejections > self.PATIENT_REJECTIONS:
            return self.REJECTED_S * (1 + jitter)
        return min(self.CEILING_S, max(self.FIRST_S, self.SHARE * down_s)) * jitter
