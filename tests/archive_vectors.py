"""Makes tests/data/archive-vectors.json from docs/archive-format.md alone: it imports nothing of ours.

Run it as a program to print the vectors; tests/unit/test_archive_vectors.py compares file, program and product.
"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CLINIC, ARCHIVE = "00112233445566778899aabbccddeeff", "0f0e0d0c0b0a09080706050403020100"
SEED, NEXT_SEED = bytes(range(32)), bytes(range(32, 64))
RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
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


class Key:
    """A signing key of the clinic."""

    def __init__(self, seed):
        self.private, self.name = Ed25519PrivateKey.from_private_bytes(seed), f"rekam/{CLINIC}"
        self.number, self.text = key_text(self.name, self.private.public_key().public_bytes_raw())

    def line(self, text):
        signature = base64.b64encode(self.number + self.private.sign(text.encode())).decode()
        return f"\u2014 {self.name} {signature}\n"


class Growing:
    """An archive's leaves while checkpoints are added."""

    def __init__(self, origin, config_bytes):
        self.origin, self.previous = origin, None
        self.leaves = [
            canonical({"kind": "archive", "key": "archive.json", "stored": sha256(config_bytes).hex()})
        ]

    def add(self, n, entries, key, **more):
        """(manifest, note) of the next checkpoint, as text."""
        record_leaves = [record_bytes(r) for r in RECORDS]
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
            "tree": {"size": len(self.leaves), "frontier": frontier(self.leaves)},
            "previous": self.previous,
            "code": "rekam 0.1.0",
            **more,
        }
        data = canonical(manifest)
        digest = sha256(data).hex()
        self.leaves += [canonical(entry) for entry in entries]
        leaf = {"kind": "manifest", "key": f"checkpoints/{n:012d}/{digest}.manifest.json", "stored": digest}
        self.leaves.append(canonical(leaf))
        text = f"{self.origin}\n{len(self.leaves)}\n{base64.b64encode(tree(self.leaves)).decode()}\n"
        note = f"{text}\n{key.line(text)}"
        self.previous = sha256(note.encode()).hex()
        return data.decode(), note


def plain_entry(kind, folder, suffix, data, **members):
    digest = sha256(data).hex()
    common = {"kind": kind, "key": f"{folder}/{digest}.{suffix}", "stored": digest, "plain": digest}
    return {**common, "size": len(data), **members}


def rotated(archive, old):
    """Checkpoint 3 names other recipients and another key, and is the old key's last; 4 is the new one's first."""
    new, actor = Key(NEXT_SEED), {"id": "owner", "role": "operator", "system": "cli"}
    why = {"format": 1, "time": 1767225602000, "actor": actor, "reason": "a rotation"}
    recipients = canonical({**why, "recipients": [RECIPIENT]})
    said = {"kind": "rekam signing key", **why, "previous": old.text, "verifier": new.text}
    text = canonical(said).decode() + "\n"
    statement = f"{text}\n{old.line(text)}{new.line(text)}"
    entries = [
        plain_entry("recipients", "recipients", "json", recipients, recipients=[RECIPIENT]),
        plain_entry("signer", "signers", "note", statement.encode(), previous=old.text, verifier=new.text),
    ]
    in_force = {"recipients": [RECIPIENT], "signer": new.text}
    checkpoints = [archive.add(3, entries, old, **in_force), archive.add(4, [], new, **in_force)]
    return {
        "signing_seed": NEXT_SEED.hex(),
        "verifier": new.text,
        "recipients": recipients.decode(),
        "statement": statement,
        "manifests": [manifest for manifest, _ in checkpoints],
        "notes": [note for _, note in checkpoints],
        "root": tree(archive.leaves).hex(),
    }


def vectors():
    key = Key(SEED)
    name, verifier = key.name, key.text
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
    archive = Growing(origin, config_bytes)
    record_leaves = [record_bytes(r) for r in RECORDS]
    checkpoints = [archive.add(1, [segment_entry()], key), archive.add(2, [], key)]
    leaves = list(archive.leaves)
    return {
        "records": [{"record": r, "bytes": record_bytes(r).hex()} for r in [*RECORDS, FAR]],
        "record_root": tree(record_leaves).hex(),
        "sync_marker": sha256(b"rekam segment\0" + tree(record_leaves))[:16].hex(),
        "signing_seed": SEED.hex(),
        "verifier": verifier,
        "archive.json": config_bytes.decode(),
        "manifests": [manifest for manifest, _ in checkpoints],
        "notes": [note for _, note in checkpoints],
        "leaves": [leaf.decode() for leaf in leaves],
        "roots": [tree(leaves[:n]).hex() for n in range(len(leaves) + 1)],
        "rotated": rotated(archive, key),
    }


def text():
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201
