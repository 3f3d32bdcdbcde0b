"""One upload from its creation to its last byte, by a server that does what no healthy one does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.toy import Rule, Toy, cuts, normal, says, swallows, taking, telling
from tests.client.wiring import make_certificate
from tusd_py.client.client import Client
from tusd_py.client.errors import GaveUp, Refused, SourceChanged, Untrusted
from tusd_py.client.records import Event, Options, Retrying, Uploaded

MIB = 2**20
Make = Callable[..., Path]


async def bring(toy: Toy, path: Path, told: Told | None = None, *, url: str | None = None, **options: Any) -> Uploaded:
    """Upload a file to the toy, within a minute of patience."""
    async with Client(url or toy.url, options=Options(**{"retry_for": 60.0, **options})) as client:
        return await client.upload(path, on_event=told.append if told is not None else None)


def stored(toy: Toy, done: Uploaded) -> bytes:
    return bytes(toy.uploads["/files/" + done.url.rsplit("/", 1)[1]])


async def test_an_upload_is_created_and_sent_in_one_request(toy: Toy, make_file: Make) -> None:
    """OPTIONS, POST, PATCH: nothing is asked that is known."""
    path = make_file(3 * MIB)
    done = await bring(toy, path, metadata={"who": "me"})
    assert path.read_bytes() == stored(toy, done)
    assert "OPTIONS POST PATCH" == toy.methods
    assert (3 * MIB, 3 * MIB, False) == (done.size, done.sent, done.verified)
    fields = dict(pair.split(" ") for pair in toy.requests[1].headers["Upload-Metadata"].split(","))
    assert {"who": "me", "filename": "film.mp4", "filetype": "video/mp4"} == {
        name: base64.b64decode(value).decode() for name, value in fields.items()
    }


async def test_a_name_and_a_type_of_ones_own_are_left_alone(toy: Toy, make_file: Make) -> None:
    """`filename` and `filetype` of the options win; a packed file has no type that its name tells."""
    await bring(toy, make_file(1), metadata={"filename": "x", "filetype": "y"})
    await bring(toy, make_file(1, "a.tar.gz"))
    first, second = (each.headers["Upload-Metadata"] for each in toy.asked("POST"))
    assert {"filename eA==", "filetype eQ=="} == set(first.split(","))
    assert "filetype" not in second


@pytest.mark.parametrize(("size", "methods"), [(1, "POST"), (64 * 1024, "POST"), (64 * 1024 + 1, "POST PATCH")])
async def test_a_small_file_goes_with_its_creation(toy: Toy, make_file: Make, size: int, methods: str) -> None:
    """Up to 64 KiB, when the server offers it: until the answer is there, nobody knows the URL."""
    path = make_file(size)
    done = await bring(toy, path)
    assert f"OPTIONS {methods}" == toy.methods
    assert path.read_bytes() == stored(toy, done)
    assert size == done.sent


@pytest.mark.parametrize("extensions", ["creation", "", None])
async def test_a_server_that_offers_little_is_asked_for_little(make_file: Make, extensions: str | None) -> None:
    """Without extensions: one part, no checksums, no bytes in the POST."""
    async with Toy.open(extensions=extensions) as toy:
        path = make_file(2 * MIB)
        done = await bring(toy, path, parallel=4, checksum=True)
        small = await bring(toy, make_file(5, "small"))
        assert "OPTIONS POST PATCH OPTIONS POST PATCH" == toy.methods
        assert path.read_bytes() == stored(toy, done)
        assert 5 == len(stored(toy, small))
        assert all("Upload-Checksum" not in each.headers for each in toy.requests)


async def test_an_empty_file_is_created_and_nothing_else(toy: Toy, make_file: Make, told: Told) -> None:
    """Zero bytes: POST alone."""
    done = await bring(toy, make_file(0), told)
    assert "OPTIONS POST" == toy.methods
    assert (0, 0) == (done.size, done.sent)
    assert ["Created", "Finished"] == told.story


async def test_chunks_have_the_size_that_was_asked_for(toy: Toy, make_file: Make) -> None:
    """One PATCH for each, none with more."""
    path = make_file(2 * MIB + 1)
    done = await bring(toy, path, chunk_size=MIB)
    assert [MIB, MIB, 1] == [len(each.body) for each in toy.asked("PATCH")]
    assert path.read_bytes() == stored(toy, done)


async def test_checksums_go_with_every_body(toy: Toy, make_file: Make) -> None:
    """By SHA-256, when the server knows it, with a creation too; the toy checks them."""
    await bring(toy, make_file(2 * MIB), checksum=True, chunk_size=MIB)
    await bring(toy, make_file(7, "small"), checksum=True)
    with_body = [each for each in toy.requests if each.body]
    assert 3 == len(with_body)
    assert all(each.headers["Upload-Checksum"].startswith("sha256 ") for each in with_body)


@pytest.mark.parametrize(
    "trouble",
    [
        cuts,
        swallows,
        taking(MIB),
        says(409, "ERR_MISMATCHED_OFFSET: no"),
        says(409, Upload_Offset="0"),
        says(460),
        says(423),
        says(429),
        says(500, "ERR_READ_TIMEOUT: no byte"),
        says(503),
        says(507, "ERR_INSUFFICIENT_STORAGE: full"),
        says(400, "ERR_UPLOAD_INTERRUPTED: another request"),
        says(401),
        says(302, Location="http://wifi.example/login"),
        says(200, "<html>please log in</html>", Content_Type="text/html"),
        telling(Upload_Offset=None),
        telling(Upload_Offset="17"),
        telling(Upload_Offset="99999999999"),
    ],
)
async def test_after_any_trouble_with_a_patch_the_server_is_asked(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """A HEAD follows, and what it says is where it goes on: the file arrives whole."""
    path = make_file(2 * MIB)
    toy.on("PATCH", trouble)
    done = await bring(toy, path)
    assert path.read_bytes() == stored(toy, done)
    assert toy.methods.startswith("OPTIONS POST PATCH HEAD")


@pytest.mark.parametrize("trouble", [cuts, swallows, says(503), says(423), says(401)])
async def test_a_creation_that_failed_is_tried_again_by_the_same_key(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """So a server that knows such keys does not make a second upload."""
    toy.knows_keys = True
    path = make_file(2 * MIB)
    toy.on("POST", trouble)
    done = await bring(toy, path)
    assert path.read_bytes() == stored(toy, done)
    assert 1 == len(toy.uploads)
    assert 1 == len({each.headers["Idempotency-Key"] for each in toy.asked("POST")})


async def test_bytes_that_went_with_a_lost_creation_are_not_sent_again(toy: Toy, make_file: Make) -> None:
    """The server that finds the upload by its key says how much of it is there."""
    toy.knows_keys = True
    toy.on("POST", swallows)
    path = make_file(1000)
    done = await bring(toy, path)
    assert path.read_bytes() == stored(toy, done)
    assert 1 == len(toy.uploads)


async def test_a_creation_may_take_a_part_of_its_bytes(toy: Toy, make_file: Make) -> None:
    """The answer says so, or it does not say: then it is asked."""

    def taking_some(toy: Toy, request: Any) -> Any:
        request.body = request.body[:600]
        return toy.answer(request)

    def taking_all(toy: Toy, request: Any) -> Any:
        return telling(Upload_Offset=None)(toy, request)

    path = make_file(1000)
    for rule, methods in ((taking_some, "OPTIONS POST HEAD PATCH"), (taking_all, "OPTIONS POST HEAD")):
        toy.requests.clear()
        toy.on("POST", rule)
        assert path.read_bytes() == stored(toy, await bring(toy, path))
        assert methods == toy.methods


@pytest.mark.parametrize("trouble", [cuts, says(502), says(423), says(302, Location="/login"), says(200)])
async def test_a_head_that_fails_is_asked_again(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """Whatever stands in the way: it was a tus server before."""
    path = make_file(2 * MIB)
    toy.on("PATCH", taking(MIB))
    toy.on("HEAD", trouble, trouble)
    done = await bring(toy, path)
    assert path.read_bytes() == stored(toy, done)
    assert "OPTIONS POST PATCH HEAD HEAD HEAD PATCH" == toy.methods


@pytest.mark.parametrize("trouble", [cuts, says(503), says(401), says(429)])
async def test_the_first_question_is_asked_again(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """OPTIONS, like everything else."""
    toy.on("OPTIONS", trouble)
    await bring(toy, make_file(1))
    assert "OPTIONS OPTIONS POST" == toy.methods


@pytest.mark.parametrize(("status", "seconds"), [(423, 1), (429, 60), (503, 7), (507, 30), (503, 3600)], ids=str)
async def test_the_server_says_how_long_to_wait(
    toy: Toy, make_file: Make, told: Told, status: int, seconds: int
) -> None:
    """Retry-After is kept to; a pause and its end cut the waiting short."""
    toy.on("PATCH", says(status, Retry_After=str(seconds)))
    async with Client(toy.url) as client:

        def skip(event: object) -> None:
            told.append(event)
            if isinstance(event, Retrying):
                asyncio.get_running_loop().call_soon(skip_waiting)

        def skip_waiting() -> None:
            uploader.pause()
            uploader.resume()

        uploader = client.uploader(make_file(MIB), on_event=skip)
        await uploader.run()
    (retry,) = told.of(Retrying)
    assert (status, 1) == (retry.status, retry.attempt)
    assert seconds <= retry.delay <= seconds * 1.3


@pytest.mark.parametrize(
    "trouble",
    [
        cuts,
        says(409),
        says(503),
        telling(Upload_Offset="0"),
        says(204),
        says(204, Upload_Offset="5"),
        says(302, Location="/login"),
    ],
)
async def test_nothing_goes_on_for_ever(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """It gives up after `retry_for` without progress, and says what was last."""
    toy.always("PATCH", trouble)
    toy.always("HEAD", telling(Upload_Offset="0"))
    with pytest.raises(GaveUp, match="nothing has gone forward"):
        await bring(toy, make_file(MIB), retry_for=0.3)


async def test_a_server_that_goes_to_and_fro_is_given_up(toy: Toy, make_file: Make) -> None:
    """Every PATCH is taken, and then it was not: the furthest offset counts, and that does not grow."""

    def forget(toy: Toy, request: Any) -> Any:
        for data in toy.uploads.values():
            data.clear()
        return toy.answer(request)

    def first_or_second() -> Iterator[Rule]:
        while True:
            yield normal
            yield forget

    toy._rules["PATCH"] = first_or_second()
    with pytest.raises(GaveUp):
        await bring(toy, make_file(3 * MIB), chunk_size=MIB, retry_for=0.3)


async def test_a_file_goes_on_from_wherever_the_server_fell_back_to(toy: Toy, make_file: Make) -> None:
    """A server that lost what it had acknowledged gets it again."""

    def fall_back(toy: Toy, request: Any) -> Any:
        for data in toy.uploads.values():
            del data[MIB // 2 :]
        return toy.answer(request)

    path = make_file(3 * MIB)
    toy.on("PATCH", normal, normal, fall_back)
    done = await bring(toy, path, chunk_size=MIB)
    assert path.read_bytes() == stored(toy, done)
    assert [0, MIB, 2 * MIB, MIB // 2] == [int(each.headers["Upload-Offset"]) for each in toy.asked("PATCH")][:4]


@pytest.mark.parametrize("wrong", [{"Upload_Offset": "3000000"}, {"Upload_Length": "5"}])
async def test_what_cannot_be_this_upload_is_not_touched(toy: Toy, make_file: Make, wrong: dict[str, str]) -> None:
    """More bytes than the file has, or another length: somebody else's, or a server gone mad."""
    toy.on("PATCH", taking(10))
    toy.always("HEAD", telling(**wrong))
    with pytest.raises(Refused, match="cannot be the upload"):
        await bring(toy, make_file(2 * MIB))
    assert 1 == len(toy.asked("PATCH"))


