"""``gateway page`` as it is typed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.page import command
from tests.web.rig import FakeDaemon, get

SITE = """format: site/1
site: {id: s, name: {zh: 小区, en: Compound}}
gateway: {id: gw-1}
store: {path: store}
"""
EVERYWHERE = "0.0.0.0"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    return tmp_path


def typed(config: Path, *options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", "page", "--config", str(config), *options)


@pytest.mark.parametrize(("host", "said"), [(EVERYWHERE, "--expose"), ("::", "--expose"), ("box.lan", "IP")])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_other_machines_are_not_let_in_by_accident(config: Path, host: str, said: str, lang: str) -> None:
    result = CliRunner().invoke(command, ["--config", str(config), "--host", host, "--lang", lang])
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_invalid_configuration_is_78(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("format: site/1\n", encoding="utf-8")
    result = CliRunner().invoke(command, ["--config", str(tmp_path), "--lang", "en"])
    assert result.exit_code == 78
    assert "site.yaml" in result.stderr


@pytest.mark.parametrize(("lang", "words"), [("en", "the port is in use"), ("zh", "端口已被占用")])
def test_a_port_in_use_is_said_clearly(config: Path, lang: str, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            typed(config, "--port", port, "--lang", lang), capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_without_its_parts_it_says_what_to_install(config: Path) -> None:
    program = "import sys; sys.modules['aiohttp'] = None; from gateway.cli.main import main; main()"
    done = subprocess.run(
        (sys.executable, "-c", program, "page", "--config", str(config), "--lang", "en"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'compound-gateway[web]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(config: Path, number: signal.Signals) -> None:
    async def main() -> None:
        fake = FakeDaemon()
        async with fake.running(config / "store"):
            child = await asyncio.create_subprocess_exec(
                *typed(config, "--port", "0", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert child.stdout is not None
            assert child.stderr is not None
            async with asyncio.timeout(60):
                url = json.loads(await child.stdout.readline())["url"]
            host, _, port = url.removeprefix("http://").partition(":")
            assert host == "127.0.0.1"
            found = json.loads((await get(int(port), "/api/status")).body)
            assert (found["daemon"], found["site"]["zh"], found["gateway"]) == ("running", "小区", "gw-1")
            child.send_signal(number)
            async with asyncio.timeout(60):
                rest, complaints = await child.communicate()
            assert (child.returncode, rest) == (0, b"")
            assert b"Traceback" not in complaints

    asyncio.run(main())


def test_whoever_lets_others_in_is_warned_in_both_languages(config: Path) -> None:
    async def main() -> None:
        child = await asyncio.create_subprocess_exec(
            *typed(config, "--port", "0", "--host", EVERYWHERE, "--expose", "--lang", "en"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ) | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert child.stdout is not None
        async with asyncio.timeout(60):
            line = (await child.stdout.readline()).decode()
        port = int(line.split(":")[3].split()[0])
        assert (await get(port, "/", host="box.lan")).status == 200
        child.terminate()
        _, complaints = await child.communicate()
        assert child.returncode == 0
        assert "警告" in complaints.decode()
        assert "no password" in complaints.decode()

    asyncio.run(main())
