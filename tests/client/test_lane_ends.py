"""What looks like the end of an upload and is not, and what is: lost, rejected, refused, or somebody on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.test_lane import bring, stored
from tests.client.toy import Rule, Toy, cuts, losing, normal, says, swallows
from tusd_py.client.errors import GaveUp, NotATusServer, Refused
from tusd_py.client.records import Restarted, Retrying

MIB = 2**20
Make = Callable[..., Path]


@pytest.mark.parametrize("trouble", [losing(says(404)), losing(says(410)), losing()])
async def test_an_upload_that_vanished_is_begun_anew(toy: Toy, make_file: Make, told: Told, trouble: Rule) -> None:
    """In the middle, with another key: this is another upload."""
    path = make_file(2 * MIB)
    toy.on("PATCH", normal, trouble)
    done = await bring(toy, path, told, chunk_size=MIB)
    assert path.read_bytes() == stored(toy, done)
    assert ["Created", "Restarted", "Finished"] == told.story
    first, second = (each.headers["Idempotency-Key"] for each in toy.asked("POST"))
    assert first != second


async def test_an_upload_that_vanishes_for_ever_is_given_up(toy: Toy, make_file: Make, told: Told) -> None:
    """Five times without reaching further than before."""
    toy.always("PATCH", losing())
    with pytest.raises(GaveUp, match="lost 5 times"):
        await bring(toy, make_file(MIB), told)
    assert 5 == len(told.of(Restarted))


async def test_an_upload_that_reaches_further_each_time_goes_on(toy: Toy, make_file: Make, told: Told) -> None:
    """Not five times in all: five times without getting further."""
    path = make_file(8 * MIB)
    steps: list[Rule] = []
    for reach in range(1, 8):
        steps += [normal] * reach + [losing()]
    toy.on("PATCH", *steps)
    done = await bring(toy, path, told, chunk_size=MIB)
    assert path.read_bytes() == stored(toy, done)
    assert 7 == len(told.of(Restarted))


async def test_a_rejection_is_told_in_the_words_of_the_server(toy: Toy, make_file: Make) -> None:
    """410 with ERR_UPLOAD_REJECTED is no upload that vanished."""
    toy.on("PATCH", says(410, "ERR_UPLOAD_REJECTED: there is a virus in it\n"))
    with pytest.raises(Refused, match=r"^there is a virus in it$") as caught:
        await bring(toy, make_file(MIB))
    assert (410, "ERR_UPLOAD_REJECTED") == (caught.value.status, caught.value.error)
    assert 1 == len(toy.asked("POST"))


async def test_a_rejection_whose_answer_was_lost_is_found(toy: Toy, make_file: Make) -> None:
    """HEAD says 410 without a word; an empty PATCH says why."""
    toy.on("PATCH", swallows, says(410, "ERR_UPLOAD_REJECTED: there is a virus in it\n"))
    toy.always("HEAD", says(410))
    with pytest.raises(Refused, match=r"^there is a virus in it$"):
        await bring(toy, make_file(MIB))
    assert b"" == toy.asked("PATCH")[1].body


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (says(413, "ERR_MAX_SIZE_EXCEEDED: too large"), "too large"),
        (says(400, "ERR_UPLOAD_STOPPED: enough"), "enough"),
        (says(403, "<html>no</html>", Content_Type="text/html"), "HTTP 403 Forbidden"),
        (says(501), "HTTP 501 Not Implemented"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_no_is_a_no(toy: Toy, make_file: Make, trouble: Rule, sentence: str, method: str) -> None:
    """What would be answered alike is not tried again, and told in the server's words."""
    toy.always(method, trouble)
    with pytest.raises(Refused) as caught:
        await bring(toy, make_file(MIB))
    assert sentence == caught.value.sentence
    assert caught.value.status >= 400
    assert 1 == len(toy.asked(method))


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [(100, [3 * MIB, MIB, 2**18]), (MIB, [3 * MIB, MIB, MIB, MIB]), (3 * MIB - 1, [3 * MIB, MIB, MIB, MIB])],
)
async def test_a_proxy_that_takes_no_large_requests_gets_smaller_ones(
    toy: Toy, make_file: Make, limit: int, sizes: list[int]
) -> None:
    """413 that is not the server's: in steps, as far as makes sense."""

    def limited(toy: Toy, request: Any) -> Any:
        return toy.answer(request) if len(request.body) <= limit else says(413, "<html>")(toy, request)

    path = make_file(3 * MIB)
    toy.always("PATCH", limited)
    if limit < 2**18:
        with pytest.raises(Refused) as caught:
            await bring(toy, path)
        assert 413 == caught.value.status
    else:
        assert path.read_bytes() == stored(toy, await bring(toy, path))
    assert sizes == [len(each.body) for each in toy.asked("PATCH")]


