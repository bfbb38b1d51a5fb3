"""What the manifest of the data says, read without the data: the Snakefile plans by it.

`scaling.data.manifest` writes it, and holds files against it.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from scaling.errors import UserError


def read_manifest(manifest: str | Path) -> dict[str, Any]:
    """Read the manifest as a dict. A missing or malformed manifest is a `UserError`."""
    manifest = Path(manifest)
    if not manifest.is_file():
        raise UserError(
            f"{manifest}: no such manifest; restore it with: git checkout -- {manifest}, or start "
            "one with: python -m scaling.fetch SPY --source file PATH"
        )
    try:
        content = json.loads(manifest.read_text())
        resources = content["resources"]
        if not all(isinstance(r["path"], str) and isinstance(r["hash"], str) for r in resources):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{manifest}: not a Data Package with resources[].path and resources[].hash; "
            f"restore it with: git checkout -- {manifest}"
        ) from None
    return dict(content)


def registered_entry(path: str | Path, manifest: str | Path) -> dict[str, Any] | None:
    """What the manifest says of `path`, or None if the file is not registered."""
    path, manifest = Path(path), Path(manifest)
    for resource in read_manifest(manifest)["resources"]:
        if (manifest.parent / resource["path"]).resolve() == path.resolve():
            return dict(resource)
    return None


class Registered(NamedTuple):
    """The first and the last day of some prices."""

    first: date
    last: date


def days_of(path: Path, manifest: Path) -> Registered:
    """The days of prices as the manifest has them; a `UserError` if it has none."""
    entry = registered_entry(path, manifest) or {}
    try:
        first, last = (date.fromisoformat(entry[key]) for key in ("first_date", "last_date"))
        return Registered(first, last)
    except (KeyError, ValueError):
        raise UserError(
            f"{path}: {manifest} does not say its days; register it with: python -m scaling.fetch "
            f"{path.stem} --source file {path} --output {path} --manifest {manifest}"
        ) from None
