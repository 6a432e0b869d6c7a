import email.utils
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from shipper.loki.verdict import (
    RETRY_AFTER_MAX_S,
    Action,
    LokiState,
    Outcome,
    Verdict,
    judge,
    judge_failure,
    loki_state,
)
from shipper.records import Reason

NOW_S = 1_800_000_000.0
HTML = "<html><body>nginx</body></html>"
TOO_OLD = (
    """entry for stream '{service="chat"}' has timestamp too old: 2020-01-01T00:00:00Z, """
    "oldest acceptable timestamp is: 2026-01-01T00:00:00Z"
)
TOO_FAR_BEHIND = (
    "entry with timestamp 2026-10-07 01:35:32 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: "
    "2026-10-07T01:35:32Z, oldest acceptable timestamp is: 2026-10-07T03:23:59Z',\n"
    "user 'fake', total ignored: 1 out of 1 for stream: {a=\"b\"}"
)
OUT_OF_ORDER = (
    "entry with timestamp 2026-10-07 01:35:32 +0000 UTC ignored, reason: 'entry out of order',\n"
    "user 'fake', total ignored: 1 out of 1 for stream: {a=\"b\"}"
)
BEHIND_A_RATE = (
    "entry with timestamp 2026-10-07 01:35:32 +0000 UTC ignored, reason: 'Per stream rate limit exceeded',\n"
)
DISALLOWED = (
    "stream '{a=\"b\"}' includes structured metadata, but this feature is disallowed. "
    "Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
)
TLS_PORT = "Client sent an HTTP request to an HTTPS server.\n"
STREAM_LIMIT = """maximum active stream limit exceeded when trying to create stream {a="b"}, reduce the number of …"""


