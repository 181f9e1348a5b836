"""What a signed document may not do, each with its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.remote.admission import Local, Refusal, refusal_of_files, refusal_of_version
from gateway.remote.desired import Desired
from gateway.remote.record import Fate, Outcome, Record, Version
from gateway.remote.trial import Before
from support.remote_site import PROFILE, RULES, files, site_yaml, uplink, write

SITE = site_yaml(1502, uplinks=uplink(1883))


@pytest.fixture
def local(tmp_path: Path) -> Local:
    write(tmp_path / "config", files(SITE))
    (tmp_path / "config" / "password").write_text("secret")
    return Local.of(load(tmp_path / "config"))


def refusal(
    tmp_path: Path, local: Local, site: str = SITE, *, over: str = "platform", **changed: str
) -> Refusal | None:
    """Of a document with this site.yaml and these other files."""
    write(tmp_path / "new", files(site, **changed))
    return refusal_of_files(tmp_path / "new", local, over)


def places(found: Refusal | None) -> list[tuple[str, int, int, str]]:
    assert found is not None
    return [(fault.file, fault.line, fault.column, fault.code) for fault in found.faults]


def test_a_good_document_is_taken(tmp_path: Path, local: Local) -> None:
    assert refusal(tmp_path, local) is None
    assert refusal(tmp_path, local, site_yaml(1503, name="New", uplinks=uplink(1884))) is None


def over_tls(ca: str) -> str:
    return site_yaml(1502, uplinks=uplink(1883, more=f", tls: {{ca: {ca}}}"))


def with_password(file: str) -> str:
    return site_yaml(1502, uplinks=uplink(1883, more=f", username: u, password_file: {file}"))


SITE_FILE, RULE_FILE, PROFILE_FILE = "site.yaml", "rules/water.yaml", "devices/probe.yaml"
CASES = {  # what is changed, the code, and the first fault: file, line, column and code, None where it may be any
    "yaml": ({"site": SITE.replace("lines: [", "lines: [[")}, "faults", (SITE_FILE, 7, None, "E-YAML")),
    "half written": ({"site": SITE[: len(SITE) // 2]}, "faults", (SITE_FILE, None, None, None)),
    "unknown key": ({"site": SITE.replace("_id: 1", "_id: 1, shell: rm")}, "faults", (SITE_FILE, 8, None, "E-KEY")),
    "unknown profile": (
        {"site": SITE.replace("profile: probe", "profile: prob")},
        "faults",
        (SITE_FILE, 8, 26, "E-REF"),
    ),
    "rule": ({"rules": RULES.replace("level >", "levle >")}, "faults", (RULE_FILE, 5, 9, "E-POINT")),
    "rule without unit": ({"rules": RULES.replace("90 m", "90")}, "faults", (RULE_FILE, 5, None, "E-NOUNIT")),
    "profile": ({"profile": PROFILE.replace(": 0.1", ": x")}, "faults", (PROFILE_FILE, 10, None, "E-TYPE")),
    "identity": ({"site": SITE.replace("id: gw1", "id: gw2")}, "identity", (SITE_FILE, 3, 15, "E-REMOTE")),
    "site": ({"site": SITE.replace("id: jiayuan", "id: other")}, "identity", (SITE_FILE, 2, 12, "E-REMOTE")),
    "store": ({"site": SITE.replace("../store", "/tmp/elsewhere")}, "store", (SITE_FILE, 4, 15, "E-REMOTE")),
    "uplink": ({"site": SITE.replace("id: platform", "id: other")}, "uplink", (SITE_FILE, 5, 10, "E-REMOTE")),
    "stranger's file": ({"site": with_password("/etc/passwd")}, "file", (SITE_FILE, 5, 83, "E-REMOTE")),
    "climbing out": ({"site": over_tls("../../../../../../../etc/passwd")}, "file", (SITE_FILE, 5, 65, "E-REMOTE")),
    "absent file": ({"site": with_password("nowhere")}, "faults", (SITE_FILE, 5, 83, "W-FILE")),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_with_code_and_place(tmp_path: Path, local: Local, case: str) -> None:
    changed, code, (file, line, column, fault_code) = CASES[case]
    found = refusal(tmp_path, local, **changed)  # type: ignore[arg-type]
    assert found is not None
    assert found.code == code
    assert found.reason.zh
    assert found.reason.en
    first = places(found)[0]
    wanted = (file, line, column, fault_code)
    assert [got for got, want in zip(first, wanted, strict=True) if want is not None] == [
        want for want in wanted if want is not None
    ]


def test_a_document_without_site_yaml_is_refused(tmp_path: Path, local: Local) -> None:
    (tmp_path / "new" / "rules").mkdir(parents=True)
    assert places(refusal_of_files(tmp_path / "new", local, ""))[0][::3] == ("site.yaml", "E-FILE")


def test_files_of_the_local_configuration_may_be_referred_to(tmp_path: Path, local: Local) -> None:
    relative = site_yaml(1502, uplinks=uplink(1883, more=", username: u, password_file: password"))
    assert refusal(tmp_path, local, relative) is None, "relative to the local directory, where it lies"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("secret")
    named = site_yaml(1502, uplinks=uplink(1883, more=f", username: u, password_file: {elsewhere}"))
    assert refusal(tmp_path, local, named) is not None
    write(local.directory, files(named))
    assert refusal(tmp_path, Local.of(load(local.directory)), named) is None, "the installer has named it"


def test_what_came_by_hand_needs_no_uplink(tmp_path: Path, local: Local) -> None:
    assert refusal(tmp_path, local, site_yaml(1502), over="") is None


def test_the_keys_that_may_configure_are_changed_by_nobody_from_afar(tmp_path: Path, local: Local) -> None:
    found = refusal(tmp_path, replace(local, keys=[{"id": "ops"}]))
    assert found is not None
    assert found.code == "keys"


def desired(number: int, digest: str = "sha256:a") -> Desired:
    return Desired(number, digest, {}, "ops", None)


def test_an_old_number_is_refused_and_a_known_document_only_answered() -> None:
    record = Record().tried(Version(4, "sha256:a"), Before(), "l", 1).confirmed(2)
    record = record.rejected(Outcome(Fate.REJECTED, 3, 6, "sha256:c"))
    assert refusal_of_version(record, desired(5)) is None
    assert refusal_of_version(record, desired(6, "sha256:c")) is None, "a rejected one may have been mended here"
    known = refusal_of_version(record, desired(4))
    assert isinstance(known, Outcome)
    assert known.fate is Fate.RUNNING
    for number, digest in ((4, "sha256:b"), (3, "sha256:a"), (1, "sha256:z")):
        found = refusal_of_version(record, desired(number, digest))
        assert isinstance(found, Refusal)
        assert found.code == "version"
