from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.cli.main import main
from gateway.errors import ConfigError
from gateway.uplink.privacy import pseudonym as uplink_pseudonym
from gateway.vehicles.config import VehiclesModel
from gateway.vehicles.core import Gate, Way
from gateway.vehicles.lists import Entry, ListFile, Lists, Word, entries_of, rendered
from gateway.vehicles.load import read_list, read_lists, write_list
from gateway.vehicles.pseudonym import fingerprint, is_pseudonym, new_key, pseudonym_of, read_key

KEY = bytes(range(32))
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY_MS = 86_400_000
MIDNIGHT_MS = 1_767_196_800_000  # 2026-01-01 00:00 in Shanghai


# ---------------------------------------------------------------------- pseudonyms and keys


def test_pseudonyms() -> None:
    found = pseudonym_of(KEY, "皖A16552")
    # printf 'compound-gateway vehicles plate 1\0皖A16552' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f
    assert found == "v-" + EXPECTED
    assert found == pseudonym_of(KEY, " 皖a·16552")
    assert found != pseudonym_of(bytes(32), "皖A16552")
    assert found[2:] not in uplink_pseudonym(KEY, "皖A16552")
    assert is_pseudonym(found)
    assert not is_pseudonym(found + "\n")
    assert [pseudonym_of(KEY, text) for text in ("", "_无_", "A" * 17)] == [None, None, None]
    assert fingerprint(KEY) != fingerprint(bytes(32))


EXPECTED = "97d65461aa53b9f35572"


def test_a_key_is_the_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "plates.key"
    key = new_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    with pytest.raises(FileExistsError):
        new_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others") as refused:
        read_key(path)
    assert refused.value.hint == f"chmod 600 {path}"
    short = tmp_path / "short.key"
    short.write_bytes(b"x")
    for wrong in (short, tmp_path / "none"):
        with pytest.raises(ConfigError, match=wrong.name):
            read_key(wrong)


# ---------------------------------------------------------------------- lists


def entry(number: int) -> str:
    return f"v-{number:020x}"


def list_file(*entries: dict[str, str], word: str = "allow", key: bytes = KEY) -> ListFile:
    said = {"format": "plates/1", "list": word, "key": fingerprint(key), "entries": list(entries)}
    return ListFile.model_validate(said)


def test_terms_are_of_the_sites_days() -> None:
    file = list_file(
        {"plate": entry(1), "from": "2026-01-01", "until": "2026-01-01"},
        {"plate": entry(2), "until": "2026-01-01T18:00"},
        {"plate": entry(3), "from": "2026-01-01T00:00+00:00"},
    )
    [day, until, since] = entries_of(file, SHANGHAI)
    assert (day.since_ms, day.until_ms) == (MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS)
    assert (until.since_ms, until.until_ms) == (None, MIDNIGHT_MS + 18 * 3_600_000)
    assert since.since_ms == MIDNIGHT_MS + 8 * 3_600_000
    assert [day.is_valid(MIDNIGHT_MS + ms) for ms in (-1, 0, DAY_MS - 1, DAY_MS)] == [False, True, True, False]


def test_several_entries_of_one_vehicle() -> None:
    found = Lists([Entry("a", Word.VISITOR), Entry("a", Word.ALLOW, until_ms=10), Entry("a", Word.DENY, since_ms=20)])
    assert [found.word("a", ms) for ms in (5, 15, 25)] == [Word.ALLOW, Word.VISITOR, Word.DENY]
    assert found.word("b", 5) is Word.UNKNOWN


@pytest.mark.parametrize(
    "wrong",
    [
        {"plate": "皖A16552"},
        {"plate": entry(1), "until": "soon"},
        {"plate": entry(1), "who": "x"},
        {"plate": entry(1), "label": "x" * 65},
        {"plate": entry(1), "label": "a\nb"},
    ],
)
def test_entries_that_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        list_file(wrong)


def test_a_vehicle_stands_once_in_a_list() -> None:
    with pytest.raises(ValidationError, match="twice"):
        list_file({"plate": entry(1)}, {"plate": entry(1)})


labels = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co"), exclude_characters="\ufeff"), max_size=64
)


@given(st.lists(labels, max_size=5))
def test_what_is_written_is_read_again(texts: list[str]) -> None:
    from gateway.config.yaml12 import load_yaml

    file = list_file(
        *({"plate": entry(n), "label": text, "from": "2026-01-01"} for n, text in enumerate(texts)), word="visitor"
    )
    document = load_yaml(rendered(file), "x.yaml")
    assert not document.faults
    assert ListFile.model_validate(document.data) == file


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "residents.yaml"
    file = list_file({"plate": entry(1), "label": "3-2-502"})
    write_list(path, file)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert read_list(path, KEY) == (file, [])
    other, [fault] = read_list(path, bytes(32))
    assert other is None
    assert (fault.code, fault.line) == ("E-VALUE", 3)
    broken = tmp_path / "broken.yaml"
    broken.write_text("format: plates/1\nlist: friends\n")
    lists, faults = read_lists([path, broken, tmp_path / "none.yaml"], KEY, SHANGHAI)
    assert lists.word(entry(1), 0) is Word.ALLOW
    assert {Path(fault.file).name for fault in faults} == {"broken.yaml", "none.yaml"}


