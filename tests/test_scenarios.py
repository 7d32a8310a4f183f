"""Scenarios: the named ones keep every promise, and a file is read strictly."""

import json

import pytest

from orch.cli import main
from orch.errors import InvalidInput
from orch.lab.scenarios import SCENARIOS, scenario_of, shipped_names
from orch.simulator import Exponential, Load, Poisson, Workers, load_scenario, parse_scenario

PLAIN = """\
workers:
  - {count: 2}
load:
  - arrivals: {poisson: {rate: 2}}
    service: {exponential: {mean: 0.5}}
jobs: 40
"""


@pytest.mark.promise("Q1", "Q2", "Q4", "Q5", "Q6")
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_named_scenario_says_what_it_shows_and_keeps_every_promise(name):
    scenario = scenario_of(name)
    assert scenario.about.endswith(".")
    result = scenario.play(history=True)
    assert result.verdict().valid
    assert len({*result.little()}) == 1


@pytest.mark.parametrize("name", shipped_names())
def test_scenarios_that_come_as_files_can_be_read(name):
    assert scenario_of(name).load


def test_a_file_says_what_the_values_in_python_say(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(PLAIN)
    scenario = load_scenario(path)
    assert scenario.workers == (Workers(2),)
    assert scenario.load == (Load(arrivals=Poisson(2), service=Exponential(0.5)),)
    assert scenario_of(str(path)) == scenario


def test_every_kind_of_arrivals_times_and_faults_can_be_written():
    scenario = parse_scenario(
        """\
workers: [{count: 1, latency_s: {fixed: {seconds: 0.1}}}]
load:
  - {arrivals: {every: {seconds: 1}}, service: {lognormal: {mean: 1}}, failing: [[1, 2]]}
  - {arrivals: {bursts: {size: 2, every_s: 9}}, service: {data: {seconds: [1, 2]}}}
  - {arrivals: {diurnal: {low: 1, high: 2}}, service: 3}
  - {arrivals: {trace: {seconds: [0, 1]}}, service: 1}
faults: {outages: [[1, 2]], pause_every_s: 9, pause_s: {exponential: {mean: 1}}}
"""
    )
    assert len(scenario.load) == 4
    assert scenario.faults.outages == ((1.0, 2.0),)


def test_all_faults_of_a_file_are_told_at_once_with_line_and_key():
    text = """\
wrokers: []
workers:
  - {count: x, slots: 2, bogus: 1}
load:
  - arrivals: {poison: {rate: 5}}
    service: {exponential: {mean: -0.3}}
  - service: 3
  - {arrivals: {poisson: {rate: 1}, every: {seconds: 1}}, service: 1, failing: [1]}
jobs: -1
"""
    with pytest.raises(InvalidInput) as told:
        parse_scenario(text, "night.yaml")
    lines = str(told.value).splitlines()
    expected = [
        "night.yaml:1:1 wrokers: unknown key (did you mean 'workers'?)",
        "night.yaml:3:13 workers[0].count: workers must be a whole number, got 'x'",
        "night.yaml:3:26 workers[0].bogus: unknown key",
        "night.yaml:5:15 load[0].arrivals: expected one of",
        "night.yaml:5:16 load[0].arrivals.poison: unknown key (did you mean 'poisson'?)",
        "night.yaml:6:35 load[0].service.exponential.mean: mean must be more than 0",
        "night.yaml:7:5 load[1].arrivals: missing",
        "night.yaml:8:16 load[2].arrivals: expected one of",
        "night.yaml:8:80 load[2].failing: expected a list of pairs of seconds",
        "night.yaml:9:7 jobs: jobs must be between 0",
    ]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


@pytest.mark.parametrize("text", ["", "[]", "workers: []\nload: []\n", "a: &a [*a]\n"])
def test_a_file_that_is_no_scenario_is_refused(text):
    with pytest.raises(InvalidInput):
        parse_scenario(text)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="did you mean 'steady'"):
        scenario_of("stead")
    with pytest.raises(InvalidInput, match="cannot be read"):
        scenario_of("nowhere.yaml")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(PLAIN)
    return str(path)


def test_the_command_prints_a_table(path, capsys):
    assert main(["simulate", path]) == 0
    out = capsys.readouterr().out
    assert "1 replication(s), 40 jobs, 0 failed" in out
    assert "p99" in out


def test_the_command_prints_json_with_intervals_over_replications(path, capsys):
    assert main(["simulate", path, "--json", "--replications", "3", "--seed", "5", "--judge"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in told["runs"]] == [5, 6, 7]
    low, high = told["wait_s_interval"]["p50"]
    assert low <= told["wait_s"]["p50"] <= high
    assert all(verdict["valid"] for verdict in told["verdicts"])


def test_the_command_shows_an_interval_for_people_too(path, capsys):
    assert main(["simulate", path, "--replications", "2"]) == 0
    assert "95% from" in capsys.readouterr().out


def test_the_command_refuses_what_is_no_scenario(path, capsys):
    assert main(["simulate", "stead"]) == 2
    assert main(["simulate", path, "--replications", "0"]) == 2
    assert "replications must be between 1" in capsys.readouterr().err
