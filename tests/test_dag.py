"""Graphs: what is refused and how it is said, the order of tasks, the names of payloads, and DAG files."""

import os
from pathlib import Path

import pytest

import orch
from orch import dag as dag_module
from orch.dag import (
    DAG,
    DagFileInvalid,
    DagNotFound,
    Fault,
    Task,
    UnknownWorkflow,
    find_faults,
    load_dag,
    load_dag_from_yaml,
    merge_payloads,
    parse_dag,
    payload_clashes,
    resolve_dag_path,
    toposort,
    validate,
)
from orch.errors import CycleDetectedError, InvalidInput, OrchError, RunnerError, ValidationError
from orch.workflows import WORKFLOW_MAP

EXAMPLES = Path(orch.__file__).parent / "examples"


def graph(**deps):
    """A DAG of tasks by name, each with the letters of the tasks that it depends on."""
    return DAG("g", [Task(name, "noop", depends_on=list(on)) for name, on in deps.items()])


def ids(tasks):
    return [task.id for task in tasks]


# -- values ------------------------------------------------------------------------------------------------------


def test_the_seeds_constructors_work():
    task = Task("a", "wf", {"x": 1}, 2, ["b"])
    assert (task.id, task.workflow_ref, task.params, task.retries, task.depends_on) == ("a", "wf", {"x": 1}, 2, ["b"])
    assert (Task("a", "wf").params, Task("a", "wf").depends_on) == ({}, [])
    assert DAG(name="d", tasks=[]).tenant_id == "local-dev"


def test_no_number_of_retries_is_not_the_same_as_none_allowed():
    assert Task("a", "wf").retries is None
    assert Task("a", "wf", retries=0).retries == 0


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"id": ""}, "task id"),
        ({"id": 5}, "task id must be text, got 5"),
        ({"workflow_ref": None}, "workflow_ref must be text, got None"),
        ({"params": [1]}, r"params of task 'a' must be an object .*\[1\]"),
        ({"params": {"x": b"bytes"}}, "must be JSON"),
        ({"params": None}, "must be an object"),
        ({"retries": "2"}, "retries must be a whole number, got '2'"),
        ({"retries": 1.5}, "retries must be a whole number, got 1.5"),
        ({"retries": -1}, "retries must be between 0"),
        ({"retries": True}, "retries"),
        ({"depends_on": "ab"}, "depends_on must be a list of task ids, got 'ab'"),
        ({"depends_on": [1]}, "depends_on must be text, got 1"),
        ({"timeout_s": 0}, "timeout_s must be more than 0"),
        ({"timeout_s": "1"}, "timeout_s must be a number"),
    ],
    ids=str,
)
def test_a_task_refuses_what_it_cannot_be(bad, said):
    with pytest.raises(InvalidInput, match=said):
        Task(**{"id": "a", "workflow_ref": "wf", **bad})


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"name": ""}, "name must be 1 to 200"),
        ({"tasks": "ab"}, "tasks must be a list of Task"),
        ({"tasks": [{"id": "a"}]}, "tasks must be a list of Task"),
        ({"tenant_id": None}, "tenant_id must be text"),
        ({"max_parallel": 0}, "max_parallel must be between 1"),
    ],
    ids=str,
)
def test_a_dag_refuses_what_it_cannot_be(bad, said):
    with pytest.raises(InvalidInput, match=said):
        DAG(**{"name": "d", "tasks": [], **bad})


def test_a_task_keeps_its_own_copy_of_what_it_was_given():
    params, deps = {"list": [1]}, ["b"]
    task = Task("a", "wf", params, depends_on=deps)
    params["list"].append(2)
    deps.append("c")
    assert (task.params, task.depends_on) == ({"list": [1]}, ["b"])


# -- validate ----------------------------------------------------------------------------------------------------


def test_a_sound_dag_is_valid():
    assert validate(graph(a="", b="a", c="ab")) is None


def test_an_empty_dag_is_refused():
    with pytest.raises(ValidationError, match=r"^DAG must have at least one task$"):
        validate(DAG("d", []))


def test_duplicate_ids_are_refused():
    with pytest.raises(ValidationError, match=r"^Duplicate task IDs found: 'a' is task 1 and task 3$"):
        validate(DAG("d", [Task("a", "x"), Task("b", "x"), Task("a", "y")]))


