"""The pytest plugin of orch: `pytest --orch-queue mypkg.queues:make_queue` runs contract and machine on a queue.

pytest loads this file in every run of whoever has orch installed, so it imports nothing; what it does stands in
`orch.testing.plugin`, which is imported only where the option is given. It is outside the package for the same reason:
importing `orch` this early would cost time, and would hide its first lines from whoever measures their coverage.
"""


def pytest_addoption(parser) -> None:  # noqa: ANN001 - nothing is imported here
    """Add the options."""
    group = parser.getgroup("orch", "the contract of job queues")
    group.addoption(
        "--orch-queue",
        action="append",
        default=[],
        metavar="MODULE:FACTORY",
        help="run the contract and the machine on the queues that this function of a clock makes; may be repeated",
    )
    group.addoption(
        "--orch-examples", type=int, default=200, metavar="N", help="how long the machine runs (default: 200)"
    )
    group.addoption("--orch-seed", type=int, default=0, metavar="N", help="of the machine (default: 0)")
    group.addoption(
        "--orch-capabilities",
        metavar="A,B",
        help="what the queue can do (default: it is found out)",
    )


def pytest_configure(config) -> None:  # noqa: ANN001 - as above
    """Register the marker of the contract's tests, and the plugin where a queue is given."""
    config.addinivalue_line("markers", "promise(id): the promise of orch's contract that a test holds")
    if config.getoption("--orch-queue"):
        from orch.testing.plugin import Suites

        config.pluginmanager.register(Suites(config, __file__), "orch-suites")
