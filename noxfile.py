"""The one entry to everything that checks orch: `nox -l` lists the sessions, `nox` runs those of a desk.

Sessions install into environments of their own from constraints.txt, so that they give the same answer everywhere.
Arguments after `--` go to the tool inside.
"""

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "docs"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
VERSIONS = nox.project.python_versions(PYPROJECT)
PINS = ("-c", "constraints.txt")


def install(session: nox.Session, *groups: str, editable: bool = True) -> None:
    """Install orch and the dependency groups, pinned."""
    wanted = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install("-q", *PINS, *wanted, *(["-e", "."] if editable else ["."]))


def on_two_cores(session: nox.Session) -> list[str]:
    """Spread tests over processes, unless the caller chose how."""
    return [] if any(arg.startswith("-n") for arg in session.posargs) else ["-n", "2", "--dist", "worksteal"]


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, and the machines at their quick profile."""
    install(session, "test")
    env = {"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "quick")}
    session.run("pytest", *on_two_cores(session), *session.posargs, env=env)


@nox.session(python=VERSIONS, default=False)
def versions(session: nox.Session) -> None:
    """The tests on every Python that is supported and present."""
    install(session, "test")
    session.run("pytest", *on_two_cores(session), *session.posargs, env={"HYPOTHESIS_PROFILE": "quick"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting."""
    install(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types of the package."""
    install(session, "lint", "test", "notebooks")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def properties(session: nox.Session) -> None:
    """The machines on every backend, at the ci profile (HYPOTHESIS_PROFILE=deep explores)."""
    install(session, "test")
    env = {"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "ci")}
    session.run("pytest", "property_tests", *on_two_cores(session), *session.posargs, env=env)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Our own code with one small fault, some thousand times: how many does the machine kill, and how soon?"""
    install(session, "test")
    session.run("python", "-m", "orch.testing.mutants", *session.posargs)


@nox.session(default=False)
def bugs(session: nox.Session) -> None:
    """Hunt the seeded bugs: each found, how fast, how short, and blamed on which promise."""
    install(session, "test")
    session.run("python", "-m", "orch.testing.bugs", *session.posargs)


@nox.session(default=False)
def torture(session: nox.Session) -> None:
    """Real processes under a nemesis: each fault by itself, and the broken queues that it has to find."""
    install(session, "test")
    session.run("pytest", "-m", "torture", "tests/test_torture.py", *session.posargs)
    session.run("python", "-m", "orch.testing.bugs", "--level", "torture")


@nox.session(default=False)
def torture_ci(session: nox.Session) -> None:
    """Torture in four minutes: 90 s of every fault on both durable backends, the main faults alone, a broken queue."""
    install(session, "test")
    out = str(Path(session.create_tmp()) / "run")
    run = ("orch", "torture", "--out", out, "--seed", os.environ.get("ORCH_SEED", "1"))
    small = ("--workers", "4", "--jobs-per-second", "20")
    for store in (("--backend", "redis"), ("--backend", "sqlite", "--synchronous", "FULL")):
        session.run(*run, *store, *small, "--seconds", "45")
    session.run(*run, "--matrix", "--nemesis", "kill,pause,restart", "--seconds", "3", "--lease", "1")
    broken = ("--queue", "orch.testing.bugs.processes:popping", "--nemesis", "kill", "--seconds", "4", "--limit", "4")
    session.run(*run, *small, "--lease", "1", *broken, success_codes=[1])  # the rig must see it


@nox.session(default=False)
def failover(session: nox.Session) -> None:
    """A Redis with a replica and a Sentinel: the primary dies, and every worker goes on with the new one."""
    install(session, "test")
    session.run("pytest", "-m", "torture", "tests/test_torture.py", "-k", "fail_over", *session.posargs)


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Other people's queues: the level of each library; `python -m orch.testing.adapters` prints the tables."""
    install(session, "test")
    session.install("-q", "-e", ".[peers]")  # at the versions that the extra names
    session.run("pytest", "tests/test_adapters.py", *session.posargs)


@nox.session(default=False)
def cron(session: nox.Session) -> None:
    """Cron against an independent oracle: every minute of three years in ten zones; about a minute of CPU a zone."""
    install(session, "test")
    where = "property_tests/test_schedule_properties.py"
    session.run("pytest", "-n", "2", "-k", "three_years", where, *session.posargs, env={"ORCH_CRON_FULL": "1"})


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Branch coverage of orch, worker processes included; fails below the bound in pyproject.toml."""
    install(session, "test")
    folder = Path(session.create_tmp()).resolve()
    env = {"HYPOTHESIS_PROFILE": "quick", "COVERAGE_FILE": str(folder / "coverage")}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *on_two_cores(session), *session.posargs, env=env)
    session.run("coverage", "run", "-m", "pytest", "-m", "torture", "tests/test_torture.py", env=env)
    session.run("coverage", "run", "-m", "orch.testing.bugs", "--level", "sim", env=env)  # the tests hunt some of them
    session.run("coverage", "combine", "-q", env=env)
    session.run("coverage", "report", env=env)


@nox.session(default=False)
def notebooks(session: nox.Session) -> None:
    """Execute every notebook and compare it with the committed one; `-- --update` rewrites them."""
    install(session, "test", "notebooks")
    session.run("python", "notebooks/execute.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The parts of ARCHITECTURE.md that are drawn from code; `-- --update` rewrites them."""
    install(session, "test")
    session.run("python", "docs/drawn.py", *session.posargs)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """The demo, as a user runs it."""
    install(session, editable=False)
    session.run("orch", "demo", "--out", str(Path(session.create_tmp()) / "demo"), *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Benchmarks: ratios within one run."""
    install(session, "test")
    for script in sorted(Path("benchmarks").glob("bench_*.py")):
        session.run("python", str(script), *session.posargs)


@nox.session(default=False)
def pins(session: nox.Session) -> None:
    """Write constraints.txt anew: the newest versions that install together, names and numbers only."""
    session.install("-q", *nox.project.dependency_groups(PYPROJECT, "test", "notebooks", "lint"), "-e", ".")
    frozen = session.run("python", "-m", "pip", "list", "--format=freeze", silent=True)
    kept = [line for line in frozen.splitlines() if "==" in line and line.split("==")[0] not in {"orch", "pip"}]
    Path("constraints.txt").write_text("\n".join(sorted(kept, key=str.lower)) + "\n")
