"""How long to wait before the next connection.  Pure."""

from __future__ import annotations


class Backoff:
    """Full jitter: a random part of a ceiling that grows with the outage, from 1 s to 120 s.

    The ceiling is a thirtieth of the time the uplink has been down: after a minute's outage data flow again within
    2 s of the broker's return, after an hour's a thousand gateways come back spread over two minutes.  (Doubling the
    ceiling with every attempt kept a gateway away for up to a minute after an outage of half a minute.)

    Refusals that need a person are repeated too (the person acts on the platform, not here), but after five in a
    row at most once a minute: brokers lock out clients that hammer with a wrong password.

    Where another client uses our client id, the two throw each other out for ever, and the platform sees neither:
    here the pause doubles each time, up to two minutes, and at least half of it is waited.  Not every broker says why
    it closes (mosquitto 2.0 does not), so a connection that works and is soon broken, again and again, is treated alike
    after a few times.  A broker that breaks connections on which it has acknowledged nothing is rather in trouble
    itself: NATS does so while its messages have no leader, and everybody would keep away for minutes after.
    """

    FIRST_S = 1.0
    CEILING_S = 120.0
    SHARE = 1 / 30
    PATIENT_REJECTIONS = 5
    REJECTED_S = 60.0
    PATIENT_BREAKS = 5

    def __init__(self) -> None:
        self._rejections = 0
        self._fights = 0
        self._breaks = 0

    @property
    def contested(self) -> bool:
        """It looks as if another client used our client id."""
        return self._fights > 0

    def reset(self) -> None:
        self._rejections = self._fights = self._breaks = 0

    def delay_s(
        self,
        down_s: float,
        *,
        rejected: bool,
        jitter: float,
        fought: bool = False,
        broke: bool = False,
        worked: bool = False,
    ) -> float:
        """Count one failure and say how long to wait.

        down_s: since the last connection that held.  *fought*: another client has taken over.  *broke*: it was
        accepted, and soon cut without a word; *worked*: after the broker had acknowledged something.  *jitter*: random,
        0 <= jitter < 1.
        """
        self._rejections = self._rejections + 1 if rejected else 0
        self._breaks = self._breaks + worked if broke else 0
        if fought or self._breaks > self.PATIENT_BREAKS:
            self._fights += 1
            return min(self.CEILING_S, self.FIRST_S * 2.0**self._fights) * (1 + jitter) / 2
        if self._rejections > self.PATIENT_REJECTIONS:
            return self.REJECTED_S * (1 + jitter)
        return min(self.CEILING_S, max(self.FIRST_S, self.SHARE * down_s)) * jitter
