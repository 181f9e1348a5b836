"""gateway plates: the lists of vehicles, which never hold a plate.  Needs no daemon."""

from __future__ import annotations

from pathlib import Path

import click
from pydantic import ValidationError

from gateway.cli.common import CONFIG_INVALID, FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.config.faults import quoted, render
from gateway.errors import ConfigError
from gateway.vehicles.lists import MOST_ENTRIES, ListEntry, ListFile
from gateway.vehicles.load import read_list, write_list
from gateway.vehicles.pseudonym import fingerprint, new_key, pseudonym_of, read_key

_key = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    required=True,
    help="密钥文件（gateway plates key 生成）/ the key file that gateway plates key has made",
)


@click.group(help="车辆名单：只存化名，不存车牌 / Lists of vehicles: pseudonyms, never plates")
def command() -> None:
    pass


@command.command("key", help="生成密钥 / Make the site's key: 32 random bytes, readable by the owner only")
@click.argument("file", type=click.Path(path_type=Path))
@command_options
def make_key(shell: Shell, file: Path) -> None:
    try:
        key = new_key(file)
    except FileExistsError:
        shell.complain(
            f"{file} 已存在；换密钥会使所有名单失效，请先移走旧文件",
            f"{file} exists; another key makes all lists worthless: move the old one away first",
        )
        shell.stop(FOUND_WRONG)
    except OSError as exc:
        shell.complain(f"写不了 {file}：{exc.strerror}", f"cannot write {file}: {exc.strerror}")
        shell.stop(FOUND_WRONG)
    shell.say(f"密钥 {fingerprint(key)} 已写入 {file}；请备份", f"key {fingerprint(key)} written to {file}; back it up")
    if shell.json:
        shell.document({"file": str(file), "key": fingerprint(key)})
    shell.stop(FINE)


@command.command(help="车牌对应的化名 / The pseudonyms of plates")
@_key
@click.argument("plates", nargs=-1, required=True)
@command_options
def pseudonym(shell: Shell, key_file: Path, plates: tuple[str, ...]) -> None:
    key = _read_key(shell, key_file)
    for plate in plates:
        found = _of(shell, key, plate)
        if shell.json:
            shell.document({"plate": found})
        else:
            print(found)
    shell.stop(FINE)


@command.command(help="登记车牌；文件不存在则新建 / Put a plate on a list; a list that is not there is begun")
@_key
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("plate")
@click.option("--label", default="", help="给人看的说明 / for people: 3-2-502")
@click.option("--from", "since", default=None, help='起 / "2026-01-01"')
@click.option("--until", default=None, help='止，含当日 / "2026-12-31", that day included')
@click.option("--list", "word", type=click.Choice(["allow", "visitor", "deny"]), help="新名单的种类 / of a new list")
@command_options
def add(
    shell: Shell,
    key_file: Path,
    file: Path,
    plate: str,
    label: str,
    since: str | None,
    until: str | None,
    word: str | None,
) -> None:
    key = _read_key(shell, key_file)
    found = _of(shell, key, plate)
    current = _begun(shell, file, key, word)
    if word is not None and word != current.word:
        shell.complain(f"{file} 是 {current.word} 名单", f"{file} is a list of {current.word}")
        shell.stop(FOUND_WRONG)
    others = [entry for entry in current.entries if entry.plate != found]
    if len(others) >= MOST_ENTRIES:
        shell.complain(f"名单已满：{MOST_ENTRIES} 条", f"the list is full: {MOST_ENTRIES} entries")
        shell.stop(FOUND_WRONG)
    try:
        entry = ListEntry(plate=found, label=label, since=since, until=until)
    except ValidationError as exc:
        why = "; ".join(str(error["msg"]).removeprefix("Value error, ") for error in exc.errors(include_input=False))
        shell.complain(why, why)
        shell.stop(USAGE)
    _write(shell, file, current.model_copy(update={"entries": [*others, entry]}))
    replaced = len(others) < len(current.entries)
    zh, en = ("已更新", "replaced") if replaced else ("已登记", "added")
    shell.say(f"{found} {zh}，共 {len(others) + 1} 条", f"{found} {en}; {len(others) + 1} entries")
    if shell.json:
        shell.document({"plate": found, "replaced": replaced, "entries": len(others) + 1})
    shell.stop(FINE)


