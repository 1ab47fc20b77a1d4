"""What every store of patients' keys does."""

from __future__ import annotations

import multiprocessing
import pickle
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from events.errors import BadConfiguration, Corrupt, KeysUnavailable
from events.patient_keys import ERASED, Erased, KeptKey, KeyStore, Mark, MemoryKeys
from events.sqlite_keys import SqliteKeys

A, B = "patient-a", "patient-b"


def sqlite_keys(folder: Path) -> SqliteKeys:
    wrapping = folder / "wrapping.key"
    if not wrapping.exists():
        wrapping.write_text(secrets.token_hex(32))
    return SqliteKeys(folder / "patients.db", wrapping, lambda: 7)


@pytest.fixture(params=["memory", "sqlite"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyStore]:
    store: KeyStore = MemoryKeys(lambda: 7) if request.param == "memory" else sqlite_keys(tmp_path)
    with closing(store):
        yield store


def erased(stream: str, at: int = 9, **more: object) -> Mark:
    return Mark(stream, ERASED, {"at": at, **more})


def test_a_key_is_made_once_and_found_by_its_name(keys: KeyStore) -> None:
    made = keys.make([A, B])
    assert set(made) == {A, B}
    assert made[A] != made[B]
    assert len(made[A].secret) == 32
    assert len(bytes.fromhex(made[A].id)) == 16
    assert keys.make([A]) == {A: made[A]}
    assert keys.find(made[A].id) == made[A].secret
    assert keys.find("0" * 32) is None
    assert keys.keys_of(A) == [KeptKey(made[A].id, A, 7, made[A].secret)]


def test_what_is_destroyed_is_gone_and_leaves_its_name(keys: KeyStore) -> None:
    made = keys.make([A, B])
    keys.merge([KeptKey("f" * 32, A, 8, b"x" * 32)], [])
    assert set(keys.destroy(A, erased(A))) == {made[A].id, "f" * 32}
    assert keys.find(made[A].id) is None
    assert keys.find("f" * 32) is None
    assert [key.secret for key in keys.keys_of(A)] == [None, None]
    assert keys.marks(ERASED) == {A: erased(A)}
    assert keys.find(made[B].id) == made[B].secret
    with pytest.raises(Erased):
        keys.make([B, A])


def test_a_stream_without_a_key_has_a_name_once_it_is_erased(keys: KeyStore) -> None:
    [name] = keys.destroy(A, erased(A))
    assert keys.keys_of(A) == [KeptKey(name, A, 7, None)]
    assert keys.destroy(A, erased(A)) == [name]


def test_an_old_backup_brings_nothing_back_that_was_destroyed(keys: KeyStore) -> None:
    made = keys.make([A, B])
    before = keys.changes(0)
    keys.destroy(A, erased(A))
    assert keys.merge(before.keys, before.marks) == []
    assert keys.find(made[A].id) is None
    late = KeptKey("e" * 32, A, 3, b"y" * 32)  # a key of the erased that nobody here had known
    assert keys.merge([late], []) == []
    assert keys.find(late.id) is None


def test_a_backup_brings_back_what_is_not_here(keys: KeyStore, tmp_path: Path) -> None:
    key, gone = KeptKey("a" * 32, A, 3, b"y" * 32), KeptKey("b" * 32, B, 3, None)
    assert keys.merge([key, gone], [erased(B)]) == [A]
    assert keys.find(key.id) == key.secret
    assert keys.make([A])[A].id == key.id
    assert keys.marks(ERASED) == {B: erased(B)}
    assert keys.merge([key, gone], [erased(B)]) == []


def test_the_ledger_names_keys_and_whole_streams_go(keys: KeyStore) -> None:
    made = keys.make([A, B])
    keys.merge([KeptKey("c" * 32, A, 8, b"z" * 32)], [])
    assert keys.destroy_keys([made[A].id, "0" * 32], {"at": 11, "reason": "asked for"}) == [A]
    assert keys.find("c" * 32) is None
    assert keys.marks(ERASED) == {A: erased(A, 11, reason="asked for")}
    assert keys.destroy_keys([made[A].id], {"at": 12}) == []
    assert keys.find(made[B].id)


def test_the_newer_mark_stands(keys: KeyStore) -> None:
    keys.put_mark(Mark(A, "restricted", {"at": 5, "lifted": False}))
    keys.put_mark(Mark(A, "restricted", {"at": 6, "lifted": True}))
    keys.put_mark(Mark(A, "restricted", {"at": 5, "lifted": False}))
    assert keys.marks("restricted")[A].body["lifted"] is True


def test_changes_are_told_from_a_number_on(keys: KeyStore) -> None:
    first = keys.make([A])[A]
    one = keys.changes(0)
    assert [key.id for key in one.keys] == [first.id]
    keys.make([B])
    keys.destroy(A, erased(A))
    two = keys.changes(one.through)
    assert {key.stream: key.secret is None for key in two.keys} == {A: True, B: False}
    assert two.marks == [erased(A)]
    assert two.total == 3 > one.total
    assert keys.changes(two.through).keys == []
    assert keys.backed_up("here") == 0
    keys.set_backed_up("here", two.through)
    keys.set_backed_up("here", one.through)
    assert keys.backed_up("here") == two.through


def test_what_is_missing_is_noted_until_it_is_here(keys: KeyStore) -> None:
    keys.missed({"a" * 32: A, "b" * 32: B})
    assert keys.missing() == {"a" * 32: A, "b" * 32: B}
    keys.merge([KeptKey("a" * 32, A, 3, b"y" * 32)], [])
    assert keys.missing() == {"b" * 32: B}
    assert keys.returned() == {"a" * 32: A}
    keys.forget_missed(["a" * 32])
    assert keys.returned() == {}


def test_nothing_shows_a_secret(keys: KeyStore) -> None:
    key = keys.make([A])[A]
    assert key.secret.hex() not in repr(key) + repr(keys.keys_of(A))
    assert repr(key.secret) not in repr(key) + repr(keys.keys_of(A))


# -- the file's own


def test_two_users_of_one_file_see_each_other(tmp_path: Path) -> None:
    with closing(sqlite_keys(tmp_path)) as one, closing(sqlite_keys(tmp_path)) as two:
        made = one.make([A])
        assert two.make([A]) == made
        version = one.version()
        assert one.version() == version
        two.destroy(A, erased(A))
        assert one.version() != version
        assert one.find(made[A].id) is None
        again = pickle.loads(pickle.dumps(one))
        assert again.marks(ERASED) == {A: erased(A)}
        again.close()


def test_an_interrupt_anywhere_in_a_transaction_is_told_as_one(tmp_path: Path) -> None:
    with closing(sqlite_keys(tmp_path)) as store:
        for statement in ("SELECT 1", "COMMIT"):
            with pytest.raises(KeyboardInterrupt), store._writing() as connection:
                connection.execute(statement)
                raise KeyboardInterrupt
        assert store.make([A]) == store.make([A])


def test_a_file_that_is_lost_under_its_users_is_noticed(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()

    def move_away() -> None:
        for path in tmp_path.glob("patients.db*"):
            path.rename(aside / path.name)

    with closing(sqlite_keys(tmp_path)) as store:
        store.make([A])
        store.destroy(B, erased(B))
        move_away()
        for use in (lambda: store.make([A]), lambda: store.marks(ERASED), store.version):
            with pytest.raises(KeysUnavailable, match="moved or deleted"):
                use()


def test_a_file_that_is_replaced_under_its_users_is_the_one_they_use(tmp_path: Path) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    with closing(sqlite_keys(tmp_path)) as store:
        lost, version = store.make([A])[A], store.version()
        for path in tmp_path.glob("patients.db*"):
            path.rename(aside / path.name)
        with closing(sqlite_keys(tmp_path)) as other:
            there = other.make([A])[A]
        assert store.version() != version
        assert store.make([A]) == {A: there}
        assert store.find(lost.id) is None


def _make(folder: Path, results: multiprocessing.Queue[dict[str, str]]) -> None:
    with closing(sqlite_keys(folder)) as store:
        results.put(
            {stream: key.id for stream, key in store.make([f"patient-{n}" for n in range(40)]).items()}
        )


def test_processes_that_want_one_key_at_once_get_the_same(tmp_path: Path) -> None:
    sqlite_keys(tmp_path)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[dict[str, str]] = context.Queue()
    processes = [context.Process(target=_make, args=(tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == found[2]


def test_a_key_lies_wrapped_and_its_bytes_are_gone_when_it_is_destroyed(tmp_path: Path) -> None:
    with closing(sqlite_keys(tmp_path)) as store:
        key = store.make([A])[A]
        [(wrapped,)] = store._read("SELECT wrapped FROM keys")

        def everything() -> bytes:
            return b"".join(p.read_bytes() for p in tmp_path.glob("patients.db*"))

        assert key.secret not in everything()
        assert wrapped in everything()
        store.destroy(A, erased(A))
        assert wrapped not in everything()
    assert (tmp_path / "patients.db").stat().st_mode & 0o077 == 0


def test_a_row_moved_to_another_stream_does_not_unwrap(tmp_path: Path) -> None:
    with closing(sqlite_keys(tmp_path)) as store:
        key = store.make([A])[A]
        store._read("UPDATE keys SET stream = ?", (B,))
        with pytest.raises(Corrupt):
            store.find(key.id)


def test_what_is_wrong_with_the_files_is_named(tmp_path: Path) -> None:
    with closing(sqlite_keys(tmp_path)) as store:
        key = store.make([A])[A]
    (tmp_path / "wrapping.key").write_text("no key")
    with closing(sqlite_keys(tmp_path)) as store, pytest.raises(BadConfiguration, match=r"wrapping\.key"):
        store.find(key.id)
    (tmp_path / "wrapping.key").write_text(secrets.token_hex(32))
    with closing(sqlite_keys(tmp_path)) as store, pytest.raises(Corrupt, match="does not unwrap"):
        store.find(key.id)
    (tmp_path / "patients.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with closing(sqlite_keys(tmp_path)) as store, pytest.raises(Corrupt):
        store.find(key.id)
    nowhere = SqliteKeys(tmp_path / "none" / "patients.db", tmp_path / "wrapping.key")
    with closing(nowhere) as store, pytest.raises(KeysUnavailable):
        store.make([A])
