"""The simulated clinic's own people and rooms, and the events that its opening makes."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from events.envelope import stream_name
from services.simulation import payloads_billing as make
from services.simulation.desk import MINUTE, Actor, Desk
from services.simulation.identity import DISTRICTS
from services.simulation.names import FEMALE, MALE, compose
from services.simulation.people import Thread, address

ORGANISATION = "clinic"
NOBODYS_KEY = "simulated"
"""Not a public key, so nobody can sign in with it."""
ROOMS = ["Poli Umum 1", "Poli Umum 2", "Poli Gigi", "KIA/KB", "Ruang Tindakan", "Laboratorium"]


class Member(NamedTuple):
    """Somebody who works here: the actor of their events, and the practitioner whom records name."""

    actor: Actor
    practitioner: str


class Staff(NamedTuple):
    doctors: list[Member]
    nurses: list[Member]
    laboratory: list[Member]
    cashiers: list[Member]
    registrars: list[Member]


_ROLES = [  # field of Staff, role, Indonesian title, how many
    ("doctors", "doctor", "Dokter", 6),
    ("nurses", "nurse", "Perawat", 8),
    ("laboratory", "analyst", "Analis laboratorium", 2),
    ("cashiers", "cashier", "Kasir", 2),
    ("registrars", "registrar", "Petugas pendaftaran", 3),
]


def open_clinic(desk: Desk) -> Staff:
    """Drafts the clinic's organisation, rooms, settings and staff; who they are follows from the seed."""
    random = Random(desk.seed ^ 0x57AFF)
    admin = {"id": "admin", "role": "administrator", "system": "simulation"}
    at = desk.opened_at - 60 * MINUTE
    place = address(["Jl. Merdeka No. 17"], DISTRICTS[14])
    for payload in [
        make.organisation(ORGANISATION, "Klinik Pratama Sehat Bersama", place),
        *(make.location(f"L{n}", name, ORGANISATION) for n, name in enumerate(ROOMS, start=1)),
        make.setting("zone", "Asia/Jakarta"),
        make.setting("currency", "IDR"),
    ]:
        desk.draft(desk.clinic, at, admin, payload)
    members: dict[str, list[Member]] = {field: [] for field, *_ in _ROLES}
    for field, role, title, count in _ROLES:
        for number in range(count):
            members[field].append(_join(desk, random, admin, at, role, title, number))
    return Staff(**members)


def _join(desk: Desk, random: Random, admin: Actor, at: int, role: str, title: str, number: int) -> Member:
    sex = FEMALE if random.random() < 0.6 else MALE
    name = compose(random, sex)
    username = f"{name.given[0].lower()}.{role[0]}{number + 1}"
    record_id = f"{role[0].upper()}{number + 1}"
    licence = f"SIP-{random.randrange(10**8):08d}"
    thread = Thread(stream_name("staff", "simulation", str(desk.seed), username))
    clinical = role in ("doctor", "nurse", "analyst")
    if clinical:
        who = make.practitioner(record_id, name.text, name.given, name.family, sex, licence, title)
        desk.draft(desk.clinic, at, admin, who)
    desk.draft(thread, at, admin, make.staff(name.text, username, record_id if clinical else None))
    desk.draft(thread, at, admin, make.role_granted(role))
    desk.draft(thread, at, admin, make.credential("passkey", NOBODYS_KEY))
    return Member({"id": username, "role": role, "system": "simulation"}, record_id)
