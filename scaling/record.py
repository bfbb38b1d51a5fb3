"""Artefacts that say what made them: atomic writes, digests of code and data, one JSON schema."""

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from scaling.errors import UserError

PACKAGE = Path(__file__).parent
RECORD_VERSION = 1
# They hold the layers, their initialisation and the random streams: another version, other weights.
COMPUTING_PACKAGES = ("torch", "transformers", "numpy")
REPORTED_PACKAGES = ("torch", "transformers", "numpy", "pandas", "TA-Lib", "scikit-learn", "arch")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole, or not at all: temporary, fsync, rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@functools.cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically; NaN is refused, for other readers would choke on it."""
    text = json.dumps(content, indent=2, default=str, allow_nan=False) + "\n"
    with atomic_file(path) as stream:
        stream.write(text.encode())


def read_json(path: str | Path) -> Any:
    """Read one JSON file; a damaged one is a `UserError`."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error}); make it again: snakemake --force {path}"
        ) from None


def micro_batch_of(search: str | Path, batch_size: int) -> int:
    """What a batch-size search found for this device, never more than one optimiser batch."""
    return min(int(read_json(search)["micro_batch"]), batch_size)


def write_parquet(path: str | Path, frame: Any) -> None:
    """Write a pandas frame atomically; equal frames give equal bytes, so the MD5 is stable."""
    with atomic_file(path) as stream:
        frame.to_parquet(stream)


def file_md5(path: str | Path) -> str:
    """The MD5 of a file's bytes, as 32 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def fingerprint(content: Any) -> str:
    """16 hex digits that change when any value in a JSON-ready structure does."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def _imports_of_ours(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "scaling":
                found |= {alias.name for alias in node.names}
            elif node.module.startswith("scaling."):
                room = node.module.removeprefix("scaling.")
                found |= {room, *(f"{room}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("scaling.") for a in node.names if "scaling." in a.name}
    return found


# They watch, report and draw; no number that a model computes passes through them.
NOT_COMPUTING = frozenset(
    {
        "tracking.run",
        "tracking.local",
        "tracking.mirror",
        "tracking.mlflow",
        "tracking.wandb",
        "tracking.trackers",
        "machine.guard",
        "machine.heat",
        "machine.sensors",
        "figures.plots",
        "errors",
        "record",
        "config",
    }
)


@functools.cache
def code_digest(module: str, package: Path = PACKAGE) -> str:
    """Digest of `scaling/<module>.py` and all it imports of ours, comments and docstrings dropped.

    Snakemake does not see edits in a library; a rule that carries this in its `params` does.
    `config` is left out because the values that count stand in the params themselves.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = package / f"{name.replace('.', '/')}.py"
        if name in seen or (name in NOT_COMPUTING and name != module) or not path.is_file():
            continue
        tree = ast.parse(path.read_text())
        waiting += _imports_of_ours(tree)
        seen[name] = ast.dump(_without_docstrings(tree))
    return fingerprint(seen)


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions, read without importing anything."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance() -> dict[str, Any]:
    """What code and machine an artefact comes from: git commit, versions, platform."""
    return {
        "record_version": RECORD_VERSION,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **versions_of(REPORTED_PACKAGES)},
        "platform": platform.platform(),
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
