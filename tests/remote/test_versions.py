"""The files on disk: whole or not there, whenever the process dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import StoreLocked
from gateway.remote.desired import digest_of
from gateway.remote.record import LOCAL, Record, Version
from gateway.remote.trial import Before
from gateway.remote.versions import KEPT, Versions, read_files

FILES = {"site.yaml": b"format: site/1\n", "rules/a.yaml": b"rules: []\n", "devices/m.yaml": b"id: m\n"}


def version(number: int, files: dict[str, bytes]) -> Version:
    return Version(number, digest_of(files), "ops")


def put(versions: Versions, number: int, files: dict[str, bytes] = FILES) -> Record:
    """As the daemon does it: files, then the record."""
    with versions.staged(files) as staged:
        versions.keep(staged, version(number, files))
    record = versions.record().tried(version(number, files), Before(), "local", 1).confirmed(2)
    versions.save(record)
    return record


def test_a_version_is_what_was_signed_and_nothing_else_is_left(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    assert not versions.used
    assert versions.record() == Record()
    record = put(versions, 7)
    assert versions.used
    assert versions.record() == record
    kept = versions.path(record.running)
    assert (kept.name, read_files(kept)) == (f"7-{digest_of(FILES)[7:19]}", FILES)
    assert versions.intact(record.running)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert (tmp_path / "config").stat().st_mode & 0o077 == 0, "a configuration names what is where"


def test_a_version_that_has_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    record = put(versions, 1)
    (versions.path(record.running) / "rules" / "a.yaml").write_bytes(b"rules: []\n#")
    assert not versions.intact(record.running)
    (versions.path(record.running) / "site.yaml").unlink()
    assert not versions.intact(record.running)
    assert not versions.intact(LOCAL)


def test_what_is_not_kept_is_gone(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    with versions.staged(FILES) as staged:
        assert read_files(staged) == FILES
    assert list(staged.parent.iterdir()) == []


def test_the_last_three_are_kept_the_running_one_and_the_one_before_among_them(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    for number in (1, 2, 3, 10, 11):
        record = put(versions, number)
    versions.tidy(record)
    left = sorted(int(name.partition("-")[0]) for name in os.listdir(tmp_path / "config" / "versions"))
    assert left == [3, 10, 11]
    assert len(left) == KEPT
    versions.tidy(replace(record, running=version(3, FILES), previous=LOCAL))
    (tmp_path / "config" / "versions" / ".new-abc").mkdir()
    put(versions, 12)
    versions.tidy(replace(record, running=version(3, FILES), previous=version(10, FILES)))
    assert sorted(os.listdir(tmp_path / "config" / "versions")) == sorted(
        version(number, FILES).name for number in (3, 10, 12)
    )


def test_a_damaged_record_runs_the_local_configuration_and_takes_no_old_number(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    put(versions, 41)
    (tmp_path / "config" / "record.json").write_bytes(b'{"running": ')
    assert versions.record() == Record(highest=41)


def test_whoever_does_not_hold_the_lock_changes_nothing(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    with versions.locked(), pytest.raises(StoreLocked), versions.locked():
        pass
    with versions.locked():
        pass


_STEPS = ("fsync", "rename", "replace", "mkdir", "open")

_VICTIM = f"""
import json, os, signal, sys
from pathlib import Path
from gateway.remote.desired import digest_of
from gateway.remote.record import Version
from gateway.remote.trial import Before
from gateway.remote.versions import Versions

store, new = Path(sys.argv[1]), {{"site.yaml": b"new", "rules/a.yaml": b"new"}}
reports = []
for deadly in range(1, 200):
    child = os.fork()
    if not child:
        left = [deadly]
        def counted(name, real):
            def call(*arguments, **more):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **more)
            setattr(os, name, call)
        for name in {_STEPS!r}:
            counted(name, getattr(os, name))
        versions, version = Versions(store), Version(deadly + 1000, digest_of(new), "ops")
        with versions.staged(new) as staged:
            versions.keep(staged, version)
        versions.save(versions.record().tried(version, Before(), "local", 1).confirmed(1))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    versions = Versions(store)
    record = versions.record()
    reports.append([deadly, os.WIFSIGNALED(status), record.running.number, versions.intact(record.running)])
    versions.tidy(record)
    if not os.WIFSIGNALED(status):
        break
print(json.dumps(reports))
"""


def test_killed_between_any_two_steps_the_old_one_runs_or_the_new_one_and_it_is_whole(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    put(versions, 1)
    done = subprocess.run(
        (sys.executable, "-c", _VICTIM, str(tmp_path)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    assert len(reports) >= 20, "so many places to die in"
    assert [killed for _, killed, _, _ in reports] == [True] * (len(reports) - 1) + [False]
    running = 1
    changed = []
    for deadly, _, number, intact in reports:
        assert intact, deadly
        assert number in (running, deadly + 1000), deadly
        changed.append(number != running)
        running = number
    assert changed[-1]
    assert sum(changed) <= 3, "only after the last rename"
    assert versions.record().running.number == running


def test_everything_is_on_disk_before_the_record_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut loses what was not synced; kill -9 does not, so the order of the calls is looked at."""
    said: list[tuple[str, str]] = []
    fsync, rename, replace_ = os.fsync, os.rename, os.replace

    def sync(handle: int) -> None:
        said.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}"))))
        fsync(handle)

    def move(source: Path, target: Path) -> None:
        said.append(("rename", target.name))
        rename(source, target)

    def swap(source: Path, target: Path) -> None:
        said.append(("replace", target.name))
        replace_(source, target)

    for name, fake in (("fsync", sync), ("rename", move), ("replace", swap)):
        monkeypatch.setattr(os, name, fake)
    put(Versions(tmp_path), 1)
    renamed, replaced = ([what for what, _ in said].index(each) for each in ("rename", "replace"))
    new = {name for _, name in said[:renamed]}
    assert {"site.yaml", "a.yaml", "m.yaml", "rules", "devices"} < new
    assert any(name.startswith(".new-") for name in new), "the directory itself"
    assert [name for _, name in said[renamed + 1 : replaced]] == [
        "versions",
        "config",
        tmp_path.name,
        "record.json.new",
    ]
    assert said[replaced + 1] == ("sync", "config")
