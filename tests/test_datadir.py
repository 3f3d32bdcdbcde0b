"""The data directory: made private, refused when unsafe, used by one process at a time."""

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_py import datadir
from tusd_py.datadir import DataDirBusy, open_data_dir
from tusd_py.errors import StartupError


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run under an inherited umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_is_made_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    """Row 20: 0700 for the directory, at most 0600 for what is in it."""
    with open_data_dir(tmp_path / "data") as place:
        assert 0o700 == _mode(place.path)
        assert 0 == _mode(place.path / "lock") & 0o177


def test_parents_are_made_too(tmp_path: Path) -> None:
    """A path that does not exist at all is no reason to refuse."""
    with open_data_dir(tmp_path / "a" / "b" / "data") as place:
        assert tmp_path / "a" / "b" / "data" / "uploads.sqlite3" == place.database
        assert tmp_path / "a" / "b" / "data" / "uploads" == place.uploads


def test_directory_is_for_one_process(tmp_path: Path) -> None:
    """A second server is refused, with the pid of the first; the lock is free again when the first closes."""
    path = tmp_path / "data"
    first = open_data_dir(path)
    with pytest.raises(DataDirBusy, match=rf"^another server uses this data directory \(pid {os.getpid()}\): "):
        open_data_dir(path)
    first.close()
    first.close()
    open_data_dir(path).close()


def test_lock_that_a_dying_child_still_has(tmp_path: Path) -> None:
    """A server killed while it starts a program leaves a child that has the lock for a moment: the next one waits."""
    script = """
import os, sys
from pathlib import Path
from tusd_py.datadir import open_data_dir
place = open_data_dir(Path(sys.argv[1]))
if os.fork():
    print("held", flush=True)
    os.kill(os.getpid(), 9)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == b"held\n"
        server.wait(10)
        timer = threading.Timer(0.2, server.stdin.close)
        timer.start()
        with open_data_dir(tmp_path / "data"):
            # Not before the child was gone.
            assert server.stdin.closed
        timer.join()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """The kernel gives the lock back: nobody has to remove a file after a crash."""
    script = (
        "import os, sys, pathlib; from tusd_py.datadir import open_data_dir;"
        "held = open_data_dir(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "data")], check=False)
    assert -9 == ended.returncode
    open_data_dir(tmp_path / "data").close()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_writable_directory_is_refused(tmp_path: Path, mode: int) -> None:
    """Row 19: nobody else may be able to replace uploads; nothing is made in such a directory."""
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(
        StartupError, match=rf"can be written by other users \(mode 0{mode:o}\).*--allow-unsafe-data-dir"
    ):
        open_data_dir(path)
    assert [] == list(path.iterdir())
    open_data_dir(path, allow_unsafe=True).close()


def test_writable_database_is_refused(tmp_path: Path) -> None:
    """Row 19 holds for what is in the directory, too."""
    with open_data_dir(tmp_path / "data") as place:
        place.database.touch()
        place.database.chmod(0o666)
    with pytest.raises(StartupError, match=r"uploads\.sqlite3 can be written by other users"):
        open_data_dir(tmp_path / "data")


def test_foreign_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 19: a directory of somebody else is not ours to fill, unless told so."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    owner = path.stat().st_uid
    monkeypatch.setattr(datadir.os, "geteuid", lambda: owner + 1)
    with pytest.raises(StartupError, match=rf"belongs to user {owner}, not to user {owner + 1}"):
        open_data_dir(path)
    open_data_dir(path, allow_unsafe=True).close()


def test_planted_symlink_is_not_followed(tmp_path: Path) -> None:
    """Row 17: a symbolic link at the lock's path is refused, and its target stays as it is."""
    path, target = tmp_path / "data", tmp_path / "target"
    path.mkdir(mode=0o700)
    target.write_text("precious")
    (path / "lock").symlink_to(target)
    with pytest.raises(StartupError, match="lock is a symbolic link; remove it"):
        open_data_dir(path)
    assert "precious" == target.read_text()


def test_planted_fifo_does_not_hold_the_start_up(tmp_path: Path) -> None:
    """Row 18: whatever is no plain file is refused at once."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    os.mkfifo(path / "lock")
    with pytest.raises(StartupError, match="lock is not a plain file; remove it"):
        open_data_dir(path)


def test_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """One line says what is in the way."""
    (tmp_path / "data").touch()
    with pytest.raises(StartupError, match=r"^data directory .*data cannot be used: "):
        open_data_dir(tmp_path / "data")


def test_failed_lock_is_reported_and_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks is refused in one line."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartupError, match="cannot be used: Operation not supported"):
        open_data_dir(tmp_path / "data")
    assert before == len(os.listdir("/proc/self/fd"))


def test_directory_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    """Whatever the system says against it ends up in one line."""
    (tmp_path / "data" / "lock").mkdir(parents=True)
    with pytest.raises(StartupError, match="cannot be used: Is a directory"):
        open_data_dir(tmp_path / "data")
