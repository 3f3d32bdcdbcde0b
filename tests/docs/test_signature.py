"""The check of signatures that the page of hooks shows for another language agrees with ours."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.docs.blocks import ROOT, blocks_of
from tusd_py.hooks.signature import WINDOW, sign, verify_signature

SECRET = "a secret of the two of us: ä"
BODY = '{"Type": "post-finish", "name": "\u00e4\ufffd"}'.encode()
NOW = 1_795_265_034

GOOD = sign(SECRET, BODY, now=NOW)
HEADERS: dict[str, str | None] = {
    "good": GOOD,
    "at the edge": sign(SECRET, BODY, now=NOW - WINDOW),
    "too old": sign(SECRET, BODY, now=NOW - WINDOW - 1),
    "from the future": sign(SECRET, BODY, now=NOW + WINDOW + 1),
    "of another secret": sign(SECRET + " ", BODY, now=NOW),
    "of another body": sign(SECRET, BODY + b" ", now=NOW),
    "of another time": GOOD.replace(f"t={NOW}", f"t={NOW + 1}"),
    "with more behind it": GOOD + ",v1=0",
    "short": GOOD[:-1],
    "in capitals": GOOD.upper(),
    "empty": "",
    "missing": None,
}


def test_javascript() -> None:
    """The function in JavaScript takes and refuses the same headers as `verify_signature` (reliability 5.2, row 59)."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT RUN: needs node")
    (function,) = [block.text for block in blocks_of(ROOT / "docs" / "howto" / "hooks.md") if block.language == "js"]
    script = f"""{function}
const {{ secret, body, headers, now }} = JSON.parse(process.argv[1]);
console.log(JSON.stringify(headers.map((header) => isGenuine(secret, header, Buffer.from(body), now))));
"""
    given = {"secret": SECRET, "body": BODY.decode(), "headers": list(HEADERS.values()), "now": NOW}
    done = subprocess.run(
        [node, "-e", script, json.dumps(given)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    theirs = dict(zip(HEADERS, json.loads(done.stdout), strict=True))
    ours = {name: verify_signature(SECRET, header, BODY, now=NOW) for name, header in HEADERS.items()}
    assert ours == theirs
    assert [name for name, taken in ours.items() if taken] == ["good", "at the edge"]
