"""Which files are meant by the arguments of `tusd-py upload`."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tusd_py.cli.gathering import Gathered, gather


def _gather(*paths: object, recursive: bool = True) -> tuple[Gathered, list[str]]:
    notes: list[str] = []
    return gather([str(path) for path in paths], recursive=recursive, note=notes.append), notes


def _tree(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_folders_are_sorted_and_files_say_where_they_lie(tmp_path: Path) -> None:
    """The relative path begins with the name of the folder that was given."""
    _tree(tmp_path / "top", "b", "a/2", "a/10", "c/deep/x", "B")
    found, notes = _gather(tmp_path / "top")
    told = [(item.path.removeprefix(f"{tmp_path}/"), item.relative, item.size) for item in found.items]
    names = ["B", "a/10", "a/2", "b", "c/deep/x"]
    assert told == [(f"top/{name}", f"top/{name}", len(name)) for name in names]
    assert ([], []) == (notes, found.failures)


@pytest.mark.parametrize("given", [".", "./", "../top", "../top//", "sub/.."])
def test_a_folder_has_its_own_name_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """Nobody at the other end learns of dots."""
    _tree(tmp_path / "top", "sub/x")
    monkeypatch.chdir(tmp_path / "top")
    (item,) = _gather(given)[0].items
    assert ({"filename": "x", "relativePath": "top/sub/x"}, b"sub/x") == (item.metadata, Path(item.path).read_bytes())


def test_links_to_files_are_followed_and_others_are_left_out(tmp_path: Path) -> None:
    """What is left out is said, each with its reason; a circle of links is no trap."""
    top = tmp_path / "top"
    _tree(top, "file")
    (top / "good").symlink_to("file")
    (top / "circle").symlink_to(".")
    (top / "lost").symlink_to("nowhere")
    (top / "own").symlink_to("own")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "socket"))
        found, notes = _gather(top)
    assert [f"{top}/file", f"{top}/good"] == [item.path for item in found.items]
    assert notes == [
        f"left out: {top}/circle, a link to a folder",
        f"left out: {top}/lost, a link to nothing that can be sent",
        f"left out: {top}/own, a link to nothing that can be sent",
        f"left out: {top}/pipe, which is not a regular file",
        f"left out: {top}/socket, which is not a regular file",
    ]


def test_a_link_that_is_given_is_followed(tmp_path: Path) -> None:
    """Whoever names it means what is behind it, under the name of the link."""
    _tree(tmp_path / "top", "x")
    (tmp_path / "link").symlink_to("top")
    (item,) = _gather(tmp_path / "link")[0].items
    assert (f"{tmp_path}/link/x", "link/x") == (item.path, item.relative)


def test_a_folder_needs_the_flag(tmp_path: Path) -> None:
    """Otherwise it fails by itself, and files beside it are found."""
    _tree(tmp_path, "top/x", "y")
    found, _ = _gather(tmp_path / "top", tmp_path / "y", recursive=False)
    assert [f"{tmp_path}/y"] == [item.path for item in found.items]
    ((path, error),) = found.failures
    assert (f"{tmp_path}/top", f"{tmp_path}/top is a folder; --recursive sends what is in it") == (path, str(error))


def test_files_are_as_they_were_given(tmp_path: Path) -> None:
    """One that is named twice is sent once; one that is not there is for whoever opens it; a pipe has no size."""
    _tree(tmp_path, "x")
    found, _ = _gather("-", tmp_path / "x", tmp_path / "gone", tmp_path / "x")
    told = [(item.shown, item.size, item.metadata) for item in found.items]
    assert told == [
        ("standard input", None, {}),
        (f"{tmp_path}/x", 1, {"filename": "x"}),
        (f"{tmp_path}/gone", 0, {"filename": "gone"}),
    ]


def test_a_folder_that_vanishes_or_cannot_be_read_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on."""
    _tree(tmp_path / "top", "a/x", "b/y", "c")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, _ = _gather(tmp_path / "top")
    assert ["top/b/y", "top/c"] == [item.relative for item in found.items]
    ((path, error),) = found.failures
    assert (f"{tmp_path}/top/a", "the folder cannot be read: Permission denied") == (path, str(error))


def test_a_deep_folder_is_no_trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested deeper than calls can be."""
    monkeypatch.chdir(tmp_path)
    path = "top"
    try:
        os.mkdir(path)
        for _ in range(1200):
            path += "/d"
            os.mkdir(path)
        Path(path, "x").touch()
        (item,) = _gather("top")[0].items
    finally:
        # pytest removes by calls within calls.
        subprocess.run(["rm", "-r", "top"], check=True)
    assert f"{path}/x" == item.relative
