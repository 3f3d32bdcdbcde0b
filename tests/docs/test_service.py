"""The systemd unit that is shipped."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tusd_py.settings import Settings

UNIT = (ROOT / "deploy" / "tusd-py.service").read_text(encoding="utf-8")
COMMAND = Path(sys.executable).with_name("tusd-py")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT RUN: needs systemd-analyze")


def value_of(key: str) -> str:
    found = re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)
    assert 1 == len(found)
    return str(found[0])


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the command of this environment: systemd wants to see that it exists."""
    path = tmp_path / "tusd-py.service"
    path.write_text(UNIT.replace(value_of("ExecStart").split()[0], str(COMMAND)))
    return path


@needs_systemd
def test_systemd_understands_the_unit(unit: Path) -> None:
    """No key is unknown or misspelt."""
    done = analyze("verify", unit)
    if "Failed to" in done.stderr and "tusd-py" not in done.stderr:
        pytest.skip(f"NOT RUN: systemd-analyze does not work here: {done.stderr.strip()}")
    assert (0, "") == (done.returncode, done.stderr)


@needs_systemd
def test_unit_is_closed_off(unit: Path) -> None:
    """The measure of systemd itself stays below 2 of 10: what a server of files needs, and little more."""
    done = analyze("security", "--offline=true", "--threshold=20", unit)
    if "unrecognized option" in done.stderr:
        pytest.skip("NOT RUN: needs systemd 250 or newer")
    assert 0 == done.returncode, done.stdout[-300:] + done.stderr


def test_command_of_the_unit_is_a_command_of_ours(tmp_path: Path) -> None:
    """Its flags and its settings file are taken, and it writes where the unit lets it write."""
    config = tmp_path / "tusd-py.toml"
    config.write_text('durability = "patch"\n')
    line = value_of("ExecStart").replace("/etc/tusd-py.toml", str(config))
    _, verb, *flags = shlex.split(line)
    done = subprocess.run([COMMAND, "config", *flags], capture_output=True, text=True, check=False)
    assert ("serve", 0, "") == (verb, done.returncode, done.stderr)
    assert f"/var/lib/{value_of('StateDirectory')}/" in line
    assert f"/run/{value_of('RuntimeDirectory')}/" in line


def test_systemd_waits_longer_than_the_server_drains() -> None:
    """A server that is stopping is not killed before its own deadline."""
    assert int(value_of("TimeoutStopSec")) > Settings().shutdown_timeout