async def test_damaged_bodies_end_it(toy: Toy, make_file: Make) -> None:
    """460 five times in a row: something on the way changes bytes."""
    toy.always("PATCH", says(460, "ERR_CHECKSUM_MISMATCH: no"))
    with pytest.raises(Refused, match="5 bodies in a row arrived damaged") as caught:
        await bring(toy, make_file(MIB), checksum=True)
    assert 5 == len(toy.asked("PATCH"))
    assert (460, "ERR_CHECKSUM_MISMATCH") == (caught.value.status, caught.value.error)


@pytest.mark.parametrize(("answer", "times"), [(says(460), 4), (says(401), 3)])
async def test_failures_in_a_row_are_counted_anew_after_each_success(
    toy: Toy, make_file: Make, answer: Rule, times: int
) -> None:
    """Many in all are no reason to end what goes forward."""
    path = make_file(3 * MIB)
    toy.on("PATCH", *([*[answer] * times, normal] * 3))
    assert path.read_bytes() == stored(toy, await bring(toy, path, chunk_size=MIB, checksum=True))


async def test_a_file_that_is_too_large_is_refused_before_a_byte_is_sent(make_file: Make) -> None:
    """Tus-Max-Size of OPTIONS."""
    async with Toy.open(Tus_Max_Size="1000") as toy:
        await bring(toy, make_file(1000, "fits"))
        with pytest.raises(Refused, match="takes at most 1000") as caught:
            await bring(toy, make_file(1001))
        assert 413 == caught.value.status
        assert "OPTIONS POST OPTIONS" == toy.methods


