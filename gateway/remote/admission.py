"""Whether a configuration from afar may be tried: everything that can be known before anything is touched.

A signature proves who wrote it, not that it is right; and even its author may not move this gateway to another
identity, another store or other keys, or have it send files of this machine to a broker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.config import faults as config_faults
from gateway.config.load import SITE_BYTES, Configuration, examine
from gateway.config.yaml12 import Document, Steps, read_yaml
from gateway.model import Text
from gateway.remote.desired import Desired, digest_of
from gateway.remote.record import Fate, Fault, Outcome, Record
from gateway.remote.versions import read_files

MOST_FAULTS = 50
"""In a message; whoever mends fifty sends it again and sees the rest."""


@dataclass(frozen=True, slots=True)
class Local:
    """What of the local configuration binds every other: who we are, where the store is, whose keys count."""

    directory: Path
    site: str
    gateway: str
    store: Path
    digest: str
    named_files: frozenset[Path]
    """Certificates, keys and passwords that it names."""
    keys: Any
    """``remote.keys`` as it stands in site.yaml."""

    @classmethod
    def of(cls, configuration: Configuration) -> Local:
        """Raises OSError."""
        directory = configuration.directory
        named = frozenset(_real(directory, file) for _, file in _named_files(configuration))
        digest = digest_of(read_files(directory))
        site, gateway = configuration.site.id, configuration.gateway.id
        return cls(directory, site, gateway, configuration.store.path, digest, named, _keys_in(directory))


@dataclass(frozen=True, slots=True)
class Refusal:
    code: str
    reason: Text
    faults: tuple[Fault, ...] = ()


def refusal_of_version(record: Record, desired: Desired) -> Refusal | Outcome | None:
    """Outcome: this very document has been dealt with, and that became of it."""
    if desired.version > record.highest:
        return None
    known = [each for each in record.history if (each.version, each.digest) == (desired.version, desired.digest)]
    tried = [each for each in known if each.fate is not Fate.REJECTED]
    if tried:
        return tried[-1]
    return Refusal(
        "version",
        Text(
            f"版本 {desired.version} 不新于已试用过的 {record.highest}",
            f"version {desired.version} is not newer than {record.highest}, which was tried before",
        ),
    )


def refusal_of_files(staged: Path, local: Local, uplink: str) -> Refusal | None:
    """*staged*: the files.  *uplink*: over which they came; empty for none.  Blocks: it reads and checks everything."""
    configuration, found = examine(staged, local.directory)
    absent = [replace(fault, warning=False) for fault in found if fault.code == "W-FILE"]
    if configuration is None or absent:
        faults = [fault for fault in found if not fault.warning] + absent
        message = Text(f"配置有 {len(faults)} 处错误", f"the configuration has {len(faults)} faults")
        return Refusal("faults", message, tuple(_placed(fault, staged) for fault in faults[:MOST_FAULTS]))
    return _refusal_of_content(configuration, staged, local, uplink)


def _refusal_of_content(configuration: Configuration, staged: Path, local: Local, uplink: str) -> Refusal | None:
    if (configuration.site.id, configuration.gateway.id) != (local.site, local.gateway):
        message = Text(
            f"不能改变身份 {local.site}/{local.gateway}", f"it must stay {local.site}/{local.gateway}: another identity"
        )
        section = "gateway" if configuration.site.id == local.site else "site"
        return _at(staged, (section, "id"), "identity", message)
    if configuration.store.path != local.store:
        message = Text("不能改变存储目录", "the store's directory cannot be changed from afar")
        return _at(staged, ("store", "path"), "store", message)
    if _keys_in(staged) != local.keys:
        message = Text(
            "不能改变 remote.keys：密钥只在本机修改", "remote.keys can only be changed on the gateway itself"
        )
        return _at(staged, ("remote", "keys"), "keys", message)
    if uplink and uplink not in {each.id for each in configuration.uplinks}:
        message = Text(f"缺少送来此配置的上行 {uplink}", f"it lacks {uplink}, the uplink over which it came")
        return _at(staged, ("uplinks",), "uplink", message)
    for steps, file in _named_files(configuration):
        if not _may_be_named(local, file):
            message = Text(
                "只能引用本机配置目录中或本机配置已引用的文件",
                "only files in the local configuration's directory, or named by it, can be referred to from afar",
            )
            return _at(staged, steps, "file", message)
    return None


def _may_be_named(local: Local, file: Path) -> bool:
    """Else a document could have /etc/shadow sent somewhere as a password."""
    real = _real(local.directory, file)
    return real in local.named_files or real.is_relative_to(os.path.realpath(local.directory))


def _named_files(configuration: Configuration) -> Iterator[tuple[Steps, Path]]:
    for index, uplink in enumerate(configuration.uplinks):
        yield from _paths_in(uplink, ("uplinks", index))


def _paths_in(model: BaseModel, steps: Steps) -> Iterator[tuple[Steps, Path]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, Path):
            yield (*steps, name), value
        elif isinstance(value, BaseModel):
            yield from _paths_in(value, (*steps, name))


def _real(directory: Path, file: Path) -> Path:
    return Path(os.path.realpath(directory / file))


def _keys_in(directory: Path) -> Any:
    """``remote.keys`` of site.yaml.  A large file takes seconds to parse, so one without the word is not parsed."""
    if b"remote" not in (directory / "site.yaml").read_bytes():
        return None
    document = _site_file(directory)
    remote = document.data.get("remote") if isinstance(document.data, Mapping) else None
    return remote.get("keys") if isinstance(remote, Mapping) else None


def _at(directory: Path, steps: Steps, code: str, message: Text) -> Refusal:
    document = _site_file(directory)
    fault = document.fault(document.known(steps), "E-REMOTE", message)
    return Refusal(code, message, (_placed(fault, directory),))


def _site_file(directory: Path) -> Document:
    return read_yaml(directory / "site.yaml", "site.yaml", limit_bytes=SITE_BYTES)[0]


def _placed(fault: config_faults.Fault, staged: Path) -> Fault:
    file = fault.file.removeprefix(f"{staged}/")
    return Fault(file, fault.line, fault.column, fault.code, fault.message, fault.hint)
