"""Identity numbers of the simulated clinic: in valid form, distinct, and nobody's."""

from __future__ import annotations

from datetime import date
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.simulation.identity import (
    DISTRICTS,
    SEQUENCES,
    bpjs_number,
    medical_record_number,
    nik,
    telephone,
)
from services.simulation.names import FEMALE, MALE, compose

births = st.dates(date(1930, 1, 1), date(2025, 12, 31))


@given(st.integers(0, 10**6), births, st.sampled_from([MALE, FEMALE]))
def test_nik_has_the_national_form(index: int, birth: date, sex: str) -> None:
    number = nik(index, birth, sex)
    assert len(number) == 16 and number.isdigit()
    day = int(number[6:8])
    assert (day - 40 if sex == FEMALE else day) == birth.day
    assert number[8:12] == f"{birth.month:02d}{birth.year % 100:02d}"
    assert int(number[12:]) >= 9000, "a sequence that may have been issued"


def test_nik_is_distinct_even_for_people_born_on_one_day() -> None:
    born = date(1990, 5, 17)
    everybody = {nik(index, born, MALE) for index in range(len(DISTRICTS) * SEQUENCES)}
    assert len(everybody) == len(DISTRICTS) * SEQUENCES


def test_numbers_keep_their_form() -> None:
    assert medical_record_number(1234) == "00-12-34"
    assert medical_record_number(1_234_567) == "123-45-67"
    assert len(bpjs_number(42)) == 13
    assert telephone(7) == "+6289900000007"


def test_names_are_composed_the_same_way_from_the_same_seed() -> None:
    first, second = ([compose(Random(5), FEMALE) for _ in range(3)] for _ in range(2))
    assert first == second
    made = {compose(random, sex).text for random in [Random(1)] for sex in (MALE, FEMALE) for _ in range(500)}
    assert len(made) > 800
    assert any(" " not in name for name in made), "nobody with a single name"
