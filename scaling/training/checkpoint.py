"""Weights on disk that cannot be half-written, silently damaged, or run code when loaded."""

import hashlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from scaling.errors import UserError
from scaling.record import atomic_file

CHECKSUM = "checksum"


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous()
        digest.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, dict):
        for key, item in value.items():
            digest.update(f"{key}:".encode())
            _update(digest, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _update(digest, item)
    else:
        digest.update(repr(value).encode())


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 over every tensor's bytes and every other value, in order."""
    digest = hashlib.sha256()
    _update(digest, content)
    return digest.hexdigest()


def save(path: str | Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values to one file, atomically, with a checksum inside."""
    with atomic_file(path) as stream:
        torch.save({**content, CHECKSUM: checksum(content)}, stream)


def load(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote; a damaged or foreign file is a `UserError`.

    `torch.load` alone does not notice a flipped byte in a weight (tried): hence the checksum.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stated = content.pop(CHECKSUM)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; make it: snakemake {path}") from None
    except (
        RuntimeError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        # For a foreign file torch's message advises to load it unsafely, so it is not repeated.
        reason = type(error).__name__ if isinstance(error, pickle.UnpicklingError) else str(error)
        raise UserError(
            f"{path}: not a readable checkpoint ({reason.splitlines()[0] if reason else 'empty'}); "
            f"{_again(path)}"
        ) from None
    if checksum(content) != stated:
        raise UserError(f"{path}: damaged, its checksum does not match; {_again(path)}")
    if str(device) == "cpu":
        return content
    return {key: _moved(value, torch.device(device)) for key, value in content.items()}


def _again(path: str | Path) -> str:
    return f"make it again: snakemake --force {path}"


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def record_of(content: dict[str, Any]) -> dict[str, Any]:
    """The run record inside a checkpoint: config, hashes, validation metrics, versions."""
    record: dict[str, Any] = json.loads(content["record"])
    return record


class ResumeStore:
    """The last two resume states of one run, in a directory that Snakemake does not know.

    Snakemake deletes the declared outputs of a failed job, so what must survive lies elsewhere.
    """

    KEPT = 2

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:09d}.state"

    def _states(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.state"))

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Write one state; older ones go only once it is safe on disk."""
        save(self._path(step), content)
        for old in self._states()[: -self.KEPT]:
            old.unlink(missing_ok=True)

    def at(self, step: int) -> dict[str, Any]:
        """The state saved at `step`, which another process has found to be the newest."""
        return load(self._path(step))

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest undamaged state, or None, and a line for each damaged state that was skipped.

        Call it under the run's lock: half-written and damaged files are removed.
        """
        for torn in self.directory.glob(".step-*"):  # left by a kill in the middle of a write
            torn.unlink(missing_ok=True)
        problems: list[str] = []
        for path in reversed(self._states()):
            try:
                return load(path), problems
            except UserError as error:
                problems.append(str(error).split(";")[0])
                # `save` keeps the highest steps. A damaged one that stayed would push out new ones.
                path.unlink(missing_ok=True)
        return None, problems
