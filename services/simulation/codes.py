"""Codes that primary care in Indonesia meets every day: ICD-10, LOINC, vaccines and medicines.

Texts are Indonesian where a clinic writes Indonesian (diagnoses, medicines' instructions) and English where the code
system's own name is English. Medicine codes have the form of the national catalogue (KFA, 93 and six digits) but are
our own numbers: the catalogue itself is not reproduced here.

Everything is built once: events share these dicts, which nobody changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

ICD10 = "http://hl7.org/fhir/sid/icd-10"
LOINC = "http://loinc.org"
CVX = "http://hl7.org/fhir/sid/cvx"
KFA = "http://sys-ids.kemkes.go.id/kfa"
ICD9CM = "http://hl7.org/fhir/sid/icd-9-cm"
UCUM = "http://unitsofmeasure.org"

Coding = dict[str, Any]


def coding(system: str, code: str, display: str | None) -> Coding:
    return {"system": system, "code": code, "display": display}


class Measure(NamedTuple):
    """Something measured: where healthy values lie and how far they spread (in units of the last decimal)."""

    code: Coding
    unit: str
    middle: float
    spread: float
    decimals: int
    low: str
    high: str


class Diagnosis(NamedTuple):
    """A diagnosis, how often it comes (weight), and whether it stays."""

    code: Coding
    weight: int
    chronic: bool
    drugs: tuple[int, ...]
    """Places in DRUGS of what is usually given."""


class Drug(NamedTuple):
    code: Coding
    dosage: str
    quantity: str
    unit: str
    price: int
    """Rupiah for the quantity."""


class Vaccine(NamedTuple):
    code: Coding
    site: Coding | None
    route: Coding
    dose: str


def _measure(code: str, display: str, unit: str, middle: float, spread: float, decimals: int) -> Measure:
    low, high = (f"{middle + side * 1.6 * spread:.{decimals}f}" for side in (-1, 1))
    return Measure(coding(LOINC, code, display), unit, middle, spread, decimals, low, high)


VITALS: list[Measure] = [
    _measure("8480-6", "Systolic blood pressure", "mm[Hg]", 124, 16, 0),
    _measure("8462-4", "Diastolic blood pressure", "mm[Hg]", 79, 10, 0),
    _measure("8867-4", "Heart rate", "/min", 82, 12, 0),
    _measure("9279-1", "Respiratory rate", "/min", 18, 2.5, 0),
    _measure("8310-5", "Body temperature", "Cel", 36.8, 0.6, 1),
    _measure("29463-7", "Body weight", "kg", 58.0, 12.0, 1),
    _measure("8302-2", "Body height", "cm", 159.0, 8.0, 1),
    _measure("59408-5", "Oxygen saturation", "%", 98, 1, 0),
]

PANELS: list[tuple[Coding, list[Measure]]] = [
    (
        coding(LOINC, "58410-2", "CBC panel"),
        [
            _measure("718-7", "Hemoglobin", "g/dL", 13.4, 1.4, 1),
            _measure("4544-3", "Hematocrit", "%", 40.5, 4.0, 1),
            _measure("6690-2", "Leukocytes", "10*3/uL", 7.6, 2.1, 1),
            _measure("777-3", "Platelets", "10*3/uL", 262, 62, 0),
        ],
    ),
    (
        coding(LOINC, "24331-1", "Lipid panel"),
        [
            _measure("2093-3", "Cholesterol", "mg/dL", 192, 34, 0),
            _measure("2571-8", "Triglyceride", "mg/dL", 141, 52, 0),
            _measure("2085-9", "HDL cholesterol", "mg/dL", 48, 9, 0),
        ],
    ),
    (
        coding(LOINC, "2345-7", "Glucose"),
        [_measure("2345-7", "Glucose", "mg/dL", 108, 31, 0)],
    ),
    (
        coding(LOINC, "4548-4", "Hemoglobin A1c"),
        [_measure("4548-4", "Hemoglobin A1c", "%", 6.2, 1.1, 1)],
    ),
    (
        coding(LOINC, "3084-1", "Uric acid"),
        [_measure("3084-1", "Uric acid", "mg/dL", 5.6, 1.4, 1)],
    ),
    (
        coding(LOINC, "24362-6", "Renal function panel"),
        [
            _measure("2160-0", "Creatinine", "mg/dL", 0.92, 0.22, 2),
            _measure("3091-6", "Urea", "mg/dL", 27, 8, 0),
        ],
    ),
]

DRUGS: list[Drug] = [
    Drug(coding(KFA, f"93{number:06d}", name), dosage, quantity, unit, price)
    for number, (name, dosage, quantity, unit, price) in enumerate(
        [
            ("Parasetamol 500 mg", "3x1 sesudah makan", "10", "tablet", 5_000),
            ("Amoksisilin 500 mg", "3x1 dihabiskan", "15", "kaplet", 12_000),
            ("Amlodipin 5 mg", "1x1 pagi", "30", "tablet", 15_000),
            ("Kaptopril 25 mg", "2x1 sebelum makan", "60", "tablet", 18_000),
            ("Metformin 500 mg", "2x1 sesudah makan", "60", "tablet", 21_000),
            ("Glimepirid 2 mg", "1x1 pagi", "30", "tablet", 24_000),
            ("Simvastatin 20 mg", "1x1 malam", "30", "tablet", 20_000),
            ("Alopurinol 100 mg", "1x1 sesudah makan", "30", "tablet", 14_000),
            ("Antasida DOEN", "3x1 sebelum makan", "10", "tablet", 6_000),
            ("Omeprazol 20 mg", "1x1 sebelum makan", "10", "kapsul", 13_000),
            ("Setirizin 10 mg", "1x1 malam", "10", "tablet", 9_000),
            ("Salbutamol 2 mg", "3x1 bila sesak", "10", "tablet", 7_000),
            ("Oralit", "1 sachet tiap BAB cair", "6", "sachet", 6_000),
            ("Zink 20 mg", "1x1 selama 10 hari", "10", "tablet", 10_000),
            ("Ibuprofen 400 mg", "3x1 sesudah makan", "10", "tablet", 8_000),
            ("Natrium diklofenak 50 mg", "2x1 sesudah makan", "10", "tablet", 8_000),
            ("Siprofloksasin 500 mg", "2x1 dihabiskan", "10", "tablet", 16_000),
            ("Ambroksol 30 mg", "3x1", "10", "tablet", 7_000),
            ("Tablet tambah darah", "1x1", "30", "tablet", 6_000),
            ("Hidrokortison krim 2,5%", "2x oles tipis", "1", "tube", 9_000),
            ("Mikonazol krim 2%", "2x oles", "1", "tube", 11_000),
            ("Kloramfenikol tetes mata", "4x1 tetes", "1", "botol", 12_000),
            ("OAT kategori 1", "1x3", "84", "tablet", 0),
        ],
        start=1,
    )
]


def _diagnosis(code: str, text: str, weight: int, drugs: tuple[int, ...], chronic: bool = False) -> Diagnosis:
    return Diagnosis(coding(ICD10, code, text), weight, chronic, drugs)


DIAGNOSES: list[Diagnosis] = [
    _diagnosis("J06.9", "Infeksi saluran napas atas akut", 190, (0, 17)),
    _diagnosis("I10", "Hipertensi esensial", 110, (2, 3), True),
    _diagnosis("K30", "Dispepsia", 80, (8, 9)),
    _diagnosis("E11.9", "Diabetes melitus tipe 2", 60, (4, 5), True),
    _diagnosis("M79.1", "Mialgia", 70, (15, 0)),
    _diagnosis("R50.9", "Demam", 60, (0,)),
    _diagnosis("A09", "Diare dan gastroenteritis", 55, (12, 13)),
    _diagnosis("R51", "Nyeri kepala", 45, (0, 14)),
    _diagnosis("L23.9", "Dermatitis kontak alergi", 40, (10, 19)),
    _diagnosis("M54.5", "Nyeri punggung bawah", 35, (15,)),
    _diagnosis("K29.7", "Gastritis", 35, (8, 9)),
    _diagnosis("J45.9", "Asma", 20, (11,), True),
    _diagnosis("N39.0", "Infeksi saluran kemih", 20, (16,)),
    _diagnosis("H10.9", "Konjungtivitis", 18, (21,)),
    _diagnosis("E78.5", "Hiperlipidemia", 25, (6,), True),
    _diagnosis("M10.9", "Gout", 18, (7, 14), True),
    _diagnosis("B35.4", "Tinea korporis", 15, (20,)),
    _diagnosis("D50.9", "Anemia defisiensi besi", 15, (18,)),
    _diagnosis("A01.0", "Demam tifoid", 14, (16, 0)),
    _diagnosis("A91", "Demam berdarah dengue", 10, (0,)),
    _diagnosis("A15.0", "Tuberkulosis paru", 8, (22,), True),
    _diagnosis("J18.9", "Pneumonia", 8, (1, 0)),
    _diagnosis("H66.9", "Otitis media", 10, (1, 0)),
    _diagnosis("K02.9", "Karies gigi", 20, (14, 1)),
    _diagnosis("T14.1", "Luka terbuka", 15, (1, 0)),
    _diagnosis("Z34.9", "Pemeriksaan kehamilan", 25, (18,)),
    _diagnosis("B01.9", "Varisela", 6, (0, 10)),
]

_SITES = "http://terminology.hl7.org/CodeSystem/v3-ActSite"
_ROUTES = "http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration"
_LEFT_ARM, _RIGHT_ARM = coding(_SITES, "LA", "left arm"), coding(_SITES, "RA", "right arm")
_LEFT_THIGH, _RIGHT_THIGH = coding(_SITES, "LT", "left thigh"), coding(_SITES, "RT", "right thigh")
_ORAL, _INTRADERMAL = coding(_ROUTES, "PO", "oral"), coding(_ROUTES, "IDINJ", "intradermal")
_INTRAMUSCULAR = coding(_ROUTES, "IM", "intramuscular")

VACCINES: list[Vaccine] = [
    Vaccine(coding(CVX, "19", "BCG"), _RIGHT_ARM, _INTRADERMAL, "0.05"),
    Vaccine(coding(CVX, "102", "DPT-HB-Hib"), _LEFT_THIGH, _INTRAMUSCULAR, "0.5"),
    Vaccine(coding(CVX, "178", "bOPV"), None, _ORAL, "0.1"),
    Vaccine(coding(CVX, "10", "IPV"), _RIGHT_THIGH, _INTRAMUSCULAR, "0.5"),
    Vaccine(coding(CVX, "04", "Campak-Rubela"), _LEFT_ARM, _INTRAMUSCULAR, "0.5"),
    Vaccine(coding(CVX, "113", "Td"), _LEFT_ARM, _INTRAMUSCULAR, "0.5"),
    Vaccine(coding(CVX, "62", "HPV"), _LEFT_ARM, _INTRAMUSCULAR, "0.5"),
    Vaccine(coding(CVX, "88", "Influenza"), _LEFT_ARM, _INTRAMUSCULAR, "0.5"),
]

ALLERGENS: list[tuple[str, str]] = [
    ("Penisilin", "medication"),
    ("Sulfonamida", "medication"),
    ("Udang", "food"),
    ("Telur", "food"),
    ("Debu rumah", "environment"),
    ("Antalgin", "medication"),
]

PROCEDURES: list[tuple[Coding, int]] = [
    (coding(ICD9CM, "93.57", "Perawatan luka"), 45_000),
    (coding(ICD9CM, "86.59", "Jahit luka"), 120_000),
    (coding(ICD9CM, "93.94", "Nebulisasi"), 60_000),
    (coding(ICD9CM, "89.52", "EKG"), 75_000),
    (coding(ICD9CM, "23.09", "Cabut gigi"), 100_000),
]

COMPLAINTS: list[str] = [
    "Batuk pilek 3 hari, demam naik turun.",
    "Nyeri ulu hati, mual, tidak muntah.",
    "Kontrol rutin, tidak ada keluhan baru.",
    "Pusing berputar sejak pagi, tidur kurang.",
    "Gatal di lengan setelah memakai sabun baru.",
    "Nyeri pinggang setelah mengangkat barang.",
    "BAB cair 5 kali sejak kemarin, minum baik.",
    "Kontrol tekanan darah, obat diminum teratur.",
]

RELIGIONS: list[str] = ["Islam"] * 87 + ["Kristen"] * 7 + ["Katolik"] * 3 + ["Hindu"] * 2 + ["Buddha"]
MARITAL: list[str] = ["S", "M", "M", "M", "M", "D", "W"]
