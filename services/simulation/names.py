"""Common Indonesian names, composed by chance.

Most people bear one to three given names and no family name; Batak, Minahasan, Moluccan and some other names end in
the name of a clan. The lists are short on purpose: they make plausible records, not a census.
"""

# ruff: noqa: SIM905  (a list of words reads better as a line of words)

from __future__ import annotations

from random import Random
from typing import NamedTuple

MALE, FEMALE = "male", "female"


class Name(NamedTuple):
    """A name as a register holds it; `family` is None for the many who have none."""

    given: list[str]
    family: str | None

    @property
    def text(self) -> str:
        return " ".join([*self.given, *([self.family] if self.family else [])])


GIVEN: dict[str, list[str]] = {
    MALE: (
        "Ahmad Muhammad Agus Budi Joko Slamet Hendra Dedi Eko Rudi Bambang Wahyu Andi Rizky Fajar Dimas Bayu Arif "
        "Yusuf Ibrahim Ismail Hasan Husein Umar Ali Abdul Taufik Hidayat Rahmat Iwan Dwi Tri Adi Putra Surya Gilang "
        "Reza Ilham Fikri Aditya Galih Yoga Nugroho Teguh Sugeng Suparman Sutrisno Mulyono Supriyadi Wayan Made "
        "Nyoman Ketut Gede Yohanes Petrus Markus Stefanus Daniel Samuel"
    ).split(),
    FEMALE: (
        "Siti Nur Sri Dewi Ratna Endang Ani Yuni Rini Wati Ayu Putri Indah Lestari Fitri Aisyah Khadijah Fatimah "
        "Zahra Nabila Annisa Rahma Maya Dian Eka Dwi Tri Wulan Kartika Mega Intan Permata Melati Kusuma Yanti Lina "
        "Rina Tuti Sulastri Sumiati Suryani Kartini Marlina Nurhayati Rohani Halimah Wayan Made Nyoman Ketut Luh "
        "Maria Yohana Ruth Ester Christina Veronika Theresia Novita Anggraini"
    ).split(),
}

LAST: dict[str, list[str]] = {
    MALE: (
        "Santoso Wijaya Saputra Setiawan Kurniawan Hidayat Susanto Prasetyo Wibowo Nugroho Gunawan Hartono Purnomo "
        "Firmansyah Ramadhan Maulana Hakim Syahputra Utomo Raharjo Wicaksono Pratama Permana Suryadi Halim Basuki"
    ).split(),
    FEMALE: (
        "Lestari Wulandari Rahayu Handayani Puspitasari Astuti Kusumawati Maharani Safitri Oktaviani Pertiwi "
        "Damayanti Susanti Hartati Purwanti Mulyani Widyastuti Anggraeni Ramadhani Utami Setyowati Kurniasih"
    ).split(),
}

FAMILY: list[str] = (
    "Siregar Nasution Harahap Lubis Sitompul Simanjuntak Hutapea Panjaitan Sinaga Ginting Sembiring Tarigan Wenas "
    "Mandagi Rumokoy Pattiasina Latuconsina Matulessy Tuhuteru Kaligis Chaniago Sikumbang Tan Lim Halim Wongso"
).split()

PLACES: list[str] = (
    "Jakarta Bandung Surabaya Semarang Yogyakarta Medan Palembang Makassar Denpasar Bogor Malang Surakarta Padang "
    "Manado Banjarmasin Pontianak Samarinda Mataram Kupang Ambon Cirebon Kudus Garut Sleman Bantul Klaten"
).split()

STREETS: list[str] = (
    "Merdeka Sudirman Diponegoro Kartini Pahlawan Mawar Melati Kenanga Anggrek Cempaka Mangga Rambutan Masjid Pramuka "
    "Veteran Hasanuddin Wahidin Kopi Cendana Flamboyan"
).split()


def compose(random: Random, sex: str) -> Name:
    """A name: one in eight has a single name, one in five a family name."""
    draw = random.random
    given = GIVEN[sex]
    first = given[int(draw() * len(given))]
    kind = draw()
    if kind < 0.125:
        return Name([first], None)
    if kind < 0.325:
        return Name([first], FAMILY[int(draw() * len(FAMILY))])
    last = LAST[sex][int(draw() * len(LAST[sex]))]
    if kind < 0.80:
        return Name([first, last], None)
    return Name([first, given[int(draw() * len(given))], last], None)
