"""The report of the meters as people and programs get it: text, JSON, CSV, printable HTML.  Pure."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from gateway.meters.account import SUPPLIES, Period, Row, Section, Sum, sums_of
from gateway.meters.closing import Mark
from gateway.model import Text
from gateway.places import LEVELS, Places

_FORMULA = ("=", "+", "-", "@")
"""A cell of a spreadsheet that begins so is, or may become, a formula."""


@dataclass(frozen=True, slots=True)
class Report:
    site: Text
    places: Places
    zone: tzinfo
    period: Period
    title: Text
    """Of the time: ``2026-10``."""
    sections: Sequence[Section]
    damaged: int = 0
    """Lines of the journal that could not be read."""

    @property
    def rows(self) -> Sequence[Row]:
        return [row for section in self.sections for row in section.rows]

    def clock(self, time_ms: int) -> str:
        return datetime.fromtimestamp(time_ms / 1000, self.zone).strftime("%Y-%m-%d %H:%M:%S")


def value_text(value: float | None) -> str:
    """As the meter shows it: no exponent, no tail of zeros that nobody measured."""
    if value is None:
        return ""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


# ---------------------------------------------------------------------- JSON


def as_document(report: Report) -> dict[str, Any]:
    places, period = report.places, report.period
    return {
        "site": _both(report.site),
        "district": None if places.district is None else _both(places.district.name),
        "community": None if places.community is None else _both(places.community.name),
        "from_ms": period.from_ms,
        "to_ms": period.to_ms,
        "running": period.running,
        "damaged": report.damaged,
        "sections": [
            {
                "name": _both(section.name),
                "rows": [_row_item(row, places) for row in section.rows],
                "sums": [_sum_item(each) for each in section.sums],
            }
            for section in report.sections
        ],
        "sums": [_sum_item(each) for each in sums_of(report.rows)],
    }


def _row_item(row: Row, places: Places) -> dict[str, Any]:
    place = row.device.place
    return {
        "place": {level: word for level in LEVELS if (word := getattr(place, level)) is not None},
        "address_code": places.address_code(place),
        "device": row.device.id,
        "point": row.point.id,
        "supply": row.supply,
        "counted": row.counted,
        "start": _mark_item(row.start),
        "end": _mark_item(row.end),
        "consumption": row.consumption,
        "unit": row.point.unit,
        "notes": [{"code": note.code, "text": _both(note.text), "number": note.number} for note in row.notes],
    }


def _mark_item(mark: Mark | None) -> dict[str, Any] | None:
    return None if mark is None else {"value": mark.value, "t": mark.time_ms}


def _sum_item(each: Sum) -> dict[str, Any]:
    return {
        "supply": each.supply,
        "unit": each.unit,
        "total": each.total,
        "meters": each.meters,
        "unknown": each.unknown,
    }


def _both(text: Text) -> dict[str, str]:
    return {"zh": text.zh, "en": text.en}


# ---------------------------------------------------------------------- CSV


_COLUMNS = (
    *LEVELS.values(),
    Text("地址编码", "address code"),
    Text("设备", "device"),
    Text("名称", "name"),
    Text("测点", "point"),
    Text("测点名称", "point name"),
    Text("类别", "supply"),
    Text("起数", "start"),
    Text("起数时间", "start time"),
    Text("止数", "end"),
    Text("止数时间", "end time"),
    Text("用量", "consumption"),
    Text("单位", "unit"),
    Text("计入合计", "in the sums"),
    Text("说明", "notes"),
)


def as_csv(report: Report, lang: str, symbols: Mapping[str, str]) -> str:
    """For spreadsheets: begins with a byte order mark, lines end in CR LF (RFC 4180).

    Ids stand as ``="0101"``: a spreadsheet would else make 101 of it, or a date of 1-2.  Every other text that would
    be taken for a formula begins with an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerow([_in(text, lang) for text in _COLUMNS])
    for row in report.rows:
        writer.writerow(_cells(row, report, lang, symbols))
    return "\ufeff" + out.getvalue()


