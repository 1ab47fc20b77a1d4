"""Canonical JSON: one value, one sequence of bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import BadInput, Corrupt
from replicator.canonical import SAFE_INTEGER, canonical, parse_canonical

names = st.text(st.characters(max_codepoint=127), max_size=5)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE_INTEGER, SAFE_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
)


@given(st.dictionaries(names, values))
def test_values_come_back(value):
    assert parse_canonical(canonical(value), "x") == value
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_the_form_of_rfc_8785():
    value = {"b": [1, -2, True, None], "a": '€$\n\x0f\nA\'B"\\\\"/é', "": {}}
    assert (
        canonical(value).decode() == '{"":{},"a":"€$\\n\\u000f\\nA\'B\\"\\\\\\\\\\"/é","b":[1,-2,true,null]}'
    )


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, {"ä": 1}, {1: 2}, b"x", {"a": [{"b": 0.5}]}])
def test_what_it_cannot_hold(value):
    with pytest.raises(BadInput):
        canonical({"v": value})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        '{"a": 1}',
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a":1.5}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":9007199254740992}',
        '{"a":-0}',
        '{"a":01}',
        '{"a":"\\u0041"}',
        '{"a":1}\n',
        "[" * 100_000,
        '{"a":' + "9" * 10_000 + "}",
    ],
)
def test_what_is_not_canonical_is_refused(text):
    with pytest.raises(Corrupt, match="here"):
        parse_canonical(text.encode(), "here")


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(Corrupt):
        parse_canonical(json.dumps({"a": "x"}).encode().replace(b"x", b"\xff"), "here")
