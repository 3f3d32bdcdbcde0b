"""Keys of creations: which ones count, and what has to be the same with the same key."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.protocol.requests import CT, dialect, post
from tusd_py.errors import IdempotencyKeyReused
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.creation_key import digest_of, read_key
from tusd_py.protocol.intents import Checksum, Completion, Create
from tusd_py.protocol.rules import check_same_creation

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
SHARED = {"kind": UploadKind.FINAL, "parts": ("a", "b"), "metadata": "a YQ=="}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([f'"{KEY}"'], KEY),
        ([KEY], KEY),
        ([KEY, KEY], KEY),
        (["a" * 16], "a" * 16),
        ([f'"{LETTERS * 2}"'], LETTERS * 2),
        ([], None),
        ([""], None),
        (['""'], None),
        (["a" * 15], None),
        (["a" * 129], None),
        ([f'"{KEY}'], None),
        ([f'{KEY}"'], None),
        ([f"'{KEY}'"], None),
        ([f'"{KEY}";a=1'], None),
        ([f'"{KEY}", "{KEY}"'], None),
        ([f"{KEY} "], None),
        ([f"{KEY}\n"], None),
        ([KEY + "é"], None),
        ([KEY + "\udce9"], None),
        (["0123456789abcde٣"], None),
        (["order/1234567890123456"], None),
        ([KEY, f'"{KEY}"'], None),
        ([KEY, "a" * 16], None),
    ],
)
def test_keys(values: list[str], key: str | None) -> None:
    """A key is 16 to 128 plain characters, in quotes or bare; anything else is no key, and no error either."""
    headers = CIMultiDict(("idempotency-key", value) for value in values)
    assert key == read_key(headers)
    request = post(("Upload-Length", "10"), *(("Idempotency-Key", value) for value in values))
    assert Create(length=10, key=key) == dialect().read(request)


@pytest.mark.parametrize(
    "intent",
    [
        Create(length=10, key=KEY),
        Create(key=KEY),
        Create(length=10, kind=UploadKind.PARTIAL, concat="partial", key=KEY),
        Create(kind=UploadKind.FINAL, parts=("a", "b"), key=KEY),
        Create(length=10, metadata="a YQ==", key=KEY),
        Create(length=10, metadata="a YQ==,b Yg==", key=KEY),
    ],
)
def test_another_request(intent: Create) -> None:
    """With one key only one upload can be asked for, whatever became of it; a deferred length is not 0."""
    asked = [Create(length=0), Create(**SHARED), Create(kind=UploadKind.FINAL, parts=("b", "a"))]
    for other in asked:
        with pytest.raises(IdempotencyKeyReused):
            check_same_creation(UploadInfo(id="x", creation_key=KEY, creation_digest=digest_of(intent)), other)


def test_the_same_request() -> None:
    """How the bytes come, and in which words parts are named, does not make it another one."""
    first = Create(**SHARED, concat="final;/files/a /files/b", key=KEY)
    again = Create(
        **SHARED,
        concat="final;https://example.com/files/a https://example.com/files/b",
        checksum=Checksum("sha1", b"x"),
        has_body=True,
        with_upload=True,
        body_length=7,
        completion=Completion.LATER,
        key=KEY,
    )
    upload = UploadInfo(id="x", state=UploadState.FINISHED, length=9, metadata="b", creation_digest=digest_of(first))
    check_same_creation(upload, again)


@pytest.mark.parametrize(
    ("headers", "upload", "offset"),
    [
        ((), UploadInfo(id="x", length=10), None),
        ((), UploadInfo(id="x", length=10, offset=4), "4"),
        ((), UploadInfo(id="x", length=10, offset=10, state=UploadState.FINISHED), "10"),
        ((CT,), UploadInfo(id="x", length=10), "0"),
        ((CT,), UploadInfo(id="x", length=10, offset=4), "4"),
        (
            (("Upload-Concat", "final;/files/a"),),
            UploadInfo(id="x", length=10, offset=10, kind=UploadKind.FINAL, state=UploadState.FINISHED),
            None,
        ),
    ],
)
def test_answers(headers: tuple[tuple[str, str], ...], upload: UploadInfo, offset: str | None) -> None:
    """The answer says how many bytes an upload has that was made before; a final upload is answered as ever."""
    length = () if upload.kind is UploadKind.FINAL else (("Upload-Length", "10"),)
    tus = dialect()
    intent = tus.read(post(*length, *headers, ("Idempotency-Key", KEY)))
    assert isinstance(intent, Create)
    reply = tus.created(intent, upload, "https://example.com/files/x")
    assert (reply.status, dict(reply.headers).get("Upload-Offset")) == (201, offset)
    assert dict(reply.headers)["Location"] == "https://example.com/files/x"