async def test_a_location_may_be_relative_and_must_be_used_as_it_is(toy: Toy, make_file: Make) -> None:
    """With its query, and escapes that nobody may change."""
    toy.on("POST", says(201, Location="../files/a%2fb?x=1&y=%41"))
    toy.on("PATCH", lambda toy, request: says(204, Upload_Offset=str(len(request.body)))(toy, request))
    done = await bring(toy, make_file(MIB))
    assert "/files/a%2fb?x=1&y=%41" == toy.asked("PATCH")[0].path
    assert done.url.endswith("/files/a%2fb?x=1&y=%41")


async def test_a_location_over_http_behind_https(tmp_path: Path, make_file: Make) -> None:
    """A server behind a proxy does not know how its clients come: nothing of it is asked without TLS."""
    certificate = make_certificate(tmp_path)
    async with Toy.open(ssl=certificate.server) as toy:

        def careless(toy: Toy, request: Any) -> Any:
            reply = toy.answer(request)
            reply.headers["Location"] = "http://127.0.0.1" + reply.headers["Location"]
            return reply

        toy.always("POST", careless)
        path = make_file(3 * MIB)
        done = await bring(toy, path, ssl=certificate.client, token="secret", chunk_size=MIB)
        assert path.read_bytes() == stored(toy, done)
        assert done.url.startswith(toy.url)
        assert {"Bearer secret"} == {each.headers["Authorization"] for each in toy.requests}


