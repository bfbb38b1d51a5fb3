"""The manifest: a data file is the registered one, byte for byte, or it is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from scaling.data.manifest import (
    read_manifest,
    register,
    registered_entry,
    registered_md5,
    verify,
)
from scaling.data.prices import load_prices
from scaling.data.sources import CURRENCIES
from scaling.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registered(tmp_path: Path) -> tuple[Path, Path]:
    """A registered file of a few bytes, and its manifest."""
    path, manifest = tmp_path / "raw" / "XYZ.parquet", tmp_path / "manifest.json"
    path.parent.mkdir()
    path.write_bytes(b"prices")
    enter(path, manifest)
    return path, manifest


def enter(path: Path, manifest: Path) -> str:
    days = {"first_date": "2000-01-03", "last_date": "2000-01-05"}
    return register(path, manifest, rows=3, **days, origin="a test")


@pytest.mark.parametrize("position", [0, 3, 5])
def test_one_flipped_bit_is_refused_with_the_file_both_md5s_and_what_to_type(registered, position):
    path, manifest = registered
    was = verify(path, manifest)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        verify(path, manifest)
    message = str(refusal.value)
    assert "\n" not in message
    for part in (str(path), was, hashlib.md5(content).hexdigest(), "git checkout -- "):
        assert part in message
    assert f"python -m scaling.fetch XYZ --source file {path}" in message
    assert "--replace" in message


def test_an_unregistered_file_is_refused_even_beside_a_registered_one(registered):
    path, manifest = registered
    other = path.with_name("OTHER.parquet")
    other.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="not registered.*scaling.fetch OTHER"):
        verify(other, manifest)


def test_a_registered_file_that_is_gone_is_refused(registered):
    path, manifest = registered
    path.unlink()
    with pytest.raises(UserError, match="no such file.*git checkout"):
        verify(path, manifest)


def test_a_missing_manifest_is_refused_with_what_to_type(registered):
    path, manifest = registered
    manifest.unlink()
    with pytest.raises(UserError, match="no such manifest.*git checkout"):
        verify(path, manifest)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"resources": 3}', '{"resources": [{"path": "raw/XYZ.parquet"}]}'],
)
def test_a_malformed_manifest_is_refused(registered, text):
    path, manifest = registered
    manifest.write_text(text)
    with pytest.raises(UserError, match="not a Data Package"):
        verify(path, manifest)


@pytest.mark.parametrize("hash_", ["", "sha256:00", "md5:123", "d41d8cd98f00b204e9800998ecf8427e"])
def test_a_hash_that_is_not_an_md5_is_refused(registered, hash_):
    path, manifest = registered
    content = json.loads(manifest.read_text())
    content["resources"][0]["hash"] = hash_
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="32 hex digits"):
        verify(path, manifest)


def test_a_path_is_recognised_however_it_is_written(registered, monkeypatch):
    path, manifest = registered
    monkeypatch.chdir(path.parent)
    assert verify(path.name, "../manifest.json") == verify(path, manifest)


def test_registering_again_replaces_the_entry_and_keeps_the_others(registered):
    path, manifest = registered
    other = path.with_name("ABC.parquet")
    other.write_bytes(b"others")
    enter(other, manifest)
    path.write_bytes(b"changed")
    enter(path, manifest)
    assert verify(path, manifest) == hashlib.md5(b"changed").hexdigest()
    assert verify(other, manifest) == hashlib.md5(b"others").hexdigest()
    names = [r["path"] for r in read_manifest(manifest)["resources"]]
    assert names == ["raw/ABC.parquet", "raw/XYZ.parquet"]


MANIFEST = ROOT / "data/manifest.json"


def test_every_committed_price_file_is_registered_and_every_entry_has_its_file():
    committed = {path.name for path in (ROOT / "data/raw").glob("*.parquet")}
    entries = read_manifest(MANIFEST)["resources"]
    assert {Path(entry["path"]).name for entry in entries} == committed
    for entry in entries:
        path = MANIFEST.parent / entry["path"]
        assert verify(path, MANIFEST) == registered_md5(path, MANIFEST)
        assert entry["bytes"] == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "rows", "first", "last"),
    [
        ("SPY", 6825, "1993-01-29", "2020-03-06"),
        ("SP500", 10635, "1982-04-20", "2024-06-26"),
        ("NASDAQ", 5031, "1999-01-04", "2018-12-31"),
        *((name, 7126, "1999-01-04", "2026-10-30") for name in CURRENCIES),
    ],
)
def test_an_entry_says_the_rows_and_dates_that_the_committed_file_holds(name, rows, first, last):
    path = ROOT / f"data/raw/{name}.parquet"
    prices, entry = load_prices(path), registered_entry(path, MANIFEST)
    assert entry["rows"] == len(prices) == rows
    assert entry["first_date"] == str(prices.index[0].date()) == first
    assert entry["last_date"] == str(prices.index[-1].date()) == last
    assert entry["licenses"] and entry["sources"]
    assert [field["name"] for field in entry["schema"]["fields"]] == ["date", *prices]
