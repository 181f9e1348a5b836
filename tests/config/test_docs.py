"""Nothing undocumented, nothing stale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema

from gateway.config.load import check, load
from gateway.config.profiles import shipped_profiles
from gateway.config.schema import schemas
from gateway.config.yaml12 import read_yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "examples" / "jiayuan"


def test_every_code_is_in_the_readme_and_the_other_way_round() -> None:
    sources = [*(ROOT / "gateway" / "config").glob("*.py"), *(ROOT / "rules").glob("*.py")]
    used = {code for source in sources for code in re.findall(r'"([EW]-[A-Z]+)"', source.read_text(encoding="utf-8"))}
    documented = re.findall(r"^\| ([EW]-[A-Z]+) \|", (ROOT / "config" / "README.md").read_text(encoding="utf-8"), re.M)
    assert documented == sorted(used)
    assert len(documented) > 20


def test_the_schemas_are_current() -> None:
    for name, text in schemas().items():
        path = ROOT / "config" / "schema" / name
        assert path.read_text(encoding="utf-8") == text, f"python -m gateway.config.schema {path.parent}"


def test_the_schemas_accept_what_the_check_accepts() -> None:
    texts = {name: json.loads(text) for name, text in schemas().items()}
    validators = {name: jsonschema.Draft202012Validator(schema) for name, schema in texts.items()}
    for schema in texts.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    profiles = sorted(shipped_profiles().glob("*.yaml"))
    for profile in profiles:
        validators["profile.schema.json"].validate(read_yaml(profile, profile.name)[0].data)
    site = read_yaml(EXAMPLE / "site.yaml", "site.yaml")[0].data
    validators["site.schema.json"].validate(site)
    assert len(profiles) >= 32
    wrong = site | {"store": {"budget": "512"}}
    assert not validators["site.schema.json"].is_valid(wrong)


def test_the_example_is_clean_and_names_only_shipped_profiles() -> None:
    """test_shipped_profiles.py checks a site that has one device of each."""
    assert check(EXAMPLE) == []
    config = load(EXAMPLE)
    used = set(re.findall(r"profile: (\w+)", (EXAMPLE / "site.yaml").read_text(encoding="utf-8")))
    assert used <= {path.stem for path in shipped_profiles().glob("*.yaml")}
    assert len(used) >= 9
    assert config.rules.rules
    assert all(line.devices for line in config.lines)
