"""The pure decisions of the engine."""

from __future__ import annotations

from typing import Any

import pytest

from tusd_py.errors import (
    InvalidConcat,
    InvalidUploadLength,
    MaxSizeExceeded,
    MismatchedOffset,
    ModifyFinal,
    TusError,
    UploadExpired,
    UploadNotFinished,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.models.limits import EXTENSIONS, Limits
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.intents import Append, Completion, Create
from tusd_py.protocol.rules import (
    AppendPlan,
    check_create,
    check_parts,
    check_visible,
    enabled_extensions,
    is_complete,
    is_gone,
    plan_append,
)

NOW = 1_000_000.0
HUGE = 2**63 - 1


def info(**fields: Any) -> UploadInfo:
    return UploadInfo(id="u", **fields)


def part(offset: int, **fields: Any) -> UploadInfo:
    values = {"kind": UploadKind.PARTIAL, "state": UploadState.FINISHED, "offset": offset, "length": offset}
    return info(**values | fields)


def append(offset: int, body: int | None = 0, length: int | None = None) -> Append:
    return Append(upload_id="u", offset=offset, length=length, has_body=body != 0, body_length=body)


def test_extensions_are_on_in_their_order() -> None:
    """CORE-OPT-03: by default all of them."""
    assert EXTENSIONS == enabled_extensions(Limits())


@pytest.mark.parametrize("off", EXTENSIONS)
def test_one_extension_off(off: str) -> None:
    """CORE-OPT-07: only its token disappears, but creation takes creation-with-upload along."""
    gone = {off, "creation-with-upload"} if off == "creation" else {off}
    limits = Limits(extensions=frozenset(EXTENSIONS) - {off})

    assert tuple(name for name in EXTENSIONS if name not in gone) == enabled_extensions(limits)


def test_no_expiration_without_a_period() -> None:
    """EXP-10: the extension is off when nothing expires."""
    assert "expiration" not in enabled_extensions(Limits(expire_after=None))


@pytest.mark.parametrize(
    "upload", [None, info(state=UploadState.DELETING), info(state=UploadState.ASSEMBLING, kind=UploadKind.FINAL)]
)
def test_invisible(upload: UploadInfo | None) -> None:
    """CORE-HEAD-07, CORE-HEAD-08, TERM-01, CAT-20: unknown, on its way out, and not yet a final upload."""
    with pytest.raises(UploadNotFound):
        check_visible(upload, NOW)


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        pytest.param({"expires_at": NOW + 1}, False, id="in-time"),
        pytest.param({"expires_at": None}, False, id="never"),
        pytest.param({"expires_at": NOW}, True, id="EXP-04-now"),
        pytest.param({"expires_at": NOW - 9}, True, id="EXP-04"),
        pytest.param({"expires_at": NOW - 9, "kind": UploadKind.PARTIAL}, True, id="EXP-04-partial"),
        pytest.param({"expires_at": NOW - 9, "state": UploadState.FINISHED}, False, id="EXP-06"),
        pytest.param(
            {"expires_at": NOW - 9, "state": UploadState.FINISHED, "kind": UploadKind.FINAL}, False, id="EXP-06-final"
        ),
        pytest.param(
            {"expires_at": NOW - 9, "state": UploadState.FINISHED, "kind": UploadKind.PARTIAL}, True, id="EXP-09"
        ),
        pytest.param(
            {"expires_at": None, "state": UploadState.FINISHED, "kind": UploadKind.PARTIAL}, False, id="EXP-09-never"
        ),
    ],
)
def test_expiry(fields: dict[str, Any], gone: bool) -> None:
    """EXP-04, -06, -09: unfinished uploads and finished partials expire, finished uploads never."""
    upload = info(**fields)

    assert gone is is_gone(upload, NOW)
    if gone:
        with pytest.raises(UploadExpired):
            check_visible(upload, NOW)
    else:
        assert upload is check_visible(upload, NOW)


@pytest.mark.parametrize(
    ("intent", "max_size"),
    [
        pytest.param(Create(length=400), 400, id="CRE-POST-11"),
        pytest.param(Create(length=0), 0, id="CRE-POST-07"),
        pytest.param(Create(length=HUGE), None, id="CRE-POST-10"),
        pytest.param(Create(length=5, has_body=True, body_length=5), None, id="CWU-02"),
        pytest.param(Create(length=5, has_body=True, body_length=None), 5, id="CWU-09"),
        pytest.param(Create(has_body=True, body_length=5), 5, id="CWU-06"),
        pytest.param(Create(kind=UploadKind.FINAL, parts=("a",)), 0, id="CAT-02"),
    ],
)
def test_creations_that_fit(intent: Create, max_size: int | None) -> None:
    """Sizes up to the limit are fine."""
    check_create(intent, Limits(max_size=max_size))


