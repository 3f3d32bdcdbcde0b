"""Where each row of reliability 5.2 is tested that `attacks.py` does not have, or not as a whole, and what waits."""

from __future__ import annotations

ALL = [*(str(number) for number in range(1, 61)), "23b"]

_HERE = "tests/faults/security/test_hook_security.py"

ELSEWHERE = {
    "2": "tests/web/test_files_on_disk.py::test_largest_length",
    "6": "tests/web/test_body_chunked.py::test_too_long",
    "14": "tests/web/test_framing.py::test_one_byte_chunks",
    "16": "tests/stores/test_file.py::test_names_are_never_paths",
    "17": "tests/web/test_files_on_disk.py::test_planted_at_the_data_of_an_open_upload",
    "18": "tests/web/test_files_on_disk.py::test_planted_at_the_data_of_a_finished_upload",
    "19": "tests/web/test_files_on_disk.py::test_unsafe_data_dir",
    "20": "tests/web/test_files_on_disk.py::test_modes",
    "21": "tests/faults/security/test_security_load.py::test_ids",
    "22": "tests/web/test_core_ids.py::test_clients_do_not_choose_ids tests/web/hooks/test_create.py::test_fails"
    " tests/web/hooks/test_create.py::test_id_is_taken tests/web/hooks/test_create.py::test_path_is_taken",
    "23": "tests/web/test_creation_metadata.py::test_odd_metadata_where_it_is_strict",
    "24": "tests/web/test_creation_metadata.py::test_metadata_of_any_bytes",
    "25": "tests/web/test_download_names.py::test_names",
    "26": "tests/web/test_log_lines.py::test_one_json_line_per_request",
    "27": "tests/web/test_download_names.py::test_types_that_are_saved",
    "28": "tests/web/test_download.py::test_expired_upload",
    "30": "tests/faults/networks/test_network_load.py::test_slow_readers",
    "34": "tests/web/test_cors.py::test_preflight_tells_nothing_about_uploads",
    "39": "tests/web/test_concatenation_refused.py::test_too_large_together",
    "42": "tests/web/test_cors.py::test_credentials_for_anybody_are_refused",
    "46": "tests/web/test_location.py::test_forwarded_headers_are_not_believed",
    "48": "tests/faults/networks/test_network_load.py::test_slowloris",
    "50": "tests/web/test_open_limits.py::test_too_many_at_once",
    "51": "tests/faults/security/test_security_load.py::test_announced_terabytes",
    "52": "tests/stores/test_full_disk.py::test_removal_on_a_full_disk",
    "54": f"{_HERE}::test_hostile_metadata",
    "55": f"{_HERE}::test_hostile_answers {_HERE}::test_redirects {_HERE}::test_no_tls {_HERE}::test_headers_of_others"
    " tests/hooks/test_http_nasty.py::test_an_unknown_certificate_is_a_failure",
    "56": "tests/hooks/test_http_nasty.py::test_public_only_does_not_connect_inside"
    " tests/hooks/test_http_nasty.py::test_public_only_looks_at_the_address_that_is_connected_to",
    "57": f"{_HERE}::test_hostile_programs {_HERE}::test_hostile_hooks",
    "58": f"{_HERE}::test_secrets tests/settings/test_processing.py::test_settings_as_text_hide_secrets",
    "59": "tests/hooks/test_http.py::test_every_try_is_signed_anew"
    " tests/hooks/test_signature.py::test_signature_holds_within_the_window",
}
"""By row, the tests with spaces between."""

_TENANTS = "there are no tenants"
_TOKENS = "there is no authentication: a host application has its own"
_PAGES = "there is no dashboard and no admin API yet"

NOT_YET = {
    "28": f"uploads of others: {_TENANTS}",
    "31": _TOKENS,
    "32": _TENANTS,
    "33": _TOKENS,
    "36": _TOKENS,
    "37": "there is no limit of requests per address yet; a proxy can have one",
    "38": f"parts of others: {_TENANTS}",
    "43": _PAGES,
    "44": "there is no WebSocket and no event stream yet",
    "45": _PAGES,
    "48": "no smallest rate of a body yet: who sends a byte in every network timeout is not cut off",
    "49": "there is no limit of connections yet; a proxy can have one",
    "50": f"per tenant: {_TENANTS}; there is no reserve of inodes yet",
    "53": f"JSON: {_PAGES}",
    "58": f"tokens and pages: {_TOKENS}; {_PAGES}",
    "60": "there is no address for operators yet",
}
"""What cannot be tested, as a whole or in part, because it is not there."""
