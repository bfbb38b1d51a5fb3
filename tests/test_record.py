"""Atomic writes and digests: what counts as a change, and what does not."""

import json
from pathlib import Path

import pytest

from scaling.errors import UserError
from scaling.record import (
    atomic_file,
    code_digest,
    file_md5,
    fingerprint,
    provenance,
    read_json,
    write_json,
)

PACKAGE = {
    "work.py": (
        '"""Doc."""\nfrom scaling.helper import f\n\n\ndef g():\n    """Doc."""\n    return f()\n'
    ),
    "helper.py": "def f():\n    return 1\n",
    "plots.py": "COLOUR = 'red'\n",
    "other.py": "X = 1\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A library of four modules, two of which `work` depends on."""
    for name, text in PACKAGE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def digest_after(package: Path, name: str, old: str, new: str) -> tuple[str, str]:
    """The digest of `work` before and after one edit."""
    code_digest.cache_clear()
    before = code_digest("work", package)
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))
    code_digest.cache_clear()
    return before, code_digest("work", package)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("work.py", "return f()", "return f()  # a comment"),
        ("work.py", '"""Doc."""', '"""Another docstring."""'),
        ("other.py", "X = 1", "X = 2"),
        ("plots.py", "red", "blue"),
    ],
)
def test_what_changes_no_result_changes_no_digest(
    package: Path, name: str, old: str, new: str
) -> None:
    before, after = digest_after(package, name, old, new)
    assert before == after


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("work.py", "return f()", "return f() + 1"), ("helper.py", "return 1", "return 2")],
)
def test_a_changed_line_changes_the_digest_of_all_that_imports_it(
    package: Path, name: str, old: str, new: str
) -> None:
    before, after = digest_after(package, name, old, new)
    assert before != after


def test_the_training_depends_on_the_model_and_not_on_the_plots(tmp_path: Path) -> None:
    for module in Path("scaling").glob("*.py"):
        (tmp_path / module.name).write_text(module.read_text())
    whole = code_digest("train", tmp_path)
    for module, matters in (("model", True), ("trainer", True), ("plots", False), ("law", False)):
        path = tmp_path / f"{module}.py"
        text = path.read_text()
        path.write_text(text + "\nEDITED = 1\n")
        code_digest.cache_clear()
        assert (code_digest("train", tmp_path) != whole) is matters, module
        path.write_text(text)
    code_digest.cache_clear()


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


def test_the_md5_is_the_one_that_md5sum_prints(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_md5(tmp_path / "abc") == "900150983cd24fb0d6963f7d28e17f72"


def test_provenance_names_the_versions_that_compute() -> None:
    versions = provenance()["versions"]
    assert {"python", "torch", "transformers", "numpy"} <= set(versions)
    assert "not installed" not in versions.values()