@command.command(help="从名单删除车牌或化名 / Take a plate, or a pseudonym, off a list")
@_key
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("plate")
@command_options
def remove(shell: Shell, key_file: Path, file: Path, plate: str) -> None:
    key = _read_key(shell, key_file)
    current = _read(shell, file, key)
    named = {entry.plate for entry in current.entries}
    found = plate if plate in named else _of(shell, key, plate)
    if found not in named:
        shell.complain(f"{found} 不在 {file} 中", f"{found} is not in {file}")
        shell.stop(FOUND_WRONG)
    left = [entry for entry in current.entries if entry.plate != found]
    _write(shell, file, current.model_copy(update={"entries": left}))
    shell.say(f"{found} 已删除，剩 {len(left)} 条", f"{found} removed; {len(left)} entries left")
    if shell.json:
        shell.document({"plate": found, "entries": len(left)})
    shell.stop(FINE)


@command.command("list", help="显示名单，或某车牌是否在内 / Show a list, or whether a plate is on it")
@_key
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--plate", default=None, help="只看此车牌 / this one only")
@command_options
def show(shell: Shell, key_file: Path, file: Path, plate: str | None) -> None:
    key = _read_key(shell, key_file)
    current = _read(shell, file, key)
    wanted = None if plate is None else _of(shell, key, plate)
    entries = [entry for entry in current.entries if wanted in (None, entry.plate)]
    if shell.json:
        said = [entry.model_dump(by_alias=True, exclude_defaults=True) for entry in entries]
        shell.document({"list": current.word, "key": current.key, "entries": said})
    for entry in entries if not shell.json else ():
        term = f"{entry.since or ''} .. {entry.until or ''}" if entry.since or entry.until else ""
        print(f"{entry.plate}  {current.word:8}{term:26}{entry.label}".rstrip())
    if wanted is not None and not entries:
        shell.say(f"{wanted} 不在 {file} 中", f"{wanted} is not in {file}")
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


def _of(shell: Shell, key: bytes, plate: str) -> str:
    found = pseudonym_of(key, plate)
    if found is None:
        shell.complain(f"{quoted(plate)} 不是车牌", f"{quoted(plate)} is no plate")
        shell.stop(USAGE)
    return found


def _read_key(shell: Shell, key_file: Path) -> bytes:
    try:
        return read_key(key_file)
    except ConfigError as exc:
        shell.complain(exc.advice(), exc.advice())
        shell.stop(CONFIG_INVALID)


def _begun(shell: Shell, file: Path, key: bytes, word: str | None) -> ListFile:
    if file.exists():
        return _read(shell, file, key)
    if word is None:
        shell.complain(
            f"{file} 不存在；新建名单请加 --list allow|visitor|deny",
            f"{file} is not there; to begin a list say --list allow|visitor|deny",
        )
        shell.stop(USAGE)
    return ListFile.model_validate({"format": "plates/1", "list": word, "key": fingerprint(key)})


def _read(shell: Shell, file: Path, key: bytes) -> ListFile:
    found, faults = read_list(file, key)
    if found is None:
        for fault in faults:
            print(render(fault, shell.lang))
        shell.stop(CONFIG_INVALID)
    return found


def _write(shell: Shell, file: Path, found: ListFile) -> None:
    try:
        write_list(file, found)
    except OSError as exc:
        shell.complain(f"写不了 {file}：{exc.strerror}", f"cannot write {file}: {exc.strerror}")
        shell.stop(FOUND_WRONG)
