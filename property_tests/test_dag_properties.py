"""Graphs, runs and logs against the plainest oracles, over random shapes, timings, crash points and bytes.

The oracles share no code with what they judge: reachability by closure, order by looking at every pair, a log by
splitting it at newlines.
"""

import itertools
import json
import queue
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orch import runner
from orch.dag import DAG, DagFileInvalid, Task, find_faults, merge_payloads, parse_dag, toposort, validate
from orch.errors import CycleDetectedError, ValidationError
from orch.events import append_event, read_newest
from orch.runner import run_dag

WAIT_S = 30  # for what comes at once; so long only when it is broken


# -- strategies --------------------------------------------------------------------------------------------------


@st.composite
def any_graphs(draw):
    """Any dependencies at all, by number: cycles, repeats, dependencies on oneself."""
    n = draw(st.integers(1, 8))
    return draw(st.lists(st.lists(st.integers(0, n - 1), max_size=4), min_size=n, max_size=n))


@st.composite
def acyclic_graphs(draw, most=8):
    """Dependencies on lower numbers only, and the order in which the tasks are declared."""
    n = draw(st.integers(1, most))
    deps = [draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else [] for i in range(n)]
    return deps, draw(st.permutations(range(n)))


def dag_of(deps, declared=None, **more):
    order = range(len(deps)) if declared is None else declared
    return DAG("d", [Task(f"t{i}", f"w{i}", depends_on=[f"t{j}" for j in deps[i]]) for i in order], **more)


def reachable(deps):
    """Oracle: who leads to whom, by closing the relation until nothing is new (Warshall)."""
    n = len(deps)
    leads = [[j in deps[i] for j in range(n)] for i in range(n)]
    for k in range(n):
        for i in range(n):
            for j in range(n):
                leads[i][j] = leads[i][j] or (leads[i][k] and leads[k][j])
    return leads


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


# -- graphs ------------------------------------------------------------------------------------------------------


@given(any_graphs())
@pytest.mark.promise("D2")
def test_a_cycle_is_found_if_and_only_if_a_task_leads_to_itself_and_the_named_one_is_real(deps):
    leads = reachable(deps)
    cyclic = any(leads[i][i] for i in range(len(deps)))
    try:
        validate(dag_of(deps))
    except CycleDetectedError as error:
        assert cyclic
        knots = set()
        for text in str(error).split("; "):
            assert text.startswith("Cycle detected in DAG 'd': ")
            cycle = [int(name[1:]) for name in text.removeprefix("Cycle detected in DAG 'd': ").split(" -> ")]
            assert cycle[0] == cycle[-1]
            assert len(set(cycle)) == len(cycle) - 1
            assert all(then in deps[now] for now, then in itertools.pairwise(cycle))
            knots.add(frozenset(i for i in range(len(deps)) if leads[i][cycle[0]] and leads[cycle[0]][i]))
        assert knots == {
            frozenset(j for j in range(len(deps)) if leads[i][j] and leads[j][i])
            for i in range(len(deps))
            if leads[i][i]
        }, "every knot of tasks is named"
    else:
        assert not cyclic


@given(acyclic_graphs())
@pytest.mark.promise("D1")
def test_the_order_has_every_task_once_after_its_dependencies_and_ties_as_declared(graph):
    deps, declared = graph
    order = [int(task.id[1:]) for task in toposort(dag_of(deps, declared))]
    assert sorted(order) == list(range(len(deps)))
    at = {task: i for i, task in enumerate(order)}
    assert all(at[dep] < at[task] for task in range(len(deps)) for dep in deps[task])
    depth = [0] * len(deps)
    for task in range(len(deps)):
        depth[task] = 1 + max((depth[dep] for dep in deps[task]), default=0)
    first = [task for task in declared if depth[task] == 1]
    assert order[: len(first)] == first


@given(
    st.dictionaries(
        st.sampled_from(["a", "a_", "a__b", "b", "_b"]),
        st.dictionaries(st.sampled_from(["b", "_b", "b__c", "c", "_"]), st.integers()),
    )
)
@pytest.mark.promise("D3")
def test_payloads_are_all_kept_or_refused(upstream):
    names = [f"{task}__{key}" for task, output in upstream.items() for key in output]
    if len(set(names)) < len(names):
        with pytest.raises(ValidationError, match="payload name"):
            merge_payloads(upstream)
    else:
        values = [value for output in upstream.values() for value in output.values()]
        assert list(merge_payloads(upstream).items()) == list(zip(names, values, strict=True))


# -- files -------------------------------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "name: d\n",
                "tasks:\n",
                "- id: a\n",
                "  id: b\n",
                "  workflow_ref: x\n",
                "  depends_on: [a]\n",
                "  params: ",
            ),
            *(
                "{k: 1}\n",
                "&a ",
                "*a",
                "[",
                "]",
                "{",
                "}",
                ": ",
                "- ",
                "\t",
                "\n",
                "  ",
                "<<: ",
                "!!int ",
                "{k: !!int x}",
                "---\n",
                "'",
                '"',
            ),
            *("no", "12:30", "2026-01-01", ".nan", "~", "# c\n", "|\n", "? ", "\0", "é", "\u2028"),
        ]
    ),
    max_size=25,
).map("".join)


