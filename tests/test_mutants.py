"""The mutants: which faults are made, that a loop is stopped, and that what kills them is the machine."""

from __future__ import annotations

import ast
import json
import sqlite3 as raw_sqlite
import types
from contextlib import closing

import pytest

from orch import schedule
from orch.errors import InvalidInput
from orch.job import Job
from orch.testing.clock import FakeClock
from orch.testing.mutants import edges, files, heaps, sql
from orch.testing.mutants.__main__ import main, text
from orch.testing.mutants.engine import Mutant, Score, Target, module_of, python_mutants, score
from orch.testing.mutants.equivalent import EQUIVALENT
from orch.testing.mutants.operators import functions, sites
from orch.testing.mutants.queues import FileStore, sqlite
from orch.testing.mutants.targets import TARGETS, target
from orch.testing.mutants.transplant import transplanted
from orch.testing.mutants.workers import cases_of, sections_of
from orch.testing.stores import memory_store

SOURCE = '''
"""A queue of numbers."""

def put(line, n):
    """Append it."""
    if n <= 3 and n is not None:
        line.append(n + 1)
    else:
        raise ValueError(f"{n + 1} is more than {3}")
    return line

class Inner:
    def spin(self, n: "x <= y" = 1):
        while n > 0:
            n -= 1
        return max(n, 2)

def left(n):
    return n == 5
'''


def none(_):
    pass


def mutants(source=SOURCE, scope=lambda name: name != "left", left=lambda text: False):
    return list(python_mutants("toy", source, "toy.py", "toys", scope, left, none))


def faults(body, operator=None):
    source = "def f(a, b, c):\n" + "\n".join(f"    {line}" for line in body.splitlines())
    found = mutants(source)
    return [mutant.after for mutant in found if operator is None or mutant.operator == operator]


@pytest.mark.parametrize(
    ("body", "operator", "instead"),
    [
        ("return a < b", "comparison", ["a <= b", "a >= b"]),
        ("return a <= b < c", "comparison", ["a < b < c", "a > b < c", "a <= b <= c", "a <= b >= c"]),
        ("return a is b", "comparison", ["a is not b"]),
        ("return a + b", "arithmetic", ["a - b"]),
        ("return a and b or c", "and/or", ["(a and b) and c", "a or b"]),
        ("return not a", "not dropped", ["a"]),
        ("return -a", "sign dropped", ["a"]),
        ("a = b if c else 5", "always the first", ["b"]),
        ("return 2", "constant", ["3", "1"]),
        ("return True", "constant", ["False"]),
        ("return 1.5", "constant", ["2.5"]),
        ("if a:\n    b = 1", "if True", ["True"]),
        ("if a:\n    b = 1", "if False", ["False"]),
        ("while a:\n    b = 1", "if True", []),
        ("a(b)", "statement deleted", ["pass"]),
        ("a(b)", "every third time not done", ["if _third():; pass; else:; a(b)"]),
        ("a.settle(b)", "done twice", ["if True:; a.settle(b); a.settle(b)"]),
        ("a.b = c", "assignment deleted", ["pass"]),
        ("a = c", "assignment deleted", []),
        ("raise a", "exception swallowed", ["pass"]),
        ("for a in b:\n    break", "continue for break", ["continue"]),
        ("return a", "returns None", ["return None"]),
        ("return False", "returns None", []),
        ("a.append(b)", "other end", ["a.insert(0, b)"]),
        ("a.popleft()", "other end", ["a.pop()"]),
        ("a.pop()", "other end", ["a.pop(0)"]),
        ("heappop(a)", "other end", ["_pop_last(a)"]),
        ("return min(a, b)", "other end", ["max(a, b)"]),
        ("return min(a, b)", "arguments swapped", []),
        ("return f(a, b)", "arguments swapped", ["f(b, a)"]),
        ("return f(a, b=b)", "argument dropped", ["f(a)"]),
        ("return zip(a, strict=True)", "argument dropped", []),
        ("return a.copy()", "no copy", ["a"]),
        ("return a.ticket", "wrong field", ["a.seq"]),
        ("return Event.FAIL", "another event", ["Event.RETRY"]),
        ("return f'{a + b}'", "arithmetic", []),
        ("a: b < c = 5", "comparison", []),
    ],
)
def test_a_fault_of_each_kind_is_made(body, operator, instead):
    assert faults(body, operator) == instead


