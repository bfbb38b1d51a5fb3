"""Files that appear whole or not at all, and what a record says of its origin."""

import json
from pathlib import Path

import pytest

from scaling.errors import UserError
from scaling.record import (
    atomic_file,
    fingerprint,
    provenance,
    read_json,
    write_json,
)


def test_two_values_that_swap_places_change_the_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": 2}) != fingerprint({"a": 2, "b": 1})
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_json(path, {"good": 1})
    with pytest.raises(RuntimeError), atomic_file(path) as stream:
        stream.write(b"half of")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"good": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


def test_a_damaged_json_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"micro_batch": ')
    with pytest.raises(UserError, match=r"cut.json: not valid JSON .*snakemake --force"):
        read_json(tmp_path / "cut.json")


def test_a_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "bad.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_provenance_names_the_versions_that_compute() -> None:
    versions = provenance()["versions"]
    assert {"python", "torch", "transformers", "numpy"} <= set(versions)
    assert "not installed" not in versions.values()
