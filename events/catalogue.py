"""The catalogue of schemas: the current ones, composed from schemas/, and every one that was ever released.

`schemas/released/<fingerprint>.avsc` holds each schema in which a value may stand on some log, in full, for ever;
`schemas/fingerprints.lock` holds their digests, so that an edit shows. `python -m events.catalogue --check` (in CI)
fails if a released schema was edited or removed, if the current one is not released, or if values of a released
one could not be read as current events. `--release` adds the current schemas to both, and never replaces.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from events.avro_schema import Schema, compose, fingerprint, full_name, names_of
from events.errors import UnknownSchema
from events.resolution import bare, obstacles
from events.upcasts import UPCASTS

EVENT = "id.rekam.Event"
CONTROL = "id.rekam.control.Control"
SEALED = "id.rekam.Sealed"
ROOTS = (EVENT, CONTROL)

CORRECTIONS = {
    "id.rekam.registration.PatientRegistered": "id.rekam.registration.PatientCorrected",
    "id.rekam.laboratory.LaboratoryResulted": "id.rekam.laboratory.LaboratoryResultCorrected",
    "id.rekam.care.NoteWritten": "id.rekam.care.NoteAmended",
}
"""Which type corrects which; every other type is corrected by itself."""


def _schemas() -> Traversable:
    return files("schemas")


def _source_files(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "released":
            yield from _source_files(entry)
        elif entry.name.endswith(".avsc"):
            yield entry


@lru_cache
def definitions() -> dict[str, Schema]:
    """Every named type of the current schemas, by full name, as its file has it."""
    found = {}
    for file in _source_files(_schemas()):
        schema = json.loads(file.read_text("utf-8"))
        found[full_name(schema)] = schema
    return found


@lru_cache
def current(root: str = EVENT) -> Schema:
    """The schema in which events (or control records) are written now, in one piece."""
    return compose(root, definitions())


@lru_cache
def current_fingerprint(root: str = EVENT) -> bytes:
    return fingerprint(current(root))


@lru_cache
def event_types() -> tuple[str, ...]:
    """The full names of all event types, in the order of the union; Sealed is none of them."""
    return tuple(name for name in branches(current()) if name != SEALED)


def correction_of(event_type: str) -> str:
    """The type in which an event of `event_type` is corrected."""
    return CORRECTIONS.get(event_type, event_type)


def branches(schema: Schema) -> list[str]:
    """The full names of the records in the union that an event's payload, or a control record's body, is."""
    union = schema["fields"][-1]["type"]
    return [branch if isinstance(branch, str) else full_name(branch) for branch in union]


@lru_cache
def _released_texts() -> dict[bytes, str]:
    folder = _schemas() / "released"
    if not folder.is_dir():
        return {}
    entries = sorted((entry for entry in folder.iterdir()), key=lambda entry: entry.name)
    return {
        bytes.fromhex(entry.name.removesuffix(".avsc")): entry.read_text("utf-8")
        for entry in entries
        if entry.name.endswith(".avsc")
    }


@lru_cache
def _current_roots() -> dict[bytes, str]:
    return {current_fingerprint(root): root for root in ROOTS}


def fingerprints(root: str = EVENT) -> tuple[bytes, ...]:
    """Every fingerprint that values of `root` may carry, the current one first."""
    now = current_fingerprint(root)
    older = (fp for fp in _released_texts() if fp != now and full_name(writer_schema(fp)) == root)
    return now, *older


@lru_cache
def writer_schema(fp: bytes) -> Schema:
    """The schema with this fingerprint (8 bytes). UnknownSchema if it was never released."""
    root = _current_roots().get(fp)
    if root is not None:
        return current(root)
    return json.loads(schema_json(fp))


def schema_json(fp: bytes) -> str:
    """The text of the schema with this fingerprint, docs included, as it goes into archives."""
    text = _released_texts().get(fp)
    if text is not None:
        return text
    root = _current_roots().get(fp)
    if root is None:
        hint = "a newer release, or a foreign producer, wrote it"
        raise UnknownSchema(f"no released schema has the fingerprint {fp.hex()}", hint)
    return _text(current(root))


def _text(schema: Schema) -> str:
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


# ---- the lock


def check(folder: Traversable | Path | None = None) -> list[str]:
    """What is wrong with the released schemas in `folder` (default: schemas/); nothing if all is well."""
    folder = _schemas() if folder is None else folder
    problems: list[str] = []
    locked = dict(_lock_lines(folder))
    texts = _texts(folder)
    for name in sorted(locked.keys() | texts.keys()):
        if name not in texts:
            problems.append(f"released/{name}.avsc is gone: values in that schema could not be read any more")
        elif name not in locked:
            problems.append(f"released/{name}.avsc is not in fingerprints.lock: run --release")
        elif _digest(texts[name]) != locked[name]:
            problems.append(f"released/{name}.avsc was edited: released schemas never change, add a version")
        else:
            problems += _schema_problems(name, json.loads(texts[name]))
    for root in ROOTS:
        problems += _current_problems(root, texts)
    return problems


def _current_problems(root: str, texts: dict[str, str]) -> Iterator[str]:
    name = current_fingerprint(root).hex()
    if name not in texts:
        yield f"{root} is not released as it stands now ({name}): run --release"
    elif bare(json.loads(texts[name])) != bare(current(root)):
        yield f"{root} has the released fingerprint {name}, but a default, a logicalType or a format changed"


def _schema_problems(name: str, schema: Schema) -> Iterator[str]:
    if fingerprint(schema).hex() != name:
        yield f"released/{name}.avsc has another fingerprint than its name"
    root = full_name(schema)
    if root not in ROOTS:
        yield f"released/{name}.avsc is neither events nor control records"
    else:
        yield from (
            f"released/{name}.avsc: {problem}" for problem in incompatibilities(schema, current(root))
        )


def incompatibilities(old: Schema, new: Schema) -> Iterator[str]:
    """Why not all values of the released `old` can be read as current ones of `new`."""
    old_names, new_names = names_of(old), names_of(new)
    if bare({**old, "fields": old["fields"][:-1]}) != bare({**new, "fields": new["fields"][:-1]}):
        yield "the envelope's fields are fixed for ever, and changed"
    kept = set(branches(new))
    for was in branches(old):
        if was in kept:
            yield from obstacles(old_names[was], old_names, new_names[was], new_names, was)
        elif was not in UPCASTS:
            yield f"{was} is no longer a type, and has no upcast"


def release(folder: Path) -> list[str]:
    """Adds the current schemas to `folder`/released and to the lock; the names of those that are new."""
    texts = _texts(folder)
    made = []
    for root in ROOTS:
        name = current_fingerprint(root).hex()
        if name not in texts:
            (folder / "released").mkdir(exist_ok=True)
            (folder / "released" / f"{name}.avsc").write_text(_text(current(root)), "utf-8")
            made.append(name)
    locked = dict(_lock_lines(folder))
    for name, text in _texts(folder).items():
        locked.setdefault(name, _digest(text))
    lines = [f"{name} {digest}\n" for name, digest in sorted(locked.items())]
    (folder / "fingerprints.lock").write_text("".join(lines), "utf-8")
    return made


def _texts(folder: Traversable | Path) -> dict[str, str]:
    released = folder / "released"
    if not released.is_dir():
        return {}
    entries = (entry for entry in released.iterdir() if entry.name.endswith(".avsc"))
    return {entry.name.removesuffix(".avsc"): entry.read_text("utf-8") for entry in entries}


def _lock_lines(folder: Traversable | Path) -> Iterator[tuple[str, str]]:
    lock = folder / "fingerprints.lock"
    for line in lock.read_text("utf-8").splitlines() if lock.is_file() else ():
        name, digest = line.split()
        yield name, digest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m events.catalogue", description="The lock of schemas.")
    do = parser.add_mutually_exclusive_group(required=True)
    do.add_argument(
        "--check", action="store_true", help="fail if a released schema changed or cannot be read"
    )
    do.add_argument("--release", action="store_true", help="add the current schemas to the released ones")
    options: Any = parser.parse_args(arguments)
    if options.release:
        made = release(Path(str(_schemas())))
        sys.stdout.write("".join(f"released {name}\n" for name in made) or "nothing new\n")
        return 0
    problems = check()
    sys.stdout.write("".join(f"{problem}\n" for problem in problems) or "all released schemas can be read\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
