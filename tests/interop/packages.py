"""Packages in directories that outlive the run: of npm from a committed lock, and of Python in an environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def installed(here: Path, package: str) -> Path:
    """Return a directory that has `package` in node_modules; the calling test is skipped where that cannot be had.

    It is `here`, which has package.json and package-lock.json, if somebody installed there.
    """
    if (here / "node_modules" / package).is_dir():
        return here
    place = _place(package.replace("/", "-"), (here / "package-lock.json").read_bytes())
    if not (place / "node_modules" / package).is_dir():
        if (npm := shutil.which("npm")) is None:
            pytest.skip("NOT RUN: needs npm")
        with tempfile.TemporaryDirectory(dir=place.parent) as fresh:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(here / name, fresh)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=fresh, capture_output=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"NOT RUN: npm could not install {package}: {done.stderr.decode()[-200:]}")
            shutil.copytree(fresh, place, dirs_exist_ok=True)
    return place


def environment(requirements: Path) -> Path:
    """Return a virtual environment that has these packages; the calling test is skipped where that cannot be had."""
    place = _place(requirements.parent.name, requirements.read_bytes())
    if not (place / "done").exists():
        commands: list[list[str | Path]] = [
            [sys.executable, "-m", "venv", "--clear", place],
            [place / "bin" / "python", "-m", "pip", "install", "-q", "-r", requirements],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, timeout=100, check=False)
            if done.returncode:
                pytest.skip(f"NOT RUN: pip could not install {requirements.name}: {done.stderr.decode()[-200:]}")
        (place / "done").touch()
    return place


def _place(name: str, wanted: bytes) -> Path:
    """Return where what is wanted is kept: other versions are kept elsewhere."""
    return Path(tempfile.gettempdir()) / f"tusd-py-{name}-{os.getuid()}-{hashlib.sha256(wanted).hexdigest()[:16]}"