@pytest.mark.parametrize(
    ("intent", "max_size", "error"),
    [
        pytest.param(Create(length=401), 400, MaxSizeExceeded, id="CRE-POST-11"),
        pytest.param(Create(length=5, has_body=True, body_length=12), None, UploadSizeExceeded, id="CWU-04"),
        pytest.param(Create(length=9, has_body=True, body_length=12), 8, MaxSizeExceeded, id="CWU-04-max"),
        pytest.param(Create(has_body=True, body_length=9), 8, MaxSizeExceeded, id="DEF-11"),
        pytest.param(Create(has_body=True, body_length=2**63), None, MaxSizeExceeded, id="I2"),
        pytest.param(Create(has_body=True, body_length=2**63), 2**70, MaxSizeExceeded, id="I2-max"),
    ],
)
def test_creations_that_do_not_fit(intent: Create, max_size: int | None, error: type[TusError]) -> None:
    """CRE-POST-11, CWU-04: refused before anything is created."""
    with pytest.raises(error):
        check_create(intent, Limits(max_size=max_size))


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        pytest.param([part(5), part(6)], 11, id="CAT-02"),
        pytest.param([part(5), part(5)], 10, id="CAT-07"),
        pytest.param([part(0)], 0, id="CAT-16"),
        pytest.param([part(100)], 100, id="CAT-13"),
    ],
)
def test_the_length_of_a_final_upload(parts: list[UploadInfo], total: int) -> None:
    """CAT-02, -07, -16: the sum of the lengths of its parts."""
    intent = Create(kind=UploadKind.FINAL, parts=("u",) * len(parts))

    assert total == check_parts(intent, parts, Limits(max_size=100), NOW)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        pytest.param(part(2, state=UploadState.OPEN, length=5), UploadNotFinished, id="CAT-08"),
        pytest.param(part(2, state=UploadState.OPEN, length=None), UploadNotFinished, id="CAT-08-deferred"),
        pytest.param(None, UploadNotFound, id="CAT-09"),
        pytest.param(part(2, state=UploadState.DELETING), UploadNotFound, id="CAT-09-terminated"),
        pytest.param(part(2, expires_at=NOW - 1), UploadExpired, id="EXP-09"),
        pytest.param(part(2, kind=UploadKind.SINGLE), InvalidConcat, id="CAT-10"),
        pytest.param(part(2, kind=UploadKind.SINGLE, state=UploadState.OPEN), InvalidConcat, id="CAT-10-open"),
        pytest.param(part(2, kind=UploadKind.FINAL), InvalidConcat, id="CAT-10-final"),
        pytest.param(part(100), MaxSizeExceeded, id="CAT-13"),
    ],
)
def test_parts_that_cannot_be_joined(bad: UploadInfo | None, error: type[TusError]) -> None:
    """CAT-08 to -10, -13, row 38."""
    intent = Create(kind=UploadKind.FINAL, parts=("u", "v"))

    with pytest.raises(error):
        check_parts(intent, [part(5), bad], Limits(max_size=100), NOW)


def test_the_sum_is_bounded_without_a_limit() -> None:
    """I2, row 39: whatever the arithmetic."""
    with pytest.raises(MaxSizeExceeded):
        check_parts(Create(parts=("u", "v")), [part(HUGE), part(1)], Limits(), NOW)


def test_every_name_needs_its_upload() -> None:
    """CAT-09: a store that answers with fewer uploads than asked must not shorten a final upload."""
    with pytest.raises(InvalidConcat):
        check_parts(Create(parts=("u", "v")), [part(1)], Limits(), NOW)


DONE = {"state": UploadState.FINISHED, "offset": 11, "length": 11}
DEFERRED = {"offset": 5, "length": None}


