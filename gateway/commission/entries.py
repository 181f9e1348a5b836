"""What a scan has found, as the entries of site.yaml that it takes to read it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from pydantic import ValidationError

from drivers.base import ProtocolType, SerialFormat
from gateway.commission.fingerprint import ADDRESS_KEYS, Match, Verdict
from gateway.commission.scan import Met
from gateway.config.explain import parse
from gateway.config.plan import LinePlan
from gateway.config.profiles import Profile
from gateway.model import Value

_PARITY = {"N": "none", "E": "even", "O": "odd"}
_WILDCARD = {"address": "A", "secondary": "F"}
"""Stands for any digit in a configured address."""
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_ID = 48
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u2030-\ud7ff\uf900-\ufffd]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One device of a scan, with everything that is known of it."""

    met: Met
    verdict: Verdict | None = None
    """None: nobody has tried."""
    known: str | None = None
    """The configured device that it is."""

    def as_json(self) -> dict[str, object]:
        serial = self.met.serial
        return {
            "entry": dict(self.met.found.entry),
            "serial": [serial.baud, serial.parity, serial.data_bits, serial.stop_bits] if serial else None,
            "identity": self.met.found.identity,
            "trouble": self.met.found.trouble,
            "known": self.known,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """The line that was searched, as site.yaml speaks of it."""

    line: str
    serial: str | None
    tcp: str | None
    format: SerialFormat | None
    """What the line is configured to; None for a line that is not configured yet, or not serial."""
    configured: bool


def known_device(met: Met, type_: ProtocolType, line: LinePlan | None) -> str | None:
    """The id of the device on *line* that is reached as *met* is."""
    if line is None:
        return None
    try:
        options = parse(type_.device_options, dict(met.found.entry))
    except ValidationError:
        return None
    keys = [key for key in ADDRESS_KEYS if key in met.found.entry]
    for plan in line.devices:
        if (
            plan.protocol.name == type_.name
            and keys
            and all(_same(key, getattr(options, key), getattr(plan.spec.options, key)) for key in keys)
        ):
            return plan.device.id
    return None


def _same(key: str, found: object, configured: object) -> bool:
    if not (isinstance(found, str) and isinstance(configured, str)):
        return found == configured
    wildcard = _WILDCARD.get(key)
    return len(found) == len(configured) and all(
        theirs in (ours, wildcard) for ours, theirs in zip(found, configured, strict=True)
    )


def new_line_id(port: str | None, tcp: str | None) -> str:
    """``/dev/ttyUSB0`` -> ``ttyUSB0``"""
    return _as_id((port or tcp or "line").rsplit("/", 1)[-1])


def written(
    findings: Sequence[Finding],
    place: Place,
    type_: ProtocolType,
    profiles: Mapping[str, Profile],
    taken_ids: Collection[str],
    heading: str,
) -> str:
    """YAML with ``devices:``, and ``lines:`` where the line is new.  What cannot be used as it is, is a comment."""
    new = [finding for finding in findings if finding.known is None]
    line_format = place.format or _usual([finding.met.serial for finding in new])
    lines = [f"# {_plain(heading)}"]
    known = [finding.known for finding in findings if finding.known is not None]
    if known:
        lines.append(f"# 已配置，不重复列出 / already configured: {', '.join(known)}")
    if not place.configured:
        lines += ["lines:", *_line(place, line_format)]
    ids = set(taken_ids)
    entries: list[list[str]] = []
    for finding in new:
        id_ = _free_id(f"{place.line}-{_address(finding.met)}", ids)
        ids.add(id_)
        entries.append(_entry(finding, id_, place, line_format, type_, profiles))
    usable = any(not line.startswith("#") for entry in entries for line in entry)
    lines.append("devices:" if usable else "devices: []")
    return "\n".join([*lines, *(line for entry in entries for line in entry), ""])


def _line(place: Place, format_: SerialFormat | None) -> Iterator[str]:
    yield f"- id: {place.line}"
    if place.tcp is not None:
        yield f"  tcp: {json.dumps(place.tcp)}"
        return
    yield "  # 最好用 /dev/serial/by-id 下的名字 / best a name under /dev/serial/by-id"
    yield f"  serial: {json.dumps(place.serial)}"
    if format_ is not None:
        yield from (f"  {line}" for line in _format_lines(format_))


def _entry(
    finding: Finding,
    id_: str,
    place: Place,
    line_format: SerialFormat | None,
    type_: ProtocolType,
    profiles: Mapping[str, Profile],
) -> list[str]:
    """The comment lines of one device, and its entry; the entry too is a comment where it would not work."""
    best = finding.verdict.best if finding.verdict else None
    comments = [f"# {note}" for note in _notes(finding)]
    profile = best.profile if best else "..."
    body = [f"- id: {id_}", f"  profile: {profile}", f"  line: {place.line}"]
    if best and _must_name_protocol(profiles[best.profile], place):
        body.append(f"  protocol: {type_.name}")
    body += [f"  {key}: {_scalar(value)}" for key, value in finding.met.found.entry.items()]
    own = finding.met.serial
    if own is not None and line_format is not None and own != line_format:
        comments.append(
            f"# 此设备为 {short(own)}，线路为 {short(line_format)}；改成一致更好"
            f" / speaks {short(own)}, the line {short(line_format)}: better set them alike"
        )
        body += [f"  {line}" for line in _format_lines(own, line_format)]
    if best is None:
        comments.append("# 请填写型号后去掉 # / name the profile, then take away the #")
    return [*comments, *(line if best else f"# {line}" for line in body)]


def _format_lines(own: SerialFormat, line: SerialFormat | None = None) -> Iterator[str]:
    """The keys of a serial format, those that differ from the line's."""
    if line is None or own.baud != line.baud:
        yield f"baud: {own.baud}"
    if line is None or own.parity != line.parity:
        yield f"parity: {_PARITY[own.parity]}"
    if own.data_bits != (8 if line is None else line.data_bits):
        yield f"data_bits: {own.data_bits}"
    if own.stop_bits != (1 if line is None else line.stop_bits):
        yield f"stop_bits: {own.stop_bits}"


def _notes(finding: Finding) -> Iterator[str]:
    found = finding.met.found
    if found.identity:
        yield f"自述 / says of itself: {_plain(found.identity)}"
    if found.trouble:
        yield f"注意 / beware: {_plain(found.trouble)}"
    verdict = finding.verdict
    if verdict is None or verdict.best is None:
        yield "型号未知 / model unknown"
        return
    told = ", ".join(_told(match) for match in verdict.matches)
    if verdict.sure:
        yield f"型号较确定 / likely model: {told}"
    else:
        yield f"型号不确定，请核对铭牌 / model unsure, check the plate: {told}"


def _told(match: Match) -> str:
    return f"{match.profile} ({match.score:.1f}; {match.answered}/{match.asked})"


def _must_name_protocol(profile: Profile, place: Place) -> bool:
    able = [each for each in profile.types.values() if (each.tcp if place.serial is None else each.serial is not None)]
    return len(able) > 1


def _usual(formats: Sequence[SerialFormat | None]) -> SerialFormat | None:
    """The commonest format, the first of those that are equally common."""
    counted = Counter(each for each in formats if each is not None)
    return max(counted, key=lambda each: counted[each]) if counted else None


def _address(met: Met) -> str:
    entry = met.found.entry
    said = [entry[key] for key in ADDRESS_KEYS if key in entry] or list(entry.values())
    return "-".join(str(value) for value in said)


def _free_id(wanted: str, taken: Collection[str]) -> str:
    id_ = _as_id(wanted)
    if id_ not in taken:
        return id_
    return next(each for n in count(2) if (each := f"{id_[: _LONGEST_ID - 5]}-{n}") not in taken)


def _as_id(text: str) -> str:
    return _NOT_IN_IDS.sub("-", text)[-_LONGEST_ID:].strip("-") or "line"


def _scalar(value: Value) -> str:
    """As YAML 1.2 and JSON agree on it: text in quotes, so that an address keeps its zeros."""
    return json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    """Without anything that could end a comment: devices say what they like of themselves."""
    return _UNPRINTABLE.sub(" ", text)


def short(format_: SerialFormat) -> str:
    """``2400 8E1``"""
    return f"{format_.baud} {format_.data_bits}{format_.parity}{format_.stop_bits}"