@given(
    st.text()
    | st.binary()
    | PIECES
    | st.builds(lambda text: f"name: d\ntasks:\n- id: a\n  workflow_ref: x\n{text}", PIECES)
)
@pytest.mark.promise("D2")
def test_any_text_is_a_dag_or_has_faults_and_nothing_else_happens(text):
    found = find_faults(text)
    if found:
        with pytest.raises(DagFileInvalid) as caught:
            parse_dag(text)
        assert caught.value.faults == found
        assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in found)
    else:
        assert find_faults(yaml.safe_dump(as_data(parse_dag(text)))) == ()


def as_data(dag):
    """What a file of this DAG would hold, every key written."""
    tasks = [
        {name: getattr(task, name) for name in ("id", "workflow_ref", "params", "retries", "depends_on", "timeout_s")}
        for task in dag.tasks
    ]
    return {"name": dag.name, "tenant_id": dag.tenant_id, "max_parallel": dag.max_parallel, "tasks": tasks}


@given(
    st.builds(
        DAG,
        st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=10),
        st.lists(
            st.builds(
                Task,
                st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5),
                st.just("noop"),
                st.dictionaries(st.text(max_size=5), json_values, max_size=3),
                st.none() | st.integers(0, 9),
                st.just([]),
                st.none() | st.floats(0.001, 1e6),
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda task: task.id,
        ),
        max_parallel=st.integers(1, 9),
    )
)
def test_a_dag_that_is_written_as_yaml_is_read_as_it_was(dag):
    text = yaml.safe_dump(as_data(dag))
    assert [str(fault) for fault in find_faults(text)] == []
    assert parse_dag(text) == dag


# -- runs --------------------------------------------------------------------------------------------------------


class Stage:
    """Workflows that wait until a controller lets one of those under way go on, in an order that is drawn."""

    OVER = object()

    def __init__(self, picks):
        self.picks = iter(picks)
        self.arrived = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.inside = set()
        self.peak = 0
        self.over = []  # tasks in the order in which they ended
        self.seen = {}  # task to what was over when it began
        self.controller = threading.Thread(target=self._control)

    def workflow(self, task):
        def run(params):
            gate = threading.Event()
            with self.lock:
                assert task not in self.seen, "each task runs once"
                self.seen[task] = set(self.over)
                self.inside.add(task)
                self.peak = max(self.peak, len(self.inside))
            self.arrived.put(gate)
            assert gate.wait(WAIT_S)
            with self.lock:
                self.inside.remove(task)
                self.over.append(task)
            self.arrived.put(self.OVER)
            return {"sum": 1 + sum(value for key, value in params.items() if key.endswith("__sum"))}

        return run

    def _control(self):
        waiting, going = [], False
        while (gate := self.arrived.get()) is not None:
            if gate is self.OVER:
                going = False
            else:
                waiting.append(gate)
            if waiting and not going:
                waiting.pop(next(self.picks, 0) % len(waiting)).set()
                going = True

    def __enter__(self):
        self.controller.start()
        return self

    def __exit__(self, *_):
        self.arrived.put(None)
        self.controller.join(WAIT_S)


def sums(deps):
    """Oracle of what the tasks of a Stage give."""
    total = []
    for own in deps:
        total.append(1 + sum(total[dep] for dep in set(own)))
    return {f"t{i}": {"sum": value} for i, value in enumerate(total)}


@given(acyclic_graphs(), st.integers(1, 4), st.lists(st.integers(0, 7), max_size=8))
@settings(deadline=None)
@pytest.mark.promise("D1")
def test_tasks_start_after_their_dependencies_and_no_more_than_max_parallel_at_once(graph, parallel, picks):
    deps, declared = graph
    with Stage(picks) as stage, mock.patch.object(runner, "log_events"):
        workflows = {f"w{i}": stage.workflow(i) for i in range(len(deps))}
        result = run_dag(dag_of(deps, declared), max_parallel=parallel, workflows=workflows)
    assert result["task_outputs"] == sums(deps)
    assert all(set(deps[task]) <= stage.seen[task] for task in range(len(deps)))
    assert stage.peak <= parallel


# -- logs --------------------------------------------------------------------------------------------------------


def plainly(data):
    """Oracle: every line that is a JSON object, newest first."""
    found = []
    for line in data.split(b"\n"):
        try:
            value = json.loads(line.decode())
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found[::-1]


lines = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"{}", b'{"a": 1}', b'{"a": "\xff"}', b"5", b"[]", b'{"torn', b'"text"', b""]),
    st.integers(0, 200_000).map(lambda n: b'{"pad": "%s"}' % (b"x" * n)),
)


@given(st.lists(lines, max_size=8).map(b"\n".join), st.integers(0, 9), st.booleans())
@settings(deadline=None)
@pytest.mark.promise("L1", "L2")
def test_the_newest_events_are_those_of_reading_everything(data, limit, append):
    with TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.write_bytes(data)
        expected = plainly(data)
        if append:
            append_event(path, {"new": 1})
            expected.insert(0, {"new": 1})
            assert path.read_bytes().startswith(data)
        assert read_newest(path, limit) == expected[:limit]
