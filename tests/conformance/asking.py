"""Run the conformance suite as a person does: as a command, against a URL."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


async def command(*arguments: str, module: str = "conformance") -> tuple[int, str, str]:
    """Run it and return exit code, stdout and stderr."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await asyncio.wait_for(child.communicate(), 90)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, out.decode(), errors.decode()


async def ask(url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run it and return the exit code and what it says as JSON."""
    code, out, errors = await command(url, "--json", "-", *arguments)
    assert out, errors
    return code, json.loads(out)


def failing(report: dict[str, Any], *levels: str) -> set[str]:
    """Return the ids of the rows that fail, at these levels or at any."""
    return {row["id"] for row in report["rows"] if row["result"] == "failed" and (not levels or row["level"] in levels)}
