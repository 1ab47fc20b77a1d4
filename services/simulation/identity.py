"""Numbers that identify people and things, in valid form and never anybody's.

NIK (16 digits): province, regency and district (2 digits each), birth date as DDMMYY with 40 added to the day for
women, and a sequence within that day and district. Real sequences start at 0001 and stay low; ours are 9000 and
above, so that no simulated number is that of a living person.
"""

from __future__ import annotations

from datetime import date

from services.simulation.names import FEMALE

FIRST_SEQUENCE = 9000
SEQUENCES = 1000

DISTRICTS: list[tuple[str, str, str]] = [
    # (province + regency + district, city or regency, postal code)
    ("110101", "Aceh Selatan", "23711"),
    ("127101", "Medan", "20212"),
    ("127502", "Binjai", "20714"),
    ("137101", "Padang", "25118"),
    ("147101", "Pekanbaru", "28115"),
    ("167101", "Palembang", "30119"),
    ("187101", "Bandar Lampung", "35214"),
    ("217101", "Batam", "29444"),
    ("317101", "Jakarta Pusat", "10110"),
    ("317203", "Jakarta Utara", "14240"),
    ("317301", "Jakarta Barat", "11710"),
    ("317402", "Jakarta Selatan", "12960"),
    ("317506", "Jakarta Timur", "13910"),
    ("320101", "Bogor", "16913"),
    ("320405", "Bandung", "40394"),
    ("320501", "Garut", "44151"),
    ("327301", "Bandung", "40151"),
    ("327401", "Cirebon", "45112"),
    ("327501", "Bekasi", "17113"),
    ("327601", "Depok", "16431"),
    ("330801", "Magelang", "56172"),
    ("331001", "Klaten", "57465"),
    ("331901", "Kudus", "59331"),
    ("337201", "Surakarta", "57146"),
    ("337401", "Semarang", "50138"),
    ("340201", "Bantul", "55763"),
    ("340401", "Sleman", "55291"),
    ("347101", "Yogyakarta", "55241"),
    ("350701", "Malang", "65183"),
    ("351501", "Sidoarjo", "61271"),
    ("357301", "Malang", "65118"),
    ("357801", "Surabaya", "60228"),
    ("360301", "Tangerang", "15610"),
    ("510301", "Badung", "80361"),
    ("517101", "Denpasar", "80222"),
    ("527101", "Mataram", "83114"),
    ("537101", "Kupang", "85227"),
    ("617101", "Pontianak", "78124"),
    ("637101", "Banjarmasin", "70123"),
    ("647201", "Samarinda", "75117"),
    ("717101", "Manado", "95118"),
    ("737101", "Makassar", "90111"),
    ("817101", "Ambon", "97117"),
]


def nik(index: int, birth: date, sex: str) -> str:
    """The number of the `index`-th person: distinct for the first len(DISTRICTS) * SEQUENCES of them."""
    district = DISTRICTS[index // SEQUENCES % len(DISTRICTS)][0]
    day = birth.day + (40 if sex == FEMALE else 0)
    sequence = FIRST_SEQUENCE + index % SEQUENCES
    return f"{district}{day:02d}{birth.month:02d}{birth.year % 100:02d}{sequence:04d}"


def medical_record_number(number: int) -> str:
    """As clinics write it: six digits in pairs (`00-12-34`), growing to the left when they run out."""
    digits = f"{number:06d}"
    return f"{digits[:-4]}-{digits[-4:-2]}-{digits[-2:]}"


def bpjs_number(index: int) -> str:
    """A card number of the national health insurance: 13 digits."""
    return f"0009{index:09d}"


def telephone(index: int) -> str:
    """A mobile number in the international form, in a block that no operator has issued."""
    return f"+6289900{index % 1_000_000:06d}"
