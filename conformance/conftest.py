"""Options and fixtures: `pytest conformance --tus-url=http://127.0.0.1:8080/files/` is the other way to run it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.collecting import Collector
from conformance.outcomes import Report
from conformance.rows import Row
from conformance.target import NoServer, Server

REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what says where the server is."""
    group = parser.getgroup("tus")
    group.addoption("--tus-url", help="URL at which uploads are created, like http://127.0.0.1:8080/files/")
    group.addoption("--tus-timeout", type=float, default=10.0, help="seconds for one answer (default: 10)")
    group.addoption("--tus-metadata", default="", help="Upload-Metadata that this server demands of every upload")


def pytest_configure(config: pytest.Config) -> None:
    """Find out whether there is a tus server, unless the command did."""
    collector = next((each for each in config.pluginmanager.get_plugins() if isinstance(each, Collector)), None)
    if collector is None and config.getoption("--tus-url"):
        try:
            server = Server(*(config.getoption(f"--tus-{name}") for name in ("url", "timeout", "metadata")))
            server.greet()
        except NoServer as error:
            pytest.exit(str(error), returncode=2)
        collector = Collector(Report(server))
        config.pluginmanager.register(collector)
    if collector is not None:
        config.stash[REPORT] = collector.report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the tables after what pytest itself says."""
    report = config.stash.get(REPORT, None)
    if report is not None and report.outcomes:
        terminalreporter.write_sep("=", "conformance")
        terminalreporter.write_line(report.as_text())


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """The server under test."""
    report = pytestconfig.stash.get(REPORT, None)
    if report is None:
        pytest.exit("Say which server: --tus-url=http://127.0.0.1:8080/files/", returncode=2)
    return report.server


@pytest.fixture
def tus(server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The server, where it advertises what the row needs; what the check makes is terminated afterwards."""
    mark = request.node.get_closest_marker("row")
    row: Row = mark.args[0]
    if missing := server.missing(row.needs):
        pytest.skip(f"{missing} is not advertised")
    yield server
    server.tidy()
