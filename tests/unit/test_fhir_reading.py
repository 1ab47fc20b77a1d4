"""Reading FHIR files: whatever their form, every resource with its exact text, every bad one refused by line."""

from __future__ import annotations

import gzip
import json
import lzma
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import BadInput
from services.fhir import bundles, reading
from services.fhir.bundles import Window, entries
from services.fhir.exact_json import canonical, content_digest, parse, write
from services.fhir.reading import Found, Refusal, find_files, read_resources

PATIENT = '{"resourceType":"Patient","id":"p1","multipleBirthInteger":1}'
VITAL = '{"resourceType": "Observation", "id":"o1", "valueQuantity":{"value":1.50}, "note": "é \\u00e9"}'


def read(*paths: Path) -> tuple[list[Found], list[Refusal]]:
    items = list(read_resources(paths))
    return [i for i in items if isinstance(i, Found)], [i for i in items if isinstance(i, Refusal)]


def bundle(kind: str, *resources: str, indent: int | None = None, **more: object) -> str:
    held = [{"fullUrl": f"urn:uuid:u{n}", "resource": json.loads(r)} for n, r in enumerate(resources)]
    return json.dumps({"resourceType": "Bundle", "type": kind, **more, "entry": held}, indent=indent)


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_lines_keep_their_exact_text(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"all.ndjson{packing}"
    data = f"\ufeff{PATIENT}\r\n\n  {VITAL}\t".encode()
    pack = {"": lambda d: d, ".gz": gzip.compress, ".xz": lzma.compress}[packing]
    path.write_bytes(pack(data))
    found, refused = read(path)
    assert [f.text.decode() for f in found] == [PATIENT, VITAL]
    assert [f.line for f in found] == [1, 3]
    assert found[1].resource["valueQuantity"]["value"] == Decimal("1.50")
    assert not refused


def test_each_bad_line_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    deep = '{"resourceType":"Patient","id":"d","a":' + "[" * 100_000 + "]" * 100_000 + "}"
    lines = [
        b"{not json",
        b"[1]",
        b'{"id":"x"}',
        b'{"resourceType":7}',
        b'{"resourceType":"Patient/../"}',
        b'{"resourceType":"Patient","id":7}',
        b'{"resourceType":"Patient","id":""}',
        b'{"resourceType":"Patient","id":"a","b":NaN}',
        b'{"resourceType":"Patient","id":"a","b":1e99999999999999999999}',
        b'{"resourceType":"Patient","id":"a","b":' + b"9" * 5000 + b"}",
        b'{"resourceType":"Patient","id":"a","b":"\\u0000"}',
        b'{"resourceType":"Patient","id":"a","b":"\\ud800"}',
        b'{"resourceType":"Patient","id":"a","b":"\xff"}',
        deep.encode(),
        '{"resourceType":"Patient","id":"wide"}'.encode("utf-16"),
    ]
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"\n".join([PATIENT.encode(), *lines, VITAL.encode()]))
    found, refused = read(path)
    # UTF-16's newline is two bytes, so the last of the bad ones counts as what it looks like: not UTF-8.
    assert [f.resource["id"] for f in found] == ["p1", "o1"]
    assert [r.line for r in refused] == list(range(2, len(lines) + 2))
    assert all(r.file == str(path) and r.reason for r in refused)
    assert not any("xff" in r.reason or "wide" in r.reason for r in refused)


def test_a_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"resourceType":"Patient","id":"a","b":"\\ud83d\\ude00 and \\\\u0000"}')
    found, refused = read(path)
    assert found[0].resource["b"] == "\U0001f600 and \\u0000"
    assert not refused


def test_a_line_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_RESOURCE_BYTES", 1000)
    monkeypatch.setattr(reading, "READ_BYTES", 64)
    path = tmp_path / "long.ndjson"
    path.write_text("\n".join([PATIENT, '{"resourceType":"Binary","data":"' + "x" * 5000 + '"}', VITAL]))
    found, refused = read(path)
    assert [f.line for f in found] == [1, 3]
    assert [(r.line, r.reason) for r in refused] == [(2, "longer than 1000 bytes")]


@pytest.mark.parametrize("kind", ["transaction", "batch", "collection", "searchset", "document", "message"])
@pytest.mark.parametrize("indent", [None, 2])
def test_bundles_of_any_type(tmp_path: Path, kind: str, indent: int | None) -> None:
    path = tmp_path / "bundle.json"
    path.write_text(bundle(kind, PATIENT, VITAL, indent=indent))
    found, refused = read(path)
    assert [f.resource for f in found] == [parse(PATIENT), parse(VITAL)]
    assert [f.line for f in found] == [1, 2]
    assert found[0].links == {"urn:uuid:u0": "Patient/p1", "urn:uuid:u1": "Observation/o1"}
    assert not refused


def test_a_history_bundle_is_read_oldest_first(tmp_path: Path) -> None:
    newer = PATIENT.replace(":1}", ":2}")
    path = tmp_path / "history.json"
    path.write_text(bundle("history", newer, PATIENT, indent=1))
    found, _ = read(path)
    assert [f.resource["multipleBirthInteger"] for f in found] == [1, 2]


