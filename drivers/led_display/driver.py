"""Shows texts on an LED display, and asks whether it is there.

    point ──batches──▶ online, text, notice: one ping; state: one query
    value ──write────▶ text in the card's characters ──▶ dynamic area ──▶ SHOW, once ──▶ A0 00, or A0 01: DeviceRejected

What a card shows cannot be read: ``text`` and ``notice`` say what was last accepted.  Both stand in the same area:
writing one takes the other away.

An answer does not say what it answers: after a time-out the card is left alone until a late one can no longer come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from drivers.base import DeviceSpec, Link, ProtocolType, SerialFormat
from drivers.led_display import frame
from drivers.led_display.config import COLOURS, MODES, DisplayOptions, DisplayPointOptions
from drivers.led_display.frame import Area, Frame, find_frame
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected
from gateway.model import PointId, Reading, Reason, Value, ValueKind, bad_reading

MOST_TEXT_BYTES: Final = 600
_MOST_STATE: Final = 64
_KINDS: Final = {
    "text": ValueKind.TEXT,
    "notice": ValueKind.STATE,
    "online": ValueKind.BOOLEAN,
    "state": ValueKind.TEXT,
}
_IDLE: Final = "idle"
_CLEAR: Final = "clear"


class Display:
    """drivers/base.py: Driver, Writable."""

    def __init__(self, spec: DeviceSpec, link: Link, clock: Clock) -> None:
        """Raises ConfigError where a point's kind or words do not fit, or a text cannot be shown."""
        options: DisplayOptions = spec.options
        self._spec = spec
        self._options = options
        self._link = link
        self._clock = clock
        self._fields = {point: _field(spec, point) for point in spec.points}
        self._notices = {
            point: {word: self._encoded(text) for word, text in each.options.texts.items()}
            for point, each in spec.points.items()
        }
        self._shown = self._nothing()

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        pinged = [point for point in points if self._fields[point] != "state"]
        states = [point for point in points if self._fields[point] == "state"]
        return [group for group in (pinged, *([point] for point in states)) if group]

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        readings: dict[PointId, Reading] = {}
        for group in self.batches(points):
            command = frame.STATE if self._fields[group[0]] == "state" else frame.PING
            answer = await self._ask(frame.request(self._options.address, command))
            readings |= {point: self._reading(point, answer) for point in group}
        return [readings[point] for point in points]

    async def write(self, point: PointId, value: Value) -> None:
        spec = self._spec.points.get(point)
        if spec is None or not spec.point.writable:
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0)
        if self._fields[point] == "notice" and value == _CLEAR:
            content = frame.show(remove=(self._options.area,))
        else:
            content = frame.show((self._area(self._text(point, value)),))
        answer = await self._ask(frame.request(self._options.address, frame.SHOW, content), once=True)
        if answer.command != frame.ACK or answer.status != 0:
            raise _refusal(point, answer)
        self._shown = {**self._nothing(), point: value}

    def settle_s(self, point: PointId) -> float:
        return 0.0

    # ------------------------------------------------------------------ inside

    def _nothing(self) -> dict[PointId, Value]:
        return {point: _IDLE for point, each in self._spec.points.items() if _IDLE in each.point.states}

    def _reading(self, point: PointId, answer: Frame) -> Reading:
        now_ms = self._clock.now_ms()
        if self._fields[point] == "state":
            if answer.command != frame.STATE:
                return bad_reading(point, Reason.REFUSED, now_ms, answer.to_bytes())
            return Reading(point, answer.content[:_MOST_STATE].hex(" "), now_ms, now_ms)
        if self._fields[point] == "online":
            return Reading(point, True, now_ms, now_ms)
        if point not in self._shown:
            return bad_reading(point, Reason.NO_VALUE, now_ms)
        return Reading(point, self._shown[point], now_ms, now_ms)

    def _text(self, point: PointId, value: Value) -> bytes:
        """Raises DeviceRejected: nothing has been sent."""
        if self._fields[point] == "text":
            try:
                return self._encoded(str(value))
            except ConfigError as exc:
                raise DeviceRejected(str(exc), 0, hint=exc.hint) from exc
        notice = self._notices[point].get(str(value))
        if notice is None:
            raise DeviceRejected(f"{point}: 没有此词 / there is no such word: {value}", 0)
        return notice

    def _encoded(self, text: str) -> bytes:
        """In the card's characters.  Raises ConfigError for what it cannot show."""
        if "\\" in text:
            raise ConfigError(
                "文字不得含反斜杠 / no backslash in a text", hint="the card takes it for a command / 控制卡会当作控制符"
            )
        try:
            encoded = text.encode(self._options.charset)
        except UnicodeEncodeError as exc:
            raise ConfigError(
                f"字库没有此字 / the card's fonts lack {text[exc.start]!r}", hint="charset: gbk? / 换用 gbk 或改写"
            ) from exc
        if len(encoded) > MOST_TEXT_BYTES:
            raise ConfigError(f"文字过长 / {len(encoded)} bytes of text are more than {MOST_TEXT_BYTES}")
        font = f"\\{self._options.font}" if self._options.font else ""
        return (font + COLOURS[self._options.colour]).encode("ascii") + encoded

    def _area(self, text: bytes) -> Area:
        options = self._options
        return Area(
            number=options.area,
            x=options.x,
            y=options.y,
            width=options.width,
            height=options.height,
            mode=MODES[options.mode],
            speed=options.speed,
            stay=round(2 * options.stay_s),
            text=text,
            single_line=options.lines == "one",
            expire_s=options.expire_s,
        )

    async def _ask(self, asked: Frame, *, once: bool = False) -> Frame:
        """Raises DeviceUnreachable, ProtocolError, LineLost."""

        def parse(received: bytes) -> Frame | None:
            found = find_frame(received)
            while found is not None and not _answers(found[0], asked):
                found = find_frame(received, found[2])
            return found[0] if found else None

        return await self._link.exchange(
            asked.to_bytes(),
            parse,
            peer=("onbon", self._options.address),
            timeout_s=self._spec.timeout_s,
            embargo_s=self._spec.timeout_s,
            once=once,
        )


