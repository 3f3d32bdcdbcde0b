"""The client's half of tus 1.0.0: what it says is what our server reads, and what servers answer is understood."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.protocol.answers import ENDPOINT, URL, answer, asked, read_creation, refusal, told
from tests.protocol.requests import CT, ID, dialect
from tests.protocol.test_fuzz import limits, uploads, values
from tusd_py import errors
from tusd_py.models.limits import EXTENSIONS, Limits
from tusd_py.models.upload import UploadInfo, UploadKind
from tusd_py.protocol.checksum import ALGORITHMS, parse_checksum
from tusd_py.protocol.intents import Append, Checksum, Create, Discover, Inspect, Terminate
from tusd_py.protocol.metadata import read_metadata
from tusd_py.protocol.tus1 import Tus1
from tusd_py.protocol.tus1_client import (
    NOTHING_KNOWN,
    Answer,
    Created,
    NotTus,
    Offer,
    Standing,
    TryAgain,
    Unauthorized,
    Verdict,
    append_head,
    concat_head,
    create_head,
    discover_head,
    inspect_head,
    read_appended,
    read_created,
    read_offer,
    read_standing,
    read_terminated,
    terminate_head,
)

sizes = st.integers(0, 2**63 - 1)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1, max_size=20)
creation_keys = st.from_regex(r"[a-f0-9]{32}-(?:[0-9]{1,2}|final)", fullmatch=True)
# As file names are: what is not UTF-8 is read as lone surrogates.
names = st.text(max_size=20) | st.sampled_from(["caf\udce9.txt", "\udce9", ""])
metadata = st.dictionaries(keys, names, max_size=10)
checksums = st.builds(Checksum, st.sampled_from(ALGORITHMS), st.binary(min_size=1, max_size=64))


# What goes out


@given(sizes | st.none(), metadata, st.booleans(), checksums | st.none(), creation_keys)
def test_our_server_reads_a_creation(
    length: int | None, pairs: dict[str, str], partial: bool, checksum: Checksum | None, key: str
) -> None:
    """CRE-POST-01, CWU-01, CAT-01, CSUM-01, DEF-01: whatever is created, the server is asked for just that."""
    with_data = checksum is not None
    fields = create_head(
        length=length,
        metadata=pairs,
        partial=partial,
        with_data=with_data,
        checksum=checksum,
        key=key,
    )
    intent = dialect(strict_metadata=True).read(asked("POST", fields, body=int(with_data)))

    assert isinstance(intent, Create)
    assert key == intent.key
    assert (length, UploadKind.PARTIAL if partial else UploadKind.SINGLE) == (intent.length, intent.kind)
    assert (with_data, with_data, checksum) == (intent.has_body, intent.with_upload, intent.checksum)
    assert {key: value.encode(errors="replace").decode() for key, value in pairs.items()} == read_metadata(
        intent.metadata
    )


@given(sizes, sizes | st.none(), checksums | st.none())
def test_our_server_reads_an_append(offset: int, length: int | None, checksum: Checksum | None) -> None:
    """CORE-PATCH-01, DEF-02, CSUM-01: offset, total and digest arrive as they were given."""
    fields = append_head(offset, length=length, checksum=checksum)
    intent = dialect().read(asked("PATCH", fields, upload_id=ID, body=1))

    assert Append(upload_id=ID, offset=offset, length=length, checksum=checksum, has_body=True, body_length=1) == intent


@given(st.lists(ids, min_size=1, max_size=5), metadata)
def test_our_server_reads_a_concatenation(parts: list[str], pairs: dict[str, str]) -> None:
    """CAT-05, CAT-12: the parts in order, by their URLs, without a length."""
    fields = concat_head([ENDPOINT + part for part in parts], pairs)
    intent = dialect().read(asked("POST", fields))

    assert isinstance(intent, Create)
    assert (UploadKind.FINAL, tuple(parts), None) == (intent.kind, intent.parts, intent.length)
    assert pairs.keys() == read_metadata(intent.metadata).keys()


def test_our_server_reads_what_has_no_arguments() -> None:
    """CORE-HEAD-01, TERM-01, CORE-OPT-06: an OPTIONS names no version."""
    tus = dialect()

    assert Inspect(upload_id=ID) == tus.read(asked("HEAD", inspect_head(), upload_id=ID))
    assert Terminate(upload_id=ID) == tus.read(asked("DELETE", terminate_head(), upload_id=ID))
    assert Discover() == tus.read(asked("OPTIONS", discover_head()))
    assert "Tus-Resumable" not in discover_head()


def test_heads_have_nothing_that_nobody_asked_for() -> None:
    """A9: some servers refuse an empty Upload-Metadata, others a media type without a body."""
    assert {"Tus-Resumable": "1.0.0", "Upload-Length": "0"} == create_head(length=0, metadata={})
    assert {"Tus-Resumable": "1.0.0", "Upload-Concat": "final;/a /b"} == concat_head(["/a", "/b"], {})
    assert {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": CT[1]} == append_head(0)


def test_the_key_of_a_creation() -> None:
    """A structured string, so that a server that parses it finds the same on every attempt."""
    assert '"ab12-final"' == create_head(length=1, metadata={}, key="ab12-final")["Idempotency-Key"]
    assert '"ab12-final"' == concat_head(["/a"], {}, "ab12-final")["Idempotency-Key"]


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ä", "a\n"])
def test_metadata_that_cannot_be_sent(key: str) -> None:
    """CRE-META-01: a key is refused here, before anything is sent."""
    with pytest.raises(errors.InvalidMetadata):
        create_head(length=1, metadata={key: "x"})


# What our server answers


@given(limits)
def test_the_offer_of_our_server(limits: Limits) -> None:
    """CORE-OPT-03 to -07: every limit and extension is understood."""
    offer = read_offer(told(Tus1(limits).discovered()))

    expected = limits.max_size if limits.max_size is None or limits.max_size < 2**63 else None
    assert expected == offer.max_size
    assert offer.extensions <= set(EXTENSIONS)
    assert ("checksum" in offer.extensions) is (offer.algorithm == "sha256")
    assert offer.algorithms == (ALGORITHMS if offer.offers("checksum") else ())


@given(uploads, limits, st.booleans())
def test_the_successes_of_our_server(upload: UploadInfo, limits: Limits, body: bool) -> None:
    """CRE-POST-01, CORE-HEAD-01, CORE-PATCH-01, TERM-01: numbers and places come back as they are."""
    tus = Tus1(limits)
    says_offset = body or (upload.offset > 0 and upload.kind is not UploadKind.FINAL)
    created = tus.created(Create(has_body=body), upload, f"/files/{ID}")

    assert Created(URL, upload.offset if says_offset else None) == read_created(told(created), ENDPOINT)
    assert Standing(upload.offset, upload.length) == read_standing(told(tus.inspected(upload, URL)))
    assert upload.offset == read_appended(told(tus.appended(upload, URL)))
    read_terminated(told(tus.terminated()))


# What others answer


@pytest.mark.parametrize(
    ("location", "endpoint", "expected"),
    [
        ("https://uploads.example/files/a", ENDPOINT, "https://uploads.example/files/a"),
        ("/files/a", ENDPOINT, "https://uploads.example/files/a"),
        ("a", ENDPOINT, "https://uploads.example/files/a"),
        ("../b?c=d", "http://h:1080/x/y/", "http://h:1080/x/b?c=d"),
        ("//cdn.example/a", ENDPOINT, "https://cdn.example/a"),
        ("http://cdn.example/a", ENDPOINT, "http://cdn.example/a"),
        ("http://uploads.example/files/a", ENDPOINT, "https://uploads.example/files/a"),
        ("http://Uploads.example:80/files/a", ENDPOINT, "https://uploads.example/files/a"),
        ("http://uploads.example:8080/files/a", ENDPOINT, "https://uploads.example/files/a"),
        ("http://h/a", "https://h:8443/files", "https://h:8443/a"),
        ("https://h/a", "http://h/files", "https://h/a"),
        ("http://[::1]:8080/a", "http://[::1]:8080/", "http://[::1]:8080/a"),
        ("/files/ä b", ENDPOINT, "https://uploads.example/files/%C3%A4%20b"),
    ],
)
def test_where_an_upload_is(location: str, endpoint: str, expected: str) -> None:
    """CRE-POST-02, peers: section 6 row 7. Relative, absolute, and of a server that does not know of its TLS."""
    assert Created(expected, None) == read_created(answer(201, Location=location), endpoint)


@pytest.mark.parametrize(
    "location", ["", "ftp://h/a", "http://", "http://[", "http://h:0/", "http://h:x/", "http://h\\a", "data:,a"]
)
def test_where_an_upload_cannot_be(location: str) -> None:
    """A place that cannot be asked for over HTTP is none."""
    verdict = refusal(read_creation, answer(201, Location=location))

    assert (NotTus, 201) == (type(verdict), verdict.status)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        (answer(201, Location=URL, Upload_Offset="5"), Created(URL, 5)),
        (answer(200, Location=URL), Created(URL, None)),
        (answer(201, Location=URL, Upload_Offset="x"), Created(URL, None)),
    ],
)
def test_creations_of_others(given_answer: Answer, expected: Created) -> None:
    """A hook may choose the status of a success."""
    assert expected == read_created(given_answer, ENDPOINT)


def test_a_form_is_no_tus_server() -> None:
    """A page that takes any POST makes no upload."""
    verdict = refusal(read_creation, answer(200, b"<html>Thank you"))

    assert (NotTus, 200) == (type(verdict), verdict.status)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        (answer(204, Upload_Offset="5", Upload_Length="10"), Standing(5, 10)),
        (answer(200, Upload_Offset="5", Upload_Defer_Length="1"), Standing(5, None)),
        (answer(200, Upload_Offset="5"), Standing(5, None)),
        (answer(200, Upload_Offset=" 5", Upload_Length="many"), Standing(5, None)),
    ],
)
def test_standings_of_others(given_answer: Answer, expected: Standing) -> None:
    """CORE-HEAD-01: 200 or 204, with a length or without."""
    assert expected == read_standing(given_answer)


@pytest.mark.parametrize("offset", [None, "", "-1", "+5", "1e3", "9" * 19, "9" * 400])
def test_no_standing(offset: str | None) -> None:
    """A HEAD that any page would answer like that says nothing of an upload."""
    found = answer(200) if offset is None else answer(200, Upload_Offset=offset)

    assert NotTus is type(refusal(read_standing, found))


def test_two_standings() -> None:
    """Reliability 5.2 row 7: an answer that contradicts itself is not believed."""
    twice = Answer(200, CIMultiDict([("Upload-Offset", "5"), ("Upload-Offset", "6")]))

    assert NotTus is type(refusal(read_standing, twice))


def test_a_final_upload_that_is_not_ready() -> None:
    """Concatenation: the offset of a final upload is not told before its parts are put together."""
    verdict = refusal(read_standing, answer(200, Upload_Concat="final;/a /b"))

    assert TryAgain is type(verdict)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        (answer(204, Upload_Offset="5"), 5),
        (answer(200, b"{}", Upload_Offset="5"), 5),
        (answer(204), None),
        (answer(204, Upload_Offset="-5"), None),
    ],
)
def test_appends_of_others(given_answer: Answer, expected: int | None) -> None:
    """CORE-PATCH-01: a success that does not say the offset is one all the same."""
    assert expected == read_appended(given_answer)


@pytest.mark.parametrize(
    ("given_answer", "expected"),
    [
        (
            answer(
                204, Tus_Version="1.0.0,0.2.2", Tus_Extension="Creation, checksum", Tus_Checksum_Algorithm="MD5,sha1"
            ),
            Offer(extensions=frozenset({"creation", "checksum"}), algorithms=("md5", "sha1")),
        ),
        (answer(200, Tus_Version="1.0.0", Tus_Max_Size="10"), Offer(max_size=10)),
        (answer(200, Tus_Extension="termination"), Offer(extensions=frozenset({"termination"}))),
        (answer(200, Tus_Version="1.0.0", Tus_Max_Size="9" * 30), NOTHING_KNOWN),
        (answer(200, b"<html>"), NOTHING_KNOWN),
        (answer(403), NOTHING_KNOWN),
        (answer(404), NOTHING_KNOWN),
        (answer(405), NOTHING_KNOWN),
        (answer(501), NOTHING_KNOWN),
    ],
)
def test_offers_of_others(given_answer: Answer, expected: Offer) -> None:
    """CORE-OPT-01: who is not used to the question may still be good at the rest."""
    assert expected == read_offer(given_answer)


@pytest.mark.parametrize(
    ("given_answer", "expected", "reason"),
    [
        (answer(204, Tus_Version="0.2.2"), NotTus, "the server speaks tus 0.2.2, not 1.0.0"),
        (answer(412, Tus_Version="2.0.0"), NotTus, "the server speaks tus 2.0.0, not 1.0.0"),
        (answer(412), NotTus, "the server does not speak tus 1.0.0"),
        (answer(301, Location="/upload"), NotTus, "the server redirects to /upload; use that URL"),
        (answer(401), Unauthorized, "HTTP 401 Unauthorized"),
        (answer(503), TryAgain, "HTTP 503 Service Unavailable"),
    ],
)
def test_no_offers(given_answer: Answer, expected: type[Verdict], reason: str) -> None:
    """What would go wrong with everything else is told before anything else is sent."""
    verdict = refusal(read_offer, given_answer)

    assert (expected, reason) == (type(verdict), verdict.reason)


@pytest.mark.parametrize(
    ("extensions", "algorithms", "expected"),
    [
        ({"checksum"}, ("md5", "sha1", "sha256"), "sha256"),
        ({"checksum"}, ("sha1", "md5"), "sha1"),
        ({"checksum"}, ("md5", "crc32"), None),
        ({"creation"}, ("sha1",), None),
    ],
)
def test_the_checksum_to_send(extensions: set[str], algorithms: tuple[str, ...], expected: str | None) -> None:
    """CSUM-01: the better one of the two that every server with checksums has."""
    assert expected == Offer(extensions=frozenset(extensions), algorithms=algorithms).algorithm


@given(values, st.sampled_from([ENDPOINT, "http://h:1080"]))
def test_wherever_an_upload_is(location: str, endpoint: str) -> None:
    """CRE-POST-02: what is returned is an absolute URL in plain ASCII; never http where the endpoint has https."""
    with contextlib.suppress(NotTus):
        url = read_created(answer(201, Location=location), endpoint).url

        assert url.startswith(("http://", "https://"))
        assert url.isascii()
        assert url.isprintable()
        assert not url.startswith("http://uploads.example")


def test_checksums_are_written_as_they_are_read() -> None:
    """CSUM-01: the example of the specification."""
    value = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="

    assert value == append_head(0, checksum=parse_checksum(value))["Upload-Checksum"]
