"""Writing LogQL: what callers give stands in quotes, and a query that is narrowed is narrowed at each selector."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipper.loki.logql import literal, matcher, narrowed, quoted, selector, split

_ADDED = 'service="mine"'
_STRINGS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(quoted),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="`"), max_size=20).map(
        lambda text: f"`{text}`"
    ),
)
_PLAIN = st.sampled_from(["{", "}", "(", ")", "[5m]", "|=", "=~", "sum by (service)", " ", "\n", "a", "or", ",", "1"])


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_is_one_string_whatever_is_in_it(text: str) -> None:
    assert json.loads(quoted(text)) == text
    assert narrowed(quoted(text), [_ADDED]) == quoted(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_matches_its_text_and_nothing_else(text: str) -> None:
    assert re.fullmatch(literal(text), text, re.DOTALL)
    assert not re.fullmatch(literal(text), text + "x", re.DOTALL)


@given(st.lists(st.one_of(_STRINGS, _PLAIN), max_size=20))
def test_every_selector_gets_the_matchers_and_no_string_does(parts: list[str]) -> None:
    wanted = [part if part != "{" else "{" + _ADDED for part in parts]
    found = narrowed(" ".join(parts), [_ADDED])
    # But for the comma that a selector with matchers of its own needs.
    assert found.replace(_ADDED + ", ", _ADDED) == " ".join(wanted)
    assert narrowed(" ".join(parts), []) == " ".join(parts)


@pytest.mark.parametrize(
    "query",
    [
        '{a="b"} # x',
        '/* " */ {a="b"}',
        '// "',
        '\'"\' {a="b"}',
        '"open',
        '"a\nb"',
        "`open",
        "é",
        "\ufeff{}",
        "\\",
        "a;b",
        "\0",
    ],
)
def test_what_loki_could_read_in_another_way_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="is not allowed outside of strings"):
        narrowed(query, [_ADDED])


def test_matchers_and_selectors_are_written_out() -> None:
    assert matcher("a", ["b"]) == 'a="b"'
    assert matcher("a", ["c", "b.d", "c"]) == 'a=~"b\\\\.d|c"'
    assert selector([], anything="a") == '{a=~".+"}'
    assert selector(['a="b"', 'c="d"'], anything="a") == '{a="b", c="d"}'


def test_a_log_query_is_split_behind_its_selector() -> None:
    assert split(' {a="}", b=`}`} |= "x"') == (' {a="}", b=`}`}', ' |= "x"')
    assert split("sum(rate({a='b'}[1m]))") is None