def _answers(found: Frame, asked: Frame) -> bool:
    """An answer is sent to us; an echo of the question is not.  Cards give their own address, or the one for any."""
    if found.to != frame.PC or found.sender not in (asked.to, 0xFFFE):
        return False
    return found.command in (frame.ACK, frame.NACK, asked.command)


def _field(spec: DeviceSpec, point: PointId) -> str:
    """Raises ConfigError."""
    each = spec.points[point]
    options: DisplayPointOptions = each.options
    if each.point.kind is not _KINDS[options.field]:
        kind = _KINDS[options.field]
        raise ConfigError(f"{point}: 应为 kind: {kind} / must be of kind: {kind}")
    if options.field == "notice":
        words = set(each.point.commands or each.point.states) - {_IDLE, _CLEAR}
        if words - set(options.texts):
            missing = ", ".join(sorted(words - set(options.texts)))
            raise ConfigError(f"{point}: 没有文字的状态词 / words without a text: {missing}")
    if each.point.writable and options.field in ("online", "state"):
        raise ConfigError(f"{point}: 不可写 / cannot be written")
    return options.field


def _refusal(point: PointId, answer: Frame) -> DeviceRejected:
    zh, en = frame.REFUSALS.get(answer.status, ("未知错误", "unknown"))
    return DeviceRejected(f"{point}: 显示屏拒绝：{zh} / the display refuses: {en} ({answer.status})", answer.status)


ONBON = ProtocolType(
    name="onbon",
    device_options=DisplayOptions,
    point_options=DisplayPointOptions,
    make=Display,
    serial=SerialFormat(baud=57600),
    tcp=True,
    default_timeout_s=2.0,
)
