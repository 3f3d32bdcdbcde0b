"""`tusd-py uploads`: what an operator sees of a data directory, and may remove from it."""

import asyncio
import time
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from tusd_py.cli import main
from tusd_py.datadir import open_data_dir
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore

OPEN = UploadInfo(
    id="aa" * 16,
    offset=1023,
    synced_offset=1023,
    length=1024,
    metadata="filename " + b64encode(b"h\x1b[2Jllo.txt").decode() + ",flag",
    created_at=200.0,
    expires_at=time.time() + 3 * 86400,
)
FINISHED = UploadInfo(
    id="bb" * 16,
    state=UploadState.FINISHED,
    offset=4,
    synced_offset=4,
    length=4,
    created_at=100.0,
    finished_at=150.0,
)
NAMED = UploadInfo(id="dd" * 16, path="project-1/abc/report.pdf", length=4, created_at=500.0)
EXPIRED = UploadInfo(id="cc" * 16, kind=UploadKind.PARTIAL, concat="partial", created_at=300.0, expires_at=400.0)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with three uploads, of which one has bytes."""
    asyncio.run(_fill(tmp_path / "data", OPEN, FINISHED, EXPIRED))
    return tmp_path / "data"


async def _fill(data_dir: Path, *uploads: UploadInfo) -> None:
    with open_data_dir(data_dir) as place:
        data = FileDataStore(place.uploads)
        info = SqliteInfoStore(place.database, durability=Durability.NONE, data_root=place.uploads)
        await data.open()
        await info.open()
        for upload in uploads:
            await data.create(upload.key, [b"data"] if upload is FINISHED else (), durable=False)
            await info.insert(upload, durable=False)
        await info.close()
        await data.close()


def _run(data_dir: Path, verb: str, *args: str) -> Result:
    result = CliRunner().invoke(main, ["uploads", verb, "--data-dir", str(data_dir), *args])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def _ids(data_dir: Path) -> list[str]:
    return [upload["id"] for upload in msgspec.json.decode(_run(data_dir, "ls", "--json").stdout)["uploads"]]


def test_ls_is_a_table(data_dir: Path) -> None:
    """The oldest upload comes first; figures are round, and 100 means every byte."""
    header, *rows = _run(data_dir, "ls").stdout.splitlines()
    assert header.split() == ["ID", "KIND", "STATE", "OFFSET", "/", "LENGTH", "%", "EXPIRES", "FILENAME"]
    assert rows[0].split() == [FINISHED.id, "single", "finished", "4", "B", "/", "4", "B", "100", "never"]
    assert rows[1].split()[:10] == [OPEN.id, "single", "open", "1023", "B", "/", "1.0", "KiB", "99", "in"]
    assert rows[1].endswith("  h\\x1b[2Jllo.txt")
    assert rows[2].split() == [EXPIRED.id, "partial", "open", "0", "B", "/", "?", "-", "expired"]


def test_ls_can_choose_a_state(data_dir: Path) -> None:
    """Only uploads in that state are listed."""
    assert FINISHED.id not in _run(data_dir, "ls", "--state", "open").stdout
    empty = _run(data_dir, "ls", "--state", "assembling")
    assert (0, "", "no uploads\n") == (empty.exit_code, empty.stdout, empty.stderr)


def test_ls_json_is_one_document(data_dir: Path) -> None:
    """Machines get every field, the metadata as text, and the percentage."""
    record = msgspec.json.decode(_run(data_dir, "ls", "--json").stdout)["uploads"][1]
    assert (OPEN.id, 1023, 1024, 99.9) == (record["id"], record["offset"], record["length"], record["percent"])
    assert {"filename": "h\x1b[2Jllo.txt", "flag": ""} == record["metadata_values"]


def test_show_has_place_and_size(data_dir: Path) -> None:
    """Where the bytes are, and what they really take."""
    record = msgspec.json.decode(_run(data_dir, "show", "--json", FINISHED.id).stdout)
    path = Path(record["data_path"])
    assert b"data" == path.read_bytes()
    assert path.stat().st_blocks * 512 == record["disk_bytes"]


def test_named_data_is_found_and_removed(data_dir: Path) -> None:
    """Data with a path of its own is shown where it is, and goes with its upload; its neighbour stays."""
    asyncio.run(_fill(data_dir, NAMED, replace(NAMED, id="ee" * 16, path="project-1/abc/other.pdf")))
    path = data_dir / "uploads" / "named" / "project-1" / "abc" / "report.pdf"
    record = msgspec.json.decode(_run(data_dir, "show", "--json", NAMED.id).stdout)
    assert (str(path), 0) == (record["data_path"], record["disk_bytes"])
    assert 0 == _run(data_dir, "rm", NAMED.id).exit_code
    assert NAMED.id not in _ids(data_dir)
    assert ["other.pdf"] == [each.name for each in path.parent.iterdir()]


def test_show_of_data_that_something_is_in_the_way_of(data_dir: Path) -> None:
    """A file in place of a directory above the data makes it as lost as if it were gone."""
    asyncio.run(_fill(data_dir, NAMED))
    folder = data_dir / "uploads" / "named" / "project-1"
    folder.rename(data_dir / "elsewhere")
    folder.write_bytes(b"")
    assert msgspec.json.decode(_run(data_dir, "show", "--json", NAMED.id).stdout)["disk_bytes"] is None


def test_show_is_readable_and_safe(data_dir: Path) -> None:
    """Times are dates, nothing is a dash, control characters are escapes."""
    text = _run(data_dir, "show", OPEN.id).stdout
    fields = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert "1970-01-01T00:03:20+00:00" == fields["created_at"]
    assert "-" == fields["finished_at"]
    assert "-" == fields["parts"]
    assert "\x1b" not in text


def test_show_of_lost_data_says_so(data_dir: Path) -> None:
    """An upload whose file is gone can still be looked at."""
    (data_dir / "uploads" / "aa" / OPEN.id).unlink()
    assert msgspec.json.decode(_run(data_dir, "show", "--json", OPEN.id).stdout)["disk_bytes"] is None


def test_show_of_unknown_upload_fails(data_dir: Path) -> None:
    """Exit code 1 and a sentence."""
    result = _run(data_dir, "show", "nope\x1b")
    assert (1, "Error: there is no upload nope\\x1b\n") == (result.exit_code, result.stderr)


def test_looking_works_beside_a_server(data_dir: Path) -> None:
    """Neither ls nor show takes a lock."""
    with open_data_dir(data_dir):
        assert 3 == len(_ids(data_dir))
        assert 0 == _run(data_dir, "show", OPEN.id).exit_code


def test_rm_removes_bytes_and_info(data_dir: Path) -> None:
    """Finished and expired uploads alike; the others stay."""
    assert 0 == _run(data_dir, "rm", FINISHED.id, EXPIRED.id, EXPIRED.id).exit_code
    assert [OPEN.id] == _ids(data_dir)
    assert [OPEN.id] == [path.name for path in data_dir.glob("uploads/??/*")]


def test_rm_of_unknown_upload_fails_but_removes_the_others(data_dir: Path) -> None:
    """Exit code 1 names what was not there."""
    result = _run(data_dir, "rm", "nope", OPEN.id)
    assert (1, "Error: there is no upload nope\n") == (result.exit_code, result.stderr)
    assert [FINISHED.id, EXPIRED.id] == _ids(data_dir)


def test_rm_beside_a_server_is_refused(data_dir: Path) -> None:
    """The server would not notice; the sentence says what to do instead, and nothing changes."""
    with open_data_dir(data_dir):
        result = _run(data_dir, "rm", OPEN.id)
    assert 1 == result.exit_code
    assert "another server uses this data directory (pid " in result.stderr
    assert "sending DELETE to its URL" in result.stderr
    assert 3 == len(_ids(data_dir))


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """I16: a wrong --data-dir is reported, not filled."""
    result = _run(tmp_path / "wrong", "ls")
    assert 1 == result.exit_code
    assert not (tmp_path / "wrong").exists()