def test_a_missing_dependency_is_refused():
    with pytest.raises(ValidationError, match=r"^Task 'b' depends on non-existent task 'z'$"):
        validate(graph(a="", b="az"))


def test_a_missing_dependency_names_what_may_have_been_meant():
    tasks = [Task("extract", "x"), Task("load", "x", depends_on=["extrat"])]
    with pytest.raises(ValidationError, match=r"non-existent task 'extrat' \(did you mean 'extract'\?\)"):
        validate(DAG("d", tasks))


@pytest.mark.promise("D2")
def test_a_cycle_is_refused_and_named():
    with pytest.raises(CycleDetectedError, match=r"^Cycle detected in DAG 'g': a -> b -> a$"):
        validate(graph(a="b", b="a"))


def test_a_task_that_depends_on_itself_is_a_cycle():
    with pytest.raises(CycleDetectedError, match=r": a -> a$"):
        validate(graph(a="a"))


def test_the_named_cycle_leaves_out_what_is_only_before_or_behind_it():
    with pytest.raises(CycleDetectedError, match=r": c -> d -> e -> c$"):
        validate(graph(a="b", b="c", c="d", d="ez", e="c", z=""))


def test_every_knot_of_tasks_is_named_once():
    with pytest.raises(CycleDetectedError) as caught:
        validate(graph(a="b", b="a", c="d", d="c", e="ac"))
    assert str(caught.value) == "Cycle detected in DAG 'g': a -> b -> a; Cycle detected in DAG 'g': c -> d -> c"


def test_a_long_cycle_is_shortened_in_the_message():
    tasks = [Task(f"t{i}", "x", depends_on=[f"t{(i + 1) % 1_000}"]) for i in range(1_000)]
    with pytest.raises(CycleDetectedError) as caught:
        validate(DAG("d", tasks))
    assert "t8 -> t9 -> ... 986 more ... -> t996" in str(caught.value)
    assert str(caught.value).endswith("t999 -> t0")


def test_ten_cycles_are_named_at_most():
    pairs = {f"{half}{n}": [f"{'b' if half == 'a' else 'a'}{n}"] for n in range(12) for half in "ab"}
    with pytest.raises(CycleDetectedError) as caught:
        validate(DAG("d", [Task(name, "x", depends_on=deps) for name, deps in pairs.items()]))
    assert str(caught.value).count("Cycle detected") == 10


def test_a_cycle_is_not_a_validation_error_as_in_the_seed():
    assert not issubclass(CycleDetectedError, ValidationError)
    assert not issubclass(ValidationError, CycleDetectedError)


def test_a_repeated_dependency_means_the_same_as_one():
    assert ids(toposort(graph(a="", b="aa"))) == ["a", "b"]


@pytest.mark.promise("D2")
def test_all_faults_are_found_at_once_in_the_seeds_order():
    tasks = [
        Task("a", "nope", depends_on=["b", "q"]),
        Task("b", "noop", depends_on=["a"], params={"a__x": 1}),
        Task("a", "noop"),
    ]
    with pytest.raises(ValidationError) as caught:
        validate(DAG("d", tasks), {"noop"})
    said = [part.split(" ")[0] for part in str(caught.value).split("; ")]
    assert said == ["Duplicate", "Task", "Task", "Unknown", "Cycle"]
    assert not isinstance(caught.value, UnknownWorkflow)


def test_unknown_workflows_alone_are_an_error_of_their_own():
    with pytest.raises(UnknownWorkflow, match=r"^Unknown workflow: nop \(did you mean 'noop'\?\) in task 'a'$"):
        validate(DAG("d", [Task("a", "nop"), Task("b", "noop")]), {"noop": 1})
    validate(DAG("d", [Task("a", "nop")]))


def test_many_faults_are_counted():
    tasks = [Task("a", "x", depends_on=[f"z{i}" for i in range(250)])]
    with pytest.raises(ValidationError, match=r"; ... and 150 more$"):
        validate(DAG("d", tasks))


@pytest.mark.promise("D3")
def test_a_param_with_the_name_of_an_upstream_payload_is_refused():
    tasks = [Task("a", "x"), Task("b", "x", {"a__summary": 1}, depends_on=["a"])]
    with pytest.raises(ValidationError, match="'b' has a param 'a__summary', a name kept for the output of 'a'"):
        validate(DAG("d", tasks))
    validate(DAG("d", [Task("a", "x"), Task("b", "x", {"a__summary": 1})]))


