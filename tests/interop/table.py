"""Writes docs/reference/clients.md from a run of the interop tests: `pytest -p tests.interop.table tests/interop`."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.interop.mounts import MOUNTS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "clients.md"
LOCKED = {"tus-js-client": HERE / "tus_js", "uppy": HERE / "uppy"}
INSTALLED = ("tuspy", "aiotus")
PROGRAMS = ("curl", "chromium", "node")
"""What the machine brings along; another one may have another version."""

INTRODUCTION = """\
# Clients

What real clients did with a server of this version, and what came of it. Written by `make clients-table` from a run of
`tests/interop`, in which nothing failed and nothing was left out; do not edit. "Arrives" means: the SHA-256 of what is
stored, and the bytes of a download, are those of the file.

The server was there in four ways:

- embedded: in an aiohttp application, by `tusd_py.setup`.
- process: `tusd-py serve`.
- cancelling: embedded, by a runner with `handler_cancellation=True`.
- guest: embedded in an application that has a route for every path and a middleware that wants a bearer token, which
  the client sends as an option of its own.

Where a network is cut, a proxy in between does it, by FIN and by RST. Uppy runs in Chromium on a page of the server
itself (not with the process) and on a page of another origin.
"""


@dataclass
class Row:
    """What one test saw, in all its variations."""

    passed: int = 0
    others: int = 0
    mounts: set[str] = field(default_factory=set)


rows: dict[tuple[str, str], Row] = {}
left_out: list[str] = []


def version_of(client: str) -> str | None:
    """Return the version that is locked, installed or on this machine; None where there is none."""
    if client in LOCKED:
        lock = json.loads((LOCKED[client] / "package-lock.json").read_text(encoding="utf-8"))
        return str(lock["packages"][f"node_modules/{client}"]["version"])
    if client in INSTALLED:
        try:
            return importlib.metadata.version(client)
        except importlib.metadata.PackageNotFoundError:
            return None
    if (program := shutil.which(client)) is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+(\.\d+)+", said)
    return number and number[0]


def sentence_of(docstring: str) -> str:
    """Return what a test's docstring says, in one line and without the rows it belongs to."""
    return re.sub(r" \([^()]*\)$", "", " ".join(docstring.split())).rstrip(".")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[Any]:
    """Count a test of a client."""
    report = yield
    client = getattr(item.module, "CLIENT", None)
    if client and (report.when == "call" or not report.passed):
        row = rows.setdefault((client, sentence_of(item.function.__doc__ or "")), Row())
        params = item.callspec.params
        row.mounts.add(params["mode"] if "mode" in params else params["place"][0])
        row.passed += report.passed
        row.others += not report.passed
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notice what cannot even be collected."""
    if not report.passed:
        left_out.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, unless something is missing."""
    left_out.extend(f"{client}: {what}" for (client, what), row in rows.items() if row.others)
    if left_out or not rows:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        raise pytest.UsageError(f"the page was not written: {left_out or 'no client was there'}")
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION, "| client | version |", "|---|---|"]
    lines += [f"| {client} | {version_of(client)} |" for client in (*LOCKED, *INSTALLED, *PROGRAMS)]
    for client in dict.fromkeys(client for client, _ in rows):
        lines += ["", f"## {client} {version_of(client)}", "", "| what was done | against | result |", "|---|---|---|"]
        for (whose, what), row in rows.items():
            if whose == client:
                mounts = ", ".join(sorted(row.mounts, key=MOUNTS.index))
                lines.append(f"| {what} | {mounts} | {row.passed} of {row.passed} passed |")
    return "\n".join(lines) + "\n"
