"""Who may be watched over at home: only a household that has agreed, on record and for the time it has said.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from gateway.config.faults import Fault
from gateway.config.models import DeviceModel
from gateway.config.yaml12 import Document, Steps
from gateway.consent import CARE_KIND, Consent
from gateway.model import Device, Text

_HINT = Text(
    'consent: {by: resident, date: 2026-10-01, record: "档案编号"}；没有书面同意的住户不要配置',
    'consent: {by: resident, date: 2026-10-01, record: "number of the paper"}; take out who has not agreed in writing',
)


def needs_consent(model: DeviceModel, kind: str) -> bool:
    return model.private_home or kind == CARE_KIND


def consents_of(models: Mapping[int, DeviceModel], devices: Mapping[str, Device]) -> Mapping[str, Consent]:
    """Device -> its household's consent, of those that need one."""
    return {
        model.id: Consent(model.consent.by, model.consent.date, model.consent.until, model.consent.record)
        for model in models.values()
        if model.consent is not None and model.id in devices and needs_consent(model, devices[model.id].kind)
    }


def consent_faults(
    document: Document, models: Mapping[int, DeviceModel], devices: Mapping[str, Device]
) -> Iterator[Fault]:
    """*devices*: those of *models* that could be planned."""
    for index, model in models.items():
        path: Steps = ("devices", index)
        if model.consent is None:
            if model.id in devices and needs_consent(model, devices[model.id].kind):
                message = Text(
                    "住户家中的设备需要住户的书面同意", "a device in a home needs the household's consent, on record"
                )
                yield document.fault((*path, "id"), "E-CONSENT", message, _HINT)
        elif model.consent.until is not None and model.consent.until < model.consent.date:
            message = Text("until 早于 date", "until is before date")
            yield document.fault((*path, "consent", "until"), "E-CONSENT", message)


def lapsed_faults(
    document: Document, models: Mapping[int, DeviceModel], consents: Mapping[str, Consent], today: date
) -> Iterator[Fault]:
    """What the calendar has made wrong.  The gateway runs on without these devices; somebody must look all the same."""
    for index, model in models.items():
        consent = consents.get(model.id)
        if consent is None or consent.holds(today):
            continue
        over = consent.until is not None and consent.until < today
        message = (
            Text(
                f"同意已于 {consent.until} 到期，此设备不再运行",
                f"the consent was given until {consent.until}: the device is at rest",
            )
            if over
            else Text(
                f"同意自 {consent.since} 起生效，此前设备不运行",
                f"the consent begins on {consent.since}: until then the device is at rest",
            )
        )
        hint = Text("续签后修改，或删去此设备", "renew it, or take the device out")
        yield document.fault(("devices", index, "consent", "until" if over else "date"), "E-CONSENT", message, hint)
