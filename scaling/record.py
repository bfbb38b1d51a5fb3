"""Artefacts that say what made them: atomic writes, digests of data, versions and the commit."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from scaling.errors import UserError

# Another version of these may give other weights: layers, initialisation and random streams.
COMPUTING_PACKAGES = ("torch", "transformers", "numpy")
REPORTED_PACKAGES = ("torch", "transformers", "numpy", "pandas", "TA-Lib", "scikit-learn", "arch")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all.

    It is written under a temporary name, synced to the disk and then renamed.
    """
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
    """Write JSON atomically. NaN raises a `ValueError`, because it is not JSON."""
    text = json.dumps(content, indent=2, default=str, allow_nan=False) + "\n"
    with atomic_file(path) as stream:
        stream.write(text.encode())


def read_json(path: str | Path) -> Any:
    """Read one JSON file; a damaged file is a `UserError`."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error}); make it again: snakemake --force {path}"
        ) from None


def micro_batch_of(search: str | Path, batch_size: int) -> int:
    """The micro-batch that a batch-size search found, at most one optimiser batch."""
    return min(int(read_json(search)["micro_batch"]), batch_size)


def write_parquet(path: str | Path, frame: Any, identity: Any = None) -> None:
    """Write a pandas frame atomically, with what it was made with, if given, in its metadata.

    Equal frames give equal bytes, and so the same MD5.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame)
    if identity is not None:
        said = {"identity": json.dumps(identity, sort_keys=True)}
        table = table.replace_schema_metadata({**table.schema.metadata, **said})
    with atomic_file(path) as stream:
        parquet.write_table(table, stream)


def identity_of_parquet(path: str | Path) -> dict[str, Any]:
    """What `write_parquet` was told that the rows were made with, under `identity`, or nothing."""
    from pyarrow import parquet

    metadata = parquet.read_schema(path).metadata or {}
    text = metadata.get(b"identity")
    return {} if text is None else {"identity": json.loads(text)}


def file_md5(path: str | Path) -> str:
    """The MD5 of a file's bytes, as 32 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def fingerprint(content: Any) -> str:
    """16 hex digits that change when any value in a structure of JSON values changes."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def versions_of(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions, read once and without an import."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance() -> dict[str, Any]:
    """The code and the machine that an artefact comes from: commit, versions, platform."""
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **versions_of(REPORTED_PACKAGES)},
        "platform": platform.platform(),
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
