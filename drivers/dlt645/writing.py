"""What writing a point sends to the meter, and what a refusal means.  Pure, but for the password file.

    relay, alarm, keep supply ─▶ 1Ch  password, operator, N1 00, valid until ss mm hh DD MM YY
    clock                     ─▶ 14h  identifier, password, operator, data
    freeze now                ─▶ 16h  mm hh DD MM, all 99

Meters under the fee-control rules take 1Ch and 14h only as cipher text from a master with a security module (ESAM):
they refuse what is sent here, and no password helps.
Source: DL/T 645-2007, 7.1 and annex E; 1Ah, 1Bh and the answers are confirmed by captured frames.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from drivers.base import DeviceSpec, Link, PointSpec
from drivers.dlt645 import frame
from drivers.dlt645.config import COMBINED_CLOCK, DATE, TIME, Dlt645Options, Dlt645PointOptions
from drivers.dlt645.exchange import PREAMBLE
from drivers.dlt645.frame import Frame
from gateway.clock import Clock, ClockState
from gateway.errors import DeviceRejected
from gateway.model import Value, ValueKind

VALID_FOR = datetime.timedelta(minutes=10)
"""How long the meter may still obey.  Meters' clocks are allowed to be minutes wrong: a shorter time would be over for
them before it begins.  Ours may be wrong too: the meter then refuses, or obeys at once all the same."""

EMBARGO_S = 2.0
"""How long a meter that left a write unanswered is left alone: an answer says what kind of command it confirms, not
which, so a late one must not confirm the next."""

COMMANDS = {
    "relay": (0x1C, 0x1A),
    "relay_permit": (0x1B, 0x1A),
    "alarm": (0x2B, 0x2A),
    "keep_supply": (0x3B, 0x3A),
}
"""N1 that clears and that sets the bit of the status word."""

_SETTLE_S = {"relay": 10.0, "relay_permit": 10.0, "alarm": 5.0, "keep_supply": 5.0, "clock": 1.0, "freeze": 5.0}
"""A breaker outside the meter takes seconds to move, and the status word follows when the meter has noticed."""

_NOW = "now"
_EXAMPLES = {COMBINED_CLOCK: "2026-06-05T10:22:51", DATE: "2026-06-05", TIME: "10:22:51"}
_PASSWORD = re.compile(r"(0[0-9])\s+([0-9]{6})")
_FREEZE_AT = re.compile(r"(99|0[1-9]|1[0-2])(99|0[1-9]|[12][0-9]|3[01])(99|[01][0-9]|2[0-3])(99|[0-5][0-9])")


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes one meter's write requests.  Every method that can fail raises DeviceRejected: nothing has been sent."""

    options: Dlt645Options
    zone: datetime.tzinfo
    clock: Clock

    @classmethod
    def of(cls, spec: DeviceSpec, clock: Clock) -> Writer:
        return cls(spec.options, spec.zone, clock)

    def request(self, spec: PointSpec, value: Value) -> Frame:
        """The one frame that writes *value* to the point."""
        options: Dlt645PointOptions = spec.options
        if options.write is None:
            raise _unsendable(
                f"{spec.point.id}: 该测点不可写 / this point cannot be written",
                "型号文件的测点要有 write / in the profile the point needs write: relay, clock ...",
            )
        if "A" in self.options.address:
            raise _unsendable(
                f"{spec.point.id}: 表号带通配符，命令会发给任意表 / an address with wildcards would command any meter",
                "在设备条目写完整表号 / write the full address in the device entry",
            )
        if options.write == "freeze":
            return self._frame(frame.FREEZE, self._freeze(spec, value))
        if options.write == "clock":
            data = self._clock_data(spec, value)
            return self._frame(frame.WRITE, bytes.fromhex(options.di)[::-1] + self._authority() + data)
        return self._frame(frame.RELAY, self._authority() + self._command(spec, value))

    def _frame(self, control: int, data: bytes) -> Frame:
        return Frame(self.options.address, control, data)

    def _command(self, spec: PointSpec, value: Value) -> bytes:
        """N1, N2 and until when the meter may obey, in its own local time."""
        states = spec.point.states
        if spec.point.kind is ValueKind.STATE and value in states:
            wanted = states.index(str(value))
        elif spec.point.kind is ValueKind.BOOLEAN and isinstance(value, bool):
            wanted = int(value)
        else:
            raise _bad_value(spec, value, " | ".join(states) or "true | false")
        until = self._local() + VALID_FOR
        return bytes((COMMANDS[spec.options.write][wanted], 0)) + _bcd(f"{until:%y%m%d%H%M%S}")

    def _clock_data(self, spec: PointSpec, value: Value) -> bytes:
        """*value*: ``now``, or local time as ISO 8601: date, time or both, as the point's identifier holds.

        A boolean point says whether the clock is right; it can be made so.
        """
        is_watched = spec.point.kind is ValueKind.BOOLEAN
        if is_watched and value is not True:
            raise _bad_value(spec, value, "true")
        di, text = spec.options.di, _NOW if is_watched else str(value).strip()
        if text == _NOW and self.clock.state() is not ClockState.SYNCED:
            raise _untimed(spec)  # a wrong clock moves tariffs
        try:
            moment = self._local() if text == _NOW else _moment(di, text, self.zone)
        except ValueError as exc:
            raise _bad_value(spec, value, f"now | {_EXAMPLES[di]}") from exc
        date, time = f"{moment:%y%m%d}0{moment.isoweekday() % 7}", f"{moment:%H%M%S}"  # weekday 0 is Sunday
        return _bcd({COMBINED_CLOCK: date + time, DATE: date, TIME: time}[di])

    def _freeze(self, spec: PointSpec, value: Value) -> bytes:
        """*value*: ``now``, or MMDDhhmm with 99 for every."""
        text = "99999999" if value == _NOW else str(value)
        if not _FREEZE_AT.fullmatch(text):
            raise _bad_value(spec, value, "now | MMDDhhmm (99: every)")
        return _bcd(text)

    def _authority(self) -> bytes:
        level, password = read_password(self.options.password_file)
        return bytes((level,)) + _bcd(password) + _bcd(self.options.operator)

    def time(self) -> datetime.datetime | None:
        """The meter's local time as it should be; None when the gateway does not know the time."""
        return None if self.clock.state() is ClockState.UNKNOWN else self._local()

    def _local(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.clock.now_ms() / 1000, self.zone)


