"""FHIR's data types: exact where they are right, None where they are not, never an exception."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.fhir import elements
from services.fhir.items import validated
from services.fhir.mapping import MAPPINGS, map_resource
from services.fhir.references import Naming, patient_of
from tests.examples import examples
from tests.fhir_resources import RESOURCES

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T07:00:01.5+07:00", 1_500_000),
        ("1970-01-02", 86_400 * SECOND),
        ("1970-02", 31 * 86_400 * SECOND),
        ("1971", 365 * 86_400 * SECOND),
        ("1969-12-31T23:59:59Z", -SECOND),
        ("1994-10-11T09:09:43.939+00:00", 781_866_583_939_000),
        ("2020-02-30", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("yesterday", None),
        ("", None),
        (20200101, None),
        (None, None),
    ],
)
def test_moments(text: object, micros: int | None) -> None:
    assert elements.moment(text) == micros


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("27.200000000000003"), "27.200000000000003"),
        (Decimal("136.0"), "136.0"),
        (Decimal("1.50E+2"), "150"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("-0.0"), "0.0"),
        (-3, "-3"),
        (Decimal("1E+900"), None),
        (Decimal("1E-900"), None),
        (10**70, None),
        (True, None),
        ("1.0", None),
        (None, None),
    ],
)
def test_numbers(value: object, expected: str | None) -> None:
    assert elements.number(value) == expected


def test_concepts() -> None:
    said = {"coding": [{"code": ""}, {"system": "s", "code": "c", "display": "d"}], "text": "d"}
    assert elements.coded(said) == {"code": {"system": "s", "code": "c", "display": "d"}, "text": None}
    assert elements.coded({"text": "words"}) == {"code": None, "text": "words"}
    assert elements.coded({"coding": [{"display": "shown"}]}) == {"code": None, "text": "shown"}
    assert elements.coded({"coding": "no", "text": 7}) == {"code": None, "text": None}


@pytest.mark.parametrize(
    "said", ["2026", "2026-11", "2026-11-23", "2026-11-23T08:00:00.5+07:00", "2026-11-23T08:00:00Z"]
)
def test_dates_stay_as_given(said: str) -> None:
    assert elements.date({"d": said}, "d") == said


@pytest.mark.parametrize(
    "said", ["26", "2026-13", "2026-11-32", "2026-11T08:00:00Z", "2026-11-23T08:00", "x2026", "２０２６", 7]
)
def test_what_is_no_date_is_left_to_the_original(said: object) -> None:
    assert elements.date({"d": said}, "d") is None


def test_values() -> None:
    none = {"quantity": None, "coded": None, "value_text": None}
    amount = {"value": "1.50", "unit": "mg", "code": "mg", "comparator": "<"}
    given_amount = {"value": Decimal("1.50"), "code": "mg", "comparator": "<"}
    assert elements.value_of({"valueQuantity": given_amount}) == {**none, "quantity": amount}
    assert elements.value_of({"valueString": "x"}) == {**none, "value_text": "x"}
    assert elements.value_of({"valueBoolean": False}) == {**none, "value_text": "false"}
    assert elements.value_of({"valueRange": {"low": {"value": Decimal("1.0")}}}) == {
        **none,
        "value_text": '{"low":{"value":1.0}}',
    }
    assert elements.value_of({"valueset": 1}) == none
    assert elements.value_of({}) == none


def test_addresses_take_satusehats_codes() -> None:
    codes = [
        {"url": level, "valueCode": code} for level, code in (("province", "31"), ("village", "3171010001"))
    ]
    held = {
        "line": ["Jl. Merdeka 1"],
        "city": "Jakarta",
        "extension": [
            {
                "url": "https://fhir.kemkes.go.id/r4/StructureDefinition/administrativeCode",
                "extension": codes,
            }
        ],
    }
    found = elements.address(held)
    assert found is not None
    assert (found["region_code"], found["lines"], found["city"]) == (
        "3171010001",
        ["Jl. Merdeka 1"],
        "Jakarta",
    )


NONSENSE = [
    " a  b\tc ",
    "y" * 300,
    "y" * 200_001,
    {"code": " x"},
    {"reference": "Encounter/" + "z" * 256},
    None,
    True,
    -1,
    10**40,
    Decimal("1E+5000"),
    "",
    "x",
    "2020-13-45",
    "#x",
    "?|",
    [],
    [[]],
    [None, 3],
    {},
    {"a": []},
]


def mangled(value: object, random: Random, odds: float) -> object:
    """The value with some of its parts replaced by what should not stand there."""
    if random.random() < odds:
        return random.choice(NONSENSE)
    if isinstance(value, dict):
        return {
            key: mangled(inner, random, odds) for key, inner in value.items() if random.random() > odds / 2
        }
    if isinstance(value, list):
        return [mangled(inner, random, odds) for inner in value]
    return value


@pytest.mark.parametrize("kind", sorted(MAPPINGS))
@settings(max_examples=examples(200))
@given(seed=st.integers(0, 2**32), odds=st.sampled_from([0.0, 0.05, 0.3]))
def test_no_content_can_make_a_mapping_fail(kind: str, seed: int, odds: float) -> None:
    held = mangled(RESOURCES[kind], Random(seed), odds)
    resource = {**(held if isinstance(held, dict) else {}), "resourceType": kind, "id": "x"}
    mapped = map_resource(resource, Naming("s", resource, {}))
    patient_of(resource, {})
    if mapped is None:
        assert kind in ("ExplanationOfBenefit", "DocumentReference", "Binary")
    else:
        assert validated(mapped.type, mapped.fields) is not None