def test_payload_clashes_are_names_that_begin_like_a_dependency():
    names = ["a__x", "a__b__x", "a", "a_x", "__x", "b__x", "xa__y"]
    assert payload_clashes(names, ["a__b", "a"]) == [("a__x", "a"), ("a__b__x", "a")]
    assert payload_clashes(["a__b__x"], ["a__b"]) == [("a__b__x", "a__b")]


# -- toposort ----------------------------------------------------------------------------------------------------


def test_dependencies_come_first():
    assert ids(toposort(graph(c="b", b="a", a=""))) == ["a", "b", "c"]


def test_ties_go_by_declaration_first_in_first_out():
    assert ids(toposort(graph(c="a", b="", a="", d="ba"))) == ["b", "a", "c", "d"]


def test_toposort_refuses_what_validate_refuses():
    with pytest.raises(CycleDetectedError):
        toposort(graph(a="b", b="a"))
    with pytest.raises(ValidationError):
        toposort(graph(a="z"))


@pytest.mark.promise("D6")
def test_a_chain_of_a_hundred_thousand_tasks_is_validated_and_sorted():
    n = 100_000
    tasks = [Task("t0", "x"), *(Task(f"t{i}", "x", depends_on=[f"t{i - 1}"]) for i in range(1, n))]
    assert [task.id for task in toposort(DAG("d", tasks[::-1]))] == [f"t{i}" for i in range(n)]


@pytest.mark.promise("D6")
def test_a_cycle_through_a_hundred_thousand_tasks_is_found():
    n = 100_000
    tasks = [Task(f"t{i}", "x", depends_on=[f"t{(i + 1) % n}"]) for i in range(n)]
    with pytest.raises(CycleDetectedError, match="more"):
        validate(DAG("d", tasks))


@pytest.mark.promise("D6")
def test_each_dependency_is_looked_at_a_fixed_number_of_times(monkeypatch):
    looks = []
    real = dag_module._kahn

    class Row(list):
        def __iter__(self):
            looks.append(len(self))
            return super().__iter__()

    monkeypatch.setattr(dag_module, "_kahn", lambda deps_of: real([Row(row) for row in deps_of]))
    dense = [Task(f"t{i}", "x", depends_on=[f"t{j}" for j in range(i)]) for i in range(60)]
    toposort(DAG("d", dense))
    assert sum(looks) == 60 * 59 // 2


# -- payloads ----------------------------------------------------------------------------------------------------


def test_payloads_are_named_by_task_and_key():
    assert merge_payloads({"a": {"x": 1, "y": [2]}, "b": {"x": 3}}) == {"a__x": 1, "a__y": [2], "b__x": 3}
    assert merge_payloads({}) == {}
    assert merge_payloads({"a": {}}) == {}


@pytest.mark.promise("D3")
def test_two_payloads_with_one_name_are_refused():
    with pytest.raises(ValidationError, match="'a__b__c' would be key 'b__c' of task 'a' and key 'c' of task 'a__b'"):
        merge_payloads({"a": {"b__c": 1}, "a__b": {"c": 2}})


# -- files -------------------------------------------------------------------------------------------------------

GOOD = """
name: weekly
tenant_id: acme
max_parallel: 2
tasks:
  - id: extract
    workflow_ref: produce
    params: {rows: 3, nested: [1, {a: null}]}
    retries: 2
    timeout_s: 1.5
  - id: load
    workflow_ref: noop
    params:
    retries: 0
    depends_on: [extract]
"""


def test_a_dag_file_is_read():
    assert parse_dag(GOOD, workflows=WORKFLOW_MAP) == DAG(
        "weekly",
        [
            Task("extract", "produce", {"rows": 3, "nested": [1, {"a": None}]}, 2, [], 1.5),
            Task("load", "noop", {}, 0, ["extract"]),
        ],
        "acme",
        2,
    )
    assert find_faults(GOOD, workflows=WORKFLOW_MAP) == ()


def test_what_a_file_leaves_out_has_the_seeds_defaults():
    dag = parse_dag("name: d\ntasks: [{id: a, workflow_ref: noop}]\n")
    assert dag == DAG("d", [Task("a", "noop")])
    assert (dag.tenant_id, dag.max_parallel, dag.tasks[0].retries) == ("local-dev", 3, None)