def test_a_history_bundle_that_says_so_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PEEK_BYTES", 60)
    held = [{"resource": json.loads(PATIENT.replace(":1}", f":{n}}}"))} for n in (3, 2, 1)]
    for members in (
        {"resourceType": "Bundle", "entry": held, "type": "history"},
        {"entry": held, "resourceType": "Bundle", "type": "history"},
    ):
        path = tmp_path / "history.json"
        path.write_text(json.dumps(members, indent=1))
        found, refused = read(path)
        assert [f.resource["multipleBirthInteger"] for f in found] == [1, 2, 3]
        assert not refused


def test_a_resource_without_id_goes_by_its_urn(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    path.write_text(bundle("transaction", '{"resourceType":"Patient"}'))
    found, _ = read(path)
    assert found[0].resource["id"] == "u0"
    assert b'"id"' not in found[0].text


def test_bundles_say_what_they_do_not_hold(tmp_path: Path) -> None:
    held = [
        {"request": {"method": "DELETE", "url": "Patient/7"}},
        {"request": {"method": "GET", "url": "Patient/7"}},
        {"resource": 7},
        5,
        {"resource": json.loads(PATIENT)},
    ]
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"entry": held, "type": "batch", "resourceType": "Bundle"}))
    found, refused = read(path)
    assert [f.line for f in found] == [5]
    assert [r.line for r in refused] == [1, 3, 4]


@given(chunk=st.integers(1, 400), cut=st.integers(0, 400))
def test_a_bundle_comes_out_of_any_window(chunk: int, cut: int) -> None:
    text = bundle("batch", PATIENT, VITAL, total=3).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "WINDOW_CHARACTERS", chunk)
        whole = [*entries(Window(_reader(text)))]
        broken = [*entries(Window(_reader(text[: min(cut, len(text) - 1)])))]
    assert [e.resource["id"] for e in whole] == ["p1", "o1"]
    assert [e.text for e in whole] == [json.dumps(e.resource, default=float) for e in whole]
    assert isinstance(broken[-1], ValueError)
    assert broken[:-1] == whole[: len(broken) - 1]


def _reader(data: bytes):
    at = 0

    def read_some(size: int) -> bytes:
        nonlocal at
        at, start = at + size, at
        return data[start:at]

    return read_some


def test_a_bundle_larger_than_a_window_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_DOCUMENT_BYTES", 0)  # nothing may be held whole
    path = tmp_path / "big.json.gz"
    path.write_bytes(gzip.compress(bundle("collection", *[VITAL] * 5000, indent=1).encode()))
    found, refused = read(path)
    assert len(found) == 5000
    assert not refused


def test_a_broken_bundle_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    text = bundle("collection", PATIENT, VITAL, indent=1)
    path.write_text(text[: text.index("valueQuantity")])
    found, refused = read(path)
    assert [f.resource["id"] for f in found] == ["p1"]
    assert [r.line for r in refused] == [2]
    assert "rest of the Bundle" in refused[0].reason


def test_a_pretty_printed_resource_and_bundles_in_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(json.loads(PATIENT), indent=4))
    (tmp_path / "b.ndjson").write_text(bundle("batch", VITAL) + "\n" + PATIENT)
    (tmp_path / "c.json").write_text("{broken\n" + PATIENT + "\n")
    (tmp_path / ".hidden.json").write_text(PATIENT)
    (tmp_path / "notes.txt").write_text("no FHIR")
    found, refused = read(*find_files([tmp_path]))
    assert [(Path(f.file).name, f.resource["id"]) for f in found] == [
        ("a.json", "p1"),
        ("b.ndjson", "o1"),
        ("b.ndjson", "p1"),
        ("c.json", "p1"),
    ]
    assert [(Path(r.file).name, r.line) for r in refused] == [("c.json", 1)]


def test_damaged_compression_ends_that_file_alone(tmp_path: Path) -> None:
    lines = "\n".join(f'{{"resourceType":"Patient","id":"{n}"}}' for n in range(50_000)).encode()
    (tmp_path / "a.ndjson.xz").write_bytes(lzma.compress(lines)[:-2000])
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(lines)[:-2000])
    (tmp_path / "c.ndjson.xz").write_bytes(b"no such thing")
    (tmp_path / "d.ndjson").write_text(PATIENT)
    found, refused = read(*find_files([tmp_path]))
    assert [Path(r.file).name[0] for r in refused] == ["a", "b", "c"]
    assert all("compressed file" in r.reason for r in refused)
    assert found[-1].resource["id"] == "p1"


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no FHIR files"):
        find_files([tmp_path])
    with pytest.raises(BadInput, match="no such file"):
        find_files([tmp_path / "absent.json"])


def test_progress_counts_the_bytes_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(f"{PATIENT}\n".encode() * 10_000))
    moved: list[int] = []
    assert len(list(read_resources([path], moved.append))) == 10_000
    assert sum(moved) == path.stat().st_size


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: "E" in str(d) or "." in str(d))
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(JSON)
def test_exact_json_round_trip(value: object) -> None:
    assert repr(parse(write(value))) == repr(value)


def test_content_is_the_same_in_any_layout_and_never_otherwise() -> None:
    assert content_digest(parse('{"a":1.0,"b":[2]}')) == content_digest(parse('{ "b" : [2],\n"a":1.0 }'))
    different = ['{"a":1.0}', '{"a":1.00}', '{"a":"1.0"}', '{"a":1}', '{"a":10e-1}', '{"a":true}']
    assert len({content_digest(parse(text)) for text in different}) == len(different) - 1  # 10e-1 is 1.0
    assert canonical(parse('{"b":"é","a":[1.50,"1.50"]}')) == '{"a":[1.50,"1.50"],"b":"\\u00e9"}'