def settle_s(options: Dlt645PointOptions) -> float:
    return _SETTLE_S.get(options.write or "", 0.0)


def read_password(file: Path | None) -> tuple[int, str]:
    """Level and six digits.  Raises DeviceRejected; what the file holds is never repeated."""
    hint = (
        "在设备条目写 password_file，文件内容为级别和六位密码，如 02 123456"
        " / in the device entry: password_file; the file holds level and six digits, as 02 123456"
    )
    if file is None:
        raise _unsendable("没有电表密码 / there is no password for the meter", hint)
    try:
        found = _PASSWORD.fullmatch(file.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as exc:
        raise _unsendable(f"读不到密码文件 {file} / cannot read the password file {file}", hint) from exc
    if found is None:
        raise _unsendable(f"密码文件 {file} 内容不对 / the password file {file} does not hold a password", hint)
    return int(found[1], 16), found[2]


def rejection(answer: Frame) -> DeviceRejected:
    """The error that a refused write becomes."""
    code = answer.data[0] if answer.data else 0
    text = frame.error_text(code, answer.function)
    if not code & frame.NOT_AUTHORISED:
        return DeviceRejected(f"电表拒绝 / the meter refused: {text} ({code:02X})", code)
    return DeviceRejected(
        f"电表不允许 / not permitted by the meter: {text} ({code:02X})",
        code,
        hint="核对密码和级别；费控表只接受带 ESAM 的主站的密文命令，本网关不能操作"
        " / check password and level; a fee-control meter obeys only cipher text from a master with an ESAM,"
        " which this gateway is not",
    )


async def broadcast_time(link: Link, local: datetime.datetime, preamble: int = PREAMBLE) -> None:
    """Tell every meter on the line the time.  Nobody answers; meters follow once a day, by a few minutes at most.

    local: the meters' local time.  Raises LineLost.
    """
    request = Frame(frame.BROADCAST, frame.BROADCAST_TIME, _bcd(f"{local:%y%m%d%H%M%S}"))
    await link.collect(request.to_bytes(preamble), timeout_s=0.0, silence_s=0.0)


def _moment(di: str, text: str, zone: datetime.tzinfo) -> datetime.datetime:
    """Local time as it is written for *di*; what the identifier does not hold is anything.  Raises ValueError."""
    if len(text) < len(_EXAMPLES[di]):
        raise ValueError("something is left out, which would be taken for zero")
    if di == TIME:
        return datetime.datetime.combine(datetime.date(2000, 1, 1), datetime.time.fromisoformat(text))
    moment = datetime.datetime.fromisoformat(text)
    moment = moment.astimezone(zone) if moment.tzinfo else moment
    if moment.year // 100 != 20:
        raise ValueError("meters know two digits of a year")
    return moment


def _bcd(digits: str) -> bytes:
    """Digits as they are written, lowest pair first."""
    return bytes.fromhex(digits)[::-1]


def _unsendable(message: str, hint: str) -> DeviceRejected:
    return DeviceRejected(message, 0, hint=hint)


def _bad_value(spec: PointSpec, value: Value, words: str) -> DeviceRejected:
    return _unsendable(f"{spec.point.id}: 不能写 {value!r} / {value!r} cannot be written", f"可用 / there is: {words}")


def _untimed(spec: PointSpec) -> DeviceRejected:
    return _unsendable(
        f"{spec.point.id}: 网关时钟未同步，不能用它校表"
        " / the gateway's clock is not synchronised: no clock to set others by",
        "等待 NTP 同步（timedatectl），或写明时间 / wait for NTP (timedatectl), or write the time itself",
    )