MANY = """\
name: no
tenent_id: acme
max_parallel: 0
tasks:
  - id: extract
    workflow_ref: nope
    retrys: 3
    params: {d: 2026-01-01, e: 1}
    params: {}
  - id: 12:30
    workflow_ref: noop
    retries: "2"
    depends_on: extract
  - id: extract
    workflow_ref: noop
    depends_on: [extrct, 7]
    timeout_s: -1
  - id: p
    workflow_ref: noop
    depends_on: [q]
  - id: q
    depends_on: [p, extract]
    params: {extract__x: 1}
"""


@pytest.mark.promise("D2")
def test_all_faults_of_a_file_are_found_at_once_with_their_places():
    found = find_faults(MANY, "etl.yaml", workflows={"noop": None})
    assert [str(fault) for fault in found] == [
        "etl.yaml:1:7 name: expected text, got no, which YAML reads as true or false; if it is text, quote it: 'no'",
        (
            "etl.yaml:2:1 tenent_id: unknown key (did you mean 'tenant_id'?); "
            "the keys are name, tenant_id, max_parallel, tasks"
        ),
        "etl.yaml:3:15 max_parallel: max_parallel must be between 1 and 1000, got 0",
        "etl.yaml:6:19 tasks[0].workflow_ref: Unknown workflow: nope (did you mean 'noop'?) in task 'extract'",
        (
            "etl.yaml:7:5 tasks[0].retrys: unknown key (did you mean 'retries'?); "
            "the keys are id, workflow_ref, params, retries, depends_on, timeout_s"
        ),
        (
            "etl.yaml:8:17 tasks[0].params.d: expected JSON, got 2026-01-01, which YAML reads as a date; "
            "if it is text, quote it: '2026-01-01'"
        ),
        "etl.yaml:9:5 tasks[0].params: duplicate key, first given in line 8",
        (
            "etl.yaml:10:9 tasks[1].id: expected text, got 12:30, which YAML reads as a number; "
            "if it is text, quote it: '12:30'"
        ),
        "etl.yaml:12:14 tasks[1].retries: retries must be a whole number, got '2'",
        "etl.yaml:13:17 tasks[1].depends_on: expected a list of task ids, as [a, b], got 'extract'",
        "etl.yaml:14:9 tasks[2].id: Duplicate task IDs found: 'extract' is task 1 and task 3",
        (
            "etl.yaml:16:17 tasks[2].depends_on: Task 'extract' depends on non-existent task 'extrct' "
            "(did you mean 'extract'?)"
        ),
        (
            "etl.yaml:16:26 tasks[2].depends_on[1]: expected text, got 7, which YAML reads as a number; "
            "if it is text, quote it: '7'"
        ),
        "etl.yaml:17:16 tasks[2].timeout_s: timeout_s must be more than 0 and at most 1e+09, got -1",
        "etl.yaml:20:17 tasks[3].depends_on: Cycle detected in DAG 'no': p -> q -> p",
        "etl.yaml:21:5 tasks[4].workflow_ref: missing",
        (
            "etl.yaml:23:13 tasks[4].params: Task 'q' has a param 'extract__x', a name kept for the output of "
            "'extract': rename it"
        ),
    ]


