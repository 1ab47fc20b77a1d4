"""Key files and age encryption."""

import shutil
import subprocess

import pytest

from events.errors import BadConfiguration, Corrupt, Refused
from replicator.encryption import Identity, Recipients, new_identity, unseal
from replicator.keys import (
    create_identity,
    create_signing_key,
    load_identity,
    load_signing_key,
    write_key_file,
)


def test_key_files_are_their_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "keys" / "signing"
    signer = create_signing_key(path, "rekam/a", lambda n: b"7" * n)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert load_signing_key(path).verifier == signer.verifier
    with pytest.raises(Refused, match="never overwritten"):
        create_signing_key(path, "rekam/a")
    assert load_signing_key(path).verifier == signer.verifier


def test_identities_come_back(tmp_path):
    made = create_identity(tmp_path / "identity")
    assert load_identity(tmp_path / "identity").recipients == made.recipients
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o600


def test_missing_and_damaged_key_files_are_named(tmp_path):
    with pytest.raises(BadConfiguration, match="cannot be read"):
        load_signing_key(tmp_path / "none")
    write_key_file(tmp_path / "odd", "nonsense")
    for load in (load_signing_key, load_identity):
        with pytest.raises(BadConfiguration) as told:
            load(tmp_path / "odd")
        assert "nonsense" not in str(told.value)


def test_only_the_identities_open_what_was_sealed():
    (one, to_one), (two, to_two), (other, _) = new_identity(), new_identity(), new_identity()
    sealed = Recipients([to_one, to_two]).seal(b"secret")
    assert b"secret" not in sealed
    for text in (one, two):
        assert unseal(sealed, "x.age", Identity(text)) == b"secret"
    with pytest.raises(Refused, match="x"):
        unseal(sealed, "x.age", Identity(other))
    with pytest.raises(Refused, match=r"owner\.txt"):
        unseal(sealed, "x.age", None)
    for damaged in (sealed[:-1], sealed[:-1] + b"?", b"", b"garbage"):
        with pytest.raises(Corrupt):
            unseal(damaged, "x.age", Identity(one))


def test_without_recipients_nothing_is_sealed():
    assert Recipients([]).seal(b"open") == b"open"
    assert Recipients([]).suffix == ""
    assert unseal(b"open", "x", None) == b"open"


def test_wrong_keys_are_refused_and_not_shown():
    text, recipient = new_identity()
    for wrong in ("", "age1nonsense", text):
        with pytest.raises(BadConfiguration):
            Recipients([wrong])
    with pytest.raises(BadConfiguration):
        Identity(recipient)
    assert "SECRET" not in repr(Identity(text))


@pytest.mark.skipif(shutil.which("age") is None, reason="the age program is not installed")
def test_the_age_program_opens_it(tmp_path):
    text, recipient = new_identity()
    (tmp_path / "identity").write_text(text)
    (tmp_path / "sealed").write_bytes(Recipients([recipient]).seal(b"secret" * 10000))
    done = subprocess.run(
        ["age", "-d", "-i", tmp_path / "identity", tmp_path / "sealed"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"secret" * 10000