def test_docstrings_messages_and_what_is_out_of_scope_are_left_alone():
    found = mutants()
    assert {mutant.function for mutant in found} == {"put", "Inner.spin"}
    assert not [mutant for mutant in found if "more than" in mutant.before and mutant.operator != "exception swallowed"]
    assert mutants(left=lambda text: True) == []


def test_functions_have_their_qualified_names():
    assert [name for name, _ in functions(ast.parse(SOURCE).body, "")] == ["put", "Inner.spin", "left"]


def test_a_mutant_is_a_module_of_its_own_and_the_tree_is_whole_again():
    before = ast.unparse(ast.parse(SOURCE))
    tree = ast.parse(SOURCE)
    for site in list(sites(tree, lambda name: True, lambda text: False)):
        old = site.put(site.new)
        assert ast.unparse(tree) != before, site
        site.put(old)
        assert ast.unparse(tree) == before
    made = next(mutant for mutant in mutants() if mutant.after == "n < 3").make()
    assert made.put([], 3 - 1) == [3]
    with pytest.raises(ValueError, match="more than"):
        made.put([], 3)


def test_equal_faults_of_a_function_have_keys_of_their_own():
    found = mutants("def f():\n    g(1)\n    g(1)\n")
    keys = [mutant.key for mutant in found]
    assert len(set(keys)) == len(keys)
    assert "f: constant: 1 => 2 #2" in keys


STATEMENT = "SELECT a\nFROM job INDEXED BY job_ready\nWHERE s = 0 AND due <= ?\nORDER BY p DESC, t\nLIMIT ?"


def test_statements_lose_orders_conditions_and_limits():
    found = {mutant: operator for operator, mutant in sql.mutants(STATEMENT)}
    plain = STATEMENT.replace(" INDEXED BY job_ready", "")
    for old, new in (
        ("s = 0", "(s = 0 OR 1)"),
        ("due <= ?", "due < ?"),
        ("due <= ?", "(due <= ? OR 1)"),
        ("p DESC, t", "t, p DESC"),
        ("p DESC, t", "p DESC, t DESC"),
        ("p DESC, t", "t"),
        ("\nORDER BY p DESC, t", ""),
        ("LIMIT ?", "LIMIT ? + 100000"),
        ("s = 0", "s = 1"),
    ):
        assert plain.replace(old, new) in found, (old, new)
    assert plain not in found
    assert all(mutant.count("?") == 2 for mutant in found)


def test_assignments_are_dropped_and_parameters_stay():
    statement = "UPDATE job\nSET\n    status = 1,\n    ticket = NULLIF(?, '')\nWHERE seq = ?"
    found = [mutant for operator, mutant in sql.mutants(statement) if operator == "assignment dropped"]
    assert [mutant.split("\n")[2:4] for mutant in found] == [
        ["    status = iif(1, status, 1),", "    ticket = NULLIF(?, '')"],
        ["    status = 1,", "    ticket = iif(1, ticket, NULLIF(?, ''))"],
    ]


def toy(check):
    """A target: the toy module, judged by two runs."""

    def runs(module: types.ModuleType):
        for n in range(2):
            check(module, n)
            yield

    original = module_of(compile(SOURCE, "toy.py", "exec"), "toy.py", "toys", none)
    return Target("toy", "toy.py", lambda: iter(mutants()), runs, lambda: original)


def check_all(module, n):
    assert module.put([], n + 2) == [n + 3]
    assert module.Inner().spin(n) == 2
    if n:
        try:
            module.put([], 4)
        except ValueError:
            return
        raise AssertionError("4 was taken")


def test_mutants_are_killed_in_the_run_that_shows_them_and_loops_are_stopped():
    result = score(toy(check_all), [(r"put: condition dropped: .* => n <= 3", "n is a number")])
    assert result.killed + len(result.survivors) + len(result.equivalent) == result.mutants
    assert result.hung >= 1  # n -= 1 deleted
    assert {mutant.operator for mutant, _ in result.equivalent} == {"condition dropped"}
    assert result.median == 1
    assert not result.good  # max(n, 2) and the default of n
    assert "SURVIVED Inner.spin" in text(result)
    assert json.dumps(result.to_dict())