def verdict(status: int, body: str = "", **headers: str) -> Verdict:
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return judge(status, named, body, now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "body", "content_type", "action", "outcome"),
    [
        (204, "", "", Action.DELIVERED, Outcome.DELIVERED),
        (200, HTML, "text/html", Action.RETRY, Outcome.NOT_LOKI),
        (200, "", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (202, "", "", Action.RETRY, Outcome.NOT_LOKI),
        (260, "blocked", "text/plain", Action.RETRY, Outcome.BLOCKED),
        (301, "", "", Action.RETRY, Outcome.NOT_LOKI),
        (400, TOO_OLD, "text/plain; charset=utf-8", Action.NARROW, Outcome.REFUSED_ENTRIES),
        (400, TOO_OLD, "", Action.NARROW, Outcome.REFUSED_ENTRIES),
        (400, HTML, "Text/HTML; charset=utf-8", Action.RETRY, Outcome.NOT_LOKI),
        (400, "\n " + HTML, "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (400, '{"message": "bad request"}', "application/json", Action.RETRY, Outcome.NOT_LOKI),
        (400, TLS_PORT, "", Action.RETRY, Outcome.NOT_LOKI),
        (400, "Bad Request", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (400, "", "", Action.RETRY, Outcome.NOT_LOKI),
        (400, "unexpected EOF", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (400, "mime: no media type", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (400, "multiple org IDs present", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (400, DISALLOWED, "text/plain", Action.RETRY, Outcome.BLOCKED),
        (400, "decompressed message size too large than max (9 vs 8)", "", Action.NARROW, Outcome.TOO_LARGE),
        (422, "error at least one valid stream is required for ingestion\n", "", Action.RETRY, Outcome.NOT_LOKI),
        (422, TOO_OLD, "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (422, HTML, "text/html", Action.RETRY, Outcome.NOT_LOKI),
        (401, "no org id", "text/plain", Action.RETRY, Outcome.UNAUTHORIZED),
        (403, HTML, "text/html", Action.RETRY, Outcome.UNAUTHORIZED),
        (404, "404 page not found", "text/plain", Action.RETRY, Outcome.NOT_LOKI),
        (405, "", "", Action.RETRY, Outcome.NOT_LOKI),
        (408, "", "", Action.RETRY, Outcome.TIMEOUT),
        (413, HTML, "text/html", Action.NARROW, Outcome.TOO_LARGE),
        (429, "Ingestion rate limit exceeded for user fake", "", Action.RETRY, Outcome.RATE_LIMITED),
        (429, "Per stream rate limit exceeded (limit: 3MB/sec)", "", Action.RETRY, Outcome.RATE_LIMITED),
        (429, STREAM_LIMIT, "", Action.RETRY, Outcome.STREAM_LIMIT),
        (431, "", "", Action.RETRY, Outcome.NOT_LOKI),
        (500, "", "", Action.RETRY, Outcome.SERVER_ERROR),
        (502, HTML, "text/html", Action.RETRY, Outcome.SERVER_ERROR),
        (503, "", "", Action.RETRY, Outcome.SERVER_ERROR),
        (599, "", "", Action.RETRY, Outcome.SERVER_ERROR),
    ],
)
def test_every_answer_of_the_table_has_its_verdict(
    status: int, body: str, content_type: str, action: Action, outcome: Outcome
) -> None:
    found = verdict(status, body, **({"content_type": content_type} if content_type else {}))
    assert (found.action, found.outcome) == (action, outcome)


@pytest.mark.parametrize(
    "body",
    [
        DISALLOWED,
        f"3 errors like: {DISALLOWED}; 1 errors like: {TOO_OLD}",
        f"stream '{{a=\"b\"}}' has label name too long: '{'l' * 2000}'",
        "entry for stream '{a=\"b\"}' has 16 label names; limit 15",
        "error at least one label pair is required per stream",
        "missing required labels 'team' for user 'fake' for stream '{a=\"b\"}' (policy: '')",
        "ingestion blocked for user 'fake' until '2100-01-01T00:00:00Z' with status code '400'",
    ],
)
def test_what_loki_refuses_by_its_settings_waits_for_an_operator(body: str) -> None:
    found = verdict(400, body)
    assert (found.action, loki_state(found.outcome)) == (Action.RETRY, LokiState.REFUSING)
    assert body[:40] in found.detail


@pytest.mark.parametrize("body", [TLS_PORT, DISALLOWED, "entry refused", STREAM_LIMIT])
@pytest.mark.parametrize(
    "words", [TOO_OLD, "' has timestamp too old: ", "max entry size '1' bytes exceeded", "proto: "]
)
def test_words_that_stand_in_a_record_narrow_nothing(body: str, words: str) -> None:
    quoted = words.replace('"', '\\"')
    assert verdict(400, body.replace('{a="b"}', f'{{a="{quoted}"}}')).action is Action.RETRY
    assert verdict(400, f"{body} {words}").action is Action.RETRY


@pytest.mark.parametrize(
    "value", ["includes structured metadata, but this feature is disallowed", "'} has \\", '"}', ""]
)
def test_words_that_stand_in_a_record_hold_nothing(value: str) -> None:
    # JSON quotes these values as Go does.
    body = f"""entry for stream '{{a={json.dumps(value)}, b="{{}}"}}' has timestamp too old: 2020-01-01T00:00:00Z"""
    assert verdict(400, body).reason is Reason.TOO_OLD


_WORDS = st.sampled_from(
    [
        TOO_OLD,
        TOO_FAR_BEHIND,
        DISALLOWED,
        TLS_PORT,
        HTML,
        "2 errors like: ",
        "; ",
        "stream '{",
        '"',
        "\\",
        "'}",
        "proto: ",
    ]
)
_DATES = st.builds(
    "{}{} {} {} {} {}{}".format,
    st.sampled_from(["", "Mon, ", "Sunday, 06-Nov-94 "]),
    st.integers(-1, 10**20),
    st.sampled_from(["Jan", "Dec", "January", "13"]),
    st.integers(0, 10**20),
    st.sampled_from(["00:00:00", "23:59:59", "99:99:99", "0"]),
    st.sampled_from(["", "+", "-", "GMT"]),
    st.integers(0, 10**20),
)


@given(
    st.sampled_from([204, 260, 400, 401, 413, 422, 429, 503]) | st.integers(100, 999),
    st.dictionaries(st.sampled_from(["Retry-After", "Content-Type", "Location"]), st.text() | _DATES),
    st.text() | st.lists(_WORDS | st.text(max_size=5)).map("".join),
)
@example(429, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}, "")
@example(503, {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, "")
def test_any_answer_at_all_gets_a_verdict_with_one_short_line(status: int, headers: dict[str, str], body: str) -> None:
    found = judge(status, headers, body, now_s=NOW_S)
    assert (found.action is Action.DELIVERED) == (status == 204)
    assert found.action is not Action.NARROW or status in (400, 413)
    assert len(found.detail) <= 300
    assert found.detail == "" or (found.detail.isprintable() and str(status) in found.detail)
    assert found.retry_after_s is None or 0 <= found.retry_after_s <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (TOO_OLD, Reason.TOO_OLD),
        (TOO_FAR_BEHIND, Reason.TOO_OLD),
        ("entry for stream '{a=\"b\"}' has timestamp too new: 2100-01-01T00:00:00Z", Reason.TOO_NEW),
        ("Max entry size '262144' bytes exceeded for stream '{}' while adding an entry with …", Reason.LINE_TOO_LONG),
        (
            "stream '{a=\"b\"}' has structured metadata too large: '70000' bytes, limit: '65536' bytes",
            Reason.METADATA_TOO_LARGE,
        ),
        ("stream '{a=\"b\"}' has too many structured metadata labels: '200', limit: '128'", Reason.METADATA_TOO_LARGE),
        (OUT_OF_ORDER, Reason.TOO_OLD),
        (BEHIND_A_RATE + OUT_OF_ORDER, Reason.REFUSED_BY_LOKI),
        (f"2 errors like: {TOO_OLD}; 1 errors like: {DISALLOWED}", Reason.TOO_OLD),
        ("stream '{a=\"b\"}' has label value too long: 'ééé'", Reason.REFUSED_BY_LOKI),
        ("stream '{a=\"b\"}' has duplicate label name: 'a'", Reason.REFUSED_BY_LOKI),
        ("couldn't parse labels: 1:2: parse error: unexpected IDENTIFIER", Reason.REFUSED_BY_LOKI),
        ("error parsing labels '{a=' with error: 1:2: parse error", Reason.REFUSED_BY_LOKI),
        ("snappy: corrupt input\n", Reason.REFUSED_BY_LOKI),
        ("proto: wrong wireType = 0 for field Streams\n", Reason.REFUSED_BY_LOKI),
        ("timestamp: seconds:1 nanos:1000000000 : nanos not in range [0, 1e9)", Reason.REFUSED_BY_LOKI),
        (TOO_OLD.replace("chat", r"\x01" * 30_000), Reason.TOO_OLD),
        (f"entry for stream '{{a=\"{'x' * 2000}\"}}' has timestamp too new: 2100-01-01T00:00:00Z", Reason.TOO_NEW),
    ],
)
def test_a_refused_entry_keeps_lokis_reason(body: str, reason: Reason) -> None:
    found = verdict(400, body)
    assert (found.action, found.outcome, found.reason) == (Action.NARROW, Outcome.REFUSED_ENTRIES, reason)
    assert found.is_entrys_own == (reason is not Reason.REFUSED_BY_LOKI)


def test_an_entry_that_is_too_large_alone_is_a_line_too_long() -> None:
    assert verdict(413, HTML).reason is Reason.LINE_TOO_LONG
    assert not verdict(413, HTML).is_entrys_own, "a proxy may take no body at all"


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("99999", RETRY_AFTER_MAX_S),
        ("9" * 5000, RETRY_AFTER_MAX_S),
        (email.utils.formatdate(NOW_S + 90, usegmt=True), 90.0),
        (email.utils.formatdate(NOW_S + 90), 90.0),
        (email.utils.formatdate(NOW_S - 90, usegmt=True), 0.0),
        (email.utils.formatdate(NOW_S + 1e7, usegmt=True), RETRY_AFTER_MAX_S),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_understood_in_seconds_and_as_a_date(status: int, text: str, wait_s: float | None) -> None:
    assert verdict(status, retry_after=text).retry_after_s == wait_s


def test_retry_after_counts_only_where_a_server_is_overloaded() -> None:
    assert verdict(500, retry_after="7").retry_after_s is None
    assert verdict(429).retry_after_s is None


def test_a_redirect_says_where_to() -> None:
    assert "https://loki.example/" in verdict(301, "moved", location="https://loki.example/").detail


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (TimeoutError("no answer within 10 s"), Outcome.TIMEOUT, "no answer within 10 s"),
        (ConnectionRefusedError(111, "Connection refused"), Outcome.CONNECTION, "[Errno 111] Connection refused"),
        (OSError(), Outcome.CONNECTION, "OSError"),
        (ConnectionError("a\nb" + "c" * 1000), Outcome.CONNECTION, "a b" + "c" * 297),
    ],
)
def test_a_failure_is_a_timeout_or_a_connection_and_is_tried_again(
    error: Exception, outcome: Outcome, detail: str
) -> None:
    assert judge_failure(error) == Verdict(Action.RETRY, outcome, detail)


def test_every_outcome_says_how_loki_is_doing() -> None:
    states = {outcome: loki_state(outcome) for outcome in Outcome}
    assert {outcome for outcome, state in states.items() if state is LokiState.OK} == {
        Outcome.DELIVERED,
        Outcome.REFUSED_ENTRIES,
        Outcome.TOO_LARGE,
    }
    assert states[Outcome.UNAUTHORIZED] is LokiState.REFUSING
    assert states[Outcome.SERVER_ERROR] is LokiState.RETRYING