async def test_a_certificate_of_somebody_else(tmp_path: Path, make_file: Make, told: Told) -> None:
    """At first it ends the upload; in the middle of one it is what stands on the way, and is waited for."""
    (tmp_path / "hotel").mkdir()
    certificate, hotel = make_certificate(tmp_path), make_certificate(tmp_path / "hotel")

    def show(which: Path) -> None:
        certificate.server.load_cert_chain(which / "certificate.pem", which / "key.pem")

    def move_in(toy: Toy, request: Any) -> None:
        show(hotel.path.parent)

    def log_in(event: Event) -> None:
        told.append(event)
        if isinstance(event, Retrying) and "certificate" in event.reason:
            show(tmp_path)

    async with Toy.open(ssl=certificate.server) as toy:
        toy.on("PATCH", normal, move_in)
        path = make_file(3 * MIB)
        options = Options(ssl=certificate.client, chunk_size=MIB)
        async with Client(toy.url, options=options) as client:
            done = await client.upload(path, on_event=log_in)
        assert path.read_bytes() == stored(toy, done)
        assert any("certificate" in event.reason for event in told.of(Retrying))
        show(hotel.path.parent)
        with pytest.raises(Untrusted):
            await bring(toy, path, ssl=certificate.client)


async def test_a_file_that_changes_meanwhile_is_removed_from_the_server(toy: Toy, make_file: Make) -> None:
    """What is there is a copy of nothing."""
    path = make_file(2 * MIB)

    def change(toy: Toy, request: Any) -> Any:
        with path.open("ab") as file:
            file.write(b"more")
        return toy.answer(request)

    toy.on("PATCH", change)
    with pytest.raises(SourceChanged, match="grew"):
        await bring(toy, path, chunk_size=MIB)
    assert {} == toy.uploads
    assert "DELETE" == toy.requests[-1].method


async def test_a_change_after_the_last_piece_is_noticed(toy: Toy, make_file: Make) -> None:
    """Nobody looks at a file any more when all of it is on its way; so it is looked at when it has arrived."""
    path = make_file(MIB)

    def change(toy: Toy, request: Any) -> Any:
        path.write_bytes(b"x" * MIB)
        return toy.answer(request)

    toy.on("PATCH", change)
    with pytest.raises(SourceChanged):
        await bring(toy, path)
    assert {} == toy.uploads


async def test_a_cancelled_upload_can_be_resumed(toy: Toy, make_file: Make, told: Told) -> None:
    """What the server has stays where it is."""
    path = make_file(2 * MIB)
    toy.on("PATCH", normal, lambda toy, request: task.cancel() and None)
    task = asyncio.ensure_future(bring(toy, path, told, chunk_size=MIB))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [MIB] == [len(data) for data in toy.uploads.values()]
    assert "DELETE" not in toy.methods