def test_a_target_whose_original_is_killed_is_an_error():
    with pytest.raises(AssertionError, match="always"):
        score(toy(_always))


def _always(module, n):
    raise AssertionError("always")


def test_what_cannot_be_imported_is_no_mutant():
    def broken():
        raise SyntaxError

    target = toy(check_all)
    dead = Mutant("toy", "f", 1, "constant", "1", "2", broken)
    result = score(Target("toy", "toy.py", lambda: iter([dead]), target.runs, target.original))
    assert (result.mutants, result.stillborn) == (0, 1)


def test_a_declaration_that_fits_nothing_is_told():
    result = score(toy(check_all), [("nothing: .*", "")])
    assert result.unused == ["nothing: .*"]
    assert "declared equivalent, and is not: nothing: .*" in text(result)


def test_a_score_is_good_if_enough_was_killed_soon_and_the_rest_explained():
    mutant = Mutant("toy", "f", 1, "constant", "1", "2", lambda: types.ModuleType("toy"))
    assert Score("toy", mutants=100, runs=[1] * 98, equivalent=[(mutant, "")] * 2).good
    assert not Score("toy", mutants=100, runs=[1] * 98, equivalent=[(mutant, "")], survivors=[mutant]).good
    assert not Score("toy", mutants=100, runs=[1] * 96, equivalent=[(mutant, "")] * 4).good
    assert not Score("toy", mutants=100, runs=[9] * 98, equivalent=[(mutant, "")] * 2).good


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_right_queue_passes_what_chance_seldom_reaches(backend, tmp_path):
    store = FileStore(sqlite, tmp_path) if backend == "sqlite" else memory_of_edges
    for check in edges.OF_A_QUEUE:
        check(store(FakeClock()))
    for check in edges.OF_A_CLOCK:
        clock = FakeClock()
        check(clock, store(clock))


@pytest.mark.parametrize("check", files.CHECKS)
def test_the_sqlite_backend_passes_the_checks_of_its_file(check, tmp_path):
    store = FileStore(sqlite, tmp_path)
    check(sqlite, store)
    store.inspect()


@pytest.mark.parametrize("check", heaps.CHECKS)
def test_the_memory_backend_passes_the_checks_of_its_inside(check):
    clock = FakeClock()
    queue = memory_of_edges(clock)
    check(clock, queue)
    heaps.sound(queue)


def test_what_stands_in_a_wrong_place_inside_a_queue_is_named():
    queue = memory_of_edges(FakeClock())
    queue.enqueue(Job.new("d.yaml", id="a"))
    heaps.sound(queue)
    queue._lanes[0].clear()
    with pytest.raises(AssertionError, match="stands once in its lane"):
        heaps.sound(queue)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE job SET ticket = NULL", "a ready job without a ticket"),
        ("UPDATE state SET pending = 2", "a wrong count of pending jobs"),
        ("INSERT INTO gone VALUES (1)", "purged jobs that are still to be removed"),
    ],
)
def test_rows_that_do_not_fit_together_are_named(statement, told, tmp_path):
    store = FileStore(sqlite, tmp_path)
    with closing(store(FakeClock())) as queue:
        queue.enqueue(Job.new("d.yaml", id="a"))
    store.inspect()
    with closing(raw_sqlite.connect(store.path)) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(AssertionError, match=told):
        store.inspect()


def memory_of_edges(clock):
    from orch.backends.memory import MemoryQueue

    return MemoryQueue(clock=clock, lease_s=edges.LEASE_S, max_crashes=edges.MAX_CRASHES)


def test_an_edge_is_found_where_it_is_broken():
    with pytest.raises(AssertionError, match="constructor"):
        edges.edges(memory_store(FakeClock()))


def test_every_declared_equivalent_is_of_a_target_and_has_a_reason():
    for name, declared in EQUIVALENT.items():
        assert name in TARGETS
        for pattern, reason in declared:
            assert pattern
            assert len(reason) > 10


def test_a_part_of_the_memory_backend_is_killed_by_the_machine():
    result = score(target("memory"), EQUIVALENT["memory"], part=(7, 60))
    assert result.survivors == []
    assert result.mutants >= 10