@pytest.mark.promise("D2")
def test_a_faulty_file_raises_one_error_that_lists_and_holds_its_faults():
    with pytest.raises(ValidationError) as caught:
        parse_dag("name: d\nx: 1\ntasks: [{id: a, workflow_ref: no}]", "f.yaml")
    assert isinstance(caught.value, DagFileInvalid)
    assert [fault.line for fault in caught.value.faults] == [2, 3]
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    assert isinstance(caught.value.faults[0], Fault)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("{id: no, workflow_ref: x}", "tasks[0].id: expected text, got no, which YAML reads as true or false"),
        ("{id: 2026-01-01, workflow_ref: x}", "tasks[0].id: expected text, got 2026-01-01, which YAML reads as a date"),
        ("{id: 5, workflow_ref: x}", "tasks[0].id: expected text, got 5"),
        ("{id: , workflow_ref: x}", "tasks[0].id: expected text, got nothing"),
        ("{id: '', workflow_ref: x}", "tasks[0].id: task id must be 1 to 200 printable characters, got ''"),
        ('{id: "a\\nb", workflow_ref: x}', "tasks[0].id: task id must be 1 to 200 printable characters"),
        ("{id: a, workflow_ref: ~}", "tasks[0].workflow_ref: expected text, got nothing"),
        ("{id: a, workflow_ref: [x]}", "tasks[0].workflow_ref: expected text, got a list"),
        ("{id: a}", "tasks[0].workflow_ref: missing"),
        ("{workflow_ref: x}", "tasks[0].id: missing"),
        ("a", "tasks[0]: expected a mapping with the keys id, workflow_ref, got 'a'"),
        ("{id: a, workflow_ref: x, params: [1]}", "tasks[0].params: expected a mapping, got a list"),
        ("{id: a, workflow_ref: x, params: {n: .nan}}", "tasks[0].params.n: expected JSON, which has no .nan"),
        ("{id: a, workflow_ref: x, params: {1: 2}}", "tasks[0].params.a key: expected text, got 1"),
        ("{id: a, workflow_ref: x, retries: -1}", "tasks[0].retries: retries must be between 0 and"),
        ("{id: a, workflow_ref: x, retries: 1.5}", "tasks[0].retries: retries must be a whole number, got 1.5"),
        ("{id: a, workflow_ref: x, retries: true}", "tasks[0].retries: retries must be a whole number, got True"),
        ("{id: a, workflow_ref: x, depends_on: a}", "tasks[0].depends_on: expected a list of task ids"),
        ("{id: a, workflow_ref: x, depends_on: [b]}", "tasks[0].depends_on: Task 'a' depends on non-existent task 'b'"),
        ("{id: a, workflow_ref: x, depends_on: ['']}", "tasks[0].depends_on[0]: task id must be 1 to 200"),
        ("{id: a, workflow_ref: x, depends_on: [a]}", "tasks[0].depends_on: Cycle detected in DAG 'd': a -> a"),
        ("{id: a, workflow_ref: x, timeout_s: soon}", "tasks[0].timeout_s: timeout_s must be a number, got 'soon'"),
    ],
)
@pytest.mark.promise("D2")
def test_a_faulty_task_is_refused_with_its_key(task, said):
    found = find_faults(f"name: d\ntasks:\n  - {task}\n", "f.yaml")
    assert len(found) == 1
    assert str(found[0]).startswith(f"f.yaml:3:{found[0].column} {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yaml:1:1: expected a document, the file is empty"),
        ("- a", "f.yaml:1:1: expected a mapping with the keys name, tasks, got a list"),
        ("just text", "f.yaml:1:1: expected a mapping with the keys name, tasks, got 'just text'"),
        ("name: d", "f.yaml:1:1 tasks: missing"),
        ("tasks: [{id: a, workflow_ref: x}]", "f.yaml:1:1 name: missing"),
        ("name: d\ntasks: []", "f.yaml:2:8 tasks: DAG must have at least one task"),
        ("name: d\ntasks:", "f.yaml:2:7 tasks: expected a list of tasks, got nothing"),
        ("name: d\ntasks: {a: b}", "f.yaml:2:8 tasks: expected a list of tasks, got a mapping"),
        ("name: d\ntenant_id: 5\ntasks: [{id: a, workflow_ref: x}]", "f.yaml:2:12 tenant_id: expected text, got 5"),
        ("name: d\n\ttasks: []", "f.yaml:2:"),
        (
            "name: d\nname: e\ntasks: [{id: a, workflow_ref: x}]",
            "f.yaml:2:1 name: duplicate key, first given in line 1",
        ),
    ],
)
@pytest.mark.promise("D2")
def test_a_faulty_document_is_refused_with_its_place(text, said):
    found = find_faults(text, "f.yaml")
    assert len(found) == 1
    assert str(found[0]).startswith(said)


def test_a_faulty_id_does_not_make_those_who_name_it_faulty():
    text = "name: d\ntasks:\n- {id: no, workflow_ref: x}\n- {id: b, workflow_ref: x, depends_on: ['no']}\n"
    assert [fault.key for fault in find_faults(text)] == ["tasks[0].id"]


def test_a_task_without_an_id_does_not_make_others_depend_on_nothing():
    text = "name: d\ntasks:\n- {workflow_ref: x}\n- {id: b, workflow_ref: x, depends_on: [a]}\n"
    assert [fault.key for fault in find_faults(text)] == ["tasks[0].id"]


