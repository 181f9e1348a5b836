"""A site that is configured from afar: one sensor on simulated Modbus TCP, a rule, and any brokers."""

from __future__ import annotations

from pathlib import Path

PROFILE = """format: profile/1
id: probe
protocols: [modbus-tcp]
kind: climate_sensor
name: {zh: 探头, en: Probe}
source: made up for tests
confidence: low
every: 200ms
points:
  level: {name: {zh: 液位, en: Level}, unit: m, table: holding, address: 0, scale: 0.1}
"""
RULES = """format: rules/1
rules:
- id: high_water
  for_each: {type: climate_sensor}
  when: level > 90 m
  priority: high
  message: {zh: 水位高, en: High water}
"""


def site_yaml(
    port: int,
    *,
    store: str = "../store",
    name: str = "Jiayuan",
    uplinks: str = "",
    devices: str = "",
    gateway: str = "gw1",
) -> str:
    """*port*: of the probe.  *uplinks*, *devices*: more entries, as YAML."""
    return f"""format: site/1
site: {{id: jiayuan, name: {{zh: 佳园小区, en: {name}}}}}
gateway: {{id: {gateway}}}
store: {{path: {store}, budget: 64 MiB}}
uplinks: [{uplinks}]
lines: [{{id: net, tcp: "127.0.0.1:{port}"}}]
devices:
- {{id: probe-1, profile: probe, line: net, unit_id: 1, timeout: 500ms}}
{devices}"""


def uplink(port: int, name: str = "platform", more: str = "") -> str:
    return f"{{id: {name}, host: 127.0.0.1, port: {port}{more}}}"


def files(site: str, **changed: str) -> dict[str, str]:
    """As a document has them; *changed*: rules, profile."""
    return {
        "site.yaml": site,
        "rules/water.yaml": changed.get("rules", RULES),
        "devices/probe.yaml": changed.get("profile", PROFILE),
    }


def write(directory: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
