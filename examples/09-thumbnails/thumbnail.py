"""Make a small picture of an uploaded one: run by the server for every finished JPEG.

The upload comes as JSON on standard input. What is printed is a report of progress, or the result for the client.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

THUMBNAILS = Path("thumbnails")


def main() -> None:
    """Do it. Run twice for one upload, it ends the same way."""
    upload = json.load(sys.stdin)["Event"]["Upload"]
    THUMBNAILS.mkdir(exist_ok=True)
    # An id is letters, digits, "-" and "_". The filename is whatever somebody typed, and no part of a path.
    target = THUMBNAILS / f"{upload['ID']}.jpg"
    with tempfile.TemporaryDirectory(prefix=".", dir=THUMBNAILS) as place:
        print(json.dumps(shrink(Path(upload["Storage"]["Path"]), target, Path(place))))


def shrink(source: Path, target: Path, place: Path) -> dict[str, object]:
    """Write the thumbnail and return the result."""
    pixels, small = place / "pixels", place / "small.jpg"
    done = subprocess.run(["djpeg", "-scale", "1/8", "-outfile", pixels, source], check=False)
    if done.returncode == 1:
        # It will be no picture the next time either: that is a result. What may be better next time is a failure.
        return {"problem": "not a JPEG file that can be read"}
    done.check_returncode()
    print(json.dumps({"progress": 0.5}), flush=True)
    subprocess.run(["cjpeg", "-quality", "80", "-outfile", small, pixels], check=True)
    # The name appears when all of the picture is there.
    small.replace(target)
    with pixels.open("rb") as lines:
        _, size = next(lines), next(lines)
    width, height = map(int, size.split())
    return {"thumbnail": str(target), "width": width, "height": height}


if __name__ == "__main__":
    main()