def test_tasks_may_share_values_by_aliases_and_merges():
    text = "name: d\ntasks:\n- &t {id: a, workflow_ref: x, retries: 3, params: &p {k: 1}}\n- {<<: *t, id: b}\n"
    first, second = parse_dag(text).tasks
    assert second == Task("b", "x", {"k": 1}, 3)
    first.params["k"] = 2
    assert second.params == {"k": 1}


# -- where files may be ------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "outside.yaml").write_text(GOOD)
    (tmp_path / "root" / "a.yaml").write_text(GOOD)
    (tmp_path / "root" / "sub" / "b.yaml").write_text(GOOD)
    return tmp_path / "root"


@pytest.mark.promise("D7")
def test_a_path_inside_the_root_is_resolved(root):
    assert resolve_dag_path("a.yaml", root) == root.resolve() / "a.yaml"
    assert resolve_dag_path("sub/../sub/b.yaml", root) == root.resolve() / "sub" / "b.yaml"
    assert resolve_dag_path(root / "a.yaml", root) == root.resolve() / "a.yaml"
    assert load_dag("sub/b.yaml", root).name == "weekly"


@pytest.mark.promise("D7")
@pytest.mark.parametrize("path", ["../outside.yaml", "sub/../../outside.yaml", "/etc/passwd", "..", ".", "../rootless"])
def test_a_path_outside_the_root_is_refused(root, path):
    (root.parent / "rootless").write_text(GOOD)
    with pytest.raises(ValidationError, match="is outside the DAG root"):
        load_dag(path, root)


@pytest.mark.promise("D7")
def test_a_link_that_leaves_the_root_is_refused(root):
    (root / "file.yaml").symlink_to(root.parent / "outside.yaml")
    (root / "folder").symlink_to(root.parent)
    (root / "inside.yaml").symlink_to(root / "a.yaml")
    for path in ("file.yaml", "folder/outside.yaml"):
        with pytest.raises(ValidationError, match="is outside the DAG root"):
            load_dag(path, root)
    assert load_dag("inside.yaml", root).name == "weekly"


def test_the_root_is_that_of_the_environment_or_the_current_folder(root, monkeypatch):
    monkeypatch.delenv("ORCH_DAG_ROOT", raising=False)
    monkeypatch.chdir(root)
    assert load_dag("a.yaml").name == "weekly"
    monkeypatch.setenv("ORCH_DAG_ROOT", str(root / "sub"))
    assert load_dag("b.yaml").name == "weekly"
    with pytest.raises(ValidationError):
        load_dag("../a.yaml")


def test_the_seeds_loader_takes_any_path(root):
    assert load_dag_from_yaml(str(root.parent / "outside.yaml")).tenant_id == "acme"


def test_a_root_may_be_the_root_of_the_file_system(root):
    assert load_dag(root / "a.yaml", "/").name == "weekly"


@pytest.mark.parametrize("path", ["nope.yaml", "nope/a.yaml", "a.yaml/b.yaml", "x" * 5_000], ids=lambda path: path[:12])
def test_a_missing_file_is_an_error_that_another_worker_may_not_have(root, path):
    with pytest.raises(DagNotFound, match="cannot be read") as caught:
        load_dag(path, root)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, RunnerError)
    assert isinstance(caught.value, OrchError)


@pytest.mark.parametrize("path", ["", "a\0b", b"a.yaml"])
def test_a_path_that_is_none_is_refused(root, path):
    with pytest.raises(InvalidInput):
        load_dag(path, root)


@pytest.mark.promise("D7")
def test_what_is_no_regular_file_is_refused_without_opening_it(root):
    os.mkfifo(root / "pipe.yaml")
    for path in ("sub", "pipe.yaml"):
        with pytest.raises(DagFileInvalid, match="expected a regular file"):
            load_dag(path, root)


@pytest.mark.promise("D7")
def test_a_huge_file_is_refused_before_it_is_parsed(root, monkeypatch):
    with (root / "huge.yaml").open("wb") as file:
        file.truncate(10_000_000)
    monkeypatch.setattr(dag_module, "parse_dag", None)
    with pytest.raises(DagFileInvalid, match="expected at most 1048576 bytes, got 10000000"):
        load_dag("huge.yaml", root)


