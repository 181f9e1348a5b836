"""The demonstration's own parts, and one short real one with the broker that needs nothing but Python."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import demo as cli
from gateway.cli.common import Shell
from gateway.cli.simulate import command as simulate
from gateway.config.load import load
from gateway.model import Text
from gateway.sim import demo
from gateway.sim.broker import AMQTT
from gateway.sim.scenarios import NOT_YET, SCENARIOS, Act, Scenario, Stage
from gateway.sim.summary import Snapshot
from gateway.sim.systems.town import Town
from gateway.sim.world import Layout

OUTCOME = demo.Outcome("quiet", 131, 100, 10, 1, 0)
CONTRACT_NAMES = {
    *("quiet", "gas_leak", "fire", "lift_entrapment", "pipe_burst", "fire_lane"),
    *("ebike_in_lift", "storm", "broker_outage", "dead_bus"),
}


def test_every_scenario_of_the_contract_works_or_says_that_it_does_not() -> None:
    assert SCENARIOS.keys() | NOT_YET >= CONTRACT_NAMES >= NOT_YET
    assert not SCENARIOS.keys() & NOT_YET


@pytest.mark.parametrize("name", [*sorted(NOT_YET), "nonsense"])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_scenario_that_is_not_there_is_refused(name: str, lang: str) -> None:
    result = CliRunner().invoke(cli.command, ["--scenario", name, "--lang", lang, "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    expected = {
        ("zh", True): "在此版本中不可用",
        ("en", True): "not available in this version",
        ("zh", False): "没有情景",
        ("en", False): "there is no scenario",
    }
    assert expected[lang, name in NOT_YET] in result.stderr
    assert all(known in result.stderr for known in SCENARIOS)


def test_a_directory_with_something_in_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    result = CliRunner().invoke(cli.command, ["--keep", str(tmp_path), "--lang", "en"])
    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_document_is_the_contracts() -> None:
    assert list(OUTCOME.document()) == [
        *("scenario", "devices", "readings_committed", "envelopes_acknowledged", "alarms_raised", "lost")
    ]


def test_the_acts_of_a_scenario_come_in_order() -> None:
    for scenario in SCENARIOS.values():
        times = [act.at_s for act in scenario.acts]
        assert times == sorted(times)


def test_elsewhere_than_on_a_terminal_lines_are_appended(capsys: pytest.CaptureFixture[str]) -> None:
    screen = cli.Screen(Shell(Path(), json=False, lang="en"))
    quiet = Snapshot(0.0, None, 5, 0, 0, 0.0, 0, (), (), 0, True, Text("安静", "all quiet"))
    for second in range(12):
        note = Text("漏气", "gas leaks") if second >= 7 else quiet.note
        screen.update(replace(quiet, elapsed_s=float(second), note=note))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s")[0].strip() for line in lines] == ["0", "0", "5", "7", "10"]
    assert lines[0].endswith("-- all quiet")
    assert lines[3].endswith("-- gas leaks")
    assert "\x1b" not in "".join(lines)


def test_with_json_nothing_but_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(Path(), json=True, lang="zh")
    screen = cli.Screen(shell)
    screen.started(demo.Facts(Path(), Path(), Path(), Path(), "amqtt", "3.1.1", 1, "root", 5))
    screen.update(Snapshot(0.0, None, 5, 0, 0, 0.0, 0, (), (), 0, True, Text("", "")))
    screen.ending()
    cli.report(shell, OUTCOME, None)
    assert json.loads(capsys.readouterr().out) == OUTCOME.document()


class Silent:
    """A show without spectators that remembers."""

    def __init__(self) -> None:
        self.facts: list[demo.Facts] = []
        self.snapshots: list[Snapshot] = []

    def started(self, facts: demo.Facts) -> None:
        self.facts.append(facts)

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def ending(self) -> None:
        pass


@pytest.mark.system
def test_the_demonstration_needs_nothing_but_python(tmp_path: Path) -> None:
    """amqtt speaks MQTT 3.1.1 and keeps all in memory: killed and started again, nothing may be lost all the same."""

    towns: list[Town] = []

    async def outage(stage: Stage) -> None:
        towns.append(stage.town)
        await stage.lose_broker()
        await stage.town.lifts.ebike()
        await stage.leak_gas(0, peak_lel=30, rise_s=0.5, hold_s=60, fall_s=1)

    scenario = Scenario(
        "short_outage",
        Text("", ""),
        (Act(1.0, Text("", ""), outage), Act(3.0, Text("", ""), lambda stage: stage.return_broker())),
    )
    show = Silent()
    program = demo.Program(scenario, Layout(1, 1, 2), 5.0, tmp_path / "kept", AMQTT)
    outcome = asyncio.run(demo.give(program, show, asyncio.Event()))
    assert outcome.faults == ()
    assert outcome.lost == 0
    assert outcome.devices == len(load(tmp_path / "kept" / "config").devices) > 2 + 2 + 1 + 1 + 2
    assert outcome.readings_committed > 50
    assert outcome.envelopes_acknowledged > 5
    assert outcome.alarms_raised == 2, "gas, and an e-bike in the lift"
    assert towns[0].lifts.door_held, "what the rule has sent"
    assert towns[0].lifts.announced == 1
    assert any(snapshot.connected is False for snapshot in show.snapshots)
    assert show.facts[0].page.startswith("http://127.0.0.1:"), show.facts[0].no_page
    assert (tmp_path / "kept" / "config" / "site.yaml").exists()
    log = (tmp_path / "kept" / "gateway.log").read_text()
    assert "Traceback" not in log
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path) not in line.read_text(), "an orphan"
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.mark.system
def test_what_rules_say_is_announced_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A red warning, water below ground and a car in the fire lane, all at once; it ends as soon as all have been
    told."""
    town = Town()
    monkeypatch.setattr(demo, "Town", lambda radio: town)
    stop, told = asyncio.Event(), ("red", "sump", "lane", "cabinet")

    class Watching(Silent):
        def update(self, snapshot: Snapshot) -> None:
            super().update(snapshot)
            if len(snapshot.alarms) >= len(told) and town.signs.announced() and town.signs.shown():
                stop.set()

    async def everything(stage: Stage) -> None:
        stage.town.weather.rainstorm("red")
        stage.town.weather.rain(cm_a_s=20.0)
        stage.town.power.mains_fail()
        await stage.town.gate.block_fire_lane()

    show = Watching()
    program = demo.Program(
        Scenario("everything", Text("", ""), (Act(0.0, Text("", ""), everything),)), Layout(1, 1, 1), 120.0, tmp_path
    )
    outcome = asyncio.run(demo.give(program, show, stop))
    assert (outcome.faults, outcome.lost) == ((), 0)
    alarms = [alarm.message.en for alarm in show.snapshots[-1].alarms]
    assert len(alarms) == outcome.alarms_raised == len(told), alarms
    assert [said.split("。")[0] for said in town.signs.announced()] == ["暴雨红色预警"]
    assert town.signs.shown() == "消防通道 禁止停车"