def _cells(row: Row, report: Report, lang: str, symbols: Mapping[str, str]) -> list[str]:
    device, point = row.device, row.point
    place = [_id_cell(getattr(device.place, level)) for level in LEVELS]
    return [
        *place,
        _id_cell(report.places.address_code(device.place)),
        _id_cell(device.id),
        _text_cell(_in(device.label, lang)),
        _id_cell(point.name),
        _text_cell(_in(point.label, lang)),
        _in(SUPPLIES[row.supply], lang),
        value_text(None if row.start is None else row.start.value),
        "" if row.start is None else report.clock(row.start.time_ms),
        value_text(None if row.end is None else row.end.value),
        "" if row.end is None else report.clock(row.end.time_ms),
        value_text(row.consumption),
        _text_cell(_unit(point.unit, symbols)),
        ("是" if lang == "zh" else "yes") if row.counted else "",
        _text_cell("; ".join(_in(note.text, lang) for note in row.notes)),
    ]


def _id_cell(text: str | None) -> str:
    """A text that stays one.  Line breaks and the like have no business in an id."""
    if not text:
        return ""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return '="' + plain.replace('"', '""') + '"'


def _text_cell(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return f"'{plain}" if plain.lstrip().startswith(_FORMULA) else plain


# ---------------------------------------------------------------------- HTML


_STYLE = """
@page { size: A4; margin: 14mm 12mm 16mm }
* { box-sizing: border-box }
body { font: 10pt/1.35 "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; color: #000; margin: 0 auto;
  max-width: 190mm }
h1 { font-size: 15pt; margin: 0 0 2mm }
p { margin: 0 0 2mm }
table { border-collapse: collapse; width: 100%; margin: 0 0 6mm }
thead { display: table-header-group }
tr { break-inside: avoid }
th, td { border: 0.3mm solid #777; padding: 0.7mm 1.3mm; text-align: left; vertical-align: top }
th { background: #eee; font-weight: 600 }
thead th.head { background: none; border: 0; padding: 1.5mm 0 1mm; font-size: 11pt }
thead th.head span { float: right; font-weight: 400; font-size: 9pt }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.t { white-space: nowrap; font-size: 8.5pt }
.small { font-size: 8.5pt; color: #333 }
tr.sum td { font-weight: 600; background: #f6f6f6 }
.sign { display: flex; gap: 10mm; margin-top: 12mm; break-inside: avoid }
.sign div { flex: 1; border-top: 0.3mm solid #000; padding-top: 1mm }
"""


def as_html(report: Report, lang: str, symbols: Mapping[str, str]) -> str:
    """One file that needs no other.  Each table's head is repeated on every page that it runs over."""
    zh = lang == "zh"
    title = "抄表用量报表" if zh else "Meter report"
    head = f"{_in(report.site, lang)} · {title} · {_in(report.title, lang)}"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="{"zh-CN" if zh else "en"}"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_escape(head)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_escape(head)}</h1>",
        *(f"<p>{_escape(line)}</p>" for line in _preface(report, lang)),
        *(part for section in report.sections for part in _table(section, report, head, lang, symbols)),
        _totals(report, head, lang, symbols),
        _signatures(lang),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _preface(report: Report, lang: str) -> Iterator[str]:
    zh, places, period = lang == "zh", report.places, report.period
    where = [_in(each.name, lang) for each in (places.district, places.community) if each is not None]
    if where:
        yield " · ".join(where)
    span = f"{report.clock(period.from_ms)} – {report.clock(period.to_ms)}"
    made = report.clock(period.now_ms)
    yield f"期间 {span}；制表 {made}" if zh else f"From and to: {span}. Made: {made}"
    if period.running:
        yield "期间尚未结束，止数为最近一次读数。" if zh else "This time is not over: end readings are the latest ones."
    if report.damaged:
        n = report.damaged
        yield f"抄表记录有 {n} 行损坏，未采用。" if zh else f"{n} damaged lines of the journal were passed over."
    yield (
        "含住户用量，属个人信息，请妥善保管。合计只含每台设备的第一个计费测点；“说明”栏列出影响可信度的情况。"
        if zh
        else "Contains households' consumption, which is personal data. Sums are made of each device's first billing "
        "counter; the notes say what is to be known before a figure is believed."
    )