def test_the_command_prints_figures_and_exits_1_for_what_is_not_good(capsys, monkeypatch):
    monkeypatch.setattr("orch.testing.mutants.__main__.target", lambda name: toy(check_all))
    assert main(["toy", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told[0]["target"] == "toy"
    assert told[0]["survivors"]
    assert main(["toy", "--part", "2/2", "--verbose"]) == 1
    printed = capsys.readouterr()
    assert "toy       " in printed.out
    assert "run 1" in printed.err


def told_parts(monkeypatch, capsys, tmp_path, parts):
    monkeypatch.setattr("orch.testing.mutants.__main__.target", lambda name: toy(check_all))
    files = []
    for part in parts:
        main(["toy", "--part", part, "--json"])
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(capsys.readouterr().out)
    return list(map(str, files))


def test_parts_are_joined_to_the_figures_of_the_whole(capsys, monkeypatch, tmp_path):
    files = told_parts(monkeypatch, capsys, tmp_path, ["3/3", "1/3", "2/3"])
    assert main(["--join", *files, "--json"]) == 1
    joined = json.loads(capsys.readouterr().out)[0]
    whole = score(toy(check_all)).to_dict()
    for one in (joined, whole):
        del one["cpu_s"], one["mutants_per_cpu_s"]
        for rows in ("each", "survivors"):
            one[rows].sort(key=lambda row: row["mutant"])
    assert joined == whole
    assert main(["--join", *files]) == 1
    assert "SURVIVED Inner.spin" in capsys.readouterr().out


def test_parts_that_make_no_whole_exit_2_and_are_named(capsys, monkeypatch, tmp_path):
    files = told_parts(monkeypatch, capsys, tmp_path, ["1/3", "3/3"])
    (tmp_path / "none.json").write_text("{}")
    for given, shown in ((files, "got 1/3, 3/3"), ([files[0], files[0]], "got 1/3, 1/3"), ([str(tmp_path)], "--join")):
        with pytest.raises(SystemExit) as caught:
            main(["--join", *given])
        assert caught.value.code == 2
        assert shown in capsys.readouterr().err


def test_what_is_not_mutated_is_shown(capsys):
    assert main(["memory", "--scope"]) == 0
    assert "_wait: waiting threads" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nothing"], ["--part", "3/2"], ["--part", "x"]])
def test_bad_arguments_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_an_unknown_target_names_those_that_exist():
    with pytest.raises(InvalidInput, match="memory"):
        target("nothing")


def test_a_transplanted_mutant_acts_in_the_shipping_module_and_leaves_nothing_behind():
    names = set(vars(schedule))
    faulty = next(
        m for m in target("schedule").mutants() if m.key == "minute_of: arithmetic: moment - _EPOCH => moment + _EPOCH"
    )
    moment = schedule.time_of(5)
    with transplanted(schedule, faulty.make(), none_at_all):
        with pytest.raises(TypeError):
            schedule.minute_of(moment)
        assert "_third" in vars(schedule)
    assert schedule.minute_of(moment) == 5
    assert set(vars(schedule)) == names


def none_at_all():
    pass


def test_the_tests_of_the_steps_kill_a_worker_that_never_reports():
    faulty = next(m for m in target("worker").mutants() if m.key.startswith("report_of: "))
    rounds = sections_of(faulty.make())
    assert len(rounds) > 5
    failed = 0
    for check in rounds:
        try:
            check()
        except Exception:
            failed += 1
    assert failed


def test_a_test_is_done_with_each_combination_of_its_parameters():
    seen = []

    @pytest.mark.parametrize("one", [1, 2])
    @pytest.mark.parametrize(("two", "three"), [("a", "b"), ("c", "d")])
    def case(one, two, three):
        seen.append((one, two, three))

    for act in cases_of(case):
        act()
    assert sorted(seen) == [(1, "a", "b"), (1, "c", "d"), (2, "a", "b"), (2, "c", "d")]


def test_each_mutant_is_told_with_the_run_that_killed_it():
    told = score(toy(check_all)).to_dict()["each"]
    assert {(row["target"], row["function"]) for row in told} == {("toy", "put"), ("toy", "Inner.spin")}
    assert {row["runs"] for row in told} == {None, 1, 2}
    assert all(row["line"] and row["operator"] for row in told)