@pytest.mark.parametrize("answer", [says(413, "ERR_MAX_SIZE_EXCEEDED: no"), says(413, "no", Tus_Resumable="1.0.0")])
async def test_a_server_that_finds_the_file_too_large_is_not_asked_again(
    toy: Toy, make_file: Make, answer: Rule
) -> None:
    """It is not about the size of one request."""
    toy.always("PATCH", answer)
    with pytest.raises(Refused):
        await bring(toy, make_file(3 * MIB))
    assert 1 == len(toy.asked("PATCH"))


async def test_a_404_of_somebody_else_is_waited_for(toy: Toy, make_file: Make, told: Told) -> None:
    """While a server is started anew, the proxy before it says of every URL that nothing is there."""
    path = make_file(3 * MIB)
    toy.on("PATCH", normal, says(404))
    toy.on("OPTIONS", normal, says(404), says(404))
    toy.on("HEAD", says(404), normal)
    done = await bring(toy, path, told, chunk_size=MIB)
    assert path.read_bytes() == stored(toy, done)
    assert ["Created", "Retrying", "Retrying", "Finished"] == told.story
    assert 1 == len(toy.uploads)


@pytest.mark.parametrize("opinion", [normal, says(409), says(401), cuts, says(503)])
async def test_an_upload_that_is_there_after_all_goes_on(toy: Toy, make_file: Make, told: Told, opinion: Rule) -> None:
    """When everything had been sent, it is asked for in another way before it counts as lost."""
    path = make_file(3 * MIB)
    toy.on("PATCH", swallows, opinion)
    toy.on("HEAD", says(404))
    done = await bring(toy, path, told)
    assert path.read_bytes() == stored(toy, done)
    assert ["Created", "Retrying", "Retrying", "Finished"] == told.story
    assert 1 == len(toy.asked("POST"))


async def test_a_creation_is_waited_for_where_uploads_were_created_before(
    toy: Toy, make_file: Make, told: Told
) -> None:
    """The same, when it is the first thing that is asked after OPTIONS."""
    path = make_file(MIB)
    toy.on("POST", says(404))
    toy.on("OPTIONS", normal, says(502))
    assert path.read_bytes() == stored(toy, await bring(toy, path, told))
    assert ["Retrying", "Created", "Finished"] == told.story


async def test_a_url_where_nothing_is(toy: Toy, make_file: Make) -> None:
    """404 to the creation is no upload that vanished; the sentence says where there is none."""
    toy.always("POST", says(404))
    with pytest.raises(Refused, match=f"no uploads can be created at {toy.url} .*404.*; is it the right URL"):
        await bring(toy, make_file(MIB))
    assert 1 == len(toy.asked("POST"))


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("OPTIONS", says(204, Tus_Version="0.2.2")),
        ("OPTIONS", says(301, Location="https://elsewhere.example/")),
        ("POST", says(201)),
        ("POST", says(302, Location="https://elsewhere.example/")),
        ("POST", says(412)),
    ],
)
async def test_whoever_does_not_speak_tus_is_told_apart(toy: Toy, make_file: Make, method: str, rule: Rule) -> None:
    """Before it ever spoke it, at once."""
    toy.always(method, rule)
    with pytest.raises(NotATusServer):
        await bring(toy, make_file(MIB))
    assert 1 == len(toy.asked(method))


async def test_a_server_that_answers_no_options_is_tried(toy: Toy, make_file: Make) -> None:
    """Proxies answer it themselves, or not at all."""
    toy.always("OPTIONS", says(405))
    path = make_file(10)
    assert path.read_bytes() == stored(toy, await bring(toy, path))
    assert "OPTIONS POST PATCH" == toy.methods


class TestTokens:
    async def test_a_token_that_was_renewed_is_used_at_once(self, toy: Toy, make_file: Make, told: Told) -> None:
        """401 in the middle: asked again, it is another one; nothing is waited for."""
        tokens = {"now": "old"}

        def wants_new(toy: Toy, request: Any) -> Any:
            if request.headers["Authorization"] == "Bearer new":
                return toy.answer(request)
            tokens["now"] = "new"
            return says(401)(toy, request)

        async def token() -> str:
            return tokens["now"]

        path = make_file(MIB)
        toy.always("PATCH", wants_new)
        assert path.read_bytes() == stored(toy, await bring(toy, path, told, token=token))
        assert [] == told.of(Retrying)

    @pytest.mark.parametrize("token", [None, "wrong", lambda: "wrong"])
    async def test_a_token_that_stays_wrong_is_refused(self, toy: Toy, make_file: Make, token: Any) -> None:
        """After three more attempts."""
        toy.always("POST", says(401, "who are you?"))
        with pytest.raises(Refused, match=r"^who are you\?$") as caught:
            await bring(toy, make_file(MIB), token=token)
        assert 401 == caught.value.status
        assert 4 == len(toy.asked("POST"))

    async def test_tokens_that_are_always_new_are_not_tried_for_ever(self, toy: Toy, make_file: Make) -> None:
        """One that is signed anew for each request is never the same, and never right."""
        numbers = iter(range(1000))
        toy.always("PATCH", says(401))
        with pytest.raises(Refused):
            await bring(toy, make_file(MIB), token=lambda: f"token-{next(numbers)}")
        assert 4 == len(toy.asked("PATCH"))