def test_what_is_left_out_is_said_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    install = "pip install 'compound-gateway[field]'"
    nowhere = Path("/nowhere")
    facts = demo.Facts(
        nowhere, nowhere, nowhere, nowhere, "amqtt", "5", 1, "t", 9, left_out={"gate": install, "power": install}
    )
    cli.Screen(Shell(Path(), json=False, lang="en")).started(facts)
    assert f"without gate, power: {install}" in capsys.readouterr().out


def test_the_compound_alone_says_where_everything_is(tmp_path: Path) -> None:
    """In a child, because it lives until it is told to stop."""

    async def scenario() -> str:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli.main", "simulate", "compound", "--dir", str(tmp_path), "--json"),
            *("--buildings", "1", "--entrances", "1", "--households", "1", "--broker", "127.0.0.1:1883"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        line = await child.stdout.readline()
        child.terminate()
        assert await child.wait() == 0
        return line.decode()

    said = json.loads(asyncio.run(scenario()))
    assert said["devices"] == 6
    assert said["config"] == str(tmp_path)
    assert re.fullmatch(r"/dev/pts/\d+", said["lines"]["rs485-1-1"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", said["lines"]["tcp-pumps"])
    assert (tmp_path / "site.yaml").exists()


def test_a_broker_without_a_port_is_refused() -> None:
    result = CliRunner().invoke(simulate, ["compound", "--broker", "somewhere", "--lang", "en"])
    assert result.exit_code == 2
    assert "not HOST:PORT" in result.stderr
