"""Example 09: a real program makes thumbnails as a durable job, and a client reads the results."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.examples.place import Place, commands

FOLDER = "09-thumbnails"

pytestmark = pytest.mark.skipif(
    not (shutil.which("djpeg") and shutil.which("cjpeg")), reason="NOT RUN: needs djpeg and cjpeg (libjpeg-turbo-progs)"
)


def paint(path: Path, width: int, height: int) -> None:
    """Write a JPEG of a gradient."""
    pixels = bytes((x * 255 // width + y * 255 // height) // 2 for y in range(height) for x in range(width))
    subprocess.run(["cjpeg", "-outfile", path], input=b"P5\n%d %d\n255\n%b" % (width, height, pixels), check=True)


async def results(place: Place, url: str, name: str) -> tuple[str, object]:
    """Upload a file with the client of the README; return the results as printed and as values."""
    (line,) = commands(FOLDER, 1)
    code, said = await place.run(line.replace("http://127.0.0.1:8080", url).replace("photo.jpg", name))
    assert code == 0, said
    return said, json.loads(said)


async def test_readme(place: Place) -> None:
    """The client prints where the thumbnail is, as its README says; it is an eighth as wide; the job is listed."""
    paint(place.root / "photo.jpg", 640, 480)
    async with place.serving(FOLDER) as server:
        said, made = await results(place, server.url, "photo.jpg")
        assert re.fullmatch(
            r'\{"thumbnail": \{"thumbnail": "thumbnails/\w+\.jpg", "width": \d+, "height": \d+\}\}\n', said
        )
        assert isinstance(made, dict)
        thumbnail = place.examples / FOLDER / made["thumbnail"]["thumbnail"]
        assert (made["thumbnail"]["width"], made["thumbnail"]["height"]) == (80, 60)
        pixels = subprocess.run(["djpeg", thumbnail], capture_output=True, check=True).stdout
        assert re.match(rb"P[56]\n80 60\n", pixels)
        # What was in between is gone.
        assert [thumbnail.name] == [path.name for path in thumbnail.parent.iterdir()]
        code, listed = await place.run(*commands(FOLDER, 2))
        assert code == 0, listed
        assert re.search(rf"^{thumbnail.stem}:thumbnail +completed +1 ", listed, re.MULTILINE), listed


async def test_no_picture(place: Place) -> None:
    """What only claims to be a picture has a result that says so, at the first attempt."""
    (place.root / "photo.jpg").write_bytes(b"hello")
    async with place.serving(FOLDER) as server:
        _, made = await results(place, server.url, "photo.jpg")
        assert made == {"thumbnail": {"problem": "not a JPEG file that can be read"}}
        assert "job_failed" not in server.log


async def test_other_files(place: Place) -> None:
    """A file of another type owes nothing, and its client waits for nothing."""
    async with place.serving(FOLDER) as server:
        assert (await results(place, server.url, "big.iso"))[1] == {}
