"""npm packages in a directory that outlives the run, installed from a committed lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def installed(here: Path, package: str) -> Path:
    """Return a directory that has `package` in node_modules; the calling test is skipped where that cannot be had.

    It is `here`, which has package.json and package-lock.json, if somebody installed there.
    """
    if (here / "node_modules" / package).is_dir():
        return here
    lock = (here / "package-lock.json").read_bytes()
    place = Path(tempfile.gettempdir()) / f"tusd-py-{package}-{os.getuid()}-{hashlib.sha256(lock).hexdigest()[:16]}"
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
