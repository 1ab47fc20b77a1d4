from pathlib import Path

import pytest

from events.errors import BadConfiguration
from services.settings import load_settings

CLINIC = f'[clinic]\nid = "{"a" * 32}"\n'


def write(home: Path, text: str) -> Path:
    (home / "rekam.toml").write_text(text)
    return home


def test_defaults_stand_where_the_file_is_silent(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, CLINIC))
    assert settings.log.url == "sqlite:log.db"
    assert settings.tables.url == "sqlite:tables.db"
    assert settings.archive.url == "archive"
    assert settings.clinic.zone == "Asia/Jakarta"


def test_the_environment_wins_over_the_file_setting_by_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKAM_ARCHIVE__SECRET_KEY", "from-the-environment")
    monkeypatch.setenv("REKAM_HOME", str(tmp_path))  # not a setting of the file
    settings = load_settings(write(tmp_path, CLINIC + '[archive]\nurl = "s3://records/clinic"\n'))
    assert settings.archive.url == "s3://records/clinic"
    assert settings.archive.secret_key == "from-the-environment"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[clinic\n", "line 1"),
        ("", "clinic"),
        ('[clinic]\nid = "short"\n', "clinic.id"),
        (CLINIC + '[log]\nulr = "sqlite:x"\n', "log.ulr"),
        (CLINIC + 'zone = "Asia/Atlantis"\n', "clinic.zone"),
        (CLINIC + "[replicator]\ninterval_seconds = 0\n", "replicator.interval_seconds"),
        (CLINIC + "[recover]\n", "recover"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(BadConfiguration, match=named) as refused:
        load_settings(write(tmp_path, text))
    assert refused.value.exit_code == 2
    assert refused.value.hint


def test_a_secret_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load_settings(write(tmp_path, CLINIC + '[archive]\nsecret = "hunter2"\n'))
    assert "hunter2" not in str(refused.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration) as refused:
        load_settings(tmp_path)
    assert "rekam init" in refused.value.hint