@pytest.mark.parametrize(
    ("fields", "intent", "max_size", "plan"),
    [
        pytest.param({"length": 11}, append(0, 5), None, (11, 11, UploadSizeExceeded), id="CORE-PATCH-01"),
        pytest.param({"offset": 5, "length": 11}, append(5, 6), None, (11, 6, UploadSizeExceeded), id="CORE-PATCH-02"),
        pytest.param({"length": 11}, append(0, None), None, (11, 11, UploadSizeExceeded), id="CORE-BODY-01"),
        pytest.param(DONE, append(11), None, (11, 0, UploadSizeExceeded), id="CORE-PATCH-12"),
        pytest.param(DONE, append(11, None), None, (11, 0, UploadSizeExceeded), id="CORE-PATCH-13-chunked"),
        pytest.param(DONE, append(11, 0, 11), None, (11, 0, UploadSizeExceeded), id="DEF-05-finished"),
        pytest.param({"length": 11}, append(0), None, (11, 11, UploadSizeExceeded), id="CORE-PATCH-14"),
        pytest.param({"length": None}, append(0, 12, 12), None, (12, 12, UploadSizeExceeded), id="DEF-01"),
        pytest.param({"length": None}, append(0, 5), None, (None, None, MaxSizeExceeded), id="DEF-02"),
        pytest.param(DEFERRED, append(5, 0, 5), None, (5, 0, UploadSizeExceeded), id="DEF-03"),
        pytest.param({"length": 11}, append(0, 1, 11), None, (11, 11, UploadSizeExceeded), id="DEF-05"),
        pytest.param(DEFERRED, append(5, None, 8), 8, (8, 3, UploadSizeExceeded), id="DEF-07-equal"),
        pytest.param(DEFERRED, append(5, None), 8, (None, 3, MaxSizeExceeded), id="DEF-10"),
        pytest.param(DEFERRED, append(5, 3), 8, (None, 3, MaxSizeExceeded), id="DEF-11-equal"),
        pytest.param(DEFERRED, append(5, None), 3, (None, 0, MaxSizeExceeded), id="I2-limit-lowered"),
        pytest.param(
            {"kind": UploadKind.PARTIAL, "length": 5}, append(0, 5), None, (5, 5, UploadSizeExceeded), id="CAT-01"
        ),
    ],
)
def test_appends_that_may_go_on(
    fields: dict[str, Any], intent: Append, max_size: int | None, plan: tuple[Any, ...]
) -> None:
    """What the body may bring, and which error it is when it brings more."""
    assert AppendPlan(*plan) == plan_append(info(**fields), intent, Limits(max_size=max_size))


FINAL = {"kind": UploadKind.FINAL, **DONE}


@pytest.mark.parametrize(
    ("fields", "intent", "max_size", "error"),
    [
        pytest.param(FINAL, append(11), None, ModifyFinal, id="CORE-PATCH-11"),
        pytest.param(FINAL, append(3, 5), None, ModifyFinal, id="CORE-PATCH-11-wins-over-409"),
        pytest.param({"offset": 5, "length": 11}, append(4), None, MismatchedOffset, id="CORE-PATCH-06-lower"),
        pytest.param({"offset": 5, "length": 11}, append(6), None, MismatchedOffset, id="CORE-PATCH-06-higher"),
        pytest.param(DONE, append(0, 11), None, MismatchedOffset, id="CORE-PATCH-06-finished"),
        pytest.param({"length": 5}, append(0, 12), None, UploadSizeExceeded, id="CORE-PATCH-10"),
        pytest.param({"offset": 1, "length": 5}, append(1, HUGE), None, UploadSizeExceeded, id="row-5"),
        pytest.param({"offset": 1}, append(1, HUGE), None, MaxSizeExceeded, id="row-5-deferred"),
        pytest.param(DONE, append(11, 1), None, UploadSizeExceeded, id="CORE-PATCH-13"),
        pytest.param({"length": 11}, append(0, 1, 12), None, InvalidUploadLength, id="DEF-04"),
        pytest.param(DONE, append(11, 0, 12), None, InvalidUploadLength, id="DEF-04-finished"),
        pytest.param(DEFERRED, append(5, 0, 4), None, InvalidUploadLength, id="DEF-06"),
        pytest.param(DEFERRED, append(5, 0, 9), 8, MaxSizeExceeded, id="DEF-07"),
        pytest.param(DEFERRED, append(5, 4, 8), None, UploadSizeExceeded, id="DEF-08"),
        pytest.param(DEFERRED, append(5, 4), 8, MaxSizeExceeded, id="DEF-11"),
        pytest.param(DEFERRED, append(4, 0, 3), 2, MismatchedOffset, id="DEF-13"),
    ],
)
def test_appends_that_are_refused(
    fields: dict[str, Any], intent: Append, max_size: int | None, error: type[TusError]
) -> None:
    """The first rule that fails answers, and the error carries the upload."""
    upload = info(**fields)

    with pytest.raises(error) as caught:
        plan_append(upload, intent, Limits(max_size=max_size))

    assert error is caught.type
    assert upload is caught.value.upload


@pytest.mark.parametrize(
    ("completion", "offset", "length", "expected"),
    [
        (Completion.WHEN_FULL, 11, 11, True),
        (Completion.WHEN_FULL, 0, 0, True),
        (Completion.WHEN_FULL, 5, 11, False),
        (Completion.WHEN_FULL, 5, None, False),
        (Completion.NOW, 5, None, True),
        (Completion.NOW, 11, 11, True),
        (Completion.LATER, 11, 11, False),
        (Completion.LATER, 5, None, False),
    ],
)
def test_completeness(completion: Completion, offset: int, length: int | None, expected: bool) -> None:
    """CRE-POST-07, RUFH-APP-04: finishing is a wish of the client, not a property of numbers."""
    assert expected is is_complete(completion, offset, length)