# ---------------------------------------------------------------------- the section of site.yaml

SECTION = {
    "key_file": "plates.key",
    "lists": ["lists/residents.yaml"],
    "areas": {"garage": {"capacity": 320}},
    "gates": [
        {"camera": "cam-in", "gate": "north", "area": "garage", "way": "enter", "listed_only": True},
        {"camera": "cam-south", "gate": "south", "area": "garage", "ways": {"down": "enter", "up": "leave"}},
    ],
    "overstay": {"visitor": "24 h"},
    "dedupe": "1 min 30 s",
}


def test_the_section() -> None:
    settings = VehiclesModel.model_validate(SECTION).settings()
    assert settings.gates["cam-in"] == Gate("north", "garage", Way.ENTER, {}, listed_only=True)
    assert settings.gates["cam-south"].ways == {"down": Way.ENTER, "up": Way.LEAVE}
    assert (settings.capacity, settings.dedupe_ms) == ({"garage": 320}, 90_000)
    assert settings.overstay_ms == {Word.VISITOR: DAY_MS}


@pytest.mark.parametrize(
    "change",
    [
        {"areas": {}},
        {"areas": {"Garage": {}}},
        {"areas": {"yard": {}}},
        {"gates": []},
        {"gates": [SECTION["gates"][0], SECTION["gates"][0]]},  # type: ignore[index]
        {"gates": [{"camera": "a", "gate": "b", "area": "garage"}]},
        {"gates": [{"camera": "a", "gate": "b", "area": "garage", "way": "enter", "ways": {"up": "leave"}}]},
        {"dedupe": 30},
        {"dedupe": "30"},
        {"overstay": {"deny": "1 h"}},
        {"min_confidence": 1.1},
    ],
)
def test_sections_that_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VehiclesModel.model_validate({**SECTION, **change})


# ---------------------------------------------------------------------- gateway plates


def plates(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["plates", *map(str, arguments)])


def test_a_list_from_key_to_removal(tmp_path: Path) -> None:
    key, file = tmp_path / "plates.key", tmp_path / "residents.yaml"
    made = plates("key", key, "--json")
    assert json.loads(made.stdout) == {"file": str(key), "key": fingerprint(key.read_bytes())}
    assert plates("key", key).exit_code == 1
    found = plates("pseudonym", "--key", key, "皖A·16552").stdout.strip()
    assert found == pseudonym_of(key.read_bytes(), "皖A16552")

    assert plates("add", "--key", key, file, "皖A16552").exit_code == 2  # of which kind?
    assert not file.exists()
    added = plates("add", "--key", key, file, "皖A16552", "--label", '3-2 "502"', "--list", "allow", "--lang", "en")
    assert (added.exit_code, added.stdout) == (0, f"{found} added; 1 entries\n")
    assert "16552" not in file.read_text()
    replaced = plates("add", "--key", key, file, "皖a16552", "--until", "2026-12-31", "--json")
    assert json.loads(replaced.stdout) == {"plate": found, "replaced": True, "entries": 1}
    assert plates("add", "--key", key, file, "粤BD12345", "--list", "deny").exit_code == 1
    assert plates("add", "--key", key, file, "粤BD12345", "--until", "soon").exit_code == 2
    assert plates("add", "--key", key, file, "粤BD12345").exit_code == 0

    shown = json.loads(plates("list", "--key", key, file, "--json").stdout)
    assert shown["entries"][0] == {"plate": found, "until": "2026-12-31"}
    assert len(plates("list", "--key", key, file).stdout.splitlines()) == 2
    assert plates("list", "--key", key, file, "--plate", "粤BD12345").exit_code == 0
    assert plates("list", "--key", key, file, "--plate", "粤BD12346").exit_code == 1

    assert plates("remove", "--key", key, file, "粤BD12345").exit_code == 0
    assert plates("remove", "--key", key, file, "粤BD12345").exit_code == 1
    assert plates("remove", "--key", key, file, found).exit_code == 0
    assert read_list(file, key.read_bytes())[0] is not None

    other = tmp_path / "other.key"
    plates("key", other)
    wrong = plates("list", "--key", other, file, "--lang", "zh")
    assert wrong.exit_code == 78
    assert "另一密钥" in wrong.stdout
    assert plates("list", "--key", tmp_path / "none", file).exit_code == 78
    assert plates("pseudonym", "--key", key, "_无_").exit_code == 2