@pytest.mark.promise("D7")
def test_a_yaml_bomb_in_a_file_is_refused(root):
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))]
    (root / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(DagFileInvalid, match="aliases written out"):
        load_dag("bomb.yaml", root)


# -- the memory of parsed files ----------------------------------------------------------------------------------


@pytest.fixture
def parsed(monkeypatch):
    """Counts the files that are parsed; files seem to be old."""
    count = []
    real = dag_module.parse_dag

    def parse(text, file="<dag>", **more):
        count.append(file)
        return real(text, file, **more)

    class Later:
        time_ns = staticmethod(lambda: 4_000_000_000_000_000_000)

    monkeypatch.setattr(dag_module, "parse_dag", parse)
    monkeypatch.setattr(dag_module, "time", Later)
    monkeypatch.setattr(dag_module, "_cache", {})
    return count


def test_a_file_that_did_not_change_is_parsed_once(root, parsed):
    assert load_dag("a.yaml", root) == load_dag("a.yaml", root)
    assert parsed == ["a.yaml"]


def test_a_changed_file_is_parsed_again(root, parsed):
    assert load_dag("a.yaml", root).name == "weekly"
    (root / "a.yaml").write_text(GOOD.replace("weekly", "yearly"))
    assert load_dag("a.yaml", root).name == "yearly"


def test_a_file_that_was_replaced_is_parsed_again(root, parsed):
    load_dag("a.yaml", root)
    (root / "new.yaml").write_text(GOOD.replace("weekly", "yearly"))
    found = (root / "a.yaml").stat()
    os.utime(root / "new.yaml", ns=(found.st_atime_ns, found.st_mtime_ns))
    (root / "new.yaml").rename(root / "a.yaml")
    assert load_dag("a.yaml", root).name == "yearly"


def test_a_file_that_was_just_written_is_not_remembered(root, parsed, monkeypatch):
    stamp = (root / "a.yaml").stat().st_mtime_ns
    monkeypatch.setattr(dag_module.time, "time_ns", lambda: stamp + 1_000_000_000)
    load_dag("a.yaml", root)
    load_dag("a.yaml", root)
    assert len(parsed) == 2


def test_changing_a_loaded_dag_does_not_change_the_next_one(root, parsed):
    load_dag("a.yaml", root).tasks[0].params["rows"] = 99
    load_dag("a.yaml", root).tasks.clear()
    assert load_dag("a.yaml", root).tasks[0].params["rows"] == 3


def test_a_remembered_file_is_still_judged_by_the_workflows_of_the_call(root, parsed):
    load_dag("a.yaml", root, workflows={"produce", "noop"})
    with pytest.raises(DagFileInvalid, match=r"a.yaml:12:19 tasks\[1\].workflow_ref: Unknown workflow: noop"):
        load_dag("a.yaml", root, workflows={"produce"})


@pytest.mark.promise("D2")
def test_a_file_with_other_faults_is_told_of_its_unknown_workflows_too(root):
    (root / "a.yaml").write_text("name: d\ntasks:\n  - id: a\n    workflow_ref: nowhere\n    retrys: 3\n")
    with pytest.raises(DagFileInvalid, match="retrys") as caught:
        load_dag("a.yaml", root, workflows={"noop"})
    assert "Unknown workflow: nowhere" in str(caught.value)
    with pytest.raises(DagFileInvalid) as caught:
        load_dag("a.yaml", root)
    assert "nowhere" not in str(caught.value)


def test_a_removed_file_is_missing_even_if_it_is_remembered(root, parsed):
    load_dag("a.yaml", root)
    (root / "a.yaml").unlink()
    with pytest.raises(DagNotFound):
        load_dag("a.yaml", root)


def test_only_so_many_files_are_remembered(root, parsed, monkeypatch):
    monkeypatch.setattr(dag_module, "_CACHED_MAX", 1)
    for path in ("a.yaml", "sub/b.yaml", "sub/b.yaml", "a.yaml"):
        load_dag(path, root)
    assert parsed == ["a.yaml", "sub/b.yaml", "a.yaml"]


# -- the examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_examples_are_sound(path):
    assert find_faults(path.read_bytes(), path.name, workflows=WORKFLOW_MAP) == ()


def test_three_examples_are_shipped():
    assert len(list(EXAMPLES.glob("*.yaml"))) == 3