def _table(section: Section, report: Report, head: str, lang: str, symbols: Mapping[str, str]) -> Iterator[str]:
    zh = lang == "zh"
    names = (
        ("位置", "设备", "测点", "起数", "起数时间", "止数", "止数时间", "用量", "单位", "说明")
        if zh
        else ("Place", "Device", "Point", "Start", "Read at", "End", "Read at", "Used", "Unit", "Notes")
    )
    yield '<table><thead><tr><th class="head" colspan="10">'
    yield f"{_escape(_in(section.name, lang))}<span>{_escape(head)}</span></th></tr>"
    yield "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr></thead><tbody>"
    for row in section.rows:
        yield _table_row(row, report, lang, symbols)
    for each in section.sums:
        words = f"{'合计' if zh else 'Sum'} {_in(SUPPLIES[each.supply], lang)}{_unknown(each, lang)}"
        total = f'<td class="n">{value_text(each.total)}</td><td>{_escape(_unit(each.unit, symbols))}</td><td></td>'
        yield f'<tr class="sum"><td colspan="7">{_escape(words)}</td>{total}</tr>'
    yield "</tbody></table>"


def _table_row(row: Row, report: Report, lang: str, symbols: Mapping[str, str]) -> str:
    place, start, end = row.device.place, row.start, row.end
    where = " ".join(word for level in ("floor", "room") if (word := getattr(place, level)))
    cells = [
        ("", where),
        ("", f"{_in(row.device.label, lang)} {row.device.id}"),
        ("small", _in(row.point.label, lang)),
        ("n", value_text(None if start is None else start.value)),
        ("t", "" if start is None else report.clock(start.time_ms)[5:16]),
        ("n", value_text(None if end is None else end.value)),
        ("t", "" if end is None else report.clock(end.time_ms)[5:16]),
        ("n", value_text(row.consumption) if row.consumption is not None else "?"),
        ("", _unit(row.point.unit, symbols)),
        ("small", "；".join(n.text.zh for n in row.notes) if lang == "zh" else "; ".join(n.text.en for n in row.notes)),
    ]
    return "<tr>" + "".join(f'<td class="{name}">{_escape(text)}</td>' for name, text in cells) + "</tr>"


def _totals(report: Report, head: str, lang: str, symbols: Mapping[str, str]) -> str:
    zh = lang == "zh"
    rows = "".join(
        f"<tr><td>{_escape(_in(SUPPLIES[each.supply], lang))}</td><td class='n'>{each.meters}</td>"
        f"<td class='n'>{each.unknown}</td><td class='n'>{value_text(each.total)}</td>"
        f"<td>{_escape(_unit(each.unit, symbols))}</td></tr>"
        for each in sums_of(report.rows)
    )
    names = ("类别", "表数", "无法计量", "合计", "单位") if zh else ("Supply", "Meters", "Unknown", "Total", "Unit")
    title = "总计" if zh else "All together"
    return (
        f'<table><thead><tr><th class="head" colspan="5">{title}<span>{_escape(head)}</span></th></tr><tr>'
        + "".join(f"<th>{name}</th>" for name in names)
        + f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _signatures(lang: str) -> str:
    names = ("制表", "复核", "日期") if lang == "zh" else ("Made by", "Checked by", "Date")
    return '<div class="sign">' + "".join(f"<div>{name}</div>" for name in names) + "</div>"


def _unknown(each: Sum, lang: str) -> str:
    if not each.unknown:
        return ""
    return f"（{each.unknown} 块表无法计量，未计入）" if lang == "zh" else f" ({each.unknown} meters unknown, left out)"


def _unit(unit: str | None, symbols: Mapping[str, str]) -> str:
    return symbols.get(unit or "", unit or "")


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _in(text: Text, lang: str) -> str:
    return text.zh if lang == "zh" else text.en


# ---------------------------------------------------------------------- text


def table_of(section: Section, report: Report, lang: str, symbols: Mapping[str, str]) -> list[list[str]]:
    """Rows of cells for a terminal; sums at the end."""
    found = [
        [
            row.point.id,
            value_text(None if row.start is None else row.start.value) or "-",
            value_text(None if row.end is None else row.end.value) or "-",
            "?" if row.consumption is None else value_text(row.consumption),
            _unit(row.point.unit, symbols),
            "; ".join(_in(note.text, lang) for note in row.notes),
        ]
        for row in section.rows
    ]
    return found + [_sum_cells(each, lang, symbols) for each in section.sums]


def _sum_cells(each: Sum, lang: str, symbols: Mapping[str, str]) -> list[str]:
    name = ("合计 " if lang == "zh" else "sum ") + _in(SUPPLIES[each.supply], lang)
    return [name, "", "", value_text(each.total), _unit(each.unit, symbols), _unknown(each, lang).strip()]
