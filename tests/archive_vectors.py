"""Makes tests/data/archive-vectors.json from docs/archive-format.md alone: it imports nothing of ours.

Run it as a program to print the vectors; tests/unit/test_archive_vectors.py compares file, program and product.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CLINIC, ARCHIVE = "00112233445566778899aabbccddeeff", "0f0e0d0c0b0a09080706050403020100"
SEED = bytes(range(32))
RECORDS = [
    {"offset": 0, "time": 1767225600000, "time_type": 1, "key": None, "headers": [], "value": None},
    {"offset": 1, "time": 1767225600001, "time_type": 1, "key": "6b", "headers": [], "value": ""},
    {
        "offset": 2,
        "time": 1767225600001,
        "time_type": 0,
        "key": "70617469656e742d31",
        "headers": [],
        "value": "ff" * 200,
    },
    {
        "offset": 3,
        "time": 1767225599000,
        "time_type": 1,
        "key": "",
        "headers": [["trace", "00ff"], ["leer", None], ["ä", ""]],
        "value": "c301" + "01" * 8 + "02" * 16 + "00",
    },
]
FAR = {"offset": 2**40 + 5, "time": -1, "time_type": 0, "key": None, "headers": [], "value": "00"}


def long(value):
    rest = value * 2 if value >= 0 else -value * 2 - 1
    out = []
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest])


def counted(raw):
    return long(len(raw)) + raw


def optional(text):
    return b"\x00" if text is None else b"\x02" + counted(bytes.fromhex(text))


def record_bytes(record):
    headers = b"".join(counted(name.encode()) + optional(value) for name, value in record["headers"])
    return (
        long(record["offset"])
        + long(record["time"])
        + long(record["time_type"])
        + optional(record["key"])
        + (long(len(record["headers"])) + headers + b"\x00" if record["headers"] else b"\x00")
        + optional(record["value"])
    )


def sha256(raw):
    return hashlib.sha256(raw).digest()


def tree(leaves):
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + tree(leaves[:k]) + tree(leaves[k:]))


def frontier(leaves):
    """The complete subtrees, largest first."""
    found = []
    while leaves:
        k = 1
        while k * 2 <= len(leaves):
            k *= 2
        found.append(tree(leaves[:k]).hex())
        leaves = leaves[k:]
    return found


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def key_text(name, public):
    number = sha256(name.encode() + b"\n\x01" + public)[:4]
    return number, f"{name}+{number.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"


def segment_entry():
    leaves = [record_bytes(r) for r in RECORDS]
    stored, plain = "11" * 32, "22" * 32
    return {
        "kind": "segment",
        "key": f"log/rekam.events/0/2026-01-01/{0:020d}-{len(RECORDS)}-{stored}.avro.age",
        "stored": stored,
        "plain": plain,
        "size": 1234,
        "plain_size": 1000,
        "partition": "rekam.events/0",
        "first": 0,
        "stop": len(RECORDS),
        "records": tree(leaves).hex(),
        "last": sha256(b"\x00" + leaves[-1]).hex(),
        "time": {"first": 1767225600000, "last": 1767225599000, "min": 1767225599000, "max": 1767225600001},
        "epochs": [[None, 3]],
        "rewinds": [],
    }


def vectors():
    private = Ed25519PrivateKey.from_private_bytes(SEED)
    name = f"rekam/{CLINIC}"
    number, verifier = key_text(name, private.public_key().public_bytes_raw())
    origin = f"{name}/{ARCHIVE}"
    config = {
        "format": 1,
        "clinic": {"id": CLINIC, "name": "Klinik Sehat – “Satu”"},
        "archive": ARCHIVE,
        "origin": origin,
        "recipients": [],
        "verifier": verifier,
    }
    config_bytes = canonical(config)
    leaves = [canonical({"kind": "archive", "key": "archive.json", "stored": sha256(config_bytes).hex()})]
    manifests, notes, previous = [], [], None
    record_leaves = [record_bytes(r) for r in RECORDS]
    for n, entries in ((1, [segment_entry()]), (2, [])):
        manifest = {
            "format": 1,
            "n": n,
            "archive": ARCHIVE,
            "time": 1767225601000 + n,
            "complete_through": 1767225601000 + n,
            "position": {"rekam.control/0": n, "rekam.events/0": len(RECORDS)},
            "generation": {"number": 0, "epoch": None},
            "topics": {"rekam.control": "one", "rekam.events": "one"},
            "tails": {"rekam.events/0": sha256(b"\x00" + record_leaves[-1]).hex()},
            "schemas": [],
            "gaps": [],
            "entries": entries,
            "tree": {"size": len(leaves), "frontier": frontier(leaves)},
            "previous": previous,
            "code": "rekam 0.1.0",
        }
        data = canonical(manifest)
        digest = sha256(data).hex()
        leaves += [canonical(entry) for entry in entries]
        leaves.append(
            canonical(
                {"kind": "manifest", "key": f"checkpoints/{n:012d}/{digest}.manifest.json", "stored": digest}
            )
        )
        text = f"{origin}\n{len(leaves)}\n{base64.b64encode(tree(leaves)).decode()}\n"
        signature = base64.b64encode(number + private.sign(text.encode())).decode()
        note = f"{text}\n\u2014 {name} {signature}\n"
        previous = sha256(note.encode()).hex()
        manifests.append(data.decode())
        notes.append(note)
    return {
        "records": [{"record": r, "bytes": record_bytes(r).hex()} for r in [*RECORDS, FAR]],
        "record_root": tree(record_leaves).hex(),
        "sync_marker": sha256(b"rekam segment\0" + tree(record_leaves))[:16].hex(),
        "signing_seed": SEED.hex(),
        "verifier": verifier,
        "archive.json": config_bytes.decode(),
        "manifests": manifests,
        "notes": notes,
        "leaves": [leaf.decode() for leaf in leaves],
        "roots": [tree(leaves[:n]).hex() for n in range(len(leaves) + 1)],
    }


def text():
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201
